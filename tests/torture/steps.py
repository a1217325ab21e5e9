"""What is sent, one step after the other, and the names that occur in it."""

from __future__ import annotations

from typing import Any, NamedTuple

WITNESS, HAND, GHOST = "100.127.0.1", "hand", "ghost-"
MARK, MARKS = "mark-", 40
"""Subscribers named after batches; so few that a snapshot can name everybody. They come round again."""
SUBSCRIBERS = tuple(f"C-{n}" for n in range(7))
ADDRESSES = (*(f"100.64.0.{n}" for n in range(10, 16)), "2001:db8:0:100::/56", "2001:db8:0:242::/64")
GHOST_ADDRESSES = ("100.64.7.1", "100.64.7.2")
DEBTS = ("notice", "debt_partial", "debt")

Command = dict[str, Any]


class Sent(NamedTuple):
    """A batch as it was sent; a repeated one is the same value again.

    ``number`` counts batches from 0, and is -1 for one that must be refused because its ``seq`` is old.
    """

    number: int
    name: str
    commands: tuple[Command, ...]
    payload: bytes = b""
    issuer: str = "erp"
    source: str = "gw/gw1/cmd"
    epoch: str = ""
    seq: int = 0
    """0: not numbered."""


class Chunk(NamedTuple):
    """A part of a snapshot."""

    sync: str
    part: int
    parts: int
    commands: tuple[Command, ...]
    payload: bytes
    source: str


class Tick(NamedTuple):
    """The clock goes to ``now`` (Unix ms) and all that is due is carried out, before anything later is delivered."""

    now: int


class Settle(NamedTuple):
    """A snapshot that is complete is in force and answered before anything later is delivered."""

    sync: str


Message = Sent | Chunk
Pause = Tick | Settle
Step = Message | Pause


def mark(number: int) -> str:
    """The subscriber a batch leaves the witness with."""
    return f"{MARK}{number % MARKS if number >= 0 else 'late'}"


def number_of(name: str, expected: int) -> int:
    """The batch that left it with this mark: of those possible the one nearest to ``expected``; -1 for a late one."""
    word = name.removeprefix(MARK)
    if not word.isdigit():
        return -1
    return expected + (int(word) - expected + MARKS // 2) % MARKS - MARKS // 2
