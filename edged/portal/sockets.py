"""Listening sockets of the portal, made by the core because a transparent one needs CAP_NET_ADMIN.

``tproxy`` hands a packet to a socket although its destination is not an address of this machine; the kernel allows
that only for sockets with IP_TRANSPARENT. They listen on loopback alone: nothing but the rule leads to them.
SO_REUSEPORT lets the kernel spread connections over the workers by a hash, so that no worker wakes for another's.
"""

from __future__ import annotations

import errno
import logging
import socket
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass

from edged.config import Config, listen
from edged.errors import EdgedError

BACKLOG = 4096
"""The usual net.core.somaxconn, which caps it."""
IP_TRANSPARENT = 19
IP_FREEBIND = 15
IPV6_TRANSPARENT = 75
_NO_IPV6 = {errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL}

_log = logging.getLogger(__name__)


class SocketError(EdgedError):
    """A listening socket cannot be made: the port is taken, or a capability is missing."""

    transient = True


@dataclass(frozen=True, slots=True)
class Listeners:
    """The sockets of one worker; ``ipv6`` is missing where the kernel has no IPv6, ``site`` where none is wanted."""

    ipv4: socket.socket
    ipv6: socket.socket | None
    site: socket.socket | None

    def all(self) -> list[socket.socket]:
        """Those that exist, in the order of the wire."""
        return [one for one in (self.ipv4, self.ipv6, self.site) if one is not None]

    def close(self) -> None:
        for one in self.all():
            one.close()


def make(cfg: Config, workers: int) -> list[Listeners]:
    """Sockets for ``workers`` workers, all or none. Raises SocketError."""
    port = cfg.portal.listen_port
    with ExitStack() as undo:

        def ours(sock: socket.socket) -> socket.socket:
            undo.callback(sock.close)
            return sock

        made = []
        for _ in range(workers):
            ipv4 = ours(_attempt("portal.listen_port", ("127.0.0.1", port), _transparent4))
            try:
                ipv6 = ours(_attempt("portal.listen_port", ("::1", port), _transparent6))
            except SocketError as error:
                if not isinstance(error.__cause__, OSError) or error.__cause__.errno not in _NO_IPV6:
                    raise
                ipv6 = None
            site = None
            if cfg.portal.site_listen:
                site = ours(_attempt("portal.site_listen", listen(cfg.portal.site_listen), _free))
            made.append(Listeners(ipv4, ipv6, site))
        if made and made[0].ipv6 is None:
            _log.warning("no IPv6 on loopback: restricted subscribers' http over IPv6 will not reach the notice page")
        undo.pop_all()
        return made


def _attempt(key: str, where: tuple[str, int], options: Callable[[socket.socket], None]) -> socket.socket:
    family = socket.AF_INET6 if ":" in where[0] else socket.AF_INET
    try:
        sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    except OSError as error:
        raise SocketError(f"{key}: {where[0]} port {where[1]}: {error.strerror}") from error
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        options(sock)
        sock.bind(where)
        sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        hint = {
            errno.EADDRINUSE: "another program listens there; stop it or choose another port",
            errno.EPERM: "CAP_NET_ADMIN is missing; start the core as the unit does, or as root",
            errno.EACCES: "a port below 1024 needs CAP_NET_BIND_SERVICE",
        }.get(error.errno or 0, "see ip(7)")
        raise SocketError(f"{key}: {where[0]} port {where[1]}: {error.strerror}; {hint}") from error
    return sock


def _transparent4(sock: socket.socket) -> None:
    sock.setsockopt(socket.IPPROTO_IP, IP_TRANSPARENT, 1)


def _transparent6(sock: socket.socket) -> None:
    sock.setsockopt(socket.IPPROTO_IPV6, IPV6_TRANSPARENT, 1)
    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)


def _free(sock: socket.socket) -> None:
    # the address of the page may be one that comes up later (VRRP, a tunnel): listening must not wait for it
    sock.setsockopt(socket.IPPROTO_IP, IP_FREEBIND, 1)
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)  # [::] is both families, whatever bindv6only says
