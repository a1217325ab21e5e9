"""What makes one value possible. Every refusal is a sentence that ends in the remedy; pure functions, no I/O.

A check takes the value as it stands in the file and returns it, perhaps in canonical form, or raises ValueError.
"""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import NamedTuple, TypeVar
from urllib.parse import SplitResult, urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from edged.domain.calendar import check_cut, read_hours

T = TypeVar("T")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_INTERFACE = re.compile(r"[^\s/*:]{1,15}|[^\s/*:]{1,14}\*")
_LABEL = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)")
_COLOUR = re.compile(r"#[0-9A-Fa-f]{6}")
_KERNEL_TABLES = {0: "unspec", 253: "default", 254: "main", 255: "local"}


class Broker(NamedTuple):
    """One MQTT broker. ``port`` is 1883 for plain TCP and 8883 for TLS where the URL names none."""

    host: str
    port: int
    tls: bool

    def __str__(self) -> str:
        """``host:port``, IPv6 in brackets, as metrics and messages name a broker."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Listen(NamedTuple):
    """An address to listen on."""

    host: str
    port: int

    @property
    def ipv6(self) -> bool:
        return ":" in self.host


def name(value: str) -> str:
    """A gateway or group: it becomes a level of MQTT topics and a part of the client id."""
    if not _NAME.fullmatch(value):
        raise ValueError('use 1 to 63 of A-Z a-z 0-9 . _ -, beginning with a letter or digit, such as "gw1"')
    return value


def cut_calendar(value: str) -> str:
    """The name of a calendar of days on which a debt block may begin."""
    return check_cut(value)


def area(value: str) -> str:
    """An area as ``bind`` names it."""
    if value == "*" or value != value.strip():
        raise ValueError('write the area as bind names it; "*" and spaces at the ends stand for none')
    return value


def business_hours(value: str) -> str:
    """Hours within which a debt block may begin."""
    read_hours(value)
    return value


def issuer(value: str) -> str:
    """An issuer: the ``kid`` of signatures."""
    if value == "local":
        raise ValueError("is what commands over the control socket are filed under; choose another name")
    if not _NAME.fullmatch(value):
        raise ValueError('use 1 to 63 of A-Z a-z 0-9 . _ -, beginning with a letter or digit, such as "erp"')
    return value


def interface(value: str) -> str:
    """A Linux interface name (at most 15 characters) or a prefix of one with a star at the end."""
    if value == "lo":
        raise ValueError("the loopback interface has no subscribers; name the one that faces them")
    if not _INTERFACE.fullmatch(value):
        raise ValueError('write an interface name of at most 15 characters, or a prefix and one star: "eth1", "ppp*"')
    return value


def network(value: str) -> str:
    """A network in canonical form; a bare address is a network of one."""
    try:
        return str(ipaddress.ip_network(value))
    except ValueError:
        pass
    try:
        meant = ipaddress.ip_network(value, strict=False)
    except ValueError:
        raise ValueError('write a network such as "192.0.2.0/24" or "2001:db8::/32"') from None
    raise ValueError(f'bits are set behind the prefix length; write "{meant}" if the whole network is meant')


def narrow_network(value: str) -> str:
    """A network that does not cover the whole Internet."""
    canonical = network(value)
    if canonical.endswith("/0"):
        raise ValueError("this is every address there is, so nobody could be restricted; name the networks one by one")
    return canonical


def domain(value: str) -> str:
    """A host name, lower case, without wildcard: what cannot be looked up cannot be kept open."""
    plain = value.lower().removesuffix(".")
    if "*" in plain:
        raise ValueError(f'a wildcard cannot be looked up; list the names: "{plain.lstrip("*.")}", "www.…"')
    if "/" in plain or ":" in plain:
        raise ValueError('write the host name alone, without scheme, port or path, such as "www.bank.example"')
    if len(plain) > 253 or "." not in plain or not all(_LABEL.fullmatch(label) for label in plain.split(".")):
        raise ValueError('write a host name such as "www.bank.example" (international names in their xn-- form)')
    return plain


def mark_bit(value: int) -> int:
    """Exactly one of the 32 bits of a packet's mark, so that the operator's own bits survive."""
    if not (0 < value < 1 << 32 and value.bit_count() == 1):
        raise ValueError("must be exactly one bit of 32 that nothing else on this gateway uses, such as 0x10000")
    return value


def route_table(value: int) -> int:
    """A routing table of our own."""
    if value in _KERNEL_TABLES:
        raise ValueError(f"the kernel uses this number itself ({_KERNEL_TABLES[value]}); take a free one, such as 8880")
    return value


def absolute(value: Path) -> Path:
    """A path that does not depend on where the daemon was started."""
    if not value.is_absolute():
        raise ValueError("must be an absolute path, beginning with /")
    return value


def run_dir(value: Path) -> Path:
    """Short enough for the sockets in it: the kernel takes 107 bytes for a socket's path."""
    if len(str(absolute(value)).encode()) > 90:
        raise ValueError("must not be longer than 90 bytes, or the sockets in it get no name; use /run/edged")
    return value


