"""What a page may be told (the laws of ``visitor``): each field, and what beside it must not change it."""

from __future__ import annotations

import random
from typing import Any

import pytest
from msgspec.structs import replace

from edged.domain import deferral, visitor
from edged.domain.decide import expire
from edged.domain.levels import Level
from edged.domain.model import (
    DEBT,
    RAISE,
    REASONS,
    Deferral,
    Fact,
    Invoice,
    Policy,
    Promise,
    Reason,
    Subscriber,
    Waiting,
)
from edged.domain.onset import DAY_MS as DAY
from edged.domain.region import Moratorium, Outage, Regions
from edged.domain.standing import NOBODY, Standing

NOW = 1_790_000_000_000
FREE = Policy()


def owing(name: str = "debt", **more: Any) -> Subscriber:
    reasons = {name: Reason(int(REASONS[name]), 1, 1, (Invoice("A"),), **more)}
    return Subscriber("C-1", area="north", reasons=reasons, since=7)


def told(sub: Subscriber, policy: Policy = FREE, facts: dict[str, Fact] | None = None, **more: bool) -> Standing:
    return visitor.standing(sub, facts or {}, NOW, policy, **more)


def promised(sub: Subscriber, ms: int = 5, *invoices: str) -> Subscriber:
    return replace(sub, promise=Promise("promise", 1, NOW + ms, invoices))


def test_nobody_is_told_nothing() -> None:
    assert told(Subscriber("C-1")) == NOBODY
    elsewhere = Policy(regions=Regions(outages={"o": Outage("south", 1, 9)}))
    assert told(Subscriber("C-1", area="north"), elsewhere) == NOBODY


def test_a_debt_in_force() -> None:
    assert told(owing(deadline=NOW + 9)) == Standing(3, "debt", 0, since_ms=7, deadline_ms=NOW + 9, can_trust=True)


@pytest.mark.parametrize("name", REASONS)
def test_payment_is_spoken_of_where_money_helps_or_nothing_restricts(name: str) -> None:
    """Laws 2 and 3."""
    sub = owing(name)
    assert visitor.pays_here(sub, NOW) == (name in DEBT)
    assert told(sub, pays=True).pays == (name in DEBT)
    assert not told(sub).pays
    assert told(sub).can_trust == (name in DEBT)
    assert visitor.why_not(sub, {}, NOW, FREE) == (None if name in DEBT else "trust_not_applicable")
    beside = replace(sub, reasons=sub.reasons | owing("notice").reasons)
    assert told(beside).can_trust == (name in DEBT)
    assert told(beside, pays=True).pays == (name in DEBT)


def test_who_owes_nothing_may_see_what_was_to_be_paid() -> None:
    assert told(Subscriber("C-1"), pays=True).pays
    assert told(promised(owing()), pays=True).pays


@pytest.mark.parametrize(("ms", "runs"), [(-1, False), (0, False), (1, True)])
def test_a_promise_that_runs(ms: int, runs: bool) -> None:
    """One that is over by now says nothing, timer or not; while one runs there is none to ask for."""
    found = told(promised(owing(), ms), asked=True)
    assert (found.until_ms, found.next_ms) == ((NOW + ms, NOW + ms) if runs else (0, 0))
    assert (found.level, found.reason) == ((0, "") if runs else (3, "debt"))
    assert (found.can_trust, found.asked) == (False, not runs)  # over, it is a breach: law 6 of decide
    assert told(owing(), asked=True).asked
    assert not told(owing()).asked


def test_an_order_is_stronger_than_a_promise() -> None:
    sub = promised(replace(owing(), reasons=owing().reasons | owing("court", deadline=NOW + 3).reasons))
    found = told(sub, pays=True)
    assert (found.level, found.reason, found.deadline_ms, found.until_ms) == (4, "court", NOW + 3, 0)
    assert (found.can_trust, found.pays) == (False, False)


def test_what_is_spent_cannot_be_asked_for() -> None:
    assert not told(owing(), facts={"A": Fact(spent=1)}).can_trust
    assert visitor.why_not(owing(), {"A": Fact(spent=1)}, NOW, FREE) == "trust_spent"
    assert told(owing(), facts={"B": Fact(spent=1)}).can_trust


