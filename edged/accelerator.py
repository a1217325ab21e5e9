"""Keeps the XDP program where it should be and its maps filled, beside everything else and in nobody's way.

The maps follow the sets by themselves (``Enforcer.follower``). What is left is to look, every now and then and when
something was heard: is the program still attached, has an interface come, do the maps still say what the sets say, is
a filling of the maps alone wanted. What fails is noted and tried again; no command ever waits for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Mapping

from edged import plan
from edged.domain.levels import Level
from edged.errors import EdgedError
from edged.keeper import Keeper
from edged.xdp.engine import Engine, Wanted

_log = logging.getLogger(__name__)
PULSE_SECONDS = 5.0
SHORTEST_SECONDS = 0.05
"""Between two looks, whatever is heard."""
SAMPLE = 32
"""Addresses compared with the sets at each pulse, chosen from the store: what the maps lack."""
WALK = 64
"""The same, from either map, others each time: what they have too many, and every promise in turn."""
APART_MS = 1000
"""So far apart two ends of a promise are the same."""
_LIFTS = {plan.WAIVED: Level.OPEN, plan.WAIVED_NOTICE: Level.NOTICE, plan.WAIVED_REDUCED: Level.REDUCED}


def _level(roles: Mapping[str, int]) -> int:
    """The level that sets give, promises apart."""
    if plan.RESTRICTED not in roles:
        return Level.OPEN
    found = {plan.BLOCKED: Level.BLOCKED, plan.REDUCED: Level.REDUCED, plan.NOTICE: Level.NOTICE}
    return next((level for role, level in found.items() if role in roles), Level.WALLED)


def _same(roles: Mapping[str, int], copy: plan.Copy | None) -> bool:
    """Whether the program does for an address what the sets do. One that it does not know it leaves to them."""
    if copy is None:
        return plan.RESTRICTED not in roles
    lift, left = next(((lift, roles[role]) for role, lift in _LIFTS.items() if role in roles), (0, 0))
    apart = abs(left - copy.left) > APART_MS
    return _level(roles) == copy.level and not apart and (min(left, copy.left) <= APART_MS or lift == copy.lift)


class Accelerator:
    """``open`` first, before the keeper's first refill; ``run`` is a task for the daemon's task group."""

    def __init__(self, keeper: Keeper, wanted: Wanted) -> None:
        self._keeper = keeper
        self._loop = asyncio.get_running_loop()
        self._heard = asyncio.Event()
        self._mending: tuple[int, int] | None = None
        """After the last doubt of ours: refills of the sets, and which filling of the maps alone should mend it."""
        self.engine = Engine(wanted, self._hear)

    async def open(self) -> None:
        """Load the program, take over what an earlier start left; from now on the maps follow the sets."""
        await self._keeper.do(self._open)

    def _open(self) -> None:
        self.engine.open()
        self._keeper.enforcer.follower = self.engine.mirror
        self._keeper.enforcer.overridden = self.engine.unknowable

    def _hear(self, error: EdgedError | None) -> None:
        """In the worker thread."""
        with contextlib.suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(self._take, error)

    def _take(self, error: EdgedError | None) -> None:
        if error is not None:
            self._keeper.note("xdp", error)
        self._heard.set()
        self._keeper.changed.set()

    async def run(self) -> None:
        """Look after it for ever; ends at once where there is no program."""
        said = "off"
        while self.engine.mirror is not None and not self._keeper.frozen:
            try:
                await self._fill()
                await self._keeper.do(self._look)
            except Exception as e:  # noqa: BLE001  a fault here must not take the daemon along
                self._keeper.note("xdp", f"{type(e).__name__}: {e}")
                await asyncio.sleep(PULSE_SECONDS)
            if said != self.engine.state:
                said = self.engine.state
                _log.info("XDP: %s", said)
                self._keeper.changed.set()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(PULSE_SECONDS):
                    await self._heard.wait()
                    self._heard.clear()
                    await asyncio.sleep(SHORTEST_SECONDS)
                    continue
            if await self._keeper.do(self._compare):
                self._keeper.want("drift")

    async def _fill(self) -> None:
        """Fill the maps alone, where that is wanted and no refill brings it anyway."""
        mirror = self.engine.mirror
        if mirror is None or not mirror.wanted or not self._keeper.in_sync.is_set():
            return
        try:
            await self._keeper.go(self._keeper.enforcer.follow(self._keeper.store, self._keeper.pipeline.clock))
        except EdgedError as e:  # the store's: the mirror has none of its own
            self._keeper.note("xdp", e)
        if mirror.wanted:
            await asyncio.sleep(PULSE_SECONDS)  # it failed again, or has to wait for a snapshot

    def _look(self) -> None:
        if not self._keeper.frozen:
            self.engine.look()

    def _compare(self) -> bool:
        """Whether some addresses are in the maps as they are in the sets; if not, the maps are filled anew.

        True where that was done and did not mend it: then the sets are to be filled anew, and the maps with them.
        """
        enforcer, mirror = self._keeper.enforcer, self.engine.mirror
        if mirror is None or not mirror.true or enforcer.loose or not enforcer.synced or self._keeper.frozen:
            return False
        try:
            keys = {*self._keeper.store.sample(SAMPLE), *mirror.walk(WALK)}
            wrong = any(not _same(enforcer.truth(key), mirror.truth(key)) for key in keys)
        except EdgedError:
            return False  # whoever else asks will say so (vigil, status)
        if not wrong:
            return False
        again = self._mending == (self._keeper.resyncs, mirror.fills)
        self._mending = None if again else (self._keeper.resyncs, mirror.fills + 1)
        mirror.doubt(EdgedError("the XDP maps do not hold what the sets hold; they are being filled anew"))
        return again

    def counters(self) -> Mapping[str, int]:
        """Packets by action; from any thread, waits at most a second. Raises EdgedError and what the thread raises."""
        return self._keeper.ask(self.engine.counters)
