"""The path of a command: parse, decide, commit, plan, apply, answer; what each leaves in store, kernel and outbox."""

from __future__ import annotations

import errno
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edged import pipeline as pipeline_module
from edged.domain.model import rfc3339
from edged.errors import KernelError, StoreError
from edged.looks import Looks
from edged.nft.fake import FakeBackend
from edged.nft.transaction import AddTable, Transaction
from edged.pipeline import error_name
from tests.unit.core import START, Core

HOUR = 3_600_000
V4, V6 = "100.64.0.10", "2001:db8:0:100::/56"
BIND = {"op": "bind", "sub": "C-1", "addresses": [V4, V6]}
BLOCK = {"op": "block", "sub": "C-1", "reason": "debt"}
SLOW = {"op": "block", "sub": "C-1", "reason": "debt_partial", "rate": 512}
TRUST = {"op": "trust", "sub": "C-1", "hours": 2}
PAID = {"op": "paid", "sub": "C-1"}


@pytest.fixture
def core(tmp_path: Path) -> Iterator[Core]:
    made = Core(tmp_path)
    yield made
    made.store.close()


def key4(text: str) -> bytes:
    return bytes(int(x) for x in text.split("."))


def test_bind_block_trust_paid_reach_the_kernel(core: Core) -> None:
    assert core.status(BIND, BLOCK) == ["applied", "applied"]
    assert set(core.in_kernel()) == {"restricted4", "restricted6_56"}
    core.status(TRUST)
    assert set(core.in_kernel()) == {"restricted4", "restricted6_56", "waived4", "waived6_56"}
    core.wait(2 * HOUR)
    assert set(core.in_kernel()) == {"restricted4", "restricted6_56"}
    assert core.level("C-1") == "walled"
    core.status(PAID)
    assert core.in_kernel() == {}
    assert core.level(V4) == "open"


def test_one_group_is_one_commit_and_one_transaction(core: Core) -> None:
    before = core.kernel.commits
    core.process(*(json.dumps({"v": 1, "id": f"x{n}", "commands": [BIND, BLOCK, SLOW]}).encode() for n in range(5)))
    assert core.kernel.commits == before + 1


def test_the_answer_has_the_contracts_form(core: Core) -> None:
    answer = core.send(BIND, BLOCK, {"op": "explode"}, name="01JD8W", issuer="erp", ts="2026-11-21T12:00:00Z")
    assert answer == {
        "v": 1,
        "id": "01JD8W",
        "gateway": "gw1",
        "duplicate": False,
        "received": rfc3339(START),
        "summary": {"applied": 2, "unchanged": 0, "deferred": 0, "rejected": 1, "held": 0},
        "results": [
            {"i": 0, "sub": "C-1", "status": "applied"},
            {"i": 1, "sub": "C-1", "status": "applied"},
            {"i": 2, "sub": None, "status": "rejected", "code": "unknown_op", "detail": answer["results"][2]["detail"]},
        ],
    }
    assert core.observer.commands == [("bind", "applied"), ("block", "applied"), ("unknown", "rejected")]
    assert core.observer.rejections == ["unknown_op"]


def test_a_large_batch_lists_only_what_was_not_applied(core: Core) -> None:
    commands = [{"op": "block", "sub": f"C-{n}", "reason": "operator"} for n in range(60)]
    answer = core.send(*commands, commands[0], {"op": "query", "sub": "C-5"}, 5)
    assert answer["summary"] == {"applied": 61, "unchanged": 1, "deferred": 0, "rejected": 1, "held": 0}
    assert [(r["i"], r["status"]) for r in answer["results"]] == [(60, "unchanged"), (61, "applied"), (62, "rejected")]
    assert answer["results"][1]["record"]["sub"] == "C-5"


def test_deferred_says_until_when_and_why(core: Core) -> None:
    begin = rfc3339(START + HOUR)
    (result,) = core.send({**BLOCK, "not_before": begin})["results"]
    assert (result["status"], result["until"], result["why"]) == ("deferred", begin, "not_before")


# -- idempotence -----------------------------------------------------------------------------------------------------


