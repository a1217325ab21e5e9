"""Deferrals, areas, onsets and effects as values, without a core around them; each row names its paragraph."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest
from msgspec.structs import replace

from edged.domain import brake, effect, onset, promise, visitor
from edged.domain import command as c
from edged.domain import decide as d
from edged.domain.calendar import Calendar
from edged.domain.entry import Entry
from edged.domain.levels import Level
from edged.domain.model import MORATORIUM as RESTING
from edged.domain.model import (
    REASONS,
    WHOLE,
    Deferral,
    Fact,
    Invoice,
    Policy,
    Promise,
    Reason,
    Subscriber,
    milliseconds,
    rfc3339,
)
from edged.domain.region import LOOK_MS, Holidays, Moratorium, Outage, Regions, look_again
from edged.domain.rejection import Rejected

SECOND, HOUR, DAY = 1000, 3_600_000, 86_400_000
ZONE = ZoneInfo("America/Sao_Paulo")
NOW = milliseconds(dt.datetime(2026, 11, 18, 13, 30, tzinfo=dt.UTC))
"""A Wednesday, 10:30 in São Paulo, the day before the eve of a holiday (20 November)."""
FREE = Policy()
CUT = Policy(calendar=Calendar(ZONE, "BR"))


def at(ms: int) -> str:
    return rfc3339(ms)


def read(op: str, **fields: Any) -> c.OnState:
    cmd = c.read_command(json.dumps({"op": op, "sub": "C-1", **fields}).encode())
    assert isinstance(cmd, c.OnState)
    return cmd


def does(
    sub: Subscriber, op: str, now: int = NOW, policy: Policy = FREE, facts: Any = None, **fields: Any
) -> d.Decision:
    return d.decide(read(op, **fields), d.View(sub, facts or {}), now, policy, "erp")


def refused(sub: Subscriber, op: str, policy: Policy = FREE, facts: Any = None, **fields: Any) -> str:
    with pytest.raises(Rejected) as caught:
        does(sub, op, NOW, policy, facts, **fields)
    return f"{caught.value.code}: {caught.value.detail}"


def owing(*invoices: str, name: str = "debt", level: int = 3, **more: Any) -> Subscriber:
    reason = Reason(level, NOW - DAY, NOW - DAY, tuple(Invoice(i) for i in invoices), **more)
    return Subscriber("C-1", area="north", reasons={name: reason})


# -- regions (§1 waivers, §3) ----------------------------------------------------------------------------------------

NORTH, ALL = Moratorium(1, NOW + 5), Moratorium(1, NOW + 9)
MORATORIA: dict[str, tuple[dict[str, Moratorium], str, int, int]] = {
    "none": ({}, "north", NOW, 0),
    "of the area": ({"north": NORTH}, "north", NOW, NOW + 5),
    "of another": ({"south": NORTH}, "north", NOW, 0),
    "its end is excluded": ({"north": NORTH}, "north", NOW + 5, 0),
    "the millisecond before": ({"north": NORTH}, "north", NOW + 4, NOW + 5),
    "everywhere": ({"*": NORTH}, "north", NOW, NOW + 5),
    "everywhere, for who lives nowhere": ({"*": NORTH}, "", NOW, NOW + 5),
    "nowhere is no area": ({"": NORTH}, "", NOW, 0),
    "the later of both": ({"north": NORTH, "*": ALL}, "north", NOW, NOW + 9),
    "the later of both, the other": ({"north": ALL, "*": NORTH}, "north", NOW, NOW + 9),
    "long over": ({"north": NORTH, "*": ALL}, "north", NOW + DAY, 0),
    "one is over": ({"north": ALL, "*": NORTH}, "north", NOW + 6, NOW + 9),
}


@pytest.mark.parametrize("row", MORATORIA)
def test_moratorium(row: str) -> None:
    moratoria, area, moment, end = MORATORIA[row]
    assert Regions(moratoria=moratoria).moratorium(area, moment) == end


@pytest.mark.parametrize("row", MORATORIA)
def test_only_one_that_releases_releases(row: str) -> None:
    moratoria, area, moment, end = MORATORIA[row]
    assert Regions(moratoria=moratoria).releasing(area, moment) is None
    found = Regions(moratoria={n: replace(m, release=True) for n, m in moratoria.items()}).releasing(area, moment)
    assert (found.until if found else 0) == end


def test_of_two_that_release_the_longer() -> None:
    short, long = replace(NORTH, release=True), replace(ALL, release=True)
    assert Regions(moratoria={"north": short, "*": long}).releasing("north", NOW) == long
    assert Regions(moratoria={"north": long, "*": short}).releasing("north", NOW) == long


@pytest.mark.parametrize(
    ("outages", "area", "found"),
    [
        ({}, "north", None),
        ({"a": Outage("north", 1)}, "north", "a"),
        ({"a": Outage("south", 1)}, "north", None),
        ({"a": Outage("*", 1)}, "", "a"),
        ({"a": Outage("north", 1)}, "", None),
        ({"a": Outage("north", 1, 7), "b": Outage("north", 1, 9)}, "north", "b"),
        ({"a": Outage("north", 1), "b": Outage("north", 1, 9)}, "north", "a"),
        ({"b": Outage("north", 1, 9), "a": Outage("north", 1, 9)}, "north", "b"),
    ],
)
def test_outage(outages: dict[str, Outage], area: str, found: str | None) -> None:
    told = Regions(outages=outages).outage(area)
    assert (told[0] if told else None) == found


@pytest.mark.parametrize(
    ("eta", "again"),
    [(0, LOOK_MS), (NOW, LOOK_MS), (NOW - 1, LOOK_MS), (NOW + 1, 1), (NOW + LOOK_MS + 1, LOOK_MS)],
)
def test_an_outage_is_looked_at_again(eta: int, again: int) -> None:
    assert look_again(Outage("north", 1, eta), NOW) == NOW + again
    assert LOOK_MS == 15 * 60 * SECOND


# -- onsets (§3) -----------------------------------------------------------------------------------------------------

MORATORIUM = Policy(regions=Regions(moratoria={"north": Moratorium(1, NOW + DAY)}))
OUTAGE = Policy(regions=Regions(outages={"o": Outage("north", 1)}))
CLOCK = Policy(clock_trusted=False)
LATE = {"not_before": at(NOW + 2 * HOUR)}
THURSDAY = milliseconds(dt.datetime(2026, 11, 19, 11, tzinfo=dt.UTC))  # the eve of a holiday
MONDAY = milliseconds(dt.datetime(2026, 11, 23, 11, tzinfo=dt.UTC))
BOTH = Policy(calendar=Calendar(ZONE, "BR"), regions=Regions(moratoria={"north": Moratorium(1, THURSDAY)}))
AUTHOR = {"override": {"author": "a", "motive": "m"}}

ONSETS: dict[str, tuple[Policy, dict[str, Any], int, str]] = {
    "now": (FREE, {}, NOW, ""),
    "in hours": (CUT, {}, NOW, ""),
    "moratorium": (MORATORIUM, {}, NOW + DAY, "moratorium"),
    "moratorium, later than not_before": (MORATORIUM, LATE, NOW + DAY, "moratorium"),
    "not_before after it": (MORATORIUM, {"not_before": at(NOW + DAY)}, NOW + DAY, "not_before"),
    "outage": (OUTAGE, {}, NOW + LOOK_MS, "outage"),
    "outage is asked when its moment comes": (OUTAGE, LATE, NOW + 2 * HOUR, "not_before"),
    "calendar": (CUT, {"not_before": at(THURSDAY)}, MONDAY, "calendar"),
    "a moratorium that ends where the calendar forbids": (BOTH, {}, MONDAY, "calendar"),
    "clock": (CLOCK, {}, NOW + 60 * SECOND, "clock"),
    "clock, later": (CLOCK, LATE, NOW + 2 * HOUR, "not_before"),
    "override passes moratorium": (MORATORIUM, AUTHOR, NOW, ""),
    "override passes outage": (OUTAGE, AUTHOR, NOW, ""),
    "override passes calendar": (CUT, {"not_before": at(THURSDAY), **AUTHOR}, THURSDAY, "not_before"),
    "override does not pass the clock": (CLOCK, AUTHOR, NOW + 60 * SECOND, "clock"),
    "override does not pass the period": (
        FREE, {"notified_at": at(NOW), **AUTHOR}, NOW + 15 * DAY, "notice_days",
    ),
}  # fmt: skip


@pytest.mark.parametrize("row", ONSETS)
def test_onset(row: str) -> None:
    policy, fields, begins, why = ONSETS[row]
    made = does(Subscriber("C-1", area="north"), "block", policy=policy, reason="debt", **fields)
    assert (made.status, made.until, made.why) == (("deferred", begins, why) if why else ("applied", 0, ""))
    reason = made.sub.reasons["debt"]
    assert (reason.onset, reason.pending, reason.why) == (begins, bool(why), why)
    assert reason.override == ("override" in fields)
    assert (reason.since, reason.issuer, reason.level, reason.rate) == (NOW, "erp", 3, 0)
    assert (reason.earliest > 0, reason.notified_at > 0) == (bool(why), "notified_at" in fields)
    assert min(reason.earliest, reason.notified_at) >= 0


@pytest.mark.parametrize("reason", ["operator", "abuse", "pause", "terminated", "preventive"])
@pytest.mark.parametrize("policy", [MORATORIUM, OUTAGE, CLOCK, BOTH])
def test_nothing_holds_what_is_no_debt(reason: str, policy: Policy) -> None:
    """§3: the guard never applies to non-debt reasons."""
    made = does(Subscriber("C-1", area="north"), "block", policy=policy, reason=reason, notified_at=at(NOW))
    assert (made.status, made.until, made.sub.reasons[reason].onset) == ("applied", 0, NOW)


def test_what_waits_is_judged_again_when_its_moment_comes() -> None:
    waiting = Reason(3, NOW - DAY, NOW, pending=True, why="not_before", earliest=NOW)
    begun = onset.due("debt", waiting, "north", NOW, FREE)
    assert (begun.pending, begun.why, begun.earliest, begun.onset) == (False, "", 0, NOW)
    assert begun.deadline == NOW + 60 * DAY
    assert onset.due("debt", replace(waiting, deadline=7), "north", NOW, FREE).deadline == 7
    held = onset.due("debt", waiting, "north", NOW, MORATORIUM)
    assert (held.pending, held.why, held.onset, held.deadline) == (True, "moratorium", NOW + DAY, 0)
    own = onset.due("debt", replace(waiting, override=True), "north", NOW, MORATORIUM)
    assert not own.pending
    early = onset.due("debt", replace(waiting, earliest=NOW + 1), "north", NOW, FREE)
    assert (early.onset, early.why, early.pending) == (NOW + 1, "not_before", True)
    other = onset.due("operator", waiting, "north", NOW, MORATORIUM)
    assert not other.pending


OWN_DEADLINES = {name: {"preventive": 30, "debt": 60}.get(name, 0) for name in REASONS}


@pytest.mark.parametrize(("name", "days"), OWN_DEADLINES.items())
def test_a_deadline_of_its_own(name: str, days: int) -> None:
    """§4."""
    assert onset.deadline(name, NOW, FREE) == (NOW + days * DAY if days else 0)
    made = does(Subscriber("C-1"), "block", reason=name)
    assert made.sub.reasons[name].deadline == (NOW + days * DAY if days else 0)


def test_two_holds_that_hand_an_onset_on_end_somewhere() -> None:
    forbidden = Calendar(ZONE, "BR", dates={"north": [dt.date(2026, 11, 18) + dt.timedelta(n) for n in range(900)]})
    begins, why = onset.allowed(NOW, "", "north", NOW, Policy(calendar=forbidden), override=False)
    assert begins > NOW + 800 * DAY
    assert why == "calendar"


# -- blocks and deadlines (§4) ---------------------------------------------------------------------------------------

DEADLINES: dict[str, tuple[int, str, int, int]] = {  # what it has, reason, what is asked, what is kept
    "kept": (NOW + 9, "debt", 0, NOW + 9),
    "another": (NOW + 9, "debt", NOW + 5, NOW + 5),
    "one that has passed, while one runs": (NOW + 9, "debt", NOW - 5, NOW - 5),
    "this very moment, while one runs": (NOW + 9, "debt", NOW, NOW),
    "reached once is reached": (0, "debt", NOW - 5, 0),
    "reached at this moment": (0, "debt", NOW, 0),
    "reached, and a new one": (0, "debt", NOW + 5, NOW + 5),
    "a reason beside pause is not": (0, "preventive", NOW - 5, 0),
    "nor one before it": (0, "notice", NOW - 5, 0),
}


@pytest.mark.parametrize("row", DEADLINES)
def test_deadline(row: str) -> None:
    had, name, asked, kept = DEADLINES[row]
    sub = owing(name=name, level=int(REASONS[name]), deadline=had)
    fields: dict[str, Any] = {"deadline": at(asked)} if asked else {}
    made = does(sub, "block", reason=name, ref="again", **fields)
    assert made.sub.reasons[name].deadline == kept
    assert made.sub.reasons[name].onset == NOW - DAY


def test_a_deadline_is_reached_at_its_millisecond() -> None:
    sub = owing(deadline=NOW)
    assert d.expire(sub, NOW - 1, FREE)[1] == ()
    after, events = d.expire(sub, NOW, FREE)
    assert events == ({"event": "deadline.reached", "sub": "C-1", "reason": "debt", "deadline": at(NOW)},)
    assert after.reasons["debt"].deadline == 0


def test_a_pause_ends_itself() -> None:
    """§4."""
    after, events = d.expire(owing(name="pause", deadline=NOW), NOW, FREE)
    assert (after.reasons, events) == ({}, ({"event": "pause.ended", "sub": "C-1"},))


@pytest.mark.parametrize(
    ("cause", "ends"), [(None, False), ("documents", False), ("zzz", False), ("documents_ok", True)]
)
def test_only_documents_end_a_preventive_block(cause: str | None, ends: bool) -> None:
    """§1."""
    sub = owing(name="preventive")
    fields: dict[str, Any] = {"reason": "preventive", **({"cause": cause} if cause else {})}
    if ends:
        assert does(sub, "unblock", **fields).sub.reasons == {}
    else:
        assert refused(sub, "unblock", **fields).startswith("not_authorized: cause")


def test_a_seen_notice_counts_until_its_end() -> None:
    sub = replace(owing(name="notice", level=1), notified=NOW)
    assert d.expire(sub, NOW, FREE)[0].notified == 0
    assert d.expire(sub, NOW - 1, FREE)[0].notified == NOW
    assert d.see_notice(sub, NOW, FREE).notified == NOW + 24 * HOUR


@pytest.mark.parametrize(("ms", "code"), [(0, "trust_spent"), (-1, "trust_spent"), (1, "applied")])
def test_what_is_due_at_this_moment_happens_before_the_command(ms: int, code: str) -> None:
    """§2: none after a breach; a timer that has not come yet changes nothing of that."""
    sub = replace(owing("A", "B"), promise=Promise("promise", NOW - HOUR, NOW + ms, ("A",)))
    if code == "applied":
        assert does(sub, "trust", hours=1, invoices=["B"]).status == code
    else:
        assert refused(sub, "trust", hours=1, invoices=["B"]).startswith(code)
        assert [e["outcome"] for e in does(sub, "undefer").events] == ["breached"]


# -- deferrals (§1, §5) ----------------------------------------------------------------------------------------------

UNTIL: dict[str, Any] = {"until": at(NOW + 9 * HOUR)}


def test_a_deferral_lifts_and_ends_itself() -> None:
    made = does(owing(), "defer", kind="hardship", ref="T", **UNTIL)
    assert made.sub.deferrals == {"hardship": Deferral(NOW, NOW + 9 * HOUR, ref="T", issuer="erp")}
    assert (made.status, made.detail, made.until) == ("applied", "", NOW + 9 * HOUR)
    assert [int(effect.level(made.sub, NOW + n)) for n in (0, 9 * HOUR - 1, 9 * HOUR)] == [0, 0, 3]
    assert effect.next_moment(made.sub, NOW) == NOW + 9 * HOUR
    assert d.expire(made.sub, NOW + 9 * HOUR - 1, FREE)[1] == ()
    after, events = d.expire(made.sub, NOW + 9 * HOUR, FREE)
    assert after.deferrals == {}
    (event,) = events
    assert event == {
        "event": "defer.ended", "sub": "C-1", "kind": "hardship", "outcome": "expired", "until": at(NOW + 9 * HOUR),
    }  # fmt: skip


def test_one_of_each_kind_and_the_same_again_is_unchanged() -> None:
    first = does(owing(), "defer", kind="dispute", **UNTIL).sub
    again = does(first, "defer", NOW + HOUR, kind="dispute", **UNTIL)
    assert (again.status, again.sub, again.until) == ("unchanged", first, NOW + 9 * HOUR)
    longer = does(first, "defer", NOW + HOUR, kind="dispute", until=at(NOW + 2 * DAY)).sub
    assert longer.deferrals["dispute"].since == NOW
    assert set(does(longer, "defer", kind="agreement", **UNTIL).sub.deferrals) == {"dispute", "agreement"}


def test_an_end_that_the_calendar_forbids_is_moved() -> None:
    made = does(owing(), "defer", policy=CUT, kind="agreement", until=at(THURSDAY))
    assert made.until == MONDAY
    assert made.detail == f"moved from {at(THURSDAY)}, when the calendar allows no block"
    free = does(owing(), "defer", policy=replace(CUT, guard_reblock=False), kind="agreement", until=at(THURSDAY))
    assert (free.until, free.detail) == (THURSDAY, "")


@pytest.mark.parametrize("ms", [0, -1])
def test_a_deferral_into_the_past(ms: int) -> None:
    assert refused(owing(), "defer", kind="agreement", until=at(NOW + ms)).startswith("trust_not_applicable: until")
    assert does(owing(), "defer", kind="agreement", until=at(NOW + 1)).status == "applied"


UP_TO: dict[str, tuple[dict[str, Any], int]] = {
    "all": ({}, 0),
    "up to notice": ({"up_to": "notice"}, 1),
    "up to reduced": ({"up_to": "reduced"}, 2),
    "up to more than there is": ({"up_to": "blocked"}, 3),
    "one invoice of two": ({"invoices": ["A"]}, 3),
    "both": ({"invoices": ["A", "B"]}, 0),
    "both, up to": ({"invoices": ["A", "B"], "up_to": "reduced"}, 2),
    "another": ({"invoices": ["C"]}, 3),
}


@pytest.mark.parametrize("row", UP_TO)
def test_how_far_a_deferral_lifts(row: str) -> None:
    fields, level = UP_TO[row]
    made = does(owing("A", "B"), "defer", kind="agreement", **UNTIL, **fields).sub
    assert effect.levels(made, NOW) == (level, level)
    assert effect.settle(made, NOW).level == level
    assert effect.judge(made, NOW, FREE)[1].level == level


def test_a_deferral_and_a_promise_each_on_its_invoice() -> None:
    """Law 4 of effect."""
    sub = replace(owing("A", "B"), promise=Promise("promise", NOW, NOW + HOUR, ("B",)))
    disputed = replace(sub, deferrals={"dispute": Deferral(NOW, NOW + 2 * HOUR, ("A",))})
    assert effect.levels(sub, NOW) == (3, 3)
    assert effect.levels(disputed, NOW) == (3, 0)
    assert effect.waives(disputed, "debt", disputed.reasons["debt"], NOW)
    assert not effect.waives(sub, "debt", sub.reasons["debt"], NOW)
    assert not effect.waives(disputed, "debt", disputed.reasons["debt"], NOW + HOUR)
    assert effect.entry(disputed, NOW, FREE) == Entry(3, 0, 0, NOW + HOUR)
    assert effect.strongest(disputed, NOW) == ""
    assert effect.strongest(sub, NOW) == "debt"


@pytest.mark.parametrize("name", ["operator", "pause", "preventive", "abuse", "fraud", "terminated", "court"])
def test_nothing_waives_what_is_no_debt(name: str) -> None:
    """§1."""
    sub = does(owing(name=name), "defer", kind="hardship", **UNTIL).sub
    assert effect.level(replace(sub, promise=Promise("promise", NOW, NOW + HOUR)), NOW) == Level.WALLED
    assert refused(sub, "trust", hours=1).startswith("trust_not_applicable")


def test_undefer() -> None:
    kinds = {k: Deferral(NOW, NOW + DAY) for k in ("agreement", "dispute", "moratorium")}
    sub = replace(owing(), deferrals=kinds)
    one = does(sub, "undefer", kind="agreement")
    assert set(one.sub.deferrals) == {"dispute", "moratorium"}
    assert [(e["kind"], e["outcome"]) for e in one.events] == [("agreement", "released")]
    assert set(does(sub, "undefer").sub.deferrals) == {"moratorium"}
    none = does(owing(), "undefer")
    assert (none.status, none.detail) == ("unchanged", "nothing is deferred")
    assert does(sub, "undefer", kind="hardship").status == "unchanged"


def test_a_deferral_ends_when_all_its_invoices_are_settled() -> None:
    sub = replace(
        owing("A", "B", "C"),
        deferrals={"dispute": Deferral(NOW, NOW + DAY, ("A", "B")), "hardship": Deferral(NOW, NOW + DAY)},
    )
    first = does(sub, "paid", invoices=["A"])
    assert set(first.sub.deferrals) == {"dispute", "hardship"}
    second = does(first.sub, "paid", facts={"A": Fact(True)}, invoices=["B"])
    assert set(second.sub.deferrals) == {"hardship"}
    assert [(e["kind"], e["outcome"]) for e in second.events] == [("dispute", "settled")]
    assert set(second.sub.reasons) == {"debt"}


def test_a_promise_is_fulfilled_when_all_its_invoices_are_settled() -> None:
    sub = replace(owing("A", "B", "C"), promise=Promise("promise", NOW, NOW + HOUR, ("A", "B")))
    first = does(sub, "paid", invoices=["A"])
    assert first.sub.promise is not None
    second = does(first.sub, "paid", facts={"A": Fact(True)}, invoices=["B"])
    assert second.sub.promise is None
    assert [e["outcome"] for e in second.events] == ["fulfilled"]


def test_what_is_in_force_rests_under_a_moratorium_that_releases() -> None:
    """Contract `moratorium`, release_existing."""
    releasing = Policy(regions=Regions(moratoria={"north": Moratorium(NOW, NOW + DAY, release=True, ref="R")}))
    after, _ = d.reconsider(owing(), NOW, releasing)
    assert after.deferrals == {RESTING: Deferral(NOW, NOW + DAY, ref="R")}
    assert (after.level, d.reconsider(after, NOW, releasing)[0]) == (0, after)
    over, _ = d.reconsider(after, NOW, FREE)
    assert (over.deferrals, over.level, over.since) == ({}, 3, NOW)
    for other in (owing(name="operator"), owing(pending=True, earliest=NOW + 2 * DAY)):
        assert RESTING not in d.reconsider(other, NOW, releasing)[0].deferrals
    assert d.reconsider(Subscriber("C-1"), NOW, releasing)[0].deferrals == {}


def test_what_waits_for_an_area_begins_when_nothing_holds_it_any_more() -> None:
    waiting = owing(pending=True, why="moratorium", earliest=NOW - HOUR)
    assert d.reconsider(waiting, NOW, MORATORIUM)[1] == ()
    after, events = d.reconsider(waiting, NOW, FREE)
    assert events == ({"event": "block.began", "sub": "C-1", "reason": "debt"},)
    assert (after.level, after.since) == (3, NOW)


# -- promises (§2) ---------------------------------------------------------------------------------------------------

MIDNIGHT = milliseconds(dt.datetime(2026, 11, 20, 3, tzinfo=dt.UTC))  # the end of Thursday the 19th in São Paulo
CLAIMED = {"basis": "payment_claimed"}
LENGTHS: dict[str, tuple[dict[str, Any], int]] = {
    "promise": ({}, MIDNIGHT),
    "promise, said": ({"next_business_day": True}, MIDNIGHT),
    "hours": ({"hours": 5}, NOW + 5 * HOUR),
    "days": ({"days": 1.5}, NOW + 36 * HOUR),
    "until": ({"until": at(NOW + 7)}, NOW + 7),
    "pix": ({**CLAIMED, "method": "pix"}, NOW + HOUR),
    "card": ({**CLAIMED, "method": "card"}, NOW + 3 * DAY),
    "bank": ({**CLAIMED, "method": "bank"}, MIDNIGHT + 4 * DAY),  # Friday the 20th is a holiday
    "no method": (CLAIMED, MIDNIGHT + 4 * DAY),
    "lottery": ({**CLAIMED, "method": "lottery"}, MIDNIGHT + 4 * DAY),
    "debit": ({**CLAIMED, "method": "debit"}, MIDNIGHT + 4 * DAY),
    "collection": ({**CLAIMED, "method": "collection"}, MIDNIGHT + 6 * DAY),
    "claimed, and said": ({**CLAIMED, "method": "pix", "next_business_day": True}, MIDNIGHT),
}


@pytest.mark.parametrize("row", LENGTHS)
def test_how_long_a_promise_is(row: str) -> None:
    fields, until = LENGTHS[row]
    made = does(owing(), "trust", policy=Policy(trust_max_hours=400), **fields)
    assert (made.status, made.until, made.detail) == ("applied", until, "")
    assert made.sub.promise == Promise(fields.get("basis", "promise"), NOW, until, issuer="erp", owed=(WHOLE,))
    assert made.facts == {WHOLE: Fact(False, 1)}
    assert made.sub.granted == ()


def test_its_end_is_moved_and_said() -> None:
    made = does(owing(), "trust", policy=CUT)
    assert (made.until, made.detail) == (MONDAY, f"moved from {at(MIDNIGHT)}, when the calendar allows no block")
    partly = does(owing("A", "B"), "trust", policy=CUT, invoices=["A"])
    assert partly.detail.endswith("no block; still walled: another debt is not covered")


@pytest.mark.parametrize(("days", "given"), [(3, False), (4, True), (5, True)])
def test_the_oldest_invoice_is_four_days_overdue(days: int, given: bool) -> None:
    due = (dt.date(2026, 11, 18) - dt.timedelta(days)).isoformat()
    reasons = {
        "debt": Reason(3, NOW, NOW, (Invoice("A", due),)),
        "notice": Reason(1, NOW, NOW, (Invoice("A"), Invoice("B"))),
    }
    sub = Subscriber("C-1", reasons=reasons)
    if given:
        assert does(sub, "trust", hours=1).facts == {"A": Fact(False, 1), "B": Fact(False, 1)}
    else:
        assert refused(sub, "trust", hours=1).startswith(f"trust_not_applicable: the oldest invoice is {days} days")


def test_of_two_due_dates_the_earlier_counts() -> None:
    for first, second in (("2026-11-10", "2026-11-17"), ("2026-11-17", "2026-11-10")):
        reasons = {
            "debt": Reason(3, NOW, NOW, (Invoice("A", first),)),
            "notice": Reason(1, NOW, NOW, (Invoice("A", second),)),
        }
        assert does(Subscriber("C-1", reasons=reasons), "trust", hours=1).status == "applied"


def test_so_many_in_thirty_days() -> None:
    policy = Policy(trust_per_30_days=2)
    month = 30 * DAY
    full = replace(owing(), granted=(NOW - month + 1, NOW - 5))
    assert refused(full, "trust", policy, hours=1).startswith("trust_spent: 2 promises in 30 days")
    made = does(replace(owing(), granted=(NOW - month, NOW - 5)), "trust", policy=policy, hours=1)
    assert made.sub.granted == (NOW - 5, NOW)
    assert does(full, "trust", hours=1).sub.granted == ()


@pytest.mark.parametrize(("ms", "ok"), [(0, True), (1, False)])
def test_the_longest_promise_to_the_millisecond(ms: int, ok: bool) -> None:
    until: dict[str, Any] = {"until": at(NOW + 168 * HOUR + ms)}
    assert (does(owing(), "trust", **until).status == "applied") if ok else refused(owing(), "trust", **until)


@pytest.mark.parametrize("ms", [0, -1, -DAY])
def test_a_promise_into_the_past(ms: int) -> None:
    assert refused(owing(), "trust", until=at(NOW + ms)) == f"malformed: until: {at(NOW + ms)} has passed"


def test_the_same_promise_with_other_invoices_is_another() -> None:
    running = does(owing("A", "B"), "trust", invoices=["A"], hours=2)
    again = does(running.sub, "trust", facts=running.facts, invoices=["A"], hours=2)
    assert (again.status, again.until, again.facts) == ("unchanged", NOW + 2 * HOUR, {})
    other = does(running.sub, "trust", facts=running.facts, invoices=["B"], hours=2)
    assert (other.status, [e["outcome"] for e in other.events]) == ("applied", ["replaced"])
    assert refused(running.sub, "trust", facts=running.facts, invoices=["A"], hours=3) == (
        "trust_spent: the promise for invoice A is used up"
    )


def test_what_joins_a_promise_for_all_is_spent() -> None:
    sub = replace(owing("A"), promise=Promise("promise", NOW, NOW + HOUR))
    assert promise.spent_later(sub, "debt", {"A": Fact(True, 0)}, NOW) == {"A": Fact(True, 1)}
    assert promise.spent_later(sub, "debt", {"A": Fact(False, 2)}, NOW) == {}
    assert promise.spent_later(sub, "debt", {}, NOW + HOUR) == {}
    assert promise.spent_later(replace(sub, promise=Promise("promise", NOW, NOW + HOUR, ("A",))), "debt", {}, NOW) == {}


def test_a_promise_that_ran_out_is_no_promise_to_revoke() -> None:
    sub = replace(owing(), promise=Promise("promise", NOW - HOUR, NOW))
    assert does(sub, "untrust").status == "unchanged"
    assert does(sub, "untrust", NOW - 1).sub.promise is None


# -- effect (§1) -----------------------------------------------------------------------------------------------------

SOONER, LATER = Reason(1, 1, 1, deadline=NOW + 7), Reason(3, 1, 1, deadline=NOW + 9)
LIFTED = Promise("", 1, NOW + 3, ("A",))
PARTIAL = Reason(2, NOW, NOW, (Invoice("P"),), rate=512)
ENTRIES: dict[str, tuple[Subscriber, Entry, int]] = {
    "open": (Subscriber("C-1"), Entry(), 0),
    "walled": (owing(), Entry(3), 0),
    "walled until a deadline": (owing(deadline=NOW + 9), Entry(3), NOW + 9),
    "the earlier deadline": (
        Subscriber("C-1", reasons={"debt": LATER, "notice": SOONER}),
        Entry(3), NOW + 7,
    ),
    "the earlier deadline, other order": (
        Subscriber("C-1", reasons={"notice": SOONER, "debt": LATER}),
        Entry(3), NOW + 7,
    ),
    "pending": (replace(owing(), reasons={"debt": Reason(3, 1, NOW + 5, pending=True)}), Entry(), NOW + 5),
    "pending, its deadline does not count yet": (
        replace(owing(), reasons={"debt": Reason(3, 1, NOW + 5, pending=True, deadline=NOW + 2)}), Entry(), NOW + 5,
    ),
    "reduced": (Subscriber("C-1", reasons={"debt_partial": PARTIAL}), Entry(2, 512), 0),
    "reduced, the gateway's rate": (owing(name="debt_partial", level=2), Entry(2, 1024), 0),
    "a promise that leaves it reduced": (
        replace(owing(), reasons=owing("A").reasons | {"debt_partial": PARTIAL}, promise=LIFTED),
        Entry(3, 512, 2, NOW + 3), NOW + 3,
    ),
    "a promise on nothing of it": (replace(owing("A"), promise=Promise("", 1, NOW + 3, ("B",))), Entry(3), NOW + 3),
    "what waits hides nothing": (
        Subscriber("C-1", reasons={"notice": Reason(1, 1, NOW + 5, pending=True), "operator": Reason(3, 1, 1)}),
        Entry(3), NOW + 5,
    ),
    "a promise on all of it needs no rate": (
        Subscriber("C-1", reasons={"debt": Reason(3, 1, 1), "debt_partial": PARTIAL}, promise=Promise("", 1, NOW + 3)),
        Entry(3, 0, 0, NOW + 3), NOW + 3,
    ),
    "notice seen": (replace(owing(name="notice", level=1), notified=NOW + 4), Entry(1, notified=NOW + 4), NOW + 4),
    "notice seen and over": (replace(owing(name="notice", level=1), notified=NOW), Entry(1), 0),
    "a seen notice does not count when walled": (replace(owing(), notified=NOW + 4), Entry(3), NOW + 4),
    "a deferral that leaves it reduced": (
        replace(owing("A"), deferrals={"agreement": Deferral(1, NOW + 6, (), 2)}), Entry(2, 1024), NOW + 6,
    ),
}  # fmt: skip


@pytest.mark.parametrize("row", ENTRIES)
def test_entry_and_next_moment(row: str) -> None:
    sub, entry, moment = ENTRIES[row]
    assert effect.entry(sub, NOW, FREE) == entry
    assert effect.next_moment(sub, NOW) == moment
    settled = effect.settle(sub, NOW)
    assert effect.judge(sub, NOW, FREE) == (settled, entry, moment)
    assert effect.judge(settled, NOW + 1, FREE)[0].since == settled.since
    told, promise = visitor.standing(sub, {}, NOW, FREE), effect.levels(sub, NOW)
    assert told.until_ms == (sub.promise.until if sub.promise and promise[1] < promise[0] else 0)
    assert visitor.standing(sub, {}, NOW, FREE).level == effect.level(sub, NOW) == settled.level


# -- the brake (§5) --------------------------------------------------------------------------------------------------

BRAKES: dict[str, tuple[int, int, bool]] = {
    "few": (50, 60, False),
    "above 50 the share is judged": (51, 60, True),
    "exactly the share": (60, 300, False),
    "beyond the share": (61, 300, True),
    "exactly the most": (500, 10_000, False),
    "beyond the most": (501, 10_000, True),
}


@pytest.mark.parametrize("row", BRAKES)
def test_brake(row: str) -> None:
    recent, known, closed = BRAKES[row]
    said = brake.Limits(enabled=True).passed(recent, known)
    assert bool(said) == closed
    assert brake.Limits().passed(recent, known) == ""
    if recent > 500:
        assert said == "more than 500 new restrictions in 60 s (brake.max_new_restrictions)"
    elif closed:
        assert said == f"more than 20% of {known} known subscribers newly restricted (brake.max_share)"


REMINDED = {"notice": Reason(1, 1, 1)}
WAITING = {"operator": Reason(3, 1, NOW + 5, pending=True)}
NEW: dict[str, tuple[Subscriber | None, Subscriber, bool]] = {
    "nobody knew him": (None, owing(level=3), True),
    "nothing was against him": (Subscriber("C-1"), owing(level=2), True),
    "what waits is counted when it comes": (Subscriber("C-1"), owing(level=3, pending=True), True),
    "not again by waiting": (owing(level=3, pending=True), owing(level=3, pending=True, ref="x"), False),
    "he browsed, and is cut": (owing(level=3, pending=True), owing(level=3), True),
    "a reminder is nothing": (Subscriber("C-1"), owing(level=1, name="notice"), False),
    "nor was it before": (owing(level=1, name="notice"), owing(level=2), True),
    "he was cut": (owing(level=3), owing(level=4), False),
    "he was slow": (owing(level=2), owing(level=3), False),
    "he browsed, and is slow": (owing(level=2, pending=True), owing(level=2), True),
    "he was reminded, and is slow": (
        replace(owing(level=2, pending=True), reasons=owing(level=2, pending=True).reasons | REMINDED),
        replace(owing(level=2), reasons=owing(level=2).reasons | REMINDED), True,
    ),
    "he is slow, and something waits": (
        owing(level=2), replace(owing(level=2), reasons=owing(level=2).reasons | WAITING), False,
    ),
    "he is reminded of what waits": (
        owing(pending=True), replace(owing(pending=True), reasons=owing(pending=True).reasons | REMINDED), False,
    ),
}  # fmt: skip


def test_what_the_brake_says_of_its_window() -> None:
    assert "than 9 new restrictions in 999 s" in brake.Limits(enabled=True, most=9, window=999_000).passed(10, 0)


@pytest.mark.parametrize("row", NEW)
def test_what_counts_as_a_new_restriction(row: str) -> None:
    before, after, new = NEW[row]
    assert brake.counts(before, after, NOW) == new


def test_a_pause_that_ends_in_the_past_is_over() -> None:
    fields: dict[str, Any] = {"reason": "pause", "deadline": at(NOW)}
    assert does(Subscriber("C-1"), "block", **fields).status == "unchanged"
    made = does(owing(name="pause", level=3, deadline=NOW + 5), "block", **fields)
    assert (made.status, made.sub.reasons) == ("applied", {})
    assert [e["event"] for e in made.events] == ["pause.ended"]


# -- the models' defaults are the contract's --------------------------------------------------------------------------


def test_the_defaults() -> None:
    """§2, §3, §4: sane defaults."""
    p = Policy()
    assert (p.trust_max_hours, p.trust_per_invoice, p.trust_per_30_days, p.min_days_overdue) == (168, 1, 0, 4)
    assert (p.notice_days, p.require_notice, p.reduced_rate_kbit, p.notice_repeat_hours) == (15, False, 1024, 24)
    assert (p.guard_reblock, p.preventive_days, p.debt_days, p.clock_trusted) == (True, 30, 60, True)
    fresh = Subscriber("C-1")
    assert (fresh.rev, fresh.breached, fresh.notified, fresh.level, fresh.since) == (-1, False, 0, 0, 0)
    reason = Reason(1, 2, 3)
    assert (reason.rate, reason.deadline, reason.notified_at, reason.pending) == (0, 0, 0, False)
    assert (reason.earliest, reason.override, Deferral(1, 2).up_to, Fact()) == (0, False, 0, (False, 0))
    assert brake.Limits() == (False, 500, 60_000, 0.2)
    assert Moratorium(1, 2).release is False
    assert Outage("a", 1).eta == 0
    assert d.Decision(fresh).until == 0


def test_moments() -> None:
    assert rfc3339(0) == "1970-01-01T00:00:00Z"
    assert rfc3339(999) == "1970-01-01T00:00:00.999Z"
    assert rfc3339(1001) == "1970-01-01T00:00:01.001Z"
    assert milliseconds(dt.datetime(1970, 1, 1, 0, 0, 1, 1600, tzinfo=dt.UTC)) == 1002


VALUES = [Reason(1, 2, 3), Deferral(1, 2), Promise("p", 1, 2), Subscriber("C-1"), Moratorium(1, 2), Outage("a", 1)]
MORE = [Fact(), Invoice("A"), Holidays((), "1"), Regions(), Policy(), d.View(None), d.Decision(Subscriber("C-1"))]


@pytest.mark.parametrize("value", [*VALUES, *MORE])
def test_values_do_not_change(value: Any) -> None:
    name = next(iter(getattr(value, "__struct_fields__", ("settled",))))
    with pytest.raises(AttributeError):
        setattr(value, name, 9)


@pytest.mark.parametrize("value", VALUES)
def test_what_is_as_always_takes_no_room_in_the_store(value: msgspec.Struct) -> None:
    needed = [f.name for f in msgspec.structs.fields(value) if f.required]
    assert list(msgspec.to_builtins(value)) == needed
