"""XDP programs that are not edged's: what others attach, and what the far end of a veth needs to hear XDP at all."""

from __future__ import annotations

import socket
import struct
from ctypes import c_char_p, c_int, c_size_t, c_void_p

from edged.xdp import libbpf
from edged.xdp.binding import library
from tests.lab.netns import Namespace


def passing(name: str) -> int:
    """A loaded XDP program that passes every packet: ``r0 = XDP_PASS; exit``."""
    lib = library()
    lib.bpf_prog_load.argtypes = (c_int, c_char_p, c_char_p, c_char_p, c_size_t, c_void_p)
    code = struct.pack("=BBhiBBhi", 0xB7, 0, 0, 2, 0x95, 0, 0, 0)
    fd = lib.bpf_prog_load(6, name.encode(), b"GPL", code, 2, None)
    assert fd > 0, f"no program: {fd}"
    return int(fd)


class Linked:
    """A program attached by a link, as other loaders do: netlink cannot take it away while the link lives."""

    def __init__(self, space: Namespace, device: str, name: str) -> None:
        fd, lib = passing(name), library()
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
