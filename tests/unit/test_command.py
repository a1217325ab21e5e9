"""What a payload becomes, or with which code it is refused (contract §1)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from edged.domain import command as c
from edged.domain.batch import Bare, Batch, read_payload
from edged.domain.rejection import Rejected

LIMIT = 1 << 20
SUB = {"sub": "C-1"}

GOOD: dict[str, dict[str, Any]] = {
    "bind": {"op": "bind", **SUB, "addresses": ["100.64.0.10", "2001:db8::/56"], "area": "north", "replace": False},
    "bind nothing": {"op": "bind", **SUB, "addresses": []},
    "unbind": {"op": "unbind", **SUB},
    "unbind some": {"op": "unbind", **SUB, "addresses": ["100.64.0.10"]},
    "block": {"op": "block", **SUB, "reason": "debt"},
    "block in full": {
        "op": "block", **SUB, "reason": "debt_partial", "invoices": ["F-1", {"id": "F-2", "due": "2026-11-01"}],
        "notified_at": "2026-11-01T00:00:00Z", "not_before": "2026-11-21T12:00:00-03:00",
        "deadline": "2027-01-01T00:00:00+00:00", "level": "reduced", "rate": 512, "page": "p1", "rev": 3, "ref": "T-1",
    },
    "unblock": {"op": "unblock", **SUB, "reason": "operator", "cause": "asked"},
    "unblock debt*": {"op": "unblock", **SUB, "reason": "debt*"},
    "paid": {"op": "paid", **SUB},
    "paid some": {"op": "paid", **SUB, "invoices": ["F-1"]},
    "trust": {"op": "trust", **SUB, "hours": 24, "basis": "payment_claimed", "channel": "app"},
    "trust until": {"op": "trust", **SUB, "until": "2026-11-25T00:00:00Z"},
    "trust days": {"op": "trust", **SUB, "days": 0.5, "next_business_day": False},
    "untrust": {"op": "untrust", **SUB},
    "forget": {"op": "forget", **SUB},
    "query sub": {"op": "query", **SUB},
    "query address": {"op": "query", "address": "100.64.0.10"},
    "garden": {
        "op": "garden", "name": "banks", "networks": ["192.0.2.0/24"], "domains": ["Bank.Example."],
        "ports": [443, "tcp/80", "udp/5060-5061"],
    },
    "page": {
        "op": "page", "reason": "debt", "ref": "T-9",
        "fields": {
            "title": "Fale conosco", "title.en": "Talk to us", "text.es": "Dos\nlíneas", "link_text": "Pagar",
            "link": "https://pay.example.net/?a=1&b=2",
        },
    },
    "page of nothing": {"op": "page", "reason": "notice", "fields": {}},
    "payment data": {"op": "page", **SUB, "rev": 4, "fields": {"amount": "123.45", "code": "123456"}},
    "payment data of invoices": {"op": "page", **SUB, "fields": {"amount": "123.45"}, "invoices": ["F-1", "F-2"]},
    "no payment data": {"op": "page", "sub": "100.64.0.10", "reason": "debt", "fields": {}},
}  # fmt: skip


def command(document: Any) -> c.Command:
    return c.read_command(json.dumps(document).encode())


@pytest.mark.parametrize("name", GOOD)
def test_good(name: str) -> None:
    assert c.op_of(command(GOOD[name])) == GOOD[name]["op"]


def test_the_garden_is_normalised() -> None:
    cmd = command(GOOD["garden"])
    assert isinstance(cmd, c.GardenList)
    assert cmd.domains == ["bank.example"]
    assert [(p.protocols, p.first, p.last) for p in cmd.spans()] == [
        ((6, 17), 443, 443),
        ((6,), 80, 80),
        ((17,), 5060, 5061),
    ]


def test_a_literal_subscriber_has_one_name() -> None:
    cmd = command({"op": "untrust", "sub": "2001:DB8:0::/56"})
    assert isinstance(cmd, c.Untrust)
    assert cmd.sub == "2001:db8::/56"


def garden(**fields: Any) -> dict[str, Any]:
    return {"op": "garden", "name": "g", **fields}


def page(**fields: Any) -> dict[str, Any]:
    return {"op": "page", "reason": "debt", "fields": fields}


def due(text: str) -> dict[str, Any]:
    return {"op": "paid", **SUB, "invoices": [{"id": "F", "due": text}]}


BAD: dict[str, tuple[Any, str, str]] = {
    "not an object": (["block"], "malformed", "object"),
    "no op": ({"sub": "C-1"}, "unknown_op", "None"),
    "an op that is no text": ({"op": 5}, "unknown_op", "5"),
    "an op nobody knows": ({"op": "explode", **SUB}, "unknown_op", "explode"),
    "a page of nobody": ({"op": "page", "fields": {}}, "malformed", "give the reason"),
    "a reason's page with invoices": (
        {"op": "page", "reason": "debt", "fields": {}, "invoices": ["F-1"]}, "malformed", "it goes with a sub",
    ),
    "a page of a reason nobody knows": ({"op": "page", "reason": "mood", "fields": {}}, "malformed", "mood"),
    "a page without fields": ({"op": "page", "reason": "debt"}, "malformed", "fields"),
    "a page's field nobody knows": (page(colour="red"), "malformed", "fields.colour"),
    "a page in a language nobody speaks": (page(**{"title.xx": "x"}), "malformed", "title.xx"),
    "a page's text that is a list": (page(title=["x"]), "malformed", "fields"),
    "a page's title with a line feed": (page(title="a\nb"), "malformed", "printable"),
    "a page's text that turns letters round": (page(text="a\u202eb"), "malformed", "printable"),
    "a page's title that is too long": (page(title="x" * 121), "malformed", "title"),
    "a page's empty title": (page(title=""), "malformed", "title"),
    "a page's link that is a script": (page(link="javascript:alert(1)"), "malformed", "https"),
    "a page's link without TLS": (page(link="http://pay.example.net/"), "malformed", "https"),
    "a page's link with a user": (page(link="https://bank.example@evil.example/"), "malformed", "https"),
    "a page's link with a quote": (page(link='https://a.example/"onclick'), "malformed", "https"),
    "a page's link that is no address": (page(link="https://[::1/"), "malformed", "https"),
    "a page with a rev and no sub": ({**page(title="x"), "rev": 1}, "malformed", "rev"),
    "a page with too many bytes": (
        page(**{f"text{x}": "ü" * 1200 for x in ("", ".en", ".es", ".pt-BR")}), "malformed", "bytes",
    ),
    "payment data nobody knows": ({"op": "page", **SUB, "fields": {"name": "x"}}, "malformed", "fields.name"),
    "a page of a name with a newline": ({"op": "page", "sub": "a\nb", "fields": {}}, "malformed", "printable"),
    "a field nobody knows": ({"op": "block", **SUB, "reason": "debt", "until": "x"}, "malformed", "until"),
    "no sub": ({"op": "block", "reason": "debt"}, "malformed", "sub"),
    "an empty sub": ({"op": "block", "sub": "", "reason": "debt"}, "malformed", "sub"),
    "a long sub": ({"op": "block", "sub": "x" * 129, "reason": "debt"}, "malformed", "sub"),
    "a sub with a newline": ({"op": "block", "sub": "a\nb", "reason": "debt"}, "malformed", "printable"),
    "a sub with a space at the end": ({"op": "block", "sub": "a ", "reason": "debt"}, "malformed", "printable"),
    "a sub that is a number": ({"op": "block", "sub": 7, "reason": "debt"}, "malformed", "sub"),
    "a reason nobody knows": ({"op": "block", **SUB, "reason": "mood"}, "malformed", "mood"),
    "a method without a claim": ({"op": "trust", **SUB, "method": "pix"}, "malformed", "payment_claimed"),
    "living everywhere": ({"op": "bind", **SUB, "addresses": [], "area": "*"}, "malformed", "area"),
    "holidays everywhere": ({"op": "calendar", "area": "*", "dates": [], "version": "1"}, "malformed", "area"),
    "a deferral without end": ({"op": "defer", **SUB, "kind": "dispute"}, "malformed", "until"),
    "a deferral of a kind nobody knows": (
        {"op": "defer", **SUB, "kind": "mood", "until": "2027-01-01T00:00:00Z"}, "malformed", "kind",
    ),
    "an override without motive": (
        {"op": "block", **SUB, "reason": "debt", "override": {"author": "x"}}, "malformed", "motive",
    ),
    "unblock everything": ({"op": "unblock", **SUB, "reason": "*"}, "malformed", "reason"),
    "a time without zone": ({"op": "trust", **SUB, "until": "2026-11-25T00:00:00"}, "malformed", "until"),
    "a time as a number": ({"op": "trust", **SUB, "until": 1_800_000_000}, "malformed", "RFC 3339"),
    "two ends": ({"op": "trust", **SUB, "hours": 1, "days": 1}, "malformed", "give one of"),
    "a business day and hours": ({"op": "trust", **SUB, "next_business_day": True, "hours": 1}, "malformed", "one of"),
    "no hours": ({"op": "trust", **SUB, "hours": 0}, "malformed", "hours"),
    "endless hours": ({"op": "trust", **SUB, "hours": 2e6}, "malformed", "hours"),
    "hours that are none": ({"op": "trust", **SUB, "hours": float("nan")}, "malformed", "JSON"),
    "a basis nobody knows": ({"op": "trust", **SUB, "hours": 1, "basis": "luck"}, "malformed", "basis"),
    "a level that is open": ({"op": "block", **SUB, "reason": "operator", "level": "open"}, "malformed", "level"),
    "a rate too low": ({"op": "block", **SUB, "reason": "debt_partial", "rate": 7}, "malformed", "rate"),
    "a falling rev": ({"op": "block", **SUB, "reason": "debt", "rev": -1}, "malformed", "rev"),
    "a rev beyond what can be kept": ({"op": "block", **SUB, "reason": "debt", "rev": 1 << 63}, "malformed", "rev"),
    "an invoice without id": ({"op": "paid", **SUB, "invoices": [{"due": "2026-01-01"}]}, "malformed", "id"),
    "an invoice due on no day": (due("2026-02-30"), "malformed", "due"),
    "query of two things": ({"op": "query", **SUB, "address": "10.0.0.1"}, "malformed", "either"),
    "query of nothing": ({"op": "query"}, "malformed", "either"),
    "a garden network with host bits": (garden(networks=["10.0.0.1/8"]), "malformed", "host bits"),
    "a garden domain that is none": (garden(domains=["*.example.net"]), "malformed", "domain"),
    "a garden domain with an empty label": (garden(domains=["a..example"]), "malformed", "domain"),
    "a garden domain that is too long": (garden(domains=["a" * 64 + ".net"]), "malformed", "domain"),
    "a garden port backwards": (garden(ports=["tcp/90-80"]), "malformed", "port"),
    "a garden port too high": (garden(ports=[65536]), "malformed", "port"),
    "a garden port that is none": (garden(ports=[0]), "malformed", "port"),
    "a garden port in other digits": (garden(ports=["tcp/²"]), "malformed", "port"),
    "257 addresses": ({"op": "bind", **SUB, "addresses": ["10.0.0.1"] * 257}, "malformed", "addresses"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad(name: str) -> None:
    document, code, said = BAD[name]
    with pytest.raises(Rejected) as caught:
        command(document)
    assert caught.value.code == code
    assert said in caught.value.detail
    assert len(caught.value.detail) < 300


def payload(**more: Any) -> bytes:
    return json.dumps({"v": 1, "id": "b", "commands": [{}], **more}).encode()


PAYLOADS: dict[str, bytes] = {
    "nothing": b"",
    "garbage": bytes(range(256)),
    "not UTF-8": b'{"v": 1, "id": "\xff", "commands": [{}]}',
    "half a document": b'{"v": 1, "id": ',
    "a list": b"[]",
    "a number": b"5",
    "deep": b"[" * 100_000,
    "deep within": b'{"op":' + b"[" * 100_000,
    "too long": b" " * (LIMIT + 1),
    "another version": payload(v=2),
    "no id": payload(id=None),
    "an empty id": payload(id=""),
    "a long id": payload(id="x" * 65),
    "an id that is a number": payload(id=5),
    "no commands": payload(commands=[]),
    "5001 commands": payload(commands=[{}] * 5001),
    "commands that are none": payload(commands="block"),
    "an expiry without zone": payload(expires="2026-11-21T12:00:00"),
    "a field nobody knows": payload(extra=1),
    "a huge number": b'{"v": 1' + b"0" * 5000 + b"}",
}


@pytest.mark.parametrize("name", PAYLOADS)
def test_a_payload_that_cannot_be_read(name: str) -> None:
    with pytest.raises(Rejected) as caught:
        read_payload(PAYLOADS[name], LIMIT)
    assert caught.value.code == "malformed"
    assert len(caught.value.detail) < 300


def test_payloads_that_can_be_read() -> None:
    assert read_payload(b'{"op": "untrust", "sub": "x"}', LIMIT) == Bare(b'{"op": "untrust", "sub": "x"}')
    batch = read_payload(payload(commands=[{}, 5, None] * 1000, epoch="2026-11", seq=41, aud=["gw1"]), LIMIT)
    assert isinstance(batch, Batch)
    assert len(batch.commands) == 3000
