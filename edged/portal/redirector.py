"""The hot path: every http connection of a restricted subscriber ends here and gets a 302 to the notice page.

No asyncio Protocol and no transport: they would be made and thrown away for every connection, which lives no longer.
Nearly every client sends its whole request in one segment, so the listening socket itself is the only thing the event
loop watches. A wake-up accepts what waits, and for each connection does four system calls beside accept: make it
non-blocking, read, write, close. What does not fit this (a head in pieces, a body, noise) becomes a :class:`_Waiting`.

Three socket options, set on the listener because Linux hands them down to the accepted connection, save a wake-up and
three of ten packets; where a kernel should not hand one down, the answer is the same and only slower:

* TCP_DEFER_ACCEPT: accepted when the request is there, so it can be read at once. A client that sends nothing costs
  the kernel a request socket of 300 bytes and us nothing; after :data:`DEFER_SECONDS` we get it all the same.
* TCP_CORK: the answer leaves together with the FIN of close().
* TCP_QUICKACK off (after listen(), which resets it): the answer carries the acknowledgement of the request.

Closing at once is safe only when nothing unread is left and nothing will come, because a reset would overtake the
answer and the browser would show an error. So only a GET or HEAD that ends exactly where the read ended is closed at
once; for the rest the sending side is shut, what still comes is read and thrown away until the client closes, within
the same limits of time and a limit of bytes.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from itertools import islice

from edged.portal.acceptor import Acceptor
from edged.portal.head import HEAD_END, Verdict, answers, ends_clean, is_plain_get, judge
from edged.portal.refusals import Refusals
from edged.portal.tally import Tally
from edged.portal.waiters import Waiters
from edged.portal.wire import CLOSED

SWEEP_SECONDS = 0.25
"""How often deadlines are looked at. One sweep over all who wait, instead of a timer for each."""
SWEEP_BATCH = 64
"""Connections cut in one turn."""
DEFER_SECONDS = 1
BATCH = 64
"""Connections taken in one wake-up before others have their turn."""
DRAIN_BYTES = 65536
"""What a client may go on sending after its answer."""
_MAPPED = bytes(10) + b"\xff\xff"


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of one worker: bytes of a head, seconds for a whole one, connections that wait in all and of one address.

    An address is an IPv4 address or the first ``household`` bits of an IPv6 one: those who hold these can make up the
    rest. :attr:`edged.config.models.NetworkSection.household_bits` says how many they are.
    """

    head: int
    seconds: float
    connections: int
    per_address: int
    household: int = 64


@dataclass(slots=True, eq=False)
class _Waiting:
    """A connection that could not be answered, or not be closed, at once."""

    sock: socket.socket
    who: str | bytes
    deadline: float
    tally: Tally
    data: bytes = b""
    drained: int = field(default=-1)  # -1: not answered yet


def prepare(listener: socket.socket) -> None:
    """Set the options told above on a listening TCP socket."""
    listener.setblocking(False)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, DEFER_SECONDS)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 0)


