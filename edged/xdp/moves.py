"""Which devices were put into another network namespace. They take their XDP program along, out of everybody's reach.

The kernel tells it in the farewell to the namespace they leave (``RTM_DELLINK`` with ``IFLA_NEW_NETNSID``,
``linux/if_link.h``) and nowhere else, so somebody has to listen all the time. Where messages were lost nothing is
known. Nor does it tell what becomes of them there: what went is told until it comes back or edged is started again.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Collection, Iterator, Mapping

from edged.xdp import rtnetlink
from edged.xdp.summary import went

_LINKS = 1
"""RTMGRP_LINK."""
_NEW_NETNSID = 45
"""IFLA_NEW_NETNSID."""
KEPT = 64
"""Names of devices that went; of more it is only known that there were some."""


class Moves:
    """Listens from the constructor on, in the network namespace of the calling thread."""

    def __init__(self) -> None:
        self.lost = False
        """Whether the last :meth:`read` found that messages were lost."""
        self._socket: socket.socket | None = None
        with contextlib.suppress(OSError):  # only a sentence in status depends on it
            self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, rtnetlink.ROUTE)
            self._socket.setblocking(False)
            self._socket.bind((0, _LINKS))

    def read(self) -> set[int]:
        """Indexes of the devices that went since the last call."""
        found: set[int] = set()
        self.lost = False
        while self._socket is not None:
            try:
                found.update(moved(self._socket.recv(1 << 16)))
            except BlockingIOError:
                break
            except OSError:  # ENOBUFS
                self.lost = True
        return found

    def close(self) -> None:
        """Listen no more."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


class Runaways:
    """The devices that went into another network namespace with the program, as far as it is known."""

    def __init__(self) -> None:
        self._names: set[str] = set()
        self._more = False
        self._last: tuple[set[int], bool] = set(), False
        """What was read the last time: a device may have gone after the others were looked at."""

    def note(self, gone: Mapping[int, str], moves: Moves | None) -> None:
        """``gone``: devices, index -> name, that had the program and are not here any more, deleted or moved."""
        if moves is None:
            return
        now = moves.read(), moves.lost
        (before, lost), self._last = self._last, now
        for index, name in gone.items():
            if index not in before | now[0]:
                self._more |= lost or now[1]
            elif len(self._names) < KEPT:
                self._names.add(name)
            else:
                self._more |= name not in self._names

    def back(self, names: Collection[str]) -> None:
        """These are here."""
        self._names.difference_update(names)

    def told(self) -> str:
        """For status; empty where there is nothing to tell."""
        return went(sorted(self._names), more=self._more) if self._names or self._more else ""


def moved(data: bytes) -> Iterator[int]:
    """The indexes in one datagram of the kernel's."""
    for kind, _, body in rtnetlink.messages(data):
        said = rtnetlink.attributes(body[rtnetlink.LINK_SIZE :])
        if kind == rtnetlink.DELLINK and any(what == _NEW_NETNSID for what, _ in said):
            yield rtnetlink.device(body)
