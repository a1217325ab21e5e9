"""Many subscribers who each open a connection, ask for a page, read the answer and close; without a TCP stack.

A kernel's own client half costs more than the server half that is to be measured (socket, connect, poll, close and the
softirqs of both), so with one core each the client would be the bottleneck. Nothing needs to be remembered: every
answer of the server holds all that our next segment must say. Frames go out and come in hundreds at a time through a
packet socket, and numpy fills them in. What is sent is what Linux sends for ``curl``: SYN, ACK, the request, FIN.
"""

from __future__ import annotations

import ctypes
import dataclasses
import errno
import os
import select
import socket
import struct
import time

import numpy as np
import numpy.typing as npt

from .common import BenchError, inside

ADDRESSES = 1 << 12
FIRST = 0x64400000
"""They have 100.64.0.0 to 100.64.15.255."""
WINDOW = 192
"""Connections at a time. Four frames each stay below what the kernel queues for a core (1000)."""
REQUEST = (
    b"GET /some/path?x=1 HTTP/1.1\r\nHost: www.example.com\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\n"
    b"Accept: text/html,*/*;q=0.8\r\nAccept-Language: pt-BR,pt;q=0.9\r\nConnection: close\r\n\r\n"
)
_ROOM, _BATCH, _PORTS = 1024, 512, 16
_SYN, _ACK, _PUSH_ACK, _FIN_ACK, _SYN_ACK = 0x02, 0x10, 0x18, 0x11, 0x12
_SOL_PACKET, _QDISC_BYPASS, _IGNORE_OUTGOING, _RCVBUFFORCE = 263, 20, 23, 33
_libc = ctypes.CDLL(None, use_errno=True)

Bytes = npt.NDArray[np.uint8]
Numbers = npt.NDArray[np.int64]


@dataclasses.dataclass(frozen=True)
class Visit:
    """What a crowd got: connections that ended with a whole 302, others, and the seconds it took."""

    found: int
    failed: int
    seconds: float

    @property
    def rate(self) -> float:
        return self.found / self.seconds


class _Segment:
    """A kind of frame that we send: all of it but who, where to and the numbers."""

    def __init__(self, gateway: bytes, own: bytes, server: str, flags: int, options: bytes, payload: bytes) -> None:
        size = 20 + len(options) + len(payload)
        offset = (20 + len(options)) // 4 << 4
        tcp = struct.pack("!HHIIBBHHH", 0, 80, 0, 0, offset, flags, 64240, 0, 0) + options + payload
        ip = struct.pack("!BBHHHBBHI4s", 0x45, 0, 20 + size, 0, 0x4000, 64, 6, 0, 0, socket.inet_aton(server))
        pseudo = struct.pack("!4sHH", socket.inet_aton(server), 6, size)
        self._frame = np.frombuffer(gateway + own + b"\x08\x00" + ip + tcp, dtype=np.uint8)
        self._ip_sum, self._tcp_sum = _sum(ip), _sum(pseudo) + _sum(tcp)

    def many(self, who: Numbers, port: Numbers, seq: Numbers, ack: Numbers) -> Bytes:
        """One frame for each entry, checksums right."""
        out = np.tile(self._frame, (len(who), 1))
        person = (who >> 16) + (who & 0xFFFF)
        _put(out, 24, _checksum(self._ip_sum + person), 2)
        _put(out, 26, who, 4)
        _put(out, 34, port, 2)
        _put(out, 38, seq, 4)
        _put(out, 42, ack, 4)
        numbers = (seq >> 16) + (seq & 0xFFFF) + (ack >> 16) + (ack & 0xFFFF)
        _put(out, 50, _checksum(self._tcp_sum + person + port + numbers), 2)
        return out


