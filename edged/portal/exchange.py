"""One connection to the notice page, from its first whole request head on: uvicorn's protocol, held to limits.

uvicorn waits for ever for a request that has begun, takes heads of any size with the fast parser, remembers as many
pipelined requests as fit into a packet, starts the application before a body is there, and writes a line into the log
for each piece of noise. A browser needs none of that, so here:

* one request at a time on a connection; what is sent behind it before its answer makes that answer the last;
* the application is called when head and body are whole, so it waits for nobody;
* a head has :data:`HEAD_BYTES`, a body :data:`BODY_BYTES`.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from edged.portal.parts import WHOLE
from edged.portal.places import Places

HEAD_BYTES = 8192
"""A request to the page may be larger than one to the redirector: it may bring a cookie and a form's fields along."""
BODY_BYTES = 8192
"""Nothing on the page asks for more than a code or a token."""
_WORDS = {
    400: "Bad Request",
    413: "Content Too Large",
    431: "Request Header Fields Too Large",
}


def refusal(status: int) -> bytes:
    """A whole answer that ends the connection."""
    text = f"{_WORDS[status]}.\n"
    return (
        f"HTTP/1.1 {status} {_WORDS[status]}\r\nContent-Type: text/plain\r\nContent-Length: {len(text)}\r\n"
        f"Cache-Control: no-store\r\nConnection: close\r\n\r\n{text}"
    ).encode("ascii")


class Exchange(HttpToolsProtocol):
    """``places`` comes with a subclass: uvicorn makes its protocols without arguments of ours."""

    places: Places
    who: str | bytes = ""
    due = 0.0
    unread = 0
    pending: socket.socket | None = None
    """The connection while it has no transport yet: a TLS handshake may be under way."""
    early = b""
    """What came before there was a transport."""
    _head = 0
    _body = 0
    _whole = False
    _request: tuple[RequestResponseCycle, Any] | None = None

    # -- the place ----------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.pending = None
        if self.early:
            early, self.early = self.early, b""
            self.data_received(early)

    def connection_lost(self, exc: Exception | None) -> None:
        self.places.leave(self)
        self._request = None
        super().connection_lost(exc)

    def cut(self) -> None:
        if self.pending is not None:
            with contextlib.suppress(OSError):
                self.pending.shutdown(socket.SHUT_RDWR)  # the handshake fails, and whoever began it closes
        else:
            self.transport.abort()

    def waiting(self) -> int:
        return 0 if self.pending is not None else self.transport.get_write_buffer_size()

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
        extensions: dict[str, Any] = {WHOLE: self._whole_answer}
        self.scope["extensions"] = extensions

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
            (cycle, app), self._request = self._request, None
            super()._start_asgi_task(cycle, partial(self._carry_out, app))

    async def _carry_out(self, app: Any, scope: Any, receive: Any, send: Callable[[Any], Awaitable[None]]) -> None:
        async def sent(message: Any) -> None:
            await send(message)
            if message.get("more_body"):
                self.places.flows(self)

        await app(scope, receive, sent)

    def _whole_answer(self, head: bytes, body: bytes) -> bool:
        """As ``cycle.send`` of a head and a body, in one piece that somebody has looked at before."""
        cycle = self.cycle
        if cycle.disconnected or cycle.response_started or self.flow.write_paused:
            return False
        cycle.response_started = cycle.response_complete = True
        ours = b"".join(b"%s: %s\r\n" % header for header in self.server_state.default_headers)  # the date
        end = b"\r\n" if cycle.keep_alive else b"connection: close\r\n\r\n"
        shown = b"" if self.scope["method"] == "HEAD" else body
        self.transport.write(b"".join((b"HTTP/1.1 200 OK\r\n", ours, head, end, shown)))
        cycle.message_event.set()
        if not cycle.keep_alive:
            self.transport.close()
        cycle.on_response()
        return True

    def on_response_complete(self) -> None:
        self._whole = False
        self._head = self._body = 0
        self.places.answered(self)
        super().on_response_complete()

    def _refuse(self, status: int) -> None:
        self.places.refused(self.who, status)
        self.transport.write(refusal(status))
        self._request = None
        self._head = HEAD_BYTES
        self.transport.close()
