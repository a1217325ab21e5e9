"""What a connection needs to know beforehand: settings, the broker's address, credentials, TLS.

Files are read anew for every connection, so that a renewed certificate or password is used without a restart, and a
missing one is an error that can be repaired while the daemon keeps trying.
"""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from edged.errors import ConfigError

_DEFAULT_PORTS = {"mqtt": 1883, "mqtts": 8883}


class MqttSettings(Protocol):
    """The part of the configuration that the MQTT session reads."""

    @property
    def brokers(self) -> Sequence[str]:
        """``mqtt://host:port`` or ``mqtts://host:port``, in order of preference."""

    @property
    def username(self) -> str | None:
        """Name to log in with; none or empty: anonymous."""

    @property
    def password_file(self) -> str | Path | None:
        """File whose first line is the password."""

    @property
    def ca_file(self) -> str | Path | None:
        """PEM file of the authorities a broker's certificate may come from; none: the system's."""

    @property
    def cert_file(self) -> str | Path | None:
        """PEM file of our own certificate."""

    @property
    def key_file(self) -> str | Path | None:
        """PEM file of the key of our own certificate; none: it is in ``cert_file``."""

    @property
    def keepalive(self) -> int:
        """Seconds of silence after which a side asks whether the other still lives."""

    @property
    def receive_maximum(self) -> int:
        """Messages a broker may send before it gets a PUBACK. Their bytes are bounded by the inbox."""

    @property
    def max_payload(self) -> int:
        """Bytes of the largest payload that the pipeline accepts."""


@dataclass(frozen=True)
class Endpoint:
    """One broker. ``str()`` is ``host:port``, fit for a metric label."""

    host: str
    port: int
    tls: bool

    @classmethod
    def parse(cls, url: str) -> Endpoint:
        """Read ``mqtt[s]://host[:port]``; IPv6 literals in brackets. Raises ``ConfigError`` naming the URL."""
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError as exc:
            raise ConfigError(f"mqtt.brokers: {url!r}: {exc}") from None
        if parts.scheme not in _DEFAULT_PORTS or not host:
            raise ConfigError(f"mqtt.brokers: {url!r}: write mqtt://host:port or mqtts://host:port")
        if parts.username is not None or parts.path not in {"", "/"} or parts.query or parts.fragment:
            # Not shown: it may hold a password.
            raise ConfigError(
                "mqtt.brokers: an address holds a host and a port only; use mqtt.username and mqtt.password_file"
            )
        return cls(host, port or _DEFAULT_PORTS[parts.scheme], parts.scheme == "mqtts")

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def password(cfg: MqttSettings) -> str | None:
    """The first line of ``password_file``, without its line end. Raises ``ConfigError`` if it cannot be read."""
    if not cfg.password_file:
        return None
    try:
        text = Path(cfg.password_file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigError(f"mqtt.password_file: cannot be read: {exc}") from None
    return text.split("\n", 1)[0].removesuffix("\r")


def tls_context(cfg: MqttSettings) -> ssl.SSLContext:
    """TLS 1.2 or later, the broker's certificate and name checked. Raises ``ConfigError`` naming the unusable file."""
    for each in ("ca_file", "cert_file", "key_file"):
        _readable(each, getattr(cfg, each))
    key, file = "ca_file", cfg.ca_file
    try:
        context = ssl.create_default_context(cafile=cfg.ca_file or None)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if cfg.cert_file:
            key, file = "cert_file/key_file", cfg.cert_file
            # An encrypted key would make OpenSSL ask on the terminal and hang a daemon: an empty answer is an error.
            context.load_cert_chain(cfg.cert_file, cfg.key_file or None, password=lambda: "")
    except ssl.SSLError as exc:
        raise ConfigError(f"mqtt.{key}: {file} cannot be used: {_unusable(exc)}") from None
    except (OSError, ValueError) as exc:
        raise ConfigError(f"mqtt.{key}: cannot be used: {exc}") from None
    return context


def _readable(key: str, file: str | Path | None) -> None:
    """OpenSSL's own complaint would name no file."""
    try:
        if file:
            Path(file).open("rb").close()
    except PermissionError as exc:
        raise ConfigError(f"mqtt.{key}: {exc}; the daemon's user or group must be able to read it") from None
    except OSError as exc:
        raise ConfigError(f"mqtt.{key}: cannot be used: {exc}") from None


def _unusable(exc: ssl.SSLError) -> str:
    if exc.reason == "KEY_VALUES_MISMATCH":
        return f"the key in mqtt.key_file does not belong to the certificate ({exc})"
    if "PEM" in str(exc) or "NO_START_LINE" in str(exc) or "NO_CERTIFICATE" in str(exc):
        return f"it is no PEM file of that kind, or its key is encrypted (store it without a passphrase) ({exc})"
    return str(exc)
