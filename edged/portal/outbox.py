"""Records for the other end of the socket between core and portal that wait until it reads, in the order they came.

A Unix socket holds about 280 records. One batch may change what a thousand open pages show, and a core that was away
is told of as many at once: none of that may get lost, and nobody waits in the event loop for it.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Hashable

from edged.portal import wire


class Outbox:
    """For one connected socket that does not block; made within a running loop. :meth:`close` before the socket is.

    What waits has a key, and there is one record for each: whoever puts records in bounds what waits by the keys.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._loop = asyncio.get_running_loop()
        self._waiting: dict[Hashable, wire.Record] = {}
        self._empty = asyncio.Event()
        self._empty.set()
        self._closed = False

    def send(self, record: wire.Record) -> bool:
        """Send it now. False, and it is not sent, when the other end is behind or gone."""
        try:
            self._sock.send(wire.encode(record), socket.MSG_DONTWAIT)
        except OSError:  # EAGAIN: it is behind. EPIPE: it is gone, which the reader of the socket notices
            return False
        return True

    def put(self, key: Hashable, record: wire.Record) -> None:
        """Send it as soon as it is its turn; what waits under the same key is replaced, and keeps its turn."""
        if self._closed:
            return
        if not self._waiting:
            self._waiting[key] = record
            self._flush()
            if self._waiting:
                self._empty.clear()
                self._loop.add_writer(self._sock, self._flush)
        else:
            self._waiting[key] = record

    def drop(self, key: Hashable) -> bool:
        """Whether something waited under this key. It is not sent any more."""
        return self._waiting.pop(key, None) is not None

    async def sent(self) -> None:
        """Return when all that waited was sent, or the connection ended."""
        await self._empty.wait()

    def close(self) -> None:
        """Forget what waits: the connection ends. Saying so twice does no harm."""
        if not self._closed:
            self._closed = True
            self._stop()

    def _flush(self) -> None:
        while self._waiting:
            key = next(iter(self._waiting))
            try:
                self._sock.send(wire.encode(self._waiting[key]), socket.MSG_DONTWAIT)
            except BlockingIOError:
                return
            except OSError:  # gone: the reader of the socket notices
                break
            del self._waiting[key]
        self._stop()

    def _stop(self) -> None:
        self._waiting.clear()
        if not self._empty.is_set():
            self._loop.remove_writer(self._sock)
            self._empty.set()
