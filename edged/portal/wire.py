"""The records that core and portal exchange over ``<run_dir>/portal.sock`` (Unix, SOCK_SEQPACKET: one record a packet).

Fixed form on purpose: the portal faces hostile subscribers, so the core reads nothing from it whose size or structure
the portal could choose. Big-endian; the first byte says which record it is. Addresses travel as 16 bytes, IPv4 mapped
into IPv6. File descriptors ride beside :class:`Sockets` (SCM_RIGHTS), in the order IPv4, IPv6, site.

Pure: bytes to values and back.
"""

from __future__ import annotations

import ipaddress
import struct
from dataclasses import dataclass

from edged.domain.standing import Standing
from edged.errors import EdgedError

VERSION = 1
SOCKET_NAME = "portal.sock"
LARGEST = 64
"""Bytes that hold any record."""
CLOSED = 0
"""The code of a connection that ended without an answer; others are HTTP status codes."""

REASONS = ("notice debt_partial debt pause operator preventive abuse fraud terminated court").split()
"""Weakest first (domain.md §1). Append only: the place is the code on the wire."""
KINDS = ("redirect", "refused", "page")

_FORMS = {
    1: struct.Struct("!BBHB"),  # Hello: version, workers, wants sockets
    2: struct.Struct("!BI16s"),  # Who: request, address
    3: struct.Struct("!B16s"),  # Shown: address
    4: struct.Struct("!BBHIdI"),  # Stats: kind, code, count, seconds, answers they are the sum of
    5: struct.Struct("!BHHB"),  # Sockets: worker, workers, which of the three
    6: struct.Struct("!BIBBQ"),  # Person: request, level, reason, end of a promise
}


class WireError(EdgedError):
    """The other side sent something that is not a record of this version."""


@dataclass(frozen=True, slots=True)
class Hello:
    """Portal to core: first on each connection. ``need``: send me sockets for ``workers`` workers."""

    workers: int
    need: bool
    version: int = VERSION


@dataclass(frozen=True, slots=True)
class Who:
    """Portal to core: what may be shown to whoever has ``address`` (16 bytes)?"""

    request: int
    address: bytes


@dataclass(frozen=True, slots=True)
class Shown:
    """Portal to core: ``address`` was shown its reminder."""

    address: bytes


@dataclass(frozen=True, slots=True)
class Stats:
    """Portal to core: ``count`` more answers of ``kind`` with ``code``; ``timed`` of them took ``seconds`` in all."""

    kind: str
    code: int
    count: int
    seconds: float = 0.0
    timed: int = 0


@dataclass(frozen=True, slots=True)
class Sockets:
    """Core to portal, with descriptors: the listening sockets of one worker; the three say which of them came."""

    worker: int
    workers: int
    ipv4: bool
    ipv6: bool
    site: bool


@dataclass(frozen=True, slots=True)
class Person:
    """Core to portal: the answer to a :class:`Who`."""

    request: int
    standing: Standing


Record = Hello | Who | Shown | Stats | Sockets | Person


def encode(record: Record) -> bytes:
    """The bytes of a record. Numbers out of range raise struct.error: they are our own mistake."""
    match record:
        case Hello(workers, need, version):
            return _FORMS[1].pack(1, version, workers, need)
        case Who(request, address):
            return _FORMS[2].pack(2, request, address)
        case Shown(address):
            return _FORMS[3].pack(3, address)
        case Stats(kind, code, count, seconds, timed):
            return _FORMS[4].pack(4, KINDS.index(kind), code, min(count, 0xFFFFFFFF), seconds, min(timed, 0xFFFFFFFF))
        case Sockets(worker, workers, ipv4, ipv6, site):
            return _FORMS[5].pack(5, worker, workers, ipv4 | ipv6 << 1 | site << 2)
        case Person(request, standing):
            reason = _reason_code(standing.reason)
            return _FORMS[6].pack(6, request, standing.level, reason, max(0, standing.until_ms))


def decode(data: bytes) -> Record:
    """The record in ``data``. Raises WireError."""
    form = _FORMS.get(data[0]) if data else None
    if form is None or len(data) != form.size:
        raise WireError(f"not a record: {len(data)} bytes of kind {data[:1].hex() or '(none)'}")
    tag, *fields = form.unpack(data)
    match tag:
        case 1:
            return Hello(fields[1], bool(fields[2]), fields[0])
        case 2:
            return Who(*fields)
        case 3:
            return Shown(*fields)
        case 4:
            return _stats(*fields)
        case 5:
            return Sockets(fields[0], fields[1], *(bool(fields[2] >> bit & 1) for bit in range(3)))
        case _:
            return Person(fields[0], Standing(fields[1], _reason_name(fields[2]), fields[3]))


def _stats(kind: int, code: int, count: int, seconds: float, timed: int) -> Stats:
    # what becomes a metric's label is held to a known list, or a subverted portal could make labels without end
    if kind >= len(KINDS) or not (code == CLOSED or 200 <= code < 600) or not 0.0 <= seconds < 1e6:
        raise WireError("statistics that no portal sends")
    return Stats(KINDS[kind], code, count, seconds, timed)


def _reason_code(name: str) -> int:
    if not name:
        return 0
    return REASONS.index(name) + 1 if name in REASONS else 255


def _reason_name(code: int) -> str:
    if code == 0:
        return ""
    return REASONS[code - 1] if code <= len(REASONS) else "other"


def pack_address(text: str) -> bytes:
    """16 bytes of a literal address; IPv4 mapped, a zone (``%eth0``) left out. Raises ValueError."""
    address = ipaddress.ip_address(text.partition("%")[0])
    return address.packed if address.version == 6 else b"\0" * 10 + b"\xff\xff" + address.packed


def address_text(packed: bytes) -> str:
    """The literal address in canonical form; a mapped one as IPv4."""
    address = ipaddress.IPv6Address(packed)
    return str(address.ipv4_mapped or address)
