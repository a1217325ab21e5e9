"""Decisions a second, and what they cost with a million subscribers in memory beside a thousand.

``decide`` alone, in seconds that one core worked for it (the machine is shared): commands are parsed, states and
invoice facts are looked up before. Two tables, of a thousand and of a million subscribers, in turns. Each round draws
its own subscribers and makes its own commands, so that whoever is decided on has not just been looked at: with a
million the processor fetches them from memory, which is all that should tell the two apart. Cut calendar "BR", forty
areas, a moratorium in one and an outage in another.
"""

from __future__ import annotations

import datetime as dt
import gc
import json
import random
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from edged.domain import command as c
from edged.domain.calendar import Calendar
from edged.domain.decide import Decision, View, decide
from edged.domain.effect import settle
from edged.domain.model import Fact, Policy, Subscriber, milliseconds, rfc3339
from edged.domain.region import Moratorium, Outage, Regions
from edged.domain.rejection import Rejected

from .common import MILLION, Row, cores, median, peak_rss, pinned, result, say
from .pace import calibrate

FEW, BATCH, BATCHES = 1000, 1000, 10
WANTED, MOST_RATIO = 100_000, 1.3
HOUR, DAY = 3_600_000, 86_400_000
NOW = milliseconds(dt.datetime(2026, 11, 18, 13, 30, tzinfo=dt.UTC))
"""A Wednesday, 10:30 in São Paulo: blocks begin."""

AREAS = [f"area-{n:02}" for n in range(40)]
ZONE = ZoneInfo("America/Sao_Paulo")
POLICY = Policy(
    calendar=Calendar(ZONE, "BR", dates={"area-05": [dt.date(2026, 11, 19)]}),
    regions=Regions(
        moratoria={"area-03": Moratorium(NOW - DAY, NOW + 9 * DAY)}, outages={"O-1": Outage("area-04", NOW, NOW + HOUR)}
    ),
)

MIX = {"block": 36, "notified": 8, "postponed": 4, "paid": 24, "settled": 4, "trust": 6, "claimed": 2, "untrust": 2,
       "unblock": 8, "defer": 4, "undefer": 2}  # fmt: skip
"""Of a hundred commands. Blocks come to anybody, everything else to who owes or has just paid."""
_BLOCKS = {"block", "notified", "postponed", "settled"}

_NO_FACTS: Mapping[str, Fact] = {}


class Table(NamedTuple):
    """Subscribers, and the numbers of those against whom there is something."""

    members: list[Subscriber]
    owing: list[int]


class Asked(NamedTuple):
    """A command beside what was known before it."""

    command: c.OnState
    view: View


def run(budget: float = 45.0, members: int = MILLION) -> dict[str, Any]:
    """At least seven rounds, more while they fit into ``budget`` seconds with all preparation."""
    end = time.monotonic() + budget
    away = cores()[-1]
    with pinned(away):
        many = table(members)
        few = Table(many.members[:FEW], [n for n in many.owing if n < FEW])
        say(f"ready: {len(many.members):,} subscribers, {peak_rss() >> 20} MB")
        dice = random.Random(4)
        found: dict[str, list[float]] = {word: [] for word in ("many", "few", "calibration")}
        gc.collect()
        gc.freeze()  # as the daemon does
        gc.set_threshold(50_000, 50, 100)
        turn(few, dice)  # to warm up
        longest = 0.0
        while len(found["many"]) < 7 or time.monotonic() + 1.2 * longest < end:
            start = time.monotonic()
            found["calibration"].append(calibrate(away))
            turns = [("many", many), ("few", few)]
            for word, known in turns if len(found["many"]) % 2 else reversed(turns):
                found[word].append(turn(known, dice))
            longest = max(longest, time.monotonic() - start)
        gc.unfreeze()
    rate = {word: 1 / median(found[word]) for word in ("many", "few")}
    ratio = median([m / f for m, f in zip(found["many"], found["few"], strict=True)])
    pace = median(found["calibration"])
    rows = [
        Row(
            f"decisions a second with {members:,} subscribers, one core", rate["many"], WANTED, "/s", "wanted",
            rate["many"] / WANTED, f"≥ {WANTED:,} /s", rate["many"] >= WANTED,
        ),
        Row(
            f"a decision's cost with {members:,} subscribers, as a multiple of that with {FEW:,}", 1e6 / rate["many"],
            1e6 / rate["few"], "µs", f"{FEW:,}", ratio, f"≤ {MOST_RATIO}", ratio <= MOST_RATIO,
        ),
    ]  # fmt: skip
    return result(
        "decide", ratio, rows, value=round(rate["many"]), rounds=len(found["many"]),
        by_command=each(many, dice), loop_millions_a_second=round(pace, 1),
    )  # fmt: skip


