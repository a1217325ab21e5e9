"""Snapshots for gateways that ask for one, out of the caller's table."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Coroutine
from typing import Any

from edged.client.documents import Commands
from edged.client.outbox import Outbox
from edged.client.post import Post
from edged.client.snapshots import Snapshots

log = logging.getLogger(__name__)
FIRST_PAUSE, LONGEST_PAUSE = 5.0, 3600.0  # s between two snapshots for one gateway
AT_ONCE = 4  # gateways served at the same time

Begin = Callable[[Coroutine[Any, Any, None]], object]


class Resync:
    """``table`` gives the commands of a gateway's snapshot, each time anew; ``begin`` starts a task."""

    def __init__(self, post: Post, snapshots: Snapshots, table: Callable[[str], Commands] | None, begin: Begin) -> None:
        self._post, self._snapshots, self._table, self._begin = post, snapshots, table, begin
        self._serving: set[str] = set()
        self._pauses: dict[str, tuple[float, float]] = {}  # last snapshot asked for, spacing to the next
        self._permits = asyncio.Semaphore(AT_ONCE)

    async def want(self, gateways: Collection[str]) -> None:
        """These gateways ask for a snapshot; remembered over a restart."""
        if gateways and self._table is None:
            log.warning("%s asks for a snapshot, and this sender has no table", ", ".join(sorted(gateways))[:200])
        elif gateways:
            await self._post.do(Outbox.want, gateways)
            await self.look()

    async def look(self) -> None:
        """Begin with those that wait and are not being served."""
        if self._table is None:
            return
        for gateway in await self._post.do(Outbox.wanted):
            if gateway not in self._serving:
                self._serving.add(gateway)
                self._begin(self._satisfy(gateway, self._table))

    async def _satisfy(self, gateway: str, table: Callable[[str], Commands]) -> None:
        """Snapshots for one gateway until it asks for none; slower each time, whoever makes it ask."""
        try:
            while times := (await self._post.do(Outbox.wanted)).get(gateway):
                await asyncio.sleep(self._pause(gateway))
                await self._snapshots.idle(gateway)
                permit = await self._permit()
                log.info("%s asked for a snapshot", gateway)
                try:
                    # A human may take days over one that is held: the other gateways need not wait for that.
                    answer = await self._snapshots.send(
                        gateway, table(gateway), None, displace=False, when_held=permit.set_result
                    )
                except Exception as e:  # noqa: BLE001 - the caller's table may raise anything, and is asked again
                    log.warning("the snapshot for %s failed: %r", gateway, e)
                    continue
                finally:
                    held = permit.done()
                    permit.cancel()
                if answer.refusal:
                    log.warning("%s refuses the snapshot it asked for: %s", gateway, answer.refusal)
                if not answer.refusal or (held and answer.refusal == "brake"):  # somebody looked, and wants none such
                    await self._post.do(Outbox.grant, gateway, times)
        finally:
            self._serving.discard(gateway)

    async def _permit(self) -> asyncio.Future[str]:
        """One of the few; it is given back when the future ends, in whatever way."""
        await self._permits.acquire()
        permit: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        permit.add_done_callback(lambda _: self._permits.release())
        return permit

    def _pause(self, gateway: str) -> float:
        """Seconds to wait before the next snapshot for it; they double while it keeps asking."""
        now = asyncio.get_running_loop().time()
        last, spacing = self._pauses.get(gateway, (-LONGEST_PAUSE, 0.0))
        wait = max(0.0, last + spacing - now)
        longer = min(2 * spacing, LONGEST_PAUSE) if now - last < 4 * spacing else FIRST_PAUSE
        self._pauses[gateway] = (now + wait, longer)
        return wait
