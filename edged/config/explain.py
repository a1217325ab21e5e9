"""What is in force, where each value came from, and what is legal but unwise: what ``edged check-config`` prints."""

from __future__ import annotations

import ipaddress
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import BaseModel

from edged.config.checks import broker, is_loopback, listen
from edged.config.loading import Loaded
from edged.config.mistakes import known_keys
from edged.config.models import Config

WHATSAPP = ("wa.me", "api.whatsapp.com", "web.whatsapp.com")
"""Hosts of the page's link to WhatsApp: the short link, the page behind it, and what that opens without the app."""


@dataclass(frozen=True)
class Setting:
    """One effective value. ``origin`` is ``file``, the name of an environment variable, or ``default``."""

    key: str
    value: Any
    origin: str
    description: str


def settings(loaded: Loaded) -> list[Setting]:
    """Every key with its effective value, in the order of the models."""
    found = []
    for key in known_keys():
        value: Any = loaded.config
        description = ""
        for part in key:
            description = type(value).model_fields[part].description or "" if isinstance(value, BaseModel) else ""
            value = getattr(value, part)
        dotted = ".".join(key)
        found.append(Setting(dotted, _plain(value), loaded.origins.get(dotted, "default"), description))
    return found


def _plain(value: Any) -> Any:
    match value:
        case Path():
            return str(value)
        case [BaseModel(), *_]:
            return [table.model_dump(exclude_none=True) for table in value]
        case _:
            return value


def warnings(config: Config) -> list[str]:
    """What works but will surprise somebody, one sentence each. Looks at the files that are named, changes nothing."""
    return [*_mqtt(config), *_security(config), *_garden(config), *_portal(config), *_xdp(config), *_rest(config)]


def _mqtt(config: Config) -> Iterator[str]:
    mqtt = config.mqtt
    brokers = [broker(url) for url in mqtt.brokers]
    if any(not b.tls and not is_loopback(b.host) for b in brokers):
        able = "read commands and hold them back" if config.security.required else "read and change commands"
        yield f"mqtt.brokers: a broker beyond this machine without TLS lets anybody on the way {able}"
    if not any(b.tls for b in brokers) and (mqtt.ca_file or mqtt.cert_file):
        yield "mqtt.ca_file, mqtt.cert_file: have no effect, because no broker is mqtts://"
    for key in ("password_file", "ca_file", "cert_file", "key_file"):
        file = getattr(mqtt, key)
        if file is None:
            continue
        try:
            mode = file.stat().st_mode
        except OSError as error:
            yield f"mqtt.{key}: {file}: {error.strerror}"
            continue
        if key in {"password_file", "key_file"} and mode & (stat.S_IROTH | stat.S_IWOTH):
            yield f"mqtt.{key}: {file} can be read by everybody on this machine; chmod 0640, group edged"


def _security(config: Config) -> Iterator[str]:
    security = config.security
    if security.issuers and not security.require_signature:
        yield (
            "security.require_signature = false: unsigned commands are obeyed beside those of security.issuers, so "
            "their keys protect nothing"
        )
    elif not security.require_signature:
        yield "security.require_signature = false: whoever may publish to the command topics may block subscribers"
    elif not security.issuers:
        yield (
            "security.issuers is empty: commands from the broker on loopback are obeyed unsigned, so whoever may "
            "publish there may block subscribers"
        )
    for issuer in security.issuers:
        if issuer.other_key is not None:
            yield f"security.issuers: {issuer.name} has two keys; take the old one out once nothing signs with it"


def _garden(config: Config) -> Iterator[str]:
    if not config.garden.networks:
        yield (
            "garden.networks is empty: no resolver is open to walled subscribers unless it is this gateway, and "
            "without DNS no browser reaches the page; name the resolvers, VoIP, emergency, device-management servers"
        )
    if not config.garden.domains:
        yield "garden.domains is empty: a walled subscriber reaches no bank to pay with"
    yield from _links(config)