def _split(value: str, schemes: tuple[str, ...], example: str) -> SplitResult:
    try:
        parts = urlsplit(value)
        port = parts.port
    except ValueError:
        parts, port = None, None
    if parts is None or parts.scheme not in schemes or not parts.hostname or port == 0 or not _plain(value):
        raise ValueError(
            f'write {" or ".join(f"{s}://" for s in schemes)}, a host and perhaps a port, such as "{example}"'
        )
    if parts.username is not None or parts.password is not None:
        raise ValueError("must not hold a user name or password: this value is shown to people")
    return parts


def _plain(value: str) -> bool:
    return len(value) <= 1024 and value.isascii() and value.isprintable() and not set(value) & set(' "<>\\^`{|}')


def broker_url(value: str) -> str:
    """``mqtt://host[:port]`` or ``mqtts://host[:port]``."""
    if "@" in value:
        raise ValueError("must not hold a user name or password; use mqtt.username and mqtt.password_file")
    parts = _split(value, ("mqtt", "mqtts"), "mqtts://broker.example.net:8883")
    if parts.path not in {"", "/"} or parts.query or parts.fragment:
        raise ValueError("must end after the port; topics are fixed by the protocol")
    return value


def broker(url: str) -> Broker:
    """Takes a checked broker URL apart."""
    parts = urlsplit(url)
    tls = parts.scheme == "mqtts"
    return Broker(parts.hostname or "", parts.port or (8883 if tls else 1883), tls)


def is_loopback(host: str) -> bool:
    """Whether ``host`` is this machine by its very name; no lookup, which an attacker might answer."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def web_url(value: str) -> str:
    """An http or https URL that can stand in a Location header as it is."""
    _split(value, ("http", "https"), "https://aviso.example.net/")
    return value


def below_root(value: str) -> str:
    """What of a checked URL is more than the root of its host: path, query and fragment; empty for none."""
    parts = urlsplit(value)
    more = value.partition("://")[2][len(parts.netloc) :]
    return "" if more == "/" else more


def optional_web_url(value: str) -> str:
    """Nothing, or an http or https URL."""
    return web_url(value) if value else value


def colour(value: str) -> str:
    """Nothing, or a colour as six hexadecimal digits."""
    if value and not _COLOUR.fullmatch(value):
        raise ValueError('write a colour as # and six hexadecimal digits, such as "#0b4f8a"')
    return value.lower()


def listen_address(value: str) -> str:
    """Nothing, or ``address:port`` with a literal address, IPv6 in brackets."""
    if value:
        listen(value)
    return value


def listen(value: str) -> Listen:
    """Takes ``address:port`` apart. Raises ValueError with the remedy."""
    host, colon, port = value.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    try:
        address = ipaddress.ip_address(host[1:-1] if bracketed else host)
        number = int(port) if port.isascii() and port.isdigit() else 0
    except ValueError:
        address, number = None, 0
    if address is None or not colon or (address.version == 6) != bracketed or not 1 <= number <= 65535:
        raise ValueError('write address:port with a literal address, such as "127.0.0.1:9464" or "[::1]:9464"')
    return Listen(str(address), number)


def timezone(value: str) -> str:
    """A zone of the IANA database."""
    try:
        ZoneInfo(value)
    except (OSError, ValueError, ZoneInfoNotFoundError):
        raise ValueError('is not in the time zone database; write a name such as "America/Sao_Paulo"') from None
    return value


def distinct(values: list[T]) -> list[T]:
    """No entry twice: the second is a typing mistake for something that then is missing."""
    doubles = sorted({str(value) for value in values if values.count(value) > 1})
    if doubles:
        raise ValueError(f"holds {', '.join(doubles)} more than once; write each entry once")
    return values
