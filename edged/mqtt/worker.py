"""Handling what arrived: decided, answered, acknowledged, in this order, one call at a time."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from edged.mqtt.inbox import GATHER_BYTES
from edged.mqtt.link import Link
from edged.mqtt.memory import give_back
from edged.mqtt.message import Delivery, Inbound, Outbound
from edged.mqtt.trouble import HandlerFault, Trouble

GATHER = 64  # messages in one call of handle, at most; and inbox.GATHER_BYTES


@dataclass(frozen=True)
class _Job:
    """One call of ``handle`` and the connection on which its messages came."""

    link: Link
    batch: Sequence[Delivery]
    task: asyncio.Task[Sequence[Outbound]]


class Worker:
    """Keeps laws 1 and 2 of the session, also while two connections bring messages."""

    def __init__(self, handle: Callable[[Sequence[Inbound]], Awaitable[Sequence[Outbound]]], trouble: Trouble) -> None:
        self._handle = handle
        self._trouble = trouble
        self._turn = asyncio.Lock()
        self._gather = GATHER
        self.heard: Callable[[Link, bytes], None] = lambda _link, _mark: None
        """Told of a mark that came back on ``Link.echo``, once all that came before it is done."""
        self._job: _Job | None = None
        self._used = 0  # bytes of payload since memory was given back

    @property
    def busy(self) -> bool:
        """Whether messages were handed over that are not acknowledged yet."""
        return self._job is not None

    async def work(self, link: Link) -> None:
        """One call of ``handle`` with what waits on ``link``, and its acknowledgement.

        Raises LinkLost (what was handed over is still carried out, and comes again), HandlerFault, or what
        :meth:`Link.take` raises.
        """
        async with self._turn:
            await self._work(link)
            # Only now: what was carried out is no longer held by anything.
            if self._used >= GATHER_BYTES // 2:
                self._used = 0
                give_back()

    async def _work(self, link: Link) -> None:
        if self._job is not None:
            # Begun on a connection that is gone. Its messages come again; that call must end before this one.
            await link.wait(self._job.task)
            task, self._job = self._job.task, None
            task.result()
        batch = await link.take(1 if self._trouble.careful else self._gather)
        self._used += sum(len(each.inbound.payload) for each in batch)
        call = self._call([each.inbound for each in batch if each.inbound.topic != link.echo])
        self._job = _Job(link, batch, asyncio.create_task(call, name="mqtt-handle"))
        # A connection that cannot carry so many answers at once would ask for the same ones for ever.
        self._gather = max(1, self._gather // 2)
        await self._finish(self._job)
        self._gather = min(GATHER, 4 * self._gather)

    async def finish(self, link: Link) -> None:
        """Wait for the call in hand, if its messages came on ``link``, and acknowledge them."""
        if self._job is not None and self._job.link is link:
            await self._finish(self._job)

    async def abandon(self, seconds: float) -> None:
        """Let a call that nobody waits for any more end, up to ``seconds``, then end it."""
        if self._job is not None:
            await asyncio.wait((self._job.task,), timeout=seconds)
            self._job.task.cancel()
            with contextlib.suppress(asyncio.CancelledError, HandlerFault):
                await self._job.task

    async def _call(self, messages: Sequence[Inbound]) -> Sequence[Outbound]:
        try:
            return await self._handle(messages) if messages else []
        except (Exception, asyncio.CancelledError) as exc:
            raise HandlerFault(exc) from exc

    async def _finish(self, job: _Job) -> None:
        await job.link.wait(job.task)
        try:
            answers = job.task.result()
        except HandlerFault:
            self._job = None
            raise
        ours = sum(each.inbound.topic == job.link.echo for each in job.batch)
        if len(answers) == len(job.batch) - ours:
            rest = iter(answers)
            await job.link.answer([(d, None if d.inbound.topic == job.link.echo else next(rest)) for d in job.batch])
        else:
            await job.link.publish(answers)
            job.link.ack(job.batch)
        self._job = None
        for each in job.batch:
            if each.inbound.topic == job.link.echo:
                self.heard(job.link, each.inbound.payload)
