"""How the portal gets its listening sockets: it says hello to the core and takes the descriptors that come back."""

from __future__ import annotations

import socket
from pathlib import Path

from edged.portal import wire
from edged.portal.client import connect
from edged.portal.sockets import Listeners

PATIENCE = 5.0
"""Seconds the core may take."""


def ask(path: Path, workers: int) -> list[Listeners]:
    """Sockets for each of ``workers`` workers. Raises OSError (no core there) or WireError (it cannot make them)."""
    found: list[Listeners] = []
    with connect(path) as sock:
        sock.settimeout(PATIENCE)
        sock.send(wire.encode(wire.Hello(workers, need=True)))
        try:
            while len(found) < workers:
                data, fds, _, _ = socket.recv_fds(sock, wire.ROOM, 3)
                kept = [socket.socket(fileno=fd) for fd in fds]
                record = wire.decode(data) if data else None
                wanted = (record.ipv4, record.ipv6, record.site) if isinstance(record, wire.Sockets) else ()
                if sum(wanted) != len(kept) or not wanted or not wanted[0]:
                    for one in kept:
                        one.close()
                    raise wire.WireError("the core could not make them; its log says why")
                rest = iter(kept)
                ipv4, ipv6, site = (next(rest) if there else None for there in wanted)
                assert ipv4 is not None  # noqa: S101  looked at just above
                found.append(Listeners(ipv4, ipv6, site))
        except BaseException:
            for group in found:
                group.close()
            raise
    for group in found:
        for one in group.all():
            one.setblocking(False)
    return found
