"""XDP beside the rules of a test's gateway: the maps follow by hand what the rules are told."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterable, Mapping

from edged.domain.entry import Entry
from edged.nft.garden import Opening
from edged.portal.head import Verdict, answers
from edged.xdp import layout, libbpf
from edged.xdp.attach import Attacher, Attachment, hardware
from edged.xdp.kernel import KernelMaps
from edged.xdp.layout import Answers, Frames, Settings
from tests.lab.netns import Namespace

URL = "http://100.64.0.1:8081/"


def texts(url: str = URL) -> Answers:
    """What the redirector says, for XDP to say."""
    said = answers(url)
    return Answers(said[Verdict.FOUND], said[Verdict.FOUND_NO_BODY], said[Verdict.BAD])


class Accelerator:
    """The program on one interface of a namespace."""

    def __init__(self, space: Namespace, *, settings: Settings | None = None) -> None:
        self._space = space
        self._ifindex = 0
        self._pretended: object = None
        self.settings = settings or Settings(texts())
        self.maps = KernelMaps.open(None)
        self.attacher = Attacher(self.maps)
        self.maps.switch(self.maps.begin(1000, 1000), self.settings)

    def attach(self, device: str, mode: str, frames: Frames = Frames.PLAIN) -> Attachment:
        return self._space.call(self.attacher.attach, device, mode, frames)

    def pretend(self, device: str, frames: Frames = Frames.ALL, vlans: Iterable[int] | None = None) -> bytes:
        """Take frames given to :meth:`run` for frames that arrive there; returns the device's address."""

        def look() -> tuple[int, bytes]:
            return socket.if_nametoindex(device), hardware(device)[1]

        self._ifindex, mac = self._space.call(look)
        wanted = (self._ifindex, frames, mac, None if vlans is None else tuple(vlans))
        if wanted != self._pretended:  # telling it again would end what is remembered of floods
            self.maps.link(self._ifindex, frames, [mac], wanted[3])
            self._pretended = wanted
        return mac

    def run(self, frame: bytes) -> libbpf.Ran:
        """What the program does with a frame; nothing is sent. Frames are at least as long as a cable's are."""
        return self._space.call(libbpf.run, self.maps.program, frame.ljust(60, b"\0"), ifindex=self._ifindex)

    def detach(self, device: str) -> None:
        self._space.call(self.attacher.detach, device)

    def put(self, keys: Iterable[bytes], entry: Entry) -> None:
        """These address keys have this entry from now on."""
        now = layout.of_entry(entry, time.time_ns() // 1_000_000, time.monotonic_ns())
        assert self.maps.live is not None
        for tagged in keys:
            family, rows = layout.family(tagged[0]), layout.keys(tagged[0], tagged[1:])
            if entry.level:
                self.maps.write(self.maps.live, family, rows, layout.values([now]))
            else:
                self.maps.delete(self.maps.live, family, rows)

    def gardens(self, openings: Mapping[str, Iterable[Opening]]) -> None:
        self.maps.set_gardens({garden: [o.network for o in members] for garden, members in openings.items()})

    def counted(self) -> dict[str, int]:
        return {action: n for action, n in self.maps.counters().items() if n}

    def close(self) -> None:
        self.attacher.close()
        self.maps.close()
