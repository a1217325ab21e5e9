"""The few calls of libbpf that edged needs, through ctypes. Only ``edged.xdp`` imports it.

Why this library and not bpf(2) by hand: docs/decisions/0016. What libbpf or the verifier says beside an error (reasons,
the kernel's extended answer) is kept and becomes part of the exception.
"""

from __future__ import annotations

import ctypes
import errno
import os
import sys
from collections.abc import Sequence
from ctypes import POINTER, byref, c_char_p, c_int, c_uint32, c_uint64, c_void_p
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from edged.errors import EdgedError

HASH = 1
REPLACE, IF_NOEXIST, GENERIC, NATIVE = 1 << 4, 1 << 0, 1 << 1, 1 << 2
"""XDP_FLAGS_*: replace a known program, only where there is none, and the two modes."""
_LIVE_FRAMES = 2
_REMEMBERED = 12
_LIBRARY = "libbpf.so.1"


class BpfError(EdgedError):
    """libbpf or the kernel refused; ``errno`` as the kernel has it, 0 where there was none."""

    def __init__(self, message: str, errno: int = 0) -> None:
        super().__init__(message)
        self.errno = errno


class _CreateOpts(ctypes.Structure):
    _fields_ = (
        ("sz", ctypes.c_size_t),
        ("btf", c_uint32 * 3),
        ("inner_map_fd", c_uint32),
        ("map_flags", c_uint32),
        ("map_extra", c_uint64),
        ("numa_node", c_uint32),
        ("map_ifindex", c_uint32),
    )


class _BatchOpts(ctypes.Structure):
    _fields_ = (("sz", ctypes.c_size_t), ("elem_flags", c_uint64), ("flags", c_uint64))


class _XdpOpts(ctypes.Structure):
    _fields_ = (("sz", ctypes.c_size_t), ("old_prog_fd", c_int))


class _TestOpts(ctypes.Structure):
    _fields_ = (
        ("sz", ctypes.c_size_t),
        ("data_in", c_void_p),
        ("data_out", c_void_p),
        ("data_size_in", c_uint32),
        ("data_size_out", c_uint32),
        ("ctx_in", c_void_p),
        ("ctx_out", c_void_p),
        ("ctx_size_in", c_uint32),
        ("ctx_size_out", c_uint32),
        ("retval", c_uint32),
        ("repeat", c_int),
        ("duration", c_uint32),
        ("flags", c_uint32),
        ("cpu", c_uint32),
        ("batch_size", c_uint32),
    )


class Ran(NamedTuple):
    """What a program did with a packet: its verdict, the packet then, and the mean ns of a run."""

    verdict: int
    data: bytes
    ns: int


_said: list[str] = []
_Print = ctypes.CFUNCTYPE(c_int, c_int, c_char_p, c_void_p)


def _remember(level: int, form: bytes, arguments: int) -> int:
    """Keep what libbpf prints (level 2 is for its developers); it comes as a format and a va_list."""
    if level < 2:
        text = ctypes.create_string_buffer(65536)
        ctypes.CDLL(None).vsnprintf(text, ctypes.c_size_t(len(text)), form, c_void_p(arguments))
        _said.extend(line for line in text.value.decode(errors="replace").splitlines() if line.strip())
        del _said[:-_REMEMBERED]
    return 0


_kept = _Print(_remember)  # as long as libbpf may call it


