"""What a rule asks of a packet, as values: each statement knows its nft text and its bytes.

The two forms are held against each other by golden tests: against what ``nft`` sends for the text, and what it lists
for the bytes. A rule is a tuple of statements; nothing here has state, I/O or a clock. What a rule does: ``action.py``.
"""

from __future__ import annotations

import ipaddress
import struct
from dataclasses import dataclass
from typing import Protocol

from edged.nft.bytecode import (
    GTE,
    LTE,
    META_IIFNAME,
    META_L4PROTO,
    META_OIFNAME,
    NETWORK,
    REG32_01,
    REG32_02,
    REG32_04,
    REG32_05,
    REG_1,
    TRANSPORT,
    compare,
    expression,
    family_is,
    lookup,
    masked,
    meta,
    packet_bytes,
    prefix_mask,
    protocol_is,
)
from edged.nft.nla import be32, text


class Statement(Protocol):
    """One step of a rule."""

    def text(self) -> str:
        """The step as nft writes it; empty where nft implies it."""

    def wire(self) -> bytes:
        """The step as NFTA_LIST_ELEM attributes."""


WHOLE4 = 0
"""In place of a prefix length: a whole IPv4 address (32 would be a provider-sized IPv6 prefix)."""

_SELECTOR = {4: "ip", 6: "ip6"}


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
        return meta(key) + compare(wanted)


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
            return family_is(4) + packet_bytes(NETWORK, 12 if self.side == "s" else 16, 4)
        out = family_is(6) + packet_bytes(NETWORK, 8 if self.side == "s" else 24, 16)
        if self.length != 128:
            out += masked(prefix_mask(self.length), bytes(16))
        return out

    def wire(self) -> bytes:
        return self.load() + lookup(self.name)


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
        return load + expression("objref", be32(3, REG_1), text(4, self.name), be32(5, 0))


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
            family_is(self.family)
            + packet_bytes(NETWORK, offset, length)
            + meta(META_L4PROTO, proto_reg)
            + expression("byteorder", be32(1, proto_reg), be32(2, proto_reg), be32(3, 1), be32(4, 1), be32(5, 2))
            + packet_bytes(TRANSPORT, port, 2, port_reg)
            + lookup(self.name)
        )


@dataclass(frozen=True, slots=True)
class Destination:
    """The routing table calls the destination ``kind``: local, broadcast or multicast."""

    kind: str

    def text(self) -> str:
        return f"fib daddr type {self.kind}"

    def wire(self) -> bytes:
        number = {"local": 2, "broadcast": 3, "multicast": 5}[self.kind]
        return expression("fib", be32(1, REG_1), be32(2, 3), be32(3, 2)) + compare(struct.pack("=I", number))


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
        head = family_is(self.family) + protocol_is(1 if self.family == 4 else 58) + packet_bytes(TRANSPORT, 0, 1)
        if self.low == self.high:
            return head + compare(bytes([self.low]))
        return head + compare(bytes([self.low]), GTE) + compare(bytes([self.high]), LTE)


@dataclass(frozen=True, slots=True)
class Family:
    """An IPv4 (``family`` 4) or IPv6 packet."""

    family: int

    def text(self) -> str:
        return f"meta nfproto ipv{self.family}"

    def wire(self) -> bytes:
        return family_is(self.family)


@dataclass(frozen=True, slots=True)
class Tcp:
    """Any TCP packet."""

    def text(self) -> str:
        return "meta l4proto tcp"

    def wire(self) -> bytes:
        return protocol_is(6)


@dataclass(frozen=True, slots=True)
class Http:
    """TCP to port 80; with ``opening`` only the SYN that begins a connection."""

    family: int
    opening: bool = False

    def text(self) -> str:
        proto = "ipv4" if self.family == 4 else "ipv6"
        return f"meta nfproto {proto} tcp dport 80" + (" tcp flags & (syn | ack) == syn" if self.opening else "")

    def wire(self) -> bytes:
        out = family_is(self.family) + protocol_is(6) + packet_bytes(TRANSPORT, 2, 2) + compare(struct.pack(">H", 80))
        if self.opening:
            out += packet_bytes(TRANSPORT, 13, 1) + masked(b"\x12", b"\0") + compare(b"\x02")
        return out


@dataclass(frozen=True, slots=True)
class OwnSocket:
    """The packet belongs to a connection that a transparent socket of this machine already holds."""

    def text(self) -> str:
        return "socket transparent 1"

    def wire(self) -> bytes:
        return expression("socket", be32(1, 0), be32(2, REG_1)) + compare(b"\x01")


Rule = tuple[Statement, ...]


def rule_text(rule: Rule) -> str:
    """The rule as one line of nft."""
    return " ".join(filter(None, (s.text() for s in rule)))


def rule_wire(rule: Rule) -> bytes:
    """The rule's expressions as the payload of NFTA_RULE_EXPRESSIONS."""
    return b"".join(s.wire() for s in rule)