class Crowd:
    """Subscribers behind ``device`` of ``namespace``, who visit ``server`` through a gateway; MAC addresses of both.

    ``first`` is the lowest of their addresses, as a number.
    """

    def __init__(
        self, namespace: str, device: str, gateway: bytes, own: bytes, server: str, *, first: int = FIRST
    ) -> None:
        with inside(namespace):
            # every protocol: only such a socket sees a frame before the rule that drops it to keep our own stack idle
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
            self._socket.bind((device, 0x0003))
        self._socket.setblocking(False)
        for option in (_QDISC_BYPASS, _IGNORE_OUTGOING):
            self._socket.setsockopt(_SOL_PACKET, option, 1)
        self._socket.setsockopt(socket.SOL_SOCKET, _RCVBUFFORCE, 32 << 20)
        address = (gateway, own, server)
        self._syn = _Segment(*address, _SYN, bytes.fromhex("020405b4"), b"")
        self._ack = _Segment(*address, _ACK, b"", b"")
        self._ask = _Segment(*address, _PUSH_ACK, b"", REQUEST)
        self._fin = _Segment(*address, _FIN_ACK, b"", b"")
        self._came = np.zeros((_BATCH, _ROOM), dtype=np.uint8)
        self._inbox = _messages(self._came)
        self._next = 0
        self._first = first

    def visit(self, seconds: float) -> Visit:
        """Keep WINDOW connections under way for that long, then see the last ones through."""
        found = failed = under_way = 0
        began = time.monotonic()
        last_word, end = began, began + seconds
        while under_way or time.monotonic() < end:
            now = time.monotonic()
            if now < end and under_way < WINDOW:
                self._send(self._newcomers(WINDOW - under_way))
                under_way = WINDOW
            frames = self._receive()
            if frames is None:
                if now - last_word > 1.0:  # lost somewhere, and we do not send again
                    failed += under_way
                    under_way = 0
                    last_word = now
                continue
            last_word = now
            flags = frames[:, 47]
            self._send(*self._go_on(frames[flags == _SYN_ACK]))
            ended = frames[(flags & 1) == 1]
            self._send(self._leave(ended))
            refused = int(np.count_nonzero(flags & 4))
            good = int(np.count_nonzero((frames[:, 63:66] == np.frombuffer(b"302", dtype=np.uint8)).all(axis=1)))
            found += good
            failed += refused
            under_way = max(0, under_way - len(ended) - refused)
        return Visit(found, failed, time.monotonic() - began)

    def close(self) -> None:
        self._socket.close()

    def _newcomers(self, n: int) -> Bytes:
        serial = np.arange(self._next, self._next + n, dtype=np.int64)
        self._next += n
        # A pair of address and port comes again every few seconds, so that neither half of a comparison runs into the
        # limits of its tables (TIME_WAIT, connection tracking). It is taken for a new connection: its numbers are
        # higher than the last time (RFC 1122 §4.2.2.13).
        turn, pair = np.divmod(serial, ADDRESSES * _PORTS)
        who, port = self._first + pair % ADDRESSES, 1024 + pair // ADDRESSES
        return self._syn.many(who, port, 1_000_000 + turn * 100_000 & 0xFFFFFFFF, np.zeros(n, dtype=np.int64))

    def _go_on(self, frames: Bytes) -> tuple[Bytes, ...]:
        who, port, seq, ack = _read(frames)
        ack = ack + 1 & 0xFFFFFFFF
        return self._ack.many(who, port, seq, ack), self._ask.many(who, port, seq, ack)

    def _leave(self, frames: Bytes) -> Bytes:
        who, port, seq, ack = _read(frames)
        payload = _get(frames, 16, 2) - 20 - (frames[:, 46] >> 4).astype(np.int64) * 4
        return self._fin.many(who, port, seq, ack + payload + 1 & 0xFFFFFFFF)

    def _receive(self) -> Bytes | None:
        self._came[:, 63:66] = 0  # where the status of an answer stands; short frames leave what was there
        n = _libc.recvmmsg(self._socket.fileno(), ctypes.c_void_p(self._inbox.ctypes.data), _BATCH, 0x40, None)
        if n > 0:
            came: Bytes = self._came[:n][(self._came[:n, 12:14] == (8, 0)).all(axis=1)]
            return came
        if ctypes.get_errno() not in {errno.EAGAIN, errno.EINTR}:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), "recvmmsg")
        select.select([self._socket], [], [], 0.1)
        return None

    def _send(self, *kinds: Bytes) -> None:
        for frames in kinds:
            outbox = _messages(frames)
            at = 0
            while at < len(frames):
                start = ctypes.c_void_p(outbox.ctypes.data + at * 64)
                done = _libc.sendmmsg(self._socket.fileno(), start, len(frames) - at, 0)
                if done < 0 and ctypes.get_errno() not in {errno.ENOBUFS, errno.EAGAIN, errno.EINTR}:
                    raise BenchError(f"sendmmsg: {os.strerror(ctypes.get_errno())}")
                at += max(done, 0)


def _read(frames: Bytes) -> tuple[Numbers, Numbers, Numbers, Numbers]:
    """Of answers: whom they are for, at which port, what we say next, and up to where they spoke."""
    return _get(frames, 30, 4), _get(frames, 36, 2), _get(frames, 42, 4), _get(frames, 38, 4)


def _get(frames: Bytes, at: int, size: int) -> Numbers:
    return np.ascontiguousarray(frames[:, at : at + size]).view(f">u{size}")[:, 0].astype(np.int64)


def _put(frames: Bytes, at: int, values: Numbers, size: int) -> None:
    frames[:, at : at + size] = values.astype(f">u{size}").view(np.uint8).reshape(-1, size)


def _sum(data: bytes) -> int:
    return sum(struct.unpack(f"!{(len(data) + 1) // 2}H", data + b"\0" * (len(data) % 2)))


def _checksum(total: Numbers) -> Numbers:
    for _ in range(2):
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def _messages(frames: Bytes) -> npt.NDArray[np.uint64]:
    """The rows of ``frames`` as struct mmsghdr, with struct iovec behind them, as 64-bit Linux lays them out."""
    n, size = frames.shape
    out = np.zeros(n * 10, dtype=np.uint64)
    headers, vectors = out[: n * 8].reshape(n, 8), out[n * 8 :].reshape(n, 2)
    rows = np.arange(n, dtype=np.uint64)
    vectors[:, 0] = frames.ctypes.data + rows * size
    vectors[:, 1] = size
    headers[:, 2] = vectors.ctypes.data + rows * 16
    headers[:, 3] = 1
    return out
