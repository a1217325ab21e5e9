"""Transactions to netlink bytes and set elements back to values: pure.

The bulk of all bytes are set elements, so they are built with numpy: a message template repeated once an element,
with the keys laid into it. An attribute's length is 16 bits, hence at most :func:`per_message` elements in one
message. Golden tests hold the bytes against what ``nft`` itself sends for the same commands.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from edged.nft import nla
from edged.nft.expr import rule_wire
from edged.nft.nla import attr, be32, be64, nest, nft_message, text
from edged.nft.schema import MANGLE, TABLE
from edged.nft.sets import SetSpec
from edged.nft.transaction import (
    KEY_BYTES,
    AddChain,
    AddCounter,
    AddElements,
    AddLimit,
    AddRule,
    AddSet,
    AddTable,
    DelElements,
    DelLimit,
    DelSet,
    DelTable,
    FlushRules,
    Operation,
    Transaction,
)

NEWTABLE, GETTABLE, DELTABLE, NEWCHAIN, GETCHAIN = 0, 1, 2, 3, 4
NEWRULE, GETRULE, DELRULE, NEWSET, GETSET, DELSET = 6, 7, 8, 9, 10, 11
NEWSETELEM, GETSETELEM, DELSETELEM = 12, 13, 14
NEWOBJ, GETOBJ, DELOBJ, DESTROYSETELEM, DESTROYOBJ = 18, 19, 20, 30, 31

OWNER, PERSIST = 0x2, 0x4
SET_INTERVAL, SET_MAP, SET_TIMEOUT, SET_OBJECT, SET_CONCAT = 0x4, 0x8, 0x10, 0x40, 0x80
OBJ_COUNTER, OBJ_LIMIT = 1, 4
TYPES = {"ipv4": 7, "ipv6": 8, "garden4": (7 << 12) | (12 << 6) | 13, "garden6": (8 << 12) | (12 << 6) | 13}
"""nft's own numbers for the key types, kept by the kernel for listings."""

_BIG_ENDIAN_KEY = b"\x00\x04\x02\x00\x00\x00"
"""Set user data as nft writes it: the key's byte order, so that ``nft list`` prints addresses."""

_PAYLOAD_LIMIT = 65_000
_FULL_PACKET = 1500
_TABLE = text(1, TABLE)


class Wire(NamedTuple):
    """One message to be: type, flags, body."""

    kind: int
    flags: int
    body: bytes


def _limit_burst(rate: int) -> int:
    """Bytes the kernel adds to one second of the rate as the size of the bucket: ten full packets in all at least.

    TCP needs them even at the lowest rate. Source: ``net/netfilter/nft_limit.c`` (nft_limit_init).
    """
    return max(10 * _FULL_PACKET - rate * 125, _FULL_PACKET)


def _set(spec: SetSpec) -> bytes:
    flags = (SET_OBJECT if spec.policed else 0) | (SET_TIMEOUT if spec.timed else 0)
    desc = be32(1, spec.size) if spec.size else b""
    if spec.key.startswith("garden"):
        flags |= SET_INTERVAL | SET_CONCAT
        widths = (4 if spec.key == "garden4" else 16, 1, 2)
        desc += nest(2, *(nest(1, be32(1, w)) for w in widths))
    parts = [_TABLE, text(2, spec.name), be32(3, flags), be32(4, TYPES[spec.key]), be32(5, KEY_BYTES[spec.key])]
    if spec.policed:
        parts.append(be32(15, OBJ_LIMIT))
    parts += [nest(9, desc)] if desc else []
    parts += [be32(10, 1), attr(13, _BIG_ENDIAN_KEY)]
    return b"".join(parts)


def _chain(op: AddChain) -> bytes:
    chain = op.chain
    parts = [_TABLE, text(3, chain.name)]
    if chain.hook is not None:
        parts += [nest(4, be32(1, chain.hook), be32(2, MANGLE)), be32(5, 1), text(7, "filter")]
    return b"".join(parts)


def per_message(key_bytes: int, extra: int = 0) -> int:
    """How many elements with ``extra`` bytes of other attributes fit one message."""
    return _PAYLOAD_LIMIT // (12 + key_bytes + extra)


def _plain_elements(keys: bytes, width: int) -> Iterator[bytes]:
    """Element lists of plain keys, built by numpy."""
    head = np.frombuffer(
        struct.pack("=HHHHHH", 12 + width, 1 | nla.NESTED, 8 + width, 1 | nla.NESTED, 4 + width, 1), np.uint8
    )
    table = np.frombuffer(keys, np.uint8).reshape(-1, width)
    step = per_message(width)
    for at in range(0, len(table), step):
        part = table[at : at + step]
        out = np.empty((len(part), 12 + width), np.uint8)
        out[:, :12] = head
        out[:, 12:] = part
        yield out.tobytes()


