"""Random lives as plain lists of steps: drawn from a seed, carried out on a :class:`Pair`, shortened when they fail."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.reference.pair import ADDRESSES, Disagreement, Pair, Step
from tests.reference.words import DAY, HOUR, MINUTE, OWN_LEVEL

SUBS = ("A", "B", "C", "D")
AREAS = ("north", "south")
WAITS = (1, MINUTE, 7 * MINUTE, HOUR, 5 * HOUR, 13 * HOUR, DAY, 3 * DAY, 8 * DAY, 16 * DAY, 31 * DAY, 62 * DAY)
EPISODE = 100
"""Steps in the life of one store."""
MONTH = 12
"""Steps after which one more invoice is issued, and the oldest is no longer spoken of."""
WEIGHTS = {
    "bind": 6, "block": 30, "unblock": 8, "paid": 9, "trust": 18, "untrust": 2, "defer": 9, "undefer": 5,
    "moratorium": 3, "end_moratorium": 2, "outage": 3, "end_outage": 4, "calendar": 2, "forget": 1,
}  # fmt: skip
"""What is sent how often."""
DEBTORS = {"bind": 2, "unblock": 5, "trust": 20, "untrust": 1, "paid": 8, "forget": 0.2, "calendar": 1}
"""The same in lives of people who owe money, where it differs: promises live long enough to meet everything else."""
OFTEN = ("debt", "debt", "debt", "debt", "debt_partial", "notice", "preventive")
"""More often than the rest."""


def maybe(rng: random.Random, chance: float, **fields: Any) -> dict[str, Any]:
    return fields if rng.random() < chance else {}


def ahead(rng: random.Random) -> int:
    """A time in the future, in ms."""
    return rng.choice((MINUTE, HOUR, 5 * HOUR, DAY, 2 * DAY, 4 * DAY, 9 * DAY)) + rng.choice((0, 0, 17 * MINUTE, 1))


DUE = (-30, -3, 10, 40)
"""When each of the first invoices of a subscriber is due, in days from the first moment."""


def some(rng: random.Random, sub: str, month: int, *, dated: bool = False) -> list[Any]:
    """Invoices of a subscriber, few enough that they meet again; with ``dated`` some have their due date."""
    numbers = rng.sample(range(month, month + len(DUE)), rng.choice((1, 1, 2, 3)))
    due = [*DUE, *(DUE[:-1] * max(numbers))]
    return [(f"F-{sub}-{n}", due[n]) if dated and rng.random() < 0.3 else f"F-{sub}-{n}" for n in numbers]


def command(rng: random.Random, month: int = 0, *, debtors: bool = False) -> dict[str, Any]:
    """Any command; times in ms from now, dates in days from today. Invoices are those of the ``month``, and some more.

    ``debtors``: of two who owe money and nothing else.
    """
    weights = {**WEIGHTS, **DEBTORS} if debtors else WEIGHTS
    op, area = rng.choices([*weights], [*weights.values()])[0], rng.choice((*AREAS, "*"))
    sub = rng.choice(SUBS[:2] if debtors else SUBS)
    on: dict[str, Any] = {"op": op, "sub": sub, **maybe(rng, 0.03, rev=rng.randrange(4))}
    match op:
        case "bind":
            addresses = rng.sample(sorted(ADDRESSES), rng.choice((0, 1, 1, 2)))
            on |= {"addresses": addresses, **maybe(rng, 0.3, replace=False)}
            return on | maybe(rng, 0.5, area=rng.choice(AREAS))
        case "block":
            return block(
                rng, on, month, ("debt", "debt", "debt_partial", "notice") if debtors else (*OWN_LEVEL, *OFTEN)
            )
        case "unblock":
            reason = rng.choice(
                ("debt*", "debt", "debt_partial", "notice") if debtors else (*OWN_LEVEL, "preventive", "debt*", "debt*")
            )
            return on | {"reason": reason, **maybe(rng, 0.3 if reason == "preventive" else 0.02, cause="documents_ok")}
        case "paid":
            return on | maybe(rng, 0.85 if debtors else 0.6, invoices=some(rng, sub, month))
        case "trust":
            return on | trust(rng, sub, month)
        case "defer":
            kind = rng.choice(("agreement", "dispute", "hardship"))
            until = ahead(rng) if rng.random() < 0.95 else -HOUR
            on |= {"kind": kind, "until": until, **maybe(rng, 0.5, invoices=some(rng, sub, month))}
            return on | maybe(rng, 0.4, up_to=rng.choice(("notice", "reduced", "walled")))
        case "undefer":
            return on | maybe(rng, 0.7, kind=rng.choice(("agreement", "dispute", "hardship")))
        case "moratorium":
            return {"op": op, "area": area, "until": ahead(rng), **maybe(rng, 0.4, release_existing=True)}
        case "end_moratorium":
            return {"op": op, "area": area}
        case "outage":
            area = rng.choice(AREAS)  # one at a time in each: how often several are looked at is nobody's business
            return {"op": op, "id": area, "area": area, **maybe(rng, 0.5, eta=ahead(rng))}
        case "end_outage":
            return {"op": op, "id": rng.choice(AREAS)}
        case "calendar":
            dates = sorted(rng.sample(range(8), rng.choice((0, 1, 2))))
            return {"op": op, "area": rng.choice(AREAS), "dates": dates, "version": "1"}
    return on


def block(rng: random.Random, on: dict[str, Any], month: int, reasons: Sequence[str]) -> dict[str, Any]:
    reason = rng.choice(reasons)
    on |= {"reason": reason, **maybe(rng, 0.15, not_before=rng.choice((-HOUR, ahead(rng))))}
    if reason in {"debt", "debt_partial", "notice"}:
        on |= maybe(rng, 0.75, invoices=some(rng, on["sub"], month, dated=True))
        on |= maybe(rng, 0.2, notified_at=-rng.choice((0, 5 * DAY, 14 * DAY, 16 * DAY)))
        on |= maybe(rng, 0.15, override={"author": "a", "motive": "m"}) | maybe(rng, 0.05, deadline=ahead(rng))
        on |= maybe(rng, 0.2, level=rng.choice(("notice", "reduced")))
    if reason == "pause":
        begins = max(on.get("not_before", 0), 0)
        on |= maybe(rng, 0.8, deadline=rng.choice((begins + ahead(rng), begins + ahead(rng), -HOUR)))
    level = rng.choice(("notice", "reduced", "walled", "blocked"))
    return on | maybe(rng, 0.07, level=level) | maybe(rng, 0.05, page="p")


def trust(rng: random.Random, sub: str, month: int) -> dict[str, Any]:
    said = maybe(rng, 0.4, invoices=some(rng, sub, month, dated=True))
    length: dict[str, Any] = rng.choice(
        ({}, {"until": ahead(rng)}, {"hours": rng.choice((1, 30, 168, 169))}, {"days": rng.choice((2, 6.5, 8))},
         {"next_business_day": True})
    )  # fmt: skip
    if rng.random() < 0.4:
        methods = ("card", "bank", "lottery", "debit", "collection", "pix")
        return said | length | {"basis": "payment_claimed", **maybe(rng, 0.8, method=rng.choice(methods))}
    return said | length


def step(rng: random.Random, month: int = 0, *, debtors: bool = False) -> Step:
    """Any step."""
    chance = rng.random()
    if chance < 0.78:
        return "send", [command(rng, month, debtors=debtors) for _ in range(rng.choice((1, 1, 1, 2, 4)))]
    if chance < 0.88:
        return "wait", rng.choices(WAITS, range(len(WAITS), 0, -1))[0] + rng.choice((0, 0, 1, 1234))
    if chance < 0.91:
        return "sleep", rng.choice(WAITS)
    if chance < 0.98:
        return "due", rng.choice((1, 0, 0))
    return ("restart",)


def draw(seed: int, n: int) -> tuple[int, list[Step]]:
    """The first moment (ms behind START) and ``n`` steps."""
    rng = random.Random(f"rules {seed}")
    debtors = rng.random() < 0.5
    return rng.randrange(200 * DAY), [step(rng, k // MONTH, debtors=debtors) for k in range(n)]


@dataclass
class Life:
    """What became of a list of steps."""

    steps: int = 0
    commands: int = 0
    fault: str = ""
    seen: set[str] = field(default_factory=set)


def live(make: Callable[[int], Pair], begin: int, steps: Sequence[Step]) -> Life:
    """Carry steps out on a fresh pair until the first disagreement."""
    pair, life = make(begin), Life()
    try:
        for each in steps:
            life.steps += 1
            pair.do(each)
    except Exception as e:  # noqa: BLE001  whatever breaks is a finding
        life.fault = f"{type(e).__name__}: {e}" if not isinstance(e, Disagreement) else str(e)
    finally:
        life.commands, life.seen = pair.commands, pair.seen
        pair.close()
    return life


def singly(steps: Sequence[Step]) -> list[Step]:
    """The same with one command a batch."""
    return [s for each in steps for s in ([("send", [c]) for c in each[1]] if each[0] == "send" else [each])]


def shorten(make: Callable[[int], Pair], begin: int, steps: Sequence[Step]) -> list[Step]:
    """Fewer steps that fail as well: halves, quarters, … single steps are left out as long as it still fails."""
    left = singly(steps) if live(make, begin, singly(steps)).fault else list(steps)
    left = left[: live(make, begin, left).steps]
    size = len(left) // 2
    while size:
        at = 0
        while at < len(left):
            shorter = left[:at] + left[at + size :]
            if live(make, begin, shorter).fault:
                left = shorter
            else:
                at += size
        size //= 2
    return left


def report(make: Callable[[int], Pair], seed: int, begin: int, steps: Sequence[Step]) -> str:
    """A finding in the fewest steps that were found."""
    few = shorten(make, begin, steps)
    lines = "\n".join(f"    {s!r}," for s in few)
    return f"seed {seed}, begin {begin}: {live(make, begin, few).fault}\n[\n{lines}\n]"
