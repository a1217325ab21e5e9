"""All gateways at a glance, out of their retained state documents: what is on the broker is all it knows."""

from __future__ import annotations

import asyncio
import datetime as dt
import secrets
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from fnmatch import fnmatchcase
from typing import Any, NamedTuple, Self

from edged.client.brokers import Brokers
from edged.client.documents import read
from edged.client.post import now_ms
from edged.errors import EdgedError
from edged.mqtt.message import Inbound, Outbound
from edged.mqtt.session import Session
from edged.mqtt.topics import ROOT
from edged.observer import Silent

QUIET = 1.0  # s without a document after which the broker has told all it retained
MOST = 3.0  # s after which it has told enough: gateways that are at work speak all the time


class Row(NamedTuple):
    """One gateway. None: its document does not say."""

    gateway: str
    online: bool
    age_s: float
    """How old the document is; where it carries no time, how long ago it was heard."""
    behind: int | None
    """Batches behind the furthest gateway on the streams they share; None: it shares none."""
    subscribers: int | None
    levels: dict[str, int]
    in_sync: bool | None
    hash: str | None
    group: str | None
    """The first pattern that fits its name."""
    agrees: bool | None
    """Whether its hash is that of most of its group; None: there is nothing to compare."""
    version: str | None
    portal: str | None
    brake: str | None
    """``closed``: it holds something until somebody there looked."""


