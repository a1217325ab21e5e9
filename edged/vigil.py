"""Looks whether everything is still as it was left: other people's changes, lost elements, a disk that is full."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from edged import plan
from edged.domain.model import rfc3339
from edged.errors import KernelError, StoreError
from edged.keeper import Keeper
from edged.pipeline import KEEP_IDS_MS, error_name
from edged.store.rows import Event, Write

PULSE_SECONDS = 5.0
PURGE_SECONDS = 3600.0
DAY_MS = 86_400_000
FORGOTTEN = 5000
"""Rows of the audit trail that are looked through at a time for somebody who is to be forgotten ..."""
STEPS = 200
"""... and how often at one pulse: its other duties must not wait for a walk through years."""
PURGED = 2000
"""Rows of the audit trail that are dropped at a time."""
TIDIED = 2000
"""Rows of snapshots that are over, taken out at each pulse."""
SAMPLE = 64
"""Addresses read back from the kernel at each pulse."""
STEP_MS = 500
"""So far may our clock move against the kernel's before the sets are told their promises anew. Less than the
accelerator lets two ends of a promise lie apart."""


class Vigil:
    """``run_*`` are tasks for the daemon's task group; what they find wrong they ask the keeper to mend.

    ``trusted`` says whether the clock is: no year of the audit trail is dropped because a clock leapt ahead. ``steady``
    gives ns of CLOCK_MONOTONIC.
    """

    def __init__(
        self,
        keeper: Keeper,
        *,
        keep_audit_days: int = 1825,
        trusted: Callable[[], bool] = lambda: True,
        steady: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._keeper = keeper
        self._keep_audit_ms = keep_audit_days * DAY_MS
        self._trusted = trusted
        self._steady = steady
        self._told = self._apart = self._ahead()
        """Our clock was so many ms ahead of the kernel's when the sets were last told; at the last look."""

    def _ahead(self) -> int:
        return self._keeper.pipeline.clock() - self._steady() // 1_000_000

    def _follow_clock(self) -> None:
        """Have the sets told anew once our clock was set, or the machine slept: their timeouts ran on as they were.

        A clock that stands still, because it was set back, is waited for: until then each look finds it elsewhere.
        """
        ahead, before = self._ahead(), self._apart
        self._apart = ahead
        if ahead > self._told + STEP_MS or (ahead < self._told - STEP_MS and ahead >= before - STEP_MS):
            self._told = ahead
            self._keeper.want("clock")

    async def run_watch(self) -> None:
        """Repair the table when somebody else changes it. Ends at once where the kernel forbids that anyway."""
        await self._keeper.in_sync.wait()
        table = await self._keeper.do(self._keeper.enforcer.backend.table)
        if self._keeper.watch is None or (table and table.owner):
            return
        loop, heard = asyncio.get_running_loop(), asyncio.Event()
        fd = self._keeper.watch.open()
        loop.add_reader(fd, heard.set)
        try:
            while True:
                await heard.wait()
                heard.clear()
                if self._keeper.watch.foreign():
                    await self._drifted("the table")
        finally:
            loop.remove_reader(fd)
            self._keeper.watch.close()

    async def _drifted(self, what: str) -> None:
        self._keeper.want("drift")
        await self._tell(what)

    async def _tell(self, what: str) -> None:
        self._keeper.observer.drift()
        self._keeper.note("drift", f"somebody else changed {what}; it is being repaired")
        event = {"event": "drift", "what": what, "at": rfc3339(self._keeper.pipeline.clock())}
        await self._keeper.persist(
            self._keeper.store.commit, Write(events=[Event(event)]), self._keeper.pipeline.clock()
        )
        self._keeper.told.set()

    async def run_pulse(self) -> None:
        """Prove progress: a commit, a read-back of sampled addresses, the route. Only then the watchdog is fed."""
        last_purge = 0.0
        while True:
            await asyncio.sleep(PULSE_SECONDS)
            self._follow_clock()
            try:
                await self._keeper.do(self._keeper.store.heartbeat, self._keeper.pipeline.clock())
                self._keeper.last_commit = time.time()
                if time.monotonic() - last_purge > PURGE_SECONDS:
                    await self._keeper.do(self._keeper.store.purge, self._keeper.pipeline.clock() - KEEP_IDS_MS)
                    await self._purge_audit()
                    last_purge = time.monotonic()
                await self._forget_in_audit()
                await self._keeper.do(self._keeper.cashier.sweep)
                if await self._keeper.do(self._keeper.upkeep.ask):
                    self._keeper.told.set()
                await self._keeper.do(self._keeper.store.tidy, TIDIED)  # what was displaced or given up
                if self._keeper.in_sync.is_set():
                    await self._read_back()
            except StoreError as e:
                self._keeper.observer.commit_failed()
                self._keeper.note("store", e)
                self._keeper.changed.set()
            except KernelError as e:
                self._keeper.observer.kernel_error(error_name(e))
                self._keeper.note("kernel", e)
                self._keeper.want("error")
            # A full disk or a refusing kernel is reported, not restarted: a restart would not mend either.
            self._keeper.alive()

    async def _purge_audit(self) -> None:
        before = self._keeper.pipeline.clock() - self._keep_audit_ms
        while self._trusted() and await self._keeper.do(self._keeper.store.audit_purge, before, PURGED):
            self._keeper.alive()

    async def _forget_in_audit(self) -> None:
        for _ in range(STEPS):
            if not await self._keeper.do(self._keeper.store.audit_forget, FORGOTTEN):
                return
            self._keeper.alive()

    async def _read_back(self) -> None:
        gone = await self._keeper.do(self._steer)
        if gone:
            await self._tell("the portal's " + ", ".join(gone))
        share = await self._keeper.do(self._sample)
        self._keeper.observer.enforcement_ratio(share)
        if share < 1.0 or not await self._keeper.do(self._keeper.enforcer.intact):
            await self._drifted("the table")

    def _steer(self) -> list[str]:
        """Make rule and route where they are missing; in the worker thread, perhaps behind a stop that took them."""
        return [] if self._keeper.frozen else self._keeper.steering.ensure()

    def _sample(self) -> float:
        """The share of sampled addresses that the kernel holds (in the worker thread)."""
        if self._keeper.enforcer.loose:
            return 1.0  # a snapshot is being carried out: the store is ahead of the kernel, and that is meant
        rows = self._keeper.store.sample(SAMPLE)
        held = sum(plan.RESTRICTED in self._keeper.enforcer.truth(key) for key in rows)
        return held / len(rows) if rows else 1.0