@pytest.mark.parametrize(("breached", "name", "broken"), [
    (True, "debt", True), (True, "notice", True), (True, "pause", False), (False, "debt", False),
])  # fmt: skip
def test_a_breach_is_told_while_its_debt_stands(breached: bool, name: str, broken: bool) -> None:
    assert told(replace(owing(name), breached=breached)).broken == broken


NEXT: dict[str, tuple[dict[str, Reason], int, int]] = {  # reasons, promise, when it gets stricter
    "nothing": ({}, 0, 0),
    "what is in force": ({"debt": Reason(3, 1, NOW + 4)}, 0, 0),
    "what waits": ({"debt": Reason(3, 1, NOW + 4, pending=True)}, 0, NOW + 4),
    "the sooner": (
        {"debt": Reason(3, 1, NOW + 4, pending=True), "debt_partial": Reason(2, 1, NOW + 3, pending=True)}, 0, NOW + 3,
    ),
    "what is more than a reminder": (
        {"debt": Reason(3, 1, NOW + 4, pending=True), "notice": Reason(1, 1, NOW + 3, pending=True)}, 0, NOW + 4,
    ),
    "the end of a promise": ({"debt": Reason(3, 1, 1)}, 5, NOW + 5),
    "what waits, before it ends": ({"debt": Reason(3, 1, NOW + 4, pending=True)}, 5, NOW + 5),
    "what waits, behind it": ({"debt": Reason(3, 1, NOW + 6, pending=True)}, 5, NOW + 6),
    "a moment that has come": ({"debt": Reason(3, 1, NOW, pending=True)}, 0, 0),
    "a moment that has passed": ({"debt": Reason(3, 1, NOW - 1, pending=True)}, 0, 0),
    "a part whose moment has passed": ({"debt": Reason(3, 1, 1, waits=(Waiting("B", NOW - 1, "calendar", 1),))}, 0, 0),
    "what a debt has grown by, felt in full already": (
        {"debt": Reason(3, 1, 1, waits=(Waiting("B", NOW + 4, "calendar", 1), Waiting("C", NOW, "calendar", 1)))}, 0, 0,
    ),
    "a higher level that waits": (
        {"debt": Reason(3, 1, 1, waits=(Waiting(RAISE, NOW + 4, "calendar", 1, level=2),))}, 0, NOW + 4,
    ),
    "an order that waits": ({"court": Reason(4, 1, NOW + 4, pending=True)}, 0, 0),
}  # fmt: skip


@pytest.mark.parametrize("row", NEXT)
def test_when_it_gets_stricter(row: str) -> None:
    """Law 4."""
    reasons, promise, moment = NEXT[row]
    sub = Subscriber("C-1", reasons=reasons)
    assert told(promised(sub, promise) if promise else sub).next_ms == moment


def test_an_outage_of_the_area() -> None:
    policy = Policy(regions=Regions(outages={"o": Outage("north", 1, NOW + 9)}))
    here, there = told(owing(), policy), told(replace(owing(), area="south"), policy)
    assert (here.outage, here.eta_ms) == (True, NOW + 9)
    assert (there.outage, there.eta_ms) == (False, 0)
    assert told(owing(), Policy(regions=Regions(outages={"o": Outage("*", 1)}))).outage


# -- what is announced comes true (laws 4 to 7) ------------------------------------------------------------------------

LONG = Policy(regions=Regions(moratoria={"north": Moratorium(1, NOW + 20 * DAY)}))


def put_off(sub: Subscriber, days: int, kind: str = "agreement") -> Subscriber:
    return replace(sub, deferrals={**sub.deferrals, kind: Deferral(1, NOW + days * DAY, up_to=Level.NOTICE)})


def waiting(name: str, days: int) -> dict[str, Reason]:
    at = NOW + days * DAY
    return {name: Reason(int(REASONS[name]), 1, at, pending=True, why="not_before", earliest=at)}


def test_a_moratorium_that_outlasts_a_deferral_is_counted_in() -> None:
    sub = put_off(owing(), 2)
    assert (told(sub).next_ms, told(sub).next_level) == (NOW + 2 * DAY, Level.WALLED)
    assert (told(sub, LONG).next_ms, told(sub, LONG).next_level) == (NOW + 20 * DAY, Level.WALLED)
    both = promised(sub, DAY)
    assert (told(both).until_ms, told(both, LONG).until_ms) == (NOW + 2 * DAY, NOW + 20 * DAY)
    assert told(both, LONG).next_level == Level.WALLED


