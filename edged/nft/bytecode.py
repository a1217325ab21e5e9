"""The kernel's rule expressions as bytes: loads, comparisons, lookups. Pure.

Register, key and attribute numbers follow ``linux/netfilter/nf_tables.h``.
"""

from __future__ import annotations

import ipaddress
import socket

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


def expression(name: str, *parts: bytes) -> bytes:
    """One expression: its name and its attributes."""
    return nest(1, text(1, name), nest(2, *parts))


def value(kind: int, payload: bytes) -> bytes:
    """Data as the kernel compares or masks with it."""
    return nest(kind, attr(1, payload))


def meta(key: int, reg: int = REG_1) -> bytes:
    """Load what the kernel knows of the packet."""
    return expression("meta", be32(2, key), be32(1, reg))


def compare(payload: bytes, op: int = EQ, reg: int = REG_1) -> bytes:
    """End the rule here unless the register compares so."""
    return expression("cmp", be32(1, reg), be32(2, op), value(3, payload))


def packet_bytes(base: int, offset: int, length: int, reg: int = REG_1) -> bytes:
    """Load bytes of the packet; ``base`` NETWORK or TRANSPORT, ``offset`` and ``length`` in bytes."""
    return expression("payload", be32(1, reg), be32(2, base), be32(3, offset), be32(4, length))


def masked(mask: bytes, xor: bytes, reg: int = REG_1) -> bytes:
    """The register becomes: register and ``mask``, exclusive-or ``xor``."""
    both = value(4, mask), value(5, xor)
    return expression("bitwise", be32(1, reg), be32(2, reg), be32(3, len(mask)), be32(6, 0), *both)


def lookup(name: str, reg: int = REG_1) -> bytes:
    """End the rule here unless the set holds what is in the register."""
    return expression("lookup", text(1, name), be32(2, reg), be32(5, 0))


def family_is(family: int) -> bytes:
    """End the rule here unless the packet is IPv4 (4) or IPv6 (6)."""
    return meta(META_NFPROTO) + compare(bytes([socket.AF_INET if family == 4 else socket.AF_INET6]))


def protocol_is(proto: int) -> bytes:
    """End the rule here unless the transport protocol is this one."""
    return meta(META_L4PROTO) + compare(bytes([proto]))


def prefix_mask(length: int) -> bytes:
    """The 16-byte mask of an IPv6 prefix length."""
    return ipaddress.IPv6Network((0, length)).netmask.packed
