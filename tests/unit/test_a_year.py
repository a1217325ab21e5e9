"""A year with all rules on, compared every day with books of its own; with 10,000 subscribers in ``make torture``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from tests.reference.year import POLICY, Year

SUBSCRIBERS = 800


@pytest.mark.parametrize("seed", [1])
def test_a_year(seed: int, tmp_path: Path) -> None:
    year = Year(tmp_path, seed, SUBSCRIBERS)
    try:
        year.run()
    finally:
        year.close()
    assert not year.violations, year.violations[:10]
    happened = ("block deferred", "block.began", "trust applied", "trust trust_spent", "trust trust_not_applicable",
                "trust.ended", "defer.ended", "pause.ended", "deadline.reached", "paid applied", "unblock applied",
                "moratorium applied", "outage applied", "calendar applied", "block brake")  # fmt: skip
    assert not [name for name in happened if not year.counts[name]], year.counts


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ({"guard_reblock": False}, "closed hour"),
        ({"trust_per_invoice": 2}, "a second promise"),
    ],
    ids=["no guard", "two promises"],
)
def test_a_gateway_with_other_rules_is_found_out(fault: dict[str, Any], told: str, tmp_path: Path) -> None:
    year = Year(tmp_path, 1, 60, replace(POLICY, **fault))
    try:
        year.run(told)
    finally:
        year.close()
    assert any(told in violation for violation in year.violations)


class Slandered(Year):
    """Of a gateway that calls kept promises broken."""

    def judge(self, event: dict[str, Any]) -> None:
        super().judge({**event, "outcome": "breached"} if event.get("outcome") == "fulfilled" else event)


def test_a_gateway_that_calls_a_kept_promise_broken_is_found_out(tmp_path: Path) -> None:
    year = Slandered(tmp_path, 1, 60)
    try:
        year.run()
    finally:
        year.close()
    assert any("by the books" in violation for violation in year.violations)
