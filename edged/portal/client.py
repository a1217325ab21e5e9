"""A worker's end of the socket to the core: asks who somebody is, tells what was shown and counted.

The core may be away for seconds (restart, upgrade) or slow. Nothing here waits longer than :data:`PATIENCE` for it, and
without it the redirector goes on and the page is a general one.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import socket
from collections.abc import Iterable
from pathlib import Path

from edged.domain.standing import Standing
from edged.portal import wire

PATIENCE = 0.3
"""Seconds a page waits for the core."""
QUESTIONS = 256
"""Questions that may be open; one more is answered with None at once."""
PAUSES = (0.1, 0.2, 0.5, 1.0, 2.0)
"""Seconds between attempts to reach the core."""

_log = logging.getLogger(__name__)


class CoreClient:
    """The constructor starts nothing; :meth:`run` connects and stays connected until cancelled."""

    def __init__(self, path: Path, workers: int) -> None:
        self._path = path
        self._workers = workers
        self._sock: socket.socket | None = None
        self._open: dict[int, asyncio.Future[Standing | None]] = {}
        self._numbers = itertools.count()

    @property
    def connected(self) -> bool:
        return self._sock is not None

    async def run(self) -> None:
        """Connect, read answers, connect again."""
        pauses = iter(PAUSES)
        while True:
            with contextlib.suppress(OSError), connect(self._path) as sock:
                sock.send(wire.encode(wire.Hello(self._workers, need=False)))
                self._sock = sock
                pauses = iter(PAUSES)
                try:
                    await self._read(sock)
                finally:
                    self._sock = None
                    self._forget()
            await asyncio.sleep(next(pauses, PAUSES[-1]))

    async def _read(self, sock: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        try:
            while data := await loop.sock_recv(sock, wire.LARGEST):
                record = wire.decode(data)
                if isinstance(record, wire.Person):
                    waiting = self._open.pop(record.request, None)
                    if waiting is not None and not waiting.done():
                        waiting.set_result(record.standing)
        except (OSError, wire.WireError) as error:
            _log.warning("core: %s", error)

    def _forget(self) -> None:
        for waiting in self._open.values():
            if not waiting.done():
                waiting.set_result(None)
        self._open.clear()

    def _send(self, sock: socket.socket | None, record: wire.Record) -> bool:
        if sock is None:
            return False
        try:
            sock.send(wire.encode(record), socket.MSG_DONTWAIT)
        except OSError:  # EAGAIN: the core is behind. EPIPE: it is gone, which the reader notices
            return False
        return True

    async def who(self, address: str) -> Standing | None:
        """What may be shown to ``address``; None when it is no address or the core does not say within PATIENCE."""
        try:
            packed = wire.pack_address(address)
        except ValueError:
            return None
        if len(self._open) >= QUESTIONS:
            return None
        number = next(self._numbers) & 0xFFFFFFFF
        answer: asyncio.Future[Standing | None] = asyncio.get_running_loop().create_future()
        self._open[number] = answer
        try:
            if not self._send(self._sock, wire.Who(number, packed)):
                return None
            async with asyncio.timeout(PATIENCE):
                return await answer
        except TimeoutError:
            return None
        finally:
            self._open.pop(number, None)

    def shown(self, address: str) -> bool:
        """Tell that this address was shown its reminder. False when the core could not be told."""
        return self._send(self._sock, wire.Shown(wire.pack_address(address)))

    def report(self, records: Iterable[wire.Stats]) -> list[wire.Stats]:
        """Send statistics; returns those that could not be sent."""
        return [record for record in records if not self._send(self._sock, record)]


def connect(path: Path) -> socket.socket:
    """A connection to the core that does not block. Raises OSError: nobody listens there, we may not, or it is full."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        sock.connect(str(path))
    except BaseException:
        sock.close()
        raise
    return sock
