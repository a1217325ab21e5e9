"""Who is connected to the notice page, for how long still, and whose request may be carried out now.

Everybody who connects has a place, and each place has a moment at which it is lost:

| what a connection does                                      | until                                                 |
|-------------------------------------------------------------|-------------------------------------------------------|
| TLS handshake, head and body of the first or a later request | ``limits.seconds`` from its first byte                |
| nothing, after an answer                                    | :data:`KEEP_ALIVE`                                    |
| reads its answer, or a stream of events                     | :data:`STALL_SECONDS` without reading any of it       |

When all places are taken, a newcomer gets that of whoever has been without a request for longest, or else of the
oldest one that is being answered: who holds places to keep others out loses them first, and an honest client needs
one for milliseconds. An address has a share of the places. Of the requests that wait, that of the address which has
asked least in this second comes first: those who ask often wait for one another, and nobody else for them.

Nothing here grows with the number of addresses in the world: all is counted by who is connected, or within a second.
"""

from __future__ import annotations

import heapq
import itertools
import time
from collections import Counter
from collections.abc import Callable
from typing import Protocol

from edged.portal.redirector import SWEEP_BATCH, Limits
from edged.portal.refusals import Refusals
from edged.portal.tally import Tally
from edged.portal.wire import CLOSED

KEEP_ALIVE = 5.0
"""Seconds between an answer and the next request."""
STALL_SECONDS = 10.0
"""Seconds in which a client must have read something of what waits for it."""
COMERS = 30
"""New connections of one address a second in one worker. A whole page is a handful."""
TOGETHER = 32
"""Requests that are carried out at a time in one worker. Each may be a question to the core, beside its commands.

One whose answer has begun counts no more: see :meth:`Places.flows`.
"""


class Connection(Protocol):
    """What a place is given to. ``due``, a moment on the clock, and ``unread`` are kept for :class:`Places`."""

    who: str | bytes
    due: float
    unread: int

    def cut(self) -> None:
        """End it at once; :meth:`Places.leave` follows, now or soon."""

    def go(self) -> None:
        """Carry out the request that came."""

    def waiting(self) -> int:
        """Bytes of the answer that the client has not taken yet."""


class Places:
    """The places of one worker. ``sweep`` must be called every quarter of a second or so."""

    def __init__(self, limits: Limits, tally: Tally, clock: Callable[[], float] = time.monotonic) -> None:
        self._limits = limits
        self._tally = tally
        self._clock = clock
        # both in the order in which somebody came into them; an answered client comes into the first again
        self._reading: dict[Connection, None] = {}
        self._answering: dict[Connection, None] = {}
        self._of: Counter[str | bytes] = Counter()
        self._asked: Counter[str | bytes] = Counter()
        self._came: Counter[str | bytes] = Counter()
        self._late: list[tuple[int, int, Connection]] = []
        self._serial = itertools.count()
        self._busy: set[Connection] = set()
        self._second = 0.0
        self._refusals = Refusals(clock)

    @property
    def household(self) -> int:
        """Bits of an IPv6 address that tell one household from another."""
        return self._limits.household

    @property
    def taken(self) -> int:
        """Connections that hold a place now."""
        return len(self._reading) + len(self._answering)

    def welcome(self, who: str | bytes) -> bool:
        """Whether somebody may come in; False (and counted) when the address has had its share, or sent nonsense."""
        if who not in self._refusals.barred and self._of[who] < self._limits.per_address and self._came[who] < COMERS:
            return True
        self._tally.add("refused", CLOSED)
        return False

    def enter(self, one: Connection) -> None:
        """Who is :meth:`welcome` came in."""
        if self.taken >= self._limits.connections:
            oldest = next(iter(self._reading or self._answering))
            self._tally.add("refused", CLOSED)
            self.leave(oldest)
            oldest.cut()
        self._of[one.who] += 1
        self._came[one.who] += 1
        one.due = self._clock() + self._limits.seconds
        self._reading[one] = None

    def refused(self, who: str | bytes, status: int) -> None:
        """Somebody is told that this was no request."""
        self._tally.add("refused", status)
        self._refusals.add(who)

    def leave(self, one: Connection) -> None:
        """A connection is gone. Saying so twice does no harm."""
        if one in self._reading:
            del self._reading[one]
        elif one in self._answering:
            del self._answering[one]
            self._done(one)
        else:
            return
        self._of[one.who] -= 1
        if not self._of[one.who]:
            del self._of[one.who]

    def replace(self, one: Connection, by: Connection) -> None:
        """``by`` is the same client, and goes on in its place."""
        if one in self._reading:
            del self._reading[one]
            by.due = one.due
            self._reading[by] = None

    def begins(self, one: Connection) -> None:
        """The first byte of a request came, on a connection that has had an answer before."""
        one.due = self._clock() + self._limits.seconds

    def asks(self, one: Connection) -> None:
        """A request is whole: it is carried out now, or when its turn comes."""
        if one not in self._reading:
            return  # cut meanwhile
        del self._reading[one]
        self._answering[one] = None
        one.unread = 0
        one.due = self._clock() + STALL_SECONDS
        self._go(one)

    def _go(self, one: Connection) -> None:
        self._asked[one.who] += 1
        heapq.heappush(self._late, (self._asked[one.who], next(self._serial), one))
        self._go_on()

    def _go_on(self) -> None:
        while self._late and len(self._busy) < TOGETHER:
            one = heapq.heappop(self._late)[-1]
            if one in self._answering:
                self._busy.add(one)
                one.go()

    def answered(self, one: Connection) -> None:
        """A whole answer was written; the client may ask again, once it has read it."""
        if one in self._answering:
            del self._answering[one]
            self._reading[one] = None
            self._done(one)
            one.due = self._clock() + KEEP_ALIVE + 1.0  # uvicorn closes idle ones itself; this is for those who fool it

    def flows(self, one: Connection) -> None:
        """The answer has begun and goes on by and by, a stream of events maybe: others need not wait for its end."""
        self._done(one)

    def _done(self, one: Connection) -> None:
        if one in self._busy:
            self._busy.discard(one)
            self._go_on()

    def sweep(self) -> bool:
        """Cut those whose time is over, and let those go on who had asked too often.

        True when there are more to cut than are cut in one turn: to be called again when others have had theirs.
        """
        self._refusals.sweep()
        now = self._clock()
        over = list(
            itertools.islice(
                (one for one in itertools.chain(self._reading, self._answering) if one.due <= now), SWEEP_BATCH
            )
        )
        for one in over:
            unread, one.unread = one.unread, one.waiting()
            reads = 0 < one.unread < unread or (one.unread and not unread)
            if reads or (one in self._answering and not one.unread):
                one.due = now + STALL_SECONDS
            else:
                self._tally.add("refused", CLOSED)
                self.leave(one)
                one.cut()
        if now >= self._second:
            self._second = now + 1.0
            self._asked.clear()
            self._came.clear()
            self._busy.clear()  # a promise or a code waits for the core's disk, for seconds maybe; nobody else has to
            self._go_on()
        return len(over) == SWEEP_BATCH
