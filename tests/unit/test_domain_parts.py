"""What is around the rules: names, keys, envelopes, digests and limits, to the last that stands (contract §1)."""

from __future__ import annotations

import datetime as dt
import hashlib
import inspect
import json
import zlib
from ipaddress import ip_network
from typing import Any

import msgspec
import pytest

from edged.domain import address, audit, batch, digest, keytext
from edged.domain import command as c
from edged.domain.address import Addressing
from edged.domain.entry import OPEN, PLAIN, WALLED, Entry
from edged.domain.levels import Level
from edged.domain.model import Invoice
from edged.domain.order import Gap, judge
from edged.domain.rejection import Rejected
from edged.domain.standing import Standing

SUB = {"sub": "C-1"}
UNTIL = {"until": "2026-12-01T00:00:00Z"}


def read(document: Any) -> Any:
    return c.read_command(json.dumps(document).encode())


def code(document: Any) -> str:
    with pytest.raises(Rejected) as caught:
        read(document)
    return caught.value.code


# -- limits: the last value that stands, and the first that does not --------------------------------------------------


def many(n: int) -> list[str]:
    return [f"d{i}.example" for i in range(n)]


GARDEN = {"op": "garden", "name": "g"}
LIMITS: dict[str, tuple[dict[str, Any], str, Any, Any]] = {
    "sub, empty": ({"op": "untrust"}, "sub", "x", ""),
    "ref": ({"op": "untrust", **SUB}, "ref", "x" * 128, "x" * 129),
    "ref, empty": ({"op": "untrust", **SUB}, "ref", "x", ""),
    "rev": ({"op": "untrust", **SUB}, "rev", (1 << 63) - 1, 1 << 63),
    "rev, least": ({"op": "untrust", **SUB}, "rev", 0, -1),
    "invoices": ({"op": "block", **SUB, "reason": "debt"}, "invoices", ["F"] * 500, ["F"] * 501),
    "invoices paid": ({"op": "paid", **SUB}, "invoices", ["F"] * 500, ["F"] * 501),
    "invoices paid, none": ({"op": "paid", **SUB}, "invoices", ["F"], []),
    "rate": ({"op": "block", **SUB, "reason": "debt_partial"}, "rate", 100_000_000, 100_000_001),
    "rate, least": ({"op": "block", **SUB, "reason": "debt_partial"}, "rate", 8, 7),
    "hours": ({"op": "trust", **SUB}, "hours", 1_000_000, 1_000_001),
    "hours, least": ({"op": "trust", **SUB}, "hours", 0.001, 0),
    "days": ({"op": "trust", **SUB}, "days", 40_000, 40_001),
    "days, least": ({"op": "trust", **SUB}, "days", 0.001, 0),
    "a field of a page": ({"op": "page", **SUB}, "fields", {"line": "1" * 2000}, {"line": "1" * 2001}),
    "sub, its begin": ({"op": "untrust"}, "sub", "C 1", " C1"),
    "sub, its end": ({"op": "untrust"}, "sub", "!C", "C "),
    "sub, printable": ({"op": "untrust"}, "sub", "ã", "a\u200b"),
    "an invoice": ({"op": "paid", **SUB}, "invoices", [{"id": "A", "due": None}], [{"id": "A", "du": "2026-01-01"}]),
    "addresses": ({"op": "bind", **SUB}, "addresses", ["100.64.0.1"] * 256, ["100.64.0.1"] * 257),
    "an address": ({"op": "bind", **SUB}, "addresses", ["1" * 64], ["1" * 65]),
    "query address": ({"op": "query"}, "address", "1" * 64, "1" * 65),
    "area": ({"op": "end_moratorium"}, "area", "x" * 128, "x" * 129),
    "area, empty": ({"op": "end_moratorium"}, "area", "x", ""),
    "dates": ({"op": "calendar", "area": "n", "version": "1"}, "dates", ["2026-01-01"] * 1000, ["2026-01-01"] * 1001),
    "networks": (GARDEN, "networks", ["192.0.2.0/24"] * 2000, ["192.0.2.0/24"] * 2001),
    "domains": (GARDEN, "domains", many(500), many(501)),
    "ports": ({**GARDEN, "domains": ["a.example"]}, "ports", [1] * 100, [1] * 101),
    "a port": ({**GARDEN, "domains": ["a.example"]}, "ports", [65535], [65536]),
    "a port, least": ({**GARDEN, "domains": ["a.example"]}, "ports", [1, "tcp/1"], [0]),
    "a range, least": ({**GARDEN, "domains": ["a.example"]}, "ports", ["1-5"], ["0-5"]),
    "a range, last": ({**GARDEN, "domains": ["a.example"]}, "ports", ["5-65535"], ["5-65536"]),
    "a range": ({**GARDEN, "domains": ["a.example"]}, "ports", ["5-5"], ["6-5"]),
    "a garden's IPv4": (GARDEN, "networks", ["10.0.0.0/8"], ["10.0.0.0/7"]),
    "a garden's IPv6": (GARDEN, "networks", ["2001::/16"], ["2000::/15"]),
    "labels": (GARDEN, "domains", ["a.b.c.example"], ["example"]),
    "year": ({"op": "moratorium", "area": "n"}, "until", "1971-01-01T00:00:00Z", "1970-12-31T00:00:00Z"),
    "year, last": ({"op": "moratorium", "area": "n"}, "until", "8999-12-31T00:00:00Z", "9000-01-01T00:00:00Z"),
    "eta": ({"op": "outage", "id": "o", "area": "n"}, "eta", "8999-12-31T00:00:00Z", "9000-01-01T00:00:00Z"),
    "where a holiday is": ({"op": "calendar", "dates": [], "version": "1"}, "area", "+", "*"),
    "where somebody lives": ({"op": "bind", **SUB, "addresses": []}, "area", "+", "*"),
    "a reason ended": ({"op": "unblock", **SUB}, "reason", "debt*", "debt+"),
    "a reason ended, unknown": ({"op": "unblock", **SUB}, "reason", "debt", "zeal"),
    "defer": ({"op": "defer", **SUB, "kind": "dispute"}, "until", UNTIL["until"], "9999-01-01T00:00:00Z"),
    "defer kind": ({"op": "defer", **SUB, **UNTIL}, "kind", "hardship", "moratorium"),
}


