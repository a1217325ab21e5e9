"""Rule statements as values: each knows its nft text and its bytes.

The two forms are held against each other by a golden test that lets ``nft`` read the text and list the bytes.
A rule is a tuple of statements; nothing here has state, I/O or a clock. Register numbers and attribute numbers
follow ``linux/netfilter/nf_tables.h``.
"""

from __future__ import annotations

import ipaddress
import socket
import struct
from dataclasses import dataclass
from typing import Protocol

from edged.nft.nla import attr, be32, nest, text

REG_1 = 1
REG_2 = 2
REG32_01 = 9
REG32_02 = 10
REG32_04 = 12
REG32_05 = 13

NETWORK, TRANSPORT = 1, 2
EQ, GTE, LTE = 0, 5, 3

META_MARK, META_IIFNAME, META_OIFNAME, META_NFPROTO, META_L4PROTO = 3, 6, 7, 15, 16


class Statement(Protocol):
    """One step of a rule."""

    def text(self) -> str:
        """The step as nft writes it; empty where nft implies it."""

    def wire(self) -> bytes:
        """The step as NFTA_LIST_ELEM attributes."""


WHOLE4 = 0
"""In place of a prefix length: a whole IPv4 address (32 would be a provider-sized IPv6 prefix)."""

_SELECTOR = {4: "ip", 6: "ip6"}


def _expr(name: str, *parts: bytes) -> bytes:
    return nest(1, text(1, name), nest(2, *parts))


def _value(kind: int, payload: bytes) -> bytes:
    return nest(kind, attr(1, payload))


def _meta(key: int, reg: int = REG_1) -> bytes:
    return _expr("meta", be32(2, key), be32(1, reg))


def _cmp(payload: bytes, op: int = EQ, reg: int = REG_1) -> bytes:
    return _expr("cmp", be32(1, reg), be32(2, op), _value(3, payload))


def _payload(base: int, offset: int, length: int, reg: int = REG_1) -> bytes:
    return _expr("payload", be32(1, reg), be32(2, base), be32(3, offset), be32(4, length))


def _mask(mask: bytes, xor: bytes, reg: int = REG_1) -> bytes:
    return _expr("bitwise", be32(1, reg), be32(2, reg), be32(3, len(mask)), be32(6, 0), _value(4, mask), _value(5, xor))


def _lookup(name: str, reg: int = REG_1) -> bytes:
    return _expr("lookup", text(1, name), be32(2, reg), be32(5, 0))


def _family(family: int) -> bytes:
    return _meta(META_NFPROTO) + _cmp(bytes([socket.AF_INET if family == 4 else socket.AF_INET6]))


def _l4(proto: int) -> bytes:
    return _meta(META_L4PROTO) + _cmp(bytes([proto]))


def prefix_mask(length: int) -> bytes:
    """The 16-byte mask of an IPv6 prefix length."""
    return ipaddress.IPv6Network((0, length)).netmask.packed


@dataclass(frozen=True, slots=True)
class Interface:
    """The packet's interface: ``direction`` is ``iif`` or ``oif``; a trailing ``*`` in ``name`` is a wildcard."""

    direction: str
    name: str

    def text(self) -> str:
        return f'{self.direction}name "{self.name}"'

    def wire(self) -> bytes:
        key = META_IIFNAME if self.direction == "iif" else META_OIFNAME
        raw = self.name.encode()
        wanted = raw[:-1] if raw.endswith(b"*") else raw.ljust(16, b"\0")
        return _meta(key) + _cmp(wanted)


