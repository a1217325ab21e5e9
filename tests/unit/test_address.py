"""Addresses and prefixes to keys: domain.md §4 (a recycled address), §5 (protected), contract `sub` and `bind`."""

from __future__ import annotations

from ipaddress import IPv6Address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edged.domain.address import Addressing, _refuse_special, literal, parse, words
from edged.domain.rejection import Rejected

A = Addressing((64, 56), (ip_network("192.0.2.0/24"), ip_network("2001:db8:f::/48")))


def key4(text: str) -> bytes:
    return b"\x04" + ip_network(text).network_address.packed


def key6(text: str) -> bytes:
    network = ip_network(text)
    return bytes([network.prefixlen]) + network.network_address.packed


ONE = {
    "100.64.0.10": [key4("100.64.0.10")],
    "100.64.0.10/32": [key4("100.64.0.10")],
    "100.64.0.8/30": [key4(f"100.64.0.{n}") for n in (8, 9, 10, 11)],
    "223.255.255.254": [key4("223.255.255.254")],
    "2001:db8:0:100::/56": [key6("2001:db8:0:100::/56")],
    "2001:DB8:0:100:0::/56": [key6("2001:db8:0:100::/56")],
    "2001:db8:0:142::/64": [key6("2001:db8:0:142::/64")],
    "2001:db8:0:142::/60": [],
    "2001:db8:0:140::/60": [key6(f"2001:db8:0:14{n:x}::/64") for n in range(16)],
    "2001:db8:0:200::/55": [key6("2001:db8:0:200::/56"), key6("2001:db8:0:300::/56")],
}


@pytest.mark.parametrize("text", [t for t, keys in ONE.items() if keys])
def test_keys(text: str) -> None:
    assert A.keys(text) == ONE[text]
    assert A.keys(text) == sorted(A.keys(text))


def test_a_slash_24_is_the_widest_of_ipv4_and_256_prefixes_of_ipv6() -> None:
    assert len(A.keys("10.0.0.0/24")) == 256
    assert len(A.keys("2001:db8:100::/48")) == 256
    with pytest.raises(Rejected, match="wider than /24"):
        A.keys("10.0.0.0/23")
    with pytest.raises(Rejected, match="more than 256"):
        A.keys("2001:db8:100::/47")


REFUSED = {
    "bad_address": (
        "", "x", "100.64.0", "100.64.0.256", "100.64.0.10/33", "100.64.0.10/24", "1.2.3.4/0", "0.0.0.0/0", "::/0",
        "100.64.0.010", " 100.64.0.1", "100.64.0.1 ", "١٠٠.64.0.1", "100.64.0.1\0", "2001:db8::1", "2001:db8::/65",
        "2001:db8::/128", "2001:db8:0:1::1/64", "2001:db8::g", "fe80::1/64", "fe80::/64", "ff02::/64", "::1/128",
        "127.0.0.1", "127.0.0.0/24", "0.0.0.0", "224.0.0.1", "255.255.255.255",
        "239.1.2.0/24", "::/64", "64", "4", "fe80::1%eth0",
    ),
    "address_protected": (
        "192.0.2.1", "192.0.2.0/24", "192.0.2.128/25", "2001:db8:f:1::/64", "2001:db8:f:100::/56", "2001:db8:e::/47",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("code", "text"), [(c, t) for c, texts in REFUSED.items() for t in texts])
def test_refused(code: str, text: str) -> None:
    with pytest.raises(Rejected) as caught:
        A.keys(text)
    assert caught.value.code == code
    assert caught.value.detail


def test_lookup_goes_from_the_most_specific_to_the_widest() -> None:
    assert A.lookup("100.64.0.10") == [key4("100.64.0.10")]
    assert A.lookup("2001:db8:0:142::5") == [key6("2001:db8:0:142::/64"), key6("2001:db8:0:100::/56")]
    assert A.lookup("2001:db8:0:100::/56") == [key6("2001:db8:0:100::/56")]
    assert A.lookup("2001:db8::/48") == []
    with pytest.raises(Rejected):
        A.lookup("nobody")


LITERALS = {
    "100.64.0.10": "100.64.0.10",
    "100.64.0.10/32": "100.64.0.10",
    "100.64.0.8/30": "100.64.0.8/30",
    "2001:DB8:0:100::/56": "2001:db8:0:100::/56",
    "2001:db8::1": "2001:db8::1",
    "C-1001": None,
    "": None,
    "1001": None,
    "100.64.0.9/30": None,
    "abcd": None,
    "a:b": None,
}


@pytest.mark.parametrize("text", LITERALS)
def test_a_literal_address_has_one_name(text: str) -> None:
    assert literal(text) == LITERALS[text]


def test_words_of_keys() -> None:
    keys = [*A.keys("10.0.0.0/25"), *A.keys("10.0.0.200"), *A.keys("2001:db8:0:100::/56")]
    assert words(keys[0]) == "10.0.0.0"
    assert words(keys[-1]) == "2001:db8:0:100::/56"
    assert all(A.keys(words(k)) == [k] for k in keys)


def test_the_remedy_is_named() -> None:
    with pytest.raises(Rejected, match=r"network\.ipv6_prefix_lengths"):
        A.keys("2001:db8::1")
    with pytest.raises(Rejected, match=r"network\.protected"):
        A.keys("192.0.2.7")
    assert str(parse("10.0.0.0/8")) == "10.0.0.0/8"


@given(
    st.one_of(st.ip_addresses(v=4).map(str), st.sampled_from(["192.0.2.1", "127.0.0.1", "224.0.0.1", "0.0.0.1"])),
    st.one_of(st.ip_addresses(v=6).map(int), st.integers(0x20 << 120, (0x40 << 120) - 1)),
    st.sampled_from([32, 48, 55, 56, 57, 60, 64, 65, 128]),
)
def test_the_quick_way_says_what_the_long_way_says(v4: str, v6: int, length: int) -> None:
    addressing = Addressing((64, 56), (ip_network("192.0.2.0/24"), ip_network("2001:db8:ff00::/40")))
    whole = v6 >> (128 - length) << (128 - length)
    for text in (v4, f"{IPv6Address(whole)}/{length}", f"{IPv6Address(v6)}/{length}", str(IPv6Address(v6))):
        quick = addressing._quick(text)
        try:
            network = parse(text)
            _refuse_special(network, text)
            addressing._refuse_protected(network, text)
            slow = addressing._v4(network, text) if network.version == 4 else addressing._v6(network, text)
        except Rejected:
            assert quick is None
        else:
            assert quick is None or [quick] == slow


def test_most_addresses_go_the_quick_way() -> None:
    addressing = Addressing((64, 56), (ip_network("192.0.2.0/24"),))
    assert addressing._quick("100.64.0.10") == b"\x04\x64\x40\x00\x0a"
    assert addressing._quick("2001:db8:0:100::/56") is not None
    assert addressing._quick("2001:db8:0:101::/56") is None, "host bits"
    assert addressing._quick("192.0.2.7") is None
