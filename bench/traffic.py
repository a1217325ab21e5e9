"""Two packet sources for 64-byte UDP of open subscribers.

:class:`Injector` needs no second core: the kernel injects frames into a device's receive path by itself. A small XDP
program, run by the kernel's own test facility in "live frames" mode, fills in one frame after the other and passes it
on; the stack then sees batches of 64 as from a network card's driver. All work is done in our own system call, so our
own CPU time is the cost of the packets. No compiler is needed: the program is forty instructions, assembled below.

:class:`Blaster` sends from another core through a cable.
"""

from __future__ import annotations

import ctypes
import dataclasses
import errno
import os
import platform
import socket
import struct
import time

import numpy as np
import numpy.typing as npt

from . import people
from .common import BenchError, inside

FRAME = 60
"""Bytes of a frame of 64 on an Ethernet wire, where the last four are the checksum."""
OPEN_BITS = 16
"""2**16 open subscribers, one flow each, drawn at random for every packet."""
FIRST_OPEN = people.SPACE - (1 << OPEN_BITS)
SERVER = 0xCB007101
"""203.0.113.1, at port 443, talks to them all."""

_SYS_BPF = {"x86_64": 321, "aarch64": 280}
_PROG_LOAD, _PROG_TEST_RUN, _TYPE_XDP, _LIVE_FRAMES = 5, 10, 6, 2
_XDP_DROP, _XDP_PASS, _GET_RANDOM = 1, 2, 7
_SOL_PACKET, _PACKET_QDISC_BYPASS, _SO_SNDBUFFORCE = 263, 20, 32
_libc = ctypes.CDLL(None, use_errno=True)


Frames = npt.NDArray[np.uint8]


@dataclasses.dataclass(frozen=True)
class Burst:
    """What one burst took: CPU seconds of our own core, and seconds on the wall clock."""

    packets: int
    cpu: float
    wall: float


class Blaster:
    """The same packets sent by a process of their own core into a cable, as from another machine.

    Frames are made once and handed over 1024 at a time; with no more of them on their way than the kernel's queue for
    a core takes (1000, each counted as 768 bytes), a full queue makes the sender wait instead of losing packets.
    """

    _CHUNK = 1024

    def __init__(self, namespace: str, device: str, mac: bytes) -> None:
        with inside(namespace):
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
            self._socket.bind((device, 0))
        self._socket.setsockopt(_SOL_PACKET, _PACKET_QDISC_BYPASS, 1)
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, 900 * 768 // 2)
        n = 1 << OPEN_BITS
        self._frames = _frames(mac)
        # struct iovec {void *base; size_t len} and struct mmsghdr as 64-bit Linux lays them out.
        self._iov = np.zeros((n, 2), dtype=np.uint64)
        self._iov[:, 0] = self._frames.ctypes.data + np.arange(n, dtype=np.uint64) * FRAME
        self._iov[:, 1] = FRAME
        self._messages = np.zeros((n, 8), dtype=np.uint64)
        self._messages[:, 2] = self._iov.ctypes.data + np.arange(n, dtype=np.uint64) * 16
        self._messages[:, 3] = 1

    def blast(self, seconds: float) -> None:
        """Send as fast as the cable takes it."""
        end, at = time.monotonic() + seconds, 0
        while time.monotonic() < end:
            start = ctypes.c_void_p(self._messages.ctypes.data + at * 64)
            room = min(self._CHUNK, len(self._messages) - at)
            done = _libc.sendmmsg(self._socket.fileno(), start, room, 0)
            if done < 0 and ctypes.get_errno() not in (errno.ENOBUFS, errno.EAGAIN, errno.EINTR):
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), "sendmmsg")
            at = (at + max(done, 1)) % len(self._messages)

    def close(self) -> None:
        self._socket.close()