@cache
def library() -> Any:
    """libbpf, loaded once. Raises BpfError where the package is missing."""
    try:
        found = ctypes.CDLL(_LIBRARY, use_errno=True)
    except OSError as error:
        raise BpfError(f"{_LIBRARY} cannot be loaded ({error}): apt-get install libbpf1") from error
    for name in ("open_file", "find_map_by_name", "find_program_by_name", "next_map"):
        getattr(found, f"bpf_object__{name}").restype = c_void_p
    found.bpf_object__open_file.argtypes = (c_char_p, c_void_p)
    for name in ("find_map_by_name", "find_program_by_name"):
        getattr(found, f"bpf_object__{name}").argtypes = (c_void_p, c_char_p)
    found.bpf_object__load.argtypes = found.bpf_object__close.argtypes = (c_void_p,)
    found.bpf_object__close.restype = None
    found.bpf_map__fd.argtypes = found.bpf_program__fd.argtypes = (c_void_p,)
    found.bpf_map__reuse_fd.argtypes = (c_void_p, c_int)
    found.bpf_map_create.argtypes = (c_int, c_char_p, c_uint32, c_uint32, c_uint32, POINTER(_CreateOpts))
    found.bpf_map_update_elem.argtypes = (c_int, c_void_p, c_void_p, c_uint64)
    found.bpf_map_lookup_elem.argtypes = (c_int, c_void_p, c_void_p)
    found.bpf_map_delete_elem.argtypes = (c_int, c_void_p)
    found.bpf_map_get_next_key.argtypes = (c_int, c_void_p, c_void_p)
    found.bpf_map_update_batch.argtypes = (c_int, c_void_p, c_void_p, POINTER(c_uint32), POINTER(_BatchOpts))
    found.bpf_map_delete_batch.argtypes = (c_int, c_void_p, POINTER(c_uint32), POINTER(_BatchOpts))
    found.bpf_obj_pin.argtypes = (c_int, c_char_p)
    found.bpf_obj_get.argtypes = (c_char_p,)
    found.bpf_prog_get_fd_by_id.argtypes = (c_uint32,)
    found.bpf_xdp_attach.argtypes = (c_int, c_int, c_uint32, POINTER(_XdpOpts))
    found.bpf_xdp_detach.argtypes = (c_int, c_uint32, POINTER(_XdpOpts))
    found.bpf_prog_test_run_opts.argtypes = (c_int, POINTER(_TestOpts))
    found.bpf_obj_get_info_by_fd.argtypes = (c_int, c_void_p, POINTER(c_uint32))
    found.libbpf_num_possible_cpus.argtypes = ()
    found.libbpf_set_print.argtypes = (_Print,)
    found.libbpf_set_print.restype = c_void_p
    found.libbpf_set_print(_kept)
    return found


def available() -> bool:
    """Whether the library is there at all: without it no program of ours can have been attached."""
    try:
        library()
    except BpfError:
        return False
    return True


def _checked(answer: int, what: str) -> int:
    if answer < 0:
        code = -answer if answer != -1 else ctypes.get_errno() or errno.EPERM
        said = "; ".join(_said)
        _said.clear()
        raise BpfError(f"{what}: {os.strerror(code)}" + (f" ({said})" if said else ""), code)
    _said.clear()
    return answer


def _pointer(data: bytes) -> c_void_p:
    return ctypes.cast(c_char_p(data), c_void_p)


def cpus() -> int:
    """Processors that a per-CPU value has room for."""
    return _checked(library().libbpf_num_possible_cpus(), "processors")


class Object:
    """A compiled object: its maps may be given before it is loaded. Close it when the descriptors were duplicated."""

    def __init__(self, path: Path) -> None:
        self._lib = library()
        _said.clear()
        handle = self._lib.bpf_object__open_file(os.fsencode(path), None)
        if not handle:
            raise BpfError(f"{path.name}: not a usable BPF object: {'; '.join(_said) or 'it cannot be read'}")
        self._handle = c_void_p(handle)

    def reuse(self, name: str, fd: int) -> None:
        """Use an existing map under that name instead of a new one."""
        _checked(self._lib.bpf_map__reuse_fd(self._map(name), fd), f"map {name} cannot be taken over")

    def load(self) -> None:
        """Make the maps and hand the program to the verifier."""
        _checked(self._lib.bpf_object__load(self._handle), "the kernel does not load the XDP program")

    def map(self, name: str) -> int:
        """A descriptor of one's own for a map."""
        return os.dup(_checked(self._lib.bpf_map__fd(self._map(name)), f"map {name}"))

    def program(self, name: str) -> int:
        """A descriptor of one's own for the program."""
        handle = c_void_p(self._lib.bpf_object__find_program_by_name(self._handle, name.encode()))
        return os.dup(_checked(self._lib.bpf_program__fd(handle), f"program {name}"))

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
    opts = _CreateOpts(sz=ctypes.sizeof(_CreateOpts))
    answer = library().bpf_map_create(HASH, name.encode(), key_size, value_size, max(entries, 1), byref(opts))
    return _checked(answer, f"a map for {entries} entries of {name}")


def update(fd: int, key: bytes, value: bytes) -> None:
    """Write one entry."""
    _checked(library().bpf_map_update_elem(fd, _pointer(key), _pointer(value), 0), "map write")


def lookup(fd: int, key: bytes, size: int) -> bytes | None:
    """Read one entry of ``size`` bytes."""
    out = ctypes.create_string_buffer(size)
    answer = library().bpf_map_lookup_elem(fd, _pointer(key), out)
    if answer == -errno.ENOENT:
        return None
    _checked(answer, "map read")
    return out.raw


