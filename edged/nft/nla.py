"""Netlink attributes and messages as bytes: the smallest layer, pure.

Sources: ``linux/netlink.h``, ``linux/netfilter/nfnetlink.h``. Headers are host-endian, the numbers inside
nf_tables attributes are big-endian unless the kernel treats them as register content.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

NESTED = 0x8000
TYPE_MASK = 0x3FFF

NLM_F_REQUEST = 0x1
NLM_F_ACK = 0x4
NLM_F_DUMP_INTR = 0x10
NLM_F_DUMP = 0x300
NLM_F_CREATE = 0x400
NLM_F_APPEND = 0x800
NLM_F_EXCL = 0x200

NLMSG_ERROR = 2
NLMSG_DONE = 3
BATCH_BEGIN = 0x10
BATCH_END = 0x11
SUBSYS_NFTABLES = 10
NFPROTO_INET = 1

_HEADER = struct.Struct("=IHHIIBBH")
"""nlmsghdr (length, type, flags, sequence, port id) and nfgenmsg (family, version, resource id)."""

HEADER_LEN = _HEADER.size


class Message(NamedTuple):
    """One netlink message as received. ``body`` starts behind nlmsghdr (and behind nfgenmsg for nf_tables)."""

    kind: int
    flags: int
    seq: int
    pid: int
    body: memoryview
    family: int = 0
    """nfgenmsg's, for nf_tables."""


def attr(kind: int, payload: bytes) -> bytes:
    """One attribute, padded to four bytes."""
    n = 4 + len(payload)
    return struct.pack("=HH", n, kind) + payload + b"\0" * (-n % 4)


def nest(kind: int, *parts: bytes) -> bytes:
    """An attribute that holds attributes."""
    return attr(kind | NESTED, b"".join(parts))


def be32(kind: int, value: int) -> bytes:
    """A 32-bit number in network order."""
    return struct.pack("=HH", 8, kind) + struct.pack(">I", value & 0xFFFFFFFF)


def be64(kind: int, value: int) -> bytes:
    """A 64-bit number in network order."""
    return struct.pack("=HH", 12, kind) + struct.pack(">Q", value)


def text(kind: int, value: str) -> bytes:
    """A zero-terminated string."""
    return attr(kind, value.encode() + b"\0")


def message(kind: int, flags: int, seq: int, body: bytes, *, family: int = NFPROTO_INET, res_id: int = 0) -> bytes:
    """One nfnetlink message. ``kind`` is the full type, subsystem included."""
    return _HEADER.pack(HEADER_LEN + len(body), kind, flags | NLM_F_REQUEST, seq, 0, family, 0, res_id) + body


def nft_message(kind: int, flags: int, seq: int, body: bytes) -> bytes:
    """One nf_tables message; ``kind`` is an ``NFT_MSG_*`` number."""
    return message(SUBSYS_NFTABLES << 8 | kind, flags, seq, body)


def batch_mark(kind: int, seq: int) -> bytes:
    """The opening or closing message of a transaction."""
    return message(kind, 0, seq, b"", family=0, res_id=SUBSYS_NFTABLES << 8)


def messages(data: bytes | memoryview) -> Iterator[Message]:
    """The messages of one received datagram. A truncated one ends the walk."""
    view = memoryview(data)
    at = 0
    while at + 16 <= len(view):
        length, kind, flags, seq, pid = struct.unpack_from("=IHHII", view, at)
        if length < 16 or at + length > len(view):
            return
        ours = kind >> 8 == SUBSYS_NFTABLES and length >= HEADER_LEN
        yield Message(
            kind, flags, seq, pid, view[at + (HEADER_LEN if ours else 16) : at + length], view[at + 16] if ours else 0
        )
        at += (length + 3) & ~3


def attrs(body: memoryview) -> Iterator[tuple[int, memoryview]]:
    """The attributes in ``body`` as (type without flags, payload)."""
    at = 0
    while at + 4 <= len(body):
        length, kind = struct.unpack_from("=HH", body, at)
        if length < 4 or at + length > len(body):
            return
        yield kind & TYPE_MASK, body[at + 4 : at + length]
        at += (length + 3) & ~3


def table_of(body: memoryview) -> dict[int, memoryview]:
    """The attributes in ``body`` by type; of a repeated one the last."""
    return dict(attrs(body))


def string(view: memoryview) -> str:
    """A zero-terminated string."""
    return bytes(view).rstrip(b"\0").decode(errors="replace")


def number(view: memoryview) -> int:
    """A number in network order, of any length."""
    return int.from_bytes(view, "big")
