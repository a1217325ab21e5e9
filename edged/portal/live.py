"""News for an open page: server-sent events where there is JavaScript, and what plain asking gets.

A stream says one word, the state of the visitor's page (:func:`edged.portal.view.state`), at once and whenever it may
have changed. The core tells when; every :data:`EVERY` seconds it is asked all the same, because not everything that a
page shows comes from a command. The number of streams is bounded; whoever gets none asks every quarter of a minute.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from edged.portal import view
from edged.portal.parts import Parts, address, see_other
from edged.portal.redirector import holder

EVERY = 15.0
"""Seconds without news until the core is asked; also what a browser without JavaScript waits."""
SOON = 1.0
"""Seconds until it is asked again when it did not answer."""
ASKING = 32
"""Streams of one worker that ask at a time. One batch may change what all of them show; then they take turns, and each
has the core's whole patience when its turn comes."""
LIFE = 600.0
"""Seconds of one stream: the browser opens another one by itself. So a vanished client does not keep its place."""
RETRY_MS = 2000
_HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "X-Accel-Buffering": "no"}


class _Stream(StreamingResponse):
    """Counted while it is sent, however that ends; there is no wait between the look at the count and the counting."""

    def __init__(self, words: AsyncIterator[bytes], count: Counter[str | bytes], who: str | bytes) -> None:
        super().__init__(words, 200, _HEADERS, "text/event-stream; charset=utf-8")
        self._count, self._who = count, who

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._count[self._who] += 1
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._count[self._who] -= 1
            if not self._count[self._who]:
                del self._count[self._who]


class Live:
    """``most`` streams in all, ``of_one`` of them to one household: an IPv4 address or so many bits of an IPv6 one.

    That is who a place at the page is counted for too: what lies below them is as much as its owner likes.
    """

    def __init__(self, parts: Parts, most: int, of_one: int, household: int) -> None:
        self._parts = parts
        self._most, self._of_one, self._household = most, of_one, household
        self._open: Counter[str | bytes] = Counter()
        self._turns = asyncio.Semaphore(ASKING)

    @property
    def routes(self) -> list[Route]:
        return [
            Route("/live", self._live, methods=["GET"]),
            Route("/state", self._state, methods=["GET"]),
            Route("/poll", self._poll, methods=["GET"]),
        ]

    async def _state(self, request: Request) -> Response:
        standing = await self._parts.core.who(address(request))
        status = 200 if standing is not None else 503  # a page does not change because the core restarts
        self._parts.tally.add("live", status)
        return PlainTextResponse(view.state(standing) if standing else "", status, _HEADERS)

    async def _live(self, request: Request) -> Response:
        who = address(request)
        if request.method == "HEAD":
            return Response(status_code=200, headers=_HEADERS, media_type="text/event-stream")
        household = holder((who,), self._household)
        if self._open.total() >= self._most or self._open[household] >= self._of_one:
            self._parts.tally.add("live", 503)
            return PlainTextResponse("too many\n", 503, _HEADERS)
        self._parts.tally.add("live", 200)
        return _Stream(self._stream(who), self._open, household)

    async def _stream(self, who: str) -> AsyncIterator[bytes]:
        loop = asyncio.get_running_loop()
        end = loop.time() + LIFE
        told = None
        yield b"retry: %d\n\n" % RETRY_MS
        with self._parts.core.watch(who) as changed:
            while loop.time() < end:
                async with self._turns:
                    changed.clear()
                    standing = await self._parts.core.who(who)
                word = view.state(standing) if standing else told
                yield f"data: {word}\n\n".encode() if word and word != told else b":\n\n"  # a comment: still there
                told = word
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(EVERY if standing else SOON):
                        await changed.wait()

    async def _poll(self, request: Request) -> Response:
        parts = self._parts
        standing = await parts.who(request)
        found = parts.view(standing, parts.language(request))
        parts.tally.add("live", 303 if found.tone == "good" else 200)
        return see_other("/") if found.tone == "good" else parts.draw(replace(found, refresh=int(EVERY)))