def test_a_batch_seen_again_changes_nothing_and_gets_the_same_answer(core: Core) -> None:
    first = core.send(BIND, BLOCK, name="once")
    core.status(PAID)
    assert core.send(BIND, BLOCK, name="once") == {**first, "duplicate": True}
    assert core.level("C-1") == "open"
    core.restart()
    assert core.send({"op": "explode"}, name="once") == {**first, "duplicate": True}


def test_a_batch_twice_in_one_group_is_done_once(core: Core) -> None:
    payload = json.dumps({"v": 1, "id": "twice", "commands": [BIND, BLOCK, TRUST]}).encode()
    first, second = core.process(payload, payload).answers
    assert second.document == {**first.document, "duplicate": True}
    assert core.pipeline.questions.why("C-1")["promise"]["running"]


def test_a_batch_id_is_forgotten_after_thirty_days(core: Core) -> None:
    core.send(BIND, name="old")
    core.store.purge(START + 1)
    assert core.send(BIND, name="old")["duplicate"] is False
    assert pipeline_module.KEEP_IDS_MS == 30 * 24 * HOUR


def test_a_bare_command_is_never_a_duplicate(core: Core) -> None:
    payload = json.dumps(BLOCK).encode()
    first, second = (core.process(payload).answers[0].document for _ in range(2))
    assert first["results"][0]["status"] == "applied"
    assert second["results"][0]["status"] == "unchanged"
    assert first["id"] != second["id"]
    assert not second["duplicate"]


def test_an_expired_batch_is_refused_and_not_remembered(core: Core) -> None:
    answer = core.send(BLOCK, name="late", expires=rfc3339(START))
    assert answer["results"][0]["code"] == "expired"
    assert core.send(BLOCK, name="late", expires=rfc3339(START + 1000))["results"][0]["status"] == "applied"


# -- bad input -------------------------------------------------------------------------------------------------------

POISON: dict[str, bytes] = {
    "nothing": b"",
    "garbage": bytes(range(256)) * 10,
    "too long": b"[" + b" " * (1 << 20) + b"]",
    "deep": b"[" * 200_000,
    "surrogates": b'{"op":"block","sub":"\\ud800","reason":"debt"}',
    "surrogates in a batch": b'{"v":1,"id":"s","commands":[{"op":"block","sub":"\\ud800","reason":"debt"}]}',
    "surrogates as op": b'{"v":1,"id":"s","commands":[{"op":"\\ud800"}]}',
    "surrogates as id": b'{"v":1,"id":"\\ud800","commands":[{"op":"x"}]}',
    "surrogates as an address": b'{"op":"bind","sub":"x","addresses":["\\ud800"]}',
    "surrogates in a query": b'{"op":"query","address":"\\ud800"}',
    "surrogates as an invoice": b'{"op":"paid","sub":"x","invoices":["\\ud800"]}',
    "zeros": b'{"op":"block","sub":"\\u0000","reason":"debt"}',
    "zeros in a ref": b'{"op":"block","sub":"z","reason":"debt","ref":"\\u0000"}',
    "a huge number": b'{"op":"trust","sub":"x","hours":1e308}',
    "a huge rev": b'{"op":"block","sub":"r","reason":"debt","rev":99999999999999999999}',
    "the end of time": b'{"op":"block","sub":"x","reason":"debt","notified_at":"9999-12-31T23:59:59Z"}',
    "the end of time, over the zone": b'{"op":"trust","sub":"x","until":"9999-12-31T23:59:59-23:59"}',
    "before all time": b'{"op":"block","sub":"x","reason":"debt","deadline":"0001-01-01T00:00:00+23:59"}',
    "an expiry before all time": b'{"v":1,"id":"e","expires":"0001-01-01T00:00:00+23:59","commands":[{"op":"x"}]}',
    "not a number": b'{"op":"trust","sub":"x","hours":NaN}',
    "a very wide prefix": b'{"op":"bind","sub":"x","addresses":["::/0"]}',
    "a prefix of the other family": b'{"op":"bind","sub":"x","addresses":["10.0.0.0/56"]}',
    "commands of every type": b'{"v":1,"id":"t","commands":[null,true,1,1.5,"x",[],{}]}',
    "an old due date": b'{"op":"block","sub":"x","reason":"debt","invoices":[{"id":"F","due":"0001-01-01"}]}',
}