def _rich_elements(op: AddElements | DelElements, width: int) -> Iterator[bytes]:
    """Element lists with timeouts, policers or interval ends."""
    timeouts = op.timeouts if isinstance(op, AddElements) else ()
    objects = op.objects if isinstance(op, AddElements) else ()
    out: list[bytes] = []
    size = 0
    for i in range(len(op.keys) // width):
        parts = [nest(1, attr(1, op.keys[i * width : (i + 1) * width]))]
        if op.ends:
            parts.append(nest(10, attr(1, op.ends[i * width : (i + 1) * width])))
        if timeouts:
            parts.append(be64(4, max(timeouts[i], 1)))
        if objects:
            parts.append(text(9, objects[i]))
        element = nest(1, *parts)
        if size + len(element) > _PAYLOAD_LIMIT:
            yield b"".join(out)
            out, size = [], 0
        out.append(element)
        size += len(element)
    if out:
        yield b"".join(out)


def _elements(op: AddElements | DelElements, kind: int, flags: int) -> Iterator[Wire]:
    width = KEY_BYTES[op.spec.key]
    rich = op.ends or (isinstance(op, AddElements) and (op.timeouts or op.objects))
    head = _TABLE + text(2, op.spec.name)
    for part in _rich_elements(op, width) if rich else _plain_elements(op.keys, width):
        yield Wire(kind, flags, head + attr(3 | nla.NESTED, part))


def _chains_and_rules(op: AddTable | DelTable | AddChain | FlushRules | AddRule) -> Wire:
    match op:
        case AddTable(flags):
            return Wire(NEWTABLE, nla.NLM_F_CREATE, _TABLE + be32(2, flags))
        case DelTable():
            return Wire(DELTABLE, 0, _TABLE)
        case AddChain():
            return Wire(NEWCHAIN, nla.NLM_F_CREATE, _chain(op))
        case FlushRules():
            return Wire(DELRULE, 0, _TABLE)
        case AddRule(chain, rule):
            body = _TABLE + text(2, chain) + attr(4 | nla.NESTED, rule_wire(rule))
            return Wire(NEWRULE, nla.NLM_F_CREATE | nla.NLM_F_APPEND, body)


def _sets_and_objects(op: AddSet | DelSet | AddCounter | AddLimit | DelLimit) -> Wire:
    match op:
        case AddSet(spec):
            return Wire(NEWSET, nla.NLM_F_CREATE | nla.NLM_F_EXCL, _set(spec))
        case DelSet(name):
            return Wire(DELSET, 0, _TABLE + text(2, name))
        case AddCounter(name):
            zero = nest(4, be64(1, 0), be64(2, 0))
            return Wire(NEWOBJ, nla.NLM_F_CREATE, _TABLE + text(2, name) + be32(3, OBJ_COUNTER) + zero)
        case AddLimit(name, rate):
            data = nest(4, be64(1, rate * 125), be64(2, 1), be32(3, _limit_burst(rate)), be32(4, 1), be32(5, 0))
            return Wire(NEWOBJ, nla.NLM_F_CREATE, _TABLE + text(2, name) + be32(3, OBJ_LIMIT) + data)
        case DelLimit(name):
            return Wire(DELOBJ, 0, _TABLE + text(2, name) + be32(3, OBJ_LIMIT))


def encode(op: Operation, *, destroy: bool = True) -> Iterator[Wire]:
    """The messages of one operation. ``destroy``: the kernel (6.3 and later) can remove what may be missing."""
    match op:
        case AddElements():
            yield from _elements(op, NEWSETELEM, nla.NLM_F_CREATE)
        case DelElements(maybe=maybe):
            yield from _elements(op, DESTROYSETELEM if maybe and destroy else DELSETELEM, 0)
        case AddSet() | DelSet() | AddCounter() | AddLimit() | DelLimit():
            yield _sets_and_objects(op)
        case _:
            yield _chains_and_rules(op)


def enclosed(wires: Sequence[Wire], first_seq: int) -> tuple[bytes, int]:
    """Messages as one batch; the last one asks for the answer. (bytes, that one's sequence number)."""
    out = [nla.batch_mark(nla.BATCH_BEGIN, first_seq)]
    last = first_seq + len(wires)
    for seq, wire in enumerate(wires, first_seq + 1):
        out.append(nft_message(wire.kind, wire.flags | (nla.NLM_F_ACK if seq == last else 0), seq, wire.body))
    out.append(nla.batch_mark(nla.BATCH_END, last + 1))
    return b"".join(out), last


def batch(transaction: Transaction, first_seq: int, *, destroy: bool = True) -> tuple[bytes, int]:
    """The bytes of a whole transaction and the sequence number of its last message, which asks for the answer."""
    return enclosed([w for op in transaction.operations for w in encode(op, destroy=destroy)], first_seq)


def get_element(spec: SetSpec, key: bytes) -> bytes:
    """The body of a question for one element."""
    element = nest(1, nest(1, attr(1, key)))
    return _TABLE + text(2, spec.name) + nest(3, element)


class Listed(NamedTuple):
    """An element as the kernel lists it; ``expires`` in ms, 0 for never."""

    key: bytes
    end: bytes
    expires: int
    policer: str


def decode_elements(body: memoryview) -> Iterator[Listed]:
    """The elements in a NEWSETELEM message body."""
    lists = nla.table_of(body).get(3)
    if lists is None:
        return
    for _, element in nla.attrs(lists):
        parts = nla.table_of(element)
        key = bytes(nla.table_of(parts[1])[1]) if 1 in parts else b""
        end = bytes(nla.table_of(parts[10])[1]) if 10 in parts else b""
        expires = nla.number(parts[5]) if 5 in parts else 0
        yield Listed(key, end, expires, nla.string(parts[9]) if 9 in parts else "")
