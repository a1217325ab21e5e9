"""The business rules as tables; each row names the paragraph of docs/… domain.md (§) it stands for."""

from __future__ import annotations

import datetime as dt
import itertools
import json
import zoneinfo
from collections.abc import Sequence
from typing import Any

import pytest
from msgspec.structs import replace

from edged.domain import command as c
from edged.domain import decide as d
from edged.domain import effect, visitor
from edged.domain.calendar import Calendar
from edged.domain.entry import Entry
from edged.domain.levels import Level
from edged.domain.model import WHOLE, Fact, Policy, Promise, Reason, Subscriber, milliseconds, rfc3339
from edged.domain.rejection import Rejected

HOUR, DAY = 3_600_000, 86_400_000
NOW = milliseconds(dt.datetime(2026, 11, 21, 12, tzinfo=dt.UTC))
POLICY = Policy(debt_days=0, preventive_days=0)
SUB = "C-1"


class Person:
    """One subscriber's life: commands in, state and facts kept, as the pipeline keeps them."""

    def __init__(self, policy: Policy = POLICY) -> None:
        self.policy = policy
        self.now = NOW
        self.sub: Subscriber | None = None
        self.facts: dict[str, Fact] = {}
        self.events: list[dict[str, Any]] = []

    def do(self, op: str, **fields: Any) -> d.Decision:
        cmd = c.read_command(json.dumps({"op": op, "sub": SUB, **fields}).encode())
        assert isinstance(cmd, c.OnState)
        made = d.decide(cmd, d.View(self.sub, dict(self.facts)), self.now, self.policy, "erp")
        self.sub = effect.settle(made.sub, self.now)
        self.facts.update(made.facts)
        self.events += made.events
        return made

    def refused(self, op: str, **fields: Any) -> str:
        before = (self.sub, dict(self.facts))
        with pytest.raises(Rejected) as caught:
            self.do(op, **fields)
        assert (self.sub, self.facts) == before
        return caught.value.code

    def wait(self, ms: int) -> None:
        """Time passes; what is due is carried out at each moment, as the timers do."""
        end = self.now + ms
        while self.sub and 0 < (due := effect.next_moment(self.sub, self.now)) <= end:
            assert due >= self.now or self.sub.promise or any(r.deadline for r in self.sub.reasons.values())
            self.now = max(due, self.now)
            self.sub, events = d.expire(self.sub, self.now, self.policy)
            self.events += events
        self.now = end

    def level(self) -> Level:
        assert self.sub is not None
        assert self.sub.level == effect.level(self.sub, self.now)
        return Level(self.sub.level)

    @property
    def entry(self) -> Entry:
        assert self.sub is not None
        return effect.entry(self.sub, self.now, self.policy)

    def outcomes(self) -> list[str]:
        return [e["outcome"] for e in self.events if e["event"] == "trust.ended"]


@pytest.fixture
def p() -> Person:
    return Person()


# -- §1 reasons ------------------------------------------------------------------------------------------------------

LEVELS: dict[str, tuple[Sequence[dict[str, Any]], Level, str]] = {
    "§1 notice": ([{"reason": "notice"}], Level.NOTICE, "notice"),
    "§1 debt_partial": ([{"reason": "debt_partial"}], Level.REDUCED, "debt_partial"),
    "§1 debt": ([{"reason": "debt"}], Level.WALLED, "debt"),
    "§1 operator": ([{"reason": "operator"}], Level.WALLED, "operator"),
    "§1 operator by level": ([{"reason": "operator", "level": "blocked"}], Level.BLOCKED, "operator"),
    "§1 operator, reduced": ([{"reason": "operator", "level": "reduced", "rate": 64}], Level.REDUCED, "operator"),
    "§1 debt, softer": ([{"reason": "debt", "level": "reduced"}], Level.REDUCED, "debt"),
    "§1 the highest wins": ([{"reason": "debt"}, {"reason": "notice"}], Level.WALLED, "debt"),
    "§1 the highest wins, other order": ([{"reason": "notice"}, {"reason": "debt"}], Level.WALLED, "debt"),
    "§1 the strongest chooses the page": ([{"reason": "debt"}, {"reason": "operator"}], Level.WALLED, "operator"),
    "§1 replaced by the same": (
        [{"reason": "debt"}, {"reason": "debt", "level": "notice"}], Level.NOTICE, "debt",
    ),
}  # fmt: skip


