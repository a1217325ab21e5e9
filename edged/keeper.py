"""Keeps the kernel true while commands, timers and other people's scripts do their work.

One worker thread owns store, pipeline and enforcer; everything goes through :meth:`Keeper.do`, so nothing in them
needs a lock. A refill is a row of short jobs in that thread, and commands slip in between. Whoever wants to know that
something is in force waits for ``in_sync``.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ParamSpec, TypeVar

from edged.cashier import Cashier
from edged.clock import in_time
from edged.domain.model import rfc3339
from edged.errors import EdgedError, KernelError, StoreError
from edged.gardens import Gardens
from edged.intake import Incoming, groups
from edged.nft.enforcer import Enforcer
from edged.nft.routing import Steering
from edged.nft.watch import Watch
from edged.observer import Observer
from edged.pipeline import Outcome, Pipeline, error_name
from edged.store.store import Store
from edged.upkeep import Upkeep

_log = logging.getLogger(__name__)
P = ParamSpec("P")
T = TypeVar("T")

FIRST_PAUSE, LAST_PAUSE = 0.1, 15.0
"""Seconds between two tries of what failed, doubling."""
LONGEST_STEPS = 0.25
"""Seconds a refill may take in one go beside commands."""
LONGEST_SLEEP = 30.0
"""Seconds a timer sleeps at most: a clock that was set must be noticed."""


def _joined(parts: Sequence[Outcome]) -> Outcome:
    answers = [a for o in parts for a in o.answers]
    return Outcome(answers, all(o.enforced for o in parts), any(o.gardens_changed for o in parts))


class Keeper:
    """Constructor starts nothing; ``run_*`` are tasks for the daemon's task group."""

    def __init__(
        self,
        pipeline: Pipeline,
        store: Store,
        enforcer: Enforcer,
        steering: Steering,
        observer: Observer,
        *,
        watch: Watch | None,
    ) -> None:
        self.pipeline = pipeline
        self.upkeep = Upkeep(pipeline)
        self.cashier = Cashier(pipeline)
        self.store = store
        self.enforcer = enforcer
        self.steering = steering
        self.gardens: Gardens | None = None
        self.in_sync = asyncio.Event()
        self.in_sync_again = asyncio.Event()
        """Set after each refill."""
        self.changed = asyncio.Event()
        """Set whenever the state document may have changed."""
        self.told = asyncio.Event()
        """Set whenever the outbox may hold events."""
        self.errors: deque[dict[str, str]] = deque(maxlen=20)
        self.frozen = False
        """Everything was opened for good: nothing is put into the kernel any more."""
        self.alive: Callable[[], None] = lambda: None
        """Called after each proof of progress; the watchdog's keep-alive."""
        self.told_watchers: Callable[[Iterable[str]], None] = lambda _: None
        """Called with the watched addresses that something concerns, once the kernel has it."""
        self.told_texts: Callable[[str], None] = lambda _: None
        """Called with each reason whose page has new texts."""
        self.last_commit = 0.0
        self.queued = 0
        self.resyncs = 0
        """Refills that ended well."""
        self.observer = observer
        self.watch = watch
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="keeper")
        self._wanted: asyncio.Event = asyncio.Event()
        self.complete = asyncio.Event()
        """Set when a snapshot may be complete."""
        self.walked = asyncio.Event()
        """Clear while a snapshot changes the desired state."""
        self.still = asyncio.Event()
        """Clear while a refill is under way."""
        self.still.set()
        if pipeline.gathering.ready:
            self.complete.set()
        else:
            self.walked.set()
        observer.held(pipeline.held)
        self._cause = "start"
        self._timer = asyncio.Event()
        self._wanted.set()

    async def do(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run in the thread that owns store and kernel, after all that was asked before."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, lambda: work(*args, **kwargs))

    def close(self) -> None:
        """End the thread after its last job."""
        self._thread.shutdown(wait=True)

    def note(self, where: str, error: BaseException | str) -> None:
        """Remember an error for ``status`` and log it, once while it repeats."""
        text = str(error)
        if self.errors and self.errors[-1]["where"] == where and self.errors[-1]["text"] == text:
            self.errors[-1]["at"] = rfc3339(self.pipeline.clock())
            return
        self.errors.append({"at": rfc3339(self.pipeline.clock()), "where": where, "text": text})
        _log.error("%s: %s", where, text)

    # -- commands --------------------------------------------------------------------------------------------

    async def process(self, payloads: Sequence[Incoming]) -> Outcome:
        """Commit and enforce; returns when the kernel has it, however long that takes."""
        self.queued += len(payloads)
        try:
            return _joined([await self._group(group) for group in groups(payloads)])
        finally:
            self.queued -= len(payloads)

    async def _group(self, payloads: Sequence[Incoming]) -> Outcome:
        outcome = await self._processed(payloads)
        if outcome.gardens_changed:
            await self.refresh_gardens()
        if self.pipeline.gathering.ready:
            self.complete.set()
        await self._settled(outcome.enforced)
        return outcome

    async def _processed(self, payloads: Sequence[Incoming]) -> Outcome:
        """One payload that meets a fault of ours must neither stop the others nor be delivered again for ever."""
        try:
            return await self.persist(self.pipeline.process, payloads)
        except EdgedError:
            raise
        except Exception as e:  # noqa: BLE001  whatever it is, the other payloads must go on
            if len(payloads) > 1:
                return _joined([await self._processed([p]) for p in payloads])
            self.note("pipeline", f"{type(e).__name__}: a payload was refused; the traceback is in the debug log")
            _log.debug("the payload that was refused", exc_info=True)
            return self.pipeline.refuse("edged could not carry this out; its log says more, please report it")

    async def seen(self, address: str, *, pressed: bool) -> None:
        """A reminder was on the screen, or was sent away."""
        enforced = await self.persist(self.upkeep.seen if pressed else self.upkeep.looked, address)
        if enforced is not None:
            await self._settled(enforced)

    async def _settled(self, enforced: bool) -> None:
        self._timer.set()
        self.changed.set()
        self.told.set()
        self.observer.held(self.pipeline.held)
        if not enforced:
            was_in_sync = self.in_sync.is_set()
            self._unsynced()
            self._doubted(refilling=not was_in_sync)
            await self.in_sync.wait()
        elif await self.do(lambda: self.enforcer.crowded):
            self.want("growth")
        self._tell_pages()

    def _tell_pages(self) -> None:
        if touched := self.pipeline.watched.take():
            self.told_watchers(touched)
        while self.pipeline.pages.news:
            self.told_texts(self.pipeline.pages.news.popleft())

    def _doubted(self, *, refilling: bool) -> None:
        """Ask for a refill, unless nothing failed and one is due anyway, which brings what was committed before it."""
        cause, text = self.pipeline.doubt, self.pipeline.last_error
        self.pipeline.doubt, self.pipeline.last_error = "error", ""
        if text:
            self.note("kernel", text)
        if text or cause != "error" or not refilling:
            self.want(cause)

    async def persist(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Until the store takes it: a full disk must not lose a command."""
        pause = FIRST_PAUSE
        while True:
            try:
                out = await self.do(work, *args, **kwargs)
            except StoreError as e:
                self.observer.commit_failed()
                self.note("store", e)
                self.changed.set()
                await asyncio.sleep(pause)
                pause = min(pause * 2, LAST_PAUSE / 5)
            else:
                self.last_commit = time.time()
                return out

    # -- refill ----------------------------------------------------------------------------------------------

    def want(self, cause: str) -> None:
        """Ask for a full resync. ``cause``: start, error, drift, growth, clock, command or snapshot."""
        if cause in ("error", "drift", "start"):
            self._unsynced()
        if not self._wanted.is_set():
            self._cause = cause
        self._wanted.set()

    def _unsynced(self) -> None:
        if self.in_sync.is_set():
            self.in_sync.clear()
            self.observer.in_sync(False)
            self.changed.set()

    async def run_sync(self) -> None:
        """Refill whenever somebody wants it, again and again until it succeeds."""
        pause = FIRST_PAUSE
        while True:
            await self._wanted.wait()
            await self._turn()
            if self.frozen:
                return
            self._wanted.clear()
            cause, began = self._cause, time.monotonic()
            self.still.clear()
            try:
                await self.do(self.steering.ensure)
                await self._refill()
            except EdgedError as e:
                self.still.set()
                if isinstance(e, KernelError):
                    self.observer.kernel_error(error_name(e))
                self._unsynced()
                self.note("store" if isinstance(e, StoreError) else "kernel", e)
                await asyncio.sleep(pause)
                pause = min(pause * 2, LAST_PAUSE)
                self._wanted.set()
                continue
            finally:
                self.still.set()
            if not await self.do(lambda: self.enforcer.synced):
                self._wanted.set()  # a change failed right behind the switch: its answer must not go out yet
                continue
            pause = FIRST_PAUSE
            self.resyncs += 1
            self.observer.resync(cause, time.monotonic() - began)
            self.observer.in_sync(True)
            self.in_sync.set()
            self.in_sync_again.set()
            self.changed.set()
            self._timer.set()
            self.pipeline.watched.touch_all()  # a snapshot comes into force with one
            self._tell_pages()
            _log.info("resync (%s) took %.3f s", cause, time.monotonic() - began)

    async def _turn(self) -> None:
        """A refill in the middle of a snapshot would show half of it; without a table, half is better than nothing."""
        if await self.do(lambda: self.enforcer.backend.table() is not None):
            await self.walked.wait()

    async def _refill(self) -> None:
        await self._put_gardens()
        if self.watch:
            self.watch.pause()
        try:
            steps = self.enforcer.refill(self.store, self.pipeline.clock)
            await self.go(steps)
        finally:
            if self.watch:
                self.watch.resume()
        if self.watch and not await self.do(self.enforcer.intact):
            raise KernelError("the table was changed while it was filled; filling it again")

    async def go(self, steps: Iterator[None]) -> None:
        """All of these steps, in the worker thread, with commands in between. Raises what a step raises."""
        while await self.do(self._steps, steps):
            self.alive()

    def _steps(self, steps: Iterator[None]) -> bool:
        """One or more steps of a refill, in the worker thread; False at the end.

        It takes as long as the last group of commands did, so that large batches cannot starve it, and a single
        command beside it waits for one step.
        """
        end = time.perf_counter() + min(self.pipeline.last_seconds, LONGEST_STEPS)
        while True:
            if next(steps, self) is self:
                return False
            if time.perf_counter() >= end:
                return True

    async def synced_after(self, resyncs: int) -> None:
        """Wait for a refill later than the one counted ``resyncs``."""
        while self.resyncs <= resyncs:
            self.in_sync_again.clear()
            await self.in_sync_again.wait()

    async def refresh_gardens(self) -> None:
        """Bring changed gardens into force."""
        try:
            await self._put_gardens()
        except EdgedError as e:
            self.note("gardens", e)
            self.want("error")

    async def _put_gardens(self) -> None:
        if self.gardens:
            self.gardens.put(await self.do(self.store.gardens))
            await self.do(self.enforcer.set_gardens, self.gardens.openings())

    # -- timers and questions --------------------------------------------------------------------------------

    async def run_timers(self) -> None:
        """Carry out what is due: promises that end, blocks that begin, deadlines."""
        while True:
            await self.in_sync.wait()
            touched, enforced = await self.persist(self.upkeep.expire)
            if not touched:
                touched, enforced = await self.persist(self.upkeep.sweep)
            if touched:
                await self._settled(enforced)
                continue
            self._timer.clear()
            due = await self.persist(self.store.next_due)
            pause = (due - self.pipeline.clock()) / 1000 if due else LONGEST_SLEEP
            try:
                async with asyncio.timeout(min(max(pause, 0.001), LONGEST_SLEEP)):
                    await self._timer.wait()
            except TimeoutError:
                pass

    async def release_brake(self) -> tuple[int, int]:
        """Carry out all that the brake holds: (how many, how many of them are refused by now)."""
        found = refused = 0
        while True:
            n, no, enforced = await self.persist(self.upkeep.release_brake)
            await self._settled(enforced)
            found, refused = found + n, refused + no
            if self.pipeline.gathering.ready:
                self.complete.set()
            if not n:
                return found, refused

    async def drop_held(self) -> int:
        """Drop all that the brake holds; how many."""
        found = 0
        while n := await self.persist(self.upkeep.drop_held):
            found += n
            await self._settled(enforced=True)
        return found

    async def request_trust(self, target: str, channel: str, *, alone: bool) -> dict[str, Any]:
        """Somebody asks for a promise; what came of it. Raises Rejected."""
        told, enforced = await self.persist(self.upkeep.request_trust, target, channel, alone=alone)
        await self._settled(enforced)
        return told

    async def petition(self, address: str, channel: str, until: int, *, alone: bool) -> str:
        """Whoever has this address asks on the page for a promise; see :meth:`Upkeep.petition`. Raises Late."""
        told, enforced = await self.persist(in_time, until, self.upkeep.petition, address, channel, alone=alone)
        await self._settled(enforced)
        return told

    def ask(self, question: Callable[[], T]) -> T:
        """Ask in the thread that owns the kernel; from any other thread, waits at most a second."""
        return self._thread.submit(question).result(1.0)

    def counters(self) -> Mapping[str, tuple[int, int]]:
        """The kernel's packet counters; may be called from another thread, and waits at most a second."""
        return self.ask(self.enforcer.backend.counters)
