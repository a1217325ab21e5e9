"""The command ``page`` in a whole core: texts, payment data, the two proofs, what takes it away, who never sees it."""

from __future__ import annotations

import dataclasses
import json
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edged import envelope
from edged.cashier import MOST_OF_ONE, MOST_TICKETS, TICKET_MS, Cashier
from edged.client import pay_token
from edged.clock import Late, in_time
from edged.domain.payment import LONGEST_MS
from edged.domain.standing import Standing
from edged.envelope import Issuer, Keyring, OKPKey
from edged.errors import StoreError
from edged.pages import TRIES
from edged.portal.wire import MOST_TOKEN
from edged.store.payments import MOST_TRIED
from tests import payments as made
from tests.unit.core import Core

HERE, THERE = "100.64.0.10", "100.64.0.11"
BIND = {"op": "bind", "sub": "C-1", "addresses": [HERE]}
HERE6, NEXT_DOOR = "2001:db8:77::1", "100.64.0.20"
NEIGHBOUR = (
    {"op": "bind", "sub": "C-2", "addresses": [NEXT_DOOR]},
    {"op": "block", "sub": "C-2", "reason": "debt", "invoices": ["F-2"]},
)
DEBT = {"op": "block", "sub": "C-1", "reason": "debt", "invoices": ["F-1"]}
BILL = {"amount": "99.90", "month": "2026-11", "pix": made.code(amount="99.90")}
CODE = "K7Q2-9931"
ERP, NOC = OKPKey.derive_key("erp"), OKPKey.derive_key("noc")


@pytest.fixture
def core(tmp_path: Path) -> Iterator[Core]:
    one = Core(tmp_path, payees=made.OURS)
    assert one.status(BIND, DEBT) == ["applied", "applied"]
    yield one
    one.store.close()


@pytest.fixture
def cashier(core: Core) -> Cashier:
    return Cashier(core.pipeline)


def page(sub: str = "C-1", **fields: str) -> dict[str, Any]:
    return {"op": "page", "sub": sub, "fields": fields}


def standing(core: Core, address: str = HERE) -> Standing:
    return core.pipeline.questions.standing(address)


def everything(core: Core) -> bytes:
    """All bytes that the store has on disk."""
    return b"".join(path.read_bytes() for path in core.directory.glob("edged.db*"))


def kept(core: Core) -> bool:
    return core.pipeline.pages.any


# -- texts -------------------------------------------------------------------------------------------------------------


def test_texts_are_set_replaced_taken_back_and_survive(core: Core) -> None:
    text = {"op": "page", "reason": "debt", "fields": {"title": "Fale conosco", "title.en": "Talk to us"}}
    assert core.status(text) == ["applied"]
    assert core.status(text) == ["unchanged"]
    assert core.pipeline.pages.texts == {"debt": text["fields"]}
    assert list(core.pipeline.pages.news) == ["debt"]
    core.restart()
    assert core.pipeline.pages.texts == {"debt": text["fields"]}
    other = {**text, "fields": {"text": "Atendimento até 20h."}}
    assert core.status(other, {**text, "reason": "pause"}, other) == ["applied", "applied", "unchanged"]
    assert core.pipeline.pages.texts == {"debt": other["fields"], "pause": text["fields"]}
    assert core.status({**text, "fields": {}}, {**text, "fields": {}}) == ["applied", "unchanged"]
    assert core.pipeline.pages.texts == {"pause": text["fields"]}
    core.restart()
    assert core.pipeline.pages.texts == {"pause": text["fields"]}


