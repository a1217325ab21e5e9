"""What the store takes and gives, as values."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec

from edged.domain.audit import Decision
from edged.domain.entry import OPEN, WALLED, Entry
from edged.domain.model import Fact, Subscriber
from edged.plan import V4_TAG, Owned

_IN = 500
"""Values in one SQL list; SQLite allows more, but its statement cache likes few different lengths."""
_V4_BYTES, _V6_BYTES = 5, 17

_read_entry = msgspec.json.Decoder(Entry).decode
_read_facts = msgspec.json.Decoder(dict[str, Fact]).decode
_write_json = msgspec.json.Encoder().encode


class Mark(NamedTuple):
    """The numbered batch that changed a subscriber last: ``numbering`` (0: none) and its number in it."""

    numbering: int = 0
    seq: int = 0


UNMARKED = Mark()


class Stored(msgspec.Struct, frozen=True, gc=False):
    """A subscriber as the store has it."""

    sub: Subscriber
    keys: tuple[bytes, ...]
    entry: Entry


class Known(msgspec.Struct, gc=False):
    """A subscriber at work: its number, state, addresses, and the kernel entry of each of them.

    The values are never changed in place, so ``stored``, how all of it stands in the store, costs nothing.
    """

    id: int
    sub: Subscriber
    keys: tuple[bytes, ...] = ()
    entry: Entry = OPEN
    stored: Stored | None = None
    history: str | None = None
    """What is remembered of its invoices, as stored (see :func:`read_facts`)."""
    mark: Mark = UNMARKED
    """The numbered batch that changes it; unmarked: as the store has it."""
    touched: bool = False
    gone: bool = False


class Row(msgspec.Struct, frozen=True, gc=False):
    """A subscriber to write. ``due``: next moment in Unix ms, 0 for never."""

    id: int
    sub: Subscriber
    due: int = 0
    keys: tuple[bytes, ...] | None = ()
    """None: they are as they were, and so is its area."""
    entry: Entry = OPEN
    mark: Mark | None = None
    """None: as it is."""


class Numbered(NamedTuple):
    """How far an issuer's numbering of its batches on one channel has come."""

    id: int
    issuer: str
    source: str
    epoch: str
    seq: int


class Event(NamedTuple):
    """Something to publish. ``topic`` empty: the events' own."""

    document: dict[str, Any]
    topic: str = ""
    correlation: bytes | None = None


class Staged(NamedTuple):
    """One snapshot under way. ``seq`` -1: it does not say which batches it includes. Times in Unix ms."""

    id: int
    issuer: str
    sync: str
    parts: int
    shards: tuple[int, ...]
    epoch: str
    seq: int
    began: int
    at: int
    ready: bool = False
    topic: str = ""
    correlation: bytes | None = None
    subscribers: int = 0
    """How many it names."""
    cursor: str = ""
    """It is carried out for all it names up to this name ..."""
    swept: int = -1
    """... and, -1 before all of those, for whom it does not name up to this number."""
    tally: str = "{}"
    """What became of it so far, JSON."""
    restricting: int = 0
    """How many it restricts who were not restricted when their chunk came."""
    held: str = ""
    """Why the brake holds it."""


class Named(NamedTuple):
    """What a snapshot says of one subscriber. ``commands``: ``[part, index, command]`` as JSON, commas between."""

    sub: str
    commands: str
    done: bool = False


class Held(NamedTuple):
    """A command that the brake keeps from being carried out. ``at``: Unix ms; ``command``: JSON."""

    id: int
    sub: str
    reason: str
    issuer: str
    at: int
    command: str


class Bill(NamedTuple):
    """A subscriber's payment data. ``fields``: what is shown; ``code``: hash of the one-time code, None: there is none;
    ``wrong``: how many others were tried; ``used``: when it first was right (Unix ms; 1: it is not known when), 0: not;
    ``expires``: Unix ms; ``invoices``: what it pays, none: nobody said.
    """

    fields: Mapping[str, str]
    salt: bytes
    code: bytes | None
    wrong: int
    used: int
    expires: int
    invoices: tuple[str, ...] = ()


class Redeemed(NamedTuple):
    """A signed link that was used. Times are Unix ms; ``used``: 0 where an older version did not note it."""

    expires: int
    used: int
    by: bytes
    """Whose line used it, hashed with the link's secret number: nobody finds out from it who that was."""


class Tried(NamedTuple):
    """A one-time code that was tried, whatever became of its payment data: its hash as in :class:`Bill`."""

    salt: bytes
    code: bytes
    wrong: int
    used: int


