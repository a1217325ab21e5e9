"""Promises asked for on the page: how often somebody may ask, and whether an answer is still awaited. In memory alone.

A restart forgets it, and all that costs is one more event for billing; what is granted is in the store.
"""

from __future__ import annotations

from typing import NamedTuple

DAY_MS = 86_400_000
AWAITED_MS = 900_000
"""How long the page says that an answer is awaited; behind it somebody may ask again."""
MOST = 50_000
"""Subscribers remembered; one more pushes out whoever asked first."""


class Frequency(NamedTuple):
    """``pause``: milliseconds between two requests of one subscriber; ``a_day``: how many in 24 hours."""

    pause: int = 60_000
    a_day: int = 3


class Petitions:
    """Times are Unix ms, subscribers are their numbers in the store.

    What was noted at a moment that is still to come was noted before the clock went back: it is forgotten.
    """

    def __init__(self, frequency: Frequency) -> None:
        self._frequency = frequency
        self._asked: dict[int, tuple[int, ...]] = {}

    def may(self, owner: int, now: int) -> bool:
        """Whether this subscriber may ask (again)."""
        recent = self._recent(owner, now)
        return len(recent) < self._frequency.a_day and not (recent and now - recent[-1] < self._frequency.pause)

    def note(self, owner: int, now: int) -> None:
        """This subscriber has asked."""
        recent = self._recent(owner, now)
        self._asked.pop(owner, None)  # who asked last stands last
        self._asked[owner] = (*recent, now)
        if len(self._asked) > MOST:
            del self._asked[next(iter(self._asked))]

    def awaits(self, owner: int, now: int) -> bool:
        """Whether an answer to this subscriber is still awaited."""
        recent = self._recent(owner, now)
        return bool(recent) and now - recent[-1] < AWAITED_MS

    def _recent(self, owner: int, now: int) -> tuple[int, ...]:
        return tuple(at for at in self._asked.get(owner, ()) if 0 <= now - at < DAY_MS)