def delete(fd: int, key: bytes) -> bool:
    """Remove one entry; False when there was none."""
    answer = library().bpf_map_delete_elem(fd, _pointer(key))
    if answer in {-errno.ENOENT, -errno.EINVAL}:
        return False
    _checked(answer, "map removal")
    return True


def next_key(fd: int, after: bytes | None, size: int) -> bytes | None:
    """The key that follows, None at the end."""
    out = ctypes.create_string_buffer(size)
    answer = library().bpf_map_get_next_key(fd, None if after is None else _pointer(after), out)
    if answer == -errno.ENOENT:
        return None
    _checked(answer, "map walk")
    return out.raw


def update_batch(fd: int, keys: bytes, values: bytes, count: int) -> None:
    """Write ``count`` entries in as few calls as the kernel allows."""
    if count:
        number, opts = c_uint32(count), _BatchOpts(sz=ctypes.sizeof(_BatchOpts))
        answer = library().bpf_map_update_batch(fd, _pointer(keys), _pointer(values), byref(number), byref(opts))
        _checked(answer, f"map write of {count} entries, {number.value} done")


def delete_batch(fd: int, keys: bytes, key_size: int) -> None:
    """Remove entries; those that are not there are passed over."""
    at, total = 0, len(keys) // key_size
    while at < total:
        number, opts = c_uint32(total - at), _BatchOpts(sz=ctypes.sizeof(_BatchOpts))
        rest = keys[at * key_size :] if at else keys
        answer = library().bpf_map_delete_batch(fd, _pointer(rest), byref(number), byref(opts))
        if answer != -errno.ENOENT:
            _checked(answer, "map removal")
            return
        at += number.value + 1  # the one behind those done was not there


def entries(fd: int) -> int:
    """How many entries a map has room for (the fifth word of struct bpf_map_info)."""
    return _info(fd)[4]


def _info(fd: int) -> list[int]:
    info, size = (c_uint32 * 64)(), c_uint32(256)
    _checked(library().bpf_obj_get_info_by_fd(fd, info, byref(size)), "information about a map or program")
    return list(info)


# -- pins, programs ---------------------------------------------------------------------------------------------------


def pin(fd: int, path: Path) -> None:
    """Give a map or program a name in a bpffs."""
    _checked(library().bpf_obj_pin(fd, os.fsencode(path)), f"{path} cannot be made")


def pinned(path: Path) -> int | None:
    """A descriptor of what is pinned there; None where nothing is."""
    answer = library().bpf_obj_get(os.fsencode(path))
    if answer == -errno.ENOENT:
        return None
    return _checked(answer, f"{path} cannot be opened")


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
    return _checked(answer, f"program {number} cannot be opened")


def program_name(fd: int) -> str:
    """A program's name, of 15 characters at most (behind 64 bytes of struct bpf_prog_info)."""
    return b"".join(word.to_bytes(4, sys.byteorder) for word in _info(fd)[16:20]).split(b"\0")[0].decode()


def attach(ifindex: int, fd: int, flags: int, old: int | None = None) -> None:
    """Attach; with ``old``, a descriptor, only in its place."""
    opts = _XdpOpts(sz=ctypes.sizeof(_XdpOpts), old_prog_fd=old or 0)
    flags |= IF_NOEXIST if old is None else REPLACE
    _checked(library().bpf_xdp_attach(ifindex, fd, flags, byref(opts)), "XDP cannot be attached")


def detach(ifindex: int, flags: int, old: int | None) -> None:
    """Detach the program ``old`` (a descriptor) and no other; None: whichever is there."""
    opts = _XdpOpts(sz=ctypes.sizeof(_XdpOpts), old_prog_fd=old or 0)
    flags |= 0 if old is None else REPLACE
    _checked(library().bpf_xdp_detach(ifindex, flags, byref(opts)), "XDP cannot be detached")


def run(fd: int, data: bytes, *, repeat: int = 1, ifindex: int = 0, live: bool = False) -> Ran:
    """BPF_PROG_TEST_RUN: what the program does with a frame, as if it had come from ``ifindex`` (0: loopback).

    ``live``: the frames go where the verdict says, into the stack or out again, and nothing comes back.
    """
    out = ctypes.create_string_buffer(2048)
    context = (c_uint32 * 6)(0, len(data), 0, ifindex, 0, 0)
    opts = _TestOpts(
        sz=ctypes.sizeof(_TestOpts),
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
    _checked(library().bpf_prog_test_run_opts(fd, byref(opts)), "test run")
    return Ran(opts.retval, out.raw[: opts.data_size_out], opts.duration)


def close_all(fds: Sequence[int]) -> None:
    """Close descriptors."""
    for fd in fds:
        os.close(fd)
