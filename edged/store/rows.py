"""What the store takes and gives, as values."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from edged.domain.entry import Entry
from edged.domain.model import Fact, Subscriber
from edged.plan import Owned

_IN = 500
"""Values in one SQL list; SQLite allows more, but its statement cache likes few different lengths."""


@dataclass(slots=True)
class Known:
    """A stored subscriber: its number, its state, and the entry of each address."""

    id: int
    sub: Subscriber
    addresses: dict[bytes, Entry] = field(default_factory=dict)


@dataclass(slots=True)
class Write:
    """What one commit writes. ``subscribers``: number -> (state, next due moment in Unix ms)."""

    subscribers: dict[int, tuple[Subscriber, int]] = field(default_factory=dict)
    forgotten: set[int] = field(default_factory=set)
    addresses: dict[bytes, Owned] = field(default_factory=dict)
    unbound: set[bytes] = field(default_factory=set)
    facts: dict[tuple[int, str], Fact] = field(default_factory=dict)
    gardens: dict[str, dict[str, Any]] = field(default_factory=dict)
    answers: dict[str, dict[str, Any]] = field(default_factory=dict)
    events: list[dict[str, Any]] = field(default_factory=list)


def parts(values: Sequence[Any]) -> Iterator[Sequence[Any]]:
    """``values`` in pieces that fit one SQL list."""
    for at in range(0, len(values), _IN):
        yield values[at : at + _IN]


def marks(part: Sequence[Any]) -> str:
    """As many placeholders as there are values."""
    return ",".join("?" * len(part))
