"""XDP beside the rules of a test's gateway: the maps follow by hand what the rules are told."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Iterable, Mapping
from ctypes import c_char_p, c_int, c_size_t, c_void_p

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


def passing(name: str) -> int:
    """A loaded XDP program that passes every packet: ``r0 = XDP_PASS; exit``."""
    lib = libbpf.library()
    lib.bpf_prog_load.argtypes = (c_int, c_char_p, c_char_p, c_char_p, c_size_t, c_void_p)
    code = struct.pack("=BBhiBBhi", 0xB7, 0, 0, 2, 0x95, 0, 0, 0)
    fd = lib.bpf_prog_load(6, name.encode(), b"GPL", code, 2, None)
    assert fd > 0, f"no program: {fd}"
    return int(fd)


class Linked:
    """A program attached by a link, as other loaders do: netlink cannot take it away while the link lives."""

    def __init__(self, space: Namespace, device: str, name: str) -> None:
        fd, lib = passing(name), libbpf.library()
        lib.bpf_link_create.argtypes = (c_int, c_int, c_int, c_void_p)
        index = space.call(socket.if_nametoindex, device)
        self._fds = [fd, space.call(lib.bpf_link_create, fd, index, 37, None)]
        assert self._fds[1] > 0, f"no link: {self._fds[1]}"

    def close(self) -> None:
        libbpf.close_all(self._fds)


class Attentive:
    """An XDP program that passes everything, on the far end of a veth: without one it leaves lying what the near end's
    XDP sends (the kernel's veth wakes a receiver only for its program, not for GRO alone).
    """

    def __init__(self, space: Namespace, device: str, mode: int = libbpf.NATIVE) -> None:
        self._fd = passing("theirs")
        space.call(lambda: libbpf.attach(socket.if_nametoindex(device), self._fd, mode))

    def close(self) -> None:
        libbpf.close_all([self._fd])


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
