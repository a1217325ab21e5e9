"""What the core says to the outside: answers, events, the state document, and local questions.

One direction: it asks the keeper and never changes anything by itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol

from edged import __version__, trail
from edged.answers import Answer
from edged.domain.levels import Level
from edged.domain.model import REASONS, rfc3339
from edged.domain.rejection import Rejected
from edged.errors import EdgedError, KernelError, StoreError
from edged.intake import Incoming
from edged.keeper import Keeper
from edged.mqtt.message import Inbound, Outbound
from edged.mqtt.session import Session
from edged.mqtt.topics import Topics
from edged.observer import Observer
from edged.store.rows import Event, Write

_log = logging.getLogger(__name__)
STATE_PAUSE = 1.0
"""Seconds between two state documents at least; changes in between are gathered."""
STATE_EVERY = 60.0
RETRY = 2.0
LATE = 1.0
"""Seconds from receipt to the kernel within which a release is as quick as it should be (domain.md §4)."""


class Portal(Protocol):
    """What the desk wants to know of the portal."""

    @property
    def up(self) -> bool:
        """Whether a portal is connected."""


class Engine(Protocol):
    """What the desk wants to know of the XDP program."""

    @property
    def state(self) -> str:
        """``native``, ``generic`` or ``off``."""

    def told(self) -> dict[str, Any]:
        """More of it, for ``status``."""


class Trusted(Protocol):
    """What the desk wants to know of the clock, and do to it."""

    @property
    def why(self) -> str:
        """Why it is not trusted, empty when it is."""

    def adopt(self) -> None:
        """The system clock is right: a human says so."""


class Desk:
    """``broker_urls`` without credentials, as configured. ``stop`` ends the daemon: ``open`` or ``keep``."""

    def __init__(
        self,
        keeper: Keeper,
        topics: Topics,
        observer: Observer,
        *,
        broker_urls: Sequence[str],
        stop: Callable[[str], Awaitable[list[str]]],
        clock: Trusted | None = None,
    ) -> None:
        self._keeper = keeper
        self._topics = topics
        self._observer = observer
        self._urls = list(broker_urls)
        self._stop = stop
        self._began = time.monotonic()
        self._since = rfc3339(keeper.pipeline.clock())
        self._hash = keeper.store.totals.hash
        self._clock = clock
        self.session: Session | None = None
        self.portal: Portal | None = None
        self.engine: Engine | None = None
        self.grants_after = math.inf
        """Seconds without a broker after which promises asked for here are granted here."""
        self._reached = time.monotonic()

    @property
    def alone(self) -> bool:
        """Whether billing has been out of reach for so long that promises are granted here."""
        if self.session and self.session.connected:
            return False
        return time.monotonic() - self._reached >= self.grants_after

    # -- MQTT ------------------------------------------------------------------------------------------------

    async def handle(self, messages: Sequence[Inbound]) -> list[Outbound]:
        """Carry out what arrived; returns the answers when all of it is committed and enforced."""
        outcome = await self._keeper.process([self._incoming(m) for m in messages])
        now, moment = time.monotonic(), self._keeper.pipeline.clock()
        answers = []
        for message, answer in zip(messages, outcome.answers, strict=True):
            self._observer.enforced(now - message.received)
            if now - message.received > LATE and (n := released(answer)):
                self._observer.late_release(n)
            finished = self._finished(answer, moment, now - message.received)
            topic = message.response_topic or self._topics.ack
            correlation = message.correlation if message.response_topic else None
            answers.append(Outbound(topic, finished, correlation=correlation))
        return answers

    def _incoming(self, m: Inbound) -> Incoming:
        return Incoming(m.payload, self._topics.source(m.topic), m.response_topic or "", m.correlation)

    @staticmethod
    def _finished(answer: Answer, moment: int, seconds: float) -> bytes:
        if "part" in answer.document:
            return json.dumps(answer.document, ensure_ascii=False).encode()  # the whole is enforced later
        timing = {"enforced": rfc3339(moment), "enforced_ms": round(seconds * 1000, 2)}
        return json.dumps({**answer.document, **timing}, ensure_ascii=False).encode()

    async def greet(self) -> list[Outbound]:
        """What to publish right behind a connect."""
        self._keeper.told.set()
        return [self._state(await self._document())]

    def will(self) -> Outbound:
        """The retained document that says we are gone."""
        gone = {"v": 1, "gateway": self._topics.gateway, "version": __version__, "online": False, "since": self._since}
        return Outbound(self._topics.state, json.dumps(gone).encode(), retain=True)  # when, its author cannot know

    def _state(self, document: Mapping[str, Any]) -> Outbound:
        """``at`` says how old what a dashboard finds retained is."""
        at = {"at": rfc3339(self._keeper.pipeline.clock())}
        return Outbound(self._topics.state, json.dumps({**document, **at}).encode(), retain=True)

    async def _document(self) -> dict[str, Any]:
        """The state document."""
        numberings = self._keeper.pipeline.numberings
        replacing = self._keeper.enforcer.loose
        if not replacing:  # half of a snapshot has no digest that anybody could compare
            self._hash = self._keeper.store.totals.hash
        latest = numberings.latest
        levels = self._keeper.store.totals.levels
        return {
            "v": 1,
            "gateway": self._topics.gateway,
            "version": __version__,
            "online": True,
            "since": self._since,
            "subscribers": sum(levels),
            "levels": {x.word: levels[x] for x in Level if x},
            "last_batch": self._keeper.pipeline.last_batch or None,
            "epoch": latest.epoch if latest else None,
            "seq": latest.seq if latest else None,
            "streams": {f"{n.issuer} {n.source}": [n.epoch, n.seq] for n in numberings.all()},
            "hash": self._hash,
            "in_sync": self._keeper.in_sync.is_set() and not replacing,
            "portal": "up" if self.portal and self.portal.up else "down",
            "xdp": self.engine.state if self.engine else "off",
            "brake": "closed" if self._keeper.pipeline.held else "open",
        }

    async def run_state(self) -> None:
        """Publish the state document when it changes, and once a minute."""
        last: dict[str, Any] = {}
        said = 0.0
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(STATE_PAUSE):  # the portal comes and goes without telling
                    await self._keeper.changed.wait()
            self._keeper.changed.clear()
            if self.session and self.session.connected:
                self._reached = time.monotonic()
            document = await self._document()
            stale = time.monotonic() - said > STATE_EVERY
            if (document != last or stale) and self.session and await self.session.publish(self._state(document)):
                last, said = document, time.monotonic()
                await asyncio.sleep(STATE_PAUSE)

    async def run_events(self) -> None:
        """Publish the outbox. What the broker has taken is removed; what it has not stays, also over a restart."""
        while True:
            await self._keeper.told.wait()
            self._keeper.told.clear()
            try:
                await self._empty_outbox()
            except EdgedError as e:
                self._keeper.note("events", e)
                await asyncio.sleep(RETRY)
                self._keeper.told.set()

    async def _empty_outbox(self) -> None:
        while rows := await self._keeper.do(self._keeper.store.events):
            messages = []
            for number, event in rows:
                head = {"v": 1, "gateway": self._topics.gateway, "id": number}
                text = json.dumps(event.document if event.topic else head | event.document).encode()
                topic = self._topics.ack if event.topic == "ack" else event.topic or self._topics.event
                messages.append(Outbound(topic, text, correlation=event.correlation))
            if not self.session or not await self.session.publish(*messages):
                return  # the next connect wakes us
            await self._keeper.do(self._keeper.store.forget_events, rows[-1][0])

    # -- local questions -------------------------------------------------------------------------------------

    def handlers(self) -> dict[str, Callable[[dict[str, Any]], AsyncIterator[dict[str, Any]]]]:
        """What the control socket answers."""
        return {
            "status": self._on_status,
            "why": self._on_why,
            "list": self._on_list,
            "audit": self._on_audit,
            "apply": self._on_apply,
            "resync": self._on_resync,
            "release-brake": self._on_release,
            "drop-held": self._on_drop,
            "request-trust": self._on_request_trust,
            "adopt-clock": self._on_adopt_clock,
            "stop": self._on_stop,
        }

    async def _on_status(self, _: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        document = await self._document()
        told = await self._keeper.do(describe, self._keeper)
        session = self.session
        yield {
            "result": {
                "gateway": self._topics.gateway,
                "version": __version__,
                "since": self._since,
                "uptime_s": round(time.monotonic() - self._began, 1),
                "in_sync": told["in_sync"],
                "levels": {x.word: self._keeper.store.totals.levels[x] for x in Level},
                "promises": self._keeper.store.totals.promises,
                "mqtt": {
                    "connected": session.connected if session else None,
                    "brokers": self._urls,
                    "last_error": session.last_error if session else None,
                },
                "portal": {"up": document["portal"] == "up"},
                "kernel": told["kernel"],
                "xdp": self.engine.told() if self.engine else {"mode": "off"},
                "store": told["store"],
                "garden": {"unresolved": self._keeper.gardens.unresolved() if self._keeper.gardens else []},
                "lag": told["lag"],
                "last_batch": document["last_batch"],
                "streams": document["streams"],
                "hash": document["hash"],
                "audit": told["audit"],
                "snapshots": told["snapshots"],
                "brake": {"state": document["brake"], "held": self._keeper.pipeline.brake.held},
                "clock": {
                    "trusted": not (self._clock and self._clock.why),
                    "why": self._clock.why if self._clock else "",
                },
                "errors": told["errors"],
            }
        }

    async def _on_why(self, request: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        try:
            found = await self._keeper.do(self._keeper.pipeline.questions.why, str(request.get("target", "")))
        except Rejected as e:
            raise EdgedError(e.detail) from e
        yield {"result": found}

    async def _on_list(self, request: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        word, reason = request.get("level"), request.get("reason")
        try:
            level = None if word is None else Level[str(word).upper()]
        except KeyError:
            known = ", ".join(x.word for x in Level)
            raise EdgedError(f"level {word!r} is unknown; known are {known}") from None
        if reason is not None and reason not in REASONS:
            raise EdgedError(f"reason {reason!r} is unknown; known are {', '.join(REASONS)}")
        parts = self._keeper.pipeline.questions.listing(level, reason)
        while (rows := await self._keeper.do(next, parts, None)) is not None:
            for row in rows:
                yield {"row": row}

    async def _on_audit(self, request: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        store = self._keeper.store
        if request.get("verify"):
            steps = trail.verification(store, trail.noted(request))
        else:
            steps = trail.decisions(store, *trail.wanted(request))
        while (parts := await self._keeper.do(next, steps, None)) is not None:
            for part in parts:
                yield part

    async def _on_apply(self, request: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        began = time.monotonic()
        outcome = await self._keeper.process([Incoming(str(request.get("line", "")).encode())])
        finished = self._finished(outcome.answers[0], self._keeper.pipeline.clock(), time.monotonic() - began)
        yield {"result": json.loads(finished)}

    async def _on_resync(self, _: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        before = self._keeper.resyncs
        self._keeper.want("command")
        await self._keeper.synced_after(before)
        yield {"result": {"in_sync": True}}

    async def _on_release(self, _: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        applied, refused = await self._keeper.release_brake()
        await self._tell({"event": "brake.released", "applied": applied - refused, "refused": refused})
        yield {"result": {"applied": applied - refused, "refused": refused}}

    async def _on_drop(self, _: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        dropped = await self._keeper.drop_held()
        await self._tell({"event": "brake.released", "applied": 0, "refused": dropped})
        yield {"result": {"dropped": dropped}}

    async def _tell(self, event: dict[str, Any]) -> None:
        now = self._keeper.pipeline.clock()
        await self._keeper.persist(self._keeper.store.commit, Write(events=[Event({**event, "at": rfc3339(now)})]), now)
        self._keeper.told.set()

    async def _on_request_trust(self, request: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        target, channel = str(request.get("target", "")), str(request.get("channel", "cli"))
        try:
            yield {"result": await self._keeper.request_trust(target, channel, alone=self.alone)}
        except Rejected as e:
            raise EdgedError(f"{e.code}: {e.detail}") from e

    async def _on_adopt_clock(self, _: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        if self._clock is not None:
            self._clock.adopt()
        self._keeper.changed.set()
        yield {"result": {"clock": self._clock.why if self._clock else ""}}

    async def _on_stop(self, request: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        yield {"result": {"removed": await self._stop(str(request.get("mode", "keep")))}}


def released(answer: Answer) -> int:
    """How many releases a batch asked for and got."""
    return sum(n for (op, status), n in answer.operations.items() if op in ("paid", "unblock") and status == "applied")


def describe(keeper: Keeper) -> dict[str, Any]:
    """Store and kernel for ``status`` (in the worker thread)."""
    e = keeper.enforcer
    live = e.live
    info = None
    try:
        info = e.backend.table()
    except KernelError as error:
        keeper.pipeline.last_error = str(error)
    flags = info.flags if info else 0
    audit = None
    with contextlib.suppress(StoreError):  # whatever is wrong with it, status is where to look
        begin, end = keeper.store.audit_ends()
        audit = {"decisions": end.last - begin.last, "head": end.hash.hex()}
    return {
        "in_sync": keeper.in_sync.is_set(),
        "kernel": {
            "table": "inet edged" if info else None,
            "generation": live.number if live else None,
            "owner": bool(info and info.owner),
            "flags": [w for bit, w in ((2, "owner"), (4, "persist")) if flags & bit],
            "sets": e.set_counts(),
            "last_error": keeper.pipeline.last_error or None,
        },
        "store": {
            "path": str(keeper.store.path),
            "subscribers": sum(keeper.store.totals.levels),
            "last_commit": rfc3339(int(keeper.last_commit * 1000)) if keeper.last_commit else None,
            "last_error": next((x["text"] for x in reversed(keeper.errors) if x["where"] == "store"), None),
        },
        "audit": audit,
        "lag": {"queued": keeper.queued},
        "snapshots": keeper.pipeline.gathering.told(),
        "errors": list(keeper.errors),
    }
