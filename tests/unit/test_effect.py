"""The laws of ``effect``, each with its neighbours: a millisecond, a level, a waiver more or less."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from msgspec.structs import replace

from edged.domain import audit, effect
from edged.domain.entry import Entry
from edged.domain.levels import Level
from edged.domain.model import DEBT, REASONS, WHOLE, Deferral, Invoice, Policy, Promise, Reason, Subscriber, Waiting

NOW = 1_790_000_000_000
FREE = Policy()
LEVEL = ""


def owing(*invoices: str, level: int = 3, name: str = "debt", **more: Any) -> Subscriber:
    reason = Reason(level, 1, 1, tuple(Invoice(i) for i in invoices), **more)
    return Subscriber("C-1", reasons={name: reason})


def both(sub: Subscriber, now: int = NOW) -> tuple[int, int]:
    """Without the promise and with it, said the same everywhere."""
    base, lifted = effect.levels(sub, now)
    (name,) = sub.reasons
    reason = sub.reasons[name]
    assert effect.level(sub, now) == lifted
    assert effect.waives(sub, name, reason, now) == (lifted < base)
    assert effect.strongest(sub, now) == (name if lifted else "")
    owed = (effect.owed(sub, now, promised=False), effect.owed(sub, now))
    assert owed == ((base, lifted) if name in DEBT else (0, 0))
    settled, entry, _ = effect.judge(sub, now, FREE)
    assert (settled.level, entry.level) == (lifted, base)
    assert settled.since == (now if lifted else 0)
    return base, lifted


def waits(ident: str, onset: int = NOW + 5, **more: Any) -> Waiting:
    return Waiting(ident, onset, "notice_days", onset, **more)


# -- waivers (laws 3 and 4) --------------------------------------------------------------------------------------------

ENDS: dict[str, tuple[int, int]] = {"before": (-1, 3), "then": (0, 3), "after": (1, 0)}


@pytest.mark.parametrize("row", ENDS)
def test_a_waiver_holds_until_its_end_that_millisecond_excluded(row: str) -> None:
    ms, level = ENDS[row]
    assert both(replace(owing(), promise=Promise("promise", 1, NOW + ms))) == (3, level)
    assert both(replace(owing(), deferrals={"dispute": Deferral(1, NOW + ms)})) == (level, level)


@pytest.mark.parametrize("kind", ["agreement", "dispute", "hardship", "moratorium", "onset"])
def test_an_override_passes_what_holds_areas_back_and_no_agreement(kind: str) -> None:
    held = {kind: Deferral(1, NOW + 1)}
    own = kind in {"moratorium", "onset"}
    assert both(replace(owing(), deferrals=held)) == (0, 0)
    assert both(replace(owing(override=True), deferrals=held)) == ((3, 3) if own else (0, 0))


@pytest.mark.parametrize("name", REASONS)
def test_waivers_lift_debts_alone(name: str) -> None:
    sub = owing(name=name, level=int(REASONS[name]))
    promised = replace(sub, promise=Promise("promise", 1, NOW + 1))
    deferred = replace(sub, deferrals={"hardship": Deferral(1, NOW + 1)})
    level = int(REASONS[name])
    assert both(sub) == (level, level)
    assert both(promised) == (level, 0 if name in DEBT else level)
    assert both(deferred) == ((0, 0) if name in DEBT else (level, level))


@pytest.mark.parametrize(("up_to", "level"), [*itertools.product(range(4), range(1, 4))])
def test_a_deferral_lifts_no_further_than_it_says_and_never_raises(up_to: int, level: int) -> None:
    felt = min(up_to, level)
    assert both(replace(owing(level=level), deferrals={"dispute": Deferral(1, NOW + 1, (), up_to)})) == (felt, felt)


@pytest.mark.parametrize(("first", "second"), [*itertools.product(range(3), range(3))])
def test_of_two_deferrals_on_one_invoice_the_milder_is_felt(first: int, second: int) -> None:
    given = {"dispute": Deferral(1, NOW + 1, ("A",), first), "agreement": Deferral(1, NOW + 1, (), second)}
    assert both(replace(owing("A"), deferrals=given)) == (min(first, second),) * 2
    assert both(replace(owing("A", "B"), deferrals=given)) == (second, second)


COVERED: dict[str, tuple[tuple[str, ...], tuple[str, ...], int]] = {  # what is owed, what is promised, what is felt
    "all by name": (("A", "B"), ("A", "B"), 0),
    "one of two": (("A", "B"), ("B",), 3),
    "more than is owed": (("A",), ("A", "B"), 0),
    "another": (("A",), ("B",), 3),
    "everything": (("A", "B"), (), 0),
    "everything of a debt without names": ((), (), 0),
    "a name of a debt without names": ((), ("A",), 3),
    "the debt without names, by its sign": ((), (WHOLE,), 0),
}


@pytest.mark.parametrize("row", COVERED)
def test_what_no_waiver_covers_is_felt_in_full(row: str) -> None:
    owed, named, level = COVERED[row]
    assert both(replace(owing(*owed), promise=Promise("promise", 1, NOW + 1, named))) == (3, level)
    assert both(replace(owing(*owed), deferrals={"dispute": Deferral(1, NOW + 1, named)})) == (level, level)


# -- what has not begun (law 4, growth) --------------------------------------------------------------------------------

WAITING: dict[str, tuple[tuple[str, ...], tuple[Waiting, ...], int]] = {  # invoices, what of them waits, what is felt
    "one of two": (("A", "B"), (waits("B"),), 3),
    "both": (("A", "B"), (waits("A"), waits("B")), 0),
    "the rest, beside one": (("A",), (waits(WHOLE),), 3),
    "the rest alone": ((), (waits(WHOLE),), 0),
    "the higher level": (("A",), (waits(LEVEL, level=1),), 1),
    "the higher level of a debt without names": ((), (waits(LEVEL, level=2),), 2),
    "level and one": (("A", "B"), (waits("B"), waits(LEVEL, level=1)), 1),
    "level and all": (("A",), (waits("A"), waits(LEVEL, level=1)), 0),
}


@pytest.mark.parametrize("row", WAITING)
def test_what_waits_is_not_felt(row: str) -> None:
    owed, waiting, level = WAITING[row]
    sub = owing(*owed, waits=waiting)
    assert both(sub) == (level, level)
    assert effect.begun(sub.reasons["debt"]) == level
    assert effect.begun(replace(sub.reasons["debt"], pending=True)) == 0
    assert effect.next_moment(sub, NOW) == NOW + 5
    some = replace(sub, promise=Promise("promise", 1, NOW + 9, ("A",)))
    assert both(some)[0] == level
    assert effect.next_moment(some, NOW) == NOW + 5


def test_a_promise_on_what_has_begun_lifts_it_beside_what_waits() -> None:
    sub = replace(owing("A", "B", waits=(waits("B"),)), promise=Promise("promise", 1, NOW + 1, ("A",)))
    assert both(sub) == (3, 0)
    assert both(replace(sub, promise=Promise("promise", 1, NOW + 1, ("B",)))) == (3, 3)


def test_what_has_begun_has_no_other_level_than_its_own() -> None:
    assert effect.begun(Reason(3, 1, 1)) == 3
    assert effect.begun(Reason(3, 1, 1, pending=True)) == 0
    assert effect.active(owing(pending=True)) == {}
    assert effect.strongest(owing(pending=True), NOW) == ""


# -- rates -------------------------------------------------------------------------------------------------------------

RATES: dict[str, tuple[Reason, int]] = {
    "its own": (Reason(2, 1, 1, rate=512), 512),
    "the gateway's": (Reason(2, 1, 1), 1024),
    "of a level that has none": (Reason(3, 1, 1, rate=512), 0),
    "nor below": (Reason(1, 1, 1, rate=512), 0),
    "pending, and reduces then": (Reason(2, 1, 1, rate=512, pending=True), 512),
    "pending, and walls then": (Reason(3, 1, 1, rate=512, pending=True), 0),
    "felt at its old level": (Reason(3, 1, 1, waits=(waits(LEVEL, level=2, rate=64),)), 64),
    "at its old level, the gateway's": (Reason(3, 1, 1, rate=64, waits=(waits(LEVEL, level=2),)), 1024),
    "an invoice that waits has none": (Reason(2, 1, 1, (Invoice("A"),), 512, waits=(waits("B", rate=64),)), 512),
    "will reduce, and reminds until then": (Reason(2, 1, 1, waits=(waits(LEVEL, level=1, rate=64),)), 0),
}


@pytest.mark.parametrize("row", RATES)
def test_the_rate_of_a_reason(row: str) -> None:
    reason, rate = RATES[row]
    assert effect.rate(reason, FREE) == rate


def test_the_slowest_rate_is_in_the_entry_of_whoever_is_reduced() -> None:
    slow, fast, wall = Reason(2, 1, 1, rate=64), Reason(2, 1, 1, rate=512), Reason(3, 1, 1)
    for first, second in ((slow, fast), (fast, slow)):
        sub = Subscriber("C-1", reasons={"debt_partial": first, "operator": second})
        assert effect.entry(sub, NOW, FREE) == Entry(2, 64)
        walled = replace(sub, reasons=sub.reasons | {"debt": wall})
        assert effect.entry(walled, NOW, FREE) == Entry(3)
        promised = replace(walled, promise=Promise("promise", 1, NOW + 1))
        left = first.rate or 0
        assert effect.entry(promised, NOW, FREE) == Entry(3, min(64, left) or 64, 2, NOW + 1)


def test_a_promise_that_lifts_nothing_is_nothing_to_the_kernel() -> None:
    for name, level in (("debt_partial", 2), ("notice", 1), ("debt", 3)):
        sub = replace(owing("A", level=level, name=name), notified=NOW + 9)
        other = replace(sub, promise=Promise("promise", 1, NOW + 1, ("B",)))
        assert effect.entry(other, NOW, FREE) == effect.entry(sub, NOW, FREE)
        assert effect.entry(other, NOW, FREE).until == 0
    low = owing("A", level=2, name="debt_partial")
    lifted = replace(low, promise=Promise("promise", 1, NOW + 1))
    assert effect.entry(lifted, NOW, FREE) == Entry(2, 1024, 0, NOW + 1)


# -- a notice that was seen --------------------------------------------------------------------------------------------

SEEN: dict[str, tuple[dict[str, Reason], Promise | None, int]] = {  # reasons, promise, whether it counts
    "a notice": ({"notice": Reason(1, 1, 1)}, None, 1),
    "walled": ({"debt": Reason(3, 1, 1)}, None, 0),
    "walled, and a promise leaves the notice": (
        {"debt": Reason(3, 1, 1, (Invoice("A"),)), "notice": Reason(1, 1, 1, (Invoice("N"),))},
        Promise("promise", 1, NOW + 9, ("A",)), 1,
    ),
    "a notice that a promise lifts": ({"notice": Reason(1, 1, 1)}, Promise("promise", 1, NOW + 9), 1),
    "nothing": ({}, None, 0),
}  # fmt: skip


@pytest.mark.parametrize("row", SEEN)
def test_a_seen_notice_counts_where_there_is_one(row: str) -> None:
    reasons, promise, counts = SEEN[row]
    sub = Subscriber("C-1", reasons=reasons, promise=promise)
    for ms, seen in ((-1, False), (0, False), (1, True)):
        entry = effect.entry(replace(sub, notified=NOW + ms), NOW, FREE)
        assert entry.notified == (NOW + ms if seen and counts else 0)
        assert effect.judge(replace(sub, notified=NOW + ms), NOW, FREE)[1] == entry


# -- the next moment (law 6) -------------------------------------------------------------------------------------------


def with_moments(promise: int, deadline: int, pending: int, part: int, deferral: int, seen: int) -> Subscriber:
    """A subscriber with one moment of each kind; 0: without."""
    reasons: dict[str, Reason] = {}
    if deadline:
        reasons["preventive"] = Reason(3, 1, 1, deadline=deadline)
    if pending:
        reasons["notice"] = Reason(1, 1, pending, pending=True, deadline=1)
    if part:
        reasons["debt"] = Reason(3, 1, 1, (Invoice("A"), Invoice("B")), waits=(waits("A", 9 * NOW), waits("B", part)))
    return Subscriber(
        "C-1",
        reasons=reasons,
        promise=Promise("promise", 1, promise) if promise else None,
        deferrals={"dispute": Deferral(1, 9 * NOW), "hardship": Deferral(1, deferral)} if deferral else {},
        notified=seen,
    )


@pytest.mark.parametrize("kind", range(6))
def test_the_next_moment_is_the_earliest_of_all(kind: int) -> None:
    for other in range(6):
        moments = [0] * 6
        moments[kind] = NOW + 2
        assert effect.next_moment(with_moments(*moments), NOW) == NOW + 2
        for ms in (1, 3):
            moments[other] = NOW + ms if other != kind else NOW + 2
            sub = with_moments(*moments)
            first = min(m for m in moments if m)
            assert effect.next_moment(sub, NOW) == first
            assert effect.judge(sub, NOW, FREE)[2] == first
    assert effect.next_moment(with_moments(*[0] * 6), NOW) == 0


def test_a_notice_seen_until_now_is_no_moment_to_come() -> None:
    assert effect.next_moment(Subscriber("C-1", notified=NOW), NOW) == 0
    assert effect.next_moment(Subscriber("C-1", notified=NOW + 1), NOW) == NOW + 1


# -- judge is settle, entry and next_moment ----------------------------------------------------------------------------


@pytest.mark.parametrize("had", range(5))
@pytest.mark.parametrize("level", Level)
def test_a_level_is_dated_when_it_changes_either_way(had: int, level: Level) -> None:
    reasons = {"operator": Reason(int(level), 1, 1)} if level else {}
    sub = Subscriber("C-1", reasons=reasons, level=had, since=7)
    assert effect.settle(sub, NOW) == effect.judge(sub, NOW, FREE)[0]
    settled = effect.settle(sub, NOW)
    assert (settled.level, settled.since) == (level, 7 if had == level else NOW)
    assert (settled is sub) == (had == level)
    assert effect.judge(sub, NOW, FREE)[1] == effect.entry(sub, NOW, FREE)


PLAINLY: dict[str, Subscriber] = {
    "nothing": Subscriber("C-1"),
    "one that waits": owing(pending=True),
    "two reasons, the weaker last": Subscriber("C-1", reasons={"debt": Reason(3, 1, 1), "notice": Reason(1, 1, 1)}),
    "two deadlines": Subscriber(
        "C-1", reasons={"debt": Reason(3, 1, 1, deadline=NOW + 3), "preventive": Reason(3, 1, 1, deadline=NOW + 2)}
    ),
    "one that waits behind one in force": Subscriber(
        "C-1", reasons={"fraud": Reason(3, 1, 1), "debt": Reason(3, 1, NOW + 1, pending=True)}
    ),
    "one that grows": owing("A", "B", waits=(waits("B"),)),
    "reduced": owing(level=2, name="debt_partial"),
    "a promise": replace(owing(), promise=Promise("promise", 1, NOW + 1)),
    "a deferral": replace(owing(), deferrals={"dispute": Deferral(1, NOW + 1)}),
    "a notice seen": replace(owing(name="notice", level=1), notified=NOW + 1),
}


@pytest.mark.parametrize("row", PLAINLY)
def test_judge_says_what_the_three_say(row: str) -> None:
    sub = PLAINLY[row]
    kept: Any = audit.told(1, NOW, "C-1", audit.content(audit.Decision(NOW, "block", after=sub)).decode())
    assert kept["after"]["level"] == effect.level(sub, NOW).word
    assert kept["after"]["reasons"].keys() == sub.reasons.keys()
    said = effect.judge(sub, NOW, FREE)
    assert said == (effect.settle(sub, NOW), effect.entry(sub, NOW, FREE), effect.next_moment(sub, NOW))
