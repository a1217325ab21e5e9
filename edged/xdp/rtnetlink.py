"""What the kernel says of network devices (rtnetlink(7)): here, which of them have an XDP program, and by what way.

Asked by hand because libbpf makes the kernel list every device to tell of one (``bpf_xdp_query``), which for a gateway
with a thousand is a million. Here one list tells of all, and who asks for one device is told of one.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator
from typing import NamedTuple

from edged.xdp.binding import BpfError

ROUTE = 0
"""NETLINK_ROUTE."""
DELLINK = 17
_NEWLINK, _GETLINK = 16, 18
_ERROR, _DONE = 2, 3
_REQUEST, _DUMP = 0x1, 0x300
_INTERRUPTED = 0x10
"""NLM_F_DUMP_INTR: devices came or went between two parts of the list."""
_HEADER, _LINK, _ATTRIBUTE = struct.Struct("=IHHII"), struct.Struct("=BxHiII"), struct.Struct("=HH")
"""nlmsghdr, ifinfomsg and nlattr."""
LINK_SIZE = _LINK.size
_NAME, _EXT_MASK, _XDP = 3, 29, 43
"""IFLA_*."""
_SKIP_STATS = struct.pack("=HHI", 8, _EXT_MASK, 8)
_MODES = {5: "native", 6: "generic", 7: "offload"}
"""IFLA_XDP_DRV_PROG_ID and its siblings; where a device has more than one, the first of these is told."""
_PART = 1 << 16
"""Bytes; the kernel makes the parts of a list half as long at most."""


class Attached(NamedTuple):
    """What is attached to a device: ``native``, ``generic``, ``offload`` or empty, and the program's id (0: none)."""

    mode: str = ""
    program: int = 0
    name: str = ""
    """The device's."""


NOTHING = Attached()


def attached(index: int) -> Attached:
    """What is attached to a device of this network namespace, NOTHING where there is none. Raises BpfError."""
    found, _ = _ask(index, 0)
    return found.get(index, NOTHING)


def everywhere() -> dict[int, Attached]:
    """Index -> what is attached there, for the devices of this namespace that have a program. Raises BpfError."""
    found, whole = _ask(0, _DUMP)
    if not whole:
        found = {index: attached(index) for index, _ in socket.if_nameindex()}
    return {index: now for index, now in found.items() if now.program}


def _ask(index: int, flags: int) -> tuple[dict[int, Attached], bool]:
    """(what the kernel says of one device or of all, whether none can be missing)."""
    body = _LINK.pack(0, 0, index, 0, 0) + _SKIP_STATS
    question = _HEADER.pack(_HEADER.size + len(body), _GETLINK, _REQUEST | flags, 1, 0) + body
    found: dict[int, Attached] = {}
    whole = True
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, ROUTE) as s:
            s.send(question)
            while True:
                for kind, said, rest in messages(s.recv(_PART)):
                    whole &= not said & _INTERRUPTED
                    if kind == _NEWLINK:
                        found[device(rest)] = _read(rest)
                    elif kind == _ERROR and (code := -struct.unpack_from("=i", rest)[0]) != errno.ENODEV:
                        raise OSError(code, os.strerror(code))
                    if kind in {_ERROR, _DONE} or not flags:
                        return found, whole
    except OSError as e:
        raise BpfError(f"what XDP a device has: {e.strerror}", e.errno or 0) from e


def _read(link: memoryview) -> Attached:
    """What RTM_NEWLINK says is attached."""
    name, mode, program = "", "", 0
    for kind, value in attributes(link[LINK_SIZE:]):
        if kind == _NAME:
            name = os.fsdecode(bytes(value).rstrip(b"\0"))
        elif kind == _XDP:
            ids = {_MODES[k]: int(struct.unpack_from("=I", v)[0]) for k, v in attributes(value) if k in _MODES}
            mode, program = next(((m, ids[m]) for m in _MODES.values() if ids.get(m)), ("", 0))
    return Attached(mode, program, name)


def device(link: memoryview) -> int:
    """The index of the device that a message is about."""
    return int(_LINK.unpack_from(link)[2])


def messages(data: bytes) -> Iterator[tuple[int, int, memoryview]]:
    """(type, flags, body) of the messages in one datagram of the kernel's."""
    view, at = memoryview(data), 0
    while at + _HEADER.size <= len(data):
        length, kind, flags, _, _ = _HEADER.unpack_from(data, at)
        if length < _HEADER.size:
            return
        yield kind, flags, view[at + _HEADER.size : at + length]
        at += (length + 3) & ~3


def attributes(data: memoryview) -> Iterator[tuple[int, memoryview]]:
    """(type, value) of what follows a message's fixed part, or is inside an attribute."""
    at = 0
    while at + 4 <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, at)
        if length < 4:
            return
        yield kind & 0x3FFF, data[at + 4 : at + length]
        at += (length + 3) & ~3