@pytest.mark.parametrize("row", LIMITS)
def test_limit(row: str) -> None:
    document, field, last, beyond = LIMITS[row]
    assert c.op_of(read({**document, field: last})) == document["op"]
    assert code({**document, field: beyond}) == "malformed"


@pytest.mark.parametrize("kind", [*c.TAGS, c.InvoiceIn, c.Override, c.Port], ids=lambda kind: kind.__name__)
def test_commands_do_not_change_and_their_parts_are_named(kind: type[msgspec.Struct]) -> None:
    assert kind.__struct_config__.frozen
    if kind in c.TAGS:
        order = [p.name for p in inspect.signature(kind).parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD]
        assert order in ([], ["sub", "rev", "ref"], ["sub", "address"])


def test_what_is_not_said_of_a_command() -> None:
    assert read({"op": "moratorium", "area": "n", **UNTIL}).release_existing is False
    assert read({"op": "bind", **SUB, "addresses": []}).replace is True
    assert read({"op": "outage", "id": "o", "area": "n"}).eta is None
    assert read({"op": "trust", **SUB}).basis == "promise"
    assert read({"op": "garden", "name": "g"}).kept() == {"networks": [], "domains": [], "ports": []}


def test_invoices_each_once_the_last_word_counting() -> None:
    when = c.InvoiceIn("A", dt.date(2026, 1, 2))
    assert c.listed([]) == ()
    assert c.listed(["A"]) == (Invoice("A"),)
    assert c.listed([when]) == (Invoice("A", "2026-01-02"),)
    assert c.listed([c.InvoiceIn("A")]) == (Invoice("A"),)
    assert c.listed(["A", "B", when]) == (Invoice("A", "2026-01-02"), Invoice("B"))
    assert c.listed([when, "A"]) == (Invoice("A"),)


def test_their_names_each_once() -> None:
    dated = c.InvoiceIn("A", dt.date(2026, 1, 2))
    assert (c.names([]), c.names(["A"]), c.names([dated])) == ((), ("A",), ("A",))
    assert (c.names(["A", "B"]), c.names(["B", dated])) == (("A", "B"), ("B", "A"))
    assert c.names([dated, "B", "A"]) == ("A", "B")


def test_ports_without_whose() -> None:
    assert code({**GARDEN, "ports": [443]}) == "malformed"
    assert read({**GARDEN, "ports": [443], "networks": ["192.0.2.0/24"]}).spans() == [c.Port((6, 17), 443, 443)]