@pytest.mark.parametrize("row", LEVELS)
def test_levels(p: Person, row: str) -> None:
    blocks, level, page = LEVELS[row]
    for block in blocks:
        assert p.do("block", **block).status == "applied"
    assert p.level() == level
    assert p.sub is not None
    assert effect.strongest(p.sub, p.now) == page
    assert visitor.standing(p.sub, {}, p.now, POLICY).reason == page
    assert p.entry.level == level


def test_there_is_no_unblock_all_and_each_reason_ends_alone(p: Person) -> None:
    """§1, contract `unblock`."""
    for reason in ("operator", "debt", "debt_partial", "notice"):
        p.do("block", reason=reason)
    assert p.do("unblock", reason="debt*").status == "applied"
    assert p.level() == Level.WALLED
    assert p.do("unblock", reason="debt*").status == "unchanged"
    assert p.do("unblock", reason="operator").status == "applied"
    assert p.level() == Level.OPEN
    assert p.do("unblock", reason="operator").status == "unchanged"


def test_the_same_block_again_changes_nothing(p: Person) -> None:
    block = {"reason": "debt", "invoices": ["F-1"], "ref": "T"}
    p.do("block", **block)
    first = p.sub
    p.now += HOUR
    assert p.do("block", **block).status == "unchanged"
    assert p.sub == first
    assert p.do("block", **block, page="other").status == "applied"
    assert p.sub is not None
    assert p.sub.reasons["debt"].since == NOW


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"reason": "debt", "level": "blocked"}, "malformed"),
        ({"reason": "notice", "level": "reduced"}, "malformed"),
        ({"reason": "debt_partial", "level": "walled"}, "malformed"),
        ({"reason": "debt", "rate": 512}, "malformed"),
        ({"reason": "operator", "rate": 512}, "malformed"),
    ],
)
def test_a_block_that_cannot_stand(p: Person, fields: dict[str, Any], code: str) -> None:
    assert p.refused("block", **fields) == code


@pytest.mark.parametrize("op", ["unblock", "trust", "untrust"])
def test_nobody_is_made_by_a_release(p: Person, op: str) -> None:
    fields: dict[str, dict[str, Any]] = {"unblock": {"reason": "debt"}, "trust": {"hours": 1}, "untrust": {}}
    assert p.refused(op, **fields[op]) == "unknown_subscriber"


def test_a_revision_must_not_fall(p: Person) -> None:
    """Contract `rev`."""
    p.do("block", reason="debt", rev=5)
    assert p.refused("unblock", reason="debt", rev=4) == "stale"
    assert p.do("block", reason="debt", rev=5).status == "unchanged"
    assert p.do("unblock", reason="debt").status == "applied"
    assert p.do("unblock", reason="debt", rev=9).status == "unchanged"
    assert p.refused("block", reason="debt", rev=8) == "stale"


def test_the_slowest_rate_holds(p: Person) -> None:
    p.do("block", reason="debt_partial", rate=2048)
    assert p.entry == Entry(Level.REDUCED, 2048)
    p.do("block", reason="operator", level="reduced", rate=256)
    assert p.entry.rate == 256
    p.do("unblock", reason="operator")
    p.do("block", reason="debt_partial")
    assert p.entry.rate == POLICY.reduced_rate_kbit


# -- §3 when a block may begin ---------------------------------------------------------------------------------------


def at(ms: int) -> str:
    return rfc3339(ms)


ONSETS: dict[str, tuple[dict[str, Any], int, str]] = {
    "§3 now": ({}, NOW, ""),
    "§3 not_before": ({"not_before": at(NOW + HOUR)}, NOW + HOUR, "not_before"),
    "§3 not_before, past": ({"not_before": at(NOW - HOUR)}, NOW, ""),
    "§3 not_before is this moment": ({"not_before": at(NOW)}, NOW, ""),
    "§3 notified long ago": ({"notified_at": at(NOW - 16 * DAY)}, NOW, ""),
    "§3 notified 15 days ago": ({"notified_at": at(NOW - 15 * DAY)}, NOW, ""),
    "§3 notified yesterday": ({"notified_at": at(NOW - DAY)}, NOW + 14 * DAY, "notice_days"),
    "§3 the later of both": (
        {"notified_at": at(NOW - DAY), "not_before": at(NOW + 20 * DAY)}, NOW + 20 * DAY, "not_before",
    ),
    "§3 the later of both, the other": (
        {"notified_at": at(NOW - DAY), "not_before": at(NOW + DAY)}, NOW + 14 * DAY, "notice_days",
    ),
}  # fmt: skip


