"""The maps of the XDP program as user space uses them.

Theory of operation:

1. Restricted addresses and gardens are in maps of their own behind two *slots*, beside the settings of that slot; the
   number in ``live`` says which slot packets look at, beside a count of changes: what the program remembers of floods
   holds for one count only. A :class:`Generation` is filled where no packet looks, then put
   into the free slot, then the number is written: that is the one moment. The other slot is emptied afterwards.
2. Everything is pinned under ``<bpffs>/edged/<layout version>/``, the generation's maps with their slot. So a restart
   finds what packets look at and goes on writing to it. Pins of another layout version are removed, never read.
3. Small changes go to every generation that is open, as the nft sets' do.
4. An error leaves the maps as they are or with a part of a change; who calls decides (edged: detach, refill). The nft
   rules alone are always right.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

import numpy as np
import numpy.typing as npt

from edged.xdp import layout, libbpf
from edged.xdp.layout import Array, Held, Network

SPARE = 4096


def room_for(count: int) -> int:
    """Entries a new map has room for: twice what is to be put in, and some."""
    return 2 * count + SPARE


class Generation:
    """One set of inner maps, by family (0: gardens). ``sizes``: entries that IPv4 and IPv6 have room for."""

    def __init__(self, fds: Mapping[int, int], sizes: tuple[int, int]) -> None:
        self.fds = dict(fds)
        self.sizes = sizes

    def close(self) -> None:
        libbpf.close_all(list(self.fds.values()))
        self.fds = {}


class Maps(Protocol):
    """What the mirror writes to: the kernel, or the fake beside it. Keys and values as ``layout.py`` makes them."""

    @property
    def live(self) -> Generation | None:
        """What packets look at; None before the first switch."""

    def begin(self, count4: int, count6: int) -> Generation:
        """New, empty maps with room for twice so many addresses (and some), with the gardens of now."""

    def write(self, generation: Generation, family: int, keys: Array, values: npt.NDArray[np.void]) -> None:
        """Write entries. Raises BpfError: E2BIG when the map is full."""

    def delete(self, generation: Generation, family: int, keys: Array) -> None:
        """Remove entries; missing ones do not matter."""

    def switch(self, generation: Generation, settings: layout.Settings) -> None:
        """From now on packets meet this generation and these settings. The one before is closed."""

    def discard(self, generation: Generation) -> None:
        """Throw away a generation that never went live."""

    def set_settings(self, settings: layout.Settings) -> None:
        """Other settings for the live generation, at once."""

    def set_gardens(self, networks: Mapping[str, Iterable[Network]]) -> None:
        """The gardens ``open`` and ``garden`` hold exactly this, for the live generation at once and for later ones."""

    def link(
        self, ifindex: int, frames: layout.Frames, macs: Iterable[bytes], vlans: Iterable[int] | None = None
    ) -> None:
        """Frames of these kinds from this interface, to these hardware addresses, are subscribers'."""

    def unlink(self, ifindex: int) -> None:
        """No frames from this interface are."""

    def read(self, family: int, key: bytes) -> Held | None:
        """What packets meet for one address (a map's key: ``layout.key``)."""

    def some(self, family: int, after: bytes | None, n: int) -> list[bytes]:
        """Up to ``n`` keys that packets meet, behind key ``after`` in the map's own order; fewer at its end."""

    def everything(self, family: int) -> dict[bytes, Held]:
        """All that packets meet; slow, for tests and doubts."""

    def counters(self) -> dict[str, int]:
        """Packets by action since the maps were made."""

    def clear(self) -> None:
        """Remove every pin; maps and program end with their last user."""

    def close(self) -> None:
        """Give the descriptors back; what is pinned and attached stays."""
