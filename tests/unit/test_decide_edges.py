"""The edges of decisions on one subscriber: what is kept, what is spent, what is told, and what is left alone."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from edged.domain import decide as d
from edged.domain import deferral, effect, onset, promise
from edged.domain.levels import Level
from edged.domain.model import (
    DEBT,
    REASONS,
    WHOLE,
    Deferral,
    Fact,
    Invoice,
    Policy,
    Promise,
    Reason,
    Subscriber,
    Waiting,
)
from tests.unit.test_domain_rules import DAY, FREE, HOUR, NOW, at, does, owing, refused

NOBODY = Subscriber("C-1", area="north")


def promised(sub: Subscriber, *invoices: str, until: int = NOW + HOUR, **more: Any) -> Subscriber:
    return replace(sub, promise=Promise("promise", NOW - HOUR, until, invoices, **more))


def deferred(
    sub: Subscriber, kind: str = "dispute", until: int = NOW + HOUR, *invoices: str, **more: Any
) -> Subscriber:
    return replace(sub, deferrals={**sub.deferrals, kind: Deferral(NOW - HOUR, until, invoices, **more)})


def also(sub: Subscriber, name: str, *invoices: str, **more: Any) -> Subscriber:
    """With one more reason."""
    return replace(sub, reasons=sub.reasons | owing(*invoices, name=name, level=int(REASONS[name]), **more).reasons)


def told(made: d.Decision) -> list[str]:
    return [" ".join(str(e[k]) for k in ("event", "kind", "reason", "outcome") if k in e) for e in made.events]


# -- blocks (§1, §3, §4) -----------------------------------------------------------------------------------------------

GIVEN: dict[str, set[str]] = {
    "court": {"blocked"}, "terminated": {"blocked"}, "fraud": {"walled"}, "abuse": {"walled", "blocked"},
    "preventive": {"walled"}, "operator": {"notice", "reduced", "walled", "blocked"}, "pause": {"walled"},
    "debt": {"notice", "reduced", "walled"}, "debt_partial": {"notice", "reduced"}, "notice": {"notice"},
}  # fmt: skip


@pytest.mark.parametrize("reason", GIVEN)
@pytest.mark.parametrize("level", ["notice", "reduced", "walled", "blocked"])
def test_which_level_a_reason_may_be_given(reason: str, level: str) -> None:
    """§1: a debt may be softer, an order never is."""
    if level in GIVEN[reason]:
        assert does(NOBODY, "block", reason=reason, level=level).sub.reasons[reason].level == Level[level.upper()]
        rated = refused if level != "reduced" else does
        assert "rate: only" in str(rated(NOBODY, "block", reason=reason, level=level, rate=64)) or level == "reduced"
    else:
        words = " or ".join(w for w in ("notice", "reduced", "walled", "blocked") if w in GIVEN[reason])
        said = refused(NOBODY, "block", reason=reason, level=level)
        assert said == f"malformed: level: {reason} restricts to {words}; send another reason"


@pytest.mark.parametrize("reason", GIVEN)
def test_a_rate_goes_with_a_reason_that_reduces(reason: str) -> None:
    if reason == "debt_partial":
        assert does(NOBODY, "block", reason=reason, rate=64).sub.reasons[reason].rate == 64
    else:
        assert "rate: only a reduced subscriber has one" in refused(NOBODY, "block", reason=reason, rate=64)


def test_a_block_is_kept_as_it_was_sent() -> None:
    fields: dict[str, Any] = {"invoices": ["A"], "rate": 64, "page": "p", "ref": "T", "deadline": at(NOW + 9)}
    made = does(NOBODY, "block", reason="debt_partial", **fields).sub.reasons["debt_partial"]
    assert made == Reason(2, NOW, NOW, (Invoice("A"),), 64, "p", NOW + 9, 0, "T", "erp")
    waiting = does(NOBODY, "block", reason="debt", not_before=at(NOW + HOUR)).sub.reasons["debt"]
    assert waiting == Reason(3, NOW, NOW + HOUR, issuer="erp", pending=True, why="not_before", earliest=NOW + HOUR)
    begun = onset.due("debt", waiting, "north", NOW + HOUR, FREE)
    assert (begun.deadline, begun.earliest) == (NOW + HOUR + 60 * DAY, 0)
    asked = does(NOBODY, "block", reason="debt", not_before=at(NOW + HOUR), deadline=at(NOW + 2 * HOUR))
    assert asked.sub.reasons["debt"].deadline == NOW + 2 * HOUR


def test_what_is_in_force_keeps_its_onset_and_when_it_was_first_said() -> None:
    sub = owing("A", deadline=NOW + 9 * DAY, notified_at=NOW - 20 * DAY)
    made = does(sub, "block", reason="debt", invoices=["A"], ref="T", not_before=at(NOW + DAY))
    assert made.sub.reasons["debt"] == replace(sub.reasons["debt"], ref="T", issuer="erp")
    assert (made.status, made.until, made.why, made.facts, made.events) == ("applied", 0, "", {}, ())
    again = does(made.sub, "block", NOW + HOUR, reason="debt", invoices=["A"], ref="T", not_before=at(NOW + DAY))
    assert (again.status, again.sub, again.detail) == ("unchanged", made.sub, "")


def test_what_waits_is_judged_anew_by_a_block_that_comes_again() -> None:
    sub = does(NOBODY, "block", reason="debt", not_before=at(NOW + DAY)).sub
    made = does(sub, "block", NOW + HOUR, reason="debt", not_before=at(NOW + 2 * HOUR))
    reason = made.sub.reasons["debt"]
    assert (made.until, reason.onset, reason.since, reason.earliest) == (
        NOW + 2 * HOUR,
        NOW + 2 * HOUR,
        NOW,
        reason.onset,
    )
    assert does(sub, "block", NOW + HOUR, reason="debt").sub.reasons["debt"].pending is False


@pytest.mark.parametrize("name", [n for n in REASONS if n not in DEBT])
def test_what_is_no_debt_neither_spends_nor_ends_a_promise(name: str) -> None:
    for sub in (promised(owing("A"), owed=("A",)), promised(also(owing("A"), name), owed=("A",))):
        made = does(sub, "block", reason=name, invoices=["B"], ref="new")
        assert (made.sub.promise, made.facts, made.events) == (sub.promise, {}, ())


def test_a_debt_that_joins_a_promise_is_spent_and_a_reminder_is_not() -> None:
    sub = promised(owing("A"), owed=("A",))
    for name, spent in (("debt_partial", {"B": Fact(spent=1)}), ("notice", {})):
        assert does(sub, "block", reason=name, invoices=["B"]).facts == spent
    later = does(sub, "block", reason="debt_partial", invoices=["B"], not_before=at(NOW + 2 * HOUR))
    assert (later.status, later.until, later.why, later.facts) == (
        "deferred", NOW + 2 * HOUR, "not_before", {"B": Fact(spent=1)},
    )  # fmt: skip
    over = promised(owing("A"), until=NOW, owed=("A",))
    assert promise.spent_later(over, "debt", {}, NOW) == {}
    assert promise.spent_later(promised(owing("A")), "debt", {}, NOW) == {"A": Fact(spent=1)}


SETTLED = {"A": Fact(settled=True), "B": Fact(settled=True)}


@pytest.mark.parametrize("name", REASONS)
def test_a_block_by_settled_invoices_restricts_nobody(name: str) -> None:
    """Law 4 of decide."""
    made = does(NOBODY, "block", facts=SETTLED, reason=name, invoices=["A", "B"])
    assert (made.status, made.detail, made.sub) == ("unchanged", "every invoice named is settled already", NOBODY)
    sub = owing("C", name=name, level=int(REASONS[name]))
    made = does(sub, "block", facts=SETTLED, reason=name, invoices=["A"])
    if name in DEBT:  # it takes the place of what was owed
        assert (made.status, made.sub.reasons) == ("applied", {})
    else:
        assert (made.status, made.sub) == ("unchanged", sub)
    assert made.detail == "every invoice named is settled already"
    some = does(sub, "block", facts=SETTLED, reason=name, invoices=["A", "D"])
    assert some.sub.reasons[name].invoices == (Invoice("D"),)


@pytest.mark.parametrize(("ms", "over"), [(-1, True), (0, True), (1, False)])
def test_a_pause_ends_when_it_says(ms: int, over: bool) -> None:
    sub = owing(name="pause", deadline=NOW + 9)
    made = does(sub, "block", reason="pause", deadline=at(NOW + ms))
    assert ("pause" in made.sub.reasons) != over
    assert made.detail == ("deadline: it has passed" if over else "")
    assert told(made) == (["pause.ended"] if over else [])
    fresh = does(also(NOBODY, "fraud"), "block", reason="pause", deadline=at(NOW + ms))
    assert (fresh.status, {*fresh.sub.reasons}) == (
        ("unchanged", {"fraud"}) if over else ("applied", {"fraud", "pause"})
    )
    assert does(sub, "block", reason="fraud", deadline=at(NOW + ms)).sub.reasons.keys() == {"pause", "fraud"}
    strict = Policy(require_notice=True)
    assert does(sub, "block", policy=strict, reason="pause", deadline=at(NOW + ms)).detail == made.detail


@pytest.mark.parametrize("name", REASONS)
def test_only_a_debt_needs_a_notification_where_one_is_wanted(name: str) -> None:
    strict = Policy(require_notice=True)
    if name == "debt":
        said = refused(NOBODY, "block", strict, reason=name)
        assert said == "notice_too_short: notified_at: this provider's policy.require_notice asks for it"
    else:
        assert does(NOBODY, "block", policy=strict, reason=name).status == "applied"


@pytest.mark.parametrize("name", REASONS)
def test_the_notice_period_is_for_what_takes_something_away_for_debt(name: str) -> None:
    made = does(NOBODY, "block", reason=name, notified_at=at(NOW - 14 * DAY))
    assert made.until == (NOW + DAY if name in {"debt", "debt_partial"} else 0)
    assert does(NOBODY, "block", reason=name, notified_at=at(NOW - 15 * DAY)).status == "applied"


@pytest.mark.parametrize(("rev", "code"), [(4, "stale"), (5, ""), (6, "")])
def test_a_revision_rises_or_stays(rev: int, code: str) -> None:
    sub = replace(owing(), rev=5)
    if code:
        said = refused(sub, "unblock", reason="debt", rev=rev)
        assert said == f"stale: rev {rev} is below 5, the highest seen for this subscriber"
    else:
        assert does(sub, "unblock", reason="debt", rev=rev).sub.rev == rev
    assert does(sub, "unblock", reason="debt").sub.rev == 5


# -- unblock and paid (§1, §2) -----------------------------------------------------------------------------------------


def test_unblock_of_all_debts_is_of_debts_alone() -> None:
    sub = also(also(owing("A"), "notice", "B"), "operator")
    made = does(sub, "unblock", reason="debt*")
    assert ({*made.sub.reasons}, told(made)) == ({"operator"}, [])
    none = does(also(NOBODY, "operator"), "unblock", reason="debt*")
    assert (none.status, none.detail) == ("unchanged", "no reason debt* is set")


@pytest.mark.parametrize("left", ["debt_partial", "notice", "operator"])
def test_a_promise_ends_with_the_last_debt_it_could_lift(left: str) -> None:
    sub = promised(also(owing("A"), left, "B"), owed=("A", "B"))
    made = does(sub, "unblock", reason="debt")
    if left == "operator":
        assert (made.sub.promise, told(made)) == (None, ["trust.ended released"])
    else:
        assert (made.sub.promise, told(made)) == (sub.promise, [])
    assert made.sub.reasons.keys() == {left}


@pytest.mark.parametrize("op", ["unblock", "paid"])
def test_only_payment_wipes_out_a_breach(op: str) -> None:
    fields: dict[str, Any] = {"reason": "debt"} if op == "unblock" else {}
    sub = replace(owing("A"), breached=True)
    assert does(sub, op, **fields).sub.breached == (op == "unblock")
    assert does(also(sub, "notice", "N"), "paid", invoices=["A"]).sub.breached
    held = replace(deferred(sub, "onset"), breached=False)
    assert does(held, op, **fields).sub.deferrals == {}
    other = deferred(replace(sub, breached=False), "dispute")
    assert does(other, op, **fields).sub.deferrals.keys() == {"dispute"}


PAID: dict[str, tuple[Subscriber, dict[str, Fact], list[str] | None, set[str], dict[str, Fact]]] = {
    # state, what is known, what is paid, what is left, what is remembered
    "nothing is owed": (NOBODY, {}, None, set(), {}),
    "before the block": (NOBODY, {}, ["A"], set(), {"A": Fact(settled=True)}),
    "before the block, again": (NOBODY, {"A": Fact(settled=True)}, ["A"], set(), {}),
    "all": (owing("A", "B"), {}, None, set(), {"A": Fact(settled=True), "B": Fact(settled=True)}),
    "all, with what is known besides": (
        owing("A"), {"C": Fact(spent=1)}, None, set(), {"A": Fact(settled=True), "C": Fact(settled=True, spent=1)},
    ),
    "all, of which one was settled": (
        owing("A", "B"), {"A": Fact(settled=True, spent=2)}, None, set(), {"B": Fact(settled=True)},
    ),
    "one of two": (owing("A", "B"), {}, ["A"], {"debt"}, {"A": Fact(settled=True)}),
    "another": (owing("A"), {}, ["B"], {"debt"}, {"B": Fact(settled=True)}),
    "one, of what is owed twice": (
        also(owing("A"), "notice", "A", "B"), {}, ["A"], {"notice"}, {"A": Fact(settled=True)},
    ),
    "one, of a debt without names": (owing(), {}, ["A"], set(), {"A": Fact(settled=True)}),
    "money and orders": (also(owing("A"), "court", "A"), {}, None, {"court"}, {"A": Fact(settled=True)}),
    "a debt without names had its promise": (owing(), {WHOLE: Fact(spent=1)}, None, set(), {WHOLE: Fact()}),
    "and another debt is left": (
        also(owing("A"), "notice", "B"), {WHOLE: Fact(spent=1)}, ["A"], {"notice"}, {"A": Fact(settled=True)},
    ),
}  # fmt: skip


@pytest.mark.parametrize("row", PAID)
def test_what_is_paid(row: str) -> None:
    sub, facts, invoices, left, remembered = PAID[row]
    fields: dict[str, Any] = {} if invoices is None else {"invoices": invoices}
    made = does(sub, "paid", facts=facts, **fields)
    assert made.sub.reasons.keys() == left
    assert made.facts == remembered
    assert made.status == ("applied" if remembered or sub.reasons != made.sub.reasons else "unchanged")
    for name in left & set(DEBT):
        paid = set(invoices or ())
        assert {i.id for i in made.sub.reasons[name].invoices} == {i.id for i in sub.reasons[name].invoices} - paid
    again = does(made.sub, "paid", facts=facts | made.facts, **fields)
    assert (again.status, again.sub, again.facts) == ("unchanged", made.sub, {})


def test_payment_that_was_known_ends_waivers_too() -> None:
    sub = deferred(promised(also(owing("A"), "notice", "B"), "A", "C"), "dispute", NOW + DAY, "A", "C")
    made = does(sub, "paid", facts={"C": Fact(settled=True)}, invoices=["A"])
    assert told(made) == ["trust.ended fulfilled", "defer.ended dispute settled"]
    assert (made.sub.promise, made.sub.deferrals) == (None, {})
    one = does(sub, "paid", facts={"C": Fact()}, invoices=["A"])
    assert (told(one), one.sub.promise, one.sub.deferrals) == ([], sub.promise, sub.deferrals)


# -- what is due (laws 6 and 7) ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("over", "left", "outcome"), [
    ("", "debt", "breached"), ("", "debt_partial", "breached"), ("", "notice", "breached"),
    ("", "operator", "released"),
    ("fulfilled", "debt", "fulfilled"), ("released", "debt", "released"),
])  # fmt: skip
def test_how_a_promise_ends_by_itself(over: str, left: str, outcome: str) -> None:
    sub = promised(also(NOBODY, left, "A"), until=NOW, over=over)
    assert d.expire(sub, NOW - 1, FREE) == (effect.settle(sub, NOW - 1), ())
    after, events = d.expire(sub, NOW, FREE)
    assert (after.promise, after.breached) == (None, outcome == "breached")
    assert events == ({"event": "trust.ended", "sub": "C-1", "outcome": outcome, "until": at(NOW)},)


@pytest.mark.parametrize("name", REASONS)
def test_a_deadline_is_told_once(name: str) -> None:
    sub = replace(owing("A", name=name, level=int(REASONS[name]), deadline=NOW), level=2, since=NOW - 7)
    after, events = d.expire(sub, NOW, FREE)
    if name == "pause":
        assert (after.reasons, events) == ({}, ({"event": "pause.ended", "sub": "C-1"},))
        return
    reached = {"event": "deadline.reached", "sub": "C-1", "reason": name, "deadline": at(NOW), "since": at(NOW - 7)}
    assert events == (reached,)
    assert after.reasons[name].deadline == 0
    assert d.expire(after, NOW + DAY, FREE)[1] == ()
    for level, since in ((0, NOW), (2, 0)):
        assert "since" not in d.expire(replace(sub, level=level, since=since), NOW, FREE)[1][0]


LIFTED: dict[str, tuple[Subscriber, int]] = {  # state, where its deadline of this moment moves; 0: it is told
    "by nothing": (owing("A", deadline=NOW), 0),
    "by a promise": (promised(owing("A", deadline=NOW)), NOW + HOUR),
    "by a promise on it": (promised(owing("A", deadline=NOW), "A"), NOW + HOUR),
    "not by a promise on another": (promised(owing("A", deadline=NOW), "B"), 0),
    "by a deferral": (deferred(owing("A", deadline=NOW)), NOW + HOUR),
    "by the longer of two": (
        deferred(deferred(owing("A", deadline=NOW)), "agreement", NOW + 2 * HOUR), NOW + 2 * HOUR,
    ),
    "not by one that lifts nothing": (deferred(owing("A", deadline=NOW), up_to=3), 0),
    "by one up to a level": (deferred(owing("A", deadline=NOW), up_to=2), NOW + HOUR),
    "of two invoices one": (promised(owing("A", "B", deadline=NOW), "A"), 0),
    "of two invoices each by its own": (
        promised(deferred(owing("A", "B", deadline=NOW), "dispute", NOW + 2 * HOUR, "B"), "A"), NOW + 2 * HOUR,
    ),
}  # fmt: skip


@pytest.mark.parametrize("row", LIFTED)
def test_a_deadline_moves_behind_what_lifts_the_debt(row: str) -> None:
    """Law 7."""
    sub, lifted = LIFTED[row]
    after, events = d.expire(sub, NOW, FREE)
    assert after.reasons["debt"].deadline == (lifted + 60 * DAY if lifted else 0)
    assert len(events) == (0 if lifted else 1)
    none, _ = d.expire(sub, NOW, Policy(debt_days=0))
    assert none.reasons["debt"].deadline == lifted
    assert deferral.lifted_until(sub, "debt", sub.reasons["debt"], NOW) == lifted
    assert deferral.lifted_until(sub, "operator", sub.reasons["debt"], NOW) == 0


def test_of_a_debt_that_has_not_begun_the_deadline_waits_for_its_first_part() -> None:
    parts = (
        Waiting("A", NOW + 3, "calendar", 1),
        Waiting("B", NOW + 2, "calendar", 1),
        Waiting("", NOW + 1, "calendar", 1),
    )
    sub = owing("A", "B", deadline=NOW, waits=parts)
    assert deferral.lifted_until(sub, "debt", sub.reasons["debt"], NOW) == NOW + 2


@pytest.mark.parametrize("sub", [
    promised(NOBODY, until=NOW), deferred(NOBODY, "dispute", NOW),
    owing("A", deadline=NOW, pending=True),
])  # fmt: skip
def test_a_command_meets_the_subscriber_as_it_is_by_then(sub: Subscriber) -> None:
    """Law 6: whatever it is that was due, timer or not."""
    due, events = d.expire(sub, NOW, FREE)
    made = does(sub, "paid", invoices=["Z"])
    assert effect.settle(made.sub, NOW) == due != sub
    assert made.events == events


def test_a_notice_is_seen_for_a_day_and_nothing_else_is() -> None:
    for level in Level:
        sub = owing(name="operator", level=int(level))
        assert d.see_notice(sub, NOW, FREE).notified == (NOW + DAY if level == Level.NOTICE else 0)
    short = d.see_notice(owing(name="notice", level=1), NOW, Policy(notice_repeat_hours=1))
    assert short.notified == NOW + HOUR
    for ms, seen in ((-1, NOW + HOUR), (0, 0), (1, 0)):
        assert d.expire(short, NOW + HOUR + ms, FREE)[0].notified == seen