def test_texts_that_were_not_committed_are_not_shown(core: Core, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise StoreError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(core.store, "commit", full)
        with pytest.raises(StoreError):
            core.send({"op": "page", "reason": "debt", "fields": {"title": "x"}}, page(**BILL))
    assert core.status({"op": "paid", "sub": "C-9"}) == ["unchanged"]
    assert not core.pipeline.pages.texts
    assert not core.pipeline.pages.news
    assert not standing(core).pays


# -- payment data ------------------------------------------------------------------------------------------------------


def test_whoever_types_the_code_sees_what_is_to_be_paid(core: Core, cashier: Cashier) -> None:
    assert not standing(core).pays
    assert core.status(page(**BILL, code=CODE)) == ["applied"]
    assert standing(core).pays
    assert not standing(core, THERE).pays
    assert cashier.prove(THERE, b"K7Q29931") == ("none", b"")
    assert cashier.prove(HERE, b"k7q2 9932") == ("wrong", b"")
    verdict, ticket = cashier.prove(HERE, b"k7q2 9931")
    assert verdict == "ok"
    assert cashier.bill(ticket) == BILL
    assert cashier.bill(bytes(16)) == {}
    core.now += TICKET_MS - 1
    assert cashier.bill(ticket) == BILL
    core.now += 1
    assert cashier.bill(ticket) == {}
    assert cashier.prove(HERE, CODE.encode()) == ("used", b""), "it opens once"


def test_a_code_opens_again_while_its_ticket_would_live_also_over_a_restart(core: Core, cashier: Cashier) -> None:
    """An answer may be lost on its way, and tickets with a restart: nobody needs a new code for that."""
    core.send(page(**BILL, code=CODE))
    first = cashier.prove(HERE, CODE.encode())[1]
    core.now += TICKET_MS - 1
    core.restart()
    cashier = Cashier(core.pipeline)
    assert cashier.bill(first) == {}
    verdict, ticket = cashier.prove(HERE, CODE.encode())
    assert (verdict, cashier.bill(ticket)) == ("ok", BILL)
    assert cashier.prove(THERE, CODE.encode()) == ("none", b""), "on no other line"
    core.now += 1
    assert cashier.prove(HERE, CODE.encode()) == ("used", b""), "its second use gives no more time"


def test_nobody_guesses_a_code_that_was_used(core: Core, cashier: Cashier) -> None:
    core.send(page(**BILL, code=CODE))
    assert cashier.prove(HERE, CODE.encode())[0] == "ok"
    said = [cashier.prove(HERE, f"wrong{n}".encode())[0] for n in range(TRIES)]
    assert said == ["wrong"] * (TRIES - 1) + ["locked"]
    assert cashier.prove(HERE, CODE.encode()) == ("locked", b"")
    core.now += TICKET_MS
    assert cashier.prove(HERE, b"wrong9") == ("used", b""), "what is wrong is not even compared"


def test_a_code_used_before_an_upgrade_opens_nothing(core: Core, cashier: Cashier) -> None:
    core.send(page(**BILL, code=CODE))
    cashier.prove(HERE, CODE.encode())
    core.store.read(lambda db: db.executescript("UPDATE payment SET used = 1; UPDATE tried SET used = 1"))
    assert cashier.prove(HERE, CODE.encode()) == ("used", b"")


def test_without_a_code_a_bill_opens_by_link_alone(core: Core, cashier: Cashier) -> None:
    core.send(page(**BILL))
    assert cashier.prove(HERE, CODE.encode()) == ("uncoded", b"")


def test_what_comes_to_its_turn_too_late_is_left_undone(core: Core, cashier: Cashier) -> None:
    core.send(page(**BILL, code=CODE))
    with pytest.raises(Late):
        in_time(int(time.monotonic() * 1000), cashier.prove, HERE, CODE.encode())
    core.now += TICKET_MS
    assert in_time(int(time.monotonic() * 1000) + 60_000, cashier.prove, HERE, CODE.encode())[0] == "ok"


def test_five_wrong_codes_lock_it_also_over_a_restart_and_a_repetition(core: Core) -> None:
    core.send(page(**BILL, code=CODE))
    said = []
    for n in range(TRIES):
        said.append(Cashier(core.pipeline).prove(HERE, f"wrong{n}".encode())[0])
        core.restart()
    assert said == ["wrong"] * (TRIES - 1) + ["locked"]
    assert Cashier(core.pipeline).prove(HERE, CODE.encode()) == ("locked", b"")
    assert core.status(page(**BILL, code=CODE)) == ["unchanged"]
    assert core.status(page(**BILL | {"month": "2026-12"}, code=CODE)) == ["applied"]
    assert Cashier(core.pipeline).prove(HERE, CODE.encode()) == ("locked", b""), "the same code stays locked"
    assert core.status(page(**BILL, code="ANOTHER-1")) == ["applied"]
    assert Cashier(core.pipeline).prove(HERE, b"another1")[0] == "ok"
    assert core.status(page(**BILL, code="ANOTHER-1")) == ["unchanged"]
    core.now += TICKET_MS
    assert Cashier(core.pipeline).prove(HERE, b"another1") == ("used", b""), "nor is a used one revived"


def test_no_codes_bytes_and_no_clear_code_are_kept(core: Core) -> None:
    core.send(page(**BILL, code=CODE))
    disk = everything(core)
    assert b"K7Q29931" not in disk
    assert CODE.encode() not in disk
    key = core.directory / "code.key"
    assert key.stat().st_mode & 0o777 == 0o600
    assert key.read_bytes() not in disk
    before = key.read_bytes()
    core.restart()
    core.send(page(**BILL, code="SECOND-77"))
    assert key.read_bytes() == before
    key.write_bytes(b"half")  # as a power cut may leave it
    core.restart()
    assert Cashier(core.pipeline).prove(HERE, b"SECOND77")[0] == "wrong", "without its key a code is worth nothing"
    core.send(page(**BILL, code="THIRD-777"))
    assert Cashier(core.pipeline).prove(HERE, b"THIRD777")[0] == "ok"


def test_a_key_that_cannot_be_read_is_found_at_the_start(core: Core) -> None:
    (core.directory / "code.key").mkdir()
    with pytest.raises(StoreError, match=r"code\.key: .*let edged read it"):
        core.restart()


def test_a_key_that_cannot_be_kept_costs_no_command(core: Core, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("edged.store.secret.os.fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left")))
        with pytest.raises(StoreError, match="No space left"):
            core.send(page(**BILL, code=CODE))
    assert core.status(page(**BILL, code=CODE)) == ["applied"]
    assert Cashier(core.pipeline).prove(HERE, CODE.encode())[0] == "ok"


