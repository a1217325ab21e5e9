"""Sends snapshots: all parts into the outbox, then to the gateway, those that are missing again, until it says done."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
import uuid
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from edged.client.documents import Answer, Commands, Packer, chunk, each
from edged.client.outbox import Outbox
from edged.client.post import Post
from edged.client.schema import Snapshot
from edged.errors import EdgedError
from edged.mqtt.topics import ROOT

log = logging.getLogger(__name__)
PART_COMMANDS = 1000  # a gateway keeps a part in one go, and a command beside the snapshot waits for that
WORK = 300.0  # s that a gateway may take from the last part to the last answer
HELD = 3600.0  # s after which a gateway that holds one is asked again: its last answer may have been lost
SETTLE = 5.0  # s for batches that are on their way
IN_FLIGHT = 2  # parts that are not answered yet; a command waits behind them
FIRST_PATIENCE, LAST_PATIENCE = 30.0, 900.0  # s without a word from the gateway
PASSING = frozenset({"expired", "from_the_future"})  # refusals that pass by themselves


@dataclass
class _Job:
    """A snapshot on its way. ``open``: parts that the gateway has not confirmed."""

    snapshot: Snapshot
    open: set[int]
    todo: deque[int]
    result: asyncio.Future[Answer]
    out: set[int] = field(default_factory=set)
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    heard: float = 0.0
    held: str = ""
    """Why the gateway keeps it until a human looked; empty: it does not."""
    when_held: Callable[[str], None] = lambda _: None

    def again(self, parts: Sequence[int]) -> None:
        """Publish these (again)."""
        self.out.difference_update(parts)
        self.todo = deque(sorted({*self.todo, *parts}))
        self.wake.set()


class Snapshots:
    """One snapshot a gateway at a time; a newer one displaces it, here as there."""

    def __init__(self, post: Post, *, numbered: bool) -> None:
        self._post = post
        self._numbered = numbered
        self._jobs: dict[str, _Job] = {}
        self._locks: dict[str, asyncio.Lock] = {}
        self._broker = ""

    def connected(self, broker: str) -> None:
        """A connection stands; another broker has none of our parts."""
        for job in self._jobs.values():
            job.again(sorted(job.open if broker != self._broker else job.out))
        self._broker = broker

    async def send(
        self,
        gateway: str,
        commands: Commands,
        shards: Sequence[int] | None,
        *,
        displace: bool = True,
        when_held: Callable[[str], None] = lambda _: None,
    ) -> Answer:
        """Keep all parts, then deliver them; returns the last answer. ``displace``: take the place of one on its way,
        rather than wait for its end. ``when_held`` is told why where a human must look at it before that answer comes.
        """
        if displace and (old := self._jobs.get(gateway)) and not old.result.done():
            old.result.set_exception(EdgedError(f"a newer snapshot for {gateway} took the place of this one"))
        async with self._locks.setdefault(gateway, asyncio.Lock()):
            epoch, seq = await self._settled(f"gw/{gateway}/cmd") if self._numbered else ("", 0)
            await self._post.do(Outbox.begin_snapshot, gateway)
            packer, parts = Packer(PART_COMMANDS), 0
            async for command in each(commands):
                if (array := packer.add(command)) is not None:
                    parts += 1
                    await self._post.do(Outbox.add_part, gateway, parts, array)
            rest = packer.rest()
            if rest is not None or not parts:  # an empty table is one empty part: the gateway's brake will ask a human
                parts += 1
                await self._post.do(Outbox.add_part, gateway, parts, rest or b"[]")
            which = None if shards is None else tuple(shards)
            snapshot = Snapshot(gateway, uuid.uuid4().hex, parts, epoch, seq, which)
            await self._post.do(Outbox.end_snapshot, snapshot)
            return await self._deliver(snapshot, when_held)

    async def idle(self, gateway: str) -> None:
        """Return when none is on its way to this gateway."""
        async with self._locks.setdefault(gateway, asyncio.Lock()):
            pass

    async def _settled(self, topic: str) -> tuple[str, int]:
        """The position that the snapshot includes: what was reserved by now is in the caller's table.

        Batches up to it are stale once the snapshot is in force. What they hold beside bindings and debts (a garden, a
        forget) would be lost with them, so a gateway that is there gets a moment to answer them first.
        """
        position = await self._post.do(Outbox.position, topic)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SETTLE):
                while await self._post.do(Outbox.waiting, topic, position[1]):  # noqa: ASYNC110 - the outbox tells nobody
                    await asyncio.sleep(SETTLE / 50)
        return position

    async def resume(self, snapshot: Snapshot) -> Answer:
        """Deliver one that an earlier process left in the outbox."""
        async with self._locks.setdefault(snapshot.gateway, asyncio.Lock()):
            return await self._deliver(snapshot)

    # -- out ---------------------------------------------------------------------------------------------------

    async def _deliver(self, snapshot: Snapshot, when_held: Callable[[str], None] = lambda _: None) -> Answer:
        everything = range(1, snapshot.parts + 1)
        result: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        job = _Job(snapshot, set(everything), deque(everything), result, heard=time.monotonic(), when_held=when_held)
        self._jobs[snapshot.gateway] = job
        result.add_done_callback(lambda _: job.wake.set())
        patience = FIRST_PATIENCE
        try:
            while not result.done():
                job.wake.clear()
                await self._publish(job)
                try:
                    # With every part confirmed the gateway is at work, which with a million subscribers takes its
                    # time; and the human for whom it may wait takes his.
                    least = HELD if job.held else 0.0 if job.open else WORK
                    due = job.heard + max(patience, least) - time.monotonic()
                    async with asyncio.timeout(max(0.0, due)):
                        await job.wake.wait()
                except TimeoutError:
                    job.heard, patience = time.monotonic(), min(2 * patience, LAST_PATIENCE)
                    # All confirmed and no word of the end: the last answer was lost.
                    job.again(sorted(job.open) or [snapshot.parts])
            answer = result.result()
            if job.held:
                done = f"was dropped ({answer.refusal})" if answer.refusal else "is carried out"
                log.warning("%s: the snapshot that was held %s", snapshot.gateway, done)
            topic = f"gw/{snapshot.gateway}/cmd"
            await self._post.do(Outbox.finish_snapshot, snapshot, topic, accepted=not answer.refusal)
            return answer
        finally:
            del self._jobs[snapshot.gateway]

    async def _publish(self, job: _Job) -> None:
        while job.todo and len(job.out) < IN_FLIGHT and self._post.broker is not None and not job.result.done():
            part = job.todo.popleft()
            job.out.add(part)
            snapshot = job.snapshot
            commands = await self._post.do(Outbox.part, snapshot.gateway, part)
            head = self._post.identity.head(snapshot.gateway, snapshot.epoch, snapshot.seq)
            body = chunk(head, snapshot.sync, part, snapshot.parts, commands, snapshot.shards)
            topic = f"{ROOT}gw/{snapshot.gateway}/sync"
            if not await self._post.publish([(topic, body, f"{part} - {snapshot.sync}".encode())]):
                job.again([part])
                return

    # -- in ----------------------------------------------------------------------------------------------------

    def hear(self, answer: Answer, correlation: bytes | None) -> bool:
        """An answer to one of our parts, or the last one. False: it is not about a snapshot that is on its way."""
        job = self._jobs.get(answer.gateway)
        if job is None or answer.id != job.snapshot.sync:
            return False
        job.heard = time.monotonic()
        part = answer.document.get("part")
        code = answer.refusal
        if code in PASSING:
            # It lay in the broker for too long, or a clock is wrong; which part, only the Correlation Data may know.
            word = (correlation or b"").partition(b" ")[0]
            if part is None and word.isdigit():
                part = int(word)
            if code == "expired" and isinstance(part, int):
                job.again([part])
        elif isinstance(part, int) and not code:
            job.out.discard(part)
            job.open.discard(part)
            self._note(job, answer)
        elif not job.result.done():
            job.result.set_result(answer)
        job.wake.set()
        return True

    @staticmethod
    def _note(job: _Job, answer: Answer) -> None:
        """Whether the brake keeps it. It is told once, however often the gateway says so."""
        why = answer.document.get("held")
        if isinstance(why, str) and why and not job.held:
            job.held = why
            log.warning("%s holds the snapshot until somebody there looked: %s", answer.gateway, why)
            job.when_held(why)

    def missing(self, gateway: str, event: dict[str, Any]) -> None:
        """The gateway asks for parts."""
        job = self._jobs.get(gateway)
        if job is None or event.get("sync") != job.snapshot.sync:
            return
        asked = event.get("missing")
        said = asked if isinstance(asked, list) else []
        parts = {p for p in said if isinstance(p, int) and 1 <= p <= job.snapshot.parts}
        job.heard = time.monotonic()
        job.open |= parts
        job.again(sorted(parts))