def table(members: int) -> Table:
    """Subscribers as a provider has them: nine in ten owe nothing, and of the others each kind that there is."""
    dice = random.Random(3)
    made = [member(number, dice.choice(AREAS), dice.random()) for number in range(members)]
    return Table(made, [number for number, sub in enumerate(made) if sub.reasons])


def member(number: int, area: str, lot: float) -> Subscriber:
    """One of them. ``lot`` (0..1) decides what there is against him."""
    sub = Subscriber(name(number), rev=7, area=area, since=NOW - 90 * DAY)
    if lot < 0.9:
        return sub
    steps: list[dict[str, Any]] = [block(number, reason="notice" if lot < 0.93 else "debt")]
    if lot > 0.98:
        steps.append({"op": "defer", "sub": sub.sub, "kind": "agreement", "until": rfc3339(NOW + 9 * DAY)})
    elif lot > 0.96:
        steps.append({"op": "trust", "sub": sub.sub, "hours": 60})
    if lot > 0.99:
        steps.append({"op": "block", "sub": sub.sub, "reason": "operator"})
    for step in steps:
        sub = settle(decide(_read(step), View(sub), NOW - DAY, POLICY, "erp").sub, NOW - DAY)
    return sub


def name(number: int) -> str:
    """A subscriber's."""
    return f"C-{number:07}"


def block(number: int, **more: Any) -> dict[str, Any]:
    """For one unpaid invoice, due a month ago."""
    due = {"id": f"F0-{number:07}", "due": "2026-10-10"}
    return {"op": "block", "sub": name(number), "reason": "debt", "invoices": [due], "ref": "T-1", **more}


def asked(known: Table, dice: random.Random, kinds: Mapping[str, int] = MIX) -> list[Asked]:
    """A round's commands, each to somebody drawn by lot."""
    out = []
    for kind in dice.choices(list(kinds), list(kinds.values()), k=BATCH):
        number = dice.randrange(len(known.members)) if kind in _BLOCKS else dice.choice(known.owing)
        facts = {f"F9-{number:07}": Fact(settled=True, spent=1)} if number % 4 == 0 else _NO_FACTS
        out.append(Asked(_made(kind, number), View(known.members[number], facts)))
    return out


def _made(kind: str, number: int) -> c.OnState:
    sub = {"sub": name(number), "rev": 8}
    documents: dict[str, Callable[[], dict[str, Any]]] = {
        "block": lambda: block(number, rev=8),
        "notified": lambda: block(number, notified_at=rfc3339(NOW - 3 * DAY)),
        "postponed": lambda: block(number, not_before=rfc3339(NOW + 4 * DAY)),
        "paid": lambda: {"op": "paid", **sub, "invoices": [f"F0-{number:07}"]},
        "settled": lambda: {"op": "paid", **sub},
        "trust": lambda: {"op": "trust", **sub, "invoices": [f"F0-{number:07}"], "channel": "app"},
        "claimed": lambda: {"op": "trust", **sub, "basis": "payment_claimed", "method": "pix"},
        "untrust": lambda: {"op": "untrust", **sub},
        "unblock": lambda: {"op": "unblock", **sub, "reason": "debt*"},
        "defer": lambda: {"op": "defer", **sub, "kind": "agreement", "until": rfc3339(NOW + 20 * DAY)},
        "undefer": lambda: {"op": "undefer", **sub},
    }
    return _read(documents[kind]())


def _read(document: dict[str, Any]) -> c.OnState:
    cmd = c.read_command(json.dumps(document).encode())
    if not isinstance(cmd, c.OnState):
        raise TypeError(f"{document['op']} is not decided on")
    return cmd


def turn(known: Table, dice: random.Random, kinds: Mapping[str, int] = MIX) -> float:
    """Seconds for one command, over some batches that are made anew before each is decided on."""
    return sum(decide_all(asked(known, dice, kinds)) for _ in range(BATCHES)) / (BATCH * BATCHES)


def decide_all(batch: list[Asked]) -> float:
    """Seconds of a core for all of them, without those in which somebody else had it. A refusal is a decision, too."""
    kept: list[Decision | None] = []
    keep = kept.append
    start = time.process_time()
    for command, view in batch:
        try:
            keep(decide(command, view, NOW, POLICY, "erp"))
        except Rejected:
            keep(None)
    return time.process_time() - start


def each(known: Table, dice: random.Random) -> str:
    """Microseconds that each kind of command takes."""
    costs = {kind: turn(known, dice, {kind: 1}) * 1e6 for kind in MIX}
    return ", ".join(f"{kind} {cost:.1f} µs" for kind, cost in costs.items())
