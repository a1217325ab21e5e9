"""The binding to libbpf: the library loaded, what its calls take, and what it says beside an error.

Why this library and not bpf(2) by hand: docs/decisions/0016. What libbpf or the verifier says beside an error (reasons,
the kernel's extended answer) is kept and becomes part of the exception.
"""

from __future__ import annotations

import ctypes
import errno
import os
from ctypes import POINTER, c_char_p, c_int, c_uint32, c_uint64, c_void_p
from functools import cache
from typing import Any

from edged.errors import EdgedError

_REMEMBERED = 12
_LIBRARY = "libbpf.so.1"


class BpfError(EdgedError):
    """libbpf or the kernel refused; ``errno`` as the kernel has it, 0 where there was none."""

    def __init__(self, message: str, errno: int = 0) -> None:
        super().__init__(message)
        self.errno = errno


class CreateOpts(ctypes.Structure):
    """``struct bpf_map_create_opts``."""

    _fields_ = (
        ("sz", ctypes.c_size_t),
        ("btf", c_uint32 * 3),
        ("inner_map_fd", c_uint32),
        ("map_flags", c_uint32),
        ("map_extra", c_uint64),
        ("numa_node", c_uint32),
        ("map_ifindex", c_uint32),
    )


class BatchOpts(ctypes.Structure):
    """``struct bpf_map_batch_opts``."""

    _fields_ = (("sz", ctypes.c_size_t), ("elem_flags", c_uint64), ("flags", c_uint64))


class XdpOpts(ctypes.Structure):
    """``struct bpf_xdp_attach_opts``."""

    _fields_ = (("sz", ctypes.c_size_t), ("old_prog_fd", c_int))


class TestRunOpts(ctypes.Structure):
    """``struct bpf_test_run_opts``."""

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
    found.bpf_map_create.argtypes = (c_int, c_char_p, c_uint32, c_uint32, c_uint32, POINTER(CreateOpts))
    found.bpf_map_update_elem.argtypes = (c_int, c_void_p, c_void_p, c_uint64)
    found.bpf_map_lookup_elem.argtypes = (c_int, c_void_p, c_void_p)
    found.bpf_map_delete_elem.argtypes = (c_int, c_void_p)
    found.bpf_map_get_next_key.argtypes = (c_int, c_void_p, c_void_p)
    found.bpf_map_update_batch.argtypes = (c_int, c_void_p, c_void_p, POINTER(c_uint32), POINTER(BatchOpts))
    found.bpf_map_delete_batch.argtypes = (c_int, c_void_p, POINTER(c_uint32), POINTER(BatchOpts))
    found.bpf_obj_pin.argtypes = (c_int, c_char_p)
    found.bpf_obj_get.argtypes = (c_char_p,)
    found.bpf_prog_get_fd_by_id.argtypes = (c_uint32,)
    found.bpf_xdp_attach.argtypes = (c_int, c_int, c_uint32, POINTER(XdpOpts))
    found.bpf_xdp_detach.argtypes = (c_int, c_uint32, POINTER(XdpOpts))
    found.bpf_prog_test_run_opts.argtypes = (c_int, POINTER(TestRunOpts))
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


def said() -> str:
    """What libbpf has said since this was asked the last time."""
    text = "; ".join(_said)
    _said.clear()
    return text


def checked(answer: int, what: str) -> int:
    """``answer``, of the call that does ``what``. Raises BpfError, with all that is known, where it is an error."""
    words = said()
    if answer < 0:
        code = -answer if answer != -1 else ctypes.get_errno() or errno.EPERM
        raise BpfError(f"{what}: {os.strerror(code)}" + (f" ({words})" if words else ""), code)
    return answer
