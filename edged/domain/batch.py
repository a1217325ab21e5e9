"""What comes in one message: a batch, a chunk of a snapshot, or a bare command. Pure."""

from __future__ import annotations

import datetime as dt
import json
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from edged.domain.command import (
    MOST_COMMANDS,
    MOST_PARTS,
    UNREADABLE,
    UNREADABLE_COMMAND,
    explain,
)
from edged.domain.digest import SHARDS
from edged.domain.fields import MOST_ID, Count, Id, Moment, Opaque
from edged.domain.model import milliseconds
from edged.domain.rejection import Rejected

Part = Annotated[int, Meta(ge=1, le=MOST_PARTS)]
_NOTHING = msgspec.Raw()
Shard = Annotated[int, Meta(ge=0, lt=SHARDS)]


class Head(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What batches and chunks have in common."""

    v: Literal[1]
    issuer: Opaque | None = None
    ts: Moment | None = None
    expires: Moment | None = None
    aud: Annotated[list[Opaque], Meta(max_length=1000)] | Opaque | None = None
    epoch: Opaque | None = None
    seq: Count | None = None

    def __post_init__(self) -> None:
        if self.epoch is not None and self.seq is None:
            raise ValueError("epoch without seq: number the batch, or leave both out")

    @property
    def audience(self) -> list[str] | None:
        """The gateways and groups it is meant for; None where it does not say."""
        return [self.aud] if isinstance(self.aud, str) else self.aud

    def moment(self, value: dt.datetime | None) -> int | None:
        """A time of the head in Unix ms."""
        return None if value is None else milliseconds(value)


class Batch(Head, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The envelope of contract §1; its commands are read one by one, so that each stands or falls alone."""

    id: Id
    commands: Annotated[list[msgspec.Raw], Meta(min_length=1, max_length=MOST_COMMANDS)]

    def __post_init__(self) -> None:
        super().__post_init__()
        if not _plain(self.id):
            raise ValueError("id must be printable characters without space at the ends")


class Chunk(Head, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One part of a snapshot. ``epoch`` and ``seq``: the last batch whose effect it includes."""

    sync: Id
    part: Part
    parts: Part
    commands: Annotated[list[msgspec.Raw], Meta(max_length=MOST_COMMANDS)]
    shards: Annotated[list[Shard], Meta(min_length=1, max_length=SHARDS)] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if not _plain(self.sync):
            raise ValueError("sync must be printable characters without space at the ends")
        if self.part > self.parts:
            raise ValueError(f"part {self.part} of {self.parts}: parts are numbered from 1")


class Bare(Struct, frozen=True):
    """A single command without a batch around it."""

    raw: bytes


class _Probe(Struct):
    """Which of the three a payload means to be."""

    op: msgspec.Raw = _NOTHING
    commands: msgspec.Raw = _NOTHING
    sync: msgspec.Raw = _NOTHING
    id: msgspec.Raw = _NOTHING


_read_batch = msgspec.json.Decoder(Batch).decode
_read_chunk = msgspec.json.Decoder(Chunk).decode
_read_probe = msgspec.json.Decoder(_Probe).decode


def _plain(text: str) -> bool:
    return text.isprintable() and text == text.strip()


def read_payload(payload: bytes, limit: int) -> Batch | Chunk | Bare:
    """What a payload holds. ``limit``: bytes. Raises Rejected ``malformed``."""
    if len(payload) > limit:
        detail = f"payload of {len(payload)} bytes is over the limit of {limit}; send smaller batches"
        raise Rejected("malformed", detail)
    try:
        return _read_batch(payload)
    except msgspec.ValidationError as e:
        return _read_other(payload, e)
    except UNREADABLE as e:
        what = "nested too deeply" if isinstance(e, RecursionError) else str(e)[:120]
        fault = Rejected("malformed", f"payload is not UTF-8 JSON: {what}")
    if cleaned := _without_unreadable(payload):
        return read_payload(cleaned, limit)
    raise fault


def _without_unreadable(payload: bytes) -> bytes | None:
    """The payload with commands that strict JSON cannot hold (half a character, infinity) replaced by a text.

    They fall alone then; None where that is not what ails it.
    """
    try:
        document = json.loads(payload.decode())  # of bytes it would take UTF-16 as well
        if not isinstance(document, dict) or not isinstance(document.get("commands"), list):
            return None
        document["commands"] = [_readable(c) for c in document["commands"]]
        cleaned = msgspec.json.encode(document)
        msgspec.json.decode(cleaned)
    except (ValueError, *UNREADABLE):  # what UNREADABLE names is in part no ValueError
        return None
    return cleaned


def _readable(command: object) -> object:
    try:
        msgspec.json.decode(json.dumps(command))
    except UNREADABLE as e:
        return f"{UNREADABLE_COMMAND}: {e}"
    return command


def _read_other(payload: bytes, fault: msgspec.ValidationError) -> Batch | Chunk | Bare:
    """What is no batch, or a batch with this fault."""
    try:
        payload.decode()
        probe = _read_probe(payload)
    except UNREADABLE:
        raise Rejected("malformed", "payload is not an object with a batch or a command") from None
    if probe.op is not _NOTHING and probe.commands is _NOTHING:
        return Bare(payload)
    if probe.sync is _NOTHING:
        raise Rejected("malformed", f"batch: {explain(fault)}", _word(probe.id))
    try:
        return _read_chunk(payload)
    except msgspec.ValidationError as e:
        raise Rejected("malformed", f"chunk: {explain(e)}", _word(probe.sync)) from None


def _word(raw: msgspec.Raw) -> str | None:
    """The id of what cannot be read otherwise, so that its sender recognises the answer."""
    try:
        name = msgspec.json.decode(raw) if raw is not _NOTHING else None
    except UNREADABLE:
        return None
    return name if isinstance(name, str) and 0 < len(name) <= MOST_ID and name.isprintable() else None
