"""The brake: when so many are newly restricted that a human should look first (domain.md §5). Pure.

Laws:

1. What it counts: commands that give a first restricting reason to somebody who has none, begun or waiting; and those
   that restrict somebody who browses, whatever waited.
2. More of them than ``most`` within the window close it; above :data:`FEWEST` also more than ``share`` of those known.
3. Closed, everything that it counts is held until a human looked. What releases always passes.
"""

from __future__ import annotations

from typing import NamedTuple

from edged.domain import effect
from edged.domain.levels import Level
from edged.domain.model import Subscriber

FEWEST = 50
"""New restrictions up to which the share is not judged."""


class Limits(NamedTuple):
    """How many new restrictions, and what share of the known subscribers, may come within ``window`` ms."""

    enabled: bool = False
    most: int = 500
    window: int = 60_000
    share: float = 0.2

    def passed(self, recent: int, known: int) -> str:
        """Which limit ``recent`` new restrictions pass where ``known`` subscribers are known; empty: none."""
        if not self.enabled:
            return ""
        if recent > self.most:
            return f"more than {self.most} new restrictions in {self.window // 1000} s (brake.max_new_restrictions)"
        if recent > FEWEST and recent > self.share * known:
            return f"more than {self.share:.0%} of {known} known subscribers newly restricted (brake.max_share)"
        return ""


def counts(before: Subscriber | None, after: Subscriber, now: int) -> bool:
    """Whether what a command made of somebody is a new restriction (law 1); a reminder is none."""
    if not _restricts(after):
        return False
    if before is None or not _restricts(before):
        return True
    return effect.level(before, now) < Level.REDUCED <= effect.level(after, now)


def _restricts(sub: Subscriber) -> bool:
    return any(r.level >= Level.REDUCED for r in sub.reasons.values())
