"""Gateways without anything behind them: as much MQTT 5 as a session costs a broker, thousands in one process.

Each connects with a kept session and a will, subscribes to its three channels, publishes a retained state document, and
acknowledges and answers what comes. Nothing is decided, stored or enforced: what is measured is the broker.
"""

from __future__ import annotations

import asyncio
import resource
import struct
import time
from collections.abc import Callable

from .common import BenchError

KEEPALIVE = 60  # s; longer than any measurement, so that a ping is sent only where it is measured
_CONNECT, _CONNACK, _PUBLISH, _PUBACK, _SUBSCRIBE, _SUBACK, _PING, _PONG, _BYE = 1, 2, 3, 4, 8, 9, 12, 13, 14


def raise_limit(files: int) -> int:
    """Let this process and its children have so many open files if that is allowed; returns how many it got."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for wanted in (max(files, hard), hard):
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, wanted))
        except (ValueError, OSError):
            continue
        return wanted
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def text(value: str) -> bytes:
    raw = value.encode()
    return struct.pack("!H", len(raw)) + raw


def packet(head: int, body: bytes) -> bytes:
    length, out = len(body), bytearray([head])
    while True:
        length, low = divmod(length, 128)
        out.append(low | (0x80 if length else 0))
        if not length:
            return bytes(out) + body


class Light(asyncio.Protocol):
    """One client. ``heard(topic, at)`` is told of each message; ``waiting`` counts what the broker still owes us."""

    def __init__(
        self, name: str, topics: tuple[str, ...], will: str, heard: Callable[[Light, str, float], None]
    ) -> None:
        self.name = name
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.waiting = 0
        self.sent = self.received = 0
        """Bytes of MQTT, without TCP."""
        self.idle = asyncio.Event()
        self.idle.set()
        self.answer: tuple[str, bytes] | None = None
        """What each message is answered with: topic, payload."""
        self._topics, self._will, self._heard = topics, will, heard
        self._buffer = b""
        self._mid = 0
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101
        self._transport = transport
        flags = (0x2C if self._will else 0) | 0x00  # a will with QoS 1, retained; no clean start
        body = text("MQTT") + bytes([5, flags]) + struct.pack("!H", KEEPALIVE)
        body += b"\x08\x11" + struct.pack("!I", 7 * 86_400) + b"\x21" + struct.pack("!H", 64) + text(self.name)
        if self._will:
            body += b"\x00" + text(self._will) + text('{"v":1,"online":false}')
        self._write(packet(_CONNECT << 4, body))

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.ready.done():
            self.ready.set_exception(BenchError(f"the broker refused {self.name}: {exc or 'hung up'}"))
        self.idle.set()

    def data_received(self, data: bytes) -> None:
        at = time.monotonic()
        self.received += len(data)
        self._buffer += data
        while len(self._buffer) >= 2:
            length = shift = 0
            place = 1
            while place < len(self._buffer):
                byte = self._buffer[place]
                length |= (byte & 0x7F) << shift
                place, shift = place + 1, shift + 7
                if byte < 0x80:
                    break
            else:
                return
            if len(self._buffer) < place + length:
                return
            self._take(self._buffer[0], self._buffer[place : place + length], at)
            self._buffer = self._buffer[place + length :]

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        """QoS 1; ``idle`` is set again once all were acknowledged."""
        self._mid = self._mid % 65_535 + 1
        self._owed(1)
        self._write(packet(0x33 if retain else 0x32, text(topic) + struct.pack("!H", self._mid) + b"\x00" + payload))

    def ping(self) -> None:
        self._owed(1)
        self._write(bytes([_PING << 4, 0]))

    def close(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._write(bytes([_BYE << 4, 0]))
            self._transport.close()

    def _owed(self, count: int) -> None:
        self.waiting += count
        (self.idle.clear if self.waiting else self.idle.set)()

    def _write(self, data: bytes) -> None:
        assert self._transport is not None  # noqa: S101
        self.sent += len(data)
        self._transport.write(data)

    def _take(self, head: int, body: bytes, at: float) -> None:
        kind = head >> 4
        if kind in {_PUBACK, _PONG}:
            self._owed(-1)
        elif kind == _PUBLISH:
            (length,) = struct.unpack_from("!H", body)
            topic = body[2 : 2 + length].decode()
            if head & 6:
                self._write(packet(_PUBACK << 4, body[2 + length : 4 + length]))
            self._heard(self, topic, at)
            if self.answer:
                self.publish(*self.answer)
        elif kind == _CONNACK:
            if body[1]:
                self.ready.set_exception(BenchError(f"the broker refused {self.name}: reason {body[1]:#x}"))
                return
            wanted = b"".join(text(topic) + b"\x21" for topic in self._topics)  # QoS 1, no retained messages
            self._write(packet(0x82, b"\x00\x01\x00" + wanted))
        elif kind == _SUBACK and not self.ready.done():
            self.ready.set_result(None)