@pytest.mark.parametrize("row", ONSETS)
def test_onset(p: Person, row: str) -> None:
    fields, onset, why = ONSETS[row]
    made = p.do("block", reason="debt", **fields)
    assert (made.status, made.until, made.why) == (("deferred", onset, why) if why else ("applied", 0, ""))
    assert p.level() == (Level.OPEN if why else Level.WALLED)
    assert p.do("block", reason="debt", **fields).status == ("deferred" if why else "unchanged")
    if why:
        p.wait(onset - NOW - 1)
        assert p.level() == Level.OPEN
        p.wait(1)
        assert p.level() == Level.WALLED
        assert p.sub is not None
        assert p.sub.since == onset


def test_notice_can_be_made_mandatory() -> None:
    """§3 require_notice."""
    strict = Person(Policy(require_notice=True))
    assert strict.refused("block", reason="debt") == "notice_too_short"
    assert strict.do("block", reason="debt", notified_at=at(NOW)).status == "deferred"
    assert strict.do("block", reason="operator").status == "applied"


# -- §2 promises -----------------------------------------------------------------------------------------------------


def test_a_promise_lifts_debt_until_its_end_and_is_then_breached(p: Person) -> None:
    """§2: granted → breached, at that second; law 5 of effect: the kernel entry says it all."""
    p.do("block", reason="debt", invoices=["F-1"])
    made = p.do("trust", hours=24)
    assert (made.status, made.until) == ("applied", NOW + DAY)
    assert p.level() == Level.OPEN
    assert p.entry == Entry(Level.WALLED, lift=0, until=NOW + DAY)
    p.wait(DAY - 1)
    assert p.level() == Level.OPEN
    p.wait(1)
    assert p.level() == Level.WALLED
    assert p.entry == Entry(Level.WALLED)
    assert p.outcomes() == ["breached"]


YOUNG, OLD = {"id": "F-1", "due": "2026-11-20"}, {"id": "F-0", "due": "2026-01-01"}

TRUST_REFUSED: dict[str, tuple[Sequence[tuple[str, dict[str, Any]]], dict[str, Any], str]] = {
    "§1 nothing waives operator": ([("block", {"reason": "operator"})], {"hours": 1}, "trust_not_applicable"),
    "§1 nor beside a debt": (
        [("block", {"reason": "operator"}), ("block", {"reason": "debt"})], {"hours": 1}, "trust_not_applicable",
    ),
    "§2 no debt": ([("paid", {})], {"hours": 1}, "trust_not_applicable"),
    "§2 another invoice": (
        [("block", {"reason": "debt", "invoices": ["F-1"]})], {"hours": 1, "invoices": ["F-9"]}, "trust_not_applicable",
    ),
    "§2 too long is refused, not shortened": ([("block", {"reason": "debt"})], {"hours": 169}, "trust_too_long"),
    "§2 too long by days": ([("block", {"reason": "debt"})], {"days": 7.01}, "trust_too_long"),
    "§2 in the past": ([("block", {"reason": "debt"})], {"until": at(NOW)}, "malformed"),
    "§2 not old enough": (
        [("block", {"reason": "debt", "invoices": [{"id": "F-1", "due": "2026-11-18"}]})], {"hours": 1},
        "trust_not_applicable",
    ),
    "§2 the oldest counts, of those listed": (
        [("block", {"reason": "debt", "invoices": [YOUNG, OLD]})],
        {"hours": 1, "invoices": ["F-1"]}, "trust_not_applicable",
    ),
    "§2 once per invoice": (
        [("block", {"reason": "debt", "invoices": ["F-1"]}), ("trust", {"hours": 1}), ("untrust", {})], {"hours": 2},
        "trust_spent",
    ),
    "§2 once, without invoices": (
        [("block", {"reason": "debt"}), ("trust", {"hours": 1}), ("untrust", {})], {"hours": 2}, "trust_spent",
    ),
}  # fmt: skip


@pytest.mark.parametrize("row", TRUST_REFUSED)
def test_a_promise_refused(p: Person, row: str) -> None:
    before, fields, code = TRUST_REFUSED[row]
    for op, given in before:
        p.do(op, **given)
    assert p.refused("trust", **fields) == code