@dataclass(frozen=True, slots=True)
class Address:
    """Address (``side`` ``s`` or ``d``), cut to ``length`` bits, is in set ``name``. WHOLE4: a whole IPv4 address."""

    side: str
    length: int
    name: str

    @property
    def family(self) -> int:
        return 4 if self.length == WHOLE4 else 6

    def selector(self) -> str:
        if self.family == 4:
            return f"ip {self.side}addr"
        if self.length == 128:
            return f"ip6 {self.side}addr"
        return f"ip6 {self.side}addr & {ipaddress.IPv6Address(prefix_mask(self.length))}"

    def text(self) -> str:
        return f"{self.selector()} @{self.name}"

    def load(self) -> bytes:
        if self.family == 4:
            return _family(4) + _payload(NETWORK, 12 if self.side == "s" else 16, 4)
        out = _family(6) + _payload(NETWORK, 8 if self.side == "s" else 24, 16)
        if self.length != 128:
            out += _mask(prefix_mask(self.length), bytes(16))
        return out

    def wire(self) -> bytes:
        return self.load() + _lookup(self.name)


@dataclass(frozen=True, slots=True)
class Policer:
    """Within the rate of the limit object that map ``name`` holds for the address; else the rule ends here."""

    side: str
    length: int
    name: str

    def text(self) -> str:
        return f"limit name {Address(self.side, self.length, self.name).selector()} map @{self.name}"

    def wire(self) -> bytes:
        load = Address(self.side, self.length, self.name).load()
        return load + _expr("objref", be32(3, REG_1), text(4, self.name), be32(5, 0))


@dataclass(frozen=True, slots=True)
class Garden:
    """Address . protocol . port of the far end (``side`` ``d`` upwards, ``s`` downwards) is in set ``name``."""

    side: str
    family: int
    name: str

    def text(self) -> str:
        port = "dport" if self.side == "d" else "sport"
        return f"{_SELECTOR[self.family]} {self.side}addr . meta l4proto . th {port} @{self.name}"

    def wire(self) -> bytes:
        port = 2 if self.side == "d" else 0
        if self.family == 4:
            offset, length, proto_reg, port_reg = (16 if self.side == "d" else 12), 4, REG32_01, REG32_02
        else:
            offset, length, proto_reg, port_reg = (24 if self.side == "d" else 8), 16, REG32_04, REG32_05
        return (
            _family(self.family)
            + _payload(NETWORK, offset, length)
            + _meta(META_L4PROTO, proto_reg)
            + _expr("byteorder", be32(1, proto_reg), be32(2, proto_reg), be32(3, 1), be32(4, 1), be32(5, 2))
            + _payload(TRANSPORT, port, 2, port_reg)
            + _lookup(self.name)
        )


@dataclass(frozen=True, slots=True)
class Destination:
    """The routing table calls the destination ``kind``: local, broadcast or multicast."""

    kind: str

    def text(self) -> str:
        return f"fib daddr type {self.kind}"

    def wire(self) -> bytes:
        number = {"local": 2, "broadcast": 3, "multicast": 5}[self.kind]
        return _expr("fib", be32(1, REG_1), be32(2, 3), be32(3, 2)) + _cmp(struct.pack("=I", number))


@dataclass(frozen=True, slots=True)
class Icmp:
    """ICMP (family 4) or ICMPv6 type between ``low`` and ``high``."""

    family: int
    low: int
    high: int

    def text(self) -> str:
        name = "icmp" if self.family == 4 else "icmpv6"
        return f"{name} type {self.low}" + (f"-{self.high}" if self.high != self.low else "")

    def wire(self) -> bytes:
        head = _family(self.family) + _l4(1 if self.family == 4 else 58) + _payload(TRANSPORT, 0, 1)
        if self.low == self.high:
            return head + _cmp(bytes([self.low]))
        return head + _cmp(bytes([self.low]), GTE) + _cmp(bytes([self.high]), LTE)


@dataclass(frozen=True, slots=True)
class Family:
    """An IPv4 (``family`` 4) or IPv6 packet."""

    family: int

    def text(self) -> str:
        return f"meta nfproto ipv{self.family}"

    def wire(self) -> bytes:
        return _family(self.family)


@dataclass(frozen=True, slots=True)
class Tcp:
    """Any TCP packet."""

    def text(self) -> str:
        return "meta l4proto tcp"

    def wire(self) -> bytes:
        return _l4(6)


