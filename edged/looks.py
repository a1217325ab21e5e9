"""How often a reminder was on a screen: counted here, because a portal has many workers. In memory alone.

A restart forgets it, and all that costs is a look or two more.
"""

from __future__ import annotations

PATIENCE = 3
"""A reminder that was on the screen this often counts as seen without a click: it never blocks."""
MOST = 50_000
"""Subscribers remembered; one more pushes out whose reminder was on a screen longest ago."""


class Looks:
    """Subscribers are their numbers in the store; ``since`` tells one reminder of a subscriber from the next."""

    def __init__(self) -> None:
        self._looks: dict[int, tuple[int, int]] = {}

    def enough(self, owner: int, since: int) -> bool:
        """Count a look; True for the one with which it counts as seen, and for more until :meth:`forget`."""
        of, looks = self._looks.pop(owner, (since, 0))
        looks = looks + 1 if of == since else 1
        self._looks[owner] = since, min(looks, PATIENCE)
        if len(self._looks) > MOST:
            del self._looks[next(iter(self._looks))]
        return looks >= PATIENCE

    def forget(self, owner: int) -> None:
        """It rests now: when it comes back, it is counted anew."""
        self._looks.pop(owner, None)