@pytest.mark.parametrize("name", POISON)
def test_whatever_arrives_is_answered_and_the_next_command_works(core: Core, name: str) -> None:
    outcome = core.process(POISON[name])
    (answer,) = outcome.answers
    assert answer.document["summary"]["rejected"] in (0, 1, 7)
    json.dumps(answer.document, ensure_ascii=False).encode()
    core.process(b'{"op":"trust","sub":"x","hours":1}')
    assert core.status(BIND, BLOCK, {"op": "query", "sub": "C-1"}) == ["applied"] * 3
    assert core.agrees()


def test_commands_stand_or_fall_alone_and_in_order(core: Core) -> None:
    """Contract §1: nothing is applied by halves."""
    assert core.status(
        {"op": "bind", "sub": "C-1", "addresses": [V4, "192.0.2.1"]},
        {"op": "query", "sub": "C-1"},
        {"op": "bind", "sub": "C-1", "addresses": [V4, "10.0.0.0/8"]},
        BIND,
        {"op": "unblock", "sub": "C-1", "reason": "debt"},
        BLOCK,
        {**BLOCK, "level": "blocked"},
        {"op": "unblock", "sub": "C-1", "reason": "debt"},
        BLOCK,
    ) == [
        "address_protected", "unknown_subscriber", "bad_address", "applied", "unchanged", "applied", "malformed",
        "applied", "applied",
    ]  # fmt: skip
    assert core.agrees()


# -- addresses -------------------------------------------------------------------------------------------------------


def test_an_address_that_moves_takes_no_restriction_with_it(core: Core) -> None:
    """domain.md §4; contract `bind`: event address.moved."""
    core.status(BIND, SLOW)
    core.status({"op": "bind", "sub": "C-2", "addresses": [V4]})
    assert core.level(V4) == "open"
    assert core.level("C-1") == "reduced"
    assert set(core.in_kernel()) == {"restricted6_56", "reduced6_56", "reduced_up6_56", "reduced_down6_56"}
    moved = [e for e in core.events() if e["event"] == "address.moved"]
    assert [(e["address"], e["from"], e["to"]) for e in moved] == [(V4, "C-1", "C-2")]
    assert core.agrees()


def test_an_address_moves_back_and_forth_in_one_batch(core: Core) -> None:
    core.status(BIND, BLOCK)
    other = {"op": "bind", "sub": "C-2", "addresses": [V4]}
    assert core.status(other, {"op": "block", "sub": "C-2", "reason": "operator"}, BIND, other, BIND) == ["applied"] * 5
    assert core.level(V4) == "walled"
    assert core.pipeline.questions.why("C-2")["addresses"] == []
    assert core.agrees()


def test_bind_replaces_or_adds(core: Core) -> None:
    core.status(BIND, BLOCK)
    core.status({"op": "bind", "sub": "C-1", "addresses": ["100.64.0.11"], "replace": False})
    assert len(core.pipeline.questions.why("C-1")["addresses"]) == 3
    assert core.status({"op": "bind", "sub": "C-1", "addresses": ["100.64.0.11"], "replace": False}) == ["unchanged"]
    core.status({"op": "bind", "sub": "C-1", "addresses": ["100.64.0.11"]})
    assert core.in_kernel() == {"restricted4": {key4("100.64.0.11")}}
    assert core.status({"op": "unbind", "sub": "C-1", "addresses": ["100.64.0.99"]}) == ["unchanged"]
    assert core.status({"op": "unbind", "sub": "C-1"}) == ["applied"]
    assert core.in_kernel() == {}
    assert core.level("C-1") == "walled"