TRUST_GRANTED: dict[str, tuple[Sequence[tuple[str, dict[str, Any]]], dict[str, Any]]] = {
    "§2 exactly the longest": ([("block", {"reason": "debt"})], {"hours": 168}),
    "§2 old enough to the day": (
        [("block", {"reason": "debt", "invoices": [{"id": "F-1", "due": "2026-11-17"}]})], {"hours": 1},
    ),
    "§2 the oldest counts": (
        [("block", {"reason": "debt", "invoices": [YOUNG, OLD]})],
        {"hours": 1},
    ),
    "§2 due date not known": ([("block", {"reason": "debt", "invoices": ["F-1"]})], {"hours": 1}),
    "§2 a pending block": (
        [("block", {"reason": "debt", "not_before": at(NOW + 1000)})], {"hours": 1},
    ),
    "§2 another invoice than the spent one": (
        [
            ("block", {"reason": "debt", "invoices": ["F-1"]}), ("trust", {"hours": 1}), ("untrust", {}),
            ("block", {"reason": "debt", "invoices": ["F-1", "F-2"]}),
        ],
        {"hours": 1, "invoices": ["F-2"]},
    ),
}  # fmt: skip


@pytest.mark.parametrize("row", TRUST_GRANTED)
def test_a_promise_granted(p: Person, row: str) -> None:
    before, fields = TRUST_GRANTED[row]
    for op, given in before:
        p.do(op, **given)
    assert p.do("trust", **fields).status == "applied"


def test_the_day_is_the_providers_day() -> None:
    """§2: four calendar days in the provider's zone; at 01:00 UTC it is still yesterday in São Paulo."""
    late = Person()
    late.now = milliseconds(dt.datetime(2026, 11, 21, 1, tzinfo=dt.UTC))
    late.do("block", reason="debt", invoices=[{"id": "F-1", "due": "2026-11-17"}])
    assert late.refused("trust", hours=1) == "trust_not_applicable"


def test_the_same_promise_again_is_unchanged_and_not_spent_twice(p: Person) -> None:
    p.do("block", reason="debt", invoices=["F-1"])
    until = at(NOW + DAY)
    assert p.do("trust", until=until).status == "applied"
    assert p.do("trust", until=until).status == "unchanged"
    assert p.facts["F-1"].spent == 1


def test_several_promises_an_invoice_where_the_provider_allows() -> None:
    """§2 trust_per_invoice; the running one is replaced."""
    kind = Person(Policy(trust_per_invoice=2))
    kind.do("block", reason="debt", invoices=["F-1"])
    kind.do("trust", hours=1)
    assert kind.do("trust", hours=5).until == NOW + 5 * HOUR
    assert kind.outcomes() == ["replaced"]
    assert kind.refused("trust", hours=6) == "trust_spent"


def test_none_after_a_breach_until_the_debt_is_paid(p: Person) -> None:
    """§2: and none after a breach, also with a fresh invoice, also days later."""
    p.do("block", reason="debt", invoices=["F-1"])
    p.do("trust", hours=1)
    p.wait(DAY)
    p.do("block", reason="debt", invoices=["F-1", "F-2"])
    assert p.refused("trust", hours=1, invoices=["F-2"]) == "trust_spent"
    p.do("paid")
    p.do("block", reason="debt", invoices=["F-3"])
    assert p.do("trust", hours=1).status == "applied"


def test_what_is_spent_survives_an_unblock(p: Person) -> None:
    """§2: a forgetful ERP does not reset it."""
    p.do("block", reason="debt", invoices=["F-1"])
    p.do("trust", hours=1)
    p.do("unblock", reason="debt")
    p.do("block", reason="debt", invoices=["F-1"])
    assert p.refused("trust", hours=1) == "trust_spent"


def test_a_promise_on_some_invoices_lifts_only_what_they_cover(p: Person) -> None:
    """§1: lifts on the listed invoices."""
    p.do("block", reason="debt", invoices=["F-1"])
    p.do("block", reason="debt_partial", invoices=["F-2"], rate=512)
    p.do("trust", hours=1, invoices=["F-1"])
    assert p.level() == Level.REDUCED
    assert p.entry == Entry(Level.WALLED, 512, Level.REDUCED, NOW + HOUR)
    p.do("block", reason="debt", invoices=["F-1", "F-3"])
    assert p.level() == Level.WALLED
    assert p.entry.until == 0


