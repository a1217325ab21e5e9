"""What happens at the other brokers while one is in use.

**The preferred ones** are tried again and again, and once one is back the session returns to it: the new connection is
made first, and the old one left when all that came on it is done. A preferred broker that does not last is given longer
and longer, up to an hour.

**The others** are looked in on, soon after connecting and every ten minutes. That makes the session in which they keep
for us what comes while we are elsewhere, takes what they kept (bridged brokers: batches that we know already, which
the id shows), so that no queue of theirs runs over, and tells the operator of a dead one before it is needed.

Nothing may overtake: a batch that comes on one connection while an earlier one still waits on the other would be a gap
in the numbering. So each time a *mark* is published at the broker visited, on a topic that nobody but we read. Bridges
keep the order; when the mark has come back on the connection in use, all that stood before it is done. Without a bridge
it never comes back: then nothing is taken there, and that is said.

Brokers of a cluster have one session between them. There a second connection ends the first; that is noticed, and
nobody is looked in on any more.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence

from edged.mqtt.endpoint import Endpoint
from edged.mqtt.link import Link
from edged.mqtt.message import LinkLost, Outbound, Overrun
from edged.mqtt.trouble import Trouble
from edged.mqtt.worker import Worker

log = logging.getLogger(__name__)

RETURN_SECONDS, LONGEST_RETURN_SECONDS = 60.0, 3600.0  # between two tries of the preferred brokers
LASTING_SECONDS = 600.0  # a broker that we returned to and that held so long was worth it
FIRST_LOOK_SECONDS, LOOK_SECONDS = 5.0, 600.0
MARK_SECONDS, MARK_AGAIN_SECONDS = 30.0, 1.0  # a bridge that was cut is given so long to come back


class Rounds:
    """``run`` beside each connection. ``reach(broker, look)`` opens and subscribes."""

    def __init__(
        self,
        brokers: Sequence[Endpoint],
        reach: Callable[[Endpoint, bool], Awaitable[Link]],
        worker: Worker,
        trouble: Trouble,
        *,
        look: bool,
    ) -> None:
        self.ready: tuple[Endpoint, Link] | None = None
        self.away = False
        """Whether our client id is in use at another broker just now."""
        self._brokers = list(brokers)
        self._reach, self._worker = reach, worker
        worker.heard = self._heard
        self._mark = b""
        self._back: dict[Link, asyncio.Event] = {}
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
                    await self._look_in(broker, link)
                look = _soon(LOOK_SECONDS)

    def _waits(self) -> float:
        return max(self._patience, RETURN_SECONDS)

    async def _return(self, broker: Endpoint, link: Link) -> bool:
        other: Link | None = None
        self.away = True
        try:
            other = await self._reach(broker, False)
            if other.echo and not await self._passed_on(other, link):
                log.warning("%s is back, but what it is sent does not come here: going on there all the same", broker)
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

    async def _look_in(self, broker: Endpoint, link: Link) -> None:
        other: Link | None = None
        self.away = True
        try:
            other = await self._reach(broker, True)
            if not await self._passed_on(other, link):
                raise LinkLost(
                    "what is published there does not come here, and waits there: are the brokers bridged, and may "
                    f"this gateway write and read {other.echo}?"
                )
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

    async def _passed_on(self, other: Link, link: Link) -> bool:
        """Whether a mark published on ``other`` came back on ``link``; all before it is done then."""
        self._mark, self._back = secrets.token_bytes(8), {link: asyncio.Event(), other: asyncio.Event()}
        end = time.monotonic() + MARK_SECONDS
        while time.monotonic() < end:
            # Again and again: before the bridge has subscribed, nobody takes it.
            await other.publish([Outbound(other.echo, self._mark)])
            try:
                async with asyncio.timeout(MARK_AGAIN_SECONDS):
                    await self._back[link].wait()
            except TimeoutError:
                continue
            return True
        return False

    def _heard(self, link: Link, mark: bytes) -> None:
        if mark == self._mark and link in self._back:
            self._back[link].set()

    async def _drain(self, other: Link) -> None:
        """Take what was kept up to the mark: all of it has had its turn on the connection in use."""
        try:
            async with asyncio.timeout(MARK_SECONDS):
                while not self._back[other].is_set():
                    await other.arrived()
                    await self._worker.work(other)
        except Overrun:
            return  # what is left stays in that broker's queue for the next look


def _soon(seconds: float) -> float:
    return time.monotonic() + random.uniform(seconds / 2, seconds)  # noqa: S311 - spreads load, guards no secret