@pytest.mark.parametrize(
    ("document", "told"),
    [
        ({"op": "page"}, "malformed: Object missing required field `fields`"),
        ({"op": "pagex"}, "unknown_op: op 'pagex' is unknown; known are"),
        ({"op": ["page"]}, "unknown_op: op ['page'] is unknown; known are"),
        ({}, "unknown_op: op None is unknown; known are"),
        (c.UNREADABLE_COMMAND + "x" * 400, "malformed: " + (c.UNREADABLE_COMMAND + "x" * 400)[:200]),
        ("block", "malformed: a command must be a JSON object"),
        ([], "malformed: a command must be a JSON object"),
    ],
)
def test_what_a_refusal_says(document: Any, told: str) -> None:
    with pytest.raises(Rejected) as caught:
        read(document)
    assert str(caught.value).startswith(told)
    assert len(str(caught.value)) == len(told) or told.endswith("known are")


@pytest.mark.parametrize("raw", [b'{"op":"nosuch",', b'{"op":"block","sub":5,"x":', b"[1,", b"5x", b'"\xff', b""])
def test_what_breaks_off_is_malformed_whatever_is_wrong_before(raw: bytes) -> None:
    with pytest.raises(Rejected, match=r"^malformed: (a command must be a JSON object|command: )"):
        c.read_command(raw)


def test_nested_too_deeply() -> None:
    with pytest.raises(Rejected) as caught:
        c.read_command(b'{"x":' + b"[" * 100_000)
    assert str(caught.value) == "malformed: the command is nested too deeply"


# -- addresses -------------------------------------------------------------------------------------------------------

PLAN = Addressing((64, 56), (ip_network("192.0.2.0/24"), ip_network("2001:db8:ff::/48")))


def test_prefixes_that_lie_in_each_other() -> None:
    (narrow,) = PLAN.keys("2001:db8:0:1::/64")
    (wide,) = PLAN.keys("2001:db8::/56")
    (v4,) = PLAN.keys("100.64.0.1")
    assert (PLAN.covers(narrow), PLAN.covers(wide), PLAN.covers(v4)) == ([wide], [], [])
    last = bytes([64]) + ip_network("2001:db8:0:ff::/64").network_address.packed
    assert PLAN.insides(wide) == [(bytes([64]) + wide[1:], last)]
    assert (PLAN.insides(narrow), PLAN.insides(v4)) == ([], [])
    four = next(iter(PLAN.keys("100.4.0.1")))
    assert (PLAN.covers(four), PLAN.insides(four)) == ([], [])
    assert PLAN.lookup("2001:db8:0:1::5") == [narrow, wide]
    assert PLAN.lookup("2001:db8:0:1::/64") == [narrow, wide]
    assert PLAN.lookup("2001:db8::/56") == [wide]
    assert PLAN.lookup("100.64.0.1") == [v4]


def test_a_plan_of_its_own() -> None:
    assert Addressing() == Addressing((64, 56), ())
    assert "ranges" not in repr(PLAN)
    with pytest.raises(AttributeError):
        PLAN.prefix_lengths = ()  # type: ignore[misc]
    (key,) = PLAN.keys("2001:db8:0:1::/64")
    assert address.words(key) == "2001:db8:0:1::/64"
    odd = Addressing((4, 64))
    (wide,) = odd.keys("2001:db8:0:1::/64")
    assert odd.covers(wide) == [bytes([4, 0x20]) + bytes(15)]