@dataclass(slots=True)
class Write:
    """What one commit writes."""

    fresh: list[Row] = field(default_factory=list)
    changed: list[Row] = field(default_factory=list)
    removed: list[int] = field(default_factory=list)
    """Numbers of subscribers to remove."""
    forgotten: set[str] = field(default_factory=set)
    """Names of those who must not be found anywhere any more."""
    owners: dict[bytes, int] = field(default_factory=dict)
    """Address -> who has it from now on, 0 for nobody; only what changes."""
    entries: dict[bytes, tuple[Owned | None, Owned | None]] = field(default_factory=dict)
    """Address -> kernel entry before and after, where they differ."""
    facts: dict[int, Mapping[str, Fact]] = field(default_factory=dict)
    """Subscriber number -> all that is remembered of its invoices."""
    gardens: dict[str, dict[str, Any]] = field(default_factory=dict)
    answers: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    """(issuer, batch id) -> answer."""
    events: list[Event] = field(default_factory=list)
    numberings: dict[int, Numbered] = field(default_factory=dict)
    staged: list[Staged] = field(default_factory=list)
    chunks: list[tuple[int, int]] = field(default_factory=list)
    """(snapshot, part) of the chunks that came."""
    named: list[tuple[int, Named]] = field(default_factory=list)
    """(snapshot, what it says of a subscriber): added to what it said before."""
    claimed: AbstractSet[bytes] = frozenset()
    """Addresses that commands gave or took while a snapshot waits or is carried out."""
    visited: list[tuple[int, str]] = field(default_factory=list)
    """(snapshot, subscriber) carried out before its turn."""
    unstaged: list[int] = field(default_factory=list)
    """Snapshots that are no longer under way, by number."""
    regions: dict[tuple[str, str], str | None] = field(default_factory=dict)
    """(moratorium, outage or calendar; its name) -> its value as JSON, None: gone."""
    held: dict[tuple[str, str], Held | None] = field(default_factory=dict)
    """(subscriber, reason) -> what the brake holds of it from now on."""
    pages: dict[str, Mapping[str, str]] = field(default_factory=dict)
    """Reason -> all texts of its page from now on."""
    bills: dict[int, Bill | None] = field(default_factory=dict)
    """Subscriber number -> payment data from now on, None: gone."""
    tried: dict[str, Tried] = field(default_factory=dict)
    """Subscriber's name -> the code that was just tried."""
    redeemed: dict[bytes, Redeemed] = field(default_factory=dict)
    """Signed link -> that it was used."""
    restricted: int = 0
    """New restrictions that the brake counts."""
    unbraked: bool = False
    """A human has looked: what the brake counted before counts no longer."""
    audit: list[Decision] = field(default_factory=list)
    """What was decided, in order, also what was refused."""
    levels: list[int] = field(default_factory=lambda: [0] * 5)
    """How the number of subscribers in each level changes."""
    promises: int = 0
    """How the number of running promises changes."""
    shards: dict[int, int] = field(default_factory=dict)
    """What is added to each shard's sum (domain/digest.py)."""
    rest: int = 0
    """What is added to the sum of the reasons that are no debts."""


def pack(keys: Iterable[bytes]) -> bytes:
    """Addresses as the store keeps them in a row."""
    return b"".join(keys)


def unpack(blob: bytes) -> tuple[bytes, ...]:
    """The other way round."""
    if len(blob) == _V4_BYTES and blob[0] == V4_TAG:
        return (blob,)
    out, at = [], 0
    while at < len(blob):
        end = at + (_V4_BYTES if blob[at] == V4_TAG else _V6_BYTES)
        out.append(blob[at:end])
        at = end
    return tuple(out)


def entry_text(entry: Entry) -> str | None:
    """A kernel entry as the store keeps it."""
    if entry is OPEN or not entry.level:
        return None
    return "3" if entry is WALLED or entry == WALLED else _write_json(entry).decode()


def entry_of(text: str | None) -> Entry:
    """The other way round."""
    if text is None:
        return OPEN
    return WALLED if text == "3" else _read_entry(text)


def read_facts(text: str | None) -> dict[str, Fact]:
    """What is remembered of a subscriber's invoices, from how the store keeps it."""
    return _read_facts(text) if text else {}


def facts_text(facts: Mapping[str, Fact]) -> str:
    """The other way round."""
    return _write_json(facts).decode()


def parts(values: Sequence[Any]) -> Iterator[Sequence[Any]]:
    """``values`` in pieces that fit one SQL list."""
    for at in range(0, len(values), _IN):
        yield values[at : at + _IN]


def marks(part: Sequence[Any]) -> str:
    """As many placeholders as there are values."""
    return ",".join("?" * len(part))
