"""A clock set by ten years, before and behind: nobody is blocked or released by it, and a promise ends when it ends."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from edged.clock import Clock
from tests.unit.core import START, Core

TEN_YEARS = 10 * 365 * 86_400_000
HOUR = 3_600_000


class Hands:
    """What moves a clock: the wall, which anybody may set, and the time since boot."""

    def __init__(self, core: Core, *, required: bool = False) -> None:
        self.core = core
        self.wall, self.steady, self.synced = START, 0, True
        self.clock = Clock(
            required=required,
            wall=lambda: self.wall * 1_000_000,
            steady=lambda: self.steady * 1_000_000,
            synced=lambda: self.synced,
        )
        core.pipeline.clock = self.clock
        core.pipeline.trusted = lambda: self.clock.trusted

    def go(self, ms: int) -> None:
        """Time passes, in steps of a minute, and the timers do their work."""
        end = self.steady + ms
        while self.steady < end:
            step = min(60_000, end - self.steady)
            self.wall, self.steady = self.wall + step, self.steady + step
            self.core.now = self.clock()
            while self.core.upkeep.expire()[0]:
                pass


@pytest.fixture
def core(tmp_path: Path) -> Iterator[Core]:
    made = Core(tmp_path)
    yield made
    made.store.close()


def debt(n: int, **more: object) -> dict[str, object]:
    return {"op": "block", "sub": f"100.64.0.{n}", "reason": "debt", **more}


@pytest.mark.parametrize("leap", [TEN_YEARS, -TEN_YEARS])
def test_a_leap_neither_blocks_nor_releases(core: Core, leap: int) -> None:
    hands = Hands(core)
    core.send(*(debt(n) for n in range(1, 20)), *(debt(n, not_before="2026-12-01T12:00:00Z") for n in range(20, 40)))
    core.send(*({"op": "trust", "sub": f"100.64.0.{n}", "hours": 2} for n in range(1, 10)))
    before = core.store.totals.levels
    hands.wall += leap
    hands.go(HOUR)
    assert core.store.totals.levels == before
    assert core.store.totals.promises == 9
    assert hands.clock.why
    assert core.status(debt(50)) == ["deferred"], "a debt waits until somebody looked at the clock"
    assert core.status(debt(51) | {"reason": "operator"}) == ["applied"], "what is no debt does not"
    assert core.status({"op": "paid", "sub": "100.64.0.15"}) == ["applied"], "payment never waits"
    hands.go(HOUR)
    assert core.store.totals.promises == 0, "a promise ends by the time since boot"
    assert core.level("100.64.0.1") == "walled"
    hands.wall -= leap
    hands.go(2 * 60_000)
    assert hands.clock.why == ""
    assert core.level("100.64.0.50") == "walled"
    assert core.agrees()


def test_no_debt_begins_on_a_clock_that_is_not_synchronised(core: Core) -> None:
    hands = Hands(core, required=True)
    hands.synced = False
    hands.go(2000)
    answer = core.send(debt(1), debt(2) | {"reason": "operator"})
    assert [(r["status"], r.get("why")) for r in answer["results"]] == [("deferred", "clock"), ("applied", None)]
    hands.go(HOUR)
    assert core.level("100.64.0.1") == "open"
    hands.synced = True
    hands.go(2 * 60_000)
    assert core.level("100.64.0.1") == "walled"


def test_adopting_a_leap_is_a_humans_word(core: Core) -> None:
    hands = Hands(core)
    core.send(debt(1, not_before="2026-12-01T12:00:00Z"))
    hands.wall += TEN_YEARS
    hands.go(HOUR)
    assert core.level("100.64.0.1") == "open"
    hands.clock.adopt()
    hands.go(60_000)
    assert core.level("100.64.0.1") == "walled"
