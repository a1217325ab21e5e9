"""The edges of deferrals, promises and what a debt grows by: who waits, until when, and what is felt meanwhile."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from edged.domain import decide as d
from edged.domain import deferral, effect, growth, promise
from edged.domain.model import WHOLE, Deferral, Fact, Invoice, Policy, Reason, Subscriber, Waiting
from edged.domain.region import LOOK_MS, Moratorium, Outage, Regions
from tests.unit.test_decide_edges import NOBODY, also, deferred, promised, told
from tests.unit.test_domain_rules import CUT, DAY, FREE, HOUR, MONDAY, NOW, THURSDAY, at, does, owing, refused

HELD = Policy(regions=Regions(moratoria={"north": Moratorium(1, NOW + 9 * DAY)}))
OUT = Policy(regions=Regions(outages={"o": Outage("north", 1)}))


# -- deferrals (§1, §5) ------------------------------------------------------------------------------------------------


def test_which_deferrals_a_command_takes_back() -> None:
    sub = owing("A")
    for kind in ("agreement", "dispute", "hardship", "moratorium", "onset"):
        sub = deferred(sub, kind)
    made = does(sub, "undefer")
    assert made.sub.deferrals.keys() == {"moratorium", "onset"}
    assert told(made) == [f"defer.ended {k} released" for k in ("agreement", "dispute", "hardship")]
    assert (made.status, made.until, made.why) == ("applied", 0, "")
    assert does(made.sub, "undefer").status == "unchanged"
    one = does(sub, "undefer", kind="dispute")
    assert one.sub.deferrals.keys() == sub.deferrals.keys() - {"dispute"}


@pytest.mark.parametrize(("policy", "until", "why"), [
    (HELD, NOW + 9 * DAY, "moratorium"), (OUT, NOW + LOOK_MS, "outage"), (FREE, 0, ""),
    (Policy(clock_trusted=False), NOW + 60_000, "clock"),
])  # fmt: skip
def test_the_end_of_a_deferral_is_an_onset(policy: Policy, until: int, why: str) -> None:
    """Law 3: held at what was felt; who felt all of it before is not held."""
    for up_to in (0, 1, 2):
        sub = deferred(owing("A"), "agreement", NOW + DAY, up_to=up_to)
        made = does(sub, "undefer", policy=policy)
        assert (made.status, made.until, made.why) == (("deferred", until, why) if why else ("applied", 0, ""))
        assert effect.level(made.sub, NOW) == (up_to if why else 3)
        assert made.sub.deferrals == ({"onset": Deferral(NOW, until, up_to=up_to)} if why else {})
        ended, events = d.expire(deferred(owing("A"), "agreement", NOW, up_to=up_to), NOW, policy)
        assert (ended.level, [e["outcome"] for e in events]) == (up_to if why else 3, ["expired"])
    for none in (deferred(owing("A"), "agreement", NOW + DAY, up_to=3), deferred(NOBODY, "agreement", NOW + DAY)):
        made = does(none, "undefer", policy=policy)
        assert (made.status, made.sub.deferrals) == ("applied", {})


def test_what_is_held_longer_already_stays_so() -> None:
    for before, after in ((NOW + 20 * DAY, NOW + 20 * DAY), (NOW + DAY, NOW + 9 * DAY)):
        sub = deferred(deferred(owing("A"), "agreement", NOW + DAY), "onset", before, up_to=2)
        made = does(sub, "undefer", policy=HELD)
        assert made.sub.deferrals == {"onset": Deferral(NOW, after, up_to=0)}
        assert made.until == after


def test_a_deferral_that_is_widened_or_lengthened_waits_for_nothing() -> None:
    sub = deferred(owing("A", "B"), "agreement", NOW + DAY, "A", up_to=2)
    for fields in (
        {"invoices": ["A", "B"]},
        {"up_to": "notice", "invoices": ["A"]},
        {"up_to": "reduced", "invoices": ["A"]},
    ):
        made = does(sub, "defer", policy=HELD, kind="agreement", until=at(NOW + 2 * DAY), **fields)
        assert (made.status, made.why, made.until) == ("applied", "", NOW + 2 * DAY)
        assert made.sub.deferrals.keys() == {"agreement"}
        assert made.sub.deferrals["agreement"].since == NOW - HOUR


HOLDS: dict[str, tuple[Policy, int, int]] = {  # what holds, until when it was held, until when it is
    "nothing": (FREE, NOW + DAY, 0),
    "as long": (HELD, NOW + 9 * DAY, NOW + 9 * DAY),
    "longer": (HELD, NOW + DAY, NOW + 9 * DAY),
    "less long": (HELD, NOW + 20 * DAY, NOW + 9 * DAY),
}


@pytest.mark.parametrize("row", HOLDS)
def test_what_an_onset_holds_is_asked_again(row: str) -> None:
    policy, before, after = HOLDS[row]
    sub = deferred(owing("A"), "onset", before, up_to=1)
    found = deferral.judged(sub, NOW, policy)
    assert found.deferrals == ({"onset": replace(sub.deferrals["onset"], until=after)} if after else {})
    assert d.reconsider(sub, NOW, policy)[0].deferrals == found.deferrals
    assert d.reconsider(sub, NOW, policy)[1] == ()
    assert deferral.judged(owing("A"), NOW, policy) == owing("A")


@pytest.mark.parametrize(("ms", "begins"), [(-1, False), (0, True), (1, True)])
def test_what_was_held_back_begins_at_its_moment(ms: int, begins: bool) -> None:
    due = deferred(owing("A"), "onset", NOW, up_to=1)
    after, events = d.expire(due, NOW + ms, FREE)
    assert (after.level, [e["kind"] for e in events]) == ((3, ["onset"]) if begins else (1, []))
    held, events = d.expire(due, NOW + ms, HELD)
    assert (held.level, events) == (1, ())
    assert held.deferrals["onset"].until == (NOW + 9 * DAY if begins else NOW)


def test_how_a_deferral_is_held_looks_away_from_promises() -> None:
    """Law 3: the promise may end before what holds the onset back."""
    sub = promised(deferred(owing("A"), "agreement", NOW + DAY, up_to=2))
    again: dict[str, Any] = {"kind": "agreement", "until": at(NOW + DAY), "invoices": ["B"]}
    for made in (does(sub, "undefer", policy=HELD), does(sub, "defer", policy=HELD, **again)):
        assert (made.status, made.why) == ("deferred", "moratorium")
        assert made.sub.deferrals["onset"].up_to == 2
    ended, _ = d.expire(promised(deferred(owing("A"), "agreement", NOW, up_to=2)), NOW, HELD)
    assert ended.deferrals["onset"].up_to == 2
    own = promised(deferred(owing("A", override=True), "agreement", NOW + DAY, up_to=2))
    for made in (does(own, "undefer", policy=HELD), does(own, "defer", policy=HELD, **again)):
        assert (made.status, made.why, "onset" in made.sub.deferrals) == ("applied", "", False)


REST: dict[str, tuple[Subscriber, bool]] = {
    "a debt": (owing("A"), True),
    "a reminder": (also(NOBODY, "notice"), True),
    "an order": (also(NOBODY, "operator"), False),
    "what waits": (owing("A", pending=True), False),
    "what was overridden": (owing("A", override=True), False),
    "nothing": (NOBODY, False),
    "one of two": (also(owing("A", override=True), "notice"), True),
    "another area": (replace(owing("A"), area="south"), False),
}


@pytest.mark.parametrize("row", REST)
def test_who_rests_under_a_moratorium_that_releases(row: str) -> None:
    sub, rests = REST[row]
    policy = Policy(
        regions=Regions(moratoria={"north": Moratorium(NOW - 5, NOW + DAY, release=True, ref="R", issuer="i")})
    )
    found = deferral.rest(sub, NOW, policy)
    assert found.deferrals == ({"moratorium": Deferral(NOW - 5, NOW + DAY, ref="R", issuer="i")} if rests else {})
    assert deferral.rest(found, NOW, policy) is found
    assert deferral.rest(found, NOW, FREE).deferrals == {}
    cut = replace(CUT, regions=Regions(moratoria={"north": Moratorium(NOW - 5, THURSDAY, release=True)}))
    assert not rests or deferral.rest(sub, NOW, cut).deferrals["moratorium"].until == MONDAY


@pytest.mark.parametrize(("before", "now", "after"), [
    (NOW + DAY, NOW, 0), (MONDAY + DAY, THURSDAY, MONDAY), (MONDAY - 1, THURSDAY, MONDAY - 1),
    (MONDAY, THURSDAY, MONDAY),
])  # fmt: skip
def test_whom_no_moratorium_releases_is_cut_when_the_calendar_allows(before: int, now: int, after: int) -> None:
    sub = deferred(owing("A"), "moratorium", before)
    kept = deferral.rest(sub, now, CUT).deferrals
    assert kept == ({"moratorium": Deferral(NOW - HOUR, after)} if after else {})
    _, events = d.reconsider(sub, now, CUT)
    assert [e["outcome"] for e in events] == ([] if after else ["expired"])


# -- promises (§2) -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spent", range(4))
@pytest.mark.parametrize("most", range(4))
def test_how_often_an_invoice_may_be_promised(spent: int, most: int) -> None:
    policy = Policy(trust_per_invoice=most)
    for facts in ({"A": Fact(spent=spent)}, {"A": Fact(spent=spent), "B": Fact(spent=9)}):
        if spent < most:
            assert does(owing("A"), "trust", policy=policy, facts=facts, hours=1).facts == {"A": Fact(spent=spent + 1)}
        else:
            said = refused(owing("A"), "trust", policy, facts=facts, hours=1)
            assert said == "trust_spent: the promise for invoice A is used up"
    if spent:
        whole = {"B": Fact(spent=spent), "C": Fact(settled=True, spent=9)}
        assert promise.used_up(WHOLE, whole, policy) == (spent >= most)
    assert promise.used_up("B", {"A": Fact(spent=9)}, policy) == (most == 0)


def test_without_a_promise_allowed_none_is_given() -> None:
    none = Policy(trust_per_invoice=0)
    assert refused(owing("A"), "trust", none, hours=1).startswith("trust_spent: the promise for invoice A")
    assert refused(owing(), "trust", none, hours=1).startswith("trust_spent: the promise for the debt")


@pytest.mark.parametrize("given", range(4))
@pytest.mark.parametrize("most", range(3))
def test_how_often_in_thirty_days(given: int, most: int) -> None:
    times = tuple(NOW - n * DAY for n in range(given))
    sub = replace(owing("A"), granted=(NOW - 40 * DAY, NOW - 30 * DAY, *times))
    assert promise.recent(sub, NOW) == given
    policy = Policy(trust_per_30_days=most)
    if most and given >= most:
        assert refused(sub, "trust", policy, hours=1).startswith(f"trust_spent: {most} promises in 30 days")
    else:
        assert does(sub, "trust", policy=policy, hours=1).sub.granted == ((*times, NOW) if most else ())


@pytest.mark.parametrize(("sub", "paid", "outcome"), [
    (promised(owing("A", "B"), "A"), ["A"], "fulfilled"),
    (promised(owing("A", "B"), "A"), ["B"], None),
    (promised(owing("A", "B", "C"), "A", "B"), ["A"], None),
    (promised(also(owing("A"), "notice", "N"), owed=("A",)), ["A"], "fulfilled"),
    (promised(also(owing("A"), "notice", "N"), owed=("A",)), ["N"], None),
    (promised(also(owing("A"), "notice", "N")), ["A"], None),
    (promised(also(owing("A"), "notice", "N"), owed=("A",), over="released"), ["A"], "released"),
])  # fmt: skip
def test_when_a_promise_is_kept(sub: Subscriber, paid: list[str], outcome: str | None) -> None:
    """Law 5: all that was owed when it was given; a mere reminder is nothing to lift."""
    made = does(sub, "paid", invoices=paid)
    assert made.sub.promise == (None if outcome else sub.promise)
    assert told(made) == ([f"trust.ended {outcome}"] if outcome else [])


@pytest.mark.parametrize(("level", "ends"), [(1, True), (2, False), (3, False)])
def test_a_promise_that_lifts_another_debt_runs_on(level: int, ends: bool) -> None:
    other = owing("P", name="debt_partial", level=level).reasons
    sub = promised(replace(owing("A"), reasons=owing("A").reasons | other), owed=("A",))
    for op, fields, outcome in (
        ("paid", {"invoices": ["A"]}, "fulfilled"),
        ("unblock", {"reason": "debt"}, "released"),
    ):
        made = does(sub, op, **fields)
        assert sub.promise is not None
        assert made.sub.promise == (None if ends else replace(sub.promise, over=outcome))
        again = does(made.sub, "paid", invoices=["A"], facts=made.facts)
        assert ends or (again.sub.promise == made.sub.promise)  # the first word on it stands


def test_due_dates_of_what_is_owed_come_before_those_of_the_command() -> None:
    sub = replace(NOBODY, reasons={"debt": Reason(3, 1, 1, (Invoice("A", "2026-11-01"), Invoice("B")))})
    young = {"due": "2026-11-17"}
    assert does(sub, "trust", hours=1, invoices=[{"id": "A", **young}]).status == "applied"
    assert "1 days overdue" in refused(sub, "trust", hours=1, invoices=[{"id": "B", **young}])
    assert does(sub, "trust", hours=1, invoices=[{"id": "A", **young}, {"id": "B", **young}]).status == "applied"


@pytest.mark.parametrize(("ms", "running"), [(-1, False), (0, False), (1, True)])
def test_a_promise_that_runs_is_replaced_and_one_that_is_over_is_not(ms: int, running: bool) -> None:
    sub = promised(also(NOBODY, "notice", "A"), until=NOW + ms, over="released")
    made = does(sub, "trust", hours=1)
    assert told(made) == (["trust.ended replaced"] if running else ["trust.ended released"])
    assert does(sub, "untrust").status == ("applied" if running else "unchanged")


@pytest.mark.parametrize("hours", [1, 2, 3])
@pytest.mark.parametrize("named", [[], ["A"], ["B"], ["C"], ["A", "B"], ["B", "A"]])
def test_the_same_promise_again_is_to_the_same_moment_and_on_the_same_invoices(hours: int, named: list[str]) -> None:
    sub = promised(owing("A", "B", "C"), "B", until=NOW + 2 * HOUR)
    made = does(sub, "trust", hours=hours, invoices=named)
    same = hours == 2 and named == ["B"]
    assert (made.status, told(made)) == (("unchanged", []) if same else ("applied", ["trust.ended replaced"]))
    assert made.until == NOW + hours * HOUR
    assert made.sub.promise is not None
    assert made.sub.promise.invoices == tuple(named)


def test_a_promise_that_waits_for_a_debt_asks_what_else_restricts() -> None:
    pending = owing("A", pending=True, earliest=NOW + DAY)
    assert does(pending, "trust", hours=1).status == "applied"
    assert does(also(pending, "operator", pending=True, earliest=NOW + DAY), "trust", hours=1).status == "applied"
    said = refused(also(pending, "operator"), "trust", hours=1)
    assert said == "trust_not_applicable: operator is in force, which no promise lifts"
    assert refused(NOBODY, "trust", hours=1) == "trust_not_applicable: no debt reason is in force or pending"


@pytest.mark.parametrize(
    ("hours", "most", "given"), [(24, 24, True), (24.001, 24, False), (1, 1, True), (1.1, 1, False)]
)
def test_a_promise_is_as_long_as_it_may_be(hours: float, most: int, given: bool) -> None:
    policy = Policy(trust_max_hours=most)
    if given:
        assert does(owing("A"), "trust", policy=policy, hours=hours).until == NOW + round(hours * HOUR)
    else:
        said = refused(owing("A"), "trust", policy, hours=hours)
        assert said == f"trust_too_long: until {at(NOW + round(hours * HOUR))} is more than {most} hours ahead"
    assert does(owing("A"), "trust", policy=policy).status == "applied"  # nobody said how long


# -- growth (§3) -------------------------------------------------------------------------------------------------------


def part(name: str, begins: int = NOW + HOUR, **more: Any) -> Waiting:
    return Waiting(name, begins, "not_before", begins, **more)


def test_what_is_behind_a_debt() -> None:
    assert growth.owed(Reason(3, 1, 1)) == [WHOLE]
    assert growth.owed(Reason(3, 1, 1, waits=(part(""),))) == [WHOLE]
    assert growth.owed(Reason(3, 1, 1, (Invoice("A"),), waits=(part("A"),))) == ["A"]
    assert growth.owed(Reason(3, 1, 1, (Invoice("A"),), waits=(part(WHOLE),))) == ["A", WHOLE]
    assert growth.owed(Reason(3, 1, 1, waits=(part(WHOLE),))) == [WHOLE]


def test_of_what_was_named_the_first_to_begin_is_told() -> None:
    reason = Reason(3, 1, 1, waits=(part("A", NOW + 3), part("B", NOW + 2), part(WHOLE, NOW + 4), part("", NOW + 5)))
    for named, begins in (("A", NOW + 3), ("B", NOW + 2), ("C", NOW + 5), ("", NOW + 4)):
        found = growth.soonest(reason, (Invoice(named),) if named else ())
        assert found is not None
        assert found.onset == begins
    assert growth.soonest(replace(reason, waits=(part("A"),)), ()) is None


@pytest.mark.parametrize(("ms", "begun"), [(-1, False), (0, True), (1, True)])
def test_what_waits_begins_at_its_moment(ms: int, begun: bool) -> None:
    sub = owing("A", "B", waits=(part("B"), part("", level=2)))
    after, events = d.expire(sub, NOW + HOUR + ms, FREE)
    assert after.reasons["debt"].waits == (() if begun else sub.reasons["debt"].waits)
    assert after.level == (3 if begun else 2)
    assert [e["event"] for e in events] == (["block.began"] if begun else [])
    one = owing("A", "B", waits=(part("B"), part("", NOW + 2 * HOUR, level=2)))
    after, events = d.expire(one, NOW + HOUR + ms, FREE)
    assert [w.id for w in after.reasons["debt"].waits] == ([""] if begun else ["B", ""])
    assert len(events) == begun


def test_the_rest_begun_is_the_whole_and_a_level_waits_on() -> None:
    sub = owing("A", waits=(part(WHOLE), part("B", NOW + 9 * HOUR), part("", NOW + 9 * HOUR, level=1)))
    after, _ = d.expire(sub, NOW + HOUR, FREE)
    assert after.reasons["debt"].invoices == ()
    assert after.reasons["debt"].waits == (part("", NOW + 9 * HOUR, level=1),)


@pytest.mark.parametrize(("policy", "kept"), [(FREE, NOW + HOUR), (HELD, NOW + 9 * DAY)])
def test_what_waits_is_held_where_its_area_is(policy: Policy, kept: int) -> None:
    """Law 5 of growth."""
    sub = owing("A", "B", waits=(part("B"),))
    found = growth.due(sub.reasons["debt"], "north", NOW, policy, every=True)
    assert [w.onset for w in found.waits] == [kept]
    assert found.waits[0].why == ("not_before" if policy is FREE else "moratorium")
    own = replace(sub.reasons["debt"], waits=(part("B", override=True),))
    assert growth.due(own, "north", NOW + HOUR, policy).waits == ()
    assert growth.due(sub.reasons["debt"], "north", NOW, policy) == sub.reasons["debt"]


@pytest.mark.parametrize(("left", "waits", "stays"), [
    ((), ("B",), None), ((), (WHOLE, "B", ""), (WHOLE, "")), (("A",), ("B", "A"), ("A",)), (("A",), ("", "B"), ("",)),
    (("A",), (), ()), ((), (), None),
])  # fmt: skip
def test_what_is_left_of_a_debt_that_was_paid(
    left: tuple[str, ...], waits: tuple[str, ...], stays: tuple[str, ...] | None
) -> None:
    reason = Reason(3, 1, 1, (Invoice("A"), Invoice("B")), waits=tuple(part(w) for w in waits))
    found = growth.without(reason, tuple(Invoice(i) for i in left))
    if stays is None:
        assert found is None
    else:
        assert found is not None
        assert ([i.id for i in found.invoices], [w.id for w in found.waits]) == ([*left], [*stays])


def test_a_level_rises_by_the_terms_of_the_block_that_asks_for_it() -> None:
    """Law 2 of growth; law 7 of onset."""
    slow = owing("A", level=2, rate=64, notified_at=NOW - DAY)
    for notified, begins in ((0, NOW + 14 * DAY), (NOW, NOW + 15 * DAY), (NOW - 15 * DAY, 0)):
        fields: dict[str, Any] = {"notified_at": at(notified)} if notified else {}
        made = does(slow, "block", reason="debt", invoices=["A"], **fields)
        (waits,) = made.sub.reasons["debt"].waits or (None,)
        assert (waits.onset if waits else 0) == begins
        if waits:
            assert (waits.id, waits.level, waits.rate, waits.override) == ("", 2, 64, False)
            assert (made.status, made.until, made.why) == ("deferred", begins, "notice_days")
            assert effect.level(made.sub, NOW) == 2
            again = does(made.sub, "block", reason="debt", invoices=["A"], level="reduced")
            assert again.sub.reasons["debt"].waits == ()
            higher = does(made.sub, "block", reason="debt", invoices=["A"], not_before=at(NOW + 30 * DAY))
            assert [(w.level, w.rate, w.onset) for w in higher.sub.reasons["debt"].waits] == [(2, 64, NOW + 30 * DAY)]


@pytest.mark.parametrize(("had", "named", "waiting"), [
    (("A",), ("A",), ()), (("A",), ("B",), ("B",)), (("A",), ("A", "B"), ("B",)), (("A", "B"), ("A",), ()),
    (("A",), (), (WHOLE,)), ((), ("A",), ()), ((), (), ()),
])  # fmt: skip
def test_which_of_what_is_named_waits(had: tuple[str, ...], named: tuple[str, ...], waiting: tuple[str, ...]) -> None:
    """Laws 1, 2 and 4 of growth."""
    made = does(owing(*had), "block", reason="debt", invoices=[*named], not_before=at(NOW + HOUR))
    reason = made.sub.reasons["debt"]
    assert tuple(w.id for w in reason.waits) == waiting
    assert {w.notified_at for w in reason.waits} <= {0}
    assert tuple(i.id for i in reason.invoices) == (had if waiting == (WHOLE,) else named)
    assert (made.status, made.until) == (("deferred", NOW + HOUR) if waiting else ("applied", 0))
    free = does(owing(*had), "block", reason="debt", invoices=[*named])
    assert (free.sub.reasons["debt"].waits, free.status) == ((), "applied")
    assert tuple(i.id for i in free.sub.reasons["debt"].invoices) == named
