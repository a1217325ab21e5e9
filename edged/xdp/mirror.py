"""Keeps the maps of the XDP program equal to what the nft sets hold. The enforcer tells it; it tells nobody to wait.

Theory of operation:

1. It is told whole values ("of this address this holds"), never differences. So it does not matter what a map held
   before, in which order a refill and a change beside it reach an address, or who filled the map: an earlier daemon's
   is told on as it is found.
2. A refill fills a generation that no packet looks at, and a change goes to both. The switch comes right after that of
   the sets.
3. An address that is missing passes, and the nft rules decide; one that is there and should not be is answered wrongly.
   So whatever fails, the program is put out of use at once (``stop``), the error is kept for ``status``, and a filling
   of the maps alone is *wanted*. The sets never notice.
4. What a refill brings by the thousand is written by a helper thread, beside the sets' next transaction: the kernel
   takes both at once. Everything else waits for the helper first.
5. A promise ends in the map by CLOCK_MONOTONIC, counted from the moment it is told, as the sets' timeouts are.
"""

from __future__ import annotations

import contextlib
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol

import numpy as np
import numpy.typing as npt

from edged import plan
from edged.domain.levels import Level
from edged.errors import EdgedError
from edged.plan import Copy, Owned, Run
from edged.xdp import layout
from edged.xdp.layout import Array, Held, Network, Settings
from edged.xdp.maps import Generation, Maps

SCARCE = 1024
"""Where there may be room for fewer entries, larger maps are wanted. The program goes on meanwhile."""


class Opening(Protocol):
    """What is opened; protocols and ports do not matter here."""

    @property
    def network(self) -> Network:
        """The addresses."""


def held(owned: Owned, now: int, steady: int) -> Held:
    """What a map holds for one address at Unix ms ``now``, which is ``steady`` ns of CLOCK_MONOTONIC.

    The sets know no promise that leaves somebody walled, so there is none here either.
    """
    found = layout.of_entry(owned.entry, now, steady)
    return Held(found.level) if found.lift >= Level.WALLED else found


