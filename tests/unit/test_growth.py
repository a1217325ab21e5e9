"""A debt in force that grows, promises that are kept, and ends of deferrals, as values; sections name paragraphs."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from edged.domain import decide as d
from edged.domain import effect
from edged.domain.model import MORATORIUM, WHOLE, Deferral, Fact, Policy, Subscriber
from edged.domain.region import Moratorium, Outage, Regions
from edged.domain.rejection import Rejected
from tests.unit.test_domain_rules import CUT, DAY, FREE, HOUR, NOW, at, does, owing

NOTICE = 15 * DAY
HELD = Policy(regions=Regions(moratoria={"north": Moratorium(NOW - DAY, NOW + 9 * DAY)}))


def later(sub: Subscriber, now: int, policy: Policy = FREE) -> tuple[Subscriber, list[str]]:
    after, events = d.expire(sub, now, policy)
    return after, [e["event"] for e in events]


def waits(sub: Subscriber, name: str = "debt") -> dict[str, int]:
    return {w.id: w.onset for w in sub.reasons[name].waits}


# -- growth (§3) -------------------------------------------------------------------------------------------------------


def test_an_invoice_that_joins_has_its_own_notice_period() -> None:
    made = does(owing("F-1"), "block", reason="debt", invoices=["F-1", "F-2"], notified_at=at(NOW))
    assert (made.status, made.until, made.why) == ("deferred", NOW + NOTICE, "notice_days")
    assert effect.level(made.sub, NOW) == 3  # for the first
    paid = does(made.sub, "paid", invoices=["F-1"]).sub
    assert effect.level(paid, NOW) == 0
    assert effect.next_moment(paid, NOW) == NOW + NOTICE
    begun, events = later(paid, NOW + NOTICE)
    assert (effect.level(begun, NOW + NOTICE), events, waits(begun)) == (3, ["block.began"], {})


def test_what_joins_does_not_outlast_the_promise_of_what_was_there() -> None:
    sub = does(owing("F-1"), "trust", invoices=["F-1"], hours=24).sub
    sub = does(sub, "block", reason="debt", invoices=["F-1", "F-2"], notified_at=at(NOW)).sub
    assert effect.level(sub, NOW) == 0
    after, events = later(sub, NOW + DAY)
    assert (effect.level(after, NOW + DAY), events) == (3, ["trust.ended"])


def test_the_same_block_again_says_what_waits() -> None:
    fields: dict[str, Any] = {"reason": "debt", "invoices": ["F-1", "F-2"], "notified_at": at(NOW)}
    made = does(does(owing("F-1"), "block", **fields).sub, "block", **fields)
    assert (made.status, made.until, made.why) == ("deferred", NOW + NOTICE, "notice_days")


def test_each_that_joins_is_judged_by_itself() -> None:
    sub = does(owing("F-1"), "block", reason="debt", invoices=["F-1", "F-2"], not_before=at(NOW + DAY)).sub
    made = does(sub, "block", reason="debt", invoices=["F-1", "F-2", "F-3"], notified_at=at(NOW))
    assert made.status == "deferred"
    assert waits(made.sub) == {"F-2": NOW + NOTICE, "F-3": NOW + NOTICE}  # named again: by the new terms
    kept = does(made.sub, "block", reason="debt", invoices=["F-1", "F-2", "F-3"])
    assert waits(kept.sub) == waits(made.sub)  # that they were notified is not forgotten


def test_a_notification_is_not_forgotten_by_a_repeat() -> None:
    sub = does(Subscriber("C-1"), "block", reason="debt", invoices=["F-1"], notified_at=at(NOW)).sub
    made = does(sub, "block", reason="debt", invoices=["F-1"])
    assert (made.status, made.until) == ("deferred", NOW + NOTICE)
    assert does(sub, "block", reason="debt", invoices=["F-1"], notified_at=at(NOW - NOTICE)).status == "applied"


def test_what_is_in_force_whole_holds_all_that_is_named_of_it() -> None:
    made = does(owing(), "block", reason="debt", invoices=["F-1"], notified_at=at(NOW))
    assert (made.status, waits(made.sub)) == ("applied", {})


def test_the_rest_waits_beside_what_was_named() -> None:
    made = does(owing("F-1"), "block", reason="debt", not_before=at(NOW + DAY))
    assert (made.status, made.until, waits(made.sub)) == ("deferred", NOW + DAY, {WHOLE: NOW + DAY})
    assert [i.id for i in made.sub.reasons["debt"].invoices] == ["F-1"]
    begun, events = later(made.sub, NOW + DAY)
    assert (begun.reasons["debt"].invoices, waits(begun), events) == ((), {}, ["block.began"])
    assert does(owing("F-1"), "block", reason="debt").sub.reasons["debt"].invoices == ()
    again = does(made.sub, "block", reason="debt", invoices=["F-1"])
    assert (again.status, waits(again.sub)) == ("applied", {})
    paid = does(made.sub, "paid", invoices=["F-1"]).sub
    assert (effect.level(paid, NOW), waits(paid)) == (0, {WHOLE: NOW + DAY})
    assert effect.level(later(paid, NOW + DAY)[0], NOW + DAY) == 3
    assert waits(does(paid, "block", reason="debt", invoices=["F-3"], not_before=at(NOW + HOUR)).sub) == {
        "F-3": NOW + HOUR
    }


def test_a_higher_level_waits() -> None:
    sub = owing("F-1", level=2)
    made = does(sub, "block", reason="debt", invoices=["F-1"], notified_at=at(NOW))
    assert (made.status, waits(made.sub), effect.level(made.sub, NOW)) == ("deferred", {"": NOW + NOTICE}, 2)
    both = does(sub, "block", reason="debt", invoices=["F-1", "F-2"], not_before=at(NOW + DAY))
    assert waits(both.sub) == {"": NOW + DAY, "F-2": NOW + DAY}
    begun, events = later(both.sub, NOW + DAY)
    assert (effect.level(begun, NOW + DAY), events) == (3, ["block.began"])
    lower = does(made.sub, "block", reason="debt", invoices=["F-1"], level="reduced")
    assert (lower.status, waits(lower.sub)) == ("applied", {})


def test_who_overrides_passes_the_calendar_and_not_the_notice() -> None:
    override: dict[str, Any] = {"override": {"author": "a", "motive": "m"}}
    friday = NOW + 2 * DAY  # a holiday besides
    fields: dict[str, Any] = {"reason": "debt", "invoices": ["F-1", "F-2"]}
    sub = owing("F-1")
    assert does(sub, "block", friday, CUT, **fields).why == "calendar"
    assert does(sub, "block", friday, CUT, **fields, **override).status == "applied"
    assert does(sub, "block", friday, CUT, **fields, **override, notified_at=at(NOW)).why == "notice_days"


def test_what_waits_is_asked_again_and_when_something_is_said_of_its_area() -> None:
    made = does(owing("F-1"), "block", policy=HELD, reason="debt", invoices=["F-1", "F-2"])
    assert (made.why, waits(made.sub)) == ("moratorium", {"F-2": NOW + 9 * DAY})
    longer = Policy(regions=Regions(moratoria={"north": Moratorium(NOW - DAY, NOW + 20 * DAY)}))
    assert waits(later(made.sub, NOW + 9 * DAY, longer)[0]) == {"F-2": NOW + 20 * DAY}
    after, events = d.reconsider(made.sub, NOW, FREE)
    assert (waits(after), [e["event"] for e in events]) == ({}, ["block.began"])


def test_an_override_is_of_what_it_came_with() -> None:
    override: dict[str, Any] = {"override": {"author": "a", "motive": "m"}}
    friday = NOW + 2 * DAY
    notified: dict[str, Any] = {"reason": "debt", "invoices": ["F-1", "F-2"], "notified_at": at(friday - NOTICE)}
    sub = does(owing("F-1"), "block", NOW, CUT, **notified, override=override["override"]).sub
    assert waits(sub) == {"F-2": friday}
    sub = does(sub, "block", NOW, CUT, reason="debt", not_before=at(NOW + HOUR * 2)).sub
    assert waits(sub) == {"F-2": friday, WHOLE: NOW + 2 * HOUR}
    held = does(owing("F-1"), "block", NOW, CUT, **notified).sub
    assert waits(held)["F-2"] > friday
    alone = does(owing("F-1"), "block", NOW, CUT, **notified, override=override["override"]).sub
    assert waits(later(alone, friday, CUT)[0]) == {}


def test_a_notice_can_be_asked_for_whatever_is_named() -> None:
    with pytest.raises(Rejected, match=r"policy\.require_notice"):
        does(owing("F-1"), "block", policy=Policy(require_notice=True), reason="debt", invoices=["F-1"])


def test_paid_takes_what_waits_along() -> None:
    sub = does(owing("F-1"), "block", reason="debt", invoices=["F-1", "F-2", "F-3"], not_before=at(NOW + DAY)).sub
    assert waits(does(sub, "paid", invoices=["F-2"]).sub) == {"F-3": NOW + DAY}


# -- promises (§2) -----------------------------------------------------------------------------------------------------

NOVEMBER: dict[str, Any] = {"reason": "notice", "invoices": [{"id": "NOV", "due": "2026-11-30"}]}


def test_who_pays_what_was_promised_has_kept_it() -> None:
    sub = does(owing("OCT"), "trust", hours=48).sub
    noted = does(sub, "block", **NOVEMBER)
    assert noted.facts == {}  # a reminder spends nothing
    paid = does(noted.sub, "paid", invoices=["OCT"], facts={"OCT": Fact(spent=1)})
    assert (paid.sub.promise, [e["outcome"] for e in paid.events]) == (None, ["fulfilled"])


def test_one_that_lifts_another_debt_runs_on_and_is_no_breach() -> None:
    sub = does(owing("OCT"), "trust", hours=48).sub
    sub = does(sub, "block", reason="debt_partial", invoices=["NOV"]).sub
    for op, fields, outcome in (
        ("paid", {"invoices": ["OCT"]}, "fulfilled"),
        ("unblock", {"reason": "debt"}, "released"),
    ):
        made = does(sub, op, facts={"OCT": Fact(spent=1), "NOV": Fact(spent=1)}, **fields)
        assert made.sub.promise is not None
        after, _ = d.expire(made.sub, NOW + 2 * DAY, FREE)
        _, events = d.expire(made.sub, NOW + 2 * DAY, FREE)
        assert (after.breached, after.promise, events[0]["outcome"]) == (False, None, outcome)
        assert effect.level(after, NOW + 2 * DAY) == 2


def test_what_billing_takes_back_is_released() -> None:
    whichever: tuple[dict[str, Any], ...] = ({}, {"invoices": ["F-1"]})
    for fields in whichever:
        sub = does(owing("F-1"), "trust", hours=48, **fields).sub
        sub = does(sub, "block", reason="notice", invoices=["F-2"]).sub
        made = does(sub, "unblock", reason="debt")
        assert (made.sub.promise, [e["outcome"] for e in made.events]) == (None, ["released"])


def test_a_debt_without_names_is_spent_while_an_invoice_is() -> None:
    for facts, code in (({"F-1": Fact(spent=1)}, "trust_spent"), ({"F-1": Fact(settled=True, spent=1)}, "")):
        if code:
            with pytest.raises(Rejected, match="is used up"):
                does(owing(), "trust", facts=facts)
        else:
            assert does(owing(), "trust", facts=facts).status == "applied"


def test_a_breach_stays_until_what_was_promised_is_paid() -> None:
    sub = Subscriber("C-1", breached=True)
    facts = {"F-1": Fact(spent=1)}
    assert does(sub, "paid", invoices=["X"], facts=facts).sub.breached
    assert does(sub, "paid", invoices=["X"], facts={"#1": Fact(spent=1)}).sub.breached
    assert not does(sub, "paid", invoices=["X"], facts={WHOLE: Fact(spent=1)}).sub.breached
    assert not does(sub, "paid", invoices=["F-1"], facts=facts).sub.breached
    whole = does(sub, "paid", facts=facts)
    assert (whole.sub.breached, whole.facts) == (False, {"F-1": Fact(settled=True, spent=1)})


def test_a_due_date_in_the_promise_counts() -> None:
    with pytest.raises(Rejected, match="1 days overdue"):
        does(owing("F-1"), "trust", invoices=[{"id": "F-1", "due": "2026-11-17"}])


def test_a_promise_is_no_answer_to_fraud_also_sent_again() -> None:
    sub = does(owing("F-1"), "trust", hours=48).sub
    sub = does(sub, "block", reason="fraud").sub
    with pytest.raises(Rejected, match="fraud is in force"):
        does(sub, "trust", hours=48)


# -- the end of a deferral (§3) ----------------------------------------------------------------------------------------

AGREED: dict[str, Any] = {"kind": "agreement", "until": at(NOW + DAY)}
OUT = Policy(regions=Regions(outages={"O": Outage("north", NOW)}))
DOUBT = Policy(clock_trusted=False)


@pytest.mark.parametrize("policy", [HELD, OUT, DOUBT])
def test_the_end_of_a_deferral_waits_as_an_onset_does(policy: Policy) -> None:
    sub = does(owing("F-1"), "defer", **AGREED).sub
    after, events = later(sub, NOW + DAY, policy)
    assert (effect.level(after, NOW + DAY), events) == (0, ["defer.ended"])
    assert list(after.deferrals) == ["onset"]
    free, events = later(after, after.deferrals["onset"].until)
    assert (effect.level(free, NOW + 99 * DAY), free.deferrals, events) == (3, {}, ["defer.ended"])


def test_one_that_is_taken_back_or_narrowed_waits_too() -> None:
    sub = does(owing("F-1"), "defer", **AGREED).sub
    friday = NOW + 2 * DAY
    long = does(sub, "defer", kind="agreement", until=at(NOW + 9 * DAY)).sub
    for made in (
        does(long, "undefer", friday, CUT),
        does(long, "defer", friday, CUT, kind="agreement", until=at(NOW + 9 * DAY), up_to="reduced"),
    ):
        assert (made.status, made.why, made.until > friday) == ("deferred", "calendar", True)
        assert effect.level(made.sub, friday) == 0
    unguarded = does(long, "undefer", friday, Policy(calendar=CUT.calendar, guard_reblock=False))
    assert (unguarded.status, effect.level(unguarded.sub, friday)) == ("applied", 3)


def test_who_was_overridden_is_not_held() -> None:
    override: dict[str, Any] = {"override": {"author": "a", "motive": "m"}}
    sub = does(Subscriber("C-1", area="north"), "block", reason="debt", **override).sub
    sub = does(sub, "defer", **AGREED).sub
    assert effect.level(later(sub, NOW + DAY, HELD)[0], NOW + DAY) == 3


# -- deadlines (§4) ----------------------------------------------------------------------------------------------------


def test_days_on_which_a_debt_is_lifted_do_not_count() -> None:
    sub = does(owing("F-1", deadline=NOW + DAY), "defer", kind="hardship", until=at(NOW + 9 * DAY)).sub
    after, events = later(sub, NOW + DAY)
    assert (after.reasons["debt"].deadline, events) == (NOW + 69 * DAY, [])
    assert later(owing("F-1", deadline=NOW + DAY), NOW + DAY)[1] == ["deadline.reached"]
    other = does(sub, "defer", kind="dispute", until=at(NOW + 99 * DAY), invoices=["F-9"]).sub
    assert later(other, NOW + DAY)[0].reasons["debt"].deadline == NOW + 69 * DAY
    waiting = does(
        owing("F-1", deadline=NOW + HOUR), "block", reason="debt", invoices=["F-2"], not_before=at(NOW + DAY)
    )
    after, events = later(waiting.sub, NOW + HOUR)
    assert (after.reasons["debt"].deadline, events) == (NOW + 61 * DAY, [])


# -- what the second sceptic found -------------------------------------------------------------------------------------


def test_a_whole_debt_has_one_promise_whatever_a_reminder_names() -> None:
    sub = does(owing(), "block", reason="notice", invoices=["F-1"]).sub
    made = does(sub, "trust", hours=48)
    assert made.facts == {WHOLE: Fact(spent=1), "F-1": Fact(spent=1)}
    sub = does(made.sub, "unblock", reason="notice").sub
    after, events = d.expire(sub, NOW + 2 * DAY, FREE)
    assert (after.breached, events[0]["outcome"]) == (True, "breached")
    with pytest.raises(Rejected, match="is used up"):
        does(does(owing(), "block", reason="notice", invoices=["F-2"]).sub, "trust", facts={WHOLE: Fact(spent=1)})


def test_a_level_that_waits_keeps_the_rate_it_is_felt_at() -> None:
    sub = does(owing("F-1", level=2, rate=8192), "block", reason="debt", invoices=["F-1"], not_before=at(NOW + DAY)).sub
    assert effect.entry(sub, NOW, FREE).rate == 8192
    again = does(sub, "block", reason="debt", invoices=["F-1"], not_before=at(NOW + 2 * DAY)).sub
    assert effect.entry(again, NOW, FREE).rate == 8192


def test_what_is_held_at_a_level_is_not_slower_than_what_is_felt_there() -> None:
    sub = does(owing("F-1", name="debt_partial", level=2, rate=8192), "block", reason="debt", invoices=["F-2"]).sub
    sub = does(sub, "defer", kind="agreement", until=at(NOW + 9 * DAY), invoices=["F-2"]).sub
    made = does(sub, "undefer", NOW + 2 * DAY, CUT)
    assert (made.status, effect.entry(made.sub, NOW + 2 * DAY, CUT).rate) == ("deferred", 8192)


def test_a_promise_does_not_let_the_end_of_a_deferral_through() -> None:
    sub = does(owing("F-1"), "defer", kind="hardship", until=at(NOW + 9 * DAY)).sub
    sub = does(sub, "trust", hours=1).sub
    made = does(sub, "undefer", policy=HELD)
    assert (made.status, made.why) == ("deferred", "moratorium")
    after, _ = d.expire(made.sub, NOW + HOUR, HELD)
    assert effect.level(after, NOW + HOUR) == 0
    assert effect.entry(made.sub, NOW, HELD).level == 0  # what the kernel gives back when the promise ends


def test_what_is_held_back_goes_with_the_debt() -> None:
    friday = NOW + 2 * DAY
    sub = does(owing("F-1"), "defer", kind="agreement", until=at(NOW + 9 * DAY)).sub
    sub = does(sub, "undefer", friday, CUT).sub
    assert list(sub.deferrals) == ["onset"]
    for op, fields in (("paid", {"invoices": ["F-1"]}), ("unblock", {"reason": "debt"})):
        assert does(sub, op, friday, CUT, None, **fields).sub.deferrals == {}


def test_undefer_says_what_is_felt_where_an_override_stands() -> None:
    override: dict[str, Any] = {"author": "a", "motive": "m"}
    friday = NOW + 2 * DAY
    sub = does(Subscriber("C-1"), "block", friday, CUT, reason="debt", override=override).sub
    made = does(does(sub, "defer", friday, CUT, **AGREED | {"until": at(NOW + 9 * DAY)}).sub, "undefer", friday, CUT)
    assert (made.status, made.sub.deferrals, effect.level(made.sub, friday)) == ("applied", {}, 3)


def test_a_block_that_replaces_what_was_promised_releases_the_promise() -> None:
    whichever: tuple[dict[str, Any], ...] = ({}, {"invoices": ["F-1"]})
    for fields in whichever:
        sub = does(owing("F-1"), "trust", hours=48, **fields).sub
        made = does(sub, "block", reason="debt", invoices=["F-2"])
        after = d.expire(made.sub, NOW + 2 * DAY, FREE)[0]
        assert not after.breached
    whole = does(owing(), "trust", hours=48).sub
    assert does(whole, "block", reason="debt", invoices=["F-2"]).sub.promise is not None


def test_what_joins_under_a_promise_and_a_deferral_is_spent() -> None:
    sub = does(does(owing("F-1"), "trust", hours=72).sub, "defer", **AGREED).sub
    made = does(sub, "block", reason="debt", invoices=["F-1", "F-2"], facts={"F-1": Fact(spent=1)})
    assert made.facts == {"F-2": Fact(spent=1)}


def test_a_lower_level_waits_for_nothing() -> None:
    """Less than what is felt is no onset, whatever holds onsets back."""
    held = Policy(regions=Regions(moratoria={"*": Moratorium(NOW - DAY, NOW + 9 * DAY)}))
    made = does(owing("F-1"), "block", policy=held, reason="debt", level="reduced", invoices=["F-1"])
    assert (made.status, waits(made.sub), effect.level(made.sub, NOW)) == ("applied", {}, 2)


def test_what_waits_on_has_not_begun() -> None:
    """Its moment come, a moratorium holds it on: nothing is told to have begun."""
    sub = does(owing("F-1"), "block", reason="debt", invoices=["F-1", "F-2"], notified_at=at(NOW)).sub
    held = Policy(regions=Regions(moratoria={"*": Moratorium(NOW, NOW + 30 * DAY)}))
    after, events = later(sub, NOW + NOTICE, held)
    assert (events, waits(after)) == ([], {"F-2": NOW + 30 * DAY})


@pytest.mark.parametrize(("override", "moved"), [(False, 9), (True, 2)])
def test_what_an_override_passes_moves_no_deadline(override: bool, moved: int) -> None:
    """Law 7 of decide: what lifts a debt does, which under an override is what somebody has asked for."""
    fields: dict[str, Any] = {"override": {"author": "a", "motive": "m"}} if override else {}
    sub = does(Subscriber("C-1"), "block", reason="notice", deadline=at(NOW + DAY), **fields).sub
    sub = does(sub, "defer", kind="hardship", until=at(NOW + 2 * DAY)).sub
    sub = replace(sub, deferrals={**sub.deferrals, MORATORIUM: Deferral(NOW, NOW + 9 * DAY)})
    after, events = later(sub, NOW + DAY)
    assert (events, after.reasons["notice"].deadline) == ([], NOW + moved * DAY)
