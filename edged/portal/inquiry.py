"""Who is who: what a worker wants to know of visitors, asked for many at a time.

A question of its own would cost, for each page, a packet, a wake-up of the core and one of ours, a job for the keeper's
thread, and the caches of both processes. So what one turn of the event loop wants to know goes into one packet, and
what is wanted while :data:`UNDER_WAY` of them have no answer yet waits for the next: the more is asked, the more go
together. Two who want to know of the same address before it was asked for share the answer; nothing is kept after it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable

from edged.domain.standing import Standing
from edged.portal import wire

PATIENCE = 0.3
"""Seconds a page waits for the core."""
UNDER_WAY = 2
"""Packets without an answer: one that the core works on, one that waits for it."""
MOST_WAITING = 1024
"""Visitors that may wait for an answer; one more is answered with None at once."""

_Answer = asyncio.Future[Standing | None]


class Inquiry:
    """``put`` and ``drop`` are an outbox's: a packet for the core, and back if it was not sent yet. For a running loop.

    Where the core does not answer, each who waits gets None after :data:`PATIENCE`, and the packet is forgotten.
    """

    def __init__(self, put: Callable[[wire.Who, wire.Who], object], drop: Callable[[wire.Who], object]) -> None:
        self._put = put
        self._drop = drop
        self._loop = asyncio.get_running_loop()
        self._wanted: dict[bytes, list[_Answer]] = {}
        self._asked: dict[int, tuple[wire.Who, list[list[_Answer]], float]] = {}
        self._waiting: deque[tuple[float, _Answer]] = deque()
        """In the order of their moments; those who have their answer go when they come to the front."""
        self._number = 0
        self._count = 0
        self._turn: asyncio.Handle | None = None
        self._timer: asyncio.Handle | None = None

    async def who(self, address: bytes) -> Standing | None:
        """What may be shown to whoever has this address; None when that does not come in time."""
        if self._count >= MOST_WAITING:
            return None
        answer: _Answer = self._loop.create_future()
        self._wanted.setdefault(address, []).append(answer)
        self._waiting.append((self._loop.time() + PATIENCE, answer))
        self._count += 1
        if self._turn is None:
            self._turn = self._loop.call_soon(self._ask)
        if self._timer is None:
            self._timer = self._loop.call_later(PATIENCE, self._expire)
        try:
            return await answer
        finally:
            self._count -= 1

    def answered(self, record: wire.People) -> None:
        """An answer came, maybe one that nobody waits for any more. Raises WireError: it is none to its question."""
        asked = self._asked.pop(record.request, None)
        if asked is None:
            return
        if len(record.standings) != len(asked[1]):
            _give(asked[1], None)
            raise wire.WireError("an answer to another question")
        for answers, standing in zip(asked[1], record.standings, strict=True):
            _give([answers], standing)
        if self._wanted and self._turn is None:
            self._ask()

    def close(self) -> None:
        """The connection is gone: nobody waits any longer."""
        for handle in (self._turn, self._timer):
            if handle is not None:
                handle.cancel()
        _give(self._wanted.values(), None)
        for _, answers, _ in self._asked.values():
            _give(answers, None)
        self._wanted.clear()
        self._asked.clear()
        self._waiting.clear()
        self._turn = self._timer = None

    def _ask(self) -> None:
        self._turn = None
        while self._wanted and len(self._asked) < UNDER_WAY:
            some: dict[bytes, list[_Answer]] = {}
            while self._wanted and len(some) < wire.MOST_ASKED:
                address = next(iter(self._wanted))
                answers = self._wanted.pop(address)
                if not all(one.done() for one in answers):  # nobody waits for it any more
                    some[address] = answers
            if some:
                self._number = self._number + 1 & 0xFFFFFFFF
                record = wire.Who(self._number, tuple(some))
                self._asked[self._number] = record, list(some.values()), self._loop.time() + PATIENCE
                self._put(record, record)

    def _expire(self) -> None:
        now = self._loop.time()
        while self._waiting and (self._waiting[0][1].done() or self._waiting[0][0] <= now):
            _, answer = self._waiting.popleft()
            if not answer.done():
                answer.set_result(None)
        for number, (record, _, until) in list(self._asked.items()):
            if until <= now:
                self._drop(record)
                del self._asked[number]
        if self._wanted:
            self._ask()
        moments = [until for _, _, until in self._asked.values()]
        if self._waiting:
            moments.append(self._waiting[0][0])
        self._timer = self._loop.call_at(min(moments), self._expire) if moments else None


def _give(all_of: Iterable[list[_Answer]], standing: Standing | None) -> None:
    for answers in all_of:
        for one in answers:
            if not one.done():
                one.set_result(standing)
