"""The records between core and portal."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edged.domain.standing import Standing
from edged.portal import wire

HERE = wire.pack_address("100.64.0.10")
RECORDS: list[wire.Record] = [
    wire.Hello(4, need=True),
    wire.Hello(1, need=False, version=9),
    wire.Who(7, (wire.pack_address("100.64.0.10"),)),
    wire.Who(7, tuple(wire.pack_address(f"2001:db8::{n}") for n in range(wire.MOST_ASKED))),
    wire.Shown(wire.pack_address("2001:db8::1"), pressed=True),
    wire.Stats("redirect", 302, 12, 0.5, 11),
    wire.Stats("refused", wire.CLOSED, 1),
    wire.Sockets(3, 4, ipv4=True, ipv6=False, site=True),
    wire.People(0xFFFFFFFF, (Standing(3, "debt", 1_700_000_000_000),)),
    wire.People(9, (Standing(2, "debt_partial", 1, 2, 3, 4, 5, broken=True, asked=True, next_level=3), None)),
    wire.People(9, (Standing(0, "", 0, can_trust=True, outage=True, pays=True),) * wire.MOST_ASKED),
    wire.Watch(wire.pack_address("100.64.0.10"), on=True),
    wire.Changed(wire.pack_address("100.64.0.10")),
    wire.Ask(3, wire.pack_address("2001:db8::1"), 2**64 - 1),
    *(wire.Asked(4, answer) for answer in wire.ANSWERS),
    wire.Prove(5, wire.pack_address("100.64.0.10"), 4711, b"K7-2349"),
    wire.Prove(5, wire.pack_address("100.64.0.10"), 4711, b"9" * wire.MOST_CODE),
    wire.Token(6, HERE, 8, b""),
    wire.Token(6, HERE, 8, b"x" * wire.MOST_TOKEN),
    wire.Proof(7, "ok", bytes(range(wire.TICKET))),
    wire.Proof(7, "locked"),
    wire.Bill(8, bytes(range(wire.TICKET))),
    wire.Payment(9, {"amount": "123.45", "month": "2026-11"}),
    wire.Payment(9, {}),
    wire.Texts("debt", {"title.pt-BR": "Aviso não urgente"}),
    wire.Texts("notice", {}),
    wire.People(0, (Standing(0, "", 0),)),
]


@pytest.mark.parametrize("record", RECORDS, ids=repr)
def test_a_record_survives_the_wire(record: wire.Record) -> None:
    data = wire.encode(record)
    assert len(data) <= wire.LARGEST
    assert wire.decode(data) == record


def test_what_is_too_long_is_not_sent() -> None:
    for record in (
        wire.Token(1, HERE, 8, b"x" * (wire.MOST_TOKEN + 1)),
        wire.Prove(1, bytes(16), 0, b"1" * (wire.MOST_CODE + 1)),
        wire.Payment(1, {"pix": "x" * wire.MOST_JSON}),
        wire.Who(1, (bytes(16),) * (wire.MOST_ASKED + 1)),
        wire.People(1, (None,) * (wire.MOST_ASKED + 1)),
    ):
        with pytest.raises(ValueError, match="fit"):
            wire.encode(record)


def test_no_secret_is_in_a_records_repr() -> None:
    for record in (
        wire.Token(1, HERE, 8, b"secret"),
        wire.Prove(1, bytes(16), 0, b"secret"),
        wire.Proof(1, "ok", b"secret".ljust(16)),
        wire.Bill(1, b"secret".ljust(16)),
        wire.Payment(1, {"amount": "secret"}),
    ):
        assert "secret" not in repr(record)


def test_golden_bytes() -> None:
    assert wire.encode(wire.Who(1, (wire.pack_address("192.0.2.1"),))).hex() == (
        "02" + "00000001" + "00000000000000000000ffffc0000201"
    )
    assert wire.encode(wire.Hello(2, need=True)).hex() == "01" + "04" + "0002" + "01"
    assert (
        wire.encode(wire.People(5, (Standing(1, "notice", 2),))).hex()
        == "06" + "00000005" + "01" + "01" + "00" + "00" * 7 + "02" + "00" * 33
    )


@pytest.mark.parametrize("reason", wire.REASONS)
def test_every_reason_of_the_rules_has_a_code(reason: str) -> None:
    record = wire.People(1, (Standing(3, reason, 0),))
    assert wire.decode(wire.encode(record)) == record


def test_an_unknown_reason_is_told_as_other() -> None:
    found = wire.decode(wire.encode(wire.People(1, (Standing(3, "something new", 0),))))
    assert found == wire.People(1, (Standing(3, "other", 0),))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0",
        b"\xff" * 20,
        wire.encode(RECORDS[0])[:-1],
        wire.encode(RECORDS[0]) + b"\0",
        b"\x04\x09" + wire.encode(RECORDS[4])[2:],  # a kind that does not exist
        b"\x04\x00\x00\x07" + wire.encode(RECORDS[4])[4:],  # status 7
        wire.encode(wire.Stats("page", 200, 1, float("nan"), 1)),
        wire.encode(wire.Stats("page", 200, 1, -1.0, 1)),
        wire.encode(wire.Token(1, HERE, 8, b"x" * wire.MOST_TOKEN)) + b"x",
        wire.encode(wire.Prove(1, bytes(16), 0, b"123456"))[:29] + b"\x07" + b"1" * 32,  # longer than it says
        wire.encode(wire.Prove(1, bytes(16), 0, b"123456"))[:29] + b"\x21" + b"1" * 32,  # says more than fits
        b"\x0a" + bytes(4) + b"\x06",  # an answer that does not exist
        b"\x0d" + bytes(4) + b"\x08" + bytes(16),  # a verdict that does not exist
        b"\x0f" + bytes(4) + b"[]",
        b"\x0f" + bytes(4) + b'{"amount": 1}',
        b"\x10\x01" + b"\xff{}",
        b"\x10\x01" + b"{}" * wire.MOST_JSON,
        b"\x06" + bytes(4) + b"\x01\x01\xff" + bytes(41),  # flags of another version
        b"\x06" + bytes(4) + b"\x05\x01\x00" + bytes(41),  # a level of another version
        b"\x06" + bytes(4) + b"\xff" + bytes(42) + b"\x01",  # unknown, and yet something
        b"\x06" + bytes(4),  # of nobody
        b"\x06" + bytes(4) + bytes(44 + 43),
        b"\x02" + bytes(4),
        b"\x02" + bytes(4) + bytes(17),
        b"\x02" + bytes(4) + bytes(16 * 33),
    ],
)
def test_what_is_no_record_is_refused(data: bytes) -> None:
    with pytest.raises(wire.WireError):
        wire.decode(data)


@given(st.binary(max_size=80))
def test_noise_is_a_record_or_an_error_of_ours(data: bytes) -> None:
    try:
        record = wire.decode(data)
    except wire.WireError:
        return
    assert wire.decode(wire.encode(record)) == record


@given(st.ip_addresses())
def test_addresses_survive(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    mapped = getattr(address, "ipv4_mapped", None)
    assert wire.address_text(wire.pack_address(str(address))) == str(mapped or address)


def test_a_zone_is_left_out_and_nonsense_refused() -> None:
    assert wire.address_text(wire.pack_address("fe80::1%eth0")) == "fe80::1"
    for text in ("", "localhost", "1.2.3", "unix:"):
        with pytest.raises(ValueError, match="address"):
            wire.pack_address(text)
