"""Notices that somebody else changed our table, from the nf_tables notification group.

Where the table has an owner (Linux 6.9 and later) the kernel refuses everybody else's change and there is nothing to
watch. Elsewhere every change comes as a message with the port id of who made it. The group also carries our own
changes, one message an element, so the membership is given up during a refill and the table is looked over afterwards.
"""

from __future__ import annotations

import errno
import socket
from typing import Final

from edged.nft import nla
from edged.nft.failure import kernel_error
from edged.nft.schema import TABLE

_NETLINK_NETFILTER: Final = 12
_SOL_NETLINK, _ADD, _DROP = 270, 1, 2
_GROUP_NFTABLES = 7
_SO_RCVBUFFORCE = 33


class Watch:
    """A subscription. ``own_port`` is the netlink port id of the backend, whose changes are not drift."""

    def __init__(self, own_port: int) -> None:
        self._own = own_port
        self._socket: socket.socket | None = None

    def open(self) -> int:
        """Subscribe; returns the file descriptor to wait on. Raises KernelError."""
        s = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_NETFILTER)
        try:
            s.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 4 << 20)
            s.bind((0, 0))
            s.setblocking(False)
            s.setsockopt(_SOL_NETLINK, _ADD, _GROUP_NFTABLES)
        except OSError as e:
            s.close()
            raise kernel_error(e.errno or errno.EIO, "a subscription to its changes") from e
        self._socket = s
        return s.fileno()

    def pause(self) -> None:
        """Hear nothing for a while."""
        if self._socket:
            self._socket.setsockopt(_SOL_NETLINK, _DROP, _GROUP_NFTABLES)

    def resume(self) -> None:
        """Hear again; what happened meanwhile must be looked for."""
        if self._socket:
            self.foreign()
            self._socket.setsockopt(_SOL_NETLINK, _ADD, _GROUP_NFTABLES)

    def foreign(self) -> bool:
        """Read everything that waits: whether somebody else changed our table, or messages were lost."""
        if self._socket is None:
            return False
        found = False
        while True:
            try:
                data = self._socket.recv(1 << 18)
            except BlockingIOError:
                return found
            except OSError:
                found = True  # ENOBUFS: lost messages may have been about us
                continue
            for m in nla.messages(data):
                if m.pid == self._own:
                    break  # one datagram is one transaction's
                name = nla.table_of(m.body).get(1)
                if m.family == nla.NFPROTO_INET and name is not None and nla.string(name) == TABLE:
                    found = True
                    break

    def close(self) -> None:
        """Unsubscribe."""
        if self._socket:
            self._socket.close()
            self._socket = None
