"""A subscriber's devices: they open pages, connect, send datagrams and keep long connections, and say what happened.

Every attempt ends in one word, so that *refused at once* and *left hanging* are never confused:

* ``open``   an answer came,
* ``reset``  TCP said no (RST),
* ``icmp``   the gateway said no with ICMP or ICMPv6,
* ``silent`` nothing came within the time allowed.
"""

from __future__ import annotations

import contextlib
import errno
import http.client
import select
import socket
import ssl
import threading
import time
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import urlsplit

from tests.lab.netns import Namespace
from tests.lab.services import ECHO_PORT, TICKER_PORT, family_of
from tests.lab.topology import Person

Outcome = Literal["open", "reset", "icmp", "silent"]

_RESET = {errno.ECONNREFUSED, errno.ECONNRESET, errno.EPIPE}
_ICMP = {errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EACCES, errno.EPERM}


def outcome_of(error: OSError) -> Outcome:
    """The word for a failed attempt. Anything unforeseen is raised again: it is a fault of the lab, not a finding."""
    if isinstance(error, TimeoutError) or error.errno == errno.ETIMEDOUT:
        return "silent"
    if error.errno in _RESET or isinstance(error, (ssl.SSLEOFError, ConnectionError)):
        return "reset"
    if error.errno in _ICMP:
        return "icmp"
    raise error


@dataclass(frozen=True)
class Attempt:
    """One try: how it ended and after how many milliseconds."""

    outcome: Outcome
    ms: float

    def __str__(self) -> str:
        return f"{self.outcome} in {self.ms:.1f} ms"


@dataclass(frozen=True)
class Answer:
    """One HTTP exchange. ``status`` is 0 when none was had; ``outcome`` then says why."""

    outcome: Outcome
    status: int = 0
    location: str = ""
    body: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    ms: float = 0.0

    def __str__(self) -> str:
        return f"{self.status or self.outcome} in {self.ms:.1f} ms"


class Device:
    """Something of one subscriber, in the subscriber namespace, that speaks from the subscriber's own addresses."""

    def __init__(self, space: Namespace, person: Person) -> None:
        self._space = space
        self.person = person

    def source_for(self, target: str) -> str:
        """The address of ours that goes with ``target``'s family."""
        return self.person.v6 if ":" in target else self.person.v4

    def http(self, url: str, *, source: str = "", timeout: float = 3.0, language: str = "") -> Answer:
        """GET ``url`` (host: a literal address; https is not verified), following nothing. ``ms`` is the total."""
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
        start = time.monotonic()
        try:
            with self._connected(host, port, source, timeout) as plain:
                sock = _anonymous_tls().wrap_socket(plain) if parts.scheme == "https" else plain
                with sock:
                    connection = http.client.HTTPConnection(host, port, timeout=timeout)
                    connection.sock = sock
                    headers = {"Accept-Language": language} if language else {}
                    connection.request("GET", parts.path or "/", headers=headers)
                    response = connection.getresponse()
                    body = response.read().decode("utf-8", "replace")
        except http.client.HTTPException:
            return Answer("reset", ms=_since(start))
        except OSError as error:
            return Answer(outcome_of(error), ms=_since(start))
        names = {name.lower(): value for name, value in response.getheaders()}
        return Answer("open", response.status, names.get("location", ""), body, names, _since(start))

    def tcp(self, address: str, port: int, *, source: str = "", timeout: float = 3.0) -> Attempt:
        """Open and close a TCP connection."""
        start = time.monotonic()
        try:
            self._connected(address, port, source, timeout).close()
        except OSError as error:
            return Attempt(outcome_of(error), _since(start))
        return Attempt("open", _since(start))

    def udp(self, address: str, port: int, *, source: str = "", timeout: float = 1.0) -> Attempt:
        """Send one datagram and wait for its echo or for an ICMP error."""
        with self._space.socket(family_of(address), socket.SOCK_DGRAM) as sock:
            sock.settimeout(timeout)
            sock.bind((source or self.source_for(address), 0))
            sock.connect((address, port))
            start = time.monotonic()
            try:
                sock.send(b"\xc0quic?")
                sock.recv(64)
            except OSError as error:
                refused = error.errno == errno.ECONNREFUSED  # here this is ICMP port unreachable
                return Attempt("icmp" if refused else outcome_of(error), _since(start))
            return Attempt("open", _since(start))

    def flow(self, address: str, *, active: bool) -> Flow:
        """A long TCP connection to ``address``, already carrying data: sending too (``active``) or only receiving."""
        sock = self._connected(address, ECHO_PORT if active else TICKER_PORT, "", 3.0)
        flow = Flow(sock, active=active)
        if not flow.wait_for_data(3.0):
            flow.close()
            raise RuntimeError(f"a new connection to {address} carries no data")
        return flow

    def _connected(self, address: str, port: int, source: str, timeout: float) -> socket.socket:
        sock = self._space.socket(family_of(address), socket.SOCK_STREAM)
        try:
            sock.settimeout(timeout)
            sock.bind((source or self.source_for(address), 0))
            sock.connect((address, port))
        except BaseException:
            sock.close()
            raise
        return sock


class Flow:
    """A connection kept busy by a thread that notes when bytes came (``time.monotonic()``) and how it ended."""

    EVERY = 0.01  # seconds between two things said by an active one

    def __init__(self, sock: socket.socket, *, active: bool) -> None:
        self.active = active
        self.received = 0
        self.last = 0.0
        self.longest_gap = 0.0
        self.ended: Outcome | None = None
        self._sock = sock
        self._sock.setblocking(False)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="flow", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                if self.active:
                    # Nobody takes it: then the connection hangs, which the silence of the other side shows.
                    with contextlib.suppress(BlockingIOError):
                        self._sock.send(b"tick\n")
                if select.select([self._sock], [], [], self.EVERY)[0]:
                    if not self._sock.recv(65536):
                        self.ended = "reset"
                        return
                    now = time.monotonic()
                    if self.received:
                        self.longest_gap = max(self.longest_gap, now - self.last)
                    self.last = now
                    self.received += 1
                    if self.active:
                        self._stop.wait(self.EVERY)
        except OSError as error:
            self.ended = outcome_of(error)

    def wait_for_data(self, timeout: float) -> bool:
        """Whether more data arrives within ``timeout`` seconds."""
        seen, end = self.received, time.monotonic() + timeout
        while time.monotonic() < end and self.ended is None:
            if self.received > seen:
                return True
            time.sleep(0.002)
        return self.received > seen

    def died_after(self, moment: float, *, quiet: float = 0.5, timeout: float = 5.0) -> float | None:
        """Seconds from ``moment`` to the last byte (0 if that came before), None if it lives on for ``timeout``.

        Dead means ended, or without a byte for ``quiet`` seconds though both ends would have had something to say.
        """
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            if self.ended is not None or time.monotonic() - max(self.last, moment) >= quiet:
                return max(0.0, self.last - moment)
            time.sleep(0.005)
        return None

    def close(self) -> None:
        """Stop talking and close."""
        self._stop.set()
        self._thread.join(5)
        self._sock.close()


def _since(start: float) -> float:
    return (time.monotonic() - start) * 1000


def _anonymous_tls() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
