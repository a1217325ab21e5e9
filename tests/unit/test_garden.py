"""Openings cut into ranges that never overlap and together let through exactly what was asked for."""

from __future__ import annotations

from ipaddress import IPv4Address, ip_network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edged.nft.garden import ANY, Opening, Range, ranges


def fields(packed: bytes) -> tuple[bytes, int, int]:
    return packed[:-8], packed[-8], int.from_bytes(packed[-4:-2])


def lets(found: frozenset[Range], address: str, protocol: int, port: int) -> int:
    """How many ranges let a packet through."""
    wanted = IPv4Address(address).packed, protocol, port
    spans = [zip(fields(r.low), wanted, fields(r.high), strict=True) for r in found]
    return sum(all(a <= x <= b for a, x, b in span) for span in spans)  # type: ignore[operator]


def tcp(network: str, first: int, last: int) -> Opening:
    return Opening(ip_network(network), 6, 6, first, last)


CASES: dict[str, tuple[list[Opening], int]] = {
    "nothing": ([], 0),
    "a network": ([Opening(ip_network("192.0.2.0/24"))], 1),
    "twice the same": ([Opening(ip_network("192.0.2.0/24"))] * 2, 1),
    "neighbours become one": ([Opening(ip_network("192.0.2.0/25")), Opening(ip_network("192.0.2.128/25"))], 1),
    "an inner one goes": ([Opening(ip_network("192.0.2.0/24")), tcp("192.0.2.7/32", 443, 443)], 1),
    "a wide one with ports is cut around": ([Opening(ip_network("192.0.2.0/32")), tcp("192.0.2.0/30", 443, 443)], 3),
    "ports that touch become one": ([tcp("192.0.2.1/32", 80, 80), tcp("192.0.2.1/32", 81, 90)], 1),
    "ports apart stay": ([tcp("192.0.2.1/32", 80, 80), tcp("192.0.2.1/32", 443, 443)], 2),
    "the other family is not mine": ([Opening(ip_network("2001:db8::/32"))], 0),
}


@pytest.mark.parametrize("name", CASES)
def test_cases(name: str) -> None:
    openings, n = CASES[name]
    assert len(ranges(openings, 4)) == n


def test_packing_is_what_the_kernel_takes() -> None:
    (made,) = ranges([tcp("192.0.2.1/32", 80, 443)], 4)
    assert made.low.hex() == "c000020106000000" + "00500000"
    assert made.high.hex() == "c000020106000000" + "01bb0000"
    (whole,) = ranges([Opening(ip_network("2001:db8::/32"))], 6)
    assert whole.low.hex() == "20010db8" + "0" * 24 + "00000000" + "00000000"
    assert whole.high.hex() == "20010db8" + "f" * 24 + "ff000000" + "ffff0000"
    assert Opening(ip_network("192.0.2.0/24")).ports == ANY


NETWORKS = st.builds(
    lambda n, length: ip_network((0xC0000200 + (n >> (32 - length) << (32 - length)), length)),
    st.integers(0, 15),
    st.sampled_from([28, 29, 30, 31, 32]),
)
PORTS = st.tuples(st.integers(0, 6), st.integers(0, 6)).map(sorted)
OPENINGS = st.lists(
    st.one_of(
        NETWORKS.map(Opening),
        st.builds(lambda n, p, span: Opening(n, p, p, *span), NETWORKS, st.sampled_from([6, 17]), PORTS),
    ),
    max_size=6,
)


@settings(deadline=None, max_examples=60)
@given(OPENINGS)
def test_every_packet_is_let_through_once_or_not_at_all(openings: list[Opening]) -> None:
    found = ranges(openings, 4)
    for n in range(16):
        for protocol in (1, 6, 17):
            for port in range(8):
                address = f"192.0.2.{n}"
                asked = any(
                    IPv4Address(address) in o.network
                    and o.protocol_low <= protocol <= o.protocol_high
                    and o.port_low <= port <= o.port_high
                    for o in openings
                )
                assert lets(found, address, protocol, port) == int(asked)
