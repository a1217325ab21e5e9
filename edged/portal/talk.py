"""The core's talk with one worker of the portal: its questions answered, a bounded number of them at a time.

All that a portal can learn is a :class:`Standing` for an address, texts that are for everybody, and, with the ticket of
a code or token, one subscriber's payment data. All it can do is say that a reminder was shown, and ask for a promise.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol

from edged.domain.standing import Standing
from edged.errors import EdgedError
from edged.observer import Observer
from edged.portal import wire
from edged.portal.outbox import Outbox

QUESTIONS = 64
"""Questions of one worker that may be open; more wait in the socket, where they cost the portal, not us."""
CROWDS = 2
"""Questions of who is who that may be open beside them, each for up to ``wire.MOST_ASKED`` addresses."""
MOST_WATCHED = 4096
"""Addresses that one worker may have watched."""

_log = logging.getLogger(__name__)


class Core(Protocol):
    """What the link asks. Addresses are literal; each may raise EdgedError, and then there is no answer.

    ``until`` (milliseconds of the monotonic clock): nobody waits for it any longer, and it is to have no effect then.
    """

    async def standings(self, addresses: Sequence[str]) -> Sequence[Standing | None]:
        """What may be shown to whoever has each of these addresses; None where that cannot be said."""

    async def seen(self, address: str, *, pressed: bool) -> None:
        """Somebody at this address was shown a reminder, or (``pressed``) has sent it away."""

    async def ask(self, address: str, until: int) -> str:
        """Somebody asks for a promise: one of ``wire.ANSWERS``."""

    async def prove(self, address: str, code: bytes, until: int) -> tuple[str, bytes]:
        """Somebody typed a one-time code: (one of ``wire.PROOFS``, a ticket if ``ok``)."""

    async def redeem(self, address: str, token: bytes, until: int) -> tuple[str, bytes]:
        """Somebody at this address came over a signed link: the same."""

    async def bill(self, ticket: bytes) -> Mapping[str, str]:
        """The payment data behind a ticket; empty where there is none (any more)."""

    def watch(self, address: str, *, on: bool) -> None:
        """Call :meth:`PortalLink.changed` when what holds for this address may have changed; or no longer."""

    def texts(self) -> Mapping[str, Mapping[str, str]]:
        """Reason -> the fields that commands set for its page."""


class Talk:
    """One connection. ``spawn`` runs a task beside the reading, and keeps it until it ends."""

    def __init__(
        self,
        sock: socket.socket,
        core: Core,
        observer: Observer,
        spawn: Callable[[Awaitable[None], str], object],
        watch: Callable[[bytes, bool], None],
    ) -> None:
        self._sock = sock
        self._core = core
        self._observer = observer
        self._spawn = spawn
        self._watch = watch
        self._room = asyncio.Semaphore(QUESTIONS)
        self._crowds = asyncio.Semaphore(CROWDS)
        self._outbox = Outbox(sock)
        self.watched: set[bytes] = set()

    async def read(self) -> None:
        """Until the portal hangs up. Raises EdgedError for what is no record of a portal."""
        loop = asyncio.get_running_loop()
        while data := await loop.sock_recv(self._sock, wire.ROOM):
            await self._take(wire.decode(data))

    def hang_up(self) -> None:
        """End it: the portal connects again and is told everything anew."""
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)

    def send(self, record: wire.Record) -> bool:
        """False when the worker does not read, or is gone."""
        return self._outbox.send(record)

    def changed(self, address: bytes) -> None:
        """Tell that what holds for an address that is watched may have changed, as soon as the worker reads."""
        self._outbox.put(address, wire.Changed(address))

    def close(self) -> None:
        """The connection has ended; before its socket is closed."""
        self._outbox.close()

    async def _take(self, record: wire.Record) -> None:
        match record:
            case wire.Stats(kind, code, count, seconds, timed):
                self._observer.portal_requests(kind, str(code) if code else "closed", count)
                if timed:
                    self._observer.portal_seconds(seconds, timed)
            case wire.Watch(address, on):
                if on and address not in self.watched and len(self.watched) < MOST_WATCHED:
                    self.watched.add(address)
                    self._watch(address, True)
                elif not on and address in self.watched:
                    self.watched.discard(address)
                    self._watch(address, False)
            case wire.Who():
                await self._crowds.acquire()
                self._spawn(self._answer(record, self._crowds), "portal-question")
            case wire.Shown() | wire.Ask() | wire.Prove() | wire.Token() | wire.Bill():
                await self._room.acquire()
                self._spawn(self._answer(record, self._room), "portal-question")
            case _:
                raise wire.WireError("a record that only the core sends")

    async def _answer(self, record: wire.Record, room: asyncio.Semaphore) -> None:
        try:
            answer = await self._answered(record)
            if answer is not None:
                self._outbox.put(object(), answer)
                await self._outbox.sent()  # a worker that does not read has so many open, and asks no more
        except EdgedError as error:
            _log.debug("portal question: %s", error)  # the portal shows its general page
        finally:
            room.release()

    async def _standings(self, addresses: Sequence[bytes]) -> tuple[Standing | None, ...]:
        try:
            return tuple(await self._core.standings([wire.address_text(address) for address in addresses]))
        except EdgedError as error:
            _log.debug("portal question: %s", error)
            return (None,) * len(addresses)  # the portal need not wait to show its general page

    async def _answered(self, record: wire.Record) -> wire.Record | None:
        match record:
            case wire.Who(request, addresses):
                return wire.People(request, await self._standings(addresses))
            case wire.Shown(address, pressed):
                await self._core.seen(wire.address_text(address), pressed=pressed)
            case wire.Ask(request, address, until):
                return wire.Asked(request, await self._core.ask(wire.address_text(address), until))
            case wire.Prove(request, address, until, code):
                return _proof(request, await self._core.prove(wire.address_text(address), code, until))
            case wire.Token(request, address, until, token):
                return _proof(request, await self._core.redeem(wire.address_text(address), token, until))
            case wire.Bill(request, ticket):
                return wire.Payment(request, dict(await self._core.bill(ticket)))
        return None


def _proof(request: int, found: tuple[str, bytes]) -> wire.Proof:
    verdict, ticket = found
    return wire.Proof(request, verdict, ticket) if verdict == "ok" else wire.Proof(request, verdict)