def _links(config: Config) -> Iterator[str]:
    """Where the page's own links lead that no list here opens; what the command ``garden`` opens is not known here."""
    if not config.portal.site_listen:
        return  # our page is served to nobody: whoever serves theirs knows its links
    provider = config.portal.provider
    if provider.customer_area:
        host = _host(provider.customer_area)
        if remedy := _opens(config, host):
            yield (
                f"portal.provider.customer_area: {host} is not in the garden, so the page's first link leads a "
                f"walled subscriber nowhere; {remedy}, or open it with the command garden"
            )
    if provider.whatsapp and (closed := [host for host in WHATSAPP if _opens(config, host)]):
        yield (
            f"portal.provider.whatsapp: its link (wa.me, which leads to the others) needs {', '.join(closed)}, and a "
            "walled subscriber reaches none of these; add them to garden.domains, or open them with the command garden"
        )


def _opens(config: Config, host: str) -> str:
    """What would open ``host`` to a walled subscriber; empty where it is open. Names are whole: none covers another."""
    portal = config.portal
    if host == _host(portal.url):
        return ""  # Gardens always opens it, whoever serves the page
    if portal.site_listen and host == listen(portal.site_listen).host:
        return ""  # this gateway itself
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return "" if host in config.garden.domains else f"add {host} to garden.domains"
    networks = map(ipaddress.ip_network, config.garden.networks)
    return "" if any(address in network for network in networks) else f"add {host} to garden.networks"


def _host(url: str) -> str:
    """The host of a URL as the lists have it: a name without its trailing dot, an address in its usual form."""
    host = (urlsplit(url).hostname or "").rstrip(".")
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        return host


def _portal(config: Config) -> Iterator[str]:
    portal = config.portal
    if not portal.site_listen:
        yield f"portal.site_listen is empty: {portal.url} must be served by something else, inside the garden"
    elif listen(portal.site_listen).port == portal.listen_port:
        yield "portal.site_listen has the port of portal.listen_port: the redirector may shadow the page on loopback"
    if portal.url.startswith("https://") and portal.site_listen and portal.cert_file is None:
        yield (
            "portal.url is https, but portal.site_listen speaks plain HTTP: set portal.cert_file and portal.key_file; "
            "a proxy in front would be everybody's address"
        )
    if portal.url.startswith("http://") and portal.cert_file is not None:
        yield "portal.url is http, but portal.cert_file makes portal.site_listen speak TLS: write https"
    for key, file in (("cert_file", portal.cert_file), ("key_file", portal.key_file)):
        yield from _readable(f"portal.{key}", file, secret=key == "key_file")
    if not (portal.provider.phone or portal.provider.whatsapp or portal.provider.customer_area):
        yield "portal.provider names no phone, whatsapp or customer_area: a restricted subscriber cannot reach you"


def _readable(key: str, file: Path | None, *, secret: bool) -> Iterator[str]:
    if file is None:
        return
    try:
        mode = file.stat().st_mode
    except OSError as error:
        yield f"{key}: {file}: {error.strerror}"
        return
    if secret and mode & (stat.S_IROTH | stat.S_IWOTH):
        yield f"{key}: {file} can be read by everybody on this machine; chmod 0640, group edged-portal"


def _xdp(config: Config) -> Iterator[str]:
    xdp = config.xdp
    if xdp.mode == "off":
        if xdp.drop_blocked:
            yield 'xdp.drop_blocked = true: has no effect while xdp.mode is "off"'
        return
    names = config.network.subscriber_interfaces
    if not xdp.interfaces and all(name.startswith("ppp") for name in names):
        yield (
            "xdp.interfaces is empty, and ppp interfaces carry no Ethernet frames: nothing is answered in XDP; name "
            'the Ethernet device that the PPPoE sessions run on, or set xdp.mode = "off"'
        )


def _rest(config: Config) -> Iterator[str]:
    if config.metrics.listen and not is_loopback(listen(config.metrics.listen).host):
        yield "metrics.listen is not on loopback: everybody who reaches it reads the figures of your business"
    if len(config.network.ipv6_prefix_lengths) > 4:
        yield "network.ipv6_prefix_lengths: each length costs every packet of every subscriber one lookup"
