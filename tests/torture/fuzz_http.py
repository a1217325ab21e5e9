"""Requests that are no requests, by the million: at the redirector's judge, at real redirectors and the page's server.

Each input is a hostile or an honest request with bytes turned, cut, doubled, put together or made up (no grammar: what
a parser should not survive is what nobody thought of). Three readers get it:

* :func:`edged.portal.head.judge`, whole and in two pieces: its answer is in its table, and what was said stays said;
* a real redirector over a socket: one answer of its own or none, never a byte of the request;
* the real server of the page over a socket: one answer of ours or none.

A finding is an exception, a line in the log, an answer that is none of ours, or a place that is not given back.
"""

from __future__ import annotations

import asyncio
import logging
import random
import socket
from collections.abc import Iterator

import uvloop
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from edged.portal import guard, places, refusals
from edged.portal.head import HEAD_END, Verdict, answers, ends_clean, is_plain_get, judge
from edged.portal.places import Places
from edged.portal.redirector import Limits, Redirector
from edged.portal.tally import Tally
from tests.floods import GET, NOISE
from tests.torture.report import Report

EPISODE = 20_000
"""Inputs that share a seed."""
URL = "http://aviso.example.net/?a=1&b=2"
LIMIT = 2048
SENT = 20
"""One input of so many goes over sockets too: a connection costs a hundred judgements."""
_SEEDS = [
    GET,
    b"POST /promise HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\nCookie: a=b; c=d\r\n\r\nnonce=abcde",
    b"HEAD / HTTP/1.0\r\n\r\n",
    *(one[:3_000] for one in NOISE),
]
_TOKENS = [
    *(
        b"\r\n",
        b"\n",
        b"\r",
        b"\0",
        b" ",
        b"\t",
        b":",
        b"\r\n\r\n",
        b"\n\n",
        b"\r\n ",
        b"HTTP/1.1",
        b"HTTP/1.",
        b"HTTP/9.9",
    ),
    *(
        b"Host: a\r\n",
        b"Content-Length: 5\r\n",
        b"Content-Length: -1\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"5\r\nabcde\r\n",
    ),
    *(b"0\r\n\r\n", b"Connection: close\r\n", b"Connection: Upgrade\r\nUpgrade: h2c\r\n", b"Expect: 100-continue\r\n"),
    *(
        b"GET ",
        b"HEAD ",
        b"CONNECT ",
        b"PRI * ",
        b"http://[::1]:99999/",
        b"//",
        b"%00",
        b"\xff\xfe",
        b"\xc3\xa9",
        b"\x16\x03",
    ),
]
_BYTES_OF_ONE = b"\0\t\n\r :/%\x7f\x80\xff"


def mutated(random_: random.Random) -> bytes:
    """A request after up to eight accidents."""
    data = bytearray(random_.choice(_SEEDS))
    if random_.random() < 0.05:
        return random_.randbytes(random_.randrange(200))
    for _ in range(random_.randrange(1, 9)):
        at = random_.randrange(len(data) + 1)
        match random_.randrange(7):
            case 0:
                data[at:at] = random_.choice(_TOKENS)
            case 1:
                data[at : at + 1] = bytes([random_.choice(_BYTES_OF_ONE)])
            case 2:
                data[at : at + 1] = random_.randbytes(1)
            case 3:
                del data[at : at + random_.randrange(1, 40)]
            case 4:
                data[at:at] = data[max(0, at - random_.randrange(1, 400)) : at]
            case 5:
                del data[at:]
            case _:
                data += random_.choice(_SEEDS)[:600]
    return bytes(data)


def judged(data: bytes, cut: int) -> Iterator[str]:
    """What is wrong with how the judge takes ``data``, whole and after its first ``cut`` bytes."""
    whole, part = judge(data, LIMIT), judge(data[:cut], LIMIT)
    if len(data) > LIMIT and whole is Verdict.MORE:
        yield f"waits for more behind a full buffer: {data[:200]!r}"
    if part not in {Verdict.MORE, Verdict.LARGE} and whole not in {part, Verdict.LARGE}:
        yield f"first {part}, then {whole}: {data[:200]!r}, cut at {cut}"
    plain = is_plain_get(data) and data.endswith(HEAD_END) and len(data) <= LIMIT
    if plain and (whole is not Verdict.FOUND or not ends_clean(data)):
        yield f"the hot path disagrees with the judge: {data[:200]!r}"