class Mirror:
    """The enforcer's follower. ``stop`` puts the program out of use and must not raise.

    ``heard`` is told of an error, and of None when the maps are true again. ``steady`` gives ns of CLOCK_MONOTONIC.
    Lives in the thread that owns store and kernel.
    """

    def __init__(
        self,
        maps: Maps,
        settings: Settings,
        *,
        stop: Callable[[], None],
        heard: Callable[[EdgedError | None], None] = lambda _: None,
        steady: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self.maps = maps
        self.settings = settings
        self.true = False
        """The live maps are known to hold what the sets hold: the program may answer."""
        self.wanted = False
        """The maps alone should be filled anew; a refill of the sets does as well."""
        self.fills = 0
        """How often the maps were filled and switched to."""
        self.error = ""
        """What went wrong last; empty since the last switch."""
        self._stop = stop
        self._heard = heard
        self._steady = steady
        self._next: Generation | None = None
        self._gardens: dict[str, frozenset[Network]] = {}
        self._opened: dict[str, frozenset[Network]] | None = None
        """The gardens as the maps have them; None when that is not known."""
        self._helper = ThreadPoolExecutor(1, thread_name_prefix="xdp")
        self._writing: Future[None] | None = None
        self._room: dict[int, int] = {}
        """Family -> entries for which there surely is room in the live maps; empty for an earlier daemon's."""
        self._next_room: dict[int, int] = {}
        self._walked: dict[int, bytes | None] = {4: None, 6: None}
        """Family -> the key that a walk through the map has come to."""

    # -- what the enforcer tells -----------------------------------------------------------------------------

    def tell(self, whole: Mapping[bytes, Owned | None], now: int) -> None:
        """See :class:`edged.nft.source.Follower`."""
        if not whole:
            return
        self._guarded(lambda: self._tell(whole, now))

    def open_gardens(self, openings: Mapping[str, Iterable[Opening]]) -> None:
        """See :class:`edged.nft.source.Follower`."""
        self._gardens = {name: frozenset(o.network for o in found) for name, found in openings.items()}
        self._guarded(self._open)

    def begin(self, counts: Mapping[tuple[str, int], int]) -> None:
        """See :class:`edged.nft.source.Follower`."""
        found = {tag: n for (role, tag), n in counts.items() if role == plan.RESTRICTED}
        four = found.pop(plan.V4_TAG, 0)
        self.abandon()
        self._guarded(lambda: self._begin(four, sum(found.values())))

    def fill(self, run: Run) -> None:
        """See :class:`edged.nft.source.Follower`."""
        if self._next:
            keys = layout.keys(run.tag, run.keys)
            # Whoever is not simply walled comes again among the special ones, before anybody looks.
            values = layout.same(Level.WALLED, len(keys))
            self._filling(lambda to: self._hand_out(to, layout.family(run.tag), keys, values))

    def fill_special(self, rows: Sequence[tuple[bytes, Owned]], now: int) -> None:
        """See :class:`edged.nft.source.Follower`."""
        if self._next:
            self._filling(lambda to: self._write(to, dict(rows), now))

    def switch(self) -> None:
        """See :class:`edged.nft.source.Follower`."""
        if self._next:
            self._filling(self._switch)

    def abandon(self) -> None:
        """See :class:`edged.nft.source.Follower`."""
        if self._next is not None:
            left, self._next = self._next, None
            self._guarded(lambda: self.maps.discard(left))

    def close(self) -> None:
        """End the helper. The maps are their opener's to close."""
        self._helper.shutdown(wait=True)

    # -- questions -------------------------------------------------------------------------------------------

    def truth(self, key: bytes) -> Copy | None:
        """What packets meet for an address (a key of plan.py). Raises EdgedError."""
        found = self.maps.read(layout.family(key[0]), layout.key(key))
        if found is None:
            return None
        left = max(found.until - self._steady(), 0) // 1_000_000 if found.until else 0
        return Copy(found.level, found.lift, left)

    def walk(self, n: int) -> list[bytes]:
        """Up to ``n`` keys (of plan.py) of each family that the maps hold, others each time. Raises EdgedError."""
        found: list[bytes] = []
        for family, after in self._walked.items():
            keys = self.maps.some(family, after, n)
            self._walked[family] = keys[-1] if len(keys) == n else None
            found += [layout.tagged(family, key) for key in keys]
        return found

    # -- everything below may raise --------------------------------------------------------------------------

    def _tell(self, whole: Mapping[bytes, Owned | None], now: int) -> None:
        for generation in filter(None, (self.maps.live, self._next)):
            self._write(generation, whole, now)
        for room in (self._room, self._next_room):
            for key in whole if room else ():
                room[layout.family(key[0])] -= 1  # at most: it may have been there
        if not self.wanted and any(n < SCARCE for n in self._room.values()):
            self.wanted = True
            self._heard(None)

    def _write(self, generation: Generation, whole: Mapping[bytes, Owned | None], now: int) -> None:
        """Removals first: what makes room."""
        steady = self._steady()
        gone: dict[int, list[bytes]] = defaultdict(list)
        there: dict[int, list[tuple[bytes, Held]]] = defaultdict(list)
        for key, owned in whole.items():
            if owned is not None and owned.entry.level:
                there[key[0]].append((key[1:], held(owned, now, steady)))
            else:
                gone[key[0]].append(key[1:])
        for tag, keys in gone.items():
            self.maps.delete(generation, layout.family(tag), layout.keys(tag, b"".join(keys)))
        for tag, rows in there.items():
            keys_ = layout.keys(tag, b"".join(key for key, _ in rows))
            self.maps.write(generation, layout.family(tag), keys_, layout.values(value for _, value in rows))

    def _hand_out(self, generation: Generation, family: int, keys: Array, values: npt.NDArray[np.void]) -> None:
        self._writing = self._helper.submit(self.maps.write, generation, family, keys, values)
        self._next_room[family] -= len(keys)

    def _settle(self) -> None:
        """Wait for the helper. Raises what it met."""
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.result()

    def _open(self) -> None:
        if self._gardens == self._opened:
            return
        self._opened = None
        self.maps.set_gardens(self._gardens)
        self._opened = self._gardens

    def _begin(self, count4: int, count6: int) -> None:
        self._open()
        self._next = self.maps.begin(count4, count6)
        self._next_room = dict(zip((4, 6), self._next.sizes, strict=True))

    def _switch(self, generation: Generation) -> None:
        self.maps.switch(generation, self.settings)
        self._next, self._room = None, self._next_room
        self.true, self.wanted, self.error = True, False, ""
        self.fills += 1
        self._heard(None)

    # -- faults ----------------------------------------------------------------------------------------------

    def _guarded(self, work: Callable[[], None]) -> None:
        """Do something with the maps that packets look at; whatever fails, they look at them no more."""
        try:
            self._settle()
            work()
        except Exception as e:  # noqa: BLE001  a copy must never harm what it is copied from
            self.doubt(e)

    def _filling(self, work: Callable[[Generation], None]) -> None:
        """Do something with the generation being filled."""
        generation = self._next
        assert generation is not None  # noqa: S101  the callers have looked
        self._guarded(lambda: work(generation))

    def doubt(self, error: Exception) -> None:
        """Something is wrong with what packets look at: they look no more, and the maps are to be filled anew."""
        self.true, self.wanted = False, True
        self._stop()
        left, self._next = self._next, None
        with contextlib.suppress(Exception):  # the first error says more
            self._settle()
        if left is not None:
            with contextlib.suppress(Exception):
                self.maps.discard(left)
        text = str(error) if isinstance(error, EdgedError) else f"{type(error).__name__}: {error}"
        self.error = text
        self._heard(error if isinstance(error, EdgedError) else EdgedError(f"the maps of the XDP program: {text}"))
