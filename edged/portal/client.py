"""A worker's end of the socket to the core: asks who somebody is and what he may do, tells what was shown and counted.

The core may be away for seconds (restart, upgrade) or slow. A page waits no longer than ``inquiry.PATIENCE`` for it,
what somebody does no longer than :data:`LONG_PATIENCE`; without it the redirector goes on and the page is
a general one.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from edged.domain.standing import Standing
from edged.portal import wire
from edged.portal.inquiry import Inquiry
from edged.portal.outbox import Outbox

BILL_PATIENCE = 1.5
"""Seconds a bill may take: who has proved who he is gets no other page that would do as well."""
LONG_PATIENCE = 5.0
"""Seconds a promise, a code or a token may take: the core commits what comes of them."""
QUESTIONS = 256
"""Questions that may be open; more wait for their turn, within the patience of who asks."""
MOST_WAITING = 1024
"""Questions that may be open or wait for their turn; one more is answered with None at once."""
MOST_WATCHED = 4096
"""Addresses that one worker has watched; who comes later learns of changes by asking again."""
RECORDS = 64
"""Records of the core taken in one turn."""
PAUSES = (0.1, 0.2, 0.5, 1.0, 2.0)
"""Seconds between attempts to reach the core."""

_log = logging.getLogger(__name__)
_Answer = wire.Asked | wire.Proof | wire.Payment


class Proof(NamedTuple):
    """What came of a code or token: one of ``wire.PROOFS``; ``ticket`` is for :meth:`CoreClient.bill`, if ``ok``."""

    verdict: str
    ticket: bytes


class CoreClient:
    """The constructor starts nothing; :meth:`run` connects and stays connected until cancelled."""

    def __init__(self, path: Path, workers: int) -> None:
        self._path = path
        self._workers = workers
        self._outbox: Outbox | None = None
        """Of the connection that there is."""
        self._inquiry: Inquiry | None = None
        """The same."""
        self._room = asyncio.Semaphore(QUESTIONS)
        self._waiting = 0
        self._open: dict[int, asyncio.Future[_Answer | None]] = {}
        self._numbers = itertools.count()
        self._watched: dict[bytes, set[asyncio.Event]] = {}
        self._texts: dict[str, Mapping[str, str]] = {}

    @property
    def connected(self) -> bool:
        return self._outbox is not None

    @property
    def texts(self) -> Mapping[str, Mapping[str, str]]:
        """Reason -> the fields that billing set for its page; kept while the core is away."""
        return self._texts

    async def run(self) -> None:
        """Connect, read answers, connect again."""
        pauses = iter(PAUSES)
        while True:
            with contextlib.suppress(OSError), connect(self._path) as sock:
                sock.send(wire.encode(wire.Hello(self._workers, need=False)))
                self._outbox = outbox = Outbox(sock)
                self._inquiry = Inquiry(outbox.put, outbox.drop)
                self._texts = {}  # all of them come now
                pauses = iter(PAUSES)
                try:
                    self._watch_again()
                    await self._read(sock)
                finally:
                    outbox.close()
                    self._inquiry.close()
                    self._outbox = self._inquiry = None
                    self._forget()
            await asyncio.sleep(next(pauses, PAUSES[-1]))

    async def _read(self, sock: socket.socket) -> None:
        """Until the core hangs up, or says what it should not."""
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[None] = loop.create_future()

        def read() -> None:  # called by the loop, not awaited: a page waits for what comes here
            try:
                for _ in range(RECORDS):
                    data = sock.recv(wire.ROOM)
                    if not data:
                        raise EOFError
                    self._take(wire.decode(data))
            except BlockingIOError:
                return
            except (EOFError, OSError, wire.WireError) as error:
                loop.remove_reader(sock)
                if not isinstance(error, EOFError):
                    _log.warning("core: %s", error)
                if not ended.done():
                    ended.set_result(None)

        loop.add_reader(sock, read)
        try:
            await ended
        finally:
            loop.remove_reader(sock)

    def _take(self, record: wire.Record) -> None:
        match record:
            case wire.People():
                if self._inquiry is not None:
                    self._inquiry.answered(record)
            case wire.Asked() | wire.Proof() | wire.Payment():
                waiting = self._open.pop(record.request, None)
                if waiting is not None and not waiting.done():
                    waiting.set_result(record)
            case wire.Changed(address):
                for event in self._watched.get(address, ()):
                    event.set()
            case wire.Texts(reason, fields):
                left = {name: told for name, told in self._texts.items() if name != reason}
                self._texts = {**left, reason: fields} if fields else left
            case _:
                raise wire.WireError("a record that only a portal sends")

    def _forget(self) -> None:
        for waiting in self._open.values():
            if not waiting.done():
                waiting.set_result(None)
        self._open.clear()

    def _watch_again(self) -> None:
        """A core that was away has forgotten who watches, and much may have happened."""
        for address, events in self._watched.items():
            self._tell(address, on=True)
            for event in events:
                event.set()

    def _tell(self, address: bytes, *, on: bool) -> None:
        """Tell who is watched. Of one address this is by turns on and off: what still waits says what is not told."""
        if self._outbox is not None and not self._outbox.drop(address):
            self._outbox.put(address, wire.Watch(address, on=on))

    def _send(self, record: wire.Record) -> bool:
        return self._outbox is not None and self._outbox.send(record)

    async def _question(self, question: Callable[[int], wire.Record], patience: float) -> _Answer | None:
        """The answer to a question made from its number; None when there is none within ``patience`` seconds."""
        if self._waiting >= MOST_WAITING:
            return None
        self._waiting += 1
        try:
            async with asyncio.timeout(patience):
                async with self._room:
                    return await self._asked(question)
        except TimeoutError:
            return None
        finally:
            self._waiting -= 1

    async def _asked(self, question: Callable[[int], wire.Record]) -> _Answer | None:
        outbox = self._outbox
        if outbox is None:
            return None
        number = next(self._numbers) & 0xFFFFFFFF
        answer: asyncio.Future[_Answer | None] = asyncio.get_running_loop().create_future()
        self._open[number] = answer
        try:
            outbox.put(number, question(number))
            return await answer
        finally:
            self._open.pop(number, None)
            outbox.drop(number)  # nobody waits for it any more

    async def who(self, address: str) -> Standing | None:
        """What may be shown to ``address``; None when it is no address or the core does not say within PATIENCE."""
        packed = _packed(address)
        if packed is None or self._inquiry is None:
            return None
        return await self._inquiry.who(packed)

    def shown(self, address: str, *, pressed: bool) -> bool:
        """Tell that this address was shown its reminder, or sent it away. False when the core could not be told."""
        packed = _packed(address)
        return packed is not None and self._send(wire.Shown(packed, pressed))

    async def ask(self, address: str) -> str | None:
        """Ask for a promise: one of ``wire.ANSWERS``, None when the core does not say. Ask once: it may have heard."""
        packed = _packed(address)
        if packed is None:
            return None
        until = _until()
        answer = await self._question(lambda number: wire.Ask(number, packed, until), LONG_PATIENCE)
        return answer.answer if isinstance(answer, wire.Asked) else None

    async def prove(self, address: str, code: str) -> Proof | None:
        """Try a one-time code for whoever has ``address``; None when the core does not say."""
        packed, typed = _packed(address), code.encode()
        if packed is None:
            return None
        if len(typed) > wire.MOST_CODE:
            return Proof("wrong", b"")  # nothing that long was ever handed out
        until = _until()
        return _proof(await self._question(lambda number: wire.Prove(number, packed, until, typed), LONG_PATIENCE))

    async def token(self, address: str, token: str) -> Proof | None:
        """Try the token of a signed link for whoever has ``address``; None when the core does not say."""
        packed, text = _packed(address), token.encode("ascii", "replace")
        if packed is None:
            return None
        text = text if len(text) <= wire.MOST_TOKEN else b""  # none was ever that long; the core says what follows
        until = _until()
        return _proof(await self._question(lambda number: wire.Token(number, packed, until, text), LONG_PATIENCE))

    async def bill(self, ticket: bytes) -> Mapping[str, str] | None:
        """The payment data behind a ticket: empty when there is none (any more), None when the core does not say."""
        if len(ticket) != wire.TICKET:
            return {}
        answer = await self._question(lambda number: wire.Bill(number, ticket), BILL_PATIENCE)
        return answer.fields if isinstance(answer, wire.Payment) else None

    @contextlib.contextmanager
    def watch(self, address: str) -> Iterator[asyncio.Event]:
        """An event that is set whenever what holds for ``address`` may have changed; clear it before asking again.

        It is never set where the core is away, or where too many are watched already: ask again now and then.
        """
        event, packed = asyncio.Event(), _packed(address)
        events = self._watched.get(packed) if packed else None
        if packed and events is None and len(self._watched) < MOST_WATCHED:
            events = self._watched[packed] = set()
            self._tell(packed, on=True)
        if events is not None:
            events.add(event)
        try:
            yield event
        finally:
            if packed and events is not None:
                events.discard(event)
                if not events and self._watched.get(packed) is events:
                    del self._watched[packed]
                    self._tell(packed, on=False)

    def report(self, records: Iterable[wire.Stats]) -> list[wire.Stats]:
        """Send statistics; returns those that could not be sent."""
        return [record for record in records if not self._send(record)]


def _until() -> int:
    """Until when somebody who asks now waits for what the core commits."""
    return int((time.monotonic() + LONG_PATIENCE) * 1000)


def _packed(address: str) -> bytes | None:
    try:
        return wire.pack_address(address)
    except ValueError:
        return None


def _proof(answer: _Answer | None) -> Proof | None:
    return Proof(answer.verdict, answer.ticket) if isinstance(answer, wire.Proof) else None


def connect(path: Path) -> socket.socket:
    """A connection to the core that does not block. Raises OSError: nobody listens there, we may not, or it is full."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        sock.connect(str(path))
    except BaseException:
        sock.close()
        raise
    return sock
