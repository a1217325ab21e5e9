"""Many sockets that are not worth a turn of their own in the event loop.

Ten thousand clients that send a byte each would otherwise be ten thousand callbacks before the loop looks at the
listening socket again. They share one descriptor in the loop, an epoll of their own, and get some turns whenever it
has something; then it is everybody else's turn.
"""

from __future__ import annotations

import asyncio
import select
import socket
from collections.abc import Callable

BATCH = 64
"""Callbacks in one turn, unless told otherwise."""


class Waiters:
    """Calls back when a socket can be read, or its other side has closed; ``batch`` times in one turn of the loop.

    Opens no descriptor before it is used.
    """

    def __init__(self, batch: int = BATCH) -> None:
        self._batch = batch
        self._epoll: select.epoll | None = None
        self._calls: dict[int, Callable[[], None]] = {}

    def add(self, sock: socket.socket, call: Callable[[], None]) -> None:
        """Watch ``sock`` in the running loop. Raises OSError when the kernel can watch no more."""
        if self._epoll is None:
            self._epoll = select.epoll()
            asyncio.get_running_loop().add_reader(self._epoll.fileno(), self._turn)
        self._epoll.register(sock.fileno(), select.EPOLLIN)
        self._calls[sock.fileno()] = call

    def remove(self, sock: socket.socket) -> None:
        """Watch it no longer; it stays open. Saying so twice does no harm."""
        if self._epoll is not None and self._calls.pop(sock.fileno(), None) is not None:
            self._epoll.unregister(sock.fileno())

    def closed(self, fd: int) -> None:
        """A socket was closed, so the kernel watches it no longer. No harm if it was not here."""
        self._calls.pop(fd, None)

    def close(self) -> None:
        """Watch nothing any more."""
        if self._epoll is not None:
            asyncio.get_running_loop().remove_reader(self._epoll.fileno())
            self._epoll.close()
            self._epoll = None
            self._calls.clear()

    def _turn(self) -> None:
        if self._epoll is not None:
            for fd, _ in self._epoll.poll(0, self._batch):
                if call := self._calls.get(fd):  # an earlier one may have closed it
                    call()