@pytest.mark.parametrize(
    "end",
    [
        page(),
        {"op": "paid", "sub": "C-1"},
        {"op": "paid", "sub": "C-1", "invoices": ["F-1"]},
        {"op": "forget", "sub": "C-1"},
    ],
    ids=["{}", "paid", "the last invoice", "forget"],
)
def test_what_takes_it_away_really_does(core: Core, cashier: Cashier, end: dict[str, Any]) -> None:
    core.send(page(**BILL, code=CODE))
    ticket = cashier.prove(HERE, CODE.encode())[1]
    assert core.status(end) == ["applied"]
    assert cashier.bill(ticket) == {}
    assert not standing(core).pays
    assert not core.pipeline.pages.any
    core.store.read(lambda db: db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall())
    assert b"br.gov.bcb.pix" not in everything(core)


def test_nobody_pays_twice(core: Core) -> None:
    """A payment takes out what was shown for it: what names the invoice, or what names none."""

    def paid(*invoices: str) -> dict[str, Any]:
        return {"op": "paid", "sub": "C-1", "invoices": list(invoices)}

    core.send({**DEBT, "invoices": ["F-1", "F-2", "F-3", "F-4"]}, page(**BILL))
    assert core.status(paid("F-1")) == ["applied"]
    assert not standing(core).pays, "it named no invoice, so any payment may have been for it"
    core.send(page(**BILL))
    assert core.status(paid("F-1")) == ["unchanged"]
    assert standing(core).pays, "an old payment told again is for none of it"
    of = {**page(**BILL), "invoices": ["F-3", "F-4"]}
    assert core.status(of, paid("F-2"), of) == ["applied", "applied", "unchanged"]
    assert standing(core).pays, "another one was paid"
    core.restart()
    assert core.status(paid("F-3")) == ["applied"]
    assert not standing(core).pays, "one of them was"
    answer = core.send(of)["results"][0]
    assert (answer["status"], "paid already" in answer["detail"]) == ("unchanged", True), "the payment came first"
    assert not standing(core).pays
    assert core.status({**of, "invoices": ["F-4"]}, of) == ["applied", "applied"]
    assert not kept(core)


BETWEEN: dict[str, list[dict[str, Any]]] = {
    "payment data without a code": [page(**BILL)],
    "another code": [page(**BILL, code="ANOTHER-1")],
    "{}": [page()],
    "its end": [page(**BILL, expires="2026-12-01T00:00:00Z")],
    "a snapshot without the subscriber": [],
}


@pytest.mark.parametrize("name", BETWEEN)
def test_a_spent_code_stays_dead_whatever_came_between(core: Core, cashier: Cashier, name: str) -> None:
    core.send(page(**BILL, code=CODE))
    for n in range(TRIES - 1):
        assert cashier.prove(HERE, f"wrong{n}".encode())[0] == "wrong"
    core.send(*(again := BETWEEN[name]))
    if name == "its end":
        core.now = 1_796_083_200_000
        cashier.sweep()
    elif not again:
        core.sync([{"op": "bind", "sub": "C-2", "addresses": [THERE]}])
        core.send(BIND, DEBT)
    core.restart()
    cashier = Cashier(core.pipeline)
    assert core.status(page(**BILL, code=CODE)) == ["applied"]
    assert cashier.prove(HERE, b"wrong9")[0] == "locked", "one try was left"
    core.send(page(), page(**BILL))
    answer = core.send(page(**BILL, code=CODE))["results"][0]
    assert "send a new one" in answer["detail"]
    assert cashier.prove(HERE, CODE.encode()) == ("locked", b"")
    core.send(page(**BILL, code="THIRD-777"))
    assert cashier.prove(HERE, b"THIRD777")[0] == "ok"
    core.send(page(), page(**BILL, code="THIRD-777"))
    core.now += TICKET_MS
    assert cashier.prove(HERE, b"THIRD777") == ("used", b""), "nor is a used one revived"


def test_spent_codes_are_forgotten_in_time(core: Core, cashier: Cashier) -> None:
    def remembered() -> int:
        return int(core.store.read(lambda db: db.execute("SELECT count(*) FROM tried").fetchone()[0]))

    for n in range(MOST_TRIED + 2):
        core.now += 1
        core.send(page(**BILL, code=f"CODE-{n:03}"))
        assert cashier.prove(HERE, f"CODE{n:03}".encode())[0] == "ok"
    assert remembered() == MOST_TRIED
    assert b"CODE021" not in everything(core)
    core.now += TICKET_MS
    core.send(page(**BILL, code="CODE-021"))
    assert cashier.prove(HERE, b"CODE021")[0] == "used"
    core.now += LONGEST_MS
    core.send(page(**BILL, code="CODE-021"))
    assert cashier.prove(HERE, b"CODE021")[0] == "ok"
    assert remembered() == 1
    core.send({"op": "forget", "sub": "C-1"})
    assert remembered() == 0


def test_payment_and_data_in_one_batch(core: Core) -> None:
    assert core.status(page(**BILL), {"op": "paid", "sub": "C-1"}) == ["applied"] * 2
    assert not standing(core).pays
    assert core.status({**DEBT, "invoices": ["F-2"]}, page(**BILL), page()) == ["applied"] * 3
    assert not core.pipeline.pages.any


