"""One snapshot after the other: each walked through beside commands, brought into force by one refill, answered."""

from __future__ import annotations

import asyncio
import logging
import time

from edged.errors import StoreError
from edged.keeper import LAST_PAUSE, Keeper
from edged.replacement import Replacement

_log = logging.getLogger(__name__)

TIDY = 500
"""Rows of snapshots that are over, taken out at a time."""


class Succession:
    """``run`` is a task for the daemon's task group."""

    def __init__(self, keeper: Keeper) -> None:
        self._keeper = keeper

    async def run(self) -> None:
        """Carry out each snapshot whose last chunk is in."""
        keeper = self._keeper
        while True:
            await keeper.complete.wait()
            keeper.complete.clear()
            while (staged := keeper.pipeline.gathering.ready) and not keeper.frozen:
                await self._replace(Replacement(keeper.pipeline, staged))
            while await keeper.persist(keeper.pipeline.store.tidy, TIDY):
                keeper.alive()

    async def _replace(self, replacement: Replacement) -> None:
        keeper, began = self._keeper, time.monotonic()
        await keeper.still.wait()  # it has read what the walk is about to change, and commands would not fit it
        keeper.walked.clear()
        try:
            await keeper.go(replacement.steps())
        except StoreError as e:
            await keeper.do(keeper.pipeline.forget_walk)
            keeper.observer.commit_failed()
            keeper.note("store", e)
            await asyncio.sleep(LAST_PAUSE / 5)
            return  # it begins again
        except Exception as e:  # noqa: BLE001  it must neither end the daemon nor come again for ever
            replacement.fault = "edged could not carry this out; its log says more, please report it"
            keeper.note("snapshot", f"{type(e).__name__}: given up half-way; the traceback is in the debug log")
            _log.debug("the snapshot that was given up", exc_info=True)
            await keeper.do(replacement.over)
        finally:
            keeper.walked.set()
        while keeper.enforcer.loose:  # a refill that began before the walk ended does not count
            before = keeper.resyncs
            keeper.want("snapshot")
            await keeper.synced_after(before)
        await keeper.persist(replacement.finish)
        keeper.changed.set()
        keeper.told.set()
        _log.info("snapshot: carried out in %.1f s", time.monotonic() - began)
