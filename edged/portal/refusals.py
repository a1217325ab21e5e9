"""Who was refused so often within a second that its next connections are not worth a look.

To hear, judge and refuse a request that is none takes six system calls, to close its connection unread takes two, and
whoever sends one after another comes again as soon as it is cut. A browser sends none; a device that speaks something
else to port 80 tries a few times. So after :data:`MOST` refusals an address has to wait for the next second, and nobody
else for it.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable

MOST = 8
"""Refusals of an IPv4 address, or an IPv6 /64, in a second, in one worker."""


class Refusals:
    """Nothing here outlives its second; ``sweep`` must be called several times in each."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._of: Counter[str | bytes] = Counter()
        self._end = 0.0
        self.barred: set[str | bytes] = set()
        """Those who have to wait."""

    def add(self, who: str | bytes) -> None:
        """Somebody was refused."""
        self._of[who] += 1
        if self._of[who] >= MOST:
            self.barred.add(who)

    def sweep(self) -> None:
        """Begin anew when the second is over."""
        now = self._clock()
        if now >= self._end:
            self._end = now + 1.0
            self._of.clear()
            self.barred.clear()
