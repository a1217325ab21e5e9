"""Listening sockets in the event loop, and the pause where the machine has no descriptor left for what they bring."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable

_FULL = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
"""What accept(2) says when it is not the connection's fault: trying again at once would spin."""


class Acceptor:
    """Any number of listening sockets, which do not block and stay their owner's; for the loop that runs."""

    def __init__(self) -> None:
        self._ready: dict[socket.socket, Callable[[], None]] = {}
        self._paused = False

    def add(self, listener: socket.socket, ready: Callable[[], None]) -> None:
        """Call ``ready`` whenever somebody waits there to be accepted."""
        self._ready[listener] = ready
        asyncio.get_running_loop().add_reader(listener, ready)

    def exhausted(self, error: OSError) -> bool:
        """Whether accept(2) failed for want of descriptors or memory; then nobody is called until :meth:`resume`.

        Else the one connection died in the queue (accept(2) hands its errors on), and the next one may be taken.
        """
        if error.errno not in _FULL:
            return False
        # a listener that stays readable would spin the loop; those who wait give descriptors back within seconds
        self._paused = True
        loop = asyncio.get_running_loop()
        for listener in self._ready:
            loop.remove_reader(listener)
        return True

    def resume(self) -> None:
        """Go on after a pause, if there was one."""
        if self._paused:
            self._paused = False
            loop = asyncio.get_running_loop()
            for listener, ready in self._ready.items():
                loop.add_reader(listener, ready)

    def close(self) -> None:
        """Call nobody any more."""
        loop = asyncio.get_running_loop()
        for listener in self._ready:
            loop.remove_reader(listener)
        self._ready.clear()