def _frames(mac: bytes) -> Frames:
    """One frame for each open subscriber in random order, shape (2**16, 60), checksums right."""
    n = 1 << OPEN_BITS
    persons = np.random.default_rng(1).permutation(n)
    out = np.tile(np.frombuffer(_frame(mac, down=False), dtype=np.uint8), (n, 1))
    sources = people.addresses(FIRST_OPEN, n)[persons]
    out[:, 26:30] = sources.astype(">u4").view(np.uint8).reshape(n, 4)
    out[:, 34:36] = (persons | 0x400).astype("<u2").view(np.uint8).reshape(n, 2)
    total = _sum(_frame(mac, down=False)) + (sources >> 16) + (sources & 0xFFFF)
    for _ in range(2):
        total = (total & 0xFFFF) + (total >> 16)
    out[:, 24:26] = (~total & 0xFFFF).astype(">u2").view(np.uint8).reshape(n, 2)
    return np.ascontiguousarray(out)


class Injector:
    """Packets of open subscribers (``down`` false) or to them, received by ``device`` of ``namespace``."""

    def __init__(self, namespace: str, device: str, mac: bytes, *, down: bool) -> None:
        self._namespace = namespace
        with inside(namespace):
            self._ifindex = socket.if_nametoindex(device)
        self._frame = _frame(mac, down=down)
        self._program = _load(_program(mac, _sum(self._frame), down=down))

    def burst(self, packets: int) -> Burst:
        """Inject that many packets and see them forwarded, dropped or delivered."""
        frame = ctypes.create_string_buffer(self._frame, FRAME)
        context = ctypes.create_string_buffer(struct.pack("=6I", 0, FRAME, 0, self._ifindex, 0, 0), 24)
        # union bpf_attr, the part for BPF_PROG_TEST_RUN.
        attributes = struct.pack(
            "=IIIIQQIIIIQQIII4x", self._program, 0, FRAME, 0, ctypes.addressof(frame), 0, packets, 0,
            24, 0, ctypes.addressof(context), 0, _LIVE_FRAMES, 0, 64,
        )  # fmt: skip
        with inside(self._namespace):
            wall, cpu = time.monotonic(), time.thread_time()
            _bpf(_PROG_TEST_RUN, attributes)
            return Burst(packets, time.thread_time() - cpu, time.monotonic() - wall)

    def close(self) -> None:
        os.close(self._program)


def _frame(mac: bytes, *, down: bool) -> bytes:
    """The frame as it is before the program fills in the subscriber, the checksum, and the time to live."""
    ethernet = mac + b"\x02\x00\x00\x00\x00\x01" + b"\x08\x00"
    ends = (SERVER, 0) if down else (0, SERVER)
    ip = struct.pack("!BBHHHBBHII", 0x45, 0, FRAME - 14, 0, 0x4000, 64, socket.IPPROTO_UDP, 0, *ends)
    ports = (443, 0) if down else (0, 443)
    return (ethernet + ip + struct.pack("!HHHH", *ports, FRAME - 34, 0)).ljust(FRAME, b"\0")


def _sum(frame: bytes) -> int:
    """Sum of the 16-bit words of the IP header, not folded yet."""
    words: tuple[int, ...] = struct.unpack("!10H", frame[14:34])
    return sum(words)


# -- the program --------------------------------------------------------------------------------------------------

_IMMEDIATE, _REGISTER = 0x00, 0x08
_ADD, _AND, _OR, _MUL, _SHR, _XOR, _MOV = 0x07, 0x57, 0x47, 0x27, 0x77, 0xA7, 0xB7
_LOAD32, _TO_BIG, _CALL, _EXIT, _IF_GREATER = 0x61, 0xDC, 0x85, 0x95, 0x2D
_STORE = {1: 0x73, 2: 0x6B, 4: 0x63}
_STORE_IMMEDIATE = {1: 0x72, 2: 0x6A, 4: 0x62}


def _op(code: int, to: int = 0, source: int = 0, offset: int = 0, value: int = 0) -> bytes:
    signed = value - (1 << 32) if value >= 1 << 31 else value
    return struct.pack("=BBhi", code, source << 4 | to, offset, signed)


