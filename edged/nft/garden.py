"""Walled gardens as non-overlapping element ranges: pure.

A garden entry opens a network for every protocol, or for one protocol and a port range. The kernel's set for it
(address . protocol . port, ranges in each field) refuses overlaps, so entries are cut into disjoint ones first.
"""

from __future__ import annotations

import ipaddress
from collections import defaultdict
from collections.abc import Iterable
from typing import NamedTuple

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

ANY = (0, 255, 0, 65535)
"""Protocol range and port range that mean every packet."""


class Opening(NamedTuple):
    """A network with inclusive protocol and port ranges."""

    network: Network
    protocol_low: int = 0
    protocol_high: int = 255
    port_low: int = 0
    port_high: int = 65535

    @property
    def ports(self) -> tuple[int, int, int, int]:
        """The part behind the network."""
        return (self.protocol_low, self.protocol_high, self.port_low, self.port_high)


class Range(NamedTuple):
    """One set element: first and last packed key, both inclusive."""

    low: bytes
    high: bytes


def _pack(address: bytes, protocol: int, port: int) -> bytes:
    return address + bytes([protocol, 0, 0, 0]) + port.to_bytes(2, "big") + b"\0\0"


def _without(network: Network, holes: Iterable[Network]) -> list[Network]:
    """``network`` minus the holes, as networks."""
    parts: list[Network] = [network]
    for hole in holes:
        rest: list[Network] = []
        for part in parts:
            if part.version != hole.version or not part.overlaps(hole):
                rest.append(part)
            elif not part.subnet_of(hole):  # type: ignore[arg-type]
                rest += part.address_exclude(hole)  # type: ignore[arg-type]
        parts = rest
    return parts


def _cut(spans: set[tuple[int, int, int, int]]) -> list[tuple[int, int, int, int]]:
    """Port spans of one network made disjoint within each protocol."""
    out: list[tuple[int, int, int, int]] = []
    by_protocol: dict[tuple[int, int], list[tuple[int, int]]] = defaultdict(list)
    for low, high, first, last in spans:
        by_protocol[low, high].append((first, last))
    for (low, high), ports in sorted(by_protocol.items()):
        merged: list[list[int]] = []
        for first, last in sorted(ports):
            if merged and first <= merged[-1][1] + 1:
                merged[-1][1] = max(merged[-1][1], last)
            else:
                merged.append([first, last])
        out += [(low, high, a, b) for a, b in merged]
    return out


def ranges(openings: Iterable[Opening], version: int) -> frozenset[Range]:
    """The disjoint elements for one IP version (4 or 6)."""
    whole: list[Network] = []
    partial: dict[Network, set[tuple[int, int, int, int]]] = defaultdict(set)
    for o in openings:
        if o.network.version != version:
            continue
        if o.ports == ANY:
            whole.append(o.network)
        else:
            partial[o.network].add(o.ports)
    whole = list(ipaddress.collapse_addresses(whole))  # type: ignore[type-var]
    found: dict[Network, set[tuple[int, int, int, int]]] = {n: {ANY} for n in whole}
    # Wide networks first; a network inside another one takes the outer's ports along and is cut out of it.
    for network in sorted(partial, key=lambda n: -n.prefixlen):
        inner = [n for n in found if n.subnet_of(network)]  # type: ignore[arg-type]
        for n in inner:
            if ANY not in found[n]:
                found[n] |= partial[network]
        holes = [*whole, *inner]
        for part in _without(network, holes):
            found.setdefault(part, set()).update(partial[network])
    out: set[Range] = set()
    for network, spans in found.items():
        first, last = network.network_address.packed, network.broadcast_address.packed
        for low, high, a, b in _cut(spans):
            out.add(Range(_pack(first, low, a), _pack(last, high, b)))
    return frozenset(out)
