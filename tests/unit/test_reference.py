"""Random lives under the business rules: core, store, kernel and an independent naive model agree after every step.

Hypothesis searches and shortens; the same steps by the hundred thousand, from seeds, are ``make torture``'s kind
``rules`` (tests/torture/rules.py).
"""

from __future__ import annotations

import ast
import functools
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule
from msgspec.structs import replace

from tests import reference
from tests.reference import walk
from tests.reference.pair import Pair
from tests.reference.providers import PROVIDERS, pair
from tests.reference.words import DAY, HOUR, MINUTE

STEPS = 5_000
"""Of the seeded walks in ``make test``, in all."""
EXAMPLES, LENGTH = 30, 40
"""Lives that Hypothesis tries, and their steps."""

RANDOMS = st.randoms(use_true_random=False)


class Lives(RuleBasedStateMachine):
    """Steps drawn as for the walks, found and shortened by Hypothesis."""

    pair: Pair

    @initialize(provider=st.sampled_from(sorted(PROVIDERS)), day=st.integers(0, 200), minute=st.integers(0, 1439))
    def begin(self, provider: str, day: int, minute: int) -> None:
        self.pair = pair(provider, day * DAY + minute * MINUTE)

    def teardown(self) -> None:
        if hasattr(self, "pair"):
            self.pair.close()

    @rule(rng=RANDOMS, size=st.integers(1, 3))
    def send(self, rng: Any, size: int) -> None:
        self.pair.do(("send", [walk.command(rng) for _ in range(size)]))

    @rule(ms=st.sampled_from(walk.WAITS), more=st.integers(0, 2))
    def wait(self, ms: int, more: int) -> None:
        self.pair.do(("wait", ms + more))

    @rule(early=st.integers(0, 1))
    def wait_for_what_is_due(self, early: int) -> None:
        self.pair.do(("due", early))

    @rule(ms=st.sampled_from([HOUR, 3 * DAY, 40 * DAY]))
    def sleep(self, ms: int) -> None:
        self.pair.do(("sleep", ms))

    @rule()
    def restart(self) -> None:
        self.pair.do(("restart",))


Lives.TestCase.settings = settings(
    max_examples=EXAMPLES,
    stateful_step_count=LENGTH,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
)
TestLives = Lives.TestCase


@pytest.mark.parametrize("provider", PROVIDERS)
def test_walks(provider: str) -> None:
    make = functools.partial(pair, provider)
    seen: set[str] = set()
    steps = 0
    for seed in range(STEPS // len(PROVIDERS) // walk.EPISODE):
        begin, drawn = walk.draw(seed, walk.EPISODE)
        life = walk.live(make, begin, drawn)
        assert not life.fault, walk.report(make, seed, begin, drawn)
        steps += life.steps
        seen |= life.seen
    assert steps >= STEPS // len(PROVIDERS) - walk.EPISODE
    wanted = [f"{op} applied" for op in walk.WEIGHTS if op != "untrust"] + [
        "block unchanged", "block malformed", "block deferred", "trust trust_spent", "trust trust_not_applicable",
        "trust trust_too_long", "defer trust_not_applicable", "unblock not_authorized",
    ]  # fmt: skip
    assert {*wanted} <= seen, "walks that no longer meet something prove nothing about it"


def test_a_walk_that_fails_is_shortened() -> None:
    """The walks are worth what their shortening is: a fault in a certain command is found in that command alone."""
    make = functools.partial(pair, "the code's defaults")
    real = walk.live

    def at_fault(make: Any, begin: int, steps: Any) -> walk.Life:
        ops = [c["op"] for s in steps if s[0] == "send" for c in s[1]]
        return walk.Life(len(steps), fault="both" if {"defer", "forget"} <= {*ops} else "")

    walk.live = at_fault
    try:
        few = walk.shorten(
            make, 0, [("send", [{"op": o}]) for o in ("bind", "defer", "paid", "paid", "forget", "bind")]
        )
    finally:
        walk.live = real
    assert [s[1][0]["op"] for s in few] == ["defer", "forget"]


FAULTS: tuple[dict[str, Any], ...] = (
    {"guard_reblock": False},
    {"notice_days": 14},
    {"trust_per_invoice": 2},
    {"trust_max_hours": 169},
    {"debt_days": 59},
    {"preventive_days": 31},
)


@pytest.mark.parametrize("fault", FAULTS, ids=repr)
def test_a_core_with_other_rules_is_found_out(fault: dict[str, Any]) -> None:
    policy, rules = PROVIDERS["the installed file"]
    make = functools.partial(Pair, replace(policy, **fault), rules)
    lives = (walk.live(make, *walk.draw(seed, walk.EPISODE)) for seed in range(200))
    assert any(life.fault for life in lives)


@pytest.mark.parametrize("module", ["days", "words", "state", "model", "blocks", "orders"])
def test_the_model_knows_nothing_of_edged(module: str) -> None:
    source = (Path(reference.__file__).parent / f"{module}.py").read_text(encoding="utf-8")
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [a.name for a in node.names]
            assert not [n for n in names if n.split(".")[0] == "edged"]
