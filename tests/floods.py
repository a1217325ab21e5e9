"""Hostile subscribers and an honest one: programs of their own, started in the namespace they live in.

    python -m tests.floods slow --count 10000 --sources 100.64.16.0/24 --to 198.51.100.10:80 --seconds 5

Each stops by itself, has a bounded number of connections, and prints one JSON object when it ends. The hostile kinds:

    slow    begins a request and sends a byte of it a second; whoever is cut comes again, 7,000 a second at most
    silent  connects and says nothing
    deaf    asks for pages and never reads one
    pages   asks again as soon as it has its page, on the same connection
    visits  asks again as soon as it has its answer, on a new connection
    noise   what no browser sends: see NOISE

``honest`` opens one page after another and notes how long each took.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import ipaddress
import itertools
import json
import os
import random
import re
import selectors
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

GET = (
    b"GET /some/path HTTP/1.1\r\nHost: www.example.com\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\n"
    b"Accept: */*\r\n\r\n"
)
EVIL = b"evil.example"
"""What must never come back."""
NOISE = [
    b"GET / HTTP/1.1\r\nCookie: " + b"a" * 60_000 + b"\r\n\r\n",
    b"GET / HTTP/1.1\r\n" + b"X: a\r\n" * 5_000 + b"\r\n",
    b"G" * 4_000,
    GET * 200,
    b"GET http://evil.example/ HTTP/1.1\r\nHost: evil.example\r\n\r\n",
    b"CONNECT evil.example:443 HTTP/1.1\r\nHost: evil.example:443\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: evil.example\r\n\r\n",
    b"GET /\r\nLocation: http://evil.example/ HTTP/1.1\r\n\r\n",
    b"GET /%0d%0aLocation:%20http://evil.example/ HTTP/1.1\r\nHost: evil.example\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nHost: evil.example\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: evil.example\r\n Location: http://evil.example/\r\n\r\n",
    b"GET / HTTP/1.1\r\nX-Forwarded-Host: evil.example\r\nX-Original-URL: http://evil.example/\r\n\r\n",
    b"GET //evil.example/..//../%2e%2e/ HTTP/1.1\r\nHost: evil.example#@a\r\n\r\n",
    b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\nGET /evil HTTP/1.1\r\n\r\n",
    b"POST / HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n" + b"x" * 30_000,
    b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00",
    b"GET / HTTP/1.1\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n",
    bytes.fromhex("1603010200010001fc0303") + b"\0" * 500,
    b"\0" * 3_000,
    b"\xff" * 100,
    b"SSH-2.0-OpenSSH_9.2\r\n",
    b"\r\n" * 3_000,
    b"GET / HTTP/1.1\r\nA: b\0\r\n\r\n",
    b"GET /" + b"\xc3\xa9" * 300 + b" HTTP/1.1\r\n\r\n",
]
_IP_BIND_ADDRESS_NO_PORT = 24
_LENGTH = re.compile(rb"(?is)\r\ncontent-length: (\d+)(?=\r\n).*?\r\n\r\n")
_RAMP, _SLOW_RAMP = 20_000, 7_000
"""Connections begun in a second, by those in a hurry and by the slow, unless told otherwise."""
_AT_LEAST, _AT_MOST = 3, 20.0
"""Visits of each kind that an honest client waits for when its time is over, and seconds that it does so."""
_SLICES = 40
"""Parts of a second: those who send a byte a second do not all do so at once."""


@dataclass(slots=True, eq=False)
class _Client:
    sock: socket.socket
    began: float
    got: int = 0
    wanted: int = 0


class Crowd:
    """``count`` connections to one address at a time, from any of ``sources``, for ``seconds``."""

    def __init__(self, kind: str, to: tuple[str, int], sources: list[str], count: int, ramp: int = 0) -> None:
        self._kind = kind
        self._to = to
        self._sources = itertools.cycle(sources)
        self._count = count
        self._ramp = ramp
        self._open: dict[_Client, None] = {}
        self._random = random.Random(1)
        self._selector = selectors.EpollSelector()
        self.counts: Counter[str] = Counter()
        """``opened``, ``failed``, ``ended`` (by the other side), ``answers``, ``echoed`` (EVIL came back), ``shortest``
        and ``longest`` body of an answer."""
        self._act: Callable[[_Client], None] = {
            "slow": self._speak, "silent": self._listen, "deaf": self._deaf, "pages": self._ask, "visits": self._ask,
            "noise": self._noise,
        }[kind]  # fmt: skip

    def run(self, seconds: float) -> None:
        """Attack; at the end all connections are closed."""
        ramp = self._ramp or (_SLOW_RAMP if self._kind in {"slow", "silent"} else _RAMP)
        began = time.monotonic()
        end, trickle, part, begun = began + seconds, 0.0, 0, 0
        most = 0
        while (now := time.monotonic()) < end:
            due = min(ramp * (now - began) - begun, ramp / 20)  # what could not be done in time is not made up for
            for _ in range(min(int(due), self._count - len(self._open))):
                self._begin(now)
            begun = int(ramp * (now - began))
            most = max(most, len(self._open))
            for key, events in self._selector.select(0.5 / _SLICES):
                one: _Client = key.data
                if one in self._open:
                    self._take(one, events)
            if now >= trickle:
                trickle, part = now + 1.0 / _SLICES, (part + 1) % _SLICES
                self._trickle(now, part)
        self.counts["most"] = most
        for one in list(self._open):
            self._close(one)

    def _begin(self, now: float) -> None:
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        sock.setsockopt(socket.IPPROTO_IP, _IP_BIND_ADDRESS_NO_PORT, 1)
        one = _Client(sock, now)
        self._open[one] = None
        try:
            sock.bind((next(self._sources), 0))
            if sock.connect_ex(self._to) not in {0, errno.EINPROGRESS}:
                raise OSError
        except OSError:  # no free port: the crowd is as large as it can be
            self.counts["failed"] += 1
            del self._open[one]
            sock.close()
            return
        self._selector.register(sock, selectors.EVENT_WRITE, one)

    def _take(self, one: _Client, events: int) -> None:
        try:
            if events & selectors.EVENT_WRITE:
                if one.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                    raise ConnectionError
                self.counts["opened"] += 1
                self._act(one)
                return
            data = one.sock.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.counts["ended"] += 1
            self._close(one)
            return
        if self._kind == "noise":
            self.counts["echoed"] += EVIL in data
        one.got += len(data)
        if not one.wanted:
            length = _LENGTH.search(data)
            if length:
                size = int(length[1])
                one.wanted = length.end() + size
                self.counts["shortest"] = min(self.counts["shortest"] or size, size)
                self.counts["longest"] = max(self.counts["longest"], size)
        if self._kind in {"pages", "visits"} and one.got >= one.wanted > 0:
            one.got = one.wanted = 0
            self.counts["answers"] += 1
            if self._kind == "visits":
                self._close(one)
                return
            with contextlib.suppress(OSError):
                one.sock.send(GET)

    def _speak(self, one: _Client) -> None:
        self._wait(one, GET[:20])

    def _ask(self, one: _Client) -> None:
        self._wait(one, GET)

    def _listen(self, one: _Client) -> None:
        self._wait(one, b"")

    def _noise(self, one: _Client) -> None:
        self._wait(one, self._random.choice(NOISE))

    def _deaf(self, one: _Client) -> None:
        one.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        one.sock.send(GET)
        self._selector.unregister(one.sock)

    def _wait(self, one: _Client, first: bytes) -> None:
        if first:
            one.sock.send(first)
        self._selector.modify(one.sock, selectors.EVENT_READ, one)

    def _trickle(self, now: float, part: int) -> None:
        for one in [one for one in self._open if one.sock.fileno() % _SLICES == part]:
            if self._kind == "slow" and one.began < now - 0.5:
                with contextlib.suppress(OSError):
                    one.sock.send(b"a")
            elif self._kind == "noise" and one.began < now - 1.0:
                self._close(one)

    def _close(self, one: _Client) -> None:
        del self._open[one]
        with contextlib.suppress(KeyError):
            self._selector.unregister(one.sock)
        one.sock.close()


def honest(
    redirect: tuple[str, int], page: tuple[str, int], sources: list[str], seconds: float, pause: float
) -> dict[str, list[float]]:
    """Milliseconds of each visit by what was visited; ``failed`` has what took so long and brought nothing.

    ``whole`` and ``split`` are redirects: a request in one segment, and one whose second half comes 5 ms later.
    """
    took: dict[str, list[float]] = {"whole": [], "split": [], "page": [], "failed": []}
    end = time.monotonic() + seconds
    kinds = ("whole", "split", "page")
    for kind, who in zip(itertools.cycle(kinds), itertools.cycle(sources), strict=False):
        began = time.monotonic()
        if began >= end and (began >= end + _AT_MOST or all(len(took[name]) >= _AT_LEAST for name in kinds)):
            return took
        waited = 0.0
        try:
            with socket.create_connection(page if kind == "page" else redirect, 5, (who, 0)) as sock:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # as browsers do
                if kind == "split":
                    sock.sendall(GET[:30])
                    time.sleep(0.005)
                    waited = 0.005
                    sock.sendall(GET[30:])
                else:
                    sock.sendall(GET if kind == "whole" else GET[:-2] + b"Connection: close\r\n\r\n")
                got = b"".join(iter(lambda sock=sock: sock.recv(65536), b""))  # type: ignore[misc]
            good = got.startswith(b"HTTP/1.1 200 " if kind == "page" else b"HTTP/1.1 302 ")
        except OSError:
            good = False
        took[kind if good else "failed"].append((time.monotonic() - began - waited) * 1000)
        time.sleep(pause)
    raise AssertionError


def _place(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host, int(port)


@contextlib.contextmanager
def _first_in_line() -> Iterator[None]:
    # What is measured is the gateway, not how long an honest client waits here for a core that the hostile ones have.
    with contextlib.suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    yield


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description="Hostile subscribers, or an honest one.")
    parser.add_argument("kind", choices=["slow", "silent", "deaf", "pages", "visits", "noise", "honest"])
    parser.add_argument("--to", type=_place, required=True)
    parser.add_argument("--page", type=_place, help="where the page is, for the honest one")
    parser.add_argument("--sources", type=ipaddress.ip_network, default=ipaddress.ip_network("0.0.0.0/32"))
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--ramp", type=int, default=0, help="connections begun in a second")
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--pause", type=float, default=0.004)
    chosen = parser.parse_args()
    sources = [str(a) for a in chosen.sources]
    if chosen.kind == "honest":
        with _first_in_line():
            print(json.dumps(honest(chosen.to, chosen.page, sources, chosen.seconds, chosen.pause)))
        return
    crowd = Crowd(chosen.kind, chosen.to, sources, chosen.count, chosen.ramp)
    crowd.run(chosen.seconds)
    print(json.dumps(crowd.counts))


if __name__ == "__main__":
    main()
