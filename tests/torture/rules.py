"""The business rules for long: random lives beside the naive model by the hundred thousand steps, and whole years."""

from __future__ import annotations

import functools
import tempfile
from collections import Counter
from pathlib import Path

from tests.reference import walk
from tests.reference.providers import PROVIDERS, pair
from tests.reference.year import Year
from tests.torture.report import Report

EPISODE = 3_000
"""Steps of lives with one seed."""
SUBSCRIBERS = 10_000
"""Of one year."""


def lives(seed: int, steps: int) -> Report:
    """As many steps, in lives of ``walk.EPISODE`` that take the providers in turn; each fault is told shortened."""
    report, names = Report(), list(PROVIDERS)
    for n in range(-(-steps // walk.EPISODE)):
        own = seed * 1_000 + n
        make = functools.partial(pair, names[n % len(names)])
        begin, drawn = walk.draw(own, min(walk.EPISODE, steps - n * walk.EPISODE))
        life = walk.live(make, begin, drawn)
        report.where += Counter(step[0] for step in drawn)
        report.batches += life.commands
        if life.fault:
            told = walk.report(make, own, begin, drawn)
            report.violations.append(f"rules, seed {seed}: {names[n % len(names)]}, {told}")
    return report


def year(seed: int, subscribers: int) -> Report:
    """A year of a provider."""
    with tempfile.TemporaryDirectory(prefix="edged-year-") as folder:
        lived = Year(Path(folder), seed, subscribers)
        try:
            lived.run()
        finally:
            lived.close()
    report = Report(Counter({"subscribers": subscribers}), batches=lived.commands)
    report.violations = [f"year, seed {seed}: {v}" for v in lived.violations[:20]]
    return report