@dataclass(frozen=True, slots=True)
class Http:
    """TCP to port 80; with ``opening`` only the SYN that begins a connection."""

    family: int
    opening: bool = False

    def text(self) -> str:
        proto = "ipv4" if self.family == 4 else "ipv6"
        return f"meta nfproto {proto} tcp dport 80" + (" tcp flags & (syn | ack) == syn" if self.opening else "")

    def wire(self) -> bytes:
        out = _family(self.family) + _l4(6) + _payload(TRANSPORT, 2, 2) + _cmp(struct.pack(">H", 80))
        if self.opening:
            out += _payload(TRANSPORT, 13, 1) + _mask(b"\x12", b"\0") + _cmp(b"\x02")
        return out


@dataclass(frozen=True, slots=True)
class OwnSocket:
    """The packet belongs to a connection that a transparent socket of this machine already holds."""

    def text(self) -> str:
        return "socket transparent 1"

    def wire(self) -> bytes:
        return _expr("socket", be32(1, 0), be32(2, REG_1)) + _cmp(b"\x01")


@dataclass(frozen=True, slots=True)
class Tproxy:
    """Hand the packet to the local transparent listener; without one the rule ends here and the next decides."""

    family: int
    port: int

    def text(self) -> str:
        where = "ip to 127.0.0.1" if self.family == 4 else "ip6 to [::1]"
        return f"tproxy {where}:{self.port}"

    def wire(self) -> bytes:
        address = socket.inet_aton("127.0.0.1") if self.family == 4 else bytes(15) + b"\x01"
        return (
            _expr("immediate", be32(1, REG_1), _value(2, address))
            + _expr("immediate", be32(1, REG_2), _value(2, struct.pack(">H", self.port)))
            + _expr("tproxy", be32(1, 2 if self.family == 4 else 10), be32(2, REG_1), be32(3, REG_2))
        )


@dataclass(frozen=True, slots=True)
class Mark:
    """Set one bit of the packet mark and leave the operator's other bits alone."""

    bit: int

    def text(self) -> str:
        return f"meta mark set meta mark | {self.bit:#010x}"

    def wire(self) -> bytes:
        keep, add = struct.pack("=I", ~self.bit & 0xFFFFFFFF), struct.pack("=I", self.bit)
        return _meta(META_MARK) + _mask(keep, add) + _expr("meta", be32(2, META_MARK), be32(3, REG_1))


@dataclass(frozen=True, slots=True)
class Count:
    """Add the packet to the named counter."""

    name: str

    def text(self) -> str:
        return f'counter name "{self.name}"'

    def wire(self) -> bytes:
        return _expr("objref", be32(1, 1), text(2, self.name))


@dataclass(frozen=True, slots=True)
class Reject:
    """Refuse at once: ``tcp`` answers with a reset, ``admin`` with ICMP administratively prohibited."""

    how: str

    def text(self) -> str:
        return "reject with tcp reset" if self.how == "tcp" else "reject with icmpx admin-prohibited"

    def wire(self) -> bytes:
        kind, code = (1, 0) if self.how == "tcp" else (2, 3)
        return _expr("reject", be32(1, kind), attr(2, bytes([code])))


@dataclass(frozen=True, slots=True)
class Verdict:
    """``accept``, ``drop``, ``goto`` or ``jump`` (the last two with a chain)."""

    name: str
    chain: str = ""

    def text(self) -> str:
        return f"{self.name} {self.chain}".rstrip()

    def wire(self) -> bytes:
        code = {"accept": 1, "drop": 0, "jump": -3, "goto": -4}[self.name]
        inner = be32(1, code) + (text(2, self.chain) if self.chain else b"")
        return _expr("immediate", be32(1, 0), nest(2, nest(2, inner)))


Rule = tuple[Statement, ...]


def rule_text(rule: Rule) -> str:
    """The rule as one line of nft."""
    return " ".join(filter(None, (s.text() for s in rule)))


def rule_wire(rule: Rule) -> bytes:
    """The rule's expressions as the payload of NFTA_RULE_EXPRESSIONS."""
    return b"".join(s.wire() for s in rule)