def test_it_ends_at_its_moment_and_is_swept(core: Core, cashier: Cashier) -> None:
    core.send(page(**BILL, code=CODE, expires="2026-12-01T00:00:00Z"))
    ticket = cashier.prove(HERE, CODE.encode())[1]
    core.now = 1_796_083_200_000 - 1
    assert standing(core).pays
    core.now += 1
    assert not standing(core).pays
    assert cashier.bill(ticket) == {}
    assert kept(core)
    cashier.sweep()
    assert not kept(core)
    core.send(page(**BILL))
    core.now += LONGEST_MS
    assert not standing(core).pays


def test_a_snapshot_leaves_pages_alone(core: Core) -> None:
    core.send(page(**BILL, code=CODE), {"op": "page", "reason": "debt", "fields": {"title": "x"}})
    answer = core.sync([BIND, DEBT, {"op": "bind", "sub": "C-2", "addresses": [THERE]}, page("C-2", **BILL)])
    assert [r["code"] for r in answer["results"]] == ["malformed"]
    assert standing(core).pays
    assert core.pipeline.pages.texts


def test_a_page_is_no_news_of_the_debt_to_a_snapshot_under_way(core: Core) -> None:
    core.chunk([BIND], 1, 2)
    core.send({**page(**BILL, code=CODE), "rev": 9}, epoch="e", seq=1)
    core.chunk([], 2, 2)
    steps = core.begin_snapshot()
    core.send(page(**BILL | {"month": "2026-12"}, code=CODE), epoch="e", seq=2)
    core.end_snapshot(steps)
    assert core.level("C-1") == "open", "the snapshot does not know the debt any more"
    assert standing(core).pays


@pytest.mark.parametrize("reason", ["court", "terminated", "fraud", "abuse", "preventive", "operator", "pause"])
def test_nothing_is_shown_where_the_page_is_not_about_money(core: Core, cashier: Cashier, reason: str) -> None:
    core.send(page(**BILL, code=CODE))
    ticket = cashier.prove(HERE, CODE.encode())[1]
    core.send(page(**BILL, code="SECOND-77"), {"op": "block", "sub": "C-1", "reason": reason})
    assert not standing(core).pays
    assert cashier.bill(ticket) == {}
    assert cashier.prove(HERE, b"SECOND77") == ("none", b"")
    core.send({"op": "unblock", "sub": "C-1", "reason": reason, "cause": "documents_ok"})
    assert standing(core).pays
    assert cashier.bill(ticket) == BILL


