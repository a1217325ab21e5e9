"""Just enough MQTT 3.1.1 to time a message: one thread, one socket, nothing between the bench and the wire."""

from __future__ import annotations

import socket
import struct
import time

from tests.lab.netns import Namespace

from .common import BenchError


class Wire:
    """A client that publishes and receives with QoS 1. Calls block; moments are ``time.monotonic()``.

    ``patience``: seconds of silence after which a call that waits raises TimeoutError.
    """

    def __init__(self, space: Namespace, port: int, name: str, *topics: str, patience: float = 20.0) -> None:
        self._socket = space.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._socket.settimeout(patience)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.connect(("127.0.0.1", port))
        self._buffer = b""
        self._number = 0
        self._send(0x10, _text("MQTT") + bytes([4, 2]) + struct.pack("!H", 0) + _text(name))
        self._expect(0x20)
        if topics:
            wanted = b"".join(_text(topic) + b"\x01" for topic in topics)
            self._send(0x82, struct.pack("!H", 1) + wanted)
            self._expect(0x90)

    def publish(self, topic: str, payload: bytes) -> float:
        """Send one message and return the moment before the call; its PUBACK is left for :meth:`receive` to skip."""
        self._number = self._number % 65535 + 1
        body = _text(topic) + struct.pack("!H", self._number) + payload
        start = time.monotonic()
        self._send(0x32, body)
        return start

    def receive(self) -> tuple[float, bytes]:
        """The next message: the moment it was read, and its payload. It is acknowledged at once."""
        while True:
            kind, body = self._packet()
            if kind & 0xF0 != 0x30:
                continue
            at = time.monotonic()
            (length,) = struct.unpack_from("!H", body)
            rest = body[2 + length :]
            if kind & 0x06:
                self._send(0x40, rest[:2])
                rest = rest[2:]
            return at, rest

    def close(self) -> None:
        self._socket.close()

    def _expect(self, wanted: int) -> None:
        kind, _ = self._packet()
        if kind != wanted:
            raise BenchError(f"the broker answered {kind:#x} where {wanted:#x} belongs")

    def _send(self, kind: int, body: bytes) -> None:
        length, out = len(body), bytearray([kind])
        while True:
            length, low = divmod(length, 128)
            out.append(low | (0x80 if length else 0))
            if not length:
                break
        self._socket.sendall(bytes(out) + body)

    def _packet(self) -> tuple[int, bytes]:
        kind = self._read(1)[0]
        length = shift = 0
        while True:
            byte = self._read(1)[0]
            length |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return kind, self._read(length)

    def _read(self, size: int) -> bytes:
        while len(self._buffer) < size:
            more = self._socket.recv(65536)
            if not more:
                raise BenchError("the broker hung up")
            self._buffer += more
        out, self._buffer = self._buffer[:size], self._buffer[size:]
        return out


def _text(value: str) -> bytes:
    raw = value.encode()
    return struct.pack("!H", len(raw)) + raw
