"""The records that core and portal exchange over ``<run_dir>/portal.sock`` (Unix, SOCK_SEQPACKET: one record a packet).

The portal faces hostile subscribers, so what it sends is of fixed form, but for a token, whose length is bounded: the
core reads nothing from it whose structure the portal could choose. Towards the portal, payment data and texts are JSON
behind their head, at most :data:`MOST_JSON` bytes. Big-endian; the first byte says which record it is. File descriptors
ride beside :class:`Sockets` (SCM_RIGHTS), in the order IPv4, IPv6, site.

Pure: bytes to values and back.
"""

from __future__ import annotations

import ipaddress
import socket
import struct
from functools import lru_cache

import msgspec

from edged.domain.levels import Level
from edged.domain.standing import Standing
from edged.errors import EdgedError
from edged.portal.records import (
    ANSWERS,
    CLOSED,
    KINDS,
    MOST_ASKED,
    MOST_CODE,
    MOST_JSON,
    MOST_TOKEN,
    PROOFS,
    REASONS,
    SOCKET_NAME,
    TICKET,
    VERSION,
    Ask,
    Asked,
    Bill,
    Changed,
    Hello,
    Payment,
    People,
    Proof,
    Prove,
    Record,
    Shown,
    Sockets,
    Stats,
    Texts,
    Token,
    Watch,
    Who,
)

__all__ = [
    "ANSWERS",
    "CLOSED",
    "KINDS",
    "LARGEST",
    "MOST_ASKED",
    "MOST_CODE",
    "MOST_JSON",
    "MOST_TOKEN",
    "PROOFS",
    "REASONS",
    "ROOM",
    "SOCKET_NAME",
    "TICKET",
    "VERSION",
    "Ask",
    "Asked",
    "Bill",
    "Changed",
    "Hello",
    "Payment",
    "People",
    "Proof",
    "Prove",
    "Record",
    "Shown",
    "Sockets",
    "Stats",
    "Texts",
    "Token",
    "Watch",
    "Who",
    "WireError",
    "address_text",
    "decode",
    "encode",
    "pack_address",
]

_FORMS = {
    1: struct.Struct("!BBHB"),  # Hello: version, workers, wants sockets
    2: struct.Struct("!BI"),  # Who: request; addresses behind
    3: struct.Struct("!B16s?"),  # Shown: address, pressed
    4: struct.Struct("!BBHIdI"),  # Stats: kind, code, count, seconds, answers they are the sum of
    5: struct.Struct("!BHHB"),  # Sockets: worker, workers, which of the three
    6: struct.Struct("!BI"),  # People: request; standings behind
    7: struct.Struct("!B16s?"),  # Watch: address, on
    8: struct.Struct("!B16s"),  # Changed: address
    9: struct.Struct("!BI16sQ"),  # Ask: request, address, until when
    10: struct.Struct("!BIB"),  # Asked: request, answer
    11: struct.Struct(f"!BI16sQB{MOST_CODE}s"),  # Prove: request, address, until when, length, code
    12: struct.Struct("!BI16sQ"),  # Token: request, address, until when; the token behind
    13: struct.Struct(f"!BIB{TICKET}s"),  # Proof: request, verdict, ticket
    14: struct.Struct(f"!BI{TICKET}s"),  # Bill: request, ticket
    15: struct.Struct("!BI"),  # Payment: request; JSON behind
    16: struct.Struct("!BB"),  # Texts: reason; JSON behind
}
_ADDRESS = 16
_STANDING = struct.Struct("!BBBQQQQQB")  # level, reason, which holds, times, next level
_UNKNOWN = b"\xff" + bytes(_STANDING.size - 1)
"""In the place of a standing that could not be looked up."""
_BEHIND = {2: MOST_ASKED * _ADDRESS, 6: MOST_ASKED * _STANDING.size, 12: MOST_TOKEN, 15: MOST_JSON, 16: MOST_JSON}
"""Record -> how many bytes may come behind its form."""
_FLAGS = 5
"""broken, can_trust, asked, outage, pays: bits from the lowest, in the order of a standing's fields."""
LARGEST = max(form.size + _BEHIND.get(tag, 0) for tag, form in _FORMS.items())
"""Bytes that hold any record."""
ROOM = LARGEST + 1
"""Bytes to ask the socket for: what fills them is too long to be a record."""

_MAPPED = b"\0" * 10 + b"\xff\xff"
_texts = msgspec.json.Decoder(dict[str, str]).decode


class WireError(EdgedError):
    """The other side sent something that is not a record of this version."""


