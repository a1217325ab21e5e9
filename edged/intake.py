"""From bytes to what is asked for: verify ─► parse. A payload ends as a :class:`Request` or a :class:`Refusal`."""

from __future__ import annotations

import functools
import uuid
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import msgspec

from edged.domain import command as c
from edged.domain import roles
from edged.domain.batch import Bare, Batch, Chunk, Head, read_payload
from edged.domain.rejection import Rejected
from edged.envelope import Keyring, Opened

SYNC = "/sync"
"""How the channel of snapshots ends."""
LOCAL = ""
"""The source of what came over the control socket."""
LARGEST_GROUP = 1 << 20
"""Bytes of payload carried out in one commit: some eight batches of a thousand, or one chunk of a snapshot."""

_OUT_OF_TIME = frozenset({"expired", "from_the_future"})


class Incoming(NamedTuple):
    """A message as it came. ``source``: the channel (``gw/gw1/cmd``), empty for the control socket."""

    payload: bytes
    source: str = LOCAL
    response_topic: str = ""
    correlation: bytes | None = None


def groups(payloads: Sequence[Incoming]) -> Iterator[Sequence[Incoming]]:
    """Payloads as groups of at most ``LARGEST_GROUP`` bytes, or of one: what a group touches is held in memory.

    A chunk ends its group, so that what follows the last one meets a snapshot that is committed.
    """
    first = size = 0
    for i, p in enumerate(payloads):
        size += len(p.payload)
        if i > first and (size > LARGEST_GROUP or payloads[i - 1].source.endswith(SYNC)):
            yield payloads[first:i]
            first, size = i, len(p.payload)
    if first < len(payloads):
        yield payloads[first:]


class Refused(NamedTuple):
    """A command that cannot be read or may not be given. ``sub``: whom it names, where that can be read."""

    rejected: Rejected
    sub: str | None
    op: str = "unknown"


class Request(NamedTuple):
    """A batch or chunk whose origin, audience and age are in order, its commands read."""

    head: Head | None
    """The batch or chunk; None for a bare command."""
    name: str
    """The batch's id; for a bare command one of its own."""
    issuer: str
    """Whose: for an unsigned one what it says of itself, for a local one ``local``."""
    source: str
    commands: Sequence[c.Command | Refused]
    incoming: Incoming
    roles: frozenset[str] = roles.EVERY_ROLE
    """What its issuer may do."""
    late: Rejected | None = None
    """It came too late or too early: refused, unless it was carried out before, for then it gets its answer again."""


class Refusal(NamedTuple):
    """A payload that is refused whole."""

    rejected: Rejected
    name: str | None


def read(incoming: Incoming, keyring: Keyring, limit: int, now: int) -> Request | Refusal:
    """What a message asks for. ``limit``: bytes of a payload; ``now``: Unix ms."""
    name: str | None = None
    try:
        opened = keyring.open(incoming.payload, local=incoming.source == LOCAL)
        found = read_payload(opened.body, limit)
        mine = opened.issuer or ("local" if incoming.source == LOCAL else "")
        if isinstance(found, Bare):
            if opened.issuer is not None:
                raise Rejected("malformed", "a signed message holds a batch, not a single command")
            _check_channel(found, incoming.source)
            commands = [_command(found.raw, opened.roles)]
            name = f"bare-{uuid.uuid4().hex[:16]}"
            return Request(None, name, mine, incoming.source, commands, incoming, opened.roles)
        name = found.sync if isinstance(found, Chunk) else found.id
        late = _admit(keyring, opened, found, name, incoming.source, now)
        _check_channel(found, incoming.source)
        if isinstance(found, Chunk) and not roles.may(opened.roles, "sync"):
            raise Rejected("not_authorized", "sync: " + roles.refusal(opened.roles, "sync"))
        issuer = opened.issuer or found.issuer or mine
        # A chunk's commands are read when the snapshot is carried out.
        commands = [] if isinstance(found, Chunk) else [_command(raw, opened.roles) for raw in found.commands]
        return Request(found, name, issuer, incoming.source, commands, incoming, opened.roles, late)
    except Rejected as e:
        return Refusal(e, e.batch or name)


def _check_channel(found: Batch | Chunk | Bare, source: str) -> None:
    """Order is kept by channel, so a batch may not come on the snapshots' one. Raises Rejected ``malformed``."""
    if source != LOCAL and isinstance(found, Chunk) != source.endswith(SYNC):
        raise Rejected("malformed", "chunks of a snapshot go to …/sync, batches and commands to …/cmd")


def _admit(keyring: Keyring, opened: Opened, head: Batch | Chunk, name: str, source: str, now: int) -> Rejected | None:
    """Raises Rejected for what is not meant for us; returns it for what is only out of time."""
    if opened.issuer is None and source != LOCAL and head.issuer in keyring.names:
        raise Rejected("unsigned", f"issuer: {head.issuer} signs its batches here, and this one is not signed")
    try:
        keyring.admit(
            opened,
            name=name,
            issuer=head.issuer,
            ts=head.moment(head.ts),
            expires=head.moment(head.expires),
            aud=head.audience,
            channel=source.split("/")[1] if source != LOCAL else None,
            now=now,
        )
    except Rejected as e:
        if e.code in _OUT_OF_TIME:
            return e
        raise
    return None


def _command(raw: bytes | msgspec.Raw, held: frozenset[str]) -> c.Command | Refused:
    try:
        cmd = c.read_command(raw)
    except Rejected as e:
        return Refused(e, c.name_in(raw))
    if held is not roles.EVERY_ROLE:
        reason = cmd.reason if isinstance(cmd, c.Block | c.Unblock) else None
        if not _may(held, cmd.__class__, reason):
            op = c.op_of(cmd)
            return Refused(Rejected("not_authorized", roles.refusal(held, op, reason)), getattr(cmd, "sub", None), op)
    return cmd


@functools.lru_cache(maxsize=1024)
def _may(held: frozenset[str], kind: type[c.Command], reason: str | None) -> bool:
    return roles.may(held, c.TAGS[kind], reason)
