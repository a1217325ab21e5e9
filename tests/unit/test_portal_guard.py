"""The notice page's server on real sockets of loopback: what odd and hostile clients get, and who loses a place."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import re
import resource
import socket
import ssl
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from edged.domain.standing import Standing
from edged.portal import guard, places, refusals
from edged.portal.exchange import BODY_BYTES, HEAD_BYTES
from edged.portal.places import Places
from edged.portal.redirector import Limits
from edged.portal.tally import Tally
from tests.certificates import Authority
from tests.visitor import Site

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
LAST = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
LIMITS = Limits(head=2048, seconds=0.5, connections=8, per_address=8)
WHOLE = [
    LAST,
    b"GET /hotspot-detect.html?a=b HTTP/1.1\r\nHost: a\r\nAccept-Language: pt\r\nConnection: close\r\n\r\n",
    b"HEAD /any HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    b"GET / HTTP/1.0\r\n\r\n",
]
MUCH = 16 << 20
"""Bytes that no socket buffer takes at once."""


class Bench:
    """A server at work, and clients."""

    def __init__(self, limits: Limits, tls: ssl.SSLContext | None = None) -> None:
        self.tally = Tally()
        self.calls: list[str] = []
        self.hold = asyncio.Event()
        self.hold.set()
        self.places = Places(limits, self.tally)
        routes = [
            Route("/", self._page),
            Route("/eager", self._page),
            Route("/length", self._length, methods=["POST"]),
            Route("/stream", self._stream),
            Route("/much", self._much),
        ]
        self.app = Starlette(routes=routes)
        self.server = guard.server(self.app, self.places, self.tally, limits.seconds, tls)
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.listener.setblocking(False)
        self.where = self.listener.getsockname()
        self.clients: list[asyncio.StreamWriter] = []

    async def _page(self, request: Request) -> Response:
        self.calls.append(request.url.path)
        await self.hold.wait()
        return PlainTextResponse("page")

    async def _length(self, request: Request) -> Response:
        self.calls.append("length")
        return PlainTextResponse(str(len(await request.body())))

    async def _much(self, _request: Request) -> Response:
        return Response(b"x" * MUCH)

    async def _stream(self, _request: Request) -> Response:
        async def events() -> AsyncIterator[bytes]:
            while True:
                yield b": still there\n\n"
                await asyncio.sleep(0.05)

        return StreamingResponse(events(), media_type="text/event-stream")

    async def connect(
        self, *pieces: bytes, tls: ssl.SSLContext | None = None, who: str = "127.0.0.1"
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection(*self.where, ssl=tls, local_addr=(who, 0))
        self.clients.append(writer)
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        return reader, writer

    async def ask(self, *pieces: bytes) -> bytes:
        reader, _ = await self.connect(*pieces)
        return await end(reader)

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not condition():  # noqa: ASYNC110  nobody is told
                await asyncio.sleep(0.01)


async def end(reader: asyncio.StreamReader) -> bytes:
    """All that comes until the connection ends, by a reset too."""
    got = b""
    try:
        while data := await asyncio.wait_for(reader.read(65536), 20):
            got += data
    except ConnectionError:
        pass
    return got


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    authority = Authority(tmp_path_factory.mktemp("ca"))
    return (authority.file, *authority.issue("site"))


@pytest.fixture
async def bench(request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture) -> AsyncIterator[Bench]:
    limits, tls = LIMITS, None
    wanted = getattr(request, "param", None)
    if isinstance(wanted, Limits):
        limits = wanted
    elif wanted == "tls":
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(*request.getfixturevalue("certificate")[1:])
    one = Bench(limits, tls)
    serving = asyncio.create_task(one.server.serve([one.listener]))

    async def sweep() -> None:
        while True:
            await asyncio.sleep(0.05)
            one.places.sweep()
            one.server.resume()

    sweeping = asyncio.create_task(sweep())
    await one.until(lambda: one.server.started)
    yield one
    for writer in one.clients:
        writer.transport.abort()
    await one.until(lambda: one.places.taken == 0)
    one.server.should_exit = True
    await serving
    sweeping.cancel()
    # no hostile byte makes a line in the log, let alone a traceback
    assert [r for r in caplog.records if r.levelno >= logging.WARNING] == []


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1]) if answer else 0


@contextmanager
def no_descriptor_left() -> Iterator[None]:
    """The kernel gives this process none more in here."""
    gc.collect()
    free = os.dup(0)
    os.close(free)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_when_descriptors_run_out_it_pauses_and_goes_on(bench: Bench) -> None:
    reader, writer = await bench.connect()
    with no_descriptor_left():
        writer.write(LAST)
        await bench.until(lambda: bench.server._acceptor._paused)
        assert bench.places.taken == 0
    assert (await end(reader)).endswith(b"page")


async def test_several_requests_on_a_connection(bench: Bench) -> None:
    reader, writer = await bench.connect(GET)
    await reader.readuntil(b"page")
    writer.write(LAST)
    assert (await end(reader)).endswith(b"page")
    assert bench.calls == ["/"] * 2


async def test_what_is_sent_behind_a_request_is_dropped_and_ends_the_connection(bench: Bench) -> None:
    answer = await bench.ask(GET * 1000)
    assert answer.count(b"HTTP/1.1 200") == 1
    assert b"connection: close" in answer
    assert bench.calls == ["/"]


ODD = [
    (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 500, 400),
    (b"CONNECT a.example:443 HTTP/1.1\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\nabc", 400),
    (b"GET / HTTP/1.1\r\nX: a\0b\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nX: " + b"a" * HEAD_BYTES, 431),
    (b"GET /" + b"a" * HEAD_BYTES, 431),
    (b"GET / HTTP/1.1\r\nX: " + b"a" * HEAD_BYTES + b"\r\n\r\n", 431),
    (b"POST /length HTTP/1.1\r\nContent-Length: 100000\r\n\r\n" + b"a" * (BODY_BYTES + 1), 413),
    (b"POST /length HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + b"400\r\n%s\r\n" % (b"a" * 1024) * 9, 413),
    (b"GET / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", 200),
    (b"GET / HTTP/1.1\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\r\nPRI * HTTP/2.0\r\n\r\n", 200),
    (b"GET http://a.example/ HTTP/1.1\r\nHost: b\r\nConnection: close\r\n\r\n", 200),
    (b"GET / HTTP/1.0\r\n\r\n", 200),
]


async def test_odd_requests_have_a_defined_answer(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refusals, "MOST", len(ODD) + 1)
    for sent, expected in ODD:
        refused = bench.tally.count("refused", expected)
        assert status(await bench.ask(sent)) == expected, sent
        assert bench.tally.count("refused", expected) == refused + (expected != 200)


async def test_an_oversized_head_is_found_in_pieces_too(bench: Bench) -> None:
    assert status(await bench.ask(b"GET / HTTP/1.1\r\n", *[b"X: %s\r\n" % (b"a" * 500)] * 20)) == 431


async def test_a_form_in_pieces_reaches_the_application_whole(bench: Bench) -> None:
    reader, writer = await bench.connect(b"POST /length HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 8\r\n\r\n")
    await reader.readuntil(b"100 Continue\r\n\r\n")
    assert bench.calls == []
    writer.write(b"abc=")
    await asyncio.sleep(0)
    writer.write(b"defg")
    await reader.readuntil(b"\r\n\r\n8")
    assert bench.calls == ["length"]


@pytest.mark.parametrize("bench", [Limits(2048, 0.5, 100, 100)], indirect=True)
async def test_what_does_not_come_to_an_end_is_cut(bench: Bench) -> None:
    firsts = [
        b"",
        b"GET / HT",
        b"\r\n",
        b"POST /length HTTP/1.1\r\nContent-Length: 9\r\n\r\nabc",
        b"POST /length HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
    ]
    began = time.monotonic()
    assert await asyncio.gather(*(bench.ask(first) for first in firsts)) == [b""] * len(firsts)
    assert time.monotonic() - began >= 0.45
    assert bench.calls == []
    assert bench.tally.count("refused", 0) == len(firsts)


async def test_a_later_request_has_no_more_time_than_the_first(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "KEEP_ALIVE", 60.0)
    reader, writer = await bench.connect(GET)
    await reader.readuntil(b"page")
    began = time.monotonic()

    async def trickle() -> None:
        for byte in GET * 50:
            writer.write(bytes([byte]))
            await asyncio.sleep(0.1)

    task = asyncio.create_task(trickle())
    assert await end(reader) == b""
    task.cancel()
    assert LIMITS.seconds * 0.9 <= time.monotonic() - began < 30


async def test_an_idle_one_is_cut_though_it_sends_empty_lines(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "KEEP_ALIVE", 0.3)
    reader, writer = await bench.connect(GET)
    await reader.readuntil(b"page")

    async def trickle() -> None:
        while True:
            writer.write(b"\r\n")
            await asyncio.sleep(0.05)

    task = asyncio.create_task(trickle())
    assert await end(reader) == b""
    task.cancel()


async def test_one_that_does_not_read_its_answer_is_cut_and_one_that_listens_is_not(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(places, "STALL_SECONDS", 0.2)
    monkeypatch.setattr(places, "KEEP_ALIVE", 0.2)
    listening, _ = await bench.connect(b"GET /stream HTTP/1.1\r\nHost: a\r\n\r\n")
    with socket.create_connection(bench.where) as deaf:
        deaf.sendall(b"GET /much HTTP/1.1\r\nHost: a\r\n\r\n")
        await bench.until(lambda: bench.places.taken == 2)
        await bench.until(lambda: bench.places.taken == 1)
    assert bench.tally.count("refused", 0) == 1
    for _ in range(3):
        await asyncio.wait_for(listening.readuntil(b": still there"), 10)


@pytest.mark.parametrize("bench", [Limits(2048, 30.0, 4, 100)], indirect=True)
async def test_when_all_places_are_taken_the_one_longest_without_a_request_makes_room(bench: Bench) -> None:
    listening, _ = await bench.connect(b"GET /stream HTTP/1.1\r\nHost: a\r\n\r\n")
    await listening.readuntil(b": still there")
    slow = []
    for n in range(3):
        slow.append((await bench.connect(GET[:8]))[0])
        await bench.until(lambda n=n: bench.places.taken == n + 2)  # type: ignore[misc]
    assert status(await bench.ask(LAST)) == 200
    assert await end(slow[0]) == b""
    await asyncio.wait_for(listening.readuntil(b": still there"), 10)
    assert bench.places.taken <= 4


@pytest.mark.parametrize("bench", [Limits(2048, 30.0, 100, 3)], indirect=True)
async def test_an_address_has_its_share(bench: Bench) -> None:
    for _ in range(3):
        await bench.connect(GET[:8])
    await bench.until(lambda: bench.places.taken == 3)
    assert await bench.ask(GET[:8]) == b""
    assert bench.tally.count("refused", 0) == 1


async def test_who_asks_often_waits_for_his_like_and_nobody_else_does(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(places, "TOGETHER", 2)
    bench.hold.clear()
    eager = [await bench.connect(GET.replace(b" / ", b" /eager ")) for _ in range(6)]
    await bench.until(lambda: bench.places.taken == 6 and len(bench.calls) == 2)
    other, _ = await bench.connect(GET, who="127.0.0.2")
    await bench.until(lambda: bench.places.taken == 7)
    bench.hold.set()
    for reader, _ in [*eager, (other, None)]:
        await asyncio.wait_for(reader.readuntil(b"page"), 20)
    assert sorted(bench.calls) == ["/"] + ["/eager"] * 6
    assert bench.calls.index("/") <= 3  # behind the two that were under way, before those that waited


@pytest.mark.parametrize("bench", [Limits(2048, 30.0, 100, 100)], indirect=True)
async def test_open_streams_keep_no_page_waiting(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "TOGETHER", 2)
    monkeypatch.setattr(bench.places, "_second", float("inf"))  # what is left after a second is not what helps here
    for _ in range(5):
        listening, _ = await bench.connect(b"GET /stream HTTP/1.1\r\nHost: a\r\n\r\n")
        await asyncio.wait_for(listening.readuntil(b": still there"), 10)
    assert status(await bench.ask(LAST)) == 200


@pytest.mark.parametrize("bench", [Limits(2048, 30.0, 100, 100)], indirect=True)
async def test_who_comes_too_often_is_refused(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "COMERS", 0)
    assert await bench.ask(GET) == b""
    monkeypatch.setattr(places, "COMERS", 30)
    assert status(await bench.ask(LAST)) == 200


@pytest.mark.parametrize("bench", [Limits(2048, 30.0, 100, 100)], indirect=True)
async def test_who_is_refused_again_and_again_waits_for_the_next_second_and_nobody_else(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench.places._refusals, "_end", float("inf"))
    for _ in range(refusals.MOST):
        assert status(await bench.ask(b"noise\r\n")) == 400
    assert await bench.ask(LAST) == b""
    assert bench.tally.count("refused", 0) == 1
    reader, _ = await bench.connect(LAST, who="127.0.0.2")
    assert status(await end(reader)) == 200
    monkeypatch.setattr(bench.places._refusals, "_end", 0.0)
    await bench.until(lambda: not bench.places._refusals.barred)
    assert status(await bench.ask(LAST)) == 200


async def test_the_page_in_one_piece_is_the_page(bench: Bench) -> None:
    """The short way of the main page through routes and server says what the long one would."""
    theirs = Site(Standing(3, "debt", 0))

    async def long(scope: Any, receive: Any, send: Any) -> None:
        await theirs.app({**scope, "extensions": {}}, receive, send)

    found: list[list[bytes]] = []
    for app in (theirs.app, long):
        bench.server.config.loaded_app = app
        found.append([await bench.ask(sent) for sent in WHOLE])
    date = re.compile(rb"\r\ndate: [^\r]+(?=\r)")
    assert [date.sub(b"", answer) for answer in found[0]] == [date.sub(b"", answer) for answer in found[1]]
    for sent, answer in zip(WHOLE, found[0], strict=True):
        assert len(date.findall(answer)) == 1
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
        head, _, body = answer.partition(b"\r\n\r\n")
        assert b"\r\nconnection: close" in head
        assert body.endswith(b"</html>") == (not sent.startswith(b"HEAD"))
    bench.server.config.loaded_app = theirs.app
    reader, writer = await bench.connect(GET)
    await reader.readuntil(b"</html>")
    writer.write(LAST)
    assert (await end(reader)).endswith(b"</html>")


@pytest.mark.parametrize("bench", ["tls"], indirect=True)
async def test_over_tls_the_place_is_given_before_the_handshake(
    bench: Bench, certificate: tuple[Path, Path, Path], caplog: pytest.LogCaptureFixture
) -> None:
    trust = ssl.create_default_context(cafile=str(certificate[0]))
    reader, writer = await bench.connect(GET, tls=trust)
    await reader.readuntil(b"page")
    writer.write(LAST)
    assert (await end(reader)).endswith(b"page")
    await bench.until(lambda: bench.places.taken == 0)
    for noise in (GET, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 600, b"\x16\x03\x01"):
        assert b"200 OK" not in await bench.ask(noise)
    await bench.until(lambda: bench.places.taken == 0)
    silent = [(await bench.connect())[0] for _ in range(LIMITS.per_address)]
    await bench.until(lambda: bench.places.taken == LIMITS.per_address)
    assert await bench.ask() == b""  # one more than its share: not even a handshake
    for one in silent:
        assert await end(one) == b""
    await bench.until(lambda: bench.places.taken == 0)


@pytest.mark.parametrize("bench", ["tls"], indirect=True)
async def test_over_tls_too_the_oldest_makes_room(
    bench: Bench, certificate: tuple[Path, Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench.places, "_limits", Limits(2048, 30.0, 4, 100))
    silent = []
    for n in range(4):
        silent.append((await bench.connect())[0])
        await bench.until(lambda n=n: bench.places.taken == n + 1)  # type: ignore[misc]
    trust = ssl.create_default_context(cafile=str(certificate[0]))
    reader, _ = await bench.connect(LAST, tls=trust)
    assert (await end(reader)).endswith(b"page")
    assert await end(silent[0]) == b""
