"""Addresses and prefixes to keys: domain.md §4 (a recycled address), §5 (protected), contract `sub` and `bind`."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from edged.domain.address import Addressing, covering, literal, parse, words
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


def test_words_and_covering() -> None:
    keys = [*A.keys("10.0.0.0/25"), *A.keys("10.0.0.200"), *A.keys("2001:db8:0:100::/56")]
    assert words(keys[0]) == "10.0.0.0"
    assert words(keys[-1]) == "2001:db8:0:100::/56"
    assert covering(keys) == ["10.0.0.0/25", "10.0.0.200", "2001:db8:0:100::/56"]
    assert covering([]) == []
    assert all(A.keys(words(k)) == [k] for k in keys)


def test_the_remedy_is_named() -> None:
    with pytest.raises(Rejected, match=r"network\.ipv6_prefix_lengths"):
        A.keys("2001:db8::1")
    with pytest.raises(Rejected, match=r"network\.protected"):
        A.keys("192.0.2.7")
    assert str(parse("10.0.0.0/8")) == "10.0.0.0/8"