ADDRESSES: dict[str, str] = {
    "100.64.0.1": "", "1.0.0.1": "", "126.255.255.255": "", "128.0.0.1": "", "223.255.255.255": "", "100.0.127.224": "",
    "0.5.0.1": "bad_address", "127.5.0.1": "bad_address",
    "0.0.0.1": "bad_address", "127.0.0.1": "bad_address", "224.0.0.1": "bad_address", "255.255.255.255": "bad_address",
    "192.0.1.255": "", "192.0.2.0": "address_protected", "192.0.2.255": "address_protected", "192.0.3.0": "",
    "192.0.2.7/32": "address_protected", "100.64.0.1/32": "", "100.64.0.1/31": "bad_address",
    "2001:db8:fe:ffff::/64": "", "2001:db8:ff::/64": "address_protected", "2001:db8:ff:ffff::/64": "address_protected",
    "2001:db8:100::/64": "", "2001:db8::1/64": "bad_address", "2001:db8::/064": "", "2001:db8::/60": "",
    "2001:db8::/65": "bad_address", "2001:db8::": "bad_address", "fd00::/64": "", "fc00::/64": "",
    "fe80::/64": "bad_address",
    "ff00::/64": "bad_address", "3fff:ffff::/64": "", "::/64": "bad_address", "2001:db8::/47": "bad_address",
    "2001:db8::/48": "", "10.0.0.0/24": "", "10.0.0.0/23": "bad_address",
    "2001:db8::/6_4": "bad_address", "2001:db8::/\u0666\u0664": "bad_address", "2001:db8::/64 ": "bad_address",
    "2001:db8::/+64": "bad_address", "2001:db8::/": "bad_address", "fd00::/60": "", "0.0.0.0/24": "bad_address",
    "224.0.0.0/24": "bad_address", "239.255.255.255/32": "bad_address", "169.254.0.1": "", "fe80::/60": "bad_address",
}  # fmt: skip


@pytest.mark.parametrize("text", ADDRESSES)
def test_which_addresses_a_subscriber_can_have(text: str) -> None:
    if not ADDRESSES[text]:
        keys = PLAN.keys(text)
        network = ip_network(text)
        single = network.version == 4
        step = 0 if single else min(n for n in (64, 56) if n >= network.prefixlen)
        assert len(keys) == (network.num_addresses if single else 1 << (step - network.prefixlen))
        assert len(set(keys)) == len(keys)
        assert {k[0] for k in keys} == {4 if single else step}
        assert keys[0][1:] == network.network_address.packed
    else:
        with pytest.raises(Rejected) as caught:
            PLAN.keys(text)
        assert caught.value.code == ADDRESSES[text]


QUICK = (
    "100.64.0.1", "1.0.0.1", "126.255.255.255", "128.0.0.1", "223.255.255.255", "192.0.1.255", "192.0.3.0",
    "2001:db8::/56", "2001:db8:0:1::/64", "2001:db8:fe:ffff::/64", "2001:db8:fe:ff00::/56", "2001:db8:100::/56",
    "3fff:ffff::/64", "fc00::/64", "fd00:1::/56",
)  # fmt: skip