class Fleet:
    """The documents as they came; pure. ``now`` is Unix ms."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[dict[str, Any], int]] = {}

    def hear(self, topic: str, payload: bytes, now: int) -> None:
        """One state document; an empty payload is how a broker is told to forget a gateway."""
        gateway = topic.removeprefix(ROOT).split("/")[1]
        if not payload:
            self._seen.pop(gateway, None)
        elif (document := read(payload)) is not None:
            self._seen[gateway] = document, now

    def document(self, gateway: str) -> dict[str, Any]:
        """The last one of a gateway; empty where there is none."""
        return self._seen.get(gateway, ({}, 0))[0]

    def rows(self, groups: Sequence[str], now: int) -> list[Row]:
        """By group and name. ``groups``: patterns of names, each ``gw-a-*`` or ``gw1,gw2``; they say whose hashes must
        be equal.
        """
        furthest: dict[str, tuple[str, int]] = {}
        shared: Counter[str] = Counter()
        for document, _ in self._seen.values():
            for stream, position in _streams(document).items():
                furthest[stream] = max(furthest.get(stream, position), position)
                shared[stream] += 1
        common = {stream: position for stream, position in furthest.items() if shared[stream] > 1}
        member = {gateway: _group(gateway, groups) for gateway in self._seen}
        usual = self._usual(member)
        rows = [
            _row(gateway, document, max(0, now - _at(document, heard)) / 1000, common, member[gateway], usual)
            for gateway, (document, heard) in self._seen.items()
        ]
        return sorted(rows, key=lambda r: (r.group is None, r.group or "", r.gateway))

    def _usual(self, member: Mapping[str, str | None]) -> dict[str, str | None]:
        """Group -> the hash that most of those online have; None where no two agree, absent where one is alone."""
        hashes: dict[str, Counter[str]] = {}
        for gateway, (document, _) in self._seen.items():
            group, digest = member[gateway], document.get("hash")
            if group is not None and isinstance(digest, str) and document.get("online") is True:
                hashes.setdefault(group, Counter())[digest] += 1
        out: dict[str, str | None] = {}
        for group, count in hashes.items():
            if count.total() > 1:
                ((digest, most), *others) = count.most_common(2)
                out[group] = None if others and others[0][1] == most else digest
        return out


class Watch:
    """A fleet that is kept up to date while the ``async with`` block lasts; it leaves nothing at the broker."""

    def __init__(self, brokers: Brokers, gateway: str = "+") -> None:
        self.fleet = Fleet()
        self.changed = asyncio.Event()
        self._greeted = asyncio.Event()
        self._session = Session(
            brokers,
            client_id=f"edged-fleet-{secrets.token_hex(4)}",
            subscriptions=[f"{ROOT}gw/{gateway}/state"],
            will=None,
            on_connect=self._greet,
            handle=self._handle,
            observer=Silent(),
            keep=False,
            retained=True,
        )

    @property
    def broker(self) -> str | None:
        """``host:port`` of the present broker."""
        return self._session.connected

    @property
    def last_error(self) -> str | None:
        """What is wrong with the brokers."""
        return self._session.last_error

    async def reached(self, timeout: float) -> None:  # noqa: ASYNC109 - reads better than a context
        """Return when a broker has answered. Raises ``EdgedError`` when none does in time."""
        try:
            async with asyncio.timeout(timeout):
                await self._greeted.wait()
        except TimeoutError:
            raise EdgedError(f"no broker answered within {timeout:g} s: {self.last_error or 'still trying'}") from None

    async def told(self, timeout: float) -> None:  # noqa: ASYNC109 - reads better than a context
        """Return when the broker has told what it retained. Raises ``EdgedError`` when none answers in time."""
        await self.reached(timeout)
        with suppress(TimeoutError):
            async with asyncio.timeout(MOST):
                while True:
                    self.changed.clear()
                    async with asyncio.timeout(QUIET):
                        await self.changed.wait()

    async def __aenter__(self) -> Self:
        self._running = asyncio.create_task(self._session.run(), name="edged-fleet")
        return self

    async def __aexit__(self, *_: object) -> None:
        self._running.cancel()
        await asyncio.wait((self._running,))

    async def _greet(self) -> Sequence[Outbound]:
        self._greeted.set()
        return []

    async def _handle(self, messages: Sequence[Inbound]) -> Sequence[Outbound]:
        for message in messages:
            self.fleet.hear(message.topic, message.payload, now_ms())
        self.changed.set()
        return []


async def state_of(brokers: Brokers, gateway: str, timeout: float) -> dict[str, Any]:  # noqa: ASYNC109
    """The retained document of one gateway, empty without one. Raises ``EdgedError`` when no broker answers in time."""
    async with Watch(brokers, gateway) as watch:
        await watch.reached(timeout)
        with suppress(TimeoutError):
            async with asyncio.timeout(QUIET):
                await watch.changed.wait()
        return watch.fleet.document(gateway)


def _row(
    gateway: str,
    document: Mapping[str, Any],
    age: float,
    furthest: Mapping[str, tuple[str, int]],
    group: str | None,
    usual: Mapping[str, str | None],
) -> Row:
    online, digest, levels = document.get("online") is True, _text(document.get("hash")), document.get("levels")
    gaps = [_gap(position, furthest[s]) for s, position in _streams(document).items() if s in furthest]
    return Row(
        gateway,
        online,
        round(age, 1),
        max(gaps, default=None),
        _count(document.get("subscribers")),
        {str(k): v for k, v in levels.items() if isinstance(v, int)} if isinstance(levels, dict) else {},
        document["in_sync"] if isinstance(document.get("in_sync"), bool) else None,
        digest,
        group,
        digest == usual[group] if group is not None and group in usual and digest and online else None,
        _text(document.get("version")),
        _text(document.get("portal")),
        _text(document.get("brake")),
    )


def _streams(document: Mapping[str, Any]) -> dict[str, tuple[str, int]]:
    """Stream -> (epoch, seq), without what is malformed."""
    streams = document.get("streams")
    out: dict[str, tuple[str, int]] = {}
    for name, value in streams.items() if isinstance(streams, dict) else ():
        match value:
            case [str(epoch), int(seq)]:
                out[str(name)] = epoch, seq
    return out


def _gap(position: tuple[str, int], furthest: tuple[str, int]) -> int:
    """Batches in between; over a change of epoch at least those of the new one."""
    return furthest[1] - position[1] if position[0] == furthest[0] else max(1, furthest[1])


def _group(gateway: str, groups: Sequence[str]) -> str | None:
    return next((g for g in groups if any(fnmatchcase(gateway, p.strip()) for p in g.split(","))), None)


def _at(document: Mapping[str, Any], heard: int) -> int:
    try:
        return round(dt.datetime.fromisoformat(document["at"]).timestamp() * 1000)
    except (KeyError, TypeError, ValueError):
        return heard


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