def test_a_promise_does_not_lift_what_comes_from_the_operator_later(p: Person) -> None:
    p.do("block", reason="debt")
    p.do("trust", hours=1)
    p.do("block", reason="operator")
    assert p.level() == Level.WALLED
    assert p.entry == Entry(Level.WALLED)
    p.do("unblock", reason="operator")
    assert p.level() == Level.OPEN


def test_a_promise_before_the_block_begins_holds_when_it_does(p: Person) -> None:
    """§2, last sentence of its end."""
    p.do("block", reason="debt", not_before=at(NOW + HOUR))
    p.do("trust", hours=3)
    p.wait(2 * HOUR)
    assert p.level() == Level.OPEN
    assert p.entry == Entry(Level.WALLED, until=NOW + 3 * HOUR)
    p.wait(HOUR)
    assert p.level() == Level.WALLED


def test_a_promise_that_ends_before_the_block_begins_is_a_breach_all_the_same(p: Person) -> None:
    p.do("block", reason="debt", not_before=at(NOW + 2 * HOUR))
    p.do("trust", hours=1)
    p.wait(90 * 60_000)
    assert p.level() == Level.OPEN
    assert p.outcomes() == ["breached"]


def test_untrust_ends_it_now(p: Person) -> None:
    p.do("block", reason="debt")
    assert p.do("untrust").status == "unchanged"
    p.do("trust", hours=5)
    assert p.do("untrust").status == "applied"
    assert p.level() == Level.WALLED
    assert p.outcomes() == ["revoked"]


# -- §4 payment ------------------------------------------------------------------------------------------------------


def test_payment_releases_at_once_and_fulfils_the_promise(p: Person) -> None:
    p.do("block", reason="debt", invoices=["F-1"])
    p.do("block", reason="notice", invoices=["F-1"])
    p.do("trust", hours=5)
    assert p.do("paid").status == "applied"
    assert p.level() == Level.OPEN
    assert p.sub is not None
    assert not p.sub.reasons
    assert p.outcomes() == ["fulfilled"]


def test_payment_of_some_invoices_clears_what_is_left_without_any(p: Person) -> None:
    """Contract `paid`."""
    p.do("block", reason="debt", invoices=["F-1", "F-2"])
    p.do("block", reason="notice", invoices=["F-2"])
    p.do("paid", invoices=["F-2"])
    assert p.level() == Level.WALLED
    assert p.sub is not None
    assert list(p.sub.reasons) == ["debt"]
    p.do("paid", invoices=["F-1"])
    assert p.level() == Level.OPEN


def test_a_payment_that_overtakes_its_block_wins(p: Person) -> None:
    """§4: settled invoices are remembered."""
    assert p.do("paid", invoices=["F-1"]).status == "applied"
    assert p.do("paid", invoices=["F-1"]).status == "unchanged"
    made = p.do("block", reason="debt", invoices=["F-1"])
    assert made.status == "unchanged"
    assert "settled" in made.detail
    p.do("block", reason="debt", invoices=["F-1", "F-2"])
    assert p.sub is not None
    assert [i.id for i in p.sub.reasons["debt"].invoices] == ["F-2"]


def test_payment_does_not_lift_what_money_cannot(p: Person) -> None:
    p.do("block", reason="operator")
    p.do("block", reason="debt")
    p.do("paid")
    assert p.level() == Level.WALLED
    assert p.sub is not None
    assert list(p.sub.reasons) == ["operator"]


def test_payment_of_any_invoice_clears_a_debt_that_names_none(p: Person) -> None:
    """Contract `paid`: "clears the debt reasons left without an open invoice"; in doubt for the subscriber."""
    p.do("block", reason="debt")
    p.do("paid", invoices=["F-1"])
    assert p.level() == Level.OPEN


def test_after_the_whole_debt_is_paid_a_new_one_has_its_own_promise(p: Person) -> None:
    p.do("block", reason="debt")
    p.do("trust", hours=1)
    assert p.facts[WHOLE].spent == 1
    p.do("paid")
    p.do("block", reason="debt")
    assert p.do("trust", hours=1).status == "applied"


# -- timers, deadlines, notices --------------------------------------------------------------------------------------


def test_deadlines_are_told_once_and_end_nothing(p: Person) -> None:
    """§4: the edge never terminates a contract."""
    p.do("block", reason="debt", deadline=at(NOW + HOUR))
    p.wait(DAY)
    assert [e["event"] for e in p.events] == ["deadline.reached"]
    assert p.level() == Level.WALLED
    assert p.sub is not None
    assert effect.next_moment(p.sub, p.now) == 0