def test_what_is_no_debt_and_comes_first_is_not_announced_and_nothing_in_its_place() -> None:
    reminded = owing("notice").reasons
    sub = Subscriber("C-1", reasons=reminded | waiting("debt", 15) | waiting("pause", 2))
    assert (told(sub).level, told(sub).next_ms, told(sub).next_level) == (1, 0, 0)
    later = Subscriber("C-1", reasons=reminded | waiting("debt", 15) | waiting("court", 16))
    assert (told(later).next_ms, told(later).next_level) == (NOW + 15 * DAY, 3)
    at_once = Subscriber("C-1", reasons=reminded | waiting("debt", 15) | waiting("pause", 15))
    assert told(at_once).next_ms == NOW + 15 * DAY
    assert told(promised(later, DAY)).until_ms == NOW + 15 * DAY


def test_what_nobody_knows_the_end_of_is_not_announced() -> None:
    sub = Subscriber("C-1", area="north", reasons=waiting("debt", 2))
    outage = Policy(regions=Regions(outages={"o": Outage("north", 1, NOW + DAY)}))
    assert (told(sub).next_ms, told(sub, outage).next_ms) == (NOW + 2 * DAY, 0)


def test_nothing_is_walked_where_nothing_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(visitor, "expire", None)
    assert told(replace(owing(deadline=NOW + 9), notified=NOW + 3)).next_ms == 0


def drawn(rng: random.Random) -> tuple[Subscriber, Policy]:
    """Somebody with much that waits, in an area with or without a moratorium; all moments are whole days."""

    def day() -> int:
        return rng.randint(1, 12)

    reasons: dict[str, Reason] = {}
    for name in rng.sample(["notice", "debt_partial", "debt", "pause", "operator", "court"], rng.randint(1, 3)):
        level = int(REASONS[name])
        if rng.random() < 0.5:
            reasons |= waiting(name, day())
        else:
            waits = (Waiting("B", NOW + (at := day()) * DAY, "not_before", NOW + at * DAY),)
            grows = name in DEBT and rng.random() < 0.3
            named = (Invoice("A"), Invoice("B")) if grows else (Invoice("A"),)
            reasons[name] = Reason(level, 1, 1, named, waits=waits if grows else ())
        if name == "pause" and rng.random() < 0.5:
            reasons[name] = replace(reasons[name], deadline=NOW + (day() + 12) * DAY)
    kinds = rng.sample(["agreement", "dispute", "hardship"], rng.randint(0, 2))
    deferrals = {
        kind: Deferral(1, NOW + day() * DAY, rng.choice([(), ("A",)]), up_to=rng.randint(0, 2)) for kind in kinds
    }
    sub = Subscriber("C-1", area="north", reasons=reasons, deferrals=deferrals)
    if rng.random() < 0.3:
        sub = promised(sub, day() * DAY, *rng.choice([(), ("A",)]))
    held = {"north": Moratorium(1, NOW + rng.randint(1, 20) * DAY, release=rng.random() < 0.3)}
    policy = Policy(regions=Regions(moratoria=held)) if rng.random() < 0.7 else FREE
    return deferral.rest(sub, NOW, policy), policy


def test_what_is_announced_is_what_comes_day_by_day() -> None:
    rng, announced = random.Random(5), 0
    for _ in range(400):
        sub, policy = drawn(rng)
        found = told(sub, policy)
        then, debts = sub, replace(sub, reasons={n: r for n, r in sub.reasons.items() if n in DEBT})
        comes = 0, 0
        for n in range(1, 50):
            at = NOW + n * DAY
            (then, _), (debts, _) = expire(then, at, policy), expire(debts, at, policy)
            if then.level > max(found.level, Level.NOTICE):
                if sub.promise is not None or debts.level == then.level:
                    comes = at, then.level
                break
        assert (found.next_ms, found.next_level) == comes, (sub, policy.regions)
        announced += comes[0] > 0
    assert announced > 100
