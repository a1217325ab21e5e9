"""Batches and chunks of a snapshot as the sender writes them, and the answers as it reads them. Pure."""

from __future__ import annotations

import asyncio
import hashlib
import math
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from edged.domain.model import rfc3339
from edged.errors import EdgedError

Command = Mapping[str, Any]
Commands = Iterable[Command] | AsyncIterable[Command]

MOST_BYTES = 1 << 20
"""Of the commands of one message; a gateway reads 4 MiB by default, and base64 makes them a third longer."""
CURABLE = frozenset({"unsigned", "bad_signature", "wrong_audience", "expired", "from_the_future"})
"""Refusals that an operator can put right (a key, a clock, a name): the same message is tried again later."""
REFUSALS = CURABLE | {"malformed", "stale", "not_authorized", "brake"}
"""Codes with which a gateway refuses a message as a whole."""
SLICE = 500
"""Commands read from a table in one go."""
_encode = msgspec.json.Encoder().encode


class Group(NamedTuple):
    """Every gateway of a group as a destination; ``gateways``: who is expected to answer, as far as it is known."""

    name: str
    gateways: Sequence[str] = ()


class Answer(NamedTuple):
    """What one gateway said to one batch or snapshot; ``document`` is the whole of it (docs/protocol.md)."""

    gateway: str
    id: str
    document: dict[str, Any]

    @property
    def rejected(self) -> list[dict[str, Any]]:
        """The results that were rejected, each with ``i``, ``sub``, ``code`` and ``detail``."""
        return [r for r in _objects(self.document.get("results")) if r.get("status") == "rejected"]

    @property
    def held(self) -> list[dict[str, Any]]:
        """The results that the gateway's brake keeps until a human looked, each with ``i``, ``sub`` and ``detail``."""
        return [r for r in _objects(self.document.get("results")) if r.get("status") == "held"]

    @property
    def ok(self) -> bool:
        """Whether nothing was rejected. What is put off or held is on disk there, and need not be sent again."""
        summary = self.document.get("summary")
        counted = summary.get("rejected") if isinstance(summary, dict) else 0
        return not counted and not self.rejected and not self.refusal

    @property
    def refusal(self) -> str | None:
        """The code with which the message was refused as a whole, else None."""
        if isinstance(error := self.document.get("error"), dict) and error.get("code") in REFUSALS:
            return str(error["code"])
        results, summary = _objects(self.document.get("results")), self.document.get("summary")
        if len(results) != 1 or (
            isinstance(summary, dict) and sum(n for n in summary.values() if isinstance(n, int)) > 1
        ):
            return None
        (only,) = results
        # A command of a snapshot says in which part it stands; a message that is refused has no parts.
        whole = only.get("sub") is None and "part" not in only and only.get("code") in REFUSALS
        return str(only["code"]) if whole else None

    @property
    def record(self) -> Any:
        """What a ``query`` or ``digest`` was answered with."""
        return next((r["record"] for r in _objects(self.document.get("results")) if "record" in r), None)


class Head(NamedTuple):
    """What a message says about itself beside its commands."""

    issuer: str | None = None
    audience: tuple[str, ...] = ()
    ts: int = 0
    """Unix ms; 0: neither ``ts`` nor ``expires``."""
    expires: int = 0
    epoch: str = ""
    """Empty: not numbered."""
    seq: int = 0

    def fields(self) -> dict[str, Any]:
        """As they stand in the document."""
        out: dict[str, Any] = {"v": 1}
        if self.issuer is not None:
            out["issuer"] = self.issuer
        if self.audience:
            out["aud"] = list(self.audience)
        if self.ts:
            out |= {"ts": rfc3339(self.ts), "expires": rfc3339(self.expires)}
        if self.epoch:
            out |= {"epoch": self.epoch, "seq": self.seq}
        return out


def batch(head: Head, name: str, commands: bytes) -> bytes:
    """The document of a batch; ``commands`` is a JSON array."""
    return _encode(head.fields() | {"id": name, "commands": msgspec.Raw(commands)})


