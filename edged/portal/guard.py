"""uvicorn for the notice page, held to limits it has not got itself.

uvicorn waits for ever for a request that has begun, takes heads of any size with the fast parser, remembers as many
pipelined requests as fit into a packet, starts the application before a body is there, and writes a line into the log
for each piece of noise. A browser needs none of that, so here:

* one request at a time on a connection; what is sent behind it before its answer makes that answer the last;
* the application is called when head and body are whole, so it waits for nobody;
* a head has :data:`HEAD_BYTES`, a body :data:`BODY_BYTES`;
* over TLS the place is given before the handshake, which costs more than all the rest;
* when a place is lost, says :mod:`edged.portal.places`.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Iterator
from typing import Any

import httptools
import uvicorn
from starlette.applications import Starlette
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from edged.portal.places import KEEP_ALIVE, Places
from edged.portal.redirector import BATCH, FULL, holder
from edged.portal.tally import Tally

HEAD_BYTES = 8192
"""A request to the page may be larger than one to the redirector: it may bring a cookie and a form's fields along."""
BODY_BYTES = 8192
"""Nothing on the page asks for more than a code or a token."""
_WORDS = {
    400: "Bad Request",
    413: "Content Too Large",
    431: "Request Header Fields Too Large",
}


class _Protocol(HttpToolsProtocol):
    places: Places
    tally: Tally
    who: str | bytes = ""
    due = 0.0
    unread = 0
    handshake: socket.socket | None = None
    """The connection that a TLS handshake is under way on; its place was given when it was accepted."""
    _head = 0
    _body = 0
    _whole = False
    _request: tuple[RequestResponseCycle, Any] | None = None

    # -- the place ----------------------------------------------------------------------------------------------------

    def enter(self, peer: object) -> bool:
        self.who = holder(peer)
        return self.places.enter(self)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if self.handshake is not None:
            self.handshake = None
        elif not self.enter(transport.get_extra_info("peername")):
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self.places.leave(self)
        self._request = None
        super().connection_lost(exc)

    def cut(self) -> None:
        if self.handshake is not None:
            with contextlib.suppress(OSError):
                self.handshake.shutdown(socket.SHUT_RDWR)  # the handshake fails, and whoever began it closes
        else:
            self.transport.abort()

    def waiting(self) -> int:
        return 0 if self.handshake is not None else self.transport.get_write_buffer_size()

    def _in_head(self) -> bool:
        return self._request is None and not self._whole

    def _asked(self) -> bool:
        """Whether a request is whole and has no whole answer yet."""
        return self._whole

    # -- the request --------------------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        if self._asked():
            self.cycle.keep_alive = False  # more before the answer: read and thrown away, and the answer is the last
            return
        self._unset_keepalive_if_required()
        if not self._head:
            self.places.begins(self)
        room = HEAD_BYTES - self._head if self._in_head() else len(data)
        try:
            if self._in_head():
                self._head += len(data[:room])
            self.parser.feed_data(data[:room])
            if self._in_head():
                if self._head >= HEAD_BYTES:
                    self._refuse(431)
            elif len(data) > room:
                self.data_received(data[room:])
        except httptools.HttpParserUpgrade:  # answered as if it had not asked for another protocol
            self.cycle.keep_alive = False
        except httptools.HttpParserError:
            if self._asked():  # noise behind a request that was one
                self.cycle.keep_alive = False
            else:
                self._refuse(413 if self._body > BODY_BYTES else 400)

    def on_message_begin(self) -> None:
        if self._asked():
            raise httptools.HttpParserError("a request before the answer to the one before it")
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        if self.expect_100_continue:  # the application is not called before the body is there
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            self.cycle.waiting_for_100_continue = False

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._request = (cycle, app)

    def on_body(self, body: bytes) -> None:
        self._body += len(body)
        if self._body > BODY_BYTES:
            raise httptools.HttpParserError("a body that no form of ours has")
        super().on_body(body)

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._whole = True
        self.places.asks(self)

    def go(self) -> None:
        if self._request is not None and not self.transport.is_closing():
            request, self._request = self._request, None
            super()._start_asgi_task(*request)

    def on_response_complete(self) -> None:
        self._whole = False
        self._head = self._body = 0
        self.places.answered(self)
        super().on_response_complete()

    def _refuse(self, status: int) -> None:
        self.tally.add("refused", status)
        text = f"{_WORDS[status]}.\n"
        self.transport.write(
            f"HTTP/1.1 {status} {_WORDS[status]}\r\nContent-Type: text/plain\r\nContent-Length: {len(text)}\r\n"
            f"Cache-Control: no-store\r\nConnection: close\r\n\r\n{text}".encode("ascii")
        )
        self._request = None
        self._head = HEAD_BYTES
        self.transport.close()


class SiteServer(uvicorn.Server):
    """uvicorn inside a worker, which has its own signal handlers."""

    def __init__(self, config: uvicorn.Config, seconds: float, tls: ssl.SSLContext | None) -> None:
        super().__init__(config)
        self._seconds = seconds
        self._tls = tls
        self._listeners: list[socket.socket] = []
        self._handshakes: set[asyncio.Task[None]] = set()
        self._paused = False

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        if self._tls is None:
            await super().startup(sockets)
            return
        await super().startup([])
        self._listeners = list(sockets or [])
        self._listen()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        loop = asyncio.get_running_loop()
        for listener in self._listeners:
            loop.remove_reader(listener)
        for task in self._handshakes:
            task.cancel()
        await super().shutdown(sockets)

    def resume(self) -> None:
        """Accept again after a pause for want of descriptors; called with each sweep."""
        if self._paused:
            self._listen()

    def _listen(self) -> None:
        self._paused = False
        for listener in self._listeners:
            asyncio.get_running_loop().add_reader(listener, self._accept, listener)

    def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        for _ in range(BATCH):
            try:
                sock, peer = listener.accept()
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno in FULL:
                    self._paused = True
                    loop.remove_reader(listener)
                    break
                continue  # that one connection died in the queue
            one: _Protocol = self.config.http_protocol_class(  # type: ignore[assignment, call-arg]
                config=self.config, server_state=self.server_state, app_state=self.lifespan.state, _loop=loop
            )
            one.handshake = sock
            if not one.enter(peer):
                sock.close()
                continue
            sock.setblocking(False)
            task = loop.create_task(self._shake(one, sock))
            self._handshakes.add(task)
            task.add_done_callback(self._handshakes.discard)

    async def _shake(self, one: _Protocol, sock: socket.socket) -> None:
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: one, sock, ssl=self._tls, ssl_handshake_timeout=self._seconds, ssl_shutdown_timeout=1.0
            )
        except (OSError, asyncio.CancelledError):  # noise, silence, a client that knows no TLS of ours
            one.places.leave(one)
            sock.close()


def server(
    app: Starlette, places: Places, tally: Tally, seconds: float, tls: ssl.SSLContext | None = None
) -> SiteServer:
    """A server for ``app``, over TLS where there is a context; a client has ``seconds`` for its handshake.

    Loads all it needs now, so that it can be made before the privileges are gone.
    """
    protocol: Any = type("GuardedProtocol", (_Protocol,), {"places": places, "tally": tally})
    config = uvicorn.Config(
        app,
        loop="none",
        http=protocol,
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="error",  # its warnings are one line for each piece of noise; those are counted
        access_log=False,
        server_header=False,
        proxy_headers=False,  # the visitor is whoever is at the other end of the connection
        timeout_keep_alive=round(KEEP_ALIVE),
        timeout_graceful_shutdown=2,
    )
    config.load()
    return SiteServer(config, seconds, tls)
