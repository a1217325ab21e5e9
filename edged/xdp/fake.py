"""The maps without a kernel: for tests of whoever writes to them. Same Protocol, same refusals."""

from __future__ import annotations

import errno
from collections.abc import Iterable, Mapping

import numpy as np
import numpy.typing as npt

from edged.xdp import layout
from edged.xdp.binding import BpfError
from edged.xdp.layout import Array, Held, Network
from edged.xdp.maps import Generation, room_for


class FakeGeneration(Generation):
    """Entries in dictionaries."""

    def __init__(self, sizes: tuple[int, int]) -> None:
        super().__init__({}, sizes)
        self.held: dict[int, dict[bytes, Held]] = {4: {}, 6: {}}
        self.open = True

    def close(self) -> None:
        self.open = False


class FakeMaps:
    """See :class:`edged.xdp.maps.Maps`. ``refuse``: the next writing call raises this errno instead of being done."""

    def __init__(self) -> None:
        self.live: FakeGeneration | None = None
        self.settings: layout.Settings | None = None
        self.gardens: dict[str, list[Network]] = {}
        self.links: dict[int, tuple[layout.Frames, tuple[bytes, ...], frozenset[int] | None]] = {}
        self.counts = dict.fromkeys((a.word for a in layout.Action), 0)
        self.refuse = 0
        self.cleared = False

    def _may(self) -> None:
        code, self.refuse = self.refuse, 0
        if code:
            raise BpfError("map write: refused by the test", code)

    def begin(self, count4: int, count6: int) -> Generation:
        self._may()
        return FakeGeneration((room_for(count4), room_for(count6)))

    def write(self, generation: Generation, family: int, keys: Array, values: npt.NDArray[np.void]) -> None:
        self._may()
        table = self._table(generation, family)
        for key, value in zip(keys, values, strict=True):
            if key.tobytes() not in table and len(table) >= generation.sizes[family == 6]:
                raise BpfError("map write: Argument list too long", errno.E2BIG)
            table[key.tobytes()] = layout.held(value.tobytes())

    def delete(self, generation: Generation, family: int, keys: Array) -> None:
        self._may()
        for key in keys:
            self._table(generation, family).pop(key.tobytes(), None)

    @staticmethod
    def _table(generation: Generation, family: int) -> dict[bytes, Held]:
        if not isinstance(generation, FakeGeneration) or not generation.open:
            raise BpfError("map write: Bad file descriptor", errno.EBADF)
        return generation.held[family]

    def switch(self, generation: Generation, settings: layout.Settings) -> None:
        self._may()
        if not isinstance(generation, FakeGeneration):
            raise BpfError("map write: Bad file descriptor", errno.EBADF)
        layout.settings(settings, layout.gardens(self.gardens), 1)  # refuses what the real one refuses
        if self.live is not None and self.live is not generation:
            self.live.close()
        self.live, self.settings = generation, settings

    @staticmethod
    def discard(generation: Generation) -> None:
        generation.close()

    def set_settings(self, settings: layout.Settings) -> None:
        self._may()
        layout.settings(settings, layout.gardens(self.gardens), 1)
        self.settings = settings

    def set_gardens(self, networks: Mapping[str, Iterable[Network]]) -> None:
        self._may()
        self.gardens = {garden: list(members) for garden, members in networks.items()}

    def link(
        self, ifindex: int, frames: layout.Frames, macs: Iterable[bytes], vlans: Iterable[int] | None = None
    ) -> None:
        self._may()
        self.links[ifindex] = frames, tuple(macs), None if vlans is None else frozenset(vlans)

    def unlink(self, ifindex: int) -> None:
        self.links.pop(ifindex, None)

    def read(self, family: int, key: bytes) -> Held | None:
        return self.live.held[family].get(key) if self.live else None

    def some(self, family: int, after: bytes | None, n: int) -> list[bytes]:
        there = sorted(self.live.held[family]) if self.live else []
        return [key for key in there if after is None or key > after][:n]

    def everything(self, family: int) -> dict[bytes, Held]:
        return dict(self.live.held[family]) if self.live else {}

    def counters(self) -> dict[str, int]:
        return dict(self.counts)

    def clear(self) -> None:
        self.cleared = True

    def close(self) -> None:
        if self.live is not None:
            self.live.close()
