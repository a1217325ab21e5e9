"""The chunks of snapshots: kept until the last is in, asked for when they stay away (contract §1, Snapshot)."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Mapping
from typing import Any

import msgspec

from edged.answers import refused
from edged.brake import Brake
from edged.domain.address import literal
from edged.domain.audit import Decision as Audited
from edged.domain.batch import Chunk
from edged.domain.command import UNREADABLE_COMMAND
from edged.domain.model import rfc3339
from edged.domain.rejection import Rejected
from edged.intake import Request
from edged.store import rulings
from edged.store.rows import Event, Named, Staged, Write
from edged.store.store import Store

ASK_MS = 30_000
"""Without a chunk for so long, the missing ones are asked for."""
GIVE_UP_MS = 3_600_000
"""A snapshot without a chunk for so long is dropped."""
MOST_ASKED = 100
FEWEST_SHARE = 0.5
"""A snapshot that names a smaller share of the subscribers than this is taken for a wrong export ..."""
FEWEST_JUDGED = 10
"""... where at least so many are known; an empty one everywhere."""

NOBODY = "\0"
"""Stands for the subscriber of commands that name none."""


class _Name(msgspec.Struct):
    sub: str


class _Kind(msgspec.Struct):
    op: str = ""
    reason: str = ""


_read_kinds = msgspec.json.Decoder(list[tuple[int, int, _Kind]]).decode
_read_name = msgspec.json.Decoder(_Name).decode


class Gathering:
    """All snapshots under way. Changes go into the group's ``Write`` and count once it is committed (``keep``)."""

    def __init__(self, store: Store, gateway: str, brake: Brake) -> None:
        self._gateway = gateway
        self._brake = brake
        self._store = store
        self._kept: dict[int, tuple[Staged, set[int]]] = {s.id: (s, store.chunks(s.id)) for s in store.snapshots()}
        self._group = self._kept
        self._first = self._next()
        self._asked: dict[int, int] = {}
        """Snapshot -> when its missing parts were last asked for, Unix ms."""

    def begin(self) -> None:
        """Forget what a group that was not committed did."""
        self._group = {number: (s, set(parts)) for number, (s, parts) in self._kept.items()}

    def keep(self) -> None:
        """The group is committed."""
        self._kept = self._group
        if self._first not in self._kept:
            self._first = self._next()

    def _next(self) -> int:
        """Whose turn it is, 0 for nobody's."""
        found = min((s for s, _ in self._kept.values() if s.ready and not s.held), key=_turn, default=None)
        return found.id if found else 0

    @property
    def ready(self) -> Staged | None:
        """The snapshot to carry out: of those that are complete and not held the first that was, to its end."""
        return self._kept[self._first][0] if self._first in self._kept else None

    @property
    def waiting(self) -> list[Staged]:
        """The complete snapshots whose turn has not come: held by the brake, or behind another one."""
        first = self.ready
        return [s for s, _ in self._kept.values() if s.ready and s is not first]

    @property
    def coming(self) -> list[int]:
        """The numbers of the snapshots that are not complete."""
        return [s.id for s, _ in self._kept.values() if not s.ready]

    @property
    def under_way(self) -> list[int]:
        """The numbers of all snapshots, complete or not."""
        return list(self._kept)

    @property
    def held(self) -> list[Staged]:
        """The complete snapshots that the brake holds."""
        return [s for s, _ in self._kept.values() if s.held]

    def take(self, request: Request, known: int, work: Write, now: int) -> dict[str, Any]:
        """Keep a chunk; returns what its answer says of it. ``known``: subscribers now. Raises Rejected."""
        chunk = request.head
        assert isinstance(chunk, Chunk)  # noqa: S101  the caller looked
        staged, parts = self._of(request, chunk, work, now)
        if chunk.part not in parts and not staged.ready:
            found = _by_subscriber(chunk)
            fresh = found.keys() - {n.sub for s, n in work.named if s == staged.id}
            before = self._store.named_of(staged.id, found)
            fresh -= before.keys()
            parts.add(chunk.part)
            work.chunks.append((staged.id, chunk.part))
            work.named += [(staged.id, Named(name, ",".join(texts))) for name, texts in found.items()]
            staged = staged._replace(
                at=now,
                topic=request.incoming.response_topic,
                correlation=request.incoming.correlation,
                subscribers=staged.subscribers + len(fresh - {NOBODY}),
                restricting=staged.restricting + self._restricted(found, before),
            )
            if len(parts) == staged.parts:
                staged = staged._replace(ready=True, held=self._judge(staged, known, now))
                work.audit.append(_audited(staged, now, "held" if staged.held else "applied"))
                if not staged.held and known:
                    work.restricted += staged.restricting
                if staged.held:
                    event = {"event": "brake.closed", "why": staged.held, "sync": staged.sync, "at": rfc3339(now)}
                    work.events.append(Event(event))
            self._group[staged.id] = staged, parts
            work.staged = [s for s in work.staged if s.id != staged.id] + [staged]
        missing = staged.parts - len(parts)
        told: dict[str, Any] = {"sync": staged.sync, "part": chunk.part, "parts": staged.parts, "missing": missing}
        return {**told, "held": staged.held} if staged.held else told

    def _restricted(self, found: dict[str, list[str]], before: Mapping[str, Named]) -> int:
        """How many of a chunk's subscribers it restricts newly, whom no chunk ``before`` restricted."""
        if not self._brake.limits.enabled:
            return 0
        names = [
            n for n, texts in found.items()
            if any(map(_restricts, texts)) and not (n in before and _restricts(before[n].commands))
        ]  # fmt: skip
        return self._store.read(lambda db: rulings.unrestricted(db, names))

    def _judge(self, staged: Staged, known: int, now: int) -> str:
        """Why a complete snapshot is held (domain.md §5), empty where it may pass."""
        expected = known * len(staged.shards) / 256 if staged.shards else known
        if not self._brake.limits.enabled or not known:
            return ""
        if expected >= (FEWEST_JUDGED if staged.subscribers else 1) and staged.subscribers < FEWEST_SHARE * expected:
            return f"it names {staged.subscribers} subscribers and {round(expected)} are known here"
        return (
            self._brake.limits.passed(self._brake.recent(now) + staged.restricting, known) if staged.restricting else ""
        )

    def release(self, write: Write, now: int) -> None:
        """A human has looked: what is held may be carried out."""
        for number, (staged, parts) in list(self._group.items()):
            if staged.held:
                self._group[number] = staged._replace(held=""), parts
                write.audit.append(_audited(staged, now, "released"))
                write.staged.append(self._group[number][0])

    def refuse_held(self, write: Write, now: int) -> int:
        """A human has looked: what is held is not carried out, and its sender is told; how many there were."""
        found = [s for s, _ in self._group.values() if s.held]
        for staged in found:
            self.drop(staged.id, write)
            write.audit.append(_audited(staged, now, "dropped"))
            detail = f"{staged.held}; somebody looked at it and dropped it: look at the export"
            document = refused(self._gateway, Rejected("brake", detail), now, staged.sync).document
            document |= {"enforced": rfc3339(now), "enforced_ms": 0.0}
            write.answers[staged.issuer, staged.sync] = document
            write.events.append(Event(document, staged.topic or "ack", staged.correlation))
        return len(found)

    def _of(self, request: Request, chunk: Chunk, work: Write, now: int) -> tuple[Staged, set[int]]:
        """The snapshot of a chunk: begun by an earlier one, or new, in place of an unfinished one of its issuer."""
        shards = tuple(sorted(set(chunk.shards or ())))
        seq = -1 if chunk.seq is None else chunk.seq
        for staged, parts in self._group.values():
            if (staged.issuer, staged.sync) == (request.issuer, chunk.sync):
                if (staged.parts, staged.shards, staged.epoch, staged.seq) != (
                    chunk.parts, shards, chunk.epoch or "", seq,
                ):  # fmt: skip
                    detail = "parts, shards, epoch and seq must be the same in every chunk of a snapshot"
                    raise Rejected("malformed", detail)
                return staged, parts
        if (request.issuer, chunk.sync) in work.answers:
            raise _displaced()
        for staged, _ in list(self._group.values()):
            if staged.issuer == request.issuer and (staged.held or not staged.ready):
                self.drop(staged.id, work)
                answer = refused(self._gateway, _displaced(), now, staged.sync)
                work.answers[staged.issuer, staged.sync] = answer.document  # for chunks of it that come late
        number = 1 + max([*self._group, *self._kept, self._store.last_snapshot()])
        return Staged(number, request.issuer, chunk.sync, chunk.parts, shards, chunk.epoch or "", seq, now, now), set()

    def drop(self, number: int, work: Write) -> None:
        """Take a snapshot out, done or given up."""
        self._group.pop(number, None)
        work.unstaged.append(number)
        work.staged = [s for s in work.staged if s.id != number]
        work.chunks = [x for x in work.chunks if x[0] != number]
        work.named = [x for x in work.named if x[0] != number]

    def told(self) -> list[dict[str, Any]]:
        """What ``status`` says of snapshots under way."""
        return [
            {
                "sync": s.sync,
                "issuer": s.issuer,
                "parts": s.parts,
                "present": len(parts),
                "complete": s.ready,
                "held": s.held,
            }
            for s, parts in self._kept.values()
        ]

    def overdue(self, now: int) -> list[Event]:
        """Events that ask for what is missing; each snapshot is asked for every 30 s while nothing of it comes."""
        out = []
        for staged, parts in self._kept.values():
            if staged.ready or now - max(staged.at, self._asked.get(staged.id, 0)) < ASK_MS:
                continue
            self._asked[staged.id] = now
            missing = _missing(staged.parts, parts)
            told = {"event": "sync.missing", "sync": staged.sync, "issuer": staged.issuer, "missing": missing}
            out.append(Event({**told, "parts": staged.parts, "at": rfc3339(now)}))
        return out

    def forsaken(self, now: int) -> list[int]:
        """Snapshots whose rest did not come."""
        return [s.id for s, _ in self._kept.values() if not s.ready and now - s.at > GIVE_UP_MS]


