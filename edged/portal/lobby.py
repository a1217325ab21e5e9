"""Where connections to the notice page wait until they have said enough to be given to uvicorn."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
from collections.abc import Callable, Iterator
from functools import partial

import uvicorn

from edged.portal.acceptor import Acceptor
from edged.portal.exchange import HEAD_BYTES, Exchange, refusal
from edged.portal.head import Verdict, judge
from edged.portal.places import Places
from edged.portal.redirector import BATCH, DEFER_SECONDS, holder
from edged.portal.tally import Tally
from edged.portal.waiters import Waiters
from edged.portal.wire import CLOSED

HEARD = 24
"""Of those who sent half a head, so many are heard in a turn: whoever comes with a whole one waits less for them."""


class _Visitor:
    """A connection that has not said enough yet to be worth more than a descriptor."""

    def __init__(self, sock: socket.socket, who: str | bytes, drop: Callable[[_Visitor], None]) -> None:
        self.sock = sock
        self.who = who
        self.due = 0.0
        self.unread = 0
        self.data = b""
        self._drop = drop

    def cut(self) -> None:
        self._drop(self)

    def waiting(self) -> int:
        return 0

    def go(self) -> None:
        raise AssertionError("it has asked for nothing")


class SiteServer(uvicorn.Server):
    """uvicorn inside a worker, with a lobby: who has not sent a whole request head is not yet a connection for it.

    So a slow or silent client costs here what it costs the redirector, a descriptor and a few hundred bytes, and
    however many come at once, those who are in have their turn after every :data:`BATCH`.
    """

    def __init__(
        self, config: uvicorn.Config, places: Places, tally: Tally, seconds: float, tls: ssl.SSLContext | None
    ) -> None:
        super().__init__(config)
        self._places = places
        self._tally = tally
        self._seconds = seconds
        self._tls = tls
        self._acceptor = Acceptor()
        self._tasks: set[asyncio.Task[None]] = set()
        self._slow = Waiters(HEARD)
        self._visitors: set[_Visitor] = set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield  # the worker has its own

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup([])
        for listener in sockets or []:
            listener.setblocking(False)
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, DEFER_SECONDS)
            self._acceptor.add(listener, partial(self._accept, listener))

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._acceptor.close()
        for one in list(self._visitors):
            self._places.leave(one)
            one.cut()
        self._slow.close()
        for task in self._tasks:
            task.cancel()
        await super().shutdown(sockets)

    def resume(self) -> None:
        """Accept again after a pause for want of descriptors; called with each sweep."""
        self._acceptor.resume()

    def _accept(self, listener: socket.socket) -> None:
        accept, form = listener._accept, (listener.family, listener.type, listener.proto)  # type: ignore[attr-defined]  # noqa: SLF001
        for _ in range(BATCH):
            try:
                fd, peer = accept()
            except BlockingIOError:
                break
            except OSError as error:
                if self._acceptor.exhausted(error):
                    break
                continue
            who = holder(peer, self._places.household)
            if not self._places.welcome(who):
                os.close(fd)
                continue
            one = _Visitor(socket.socket(*form, fileno=fd), who, self._drop)
            self._places.enter(one)
            self._visitors.add(one)
            self._hear(one, first=True)

    def _hear(self, one: _Visitor, *, first: bool = False) -> None:
        try:
            # the socket blocks until it is uvicorn's: making it so sooner would be one call more for each that goes
            kind = socket.MSG_DONTWAIT | (socket.MSG_PEEK if self._tls else 0)
            data = one.sock.recv(1 if self._tls else 65536, kind)
        except BlockingIOError:
            if first:
                self._slow.add(one.sock, partial(self._hear, one))
            return
        except OSError:
            data = b""
        one.data += data
        verdict = judge(one.data, HEAD_BYTES) if data and not self._tls else Verdict.FOUND
        if verdict is Verdict.MORE:
            if first:
                self._slow.add(one.sock, partial(self._hear, one))
            return
        if data and verdict.status == Verdict.FOUND.status:
            self._admit(one)
            return
        if data:
            self._places.refused(one.who, verdict.status)
            with contextlib.suppress(OSError):
                one.sock.send(refusal(verdict.status), socket.MSG_DONTWAIT)
        else:
            self._tally.add("refused", CLOSED)
        self._places.leave(one)
        self._drop(one)

    def _drop(self, one: _Visitor) -> None:
        self._visitors.discard(one)
        fd = one.sock.fileno()
        one.sock.close()
        self._slow.closed(fd)

    def _admit(self, visitor: _Visitor) -> None:
        """Make it a connection of uvicorn's, in the same place."""
        loop = asyncio.get_running_loop()
        self._slow.remove(visitor.sock)
        self._visitors.discard(visitor)
        one: Exchange = self.config.http_protocol_class(  # type: ignore[assignment, call-arg]
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state, _loop=loop
        )
        one.who, one.pending = visitor.who, visitor.sock
        one.early = b"" if self._tls else visitor.data
        self._places.replace(visitor, one)
        task = loop.create_task(self._connect(one, visitor.sock))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _connect(self, one: Exchange, sock: socket.socket) -> None:
        patience = {"ssl_handshake_timeout": self._seconds, "ssl_shutdown_timeout": 1.0} if self._tls else {}
        try:
            await asyncio.get_running_loop().connect_accepted_socket(lambda: one, sock, ssl=self._tls, **patience)
        except (OSError, asyncio.CancelledError):  # noise, silence, a client that knows no TLS of ours
            self._places.leave(one)
            sock.close()