REFUSED: dict[str, tuple[dict[str, Any], str, str]] = {
    "somebody nobody knows": (page("C-9", **BILL), "unknown_subscriber", "C-9"),
    "a foreign payee": (page(pix=made.code("evil@example.com")), "malformed", "portal.payees.pix"),
    "a broken line": (page(line=made.bank()[:-1]), "malformed", "fields.line"),
    "an old revision": ({**page(**BILL), "rev": 3}, "stale", "rev 3"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_refusal_names_field_and_fault_and_changes_nothing(core: Core, name: str) -> None:
    cmd, code, said = REFUSED[name]
    assert core.status({**DEBT, "rev": 4}, {**page(amount="1.00"), "rev": 9}) == ["unchanged", "applied"]
    assert core.pipeline.questions.why("C-1")["rev"] == 4, "it is compared, not kept"
    result = core.send(cmd)["results"][0]
    assert (result["status"], result["code"]) == ("rejected", code)
    assert said in result["detail"]
    assert "evil" not in result["detail"]
    assert core.status(page(amount="1.00")) == ["unchanged"]


def test_nothing_of_it_is_in_answers_events_records_or_the_trail(core: Core) -> None:
    answer = core.send(page(**BILL, code=CODE), {"op": "query", "sub": "C-1"}, page(amount="77.77"), page())
    trail = core.store.audit_window(0, core.store.audit_bounds()[1])
    text = json.dumps([answer, core.events(), trail], default=str)
    for secret in ("99.90", "77.77", "br.gov", "K7Q2"):
        assert secret not in text
    assert [r["about"] for r in trail[-3:]] == ["payment data set", "payment data set", "payment data removed"]


def test_an_older_database_gets_the_new_tables(tmp_path: Path) -> None:
    core = Core(tmp_path, payees=made.OURS)
    core.send(BIND, DEBT)
    core.store.close()
    with sqlite3.connect(tmp_path / "edged.db") as db:
        for name in ("page", "payment", "redeemed", "tried"):
            db.execute(f"DROP TABLE {name}")  # as version 3 was
        db.execute("PRAGMA user_version = 3")
    db.close()
    core.start()
    assert core.status(page(**BILL)) == ["applied"]
    assert standing(core).pays
    core.store.close()


def test_a_code_that_was_locked_before_an_upgrade_stays_so(core: Core, cashier: Cashier) -> None:
    core.send(page(**BILL, code=CODE))
    for _ in range(TRIES):
        cashier.prove(HERE, b"wrong1")
    core.store.close()
    with sqlite3.connect(core.directory / "edged.db") as db:
        db.execute("DROP TABLE tried")  # as version 4 was
        db.execute("ALTER TABLE payment DROP COLUMN invoices")
        for name in ("used", "by"):
            db.execute(f"ALTER TABLE redeemed DROP COLUMN {name}")
        db.execute("PRAGMA user_version = 4")
    db.close()
    core.start()
    assert core.status(page(**BILL, code=CODE), page(), page(**BILL, code=CODE)) == ["unchanged", "applied", "applied"]
    assert Cashier(core.pipeline).prove(HERE, CODE.encode()) == ("locked", b"")


# -- signed links ------------------------------------------------------------------------------------------------------


def keyring(*, required: bool = True) -> Keyring:
    public = [(n, (envelope.read_public(envelope.public_text(k)),)) for n, k in (("erp", ERP), ("noc", NOC))]
    roles = {"erp": frozenset({"billing"}), "noc": frozenset({"noc"})}
    issuers = [Issuer(name, keys, roles[name]) for name, keys in public]
    return Keyring(issuers, required=required, audience=["gw1", "all"], max_ahead=1, max_age=1)


def link(core: Core, key: OKPKey = ERP, kid: str = "erp", **changes: Any) -> bytes:
    body = {"typ": "edged-pay", "aud": "gw1", "exp": core.now // 1000 + 600, "sub": "C-1", "jti": "0123456789abcdef"}
    return envelope.sign(json.dumps(body | changes).encode(), key, kid)


def test_a_signed_link_opens_it_once(core: Core) -> None:
    core.pipeline.keyring = keyring()
    cashier = Cashier(core.pipeline)
    assert cashier.redeem(HERE, link(core)) == ("none", b""), "there is nothing to pay; the link is not used up"
    core.send(page(**BILL))
    verdict, ticket = cashier.redeem(HERE, link(core))
    assert verdict == "ok"
    assert cashier.bill(ticket) == BILL
    core.now += TICKET_MS
    assert cashier.redeem(HERE, link(core)) == ("used", b"")
    core.restart()
    core.pipeline.keyring = keyring()
    assert Cashier(core.pipeline).redeem(HERE, link(core)) == ("used", b""), "nor behind a restart"
    assert Cashier(core.pipeline).redeem(HERE, link(core, jti="another-one-0123", aud=["all", "gw7"]))[0] == "ok"


@pytest.mark.parametrize(
    ("first", "same", "others"),
    [
        (HERE, [HERE, HERE6], [NEXT_DOOR, "100.64.0.99", "2001:db8::99"]),  # the subscriber's own line
        (NEXT_DOOR, [NEXT_DOOR], [HERE, "100.64.0.99"]),
        ("100.64.0.99", ["100.64.0.99"], [HERE, NEXT_DOOR, "100.64.0.98", "2001:db8::99"]),  # whom nobody knows
        ("2001:db8::99", ["2001:db8::99", "2001:db8::1"], [HERE, "2001:db8:0:1::99"]),
    ],
)
def test_a_used_link_opens_again_for_a_while_where_it_was_used(
    core: Core, first: str, same: list[str], others: list[str]
) -> None:
    """Its answer may be lost on the way, or its ticket with a restart."""
    core.pipeline.keyring = keyring()
    core.send({**BIND, "addresses": [HERE, "2001:db8:77::/64"]}, *NEIGHBOUR, page(**BILL), page("C-2", **BILL))
    used = link(core, exp=core.now // 1000 + 300)  # it may be over meanwhile
    before = Cashier(core.pipeline).redeem(first, used)
    assert before[0] == "ok"
    core.restart()
    core.pipeline.keyring = keyring()
    cashier = Cashier(core.pipeline)
    core.now += TICKET_MS // 2
    for address in same:
        verdict, ticket = cashier.redeem(address, used)
        assert (verdict, cashier.bill(ticket)) == ("ok", BILL)
    for address in others:
        assert cashier.redeem(address, used) == ("dead", b""), "it is over, and says no more than that"
    assert cashier.redeem(first, link(core, jti="never-used-01234", exp=core.now // 1000 - 1)) == ("dead", b"")
    core.now += TICKET_MS // 2  # counted from its first use
    assert cashier.redeem(first, used) == ("dead", b"")
    core.now -= TICKET_MS * 2  # before that: the clock went back
    assert cashier.redeem(first, used) == ("used", b"")
    for address in (first, *same, *others):
        assert address.encode() not in everything(core) or address in (HERE, NEXT_DOOR), "it is not kept who it was"


LATER: dict[str, list[dict[str, Any]]] = {
    "still to be paid": [],
    "paid": [{"op": "paid", "sub": "C-1"}],
    "without payment data": [page()],
    "forgotten": [{"op": "forget", "sub": "C-1"}],
}


@pytest.mark.parametrize("later", LATER)
def test_a_link_tells_other_lines_nothing_of_its_subscriber(core: Core, cashier: Cashier, later: str) -> None:
    core.pipeline.keyring = keyring()
    core.send(page(**BILL), *NEIGHBOUR, page("C-2", **BILL, code=CODE))
    used, unused = link(core), link(core, jti="never-used-01234")
    assert cashier.redeem(HERE, used)[0] == "ok"
    core.send(*LATER[later])
    strange = {NEXT_DOOR: "stale", "100.64.0.99": "dead", "2001:db8::99": "dead"}
    for address in strange:
        assert cashier.redeem(address, used) == ("used", b"")
    core.now += 600_000
    for _ in range(2):  # at its end, and almost a quarter of an hour behind it
        for address, verdict in strange.items():
            assert cashier.redeem(address, used) == cashier.redeem(address, unused) == (verdict, b"")
        core.now += TICKET_MS - 1


def test_on_its_own_line_a_used_link_says_that_nothing_is_to_be_paid_any_more(core: Core, cashier: Cashier) -> None:
    core.pipeline.keyring = keyring()
    core.send(page(**BILL))
    used, longer = link(core), link(core, jti="longer-012345678", exp=core.now // 1000 + 3600)
    for one in (used, longer):
        assert cashier.redeem(HERE, one)[0] == "ok"
    core.send({"op": "paid", "sub": "C-1"})
    core.now += TICKET_MS - 1
    assert cashier.redeem(HERE, used) == cashier.redeem(HERE, longer) == ("none", b"")
    core.now += 1
    assert [cashier.redeem(HERE, one)[0] for one in (used, longer)] == ["dead", "none"]


def test_a_used_link_does_not_follow_an_address_to_the_next_subscriber(core: Core) -> None:
    core.pipeline.keyring = keyring()
    core.send(page(**BILL))
    used = link(core)
    assert Cashier(core.pipeline).redeem(HERE, used)[0] == "ok"
    core.send({**NEIGHBOUR[0], "addresses": [HERE]})
    assert Cashier(core.pipeline).redeem(HERE, used) == ("used", b"")


def test_a_link_that_was_used_before_an_upgrade_stays_so(core: Core) -> None:
    core.pipeline.keyring = keyring()
    core.send(page(**BILL))
    used = link(core)
    assert Cashier(core.pipeline).redeem(HERE, used)[0] == "ok"
    core.store.close()
    with sqlite3.connect(core.directory / "edged.db") as db:
        for name in ("used", "by"):
            db.execute(f"ALTER TABLE redeemed DROP COLUMN {name}")  # as version 5 was
        db.execute("PRAGMA user_version = 5")
    db.close()
    core.start()
    core.pipeline.keyring = keyring()
    assert Cashier(core.pipeline).redeem(HERE, used) == ("used", b"")


WRONG: dict[str, dict[str, Any]] = {
    "of another role": {"key": NOC, "kid": "noc"},
    "of a thief": {"key": OKPKey.derive_key("thief")},
    "of an issuer nobody knows": {"kid": "elsewhere"},
    "for another gateway": {"aud": "gw2"},
    "over": {"exp": 1_789_999_999},
    "for a week": {"exp": 1_790_700_000},
    "of another kind": {"typ": "JWT"},
    "for nobody we know": {"sub": "C-9"},
    "with another issuer inside": {"iss": "noc"},
    "with a name": {"name": "Maria"},
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_link_opens_nothing(core: Core, name: str) -> None:
    core.pipeline.keyring = keyring()
    core.send(page(**BILL), *NEIGHBOUR, page("C-2", **BILL, code=CODE))
    for address, verdict in ((HERE, "dead"), (NEXT_DOOR, "stale"), ("100.64.0.99", "dead"), ("2001:db8::99", "dead")):
        assert Cashier(core.pipeline).redeem(address, link(core, **WRONG[name])) == (verdict, b""), (
            "by the own line alone"
        )


def test_a_link_must_be_signed_also_where_commands_need_not(core: Core) -> None:
    core.pipeline.keyring = keyring(required=False)
    core.send(page(**BILL))
    body = b'{"typ":"edged-pay","aud":"gw1","exp":1790000600,"sub":"C-1","jti":"0123456789abcdef"}'
    for token in (body, b"", b"...", b"a.b.c", b"\xff" * 2048, link(core)[:-1], link(core) + b"A"):
        assert Cashier(core.pipeline).redeem(HERE, token) == ("dead", b"")
    batch = envelope.sign(b'{"v":1,"id":"b","commands":[]}', ERP, "erp")
    assert Cashier(core.pipeline).redeem(HERE, batch) == ("dead", b""), "a batch is no link"
    answer = core.process(link(core)).answers[0].document
    assert answer["results"][0]["status"] == "rejected", "nor is a link a batch"


def test_the_link_that_the_senders_side_makes(core: Core) -> None:
    core.now = int(time.time() * 1000)
    core.pipeline.keyring = keyring()
    core.send({"op": "page", "sub": "C-1", "fields": BILL})
    for key in (ERP, envelope.private_text(ERP)):
        token = pay_token("erp", key, "C-1", ["gw1"])
        assert len(token) < MOST_TOKEN
        assert "C-1" not in token
        assert Cashier(core.pipeline).redeem(HERE, token.encode())[0] == "ok"
    for seconds, audience in ((0, ["gw1"]), (3601, ["gw1"]), (60, []), (60, "gw1")):
        with pytest.raises(ValueError, match=r"seconds|audience"):
            pay_token("erp", ERP, "C-1", audience, seconds=seconds)


def test_a_used_link_stays_used_when_the_clock_went_ahead_and_back(core: Core) -> None:
    core.pipeline.keyring = keyring()
    core.send(page(**BILL))
    cashier = Cashier(core.pipeline)
    used = link(core, exp=core.now // 1000 + 3600)
    assert cashier.redeem(HERE, used)[0] == "ok"
    core.now += TICKET_MS
    for ahead in (3_600_000, 30 * 86_400_000):
        core.now += ahead
        core.send(page(**BILL))
        assert cashier.redeem(HERE, link(core, jti=f"{ahead:016}"))[0] == "ok"  # which forgets what is too old
        core.now -= ahead
        assert cashier.redeem(HERE, used) == ("used", b"")
    core.wait(32 * 86_400_000)
    core.send(page(**BILL))
    assert cashier.redeem(HERE, link(core, jti="the-last-one-0123"))[0] == "ok"
    ((left,),) = core.store.read(lambda db: db.execute("SELECT count(*) FROM redeemed").fetchall())
    assert left == 2, "those of a month and of today"


def test_a_ticket_ends_in_its_quarter_of_an_hour_or_when_the_clock_goes_back(core: Core) -> None:
    core.pipeline.keyring = keyring()
    core.send(page(**BILL))
    cashier = Cashier(core.pipeline)
    ticket = cashier.redeem(HERE, link(core))[1]
    assert cashier.bill(ticket) == BILL
    core.now -= 3_600_000
    assert cashier.bill(ticket) == {}


def test_tickets_are_bounded(core: Core, cashier: Cashier, monkeypatch: pytest.MonkeyPatch) -> None:
    assert MOST_TICKETS == 10_000
    monkeypatch.setattr("edged.cashier.MOST_TICKETS", 2)
    core.pipeline.keyring = keyring()
    core.send(page(**BILL), *NEIGHBOUR, page("C-2", **BILL))
    tickets = [cashier.redeem(HERE, link(core, sub=f"C-{n % 2 + 1}", jti=f"{n:016}"))[1] for n in range(3)]
    assert [bool(cashier.bill(t)) for t in tickets] == [False, True, True]


@pytest.mark.parametrize("proof", ["code", "link", "links"])
def test_nobody_pushes_out_a_neighbours_ticket(
    core: Core, cashier: Cashier, proof: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if proof == "links":
        monkeypatch.setattr("edged.cashier.MOST_TICKETS", MOST_OF_ONE + 2)  # each is verified and committed
    core.pipeline.keyring = keyring()
    core.send(page(**BILL, code=CODE), *NEIGHBOUR, page("C-2", **BILL, code=CODE))
    tickets = [cashier.prove(NEXT_DOOR, CODE.encode())[1]]
    used = link(core)
    for n in range(MOST_OF_ONE * 3 if proof == "links" else MOST_TICKETS + 1):
        if proof == "code":
            verdict, ticket = cashier.prove(HERE, CODE.encode())
        else:
            verdict, ticket = cashier.redeem(HERE, used if proof == "link" else link(core, jti=f"{n:016}"))
        assert verdict == "ok"
        if ticket != tickets[-1]:
            tickets.append(ticket)
    living = [bool(cashier.bill(ticket)) for ticket in tickets]
    own = len(living) - 1
    assert own == (MOST_OF_ONE * 3 if proof == "links" else 1)
    assert living == [True] + [False] * (own - MOST_OF_ONE) + [True] * min(own, MOST_OF_ONE), "the own oldest went"


@pytest.mark.parametrize("proof", ["code", "link"])
def test_whoever_opens_again_keeps_the_ticket_for_as_long_as_the_new_cookie(
    core: Core, cashier: Cashier, proof: str
) -> None:
    core.pipeline.keyring = keyring()
    core.send(page(**BILL, code=CODE))
    used = link(core)

    def opened() -> bytes:
        verdict, ticket = cashier.prove(HERE, CODE.encode()) if proof == "code" else cashier.redeem(HERE, used)
        assert verdict == "ok"
        return ticket

    first = opened()
    core.now += TICKET_MS - 1
    assert opened() == first
    core.now += TICKET_MS - 1
    assert cashier.bill(first) == BILL
    core.now += 1
    assert cashier.bill(first) == {}


def test_of_several_proofs_the_one_opened_last_is_the_youngest(core: Core, cashier: Cashier) -> None:
    core.pipeline.keyring = keyring()
    core.send(page(**BILL))
    links = [link(core, jti=f"{n:016}") for n in range(MOST_OF_ONE + 1)]
    tickets = [cashier.redeem(HERE, one)[1] for one in links[:-1]]
    assert cashier.redeem(HERE, links[0])[1] == tickets[0]
    tickets.append(cashier.redeem(HERE, links[-1])[1])
    assert [bool(cashier.bill(t)) for t in tickets] == [True, False, True, True, True]


def test_a_ticket_from_before_the_clock_went_back_is_not_given_again(core: Core, cashier: Cashier) -> None:
    core.pipeline.keyring = keyring()
    core.send(page(**BILL))
    used = link(core)
    cashier.redeem(HERE, used)
    core.now += 60_000
    dead = cashier.redeem(HERE, used)[1]
    core.now -= 30_000
    verdict, ticket = cashier.redeem(HERE, used)
    assert (verdict, cashier.bill(ticket), cashier.bill(dead)) == ("ok", BILL, {})


# -- asking for a promise ----------------------------------------------------------------------------------------------


def test_what_comes_of_asking(core: Core) -> None:
    def ask(address: str = HERE, *, alone: bool = False) -> str:
        return core.upkeep.petition(address, "page", alone=alone)[0]

    assert ask(THERE) == "not_applicable"
    assert standing(core).can_trust
    assert not standing(core).asked
    assert ask() == "requested"
    assert [e["event"] for e in core.events()] == ["trust.requested"]
    assert core.events()[0]["channel"] == "page"
    assert standing(core).asked
    assert ask() == "limited"
    core.now += 60_000
    assert ask() == "requested"
    core.now += 60_000
    assert ask() == "requested"
    core.now += 3_600_000
    assert ask() == "limited", "three a day"
    assert not standing(core).asked
    core.now += 86_400_000
    assert ask(alone=True) == "granted"
    assert ask() == "granted"
    assert not standing(core).asked
    assert not standing(core).can_trust
    core.wait(30 * 86_400_000)
    assert standing(core).broken
    assert ask() == "spent"
    assert not standing(core).can_trust
    core.send({"op": "block", "sub": "C-1", "reason": "fraud"})
    assert ask() == "not_applicable"
    assert [e["event"] for e in core.events()].count("trust.requested") == 3


def test_asking_is_remembered_for_so_many_only(core: Core, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edged.petitions.MOST", 2)
    petitions = core.pipeline.petitions
    for owner in (1, 2, 1, 3):
        petitions.note(owner, core.now)
    assert [petitions.awaits(owner, core.now) for owner in (1, 2, 3)] == [True, False, True]


def test_a_clock_that_goes_back_keeps_nobody_from_asking(core: Core) -> None:
    for _ in range(3):
        assert core.upkeep.petition(HERE, "page", alone=False)[0] == "requested"
        core.now += 60_000
    core.now -= 86_400_000
    assert not standing(core).asked
    assert standing(core).can_trust
    assert core.upkeep.petition(HERE, "page", alone=False)[0] == "requested"
    assert core.upkeep.petition(HERE, "page", alone=False)[0] == "limited"
    assert standing(core).asked


# -- who is watched ----------------------------------------------------------------------------------------------------


def test_what_a_commit_touches_is_told_to_those_who_watch(core: Core) -> None:
    watched = core.pipeline.watched
    core.send({"op": "bind", "sub": "C-6", "addresses": ["2001:db8:0:100::/56"]})
    told: list[set[str]] = []

    def after(*commands: dict[str, Any]) -> set[str]:
        assert set(core.status(*commands)) == {"applied"}
        told.append(watched.take())
        return told[-1]

    assert after({"op": "trust", "sub": "C-1"}) == set()
    for address in (HERE, THERE, "2001:db8:0:1ff::5", "2001:db8:0:1fe::1", "nonsense"):
        watched.watch(address, on=True)
    assert after({"op": "untrust", "sub": "C-1"}) == {HERE}
    assert after(page(**BILL)) == {HERE}
    assert after({"op": "block", "sub": "C-6", "reason": "notice"}) == {"2001:db8:0:1ff::5", "2001:db8:0:1fe::1"}
    assert after({"op": "bind", "sub": "C-2", "addresses": [HERE]}) == {HERE}
    assert after({"op": "bind", "sub": "C-2", "addresses": [THERE]}) == {HERE, THERE}
    assert after({"op": "forget", "sub": "C-2"}) == {THERE}
    core.upkeep.petition(HERE, "page", alone=False)
    watched.watch("2001:db8:0:1ff::5", on=False)
    assert after({"op": "unblock", "sub": "C-6", "reason": "notice"}) == {"2001:db8:0:1fe::1"}
    watched.touch_all()
    assert watched.take() == {HERE, THERE, "2001:db8:0:1fe::1"}
    for address in (HERE, THERE, "2001:db8:0:1fe::1", "2001:db8:0:1ff::5"):
        watched.watch(address, on=False)
    assert not watched


def test_without_a_watcher_the_path_of_a_command_asks_once_whether_there_is_one(core: Core) -> None:
    class Strict:
        asked = 0

        def __bool__(self) -> bool:
            self.asked += 1
            return False

    strict = Strict()
    core.pipeline.watched = strict  # type: ignore[assignment]
    core.send(*({"op": "block", "sub": f"100.64.9.{n}", "reason": "debt"} for n in range(200)))
    assert strict.asked == 1


def test_a_standing_says_what_the_page_needs_and_no_more(core: Core) -> None:
    found = dataclasses.asdict(standing(core))
    assert found == {
        "level": 3, "reason": "debt", "until_ms": 0, "since_ms": core.now, "deadline_ms": core.now + 60 * 86_400_000,
        "next_ms": 0, "eta_ms": 0, "broken": False, "can_trust": True, "asked": False, "outage": False, "pays": False,
        "next_level": 0,
    }  # fmt: skip
    core.send(
        {**BIND, "area": "north"},
        {"op": "outage", "id": "O-1", "area": "north", "eta": "2026-12-01T00:00:00Z"},
        {"op": "block", "sub": "C-1", "reason": "notice", "not_before": "2026-11-01T00:00:00Z"},
        {"op": "trust", "sub": "C-1", "hours": 24},
    )
    told = standing(core)
    assert (told.outage, told.eta_ms) == (True, 1_796_083_200_000)
    assert (told.level, told.reason, told.until_ms) == (0, "", core.now + 86_400_000)
    assert (told.next_ms, told.next_level) == (told.until_ms, 3)
    core.send({"op": "untrust", "sub": "C-1"})
    assert (standing(core).next_ms, standing(core).next_level) == (0, 0), "a reminder makes nothing stricter"