class _Heard(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


class _Both:
    """A redirector and the page's server at work in this loop."""

    def __init__(self) -> None:
        tally, limits = Tally(), Limits(LIMIT, 0.3, 4096, 4096)
        self.redirector = Redirector(URL, limits, tally)
        self.places = Places(limits, tally)
        page = Route("/{path:path}", self._page, methods=["GET", "POST"])
        self.server = guard.server(Starlette(routes=[page]), self.places, tally, limits.seconds)
        self.listeners = [socket.create_server(("127.0.0.1", 0), backlog=4096) for _ in range(2)]
        self.ours = set(answers(URL).values())

    @staticmethod
    async def _page(request: Request) -> Response:
        return PlainTextResponse(f"page {len(await request.body())}", headers={"X-Page": "ours"})

    async def work(self, inputs: list[bytes], found: list[str]) -> None:
        for listener in self.listeners:
            listener.setblocking(False)
        self.redirector.open(self.listeners[0])
        serving = asyncio.create_task(self.server.serve([self.listeners[1]]))
        sweeping = asyncio.create_task(self._sweep())
        while not self.server.started:  # noqa: ASYNC110  nobody is told
            await asyncio.sleep(0.01)
        gate = asyncio.Semaphore(64)
        await asyncio.gather(*(self._try(data, gate, found) for data in inputs))
        async with asyncio.timeout(30):
            while self.redirector.waiting or self.places.taken:  # noqa: ASYNC110  nobody is told
                await asyncio.sleep(0.02)
        self.redirector.close()
        self.listeners[0].close()
        self.server.should_exit = True
        await serving
        sweeping.cancel()

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(0.05)
            while self.redirector.sweep() | self.places.sweep():  # noqa: ASYNC110
                await asyncio.sleep(0)

    async def _try(self, data: bytes, gate: asyncio.Semaphore, found: list[str]) -> None:
        async with gate:
            redirect = await _said(self.listeners[0].getsockname(), data)
            page = await _said(self.listeners[1].getsockname(), data)
        if redirect and redirect not in self.ours:
            found.append(f"the redirector said {redirect[:200]!r} to {data[:200]!r}")
        # 404 and 405 to what the site has not got, 100 to those who asked for it, the rest are guard's
        status = page[9:12].removeprefix(b"100")
        if page and (
            not page.startswith(b"HTTP/1.1 ") or status not in {b"", b"200", b"400", b"404", b"405", b"413", b"431"}
        ):
            found.append(f"the page said {page[:200]!r} to {data[:200]!r}")


async def _said(where: tuple[str, int], data: bytes) -> bytes:
    """All that was answered; the sending side is shut behind ``data``, so that nothing has to wait for its time."""
    got = b""
    try:
        reader, writer = await asyncio.open_connection(*where)
        try:
            half = len(data) // 2 if len(data) % 3 == 0 else len(data)
            writer.write(data[:half])
            if half < len(data):
                await asyncio.sleep(0)
                writer.write(data[half:])
            writer.write_eof()
            async with asyncio.timeout(20):
                while more := await reader.read(65536):
                    got += more
        finally:
            writer.transport.abort()
    except OSError:  # reset: it had said enough
        pass
    return got


def fuzz(seed: int, n: int) -> Report:
    """``n`` inputs; the report counts what the judge said to them."""
    report, random_ = Report(), random.Random(seed)
    sent: list[bytes] = []
    for number in range(n):
        data = mutated(random_)
        report.where[judge(data, LIMIT).name.lower()] += 1
        report.violations += [f"seed {seed}: {wrong}" for wrong in judged(data, random_.randrange(len(data) + 1))]
        if number % SENT == 0:
            sent.append(data)
    heard = _Heard()
    logging.getLogger().addHandler(heard)
    before = places.COMERS, refusals.MOST
    places.COMERS = refusals.MOST = 1 << 30  # all of them come from one address
    found: list[str] = []
    try:
        uvloop.run(_Both().work(sent, found))
    finally:
        places.COMERS, refusals.MOST = before
        logging.getLogger().removeHandler(heard)
    report.violations += [f"seed {seed}: {wrong}" for wrong in found]
    report.violations += [f"seed {seed}: logged: {line}" for line in heard.lines[:5]]
    return report