def test_a_seen_notice_rests(p: Person) -> None:
    """§1: dismissible; notice_repeat_hours."""
    p.do("block", reason="notice")
    assert p.sub is not None
    p.sub = d.see_notice(p.sub, p.now, POLICY)
    assert p.entry == Entry(Level.NOTICE, notified=NOW + DAY)
    assert p.level() == Level.NOTICE
    p.wait(DAY)
    assert p.entry == Entry(Level.NOTICE)


@pytest.mark.parametrize("reason", ["debt", "debt_partial", "operator"])
def test_only_a_notice_can_be_dismissed(p: Person, reason: str) -> None:
    p.do("block", reason=reason)
    assert p.sub is not None
    assert d.see_notice(p.sub, p.now, POLICY) is p.sub


def test_between_two_moments_nothing_changes() -> None:
    """Law 6 of effect, over many states."""
    debts = (
        Reason(level=3, since=NOW, onset=NOW + 5, pending=True, earliest=NOW + 5),
        Reason(level=1, since=NOW, onset=NOW - 5, deadline=NOW + 7),
    )
    for promise in (None, Promise("promise", NOW, NOW + 3), Promise("promise", NOW, NOW + 9, ("F-1",))):
        sub = Subscriber(SUB, reasons={"debt": debts[0], "notice": debts[1]}, promise=promise, notified=NOW + 4)
        now = NOW
        while due := effect.next_moment(sub, now):
            levels = {effect.level(sub, t) for t in range(now, due)}
            entries = {effect.entry(sub, t, POLICY) for t in range(now, due)}
            assert len(levels) == len(entries) == 1
            sub, _ = d.expire(sub, due, POLICY)
            now = due
        assert now > NOW


def test_a_promise_waives_up_to_its_end_that_millisecond_excluded() -> None:
    """Law 3 of effect; law 2 for the onset."""
    sub = Subscriber(SUB, reasons={"debt": Reason(3, NOW, NOW)}, promise=Promise("promise", NOW, NOW + 5))
    assert [effect.level(sub, NOW + n) for n in (-1, 0, 4, 5, 6)] == [0, 0, 0, 3, 3]
    assert effect.entry(sub, NOW + 4, POLICY).until == NOW + 5
    assert effect.entry(sub, NOW + 5, POLICY) == Entry(Level.WALLED)
    assert visitor.standing(sub, {}, NOW + 5, POLICY).until_ms == 0


@pytest.mark.parametrize(("name", "told"), [("debt", NOW + 9), ("preventive", 0), ("pause", 0), ("operator", 0)])
def test_the_page_announces_debts_alone(name: str, told: int) -> None:
    waiting = Reason(3, NOW, NOW + 9, pending=True)
    sub = Subscriber(SUB, reasons={"notice": Reason(1, NOW, NOW), name: waiting})
    assert visitor.standing(sub, {}, NOW, POLICY).next_ms == told


