"""The audit trail as values: what is recorded of a decision, and the chain that shows whether anything was changed.

Pure. Each decision becomes one *row*, each commit one *link*::

    digest = blake2b-16(salt || content || sub)
    hash   = sha256(hash of the link before || first row || last row || moment || digests of its rows, in order)

The chain is over digests, so what a row says can be taken out of it (``forget``) and the rest still verifies. A row's
salt is its own and goes with its content: otherwise whoever knows a name could try whether a digest is about it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import msgspec

from edged.domain import effect
from edged.domain.levels import Level
from edged.domain.model import Subscriber, rfc3339

SALT = 16
"""Bytes of a row's salt."""
GENESIS = bytes(32)
"""The hash before the first link."""

_WORDS = tuple(level.word for level in Level)
_encode = msgspec.json.Encoder().encode


class Decision(msgspec.Struct, frozen=True, gc=False):
    """Something decided, or refused. ``before`` and ``after`` None: nobody, or it is about no subscriber."""

    at: int
    """Unix ms."""
    op: str
    sub: str | None = None
    issuer: str = ""
    """Empty: unsigned, or the daemon by itself."""
    batch: str = ""
    about: str = ""
    """The reason of a block, the kind of a deferral, the area or id of what is on no subscriber."""
    ref: str = ""
    status: str = "applied"
    code: str = ""
    """Of the contract, where it was refused or held."""
    why: str = ""
    """What it waits for or what moved it, in words of our own: never billing's text, never somebody else's name."""
    override: tuple[str, ...] = ()
    """Author and motive of who passed calendar, moratorium and outage; opaque as billing sent them."""
    before: Subscriber | None = None
    after: Subscriber | None = None


_State = tuple[str, dict[str, int | str], int, tuple[str, ...]]
_NOTHING: _State = ("open", {}, 0, ())
_Content = tuple[int, str, str, str, str, str, str, str, str, tuple[str, ...], _State | None, _State | None]
_read = msgspec.json.Decoder(_Content).decode


def content(d: Decision) -> bytes:
    """What a row keeps beside the name, a JSON array; ``before`` has the level that was in force, ``after`` the new."""
    before, after = d.before, d.after
    return _encode((
        d.at,
        d.issuer,
        d.batch,
        d.op,
        d.about,
        d.ref,
        d.status,
        d.code,
        d.why,
        d.override,
        None if before is None else _state(before, before.level),
        None if after is None else _state(after, _level(after, d.at)),
    ))  # fmt: skip


def _level(sub: Subscriber, at: int) -> int:
    """The level in force at a moment; ``sub.level`` is brought up to date only when the commit is made."""
    if not sub.reasons:
        return 0
    if sub.promise is None and not sub.deferrals and len(sub.reasons) == 1:  # nearly everybody who owes
        (reason,) = sub.reasons.values()
        return effect.begun(reason)
    return effect.levels(sub, at)[1]


def _state(sub: Subscriber, level: int) -> _State:
    if not sub.reasons and sub.promise is None and not sub.deferrals and not level:
        return _NOTHING
    reasons: dict[str, int | str] = {n: r.onset if effect.begun(r) else "pending" for n, r in sub.reasons.items()}
    return _WORDS[level], reasons, sub.promise.until if sub.promise else 0, tuple(sub.deferrals)


def forgets(op: str, status: str, code: str) -> bool:
    """Whether a decision takes a name out of the trail: also that of somebody known no more anywhere else."""
    return op == "forget" and (status == "applied" or code == "unknown_subscriber")


def without_name(d: Decision) -> Decision:
    """A decision to forget somebody, as it is kept: who asked for it and when, and nothing of whom."""
    return Decision(d.at, d.op, None, d.issuer, d.batch, "", d.ref, d.status, d.code)


def digest(salt: bytes, text: bytes, sub: str | None) -> bytes:
    """Of one row. ``text`` is an array and ends itself, so nothing can pass from it to the name behind it."""
    return hashlib.blake2b(salt + text + sub.encode() if sub is not None else salt + text, digest_size=16).digest()


def link(previous: bytes, first: int, last: int, at: int, digests: Iterable[bytes]) -> bytes:
    """The hash of one commit's rows ``first`` to ``last`` behind the hash ``previous``; ``at``: Unix ms."""
    head = previous + first.to_bytes(8) + last.to_bytes(8) + at.to_bytes(8, signed=True)
    return hashlib.sha256(head + b"".join(digests)).digest()


# -- reading --------------------------------------------------------------------------------------------------------


class Row(NamedTuple):
    """A decision as kept. Without content, salt and name it is the *stub* of somebody who was forgotten."""

    id: int
    salt: bytes | None
    digest: bytes
    sub: str | None
    content: str | None


