"""A TCP proxy between an MQTT client and a broker that does what networks do: cuts, stalls, delays, duplicates.

    async with Proxy(broker.port) as proxy:
        Settings([proxy.url])
        proxy.meddle = cut_every(40)   # each 40th packet is cut in half and the connection reset
        proxy.stall()                  # nothing moves any more, in neither direction; connecting still works
        proxy.resume()

It reads whole MQTT packets, so it knows what it cuts. It does not look into TLS.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import Self

PUBLISH, PUBACK = 3, 4
"""MQTT control packet types."""
_FIRST_OWN_MID = 60_000
"""Packet identifiers that neither side reaches within a test: for copies the other side has never sent."""


class Act(enum.Enum):
    """What happens to a packet. ``AGAIN`` sends a PUBLISH twice, with DUP; ``COPY`` twice, as two messages."""

    PASS = enum.auto()
    CUT = enum.auto()
    AGAIN = enum.auto()
    COPY = enum.auto()


Meddle = Callable[[str, int, bytes], Act]
"""Direction (``up`` to the broker, ``down``), packet type, packet."""


def leave(_direction: str, _kind: int, _packet: bytes) -> Act:
    """Change nothing."""
    return Act.PASS


def cut_every(count: int, *, direction: str = "up", kinds: tuple[int, ...] = (PUBLISH, PUBACK)) -> Meddle:
    """Cut each ``count``-th packet of these types, whatever connection it is on.

    With ``down`` it must be more than a broker sends in one go, or nothing ever gets through.
    """
    seen = 0

    def meddle(way: str, kind: int, _packet: bytes) -> Act:
        nonlocal seen
        counts = way == direction and kind in kinds
        seen += counts
        return Act.CUT if counts and seen % count == 0 else Act.PASS

    return meddle


class Proxy:
    """Listens on ``port`` of 127.0.0.1. ``delay`` is seconds each packet waits; ``did`` counts what was done."""

    def __init__(self, behind: int) -> None:
        self.behind = behind
        self.port = 0
        self.meddle: Meddle = leave
        self.delay = 0.0
        self.did: Counter[str] = Counter()
        self._flows = asyncio.Event()
        self._flows.set()
        self._lines: set[_Line] = set()
        self._running: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        """As in the configuration of edged."""
        return f"mqtt://127.0.0.1:{self.port}"

    @property
    def open(self) -> int:
        """Connections at present."""
        return len(self._lines)

    def stall(self) -> None:
        """Let nothing through any more, without closing anything."""
        self._flows.clear()

    def resume(self) -> None:
        """Let it through again, what was held back first."""
        self._flows.set()

    def cut(self) -> None:
        """Reset every connection now."""
        self.did["cut"] += len(self._lines)
        for line in list(self._lines):
            line.reset()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(_Line(self, reader, writer)))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _serve(self, line: _Line) -> None:
        self._lines.add(line)
        self.did["connection"] += 1
        try:
            await line.run()
        finally:
            self._lines.discard(line)

    async def pass_on(self, kind: int) -> None:
        """Wait as long as this packet has to."""
        if self.delay:
            self.did["delay"] += 1
            await asyncio.sleep(self.delay)
        if not self._flows.is_set():
            self.did["stall"] += 1
            await self._flows.wait()
        self.did[f"packet {kind}"] += 1

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        self._flows.set()
        for line in list(self._lines):
            line.reset()
        await asyncio.gather(*self._running)


class _Line:
    """One client's connection and the one made for it to the broker."""

    def __init__(self, proxy: Proxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._proxy = proxy
        self._client = reader, writer
        self._broker: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._own = _FIRST_OWN_MID
        self._answers: Counter[tuple[str, int]] = Counter()
        """PUBACKs that the other side must not see: direction they come from, packet identifier."""

    def reset(self) -> None:
        for _, writer in filter(None, (self._client, self._broker)):
            writer.transport.abort()

    async def run(self) -> None:
        try:
            with contextlib.suppress(OSError):
                self._broker = await asyncio.open_connection("127.0.0.1", self._proxy.behind)
                ways = [
                    asyncio.create_task(self._pump("up", self._client[0], self._broker[1])),
                    asyncio.create_task(self._pump("down", self._broker[0], self._client[1])),
                ]
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
                for way in ways:
                    way.cancel()
                await asyncio.wait(ways)
        finally:
            self.reset()

    async def _pump(self, direction: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            async for packet in packets(reader):
                kind = packet[0] >> 4
                if kind == PUBACK and self._answers[direction, mid_of(packet)]:
                    self._answers[direction, mid_of(packet)] -= 1
                    continue
                await self._proxy.pass_on(kind)
                act = self._proxy.meddle(direction, kind, packet)
                if act is Act.CUT:
                    self._proxy.did["cut"] += 1
                    writer.write(packet[: max(1, len(packet) // 2)])
                    await writer.drain()
                    return
                writer.write(packet)
                if act in {Act.AGAIN, Act.COPY} and kind == PUBLISH and packet[0] & 6:
                    writer.write(self._copied(direction, packet, act))
                await writer.drain()

    def _copied(self, direction: str, packet: bytes, act: Act) -> bytes:
        self._proxy.did[act.name] += 1
        back = "down" if direction == "up" else "up"
        if act is Act.AGAIN:
            self._answers[back, mid_of(packet)] += 1
            return bytes([packet[0] | 8]) + packet[1:]
        self._own = self._own + 1 if self._own < 65_535 else _FIRST_OWN_MID
        self._answers[back, self._own] += 1
        at = _mid_at(packet)
        return packet[:at] + self._own.to_bytes(2) + packet[at + 2 :]


async def packets(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    """Whole MQTT packets until the connection ends; IncompleteReadError when it ends inside one."""
    while head := await reader.read(1):
        length = shift = 0
        while True:
            byte = await reader.readexactly(1)
            head += byte
            length |= (byte[0] & 0x7F) << shift
            shift += 7
            if byte[0] < 0x80:
                break
        yield head + await reader.readexactly(length)


def _body_at(packet: bytes) -> int:
    return next(i for i in range(1, 5) if packet[i] < 0x80) + 1


def _mid_at(packet: bytes) -> int:
    at = _body_at(packet)
    return at if packet[0] >> 4 != PUBLISH else at + 2 + int.from_bytes(packet[at : at + 2])


def mid_of(packet: bytes) -> int:
    """The packet identifier of a PUBLISH with QoS 1 or of a PUBACK."""
    at = _mid_at(packet)
    return int.from_bytes(packet[at : at + 2])