DAY = 24 * HOUR
ANNOUNCED: dict[str, tuple[list[dict[str, Any]], int, int, int]] = {
    "a slower stage first": (
        [
            {"op": "block", "reason": "notice"},
            {"op": "block", "reason": "debt_partial", "not_before": at(NOW + 5 * DAY)},
        ],
        0, 5 * DAY, 2,
    ),
    "a deferral holds what begins": (
        [
            {"op": "block", "reason": "notice"}, {"op": "block", "reason": "debt", "not_before": at(NOW + 2 * DAY)},
            {"op": "defer", "kind": "agreement", "until": at(NOW + 20 * DAY), "up_to": "notice"},
        ],
        0, 20 * DAY, 3,
    ),
    "a deferral outlives the promise": (
        [
            {"op": "block", "reason": "debt"}, {"op": "defer", "kind": "agreement", "until": at(NOW + 10 * DAY)},
            {"op": "trust", "until": at(NOW + DAY)},
        ],
        10 * DAY, 10 * DAY, 3,
    ),
    "the promise ends before the block begins": (
        [{"op": "block", "reason": "debt", "not_before": at(NOW + 10 * DAY)}, {"op": "trust", "until": at(NOW + DAY)}],
        10 * DAY, 10 * DAY, 3,
    ),
    "nothing but a reminder follows": (
        [{"op": "block", "reason": "notice"}, {"op": "trust", "until": at(NOW + DAY)}], 0, 0, 0,
    ),
    "what is walled anyway": (
        [{"op": "block", "reason": "pause"}, {"op": "block", "reason": "debt", "not_before": at(NOW + DAY)}], 0, 0, 0,
    ),
    "a pause that begins under a promise": (
        [
            {"op": "block", "reason": "debt"}, {"op": "block", "reason": "pause", "not_before": at(NOW + DAY)},
            {"op": "trust", "until": at(NOW + 2 * DAY)},
        ],
        DAY, DAY, 3,
    ),
    "an invoice that joins": (
        [
            {"op": "block", "reason": "debt", "invoices": ["F-1"]}, {"op": "trust", "until": at(NOW + DAY)},
            {"op": "block", "reason": "debt", "invoices": ["F-1", "F-2"], "not_before": at(NOW + 2 * DAY)},
        ],
        DAY, DAY, 3,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ANNOUNCED)
def test_what_the_page_announces_comes_true(p: Person, name: str) -> None:
    """Laws 4 to 6 of visitor, and the rules themselves: nothing stricter before it, and that much at it."""
    commands, until, rises, stricter = ANNOUNCED[name]
    for command in commands:
        p.do(**command)
    assert p.sub is not None
    told = visitor.standing(p.sub, {}, NOW, POLICY)
    expected = [ms and NOW + ms for ms in (until, rises)]
    assert [told.until_ms, told.next_ms, told.next_level] == [*expected, stricter]
    assert came(p.sub) == (told.next_ms, told.next_level)


def came(sub: Subscriber) -> tuple[int, int]:
    """When it really gets stricter than now and than a reminder, by the rules, nobody saying anything more."""
    lowest = max(effect.level(sub, NOW), Level.NOTICE)
    for _ in range(20):
        due = effect.next_moment(sub, NOW)
        if not due:
            break
        sub, _ = d.expire(sub, due, POLICY)
        if (level := effect.level(sub, due)) > lowest:
            return due, level
    return 0, 0


TIMES = (0, 1, 2, 3)


@pytest.mark.parametrize("debt", TIMES)
@pytest.mark.parametrize("partial", [None, *TIMES])
@pytest.mark.parametrize("promised", TIMES)
def test_what_the_page_announces_comes_true_whatever_is_agreed(debt: int, partial: int | None, promised: int) -> None:
    for deferred, up_to, named in itertools.product(TIMES, ("notice", "reduced", None), ([], ["F-1"])):
        p = Person()
        p.do("block", reason="notice", invoices=["F-1"])
        p.do("block", reason="debt", invoices=["F-1", "F-2"], not_before=at(NOW + debt * DAY))
        if partial is not None:
            p.do("block", reason="debt_partial", invoices=["F-1"], not_before=at(NOW + partial * DAY))
        if promised:
            p.do("trust", until=at(NOW + promised * DAY), invoices=named)
        if deferred:
            p.do("defer", kind="dispute", until=at(NOW + deferred * DAY), **({"up_to": up_to} if up_to else {}))
        assert p.sub is not None
        told = visitor.standing(p.sub, {}, NOW, POLICY)
        assert (told.next_ms, told.next_level) == came(p.sub)


def test_expiring_twice_does_nothing_more(p: Person) -> None:
    p.do("block", reason="debt", deadline=at(NOW + 10))
    p.do("trust", until=at(NOW + 10))
    assert p.sub is not None
    once, events = d.expire(p.sub, NOW + 10, POLICY)
    twice, none = d.expire(once, NOW + 10, POLICY)
    assert len(events) == 2
    assert (twice, none) == (once, ())


def test_settle_dates_the_change_of_level() -> None:
    sub = Subscriber(SUB, reasons={"debt": Reason(level=3, since=NOW, onset=NOW)})
    settled = effect.settle(sub, NOW + 4)
    assert (settled.level, settled.since) == (3, NOW + 4)
    assert effect.settle(settled, NOW + 9) is settled
    assert effect.settle(replace(settled, reasons={}), NOW + 9).since == NOW + 9


# -- a debt in force that grows (domain.md §3: no onset on a forbidden day) ----------------------------------------

SATURDAY = milliseconds(dt.datetime.fromisoformat("2026-11-07T12:00:00-03:00"))
MONDAY = milliseconds(dt.datetime.fromisoformat("2026-11-09T08:00:00-03:00"))
BRAZIL = Policy(calendar=Calendar(zoneinfo.ZoneInfo("America/Sao_Paulo"), "BR"), debt_days=0)


@pytest.fixture
def weekend() -> Person:
    p = Person(BRAZIL)
    p.now = SATURDAY - 2 * 86_400_000
    p.do("block", reason="debt", invoices=["F-1"])
    assert p.level() == Level.WALLED
    p.now = SATURDAY
    return p


def test_an_invoice_that_joins_a_debt_under_a_promise_waits_for_the_calendar(weekend: Person) -> None:
    p = weekend
    p.do("trust", invoices=["F-1"], days=5)
    made = p.do("block", reason="debt", invoices=["F-1", "F-2"])
    assert (made.status, made.until, made.why, p.level()) == ("deferred", MONDAY, "calendar", Level.OPEN)
    p.wait(MONDAY - SATURDAY - 1)
    assert p.level() == Level.OPEN
    p.wait(1)
    assert p.level() == Level.WALLED


def test_a_level_that_rises_waits_too_and_what_is_in_force_stays(weekend: Person) -> None:
    p = weekend
    p.do("paid")
    p.now -= 86_400_000 * 2
    p.do("block", reason="debt", level="notice")
    p.now = SATURDAY
    made = p.do("block", reason="debt")
    assert (made.status, made.until, p.level()) == ("deferred", MONDAY, Level.NOTICE)
    p.wait(MONDAY - SATURDAY)
    assert p.level() == Level.WALLED


def test_who_is_cut_already_stays_cut_while_the_next_invoice_waits(weekend: Person) -> None:
    made = weekend.do("block", reason="debt", invoices=["F-1", "F-2"])
    assert (made.status, made.until, weekend.level()) == ("deferred", MONDAY, Level.WALLED)
    weekend.do("paid", invoices=["F-1"])
    assert weekend.level() == Level.OPEN
    weekend.wait(MONDAY - SATURDAY)
    assert weekend.level() == Level.WALLED


def test_an_override_does_not_wait(weekend: Person) -> None:
    weekend.do("trust", invoices=["F-1"], days=5)
    override = {"author": "T-9", "motive": "agreed"}
    assert weekend.do("block", reason="debt", invoices=["F-1", "F-2"], override=override).status == "applied"
    assert weekend.level() == Level.WALLED


def test_no_command_takes_back_what_waits(weekend: Person) -> None:
    p = weekend
    p.do("trust", invoices=["F-1"], days=5)
    p.do("block", reason="debt", invoices=["F-1", "F-2"])
    assert p.do("undefer").status == "unchanged"
    assert p.level() == Level.OPEN


# -- a command that comes before the timer (law 6) ------------------------------------------------------------------


def test_a_promise_that_ran_out_is_breached_for_the_command_that_finds_it(p: Person) -> None:
    p.do("block", reason="debt", invoices=["F-1", "F-2"])
    p.do("trust", invoices=["F-1"], hours=1)
    p.now += 2 * 3_600_000
    assert p.refused("trust", invoices=["F-2"], hours=1) == "trust_spent"
    p.do("paid", invoices=["F-2"])
    assert p.outcomes() == ["breached"]
    assert p.refused("trust", invoices=["F-1"], hours=1) == "trust_spent"


def test_what_is_due_has_happened_before_a_command(p: Person) -> None:
    p.do("block", reason="pause", deadline=at(NOW + 1000))
    p.do("block", reason="debt", not_before=at(NOW + 1000))
    p.now += 2000
    made = p.do("block", reason="notice")
    assert [e["event"] for e in made.events] == ["pause.ended", "block.began"]
    assert p.level() == Level.WALLED


def test_an_override_passes_what_waits_already(weekend: Person) -> None:
    p = weekend
    p.do("trust", invoices=["F-1"], days=5)
    p.do("block", reason="debt", invoices=["F-1", "F-2"])
    p.do("block", reason="debt", invoices=["F-1", "F-2"], override={"author": "T-9", "motive": "agreed"})
    assert p.level() == Level.WALLED


def test_growth_that_another_reason_hides_waits_all_the_same(weekend: Person) -> None:
    p = weekend
    p.do("trust", invoices=["F-1"], days=5)
    p.do("block", reason="operator")
    assert p.do("block", reason="debt", invoices=["F-1", "F-2"]).status == "deferred"
    p.do("unblock", reason="operator")
    assert p.level() == Level.OPEN