class Link(NamedTuple):
    """One commit's rows. ``at``: Unix ms."""

    first: int
    last: int
    at: int
    hash: bytes


class Head(NamedTuple):
    """How far a chain has come: its last row, the moment and the hash of its last link."""

    last: int = 0
    at: int = 0
    hash: bytes = GENESIS


def told(number: int, at: int, sub: str | None, text: str | None) -> dict[str, Any]:
    """A row for people and programs. ``at`` (Unix ms) is its link's, all that is left of a stub.

    One that cannot be read, because somebody meddled with it, is shown as ``damaged``.
    """
    try:
        return {"id": number, "at": rfc3339(at), "forgotten": True} if text is None else _told(number, sub, text)
    except (msgspec.MsgspecError, ValueError, OverflowError, OSError):
        return {"id": number, "at": None, "sub": sub, "damaged": True}


def _told(number: int, sub: str | None, text: str) -> dict[str, Any]:
    moment, issuer, batch, op, about, ref, status, code, why, override, before, after = _read(text)
    return {
        "id": number,
        "at": rfc3339(moment),
        "issuer": issuer or None,
        "batch": batch or None,
        "sub": sub,
        "op": op,
        "about": about or None,
        "ref": ref or None,
        "status": status,
        "code": code or None,
        "why": why or None,
        "override": {"author": override[0], "motive": override[1]} if len(override) == 2 else None,
        "before": _told_state(before),
        "after": _told_state(after),
    }


def _told_state(state: _State | None) -> dict[str, Any] | None:
    if state is None:
        return None
    level, reasons, until, deferrals = state
    return {
        "level": level,
        "reasons": {n: x if isinstance(x, str) else rfc3339(x) for n, x in reasons.items()},
        "promise_until": rfc3339(until) if until else None,
        "deferrals": list(deferrals),
    }


# -- verifying ------------------------------------------------------------------------------------------------------


class Finding(NamedTuple):
    """The first row that is not as it was written, and what is wrong there."""

    id: int
    what: str


class Verification:
    """Goes along a chain from ``anchor``; ``noted`` is a hash that somebody wrote down elsewhere.

    Call :meth:`take` with each link and its rows in order, then :meth:`end`; the first finding ends it.
    """

    def __init__(self, anchor: Head, noted: bytes | None = None) -> None:
        self.decisions = self.links = self.forgotten = 0
        """Seen so far; those forgotten are among the decisions."""
        self.met = False
        """Whether the noted hash was met."""
        self._noted = noted
        self.restart(anchor)

    def restart(self, anchor: Head) -> None:
        """Go on behind a later anchor: what came before it was purged meanwhile."""
        self.head = anchor
        self.first = 0
        """Where the last link began."""
        self.met = self.met or anchor.hash == self._noted
        self._stub = 0

    def take(self, found: Link, rows: Iterable[Row]) -> Finding | None:
        """The next link; ``rows`` are all from its first to its last, as far as they are there."""
        expected = self.head.last + 1
        if found.first != expected or found.last < found.first:
            return Finding(expected, "the link that should begin here is missing or was changed")
        digests: list[bytes] = []
        for row in rows:
            if row.id != expected:
                break
            if (wrong := self._row(row)) is not None:
                return Finding(row.id, wrong)
            digests.append(row.digest)
            expected += 1
        if expected <= found.last:
            return Finding(expected, "this decision was removed")
        if link(self.head.hash, found.first, found.last, found.at, digests) != found.hash:
            return Finding(found.first, "the link of these decisions, or a digest in it, was changed")
        self.head, self.first = Head(found.last, found.at, found.hash), found.first
        self.links += 1
        self.decisions += len(digests)
        self.met = self.met or found.hash == self._noted
        return None

    def _row(self, row: Row) -> str | None:
        if row.content is None and row.salt is None and row.sub is None:
            self._stub = self._stub or row.id
            self.forgotten += 1
            return None
        text = (row.content or "").encode()
        if row.salt is None or digest(row.salt, text, row.sub) != row.digest:
            return "this decision was changed"
        if self._stub and b'"forget"' in text and _is_forgetting(text):
            self._stub = 0  # whoever the stubs so far were about may be who was forgotten here
        return None

    def end(self, ids: Sequence[int]) -> Finding | None:
        """After the last link; ``ids``: those of rows that lie outside of all links, ascending."""
        if ids:
            return Finding(ids[0], "this decision is in no link: it was put in, or its link was removed")
        if self._stub:
            return Finding(self._stub, "this decision was emptied, yet nobody was forgotten after it")
        return None


def _is_forgetting(text: bytes) -> bool:
    try:
        _, _, _, op, _, _, status, code, *_ = _read(text)
    except msgspec.MsgspecError:
        return False
    return forgets(op, status, code)
