"""Delivers batches: out of the outbox, in order, until each is answered."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from weakref import WeakSet

from edged.client.documents import CURABLE, Answer, batch
from edged.client.fleet import state_of
from edged.client.lanes import WINDOW, Lane, Lanes
from edged.client.outbox import Outbox
from edged.client.post import Post, now_ms
from edged.client.schema import Row
from edged.client.sent import Sent
from edged.errors import EdgedError
from edged.mqtt.topics import ROOT

log = logging.getLogger(__name__)
GATHER = 16  # batches in one publication
TICK = 1.0  # s between looks at the patience of the lanes
RETRY = 2.0  # s after the outbox failed
NOBODY_KNOWN = 60.0  # s after which a group whose members are unknown is not waited for any more
STATE_PATIENCE = 3.0  # s for a gateway's state document
FORGET = 1000  # ids after which those that nobody waits for are dropped
RENUMBER_PAUSE = 60.0  # s at least between two new numberings of one stream


class Courier:
    """``on_answer`` is called for each answer before it is confirmed to the broker, and for a crash in between again.

    ``on_loss`` is told a gateway for which a batch came too late, or may have been lost with an outbox. ``repair``:
    there is a table, so a gateway that is met for the first time gets a snapshot.
    """

    def __init__(
        self,
        post: Post,
        *,
        numbered: bool,
        repair: bool,
        on_answer: Callable[[Answer], None],
        on_loss: Callable[[str], None],
    ) -> None:
        self._post = post
        self._numbered, self._repair = numbered, repair
        self._on_answer, self._on_loss = on_answer, on_loss
        self._lanes = Lanes()
        self._wake = asyncio.Event()
        self._sent: dict[str, WeakSet[Sent]] = {}
        self._full = FORGET
        self._unknown: deque[tuple[float, Row]] = deque()  # published to a group whose members are not known
        self._renumbered: dict[str, float] = {}
        self._complained: dict[str, str] = {}

    def connected(self, broker: str) -> None:
        """A connection stands."""
        self._lanes.connected(broker)
        self._wake.set()

    def watched(self, topic: str, ids: Sequence[str], gateways: Sequence[str]) -> Sent:
        """Something that is told the answers as long as somebody holds it."""
        sent = Sent(ids, gateways, gateways[0] if topic.startswith("gw/") else None)
        if len(self._sent) > self._full:
            self._sent = {name: those for name, those in self._sent.items() if those}
            self._full = 2 * len(self._sent) + FORGET
        for name in ids:
            self._sent.setdefault(name, WeakSet()).add(sent)
        return sent

    def look(self, topic: str) -> None:
        """There is something new in the outbox."""
        self._lanes.open([topic], time.monotonic())
        self._wake.set()

    # -- out ---------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Publish until cancelled."""
        self._lanes.open(await self._post.do(Outbox.open_topics), time.monotonic())
        while True:
            self._wake.clear()
            try:
                if await self._round():
                    continue
            except EdgedError as e:
                log.warning("cannot deliver: %s", e)
                await asyncio.sleep(RETRY)
                continue
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(TICK if len(self._lanes) or self._unknown else None):
                    await self._wake.wait()

    async def _round(self) -> bool:
        """Publish a little of every lane. Whether anything went out."""
        await self._give_up_waiting()
        if self._post.broker is None:
            return False
        busy = False
        for lane in self._lanes.due(time.monotonic()):
            went = await self._publish(lane)
            if went is None:
                return False
            busy |= went
        return busy

    async def _publish(self, lane: Lane) -> bool | None:
        """None: the connection is lost."""
        lane.dirty, turn = False, lane.turn
        rows = await self._post.do(Outbox.pending, lane.topic, lane.cursor, WINDOW, GATHER)
        if turn != lane.turn:
            return True
        if not rows:
            if not await self._post.do(Outbox.pending, lane.topic, 0, 1, 1):
                self._lanes.drop(lane)
            return False
        lane.dirty = True
        if not await self._post.publish([self._message(row) for row in rows]):
            return None
        now = time.monotonic()
        lane.took(turn, rows[-1].seq, now)
        self._unknown.extend((now, row._replace(commands=b"")) for row in rows if not row.waiting)
        return True

    def _message(self, row: Row) -> tuple[str, bytes, bytes]:
        epoch = row.epoch if self._numbered else ""
        head = self._post.identity.head(row.topic.split("/")[1], epoch, row.seq)
        return ROOT + row.topic, batch(head, row.id, row.commands), _mark(row)

    async def _give_up_waiting(self) -> None:
        now, rows = time.monotonic(), []
        while self._unknown and now - self._unknown[0][0] > NOBODY_KNOWN:
            rows.append(self._unknown.popleft()[1])
        if rows:
            await self._post.do(Outbox.settle, [(row.topic, row.id) for row in rows], now_ms())

    # -- in ----------------------------------------------------------------------------------------------------

    async def hear(self, answers: Sequence[tuple[Answer, bytes | None]]) -> bool:
        """Answers with their Correlation Data, if the broker knows such. Whether somebody now waits for a snapshot."""
        done: list[tuple[str, str]] = []
        for answer, correlation in answers:
            if (row := await self._post.do(Outbox.find, answer.id, answer.gateway)) is None:
                self._tell(answer)
                continue
            self._lanes.answered(row.topic, time.monotonic())
            if row.waiting and answer.gateway not in row.waiting:
                continue
            if await self._delivered(row, answer, correlation):
                self._on_answer(answer)
                done.append((answer.id, answer.gateway))
                self._tell(answer)
        met = await self._post.do(Outbox.answered, done, now_ms(), repair=self._repair)
        self._wake.set()
        return met

    def _tell(self, answer: Answer) -> None:
        for sent in list(self._sent.get(answer.id, ())):
            sent.hear(answer)

    async def _delivered(self, row: Row, answer: Answer, correlation: bytes | None) -> bool:
        """Whether this settles the batch for that gateway."""
        code = answer.refusal
        if code in CURABLE:
            # Tried again when the lane loses its patience: by then a clock or a key may be put right.
            if self._complained.get(answer.gateway) != code:
                log.warning("%s refuses our batches (%s); they are tried again", answer.gateway, code)
            self._complained[answer.gateway] = code or ""
            self._tell(answer)
            return False
        self._complained.pop(answer.gateway, None)
        if code != "stale":
            return True
        if correlation is not None and correlation != _mark(row):
            return False  # said of a copy with an older number
        return await self._too_late(row, answer)

    async def _too_late(self, row: Row, answer: Answer) -> bool:
        if cause := await self._post.do(Outbox.overtaken, row):
            await self.say_again(answer.gateway, row.topic, row.epoch, row.seq, row.seq)
            if cause == "later":
                self._on_loss(answer.gateway)
            return True
        # Nothing later of ours got through, and yet the gateway knows a higher number: the outbox came from a
        # backup, or somebody else uses our issuer's name.
        now = time.monotonic()
        if now - self._renumbered.get(row.topic, -RENUMBER_PAUSE) >= RENUMBER_PAUSE:
            self._renumbered[row.topic] = now
            log.warning("%s has seen higher numbers than ours on %s; numbering anew", answer.gateway, row.topic)
            theirs = await self._theirs(answer.gateway, row.topic)
            await self._post.do(Outbox.renumber, row.topic, new_epoch(), theirs)
            self._lanes.back(row.topic)
            self._on_loss(answer.gateway)
        return False

    async def _theirs(self, gateway: str, topic: str) -> str:
        """The epoch that the gateway knows of a stream, out of its state document; empty where it does not say."""
        try:
            document = await state_of(self._post.brokers, gateway, STATE_PATIENCE)
        except EdgedError as e:
            log.warning("cannot read the state of %s (%s), so its epoch has to be guessed", gateway, e)
            return ""
        streams = document.get("streams")
        match streams.get(f"{self._post.identity.issuer or ''} {topic}") if isinstance(streams, dict) else None:
            case [str(epoch), int()]:
                return epoch
        return ""

    async def say_again(self, gateway: str, topic: str, epoch: str, first: int, last: int) -> None:
        """What a gateway missed of these numbers and no snapshot can carry goes to it alone, under a new number.

        It is numbered before the snapshot is made, which then puts right what a late ``forget`` removes. Without a
        table nothing is said again.
        """
        array = await self._post.do(Outbox.lacking, gateway, topic, epoch, first, last)
        if not array or not self._repair:
            return
        name = hashlib.sha256(f"{gateway} {topic} {epoch} {first} {last}".encode()).hexdigest()[:40]
        to = f"gw/{gateway}/cmd"
        log.warning("%s missed what no snapshot carries; it is sent again as %s", gateway, name)
        await self._post.do(Outbox.reserve, to, [(name, array)], [gateway], now_ms(), new_epoch())
        self.look(to)


def new_epoch() -> str:
    """A text above all earlier ones: the moment, in UTC."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def _mark(row: Row) -> bytes:
    """Correlation Data: which numbering of the batch an answer is about, and its id where the gateway cannot tell."""
    return f"{row.seq} {row.epoch} {row.id}".encode()


def named(correlation: bytes | None) -> str | None:
    """The batch id in Correlation Data of ours."""
    parts = correlation.decode(errors="replace").split(" ", 2) if correlation else []
    return parts[2] if len(parts) == 3 else None