def _program(mac: bytes, header_sum: int, *, down: bool) -> bytes:
    """Draw a subscriber, write its address and port, make the header valid again, pass the frame on."""
    packet, limit, address, scratch, person, total, context = 2, 3, 5, 4, 7, 8, 6
    reg = _REGISTER
    at_address, at_port = (30, 36) if down else (26, 34)
    body = [
        # the address of the subscriber, as people.addresses() has it
        _op(_MOV | reg, address, person),
        _op(_ADD, address, value=FIRST_OPEN),
        _op(_MUL, address, value=people.ODD),
        _op(_AND, address, value=people.SPACE - 1),
        _op(_ADD, address, value=people.BASE),
        # the header checksum
        _op(_MOV | reg, total, address),
        _op(_SHR, total, value=16),
        _op(_MOV | reg, scratch, address),
        _op(_AND, scratch, value=0xFFFF),
        _op(_ADD | reg, total, scratch),
        _op(_ADD, total, value=header_sum),
        *[
            _op(_MOV | reg, scratch, total),
            _op(_SHR, scratch, value=16),
            _op(_AND, total, value=0xFFFF),
            _op(_ADD | reg, total, scratch),
        ]
        * 2,
        _op(_XOR, total, value=0xFFFF),
        _op(_TO_BIG, total, value=16),
        _op(_STORE[2], packet, total, 24),
        _op(_TO_BIG, address, value=32),
        _op(_STORE[4], packet, address, at_address),
        _op(_OR, person, value=0x400),
        _op(_STORE[2], packet, person, at_port),
        # frames are used again as the last gateway left them: fresh time to live, our own address
        _op(_STORE_IMMEDIATE[1], packet, offset=22, value=64),
        _op(_STORE_IMMEDIATE[4], packet, offset=0, value=int.from_bytes(mac[:4], "little")),
        _op(_STORE_IMMEDIATE[2], packet, offset=4, value=int.from_bytes(mac[4:], "little")),
        _op(_MOV, 0, value=_XDP_PASS),
        _op(_EXIT),
    ]
    head = [
        _op(_MOV | reg, context, 1),
        _op(_CALL, value=_GET_RANDOM),
        _op(_MOV | reg, person, 0),
        _op(_AND, person, value=(1 << OPEN_BITS) - 1),
        _op(_LOAD32, packet, context, 0),
        _op(_LOAD32, limit, context, 4),
        _op(_MOV | reg, scratch, packet),
        _op(_ADD, scratch, value=FRAME),
        _op(_IF_GREATER, scratch, limit, len(body)),
    ]
    return b"".join([*head, *body, _op(_MOV, 0, value=_XDP_DROP), _op(_EXIT)])


def _load(program: bytes) -> int:
    """Hand the program to the kernel's verifier; a file descriptor comes back."""
    code = ctypes.create_string_buffer(program, len(program))
    licence = ctypes.create_string_buffer(b"MIT")
    log = ctypes.create_string_buffer(1 << 16)
    attributes = struct.pack(
        "=IIQQIIQII16s", _TYPE_XDP, len(program) // 8, ctypes.addressof(code), ctypes.addressof(licence),
        1, len(log), ctypes.addressof(log), 0, 0, b"edged_bench",
    )  # fmt: skip
    try:
        return _bpf(_PROG_LOAD, attributes)
    except OSError as error:
        raise BenchError(f"the kernel refuses the packet source: {error}; {log.value.decode()[-300:]}") from error


def _bpf(command: int, attributes: bytes) -> int:
    number = _SYS_BPF.get(platform.machine())
    if number is None:
        raise BenchError(f"no bpf system call number known for {platform.machine()}")
    union = ctypes.create_string_buffer(attributes, 144)
    answer = int(_libc.syscall(number, command, union, 144))
    if answer < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), "bpf")
    return answer