class Redirector:
    """Answers on any number of listening sockets. ``open`` begins, ``sweep`` must be called every SWEEP_SECONDS."""

    def __init__(self, url: str, limits: Limits, tally: Tally, clock: Callable[[], float] = time.monotonic) -> None:
        self._answers = answers(url)
        self._limits = limits
        self._tally = tally
        self._clock = clock
        self._slow = Waiters()
        self._waiting: dict[_Waiting, None] = {}
        self._of: Counter[str | bytes] = Counter()
        self._acceptor = Acceptor()
        self._refusals = Refusals(clock)

    @property
    def waiting(self) -> int:
        """Connections that hold a place now."""
        return len(self._waiting)

    def open(self, listener: socket.socket, tally: Tally | None = None) -> None:
        """Serve ``listener``, which listens already and does not block; count in ``tally``, or in the one of all."""
        # socket.accept() wraps each descriptor into an object that we would only take apart again
        accept = listener._accept  # type: ignore[attr-defined]  # noqa: SLF001
        counts = tally or self._tally
        form = (listener.family, listener.type, listener.proto)  # or each socket object asks the kernel for them
        self._acceptor.add(listener, lambda: self._ready(accept, counts, form))

    def close(self) -> None:
        """Stop accepting and drop who waits. The listening sockets stay open: they are the caller's."""
        self._acceptor.close()
        for one in list(self._waiting):
            self._drop(one)
        self._slow.close()

    def sweep(self) -> bool:
        """Cut those whose time is over; accept again after a pause for want of descriptors.

        True when there are more to cut than are cut in one turn: to be called again when others have had theirs.
        """
        self._refusals.sweep()
        now = self._clock()
        over = list(islice((one for one in self._waiting if one.deadline <= now), SWEEP_BATCH))
        for one in over:
            if one.drained < 0:
                self._more(one)  # what it sent may lie there unread, where there was a lot to do
            if one not in self._waiting or (one.drained == 0 and one.deadline > now):
                continue
            if one.drained < 0 and one.data:
                self._send(one.sock, Verdict.SLOW)
                one.tally.add("refused", Verdict.SLOW.status)
            elif one.drained < 0:
                one.tally.add("refused", CLOSED)  # it never said a word: perhaps a browser's spare connection
            self._drop(one)
        self._acceptor.resume()
        return len(over) == SWEEP_BATCH

    # -- the hot path -------------------------------------------------------------------------------------------------

    def _ready(self, accept: Callable[[], tuple[int, object]], tally: Tally, form: tuple[int, int, int]) -> None:
        began = self._clock()
        found = self._answers[Verdict.FOUND]
        room = self._limits.head + 1
        barred, household = self._refusals.barred, self._limits.household
        served = 0
        for _ in range(BATCH):
            try:
                fd, peer = accept()
            except BlockingIOError:
                break
            except OSError as error:
                if self._acceptor.exhausted(error):
                    break
                continue
            if barred and holder(peer, household) in barred:
                os.close(fd)
                tally.add("refused", CLOSED)
                continue
            try:
                os.set_blocking(fd, False)
                data = os.read(fd, room)
                if is_plain_get(data) and data.endswith(HEAD_END) and len(data) < room:
                    os.write(fd, found)
                    os.close(fd)
                    served += 1
                    continue
            except BlockingIOError:  # the kernel did not wait any longer for its first byte
                data = None
            except OSError:
                os.close(fd)
                continue
            self._unusual(socket.socket(*form, fileno=fd), peer, data, tally)
        if served:
            tally.add("redirect", 302, served, self._clock() - began)

    # -- the rest -----------------------------------------------------------------------------------------------------

    def _unusual(self, sock: socket.socket, peer: object, data: bytes | None, tally: Tally) -> None:
        seconds = self._limits.seconds
        if data is None:
            data = b""
            seconds = max(seconds - DEFER_SECONDS, seconds / 2)  # it has been waiting in the kernel
        elif not data:
            sock.close()
            tally.add("refused", CLOSED)
            return
        one = _Waiting(sock, holder(peer, self._limits.household), self._clock() + seconds, tally, data)
        if self._judge(one):
            return
        if self._of[one.who] >= self._limits.per_address:
            sock.close()
            if one.drained < 0:
                tally.add("refused", CLOSED)
            return
        if len(self._waiting) >= self._limits.connections:
            # Who has waited for longest makes room: an honest client in two segments needs its place for milliseconds,
            # and those who hold places to keep it out are the oldest by far.
            oldest = next(iter(self._waiting))
            if oldest.drained < 0:
                oldest.tally.add("refused", CLOSED)
            self._drop(oldest)
        if one.drained < 0 and one.data:
            with contextlib.suppress(
                OSError
            ):  # its stack may hold the next segment back until this one is acknowledged
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        self._waiting[one] = None
        self._of[one.who] += 1
        self._slow.add(sock, partial(self._more, one))

    def _judge(self, one: _Waiting) -> bool:
        """Answer if it can be answered. True when the connection is done with."""
        verdict = judge(one.data, self._limits.head)
        if verdict is Verdict.MORE:
            return False
        began = self._clock()
        self._send(one.sock, verdict)
        one.drained = 0
        if verdict.status == Verdict.FOUND.status:
            one.tally.add("redirect", 302, 1, self._clock() - began)
        else:
            one.tally.add("refused", verdict.status)
            self._refusals.add(one.who)
        if verdict.status == Verdict.FOUND.status and ends_clean(one.data):
            self._drop(one)
            return True
        try:
            one.sock.shutdown(socket.SHUT_WR)
        except OSError:
            self._drop(one)
            return True
        one.data = b""
        one.deadline = self._clock() + self._limits.seconds
        return False

    def _more(self, one: _Waiting) -> None:
        try:
            data = one.sock.recv(DRAIN_BYTES if one.drained >= 0 else self._limits.head + 1 - len(one.data))
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            if one.drained < 0:
                one.tally.add("refused", CLOSED)
            self._drop(one)
        elif one.drained < 0:
            one.data += data
            self._judge(one)
        else:
            one.drained += len(data)
            if one.drained > DRAIN_BYTES:
                self._drop(one)

    def _send(self, sock: socket.socket, verdict: Verdict) -> None:
        with contextlib.suppress(OSError):  # the client left; the caller closes
            sock.send(self._answers[verdict])  # a few hundred bytes into an empty buffer: all or an error

    def _drop(self, one: _Waiting) -> None:
        fd = one.sock.fileno()
        one.sock.close()
        if one in self._waiting:
            del self._waiting[one]
            self._slow.closed(fd)
            self._of[one.who] -= 1
            if not self._of[one.who]:
                del self._of[one.who]


def holder(peer: object, household: int) -> str | bytes:
    """Whose share of the places a connection takes: see :class:`Limits`, of which ``household`` is, in bits.

    What a socket of both families (``[::]``) tells of IPv4, inside an IPv6 address (RFC 4291 §2.5.5.2), is IPv4.
    """
    host = peer[0] if isinstance(peer, tuple) else ""
    if ":" not in host:
        return host
    packed = socket.inet_pton(socket.AF_INET6, host.partition("%")[0])
    if packed.startswith(_MAPPED):
        return socket.inet_ntop(socket.AF_INET, packed[12:])
    whole, rest = divmod(household, 8)
    return packed[:whole] + bytes([packed[whole] >> 8 - rest]) if rest else packed[:whole]
