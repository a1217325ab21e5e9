"""uvicorn for the notice page, held to the same limits as the redirector.

uvicorn itself waits for ever for a request that does not come. :class:`Guard` keeps a deadline for each connection that
has sent no whole request head yet and a count for each address, and is swept as the redirector is.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import uvicorn
from starlette.applications import Starlette
from uvicorn.protocols.http.h11_impl import H11Protocol

from edged.portal.redirector import Limits
from edged.portal.tally import Tally
from edged.portal.wire import CLOSED

HEAD_BYTES = 8192
"""A request to the page may be larger than one to the redirector: a proxy in front may add to it."""
KEEP_ALIVE = 5


class Guard:
    """Who is connected to the page, and until when they may be without a request."""

    def __init__(self, limits: Limits, tally: Tally) -> None:
        self._limits = limits
        self._tally = tally
        self._deadlines: dict[_Protocol, float] = {}
        self._open: Counter[str] = Counter()

    def enter(self, one: _Protocol) -> bool:
        """A connection was made; False when there are too many."""
        if self._open.total() >= self._limits.connections or self._open[one.who] >= self._limits.per_address:
            self._tally.add("refused", CLOSED)
            return False
        self._open[one.who] += 1
        self._deadlines[one] = time.monotonic() + self._limits.seconds
        return True

    def leave(self, one: _Protocol) -> None:
        """A connection that was let in is gone."""
        self._deadlines.pop(one, None)
        self._open[one.who] -= 1
        if not self._open[one.who]:
            del self._open[one.who]

    def sweep(self) -> None:
        """Cut those that did not send a request in time."""
        now = time.monotonic()
        for one, deadline in list(self._deadlines.items()):
            if one.asked:
                del self._deadlines[one]  # from here uvicorn's own keep-alive limit holds
            elif deadline <= now:
                self._tally.add("refused", CLOSED)
                one.transport.abort()


class _Protocol(H11Protocol):
    guard: Guard
    who = ""
    _entered = False

    @property
    def asked(self) -> bool:
        """Whether a whole request head has come."""
        return self.cycle is not None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        peer = transport.get_extra_info("peername")
        self.who = peer[0] if peer else ""
        super().connection_made(transport)
        self._entered = self.guard.enter(self)
        if not self._entered:
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._entered:
            self.guard.leave(self)
        super().connection_lost(exc)


class SiteServer(uvicorn.Server):
    """uvicorn inside a worker, which has its own signal handlers."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def server(app: Starlette, guard: Guard, context: ssl.SSLContext | None = None) -> SiteServer:
    """A server for ``app``; loads all it needs now, so that it can be made before the privileges are gone.

    With a ``context`` it speaks TLS.
    """
    # X-Forwarded-For counts only from loopback: that is a TLS proxy on this gateway, which no subscriber can be
    protocol: Any = type("GuardedProtocol", (_Protocol,), {"guard": guard})
    config = uvicorn.Config(
        app,
        loop="none",
        http=protocol,
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        forwarded_allow_ips=["127.0.0.1", "::1"],
        timeout_keep_alive=KEEP_ALIVE,
        timeout_graceful_shutdown=2,
        h11_max_incomplete_event_size=HEAD_BYTES,
    )
    config.load()
    config.ssl = context
    return SiteServer(config)