def test_a_literal_address_is_a_subscriber_bound_to_itself(core: Core) -> None:
    assert core.status({"op": "block", "sub": "100.64.0.8/30", "reason": "operator"}) == ["applied"]
    assert len(core.in_kernel()["restricted4"]) == 4
    assert core.level("100.64.0.9") == "walled"
    assert core.status({"op": "unblock", "sub": "100.64.0.8/30", "reason": "operator"}) == ["applied"]
    assert core.in_kernel() == {}


def test_a_literal_address_of_somebody_else_is_not_taken(core: Core) -> None:
    core.status(BIND)
    assert core.status({"op": "block", "sub": V4, "reason": "operator"}) == ["bad_address"]
    assert core.status({"op": "unblock", "sub": V4, "reason": "operator"}) == ["unknown_subscriber"]
    assert core.in_kernel() == {}


def test_protected_networks_are_never_restricted(core: Core) -> None:
    """domain.md §5."""
    assert (
        core.status(
            {"op": "block", "sub": "192.0.2.7", "reason": "operator"},
            {"op": "block", "sub": "192.0.2.0/24", "reason": "debt"},
        )
        == ["address_protected"] * 2
    )


# -- forget ----------------------------------------------------------------------------------------------------------


def leftovers(core: Core, name: str) -> list[str]:
    """Where in the database a name is still to be found."""
    core.store.db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    tables = [t for (t,) in core.store.db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    return [t for t in tables if any(name in str(row) for row in core.store.db.execute(f"SELECT * FROM {t}"))]  # noqa: S608


def test_forget_really_removes(core: Core) -> None:
    """domain.md §6."""
    name = "Maria-7"
    core.send({"op": "bind", "sub": name, "addresses": [V4]}, {"op": "block", "sub": name, "reason": "debt"}, name="a")
    core.send({"op": "trust", "sub": name, "hours": 1}, {"op": "untrust", "sub": name}, {"op": "query", "sub": name})
    core.send({"op": "bind", "sub": "C-2", "addresses": [V4]})
    assert leftovers(core, name)
    assert core.status({"op": "forget", "sub": name}) == ["applied"]
    core.tidy_audit()
    assert leftovers(core, name) == []
    assert core.status({"op": "query", "sub": name}) == ["unknown_subscriber"]
    assert core.agrees()


def test_forget_in_the_same_batch_as_everything_else(core: Core) -> None:
    name = "Maria-7"
    bind = {"op": "bind", "sub": name, "addresses": [V4]}
    block = {"op": "block", "sub": name, "reason": "debt", "invoices": ["F-1"]}
    core.send(bind, block, {"op": "bind", "sub": "C-2", "addresses": [V4]}, bind, {"op": "forget", "sub": name})
    core.tidy_audit()
    assert leftovers(core, name) == []
    assert core.in_kernel() == {}
    assert core.agrees()


def test_after_forget_the_same_name_begins_anew(core: Core) -> None:
    core.status(BIND, {**BLOCK, "invoices": ["F-1"]}, TRUST)
    forget = {"op": "forget", "sub": "C-1"}
    assert core.status(forget, BIND, {**BLOCK, "invoices": ["F-1"]}, TRUST) == ["applied"] * 4
    assert core.pipeline.questions.why("C-1")["promise"]["spent"]
    assert core.agrees()
    core.restart()
    assert core.level("C-1") == "open"
    assert core.status(forget, forget) == ["applied", "unknown_subscriber"]


# -- failures --------------------------------------------------------------------------------------------------------


def test_a_kernel_error_leaves_the_commit_standing_and_a_refill_heals(core: Core) -> None:
    core.status(BIND)
    core.kernel.failures = [errno.EBUSY]
    outcome = core.process(json.dumps({"v": 1, "id": "k", "commands": [BLOCK]}).encode())
    assert not outcome.enforced
    assert core.observer.kernel_errors == ["EBUSY"]
    assert "EBUSY" in core.pipeline.last_error
    assert core.in_kernel() == {}
    core.refill()
    assert set(core.in_kernel()) == {"restricted4", "restricted6_56"}


def test_a_change_beside_an_unsynced_kernel_is_not_called_enforced(core: Core) -> None:
    core.status(BIND)
    core.kernel.failures = [errno.ENOBUFS]
    core.process(json.dumps(BLOCK).encode())
    outcome = core.process(json.dumps({"op": "block", "sub": "100.64.9.9", "reason": "operator"}).encode())
    assert not outcome.enforced


def test_a_store_error_changes_nothing_anywhere(core: Core, monkeypatch: pytest.MonkeyPatch) -> None:
    core.status(BIND)
    commits = core.kernel.commits
    core.store.db.execute("PRAGMA query_only = ON")
    payload = json.dumps({"v": 1, "id": "s", "commands": [BLOCK, {"op": "explode"}]}).encode()
    for _ in range(3):
        with pytest.raises(StoreError, match="nothing was changed"):
            core.process(payload)
    assert core.kernel.commits == commits
    assert list(core.store.totals.levels) == [1, 0, 0, 0, 0]
    assert core.observer.rejections == []
    core.store.db.execute("PRAGMA query_only = OFF")
    (answer,) = core.process(payload).answers
    assert answer.document["summary"]["applied"] == 1
    assert core.observer.rejections == ["unknown_op"]
    assert list(core.store.totals.levels) == [0, 0, 0, 1, 0]


def test_a_restart_keeps_everything(core: Core) -> None:
    core.send(BIND, BLOCK, TRUST, name="before")
    before = (
        core.pipeline.questions.why("C-1"),
        core.in_kernel(),
        list(core.store.totals.levels),
        core.store.totals.promises,
    )
    core.restart()
    assert (
        core.pipeline.questions.why("C-1"),
        core.in_kernel(),
        list(core.store.totals.levels),
        core.store.totals.promises,
    ) == before
    assert core.pipeline.last_batch == "before"
    core.wait(2 * HOUR)
    assert core.level("C-1") == "walled"
    assert core.agrees()


def test_promises_that_ended_while_nobody_ran_are_carried_out_at_the_start(core: Core) -> None:
    core.status(BIND, SLOW, TRUST)
    core.now += 5 * HOUR
    core.restart()
    assert "waived4" not in core.in_kernel()
    core.upkeep.expire()
    assert core.level("C-1") == "reduced"
    assert [e["outcome"] for e in core.events() if e["event"] == "trust.ended"] == ["breached"]
    assert core.agrees()


# -- portal, gardens, listing, names ---------------------------------------------------------------------------------


def test_a_seen_notice_rests_in_the_kernel_too(core: Core) -> None:
    core.status(BIND, {**BLOCK, "reason": "notice"})
    assert core.pipeline.questions.standing(V4).level == 1
    assert core.upkeep.seen(V4)
    assert "notified4" in core.in_kernel()
    assert "notified6_56" in core.in_kernel()
    core.wait(24 * HOUR)
    assert "notified4" not in core.in_kernel()
    assert core.agrees()


def test_a_notice_rests_after_three_looks_whoever_counts_and_from_whichever_address(core: Core) -> None:
    core.status(BIND, {**BLOCK, "reason": "notice"})
    for _ in range(2):  # and again when it comes back
        assert core.upkeep.looked(V4) is None
        assert core.upkeep.looked("2001:db8:0:1ab:1234::5") is None
        assert "notified4" not in core.in_kernel()
        assert core.upkeep.looked(V4)
        assert "notified4" in core.in_kernel()
        assert core.upkeep.looked(V4) is None, "it rests: a look moves nothing"
        core.wait(24 * HOUR)
        assert "notified4" not in core.in_kernel()
    assert core.upkeep.looked(V4) is core.upkeep.looked(V4) is None
    assert core.upkeep.seen(V4), "its button is quicker"
    core.wait(24 * HOUR)
    assert core.upkeep.looked(V4) is core.upkeep.looked(V4) is None
    core.status({"op": "paid", "sub": "C-1"})
    core.wait(HOUR)
    core.status({**BLOCK, "reason": "notice"})
    assert core.upkeep.looked(V4) is None
    assert core.agrees()


def test_looks_are_remembered_for_so_many_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edged.looks.MOST", 2)
    looks = Looks()
    assert not any(looks.enough(owner, 1) for owner in (1, 2, 1, 3, 2))
    assert [looks.enough(owner, 1) for owner in (3, 2)] == [False, False]
    assert looks.enough(3, 1)
    assert not looks.enough(3, 2), "of another reminder"


@pytest.mark.parametrize("address", ["100.64.0.99", "2001:db8:0:9999::1", "nonsense", "::1", ""])
def test_nobody_and_nonsense_are_open_to_the_portal(core: Core, address: str) -> None:
    assert core.pipeline.questions.standing(address).level == 0
    assert core.upkeep.seen(address)
    assert core.upkeep.looked(address) is None


def test_standing_finds_an_address_within_a_prefix(core: Core) -> None:
    core.status(BIND, BLOCK)
    found = core.pipeline.questions.standing("2001:db8:0:1ab:1234::5")
    assert (found.level, found.reason) == (3, "debt")


def test_gardens_are_stored_and_replaced_by_name(core: Core) -> None:
    garden: dict[str, Any] = {"op": "garden", "name": "banks", "networks": ["198.51.100.0/24"], "ports": [443]}
    outcome = core.process(json.dumps(garden).encode())
    assert outcome.gardens_changed
    assert not core.process(json.dumps(garden).encode()).gardens_changed
    assert core.status(garden, {**garden, "ports": []}, {**garden, "ports": []}) == [
        "unchanged",
        "applied",
        "unchanged",
    ]
    core.restart()
    assert core.store.gardens() == {"banks": {"networks": ["198.51.100.0/24"], "domains": [], "ports": []}}


def test_listing_goes_through_everybody_of_a_level_or_reason(core: Core) -> None:
    core.status(*({"op": "block", "sub": f"W-{n}", "reason": "operator"} for n in range(7)))
    core.status(*({"op": "block", "sub": f"N-{n}", "reason": "notice"} for n in range(5)), BIND)

    def listed(level: int | None, reason: str | None) -> set[str]:
        return {row["sub"] for rows in core.pipeline.questions.listing(level, reason) for row in rows}

    assert len(listed(None, None)) == 12
    assert listed(3, None) == {f"W-{n}" for n in range(7)}
    assert listed(None, "notice") == {f"N-{n}" for n in range(5)}
    assert listed(3, "notice") == listed(4, None) == set()


def test_why_finds_by_name_by_address_and_by_address_within_a_prefix(core: Core) -> None:
    core.status(BIND, BLOCK, TRUST)
    for target in ("C-1", V4, V6, "2001:db8:0:1ff::1"):
        record = core.pipeline.questions.why(target)
        assert record["sub"] == "C-1"
        assert {a["address"] for a in record["addresses"]} == {V4, V6}
        assert all(set(a["kernel"]["sets"]) == {"restricted", "waived"} for a in record["addresses"])
        assert 0 < record["addresses"][0]["kernel"]["expires_ms"]["waived"] <= 2 * HOUR


def test_counts_by_level_follow_every_commit(core: Core) -> None:
    core.status(
        BIND,
        BLOCK,
        {"op": "block", "sub": "N", "reason": "notice"},
        {"op": "block", "sub": "R", "reason": "debt_partial"},
    )
    assert list(core.store.totals.levels) == [0, 1, 1, 1, 0]
    core.status(TRUST)
    assert (list(core.store.totals.levels), core.store.totals.promises) == ([1, 1, 1, 0, 0], 1)
    core.status({"op": "forget", "sub": "C-1"}, {"op": "unblock", "sub": "N", "reason": "notice"})
    assert (list(core.store.totals.levels), core.store.totals.promises) == ([1, 0, 1, 0, 0], 0)
    core.restart()
    assert (list(core.store.totals.levels), core.store.totals.promises) == ([1, 0, 1, 0, 0], 0)


def test_error_names() -> None:
    fake = FakeBackend(lambda: 0)
    fake.failures = [errno.EPERM]
    with pytest.raises(KernelError) as caught:
        fake.commit(Transaction([AddTable(0)]))
    assert error_name(caught.value) == "EPERM"
    assert error_name(KernelError("no answer")) == "unanswered"
