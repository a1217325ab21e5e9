"""The few calls of libbpf that edged needs. Only ``edged.xdp`` imports it; all of them raise BpfError."""

from __future__ import annotations

import ctypes
import errno
import os
import sys
from collections.abc import Sequence
from ctypes import byref, c_char_p, c_uint32, c_void_p
from pathlib import Path
from typing import NamedTuple

from edged.xdp.binding import BatchOpts, BpfError, CreateOpts, TestRunOpts, XdpOpts, checked, library, said

HASH = 1
REPLACE, IF_NOEXIST, GENERIC, NATIVE = 1 << 4, 1 << 0, 1 << 1, 1 << 2
"""XDP_FLAGS_*: replace a known program, only where there is none, and the two modes."""
_LIVE_FRAMES = 2


class Ran(NamedTuple):
    """What a program did with a packet: its verdict, the packet then, and the mean ns of a run."""

    verdict: int
    data: bytes
    ns: int


def _pointer(data: bytes) -> c_void_p:
    return ctypes.cast(c_char_p(data), c_void_p)


def cpus() -> int:
    """Processors that a per-CPU value has room for."""
    return checked(library().libbpf_num_possible_cpus(), "processors")


class Object:
    """A compiled object: its maps may be given before it is loaded. Close it when the descriptors were duplicated."""

    def __init__(self, path: Path) -> None:
        self._lib = library()
        said()
        handle = self._lib.bpf_object__open_file(os.fsencode(path), None)
        if not handle:
            raise BpfError(f"{path.name}: not a usable BPF object: {said() or 'it cannot be read'}")
        self._handle = c_void_p(handle)

    def reuse(self, name: str, fd: int) -> None:
        """Use an existing map under that name instead of a new one."""
        checked(self._lib.bpf_map__reuse_fd(self._map(name), fd), f"map {name} cannot be taken over")

    def load(self) -> None:
        """Make the maps and hand the program to the verifier."""
        checked(self._lib.bpf_object__load(self._handle), "the kernel does not load the XDP program")

    def map(self, name: str) -> int:
        """A descriptor of one's own for a map."""
        return os.dup(checked(self._lib.bpf_map__fd(self._map(name)), f"map {name}"))

    def program(self, name: str) -> int:
        """A descriptor of one's own for the program."""
        handle = c_void_p(self._lib.bpf_object__find_program_by_name(self._handle, name.encode()))
        return os.dup(checked(self._lib.bpf_program__fd(handle), f"program {name}"))

    def close(self) -> None:
        if self._handle.value:
            self._lib.bpf_object__close(self._handle)
            self._handle = c_void_p()

    def _map(self, name: str) -> c_void_p:
        handle = self._lib.bpf_object__find_map_by_name(self._handle, name.encode())
        if not handle:
            raise BpfError(f"the XDP object has no map {name}: it is not of this version of edged")
        return c_void_p(handle)


# -- maps -------------------------------------------------------------------------------------------------------------


def create_hash(name: str, key_size: int, value_size: int, entries: int) -> int:
    """A preallocated hash."""
    opts = CreateOpts(sz=ctypes.sizeof(CreateOpts))
    answer = library().bpf_map_create(HASH, name.encode(), key_size, value_size, max(entries, 1), byref(opts))
    return checked(answer, f"a map for {entries} entries of {name}")


def update(fd: int, key: bytes, value: bytes) -> None:
    """Write one entry."""
    checked(library().bpf_map_update_elem(fd, _pointer(key), _pointer(value), 0), "map write")


def lookup(fd: int, key: bytes, size: int) -> bytes | None:
    """Read one entry of ``size`` bytes."""
    out = ctypes.create_string_buffer(size)
    answer = library().bpf_map_lookup_elem(fd, _pointer(key), out)
    if answer == -errno.ENOENT:
        return None
    checked(answer, "map read")
    return out.raw


def delete(fd: int, key: bytes) -> bool:
    """Remove one entry; False when there was none."""
    answer = library().bpf_map_delete_elem(fd, _pointer(key))
    if answer in {-errno.ENOENT, -errno.EINVAL}:
        return False
    checked(answer, "map removal")
    return True


def next_key(fd: int, after: bytes | None, size: int) -> bytes | None:
    """The key that follows, None at the end."""
    out = ctypes.create_string_buffer(size)
    answer = library().bpf_map_get_next_key(fd, None if after is None else _pointer(after), out)
    if answer == -errno.ENOENT:
        return None
    checked(answer, "map walk")
    return out.raw


def update_batch(fd: int, keys: bytes, values: bytes, count: int) -> None:
    """Write ``count`` entries in as few calls as the kernel allows."""
    if count:
        number, opts = c_uint32(count), BatchOpts(sz=ctypes.sizeof(BatchOpts))
        answer = library().bpf_map_update_batch(fd, _pointer(keys), _pointer(values), byref(number), byref(opts))
        checked(answer, f"map write of {count} entries, {number.value} done")