def encode(record: Record) -> bytes:  # noqa: C901, PLR0912  one line a record
    """The bytes of a record. Values out of range raise struct.error or ValueError: they are our own mistake."""
    match record:
        case Hello(workers, need, version):
            return _FORMS[1].pack(1, version, workers, need)
        case Who(request, addresses):
            return _FORMS[2].pack(2, request) + _bounded(b"".join(addresses), MOST_ASKED * _ADDRESS)
        case Shown(address, pressed):
            return _FORMS[3].pack(3, address, pressed)
        case Stats(kind, code, count, seconds, timed):
            return _FORMS[4].pack(4, KINDS.index(kind), code, min(count, 0xFFFFFFFF), seconds, min(timed, 0xFFFFFFFF))
        case Sockets(worker, workers, ipv4, ipv6, site):
            return _FORMS[5].pack(5, worker, workers, ipv4 | ipv6 << 1 | site << 2)
        case People(request, standings):
            told = b"".join(map(_standing, standings))
            return _FORMS[6].pack(6, request) + _bounded(told, MOST_ASKED * _STANDING.size)
        case Watch(address, on):
            return _FORMS[7].pack(7, address, on)
        case Changed(address):
            return _FORMS[8].pack(8, address)
        case Ask(request, address, until):
            return _FORMS[9].pack(9, request, address, until)
        case Asked(request, answer):
            return _FORMS[10].pack(10, request, ANSWERS.index(answer))
        case Prove(request, address, until, code):
            return _FORMS[11].pack(11, request, address, until, len(_bounded(code, MOST_CODE)), code)
        case Token(request, address, until, token):
            return _FORMS[12].pack(12, request, address, until) + _bounded(token, MOST_TOKEN)
        case Proof(request, verdict, ticket):
            return _FORMS[13].pack(13, request, PROOFS.index(verdict), ticket)
        case Bill(request, ticket):
            return _FORMS[14].pack(14, request, ticket)
        case Payment(request, fields):
            return _FORMS[15].pack(15, request) + _bounded(msgspec.json.encode(fields), MOST_JSON)
        case Texts(reason, fields):
            return _FORMS[16].pack(16, _reason_code(reason)) + _bounded(msgspec.json.encode(fields), MOST_JSON)


def decode(data: bytes) -> Record:  # noqa: C901, PLR0912  one line a record
    """The record in ``data``. Raises WireError."""
    form = _FORMS.get(data[0]) if data else None
    if form is None or not form.size <= len(data) <= form.size + _BEHIND.get(data[0], 0):
        raise WireError(f"not a record: {len(data)} bytes of kind {data[:1].hex() or '(none)'}")
    tag, *fields = form.unpack_from(data)
    behind = data[form.size :]
    match tag:
        case 1:
            return Hello(fields[1], bool(fields[2]), fields[0])
        case 2:
            return Who(fields[0], tuple(_parts(behind, _ADDRESS)))
        case 3:
            return Shown(*fields)
        case 4:
            return _stats(*fields)
        case 5:
            return Sockets(fields[0], fields[1], *(bool(fields[2] >> bit & 1) for bit in range(3)))
        case 6:
            return People(fields[0], tuple(map(_stood, _parts(behind, _STANDING.size))))
        case 7:
            return Watch(*fields)
        case 8:
            return Changed(*fields)
        case 9:
            return Ask(*fields)
        case 10:
            return Asked(fields[0], _word(ANSWERS, fields[1]))
        case 11:
            request, address, until, length, code = fields
            if length > MOST_CODE or any(code[length:]):
                raise WireError("a code that is longer than it says")
            return Prove(request, address, until, code[:length])
        case 12:
            return Token(fields[0], fields[1], fields[2], behind)
        case 13:
            return Proof(fields[0], _word(PROOFS, fields[1]), fields[2])
        case 14:
            return Bill(*fields)
        case 15:
            return Payment(fields[0], _json(behind))
        case _:
            return Texts(_reason_name(fields[0]), _json(behind))


def _stats(kind: int, code: int, count: int, seconds: float, timed: int) -> Stats:
    # what becomes a metric's label is held to a known list, or a subverted portal could make labels without end
    if not (code == CLOSED or 200 <= code < 600) or not 0.0 <= seconds < 1e6:
        raise WireError("statistics that no portal sends")
    return Stats(_word(KINDS, kind), code, count, seconds, timed)


def _parts(data: bytes, size: int) -> list[bytes]:
    if not data or len(data) % size:
        raise WireError(f"{len(data)} bytes where each part has {size}")
    return [data[at : at + size] for at in range(0, len(data), size)]


def _standing(s: Standing | None) -> bytes:
    if s is None:
        return _UNKNOWN
    held = s.broken | s.can_trust << 1 | s.asked << 2 | s.outage << 3 | s.pays << 4
    times = (max(0, t) for t in (s.until_ms, s.since_ms, s.deadline_ms, s.next_ms, s.eta_ms))
    return _STANDING.pack(s.level, _reason_code(s.reason), held, *times, s.next_level)


@lru_cache(4096)
def _stood(data: bytes) -> Standing | None:
    """Kept: who opens a page asks two or three times, and what was told first is told again."""
    if data == _UNKNOWN:
        return None
    level, reason, held, until, since, deadline, following, eta, stricter = _STANDING.unpack(data)
    if max(level, stricter) > Level.BLOCKED or held >> _FLAGS:
        raise WireError("a standing of another version")
    broken, can_trust, asked, outage, pays = (bool(held >> bit & 1) for bit in range(_FLAGS))
    times = (until, since, deadline, following, eta)
    return Standing(level, _reason_name(reason), *times, broken, can_trust, asked, outage, pays, stricter)


def _word(words: tuple[str, ...], place: int) -> str:
    if place >= len(words):
        raise WireError(f"number {place} stands for none of {', '.join(words)}")
    return words[place]


def _json(data: bytes) -> dict[str, str]:
    try:
        return _texts(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise WireError(f"not a JSON object of texts: {type(error).__name__}") from None


def _bounded(data: bytes, most: int) -> bytes:
    if len(data) > most:
        raise ValueError(f"{len(data)} bytes where {most} fit")
    return data


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
    try:
        return _MAPPED + socket.inet_pton(socket.AF_INET, text)  # nearly all are
    except (OSError, ValueError):
        address = ipaddress.ip_address(text.partition("%")[0])
    return address.packed if address.version == 6 else _MAPPED + address.packed


def address_text(packed: bytes) -> str:
    """The literal address in canonical form; a mapped one as IPv4."""
    if packed.startswith(_MAPPED):
        return socket.inet_ntop(socket.AF_INET, packed[12:])
    return str(ipaddress.IPv6Address(packed))
