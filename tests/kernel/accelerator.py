"""XDP beside the rules of a test's gateway: the maps follow by hand what the rules are told."""

from __future__ import annotations

import ctypes
import os
import socket
import time
from collections.abc import Iterable, Mapping

import numpy as np

from edged.domain.entry import Entry
from edged.domain.levels import Level
from edged.nft.garden import Opening
from edged.portal.head import Verdict, answers
from edged.xdp import layout, libbpf
from edged.xdp.attach import Attacher, Attachment, hardware
from edged.xdp.binding import checked, library
from edged.xdp.kernel import KernelMaps
from edged.xdp.layout import Answers, Frames, Settings
from tests.lab.netns import Namespace

URL = "http://100.64.0.1:8081/"


def texts(url: str = URL) -> Answers:
    """What the redirector says, for XDP to say."""
    said = answers(url)
    return Answers(said[Verdict.FOUND], said[Verdict.FOUND_NO_BODY], said[Verdict.BAD])


def map_of(program: int, name: str) -> int:
    """A descriptor of a map that a program uses, also of one that user space has no business with."""
    info, size = (ctypes.c_uint32 * 64)(), ctypes.c_uint32(256)
    ids = (ctypes.c_uint32 * 64)()
    info[13] = len(ids)  # struct bpf_prog_info: nr_map_ids, map_ids
    ctypes.c_uint64.from_buffer(info, 56).value = ctypes.addressof(ids)
    checked(library().bpf_obj_get_info_by_fd(program, info, ctypes.byref(size)), "the program's maps")
    for number in ids[: info[13]]:
        fd = checked(library().bpf_map_get_fd_by_id(number), f"map {number}")
        said, size = (ctypes.c_uint32 * 64)(), ctypes.c_uint32(256)
        checked(library().bpf_obj_get_info_by_fd(fd, said, ctypes.byref(size)), f"map {number}")
        if bytes(said)[24:40].rstrip(b"\0").decode() == name:  # struct bpf_map_info: name
            return fd
        os.close(fd)
    raise LookupError(f"the program uses no map {name}")


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

    def run(self, frame: bytes, device: str = "") -> libbpf.Ran:
        """What the program does with a frame; nothing is sent. Frames are at least as long as a cable's are.

        ``device``: where it arrives, if not at the pretended one.
        """
        ifindex = self._space.call(socket.if_nametoindex, device) if device else self._ifindex
        return self._space.call(libbpf.run, self.maps.program, frame.ljust(60, b"\0"), ifindex=ifindex)

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

    def restore(self, tagged: bytes, level: Level) -> None:
        """An entry that has used up nothing, or (OPEN) none, without a word: what is remembered goes on."""
        assert self.maps.live is not None
        fd, key = self.maps.live.fds[layout.family(tagged[0])], layout.key(tagged)
        if level:
            libbpf.update(fd, key, layout.values([layout.Held(level)]).tobytes())
        else:
            assert libbpf.delete(fd, key)

    def tune(self, **fields: int) -> None:
        """Other numbers in the settings that are in use, without a word: what is remembered goes on."""
        live, settings = map_of(self.maps.program, "live"), map_of(self.maps.program, "settings")
        try:
            slot = (libbpf.lookup(live, bytes(4), 8) or bytes(8))[:4]
            row = np.frombuffer(libbpf.lookup(settings, slot, layout.SETTINGS.itemsize) or b"", layout.SETTINGS).copy()
            for name, value in fields.items():
                row[0][name] = value
            libbpf.update(settings, slot, row.tobytes())
        finally:
            libbpf.close_all([live, settings])

    def gardens(self, openings: Mapping[str, Iterable[Opening]]) -> None:
        self.maps.set_gardens({garden: [o.network for o in members] for garden, members in openings.items()})

    def counted(self) -> dict[str, int]:
        return {action: n for action, n in self.maps.counters().items() if n}

    def close(self) -> None:
        self.attacher.close()
        self.maps.close()