def delete_batch(fd: int, keys: bytes, key_size: int) -> None:
    """Remove entries; those that are not there are passed over."""
    at, total = 0, len(keys) // key_size
    while at < total:
        number, opts = c_uint32(total - at), BatchOpts(sz=ctypes.sizeof(BatchOpts))
        rest = keys[at * key_size :] if at else keys
        answer = library().bpf_map_delete_batch(fd, _pointer(rest), byref(number), byref(opts))
        if answer != -errno.ENOENT:
            checked(answer, "map removal")
            return
        at += number.value + 1  # the one behind those done was not there


def entries(fd: int) -> int:
    """How many entries a map has room for (the fifth word of struct bpf_map_info)."""
    return _info(fd)[4]


def _info(fd: int) -> list[int]:
    info, size = (c_uint32 * 64)(), c_uint32(256)
    checked(library().bpf_obj_get_info_by_fd(fd, info, byref(size)), "information about a map or program")
    return list(info)


# -- pins, programs ---------------------------------------------------------------------------------------------------


def pin(fd: int, path: Path) -> None:
    """Give a map or program a name in a bpffs."""
    checked(library().bpf_obj_pin(fd, os.fsencode(path)), f"{path} cannot be made")


def pinned(path: Path) -> int | None:
    """A descriptor of what is pinned there; None where nothing is."""
    answer = library().bpf_obj_get(os.fsencode(path))
    if answer == -errno.ENOENT:
        return None
    return checked(answer, f"{path} cannot be opened")


def is_pinned(fd: int, path: Path) -> bool:
    """Whether exactly this map or program is pinned there."""
    try:
        there = pinned(path)
        if there is None:
            return False
        try:
            return number(there) == number(fd)
        finally:
            os.close(there)
    except BpfError:
        return False


def number(fd: int) -> int:
    """The kernel's number of a map or program (the second word of struct bpf_map_info and bpf_prog_info)."""
    return _info(fd)[1]


def program(number: int) -> int | None:
    """A descriptor of the program with this number; None where it is gone. Raises BpfError: only root may ask."""
    answer = library().bpf_prog_get_fd_by_id(number)
    if answer == -errno.ENOENT:
        return None
    return checked(answer, f"program {number} cannot be opened")


def program_name(fd: int) -> str:
    """A program's name, of 15 characters at most (behind 64 bytes of struct bpf_prog_info)."""
    return b"".join(word.to_bytes(4, sys.byteorder) for word in _info(fd)[16:20]).split(b"\0")[0].decode()


def attach(ifindex: int, fd: int, flags: int, old: int | None = None) -> None:
    """Attach; with ``old``, a descriptor, only in its place."""
    opts = XdpOpts(sz=ctypes.sizeof(XdpOpts), old_prog_fd=old or 0)
    flags |= IF_NOEXIST if old is None else REPLACE
    checked(library().bpf_xdp_attach(ifindex, fd, flags, byref(opts)), "XDP cannot be attached")


def detach(ifindex: int, flags: int, old: int | None) -> None:
    """Detach the program ``old`` (a descriptor) and no other; None: whichever is there."""
    opts = XdpOpts(sz=ctypes.sizeof(XdpOpts), old_prog_fd=old or 0)
    flags |= 0 if old is None else REPLACE
    checked(library().bpf_xdp_detach(ifindex, flags, byref(opts)), "XDP cannot be detached")


def run(fd: int, data: bytes, *, repeat: int = 1, ifindex: int = 0, live: bool = False) -> Ran:
    """BPF_PROG_TEST_RUN: what the program does with a frame, as if it had come from ``ifindex`` (0: loopback).

    ``live``: the frames go where the verdict says, into the stack or out again, and nothing comes back.
    """
    out = ctypes.create_string_buffer(2048)
    context = (c_uint32 * 6)(0, len(data), 0, ifindex, 0, 0)
    opts = TestRunOpts(
        sz=ctypes.sizeof(TestRunOpts),
        data_in=ctypes.cast(c_char_p(data), c_void_p),
        data_size_in=len(data),
        repeat=repeat,
    )
    if live:
        opts.flags, opts.batch_size = _LIVE_FRAMES, 64
    else:
        opts.data_out, opts.data_size_out = ctypes.cast(out, c_void_p), len(out)
    if ifindex:
        opts.ctx_in, opts.ctx_size_in = ctypes.cast(context, c_void_p), ctypes.sizeof(context)
    checked(library().bpf_prog_test_run_opts(fd, byref(opts)), "test run")
    return Ran(opts.retval, out.raw[: opts.data_size_out], opts.duration)


def close_all(fds: Sequence[int]) -> None:
    """Close descriptors."""
    for fd in fds:
        os.close(fd)
