"""What happens at the other brokers while one is in use.

**The preferred ones** are tried again and again, and once one is back the session returns to it: the new connection is
made first and both are read for ``OVERLAP_SECONDS``, so that what the brokers are still passing on to each other
arrives in order; then the old one is left when all that came on it is done. A preferred broker that does not last
is given longer and longer, up to an hour.

**The others** are looked in on, soon after connecting and every ten minutes. That makes the session in which they keep
for us what comes while we are elsewhere, takes what they kept (bridged brokers: batches that we know already, which
the id shows), so that no queue of theirs runs over, and tells the operator of a dead one before it is needed.

Brokers of a cluster have one session between them. There a second connection ends the first; that is noticed, and
nobody is looked in on any more.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
import time
from collections.abc import Awaitable, Callable, Sequence

from edged.mqtt.endpoint import Endpoint
from edged.mqtt.link import Link
from edged.mqtt.message import Overrun
from edged.mqtt.trouble import Trouble

log = logging.getLogger(__name__)

RETURN_SECONDS, LONGEST_RETURN_SECONDS = 60.0, 3600.0  # between two tries of the preferred brokers
LASTING_SECONDS = 600.0  # a broker that we returned to and that held so long was worth it
OVERLAP_SECONDS = 2.0
FIRST_LOOK_SECONDS, LOOK_SECONDS = 5.0, 600.0
QUIET_SECONDS, LONGEST_LOOK_SECONDS = 1.0, 60.0  # a look ends when nothing came for the first, or after the second


class Rounds:
    """``run`` beside each connection. ``reach(broker, look)`` opens and subscribes, ``work(link)`` handles a batch."""

    def __init__(
        self,
        brokers: Sequence[Endpoint],
        reach: Callable[[Endpoint, bool], Awaitable[Link]],
        work: Callable[[Link], Awaitable[None]],
        trouble: Trouble,
        *,
        look: bool,
    ) -> None:
        self.ready: tuple[Endpoint, Link] | None = None
        self.away = False
        """Whether our client id is in use at another broker just now."""
        self._brokers = list(brokers)
        self._reach, self._work = reach, work
        self._trouble = trouble
        self._look = look
        self._patience = RETURN_SECONDS
        self._returned = -math.inf

    def shared(self) -> None:
        """A connection ended because we opened another: the brokers are one."""
        log.info("the brokers share one session: they are tried in turn, and not looked in on meanwhile")
        self._look = False

    async def run(self, present: Endpoint, link: Link) -> None:
        """Until cancelled, or until ``ready`` holds the connection to go on with and ``link`` is relieved."""
        place = self._brokers.index(present)
        better, rest = self._brokers[:place], self._brokers[place + 1 :]
        back = _soon(self._waits()) if better else math.inf
        look = _soon(FIRST_LOOK_SECONDS) if rest else math.inf
        while (due := min(back, look if self._look else math.inf)) < math.inf:
            await asyncio.sleep(due - time.monotonic())
            if due == back:
                for broker in better:
                    if await self._return(broker, link):
                        return
                back = _soon(self._waits())
            else:
                for broker in rest:
                    await self._look_in(broker)
                look = _soon(LOOK_SECONDS)

    def _waits(self) -> float:
        return max(self._patience, RETURN_SECONDS)

    async def _return(self, broker: Endpoint, link: Link) -> bool:
        other: Link | None = None
        self.away = True
        try:
            other = await self._reach(broker, False)
            await asyncio.wait((other.lost,), timeout=OVERLAP_SECONDS)
            other.check()
            lasted = time.monotonic() - self._returned >= LASTING_SECONDS
            self._patience = RETURN_SECONDS if lasted else min(2 * self._patience, LONGEST_RETURN_SECONDS)
            self._returned = time.monotonic()
            self.ready, other = (broker, other), None
            link.inbox.relieve()
        except Exception as exc:  # noqa: BLE001 - the connection in use must not suffer
            self._trouble.elsewhere(str(broker), exc)
            return False
        else:
            return True
        finally:
            self.away = False
            if other is not None:
                other.abort()

    async def _look_in(self, broker: Endpoint) -> None:
        other: Link | None = None
        self.away = True
        try:
            other = await self._reach(broker, True)
            await self._drain(other)
            await other.close()
        except Exception as exc:  # noqa: BLE001 - as above
            self._trouble.elsewhere(str(broker), exc)
        else:
            self._trouble.elsewhere(str(broker), None)
        finally:
            self.away = False
            if other is not None:
                other.abort()

    async def _drain(self, link: Link) -> None:
        end = time.monotonic() + LONGEST_LOOK_SECONDS
        try:
            while time.monotonic() < end:
                async with asyncio.timeout(QUIET_SECONDS):
                    await link.arrived()
                await self._work(link)
        except (TimeoutError, Overrun):
            return  # what an overrun left behind stays in that broker's queue for the next look


def _soon(seconds: float) -> float:
    return time.monotonic() + random.uniform(seconds / 2, seconds)  # noqa: S311 - spreads load, guards no secret