def _audited(staged: Staged, now: int, status: str) -> Audited:
    return Audited(now, "sync", None, staged.issuer, staged.sync, "snapshot", status=status)


def _restricts(commands: str) -> bool:
    """Whether commands (``[part, index, command]``, commas between) restrict somebody, as far as they can be read."""
    try:
        found = _read_kinds(f"[{commands}]")
    except msgspec.MsgspecError:
        return False
    return any(kind.op == "block" and kind.reason != "notice" for _, _, kind in found)


def _turn(staged: Staged) -> tuple[bool, int, int]:
    return not (staged.cursor or staged.swept >= 0), staged.at, staged.id


def _displaced() -> Rejected:
    return Rejected("stale", "a newer snapshot of this issuer took its place")


def _by_subscriber(chunk: Chunk) -> dict[str, list[str]]:
    """What a chunk says of each subscriber; the commands are read when their time comes."""
    out: dict[str, list[str]] = {}
    for i, raw in enumerate(chunk.commands):
        name = NOBODY
        with contextlib.suppress(msgspec.ValidationError, UnicodeDecodeError):
            name = _read_name(raw).sub or NOBODY
        try:
            command = bytes(raw).decode()
        except UnicodeDecodeError:
            command = f'"{UNREADABLE_COMMAND}: not UTF-8"'
        text = f"[{chunk.part},{i},{command}]"
        out.setdefault(literal(name) or name, []).append(text)
    return out


def _missing(parts: int, present: Collection[int]) -> list[int]:
    out = []
    for part in range(1, parts + 1):
        if part not in present:
            out.append(part)
            if len(out) == MOST_ASKED:
                break
    return out
