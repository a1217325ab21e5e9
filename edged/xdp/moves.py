"""Which devices were put into another network namespace. They take their XDP program along, out of everybody's reach.

The kernel tells it in the farewell to the namespace they leave (``RTM_DELLINK`` with ``IFLA_NEW_NETNSID``,
``linux/if_link.h``) and nowhere else, so somebody has to listen all the time. Where messages were lost nothing is
known.
"""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Iterator

_ROUTE, _LINKS = 0, 1  # NETLINK_ROUTE, RTMGRP_LINK
_DELLINK, _NEW_NETNSID = 17, 45
_HEADER, _LINK = 16, 16
"""Bytes of nlmsghdr and ifinfomsg."""


class Moves:
    """Listens from the constructor on, in the network namespace of the calling thread."""

    def __init__(self) -> None:
        self._socket: socket.socket | None = None
        with contextlib.suppress(OSError):  # only a sentence in status depends on it
            self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _ROUTE)
            self._socket.setblocking(False)
            self._socket.bind((0, _LINKS))

    def read(self) -> set[int]:
        """Indexes of the devices that went since the last call."""
        found: set[int] = set()
        while self._socket is not None:
            try:
                found.update(moved(self._socket.recv(1 << 16)))
            except BlockingIOError:
                break
            except OSError:
                continue  # ENOBUFS: some were lost
        return found

    def close(self) -> None:
        """Listen no more."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def moved(data: bytes) -> Iterator[int]:
    """The indexes in one datagram of the kernel's."""
    at = 0
    while at + _HEADER + _LINK <= len(data):
        length, kind = struct.unpack_from("=IH", data, at)
        if length < _HEADER:
            return
        if kind == _DELLINK and _NEW_NETNSID in _kinds(data[at + _HEADER + _LINK : at + length]):
            yield struct.unpack_from("=i", data, at + _HEADER + 4)[0]
        at += (length + 3) & ~3


def _kinds(attributes: bytes) -> Iterator[int]:
    at = 0
    while at + 4 <= len(attributes):
        length, kind = struct.unpack_from("=HH", attributes, at)
        if length < 4:
            return
        yield kind & 0x3FFF
        at += (length + 3) & ~3