@pytest.mark.parametrize("text", QUICK)
def test_what_nearly_all_have_is_looked_at_once(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The quick way knows them, also right beside what is protected, and says what the careful one says."""
    network = ip_network(text)
    with monkeypatch.context() as only:
        only.setattr(address, "parse", None)
        quick = PLAN.keys(text)
    assert quick == [bytes([4 if network.version == 4 else network.prefixlen]) + network.network_address.packed]
    monkeypatch.setattr(Addressing, "_quick", lambda *_: None)
    assert PLAN.keys(text) == quick


@pytest.mark.parametrize("text", ADDRESSES)
def test_the_careful_way_alone_says_the_same(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def said() -> list[bytes] | str:
        try:
            return PLAN.keys(text)
        except Rejected as e:
            return e.code

    both = said()
    monkeypatch.setattr(Addressing, "_quick", lambda *_: None)
    assert said() == both == (ADDRESSES[text] or both)


@pytest.mark.parametrize("length", [1, 2, 3, 5, 32, 33, 127])
def test_any_length_but_the_tag_of_ipv4_may_be_a_prefix(length: int) -> None:
    odd = Addressing((length, 128))
    wide, host = bytes([length]) + bytes(16), bytes([128]) + bytes(15) + b"\1"
    assert odd.covers(host) == [wide]
    assert odd.insides(wide) == [(bytes([128]) + bytes(16), bytes([128]) + ((1 << (128 - length)) - 1).to_bytes(16))]
    assert (address.words(wide), address.words(host)) == (f"::/{length}", "::1/128")


@pytest.mark.parametrize("name", ["1.2.3.256", "100.64.0.1/24/1", "1:2:3:4:5:6:7:8:9"])
def test_a_name_that_means_to_be_an_address(name: str) -> None:
    with pytest.raises(Rejected):
        address.check_name(name)


@pytest.mark.parametrize("name", ["C-1", "12345", "aa:bb:cc:dd:ee:ff", "100.64.0.1", "2001:db8::/56", "1.2.3"])
def test_a_name_that_is_one(name: str) -> None:
    address.check_name(name)


def test_one_spelling() -> None:
    spelt = {
        "2001:DB8::1": "2001:db8::1", "2001:db8::/128": "2001:db8::", "2001:0db8::/56": "2001:db8::/56",
        "10.0.0.1/32": "10.0.0.1", "10.0.0.0/24": "10.0.0.0/24", "10.0.0.1": "10.0.0.1",
    }  # fmt: skip
    assert {text: address.literal(text) for text in spelt} == spelt
    assert [address.literal(x) for x in ("C-1", "10.0.0.256", "1.2", "2001:zz", "10.0.0.1/24")] == [None] * 5


def test_a_literal_subscriber_has_one_name_however_it_is_written() -> None:
    for name in ("10.0.0.1/32", "10.0.0.1"):
        assert getattr(read({"op": "untrust", "sub": name}), "sub", "") == "10.0.0.1"
    for name in ("2001:DB8::/56", "2001:0db8::/56", "2001:db8:0::/56"):
        assert getattr(read({"op": "untrust", "sub": name}), "sub", "") == "2001:db8::/56"


# -- envelopes -------------------------------------------------------------------------------------------------------

CHUNK: dict[str, Any] = {"v": 1, "sync": "s", "part": 1, "parts": 2, "commands": []}
BATCH: dict[str, Any] = {"v": 1, "id": "b", "commands": [{"op": "digest"}]}


def payload(document: Any, limit: int = 1 << 20) -> Any:
    return batch.read_payload(json.dumps(document).encode(), limit)


PAYLOADS: dict[str, tuple[dict[str, Any], str, Any, Any]] = {
    "id": (BATCH, "id", "x" * 64, "x" * 65),
    "id, printable": (BATCH, "id", "a b", " ab"),
    "id, its end": (BATCH, "id", "a b", "ab "),
    "id, no control": (BATCH, "id", "ab", "a\nb"),
    "sync": (CHUNK, "sync", "x" * 64, "x" * 65),
    "sync, its end": (CHUNK, "sync", "a b", "ab "),
    "sync, no control": (CHUNK, "sync", "ab", "a\tb"),
    "part": (CHUNK, "part", 2, 3),
    "part, least": (CHUNK, "part", 1, 0),
    "parts": (CHUNK, "parts", 100_000, 100_001),
    "shards": (CHUNK, "shards", [0, 255], [256]),
    "shards, least": (CHUNK, "shards", [0], [-1]),
    "shards, none": (CHUNK, "shards", [0], []),
    "audience": (BATCH, "aud", ["g"] * 1000, ["g"] * 1001),
    "seq": ({**BATCH, "epoch": "1"}, "seq", 0, -1),
    "epoch": ({**BATCH, "seq": 1}, "epoch", "e", ""),
    "version": (BATCH, "v", 1, 2),
    "commands": (BATCH, "commands", [{}] * 5000, [{}] * 5001),
    "commands, none": (BATCH, "commands", [{}], []),
    "a chunk's commands": (CHUNK, "commands", [{}] * 5000, [{}] * 5001),
}


@pytest.mark.parametrize("row", PAYLOADS)
def test_envelope(row: str) -> None:
    document, field, last, beyond = PAYLOADS[row]
    found = payload({**document, field: last})
    assert isinstance(found, batch.Chunk if "sync" in document else batch.Batch)
    assert getattr(found, field) == last or field == "commands"
    with pytest.raises(Rejected) as caught:
        payload({**document, field: beyond})
    assert caught.value.code == "malformed"
    named = str(beyond if field in {"id", "sync"} else document.get("id", document.get("sync")))
    assert caught.value.batch == (named if len(named) <= 64 and named.isprintable() else None)


def test_an_epoch_needs_a_number() -> None:
    with pytest.raises(Rejected, match="epoch without seq"):
        payload({**BATCH, "epoch": "1"})
    assert payload({**BATCH, "epoch": "1", "seq": 2}).seq == 2
    assert payload({**BATCH, "seq": 2}).epoch is None


def test_envelopes_do_not_change_and_say_whom_they_mean() -> None:
    for document in (BATCH, CHUNK):
        with pytest.raises(AttributeError):
            payload(document).v = 2
    assert payload({**BATCH, "aud": "gw"}).audience == ["gw"]
    assert payload({**BATCH, "aud": ["gw", "x"]}).audience == ["gw", "x"]
    assert payload(BATCH).audience is None
    made = payload({**BATCH, "ts": "1970-01-01T00:00:01Z"})
    assert (made.moment(made.ts), made.moment(made.expires)) == (1000, None)


def test_the_size_of_a_payload() -> None:
    size = len(json.dumps(BATCH))
    assert payload(BATCH, size)
    with pytest.raises(Rejected, match="over the limit"):
        payload(BATCH, size - 1)


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        (b"[]", "payload is not an object with a batch or a command"),
        (b'"x"', "payload is not an object with a batch or a command"),
        (b"{", "payload is not UTF-8 JSON"),
        (b'{"v":1,"id":"b","commands":' + b"[" * 100_000, "payload is not UTF-8 JSON: nested too deeply"),
        (b'{"v":1,"id":"b","commands":{"a":Infinity}}', "payload is not an object"),
        (b"[Infinity]", "payload is not"),
        (b'{"v":1,"id":Infinity}', "payload is not"),
        (b'{"v":1,"id":Infinity,"commands":{}}', "payload is not"),
        (b'{"v":1,"id":"b"}', "batch: "),
        (b'{"v":1,"id":7,"commands":[{}]}', "batch: "),
        (b'{"v":1,"id":"","commands":[{}]}', "batch: "),
        (b'{"v":1,"sync":"","commands":[{}]}', "chunk: "),
    ],
)
def test_what_is_no_envelope(raw: bytes, told: str) -> None:
    with pytest.raises(Rejected) as caught:
        batch.read_payload(raw, 1 << 20)
    assert caught.value.detail.startswith(told)
    assert caught.value.batch == ("b" if told == "batch: " and b'"b"' in raw else None)


def test_a_command_that_strict_json_cannot_hold_falls_alone() -> None:
    raw = b'{"v":1,"id":"b","commands":[{"op":"digest"},{"op":"trust","sub":"C-1","hours":Infinity}]}'
    made = batch.read_payload(raw, 1 << 20)
    assert isinstance(made, batch.Batch)
    assert c.op_of(c.read_command(made.commands[0])) == "digest"
    with pytest.raises(Rejected, match="the command is no JSON"):
        c.read_command(made.commands[1])


def test_a_bare_command() -> None:
    assert payload({"op": "digest"}) == batch.Bare(b'{"op": "digest"}')
    with pytest.raises(Rejected):
        payload({"op": "digest", "commands": []})


# -- order, digests, small values -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("last", "epoch", "seq", "gap"),
    [
        (None, "a", 0, None), (None, "a", 1, None), (None, "a", 2, Gap(1, 2)), (("a", 5), "b", 1, None),
        (("a", 5), "b", 3, Gap(1, 3)), (("a", 5), "a", 6, None), (("a", 5), "a", 7, Gap(6, 7)),
        (("a", 5), "a", 9, Gap(6, 9)),
    ],
)  # fmt: skip
def test_gap(last: tuple[str, int] | None, epoch: str, seq: int, gap: Gap | None) -> None:
    assert judge(last, epoch, seq) == gap


@pytest.mark.parametrize(("epoch", "seq"), [("a", 9), ("b", 5), ("b", 4), ("b", 0)])
def test_stale(epoch: str, seq: int) -> None:
    with pytest.raises(Rejected, match="stale"):
        judge(("b", 5), epoch, seq)


def number(line: str) -> int:
    return int.from_bytes(hashlib.sha256(line.encode()).digest()[:8], "big")


def test_digest() -> None:
    """The lines are those of the module's text, written out by hand."""
    assert digest.binding("C-1", "100.64.0.1") == number("a\x1fC-1\x1f100.64.0.1")
    assert digest.reason("C-1", "debt", 3, 0, ["B", "A"]) == number("r\x1fC-1\x1fdebt\x1f3\x1f0\x1fA\x1fB")
    assert digest.reason("C-1", "debt", 3, 64, []) == number("r\x1fC-1\x1fdebt\x1f3\x1f64")
    assert [digest.shard(f"C-{n}") for n in range(50)] == [zlib.crc32(f"C-{n}".encode()) % 256 for n in range(50)]
    assert (digest.words(255), digest.words(1 << 64), digest.words(-1)) == ("00000000000000ff", "0" * 16, "f" * 16)
    assert (digest.SHARDS, digest.MODULUS) == (256, 2**64)


def test_small_values() -> None:
    assert [level.word for level in Level] == ["open", "notice", "reduced", "walled", "blocked"]
    assert [int(level) for level in Level] == [0, 1, 2, 3, 4]
    assert (Entry(0, 0, 0, 0, 0), Entry(3, 0, 0, 0, 0), (OPEN, WALLED)) == (OPEN, WALLED, PLAIN)
    with pytest.raises(AttributeError):
        Standing(1, "notice", 0).level = 2  # type: ignore[misc]
    assert not hasattr(Standing(1, "notice", 0), "__dict__")
    refused = Rejected("stale", "too late", "b1")
    assert (str(refused), refused.code, refused.detail, refused.batch) == ("stale: too late", "stale", "too late", "b1")
    assert Rejected("stale", "too late").batch is None


# -- the audit trail's chain -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("op", c.OPS)
def test_a_name_is_taken_out_by_forget_alone(op: str) -> None:
    """Also of somebody known no more, so that the trail can be cleaned; never by a forget that was refused."""
    assert audit.forgets(op, "applied", "") == (op == "forget")
    assert audit.forgets(op, "rejected", "unknown_subscriber") == (op == "forget")
    assert not audit.forgets(op, "rejected", "stale")
    assert not audit.forgets(op, "unchanged", "")


def test_of_rows_outside_of_all_links_the_first_is_named() -> None:
    found = audit.Verification(audit.Head()).end([5, 7])
    assert found is not None
    assert found.id == 5


def test_what_only_looks_like_a_forgetting_excuses_no_stub() -> None:
    text = '"forget"'
    stub = audit.Row(1, None, b"x" * 16, None, None)
    row = audit.Row(2, b"salt", audit.digest(b"salt", text.encode(), None), None, text)
    walk = audit.Verification(audit.Head())
    link = audit.link(audit.GENESIS, 1, 2, 9, [stub.digest, row.digest])
    assert walk.take(audit.Link(1, 2, 9, link), [stub, row]) is None
    found = walk.end([])
    assert found is not None
    assert found.id == 1


# -- keys as text ----------------------------------------------------------------------------------------------------

RAW = bytes(range(1, 33))
GOOD = keytext.encoded(RAW).decode()


def refused_key(text: str) -> str:
    with pytest.raises(ValueError, match=r"\S") as caught:
        keytext.public_key(text)
    return str(caught.value)


def test_a_key_in_its_one_spelling() -> None:
    import base64

    assert keytext.public_key(GOOD) == GOOD
    assert GOOD in refused_key(GOOD + "=")
    assert GOOD in refused_key(RAW.hex())
    assert GOOD in refused_key(f'{{"x": "{GOOD}"}}')
    der, ssh = (head + RAW for head in keytext._WRAPPINGS)
    assert GOOD in refused_key(base64.b64encode(der).decode())
    assert GOOD in refused_key("ssh-ed25519 " + base64.b64encode(ssh).decode())
    assert GOOD in refused_key(
        f"-----BEGIN PUBLIC KEY-----\n{base64.b64encode(der).decode()}\n-----END PUBLIC KEY-----"
    )


@pytest.mark.parametrize("raw", [RAW * 2, keytext._PKCS8 + RAW])
def test_a_secret_is_not_repeated(raw: bytes) -> None:
    told = refused_key(keytext.encoded(raw).decode())
    assert "private key" in told
    assert "private key" in refused_key(raw.hex()) or len(raw) == 48
    assert GOOD not in told


@pytest.mark.parametrize("raw", [RAW[:31], RAW + b"1", b"", bytes([200]) * 48, keytext._PKCS8 + RAW[:31]])
def test_another_length(raw: bytes) -> None:
    assert "43 characters" in refused_key(keytext.encoded(raw).decode())


@pytest.mark.parametrize("sign", [0, 1 << 255])
def test_a_key_under_which_anybody_could_sign(sign: int) -> None:
    for y in keytext.WORTHLESS:
        raw = ((y % 2**255) | sign).to_bytes(32, "little")
        assert "anybody" in refused_key(keytext.encoded(raw).decode())
    prime = 2**255 - 19
    assert {0, 1, prime - 1, prime, prime + 1} < keytext.WORTHLESS
    assert len(keytext.WORTHLESS) == 7
    eighth = next(y for y in keytext.WORTHLESS if 1 < y < prime - 1)
    assert prime - eighth in keytext.WORTHLESS
    d = -121665 * pow(121666, -1, prime) % prime
    assert (d * pow(eighth, 4, prime) + 2 * pow(eighth, 2, prime) - 1) % prime == 0  # 2P has y = 0: order 8