def completed(head: Head, document: Mapping[str, Any]) -> bytes:
    """A batch of the caller's with what it lacks."""
    try:
        return _written(head.fields() | dict(document))
    except (TypeError, ValueError) as e:
        raise EdgedError(f"a batch cannot be written as JSON: {e}") from None


def chunk(head: Head, sync: str, part: int, parts: int, commands: bytes, shards: Sequence[int] | None) -> bytes:
    """The document of one part of a snapshot, from 1."""
    which = {} if shards is None else {"shards": list(shards)}
    numbers = {"sync": sync, "part": part, "parts": parts}
    return _encode(head.fields() | numbers | which | {"commands": msgspec.Raw(commands)})


class Packer:
    """Gathers commands into JSON arrays of at most ``most`` commands and ``most_bytes`` bytes, in order."""

    def __init__(self, most: int, most_bytes: int = MOST_BYTES) -> None:
        self._most, self._most_bytes = most, most_bytes
        self._held: list[bytes] = []
        self._bytes = 0

    def add(self, command: Command) -> bytes | None:
        """The array that became full by this command, which is then in the next one. Raises ``EdgedError``."""
        try:
            text = _written(dict(command))
        except (TypeError, ValueError) as e:
            raise EdgedError(f"a command cannot be written as JSON: {e}") from None
        if not isinstance(command.get("op"), str):
            raise EdgedError('a command is an object with an "op", such as {"op": "paid", "sub": "C-1"}')
        if len(text) > self._most_bytes:
            raise EdgedError(f"a command of {len(text)} bytes is more than a message may hold ({self._most_bytes})")
        full = len(self._held) >= self._most or self._bytes + len(text) > self._most_bytes
        out = self.rest() if full else None
        self._held.append(text)
        self._bytes += len(text) + 1
        return out

    def rest(self) -> bytes | None:
        """What is not given out yet."""
        out = b"[" + b",".join(self._held) + b"]" if self._held else None
        self._held, self._bytes = [], 0
        return out


def _written(document: dict[str, Any]) -> bytes:
    text = _encode(document)
    if b"null" in text and _unwritable(document):  # msgspec writes null, which may mean something else altogether
        raise ValueError("NaN and infinity are no numbers of JSON")
    return text


def _unwritable(value: Any) -> bool:
    if isinstance(value, float):
        return not math.isfinite(value)
    inside = value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ()
    return any(_unwritable(v) for v in inside)


def pack(commands: Iterable[Command], most: int) -> list[bytes]:
    """Arrays of at most ``most`` commands, in order. Raises ``EdgedError`` for what is no command."""
    packer = Packer(most)
    arrays = [packer.add(command) for command in commands]
    return [array for array in (*arrays, packer.rest()) if array is not None]


def digest_of(arrays: Iterable[bytes]) -> bytes:
    """Of these commands, however they are divided into arrays and in whatever order their members were written."""
    out = hashlib.sha256()
    for array in arrays:
        for command in msgspec.json.decode(array):
            out.update(msgspec.json.encode(command, order="sorted") + b"\n")
    return out.digest()


async def each(commands: Commands) -> AsyncIterator[Command]:
    """Over what can be iterated, with or without ``async``; a long table lets others have their turn."""
    if isinstance(commands, AsyncIterable):
        async for command in commands:
            yield command
        return
    for n, command in enumerate(commands, 1):
        yield command
        if n % SLICE == 0:
            await asyncio.sleep(0)


def read(payload: bytes) -> dict[str, Any] | None:
    """A JSON object, or None for anything else: whoever may publish may publish anything."""
    try:
        found = msgspec.json.decode(payload)
    except (msgspec.DecodeError, RecursionError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _objects(value: Any) -> list[dict[str, Any]]:
    return [v for v in value if isinstance(v, dict)] if isinstance(value, list) else []
