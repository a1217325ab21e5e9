"""What the portal may know of whoever opens a page: what is in force and until when, and nothing that names anybody.

Nothing here is a name, an invoice or an amount: all of it may be shown on plain HTTP to whoever has the address. Times
are Unix milliseconds, 0 where there is none. :mod:`edged.domain.visitor` makes one.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Standing:
    """``level`` 0..4 in force, the strongest ``reason`` (or empty), until when a promise keeps it so (0: none does)."""

    level: int
    reason: str
    until_ms: int
    since_ms: int = 0
    """Since when this level is in force."""
    deadline_ms: int = 0
    """Of the strongest reason: until when documents are wanted, when a pause ends."""
    next_ms: int = 0
    """When it gets stricter than this and than a reminder, for debt, by all that is known now."""
    eta_ms: int = 0
    """When the end of the outage is expected; it may be extended."""
    broken: bool = False
    """A promise ran out unpaid, and the debt still stands."""
    can_trust: bool = False
    """A promise asked for now would be given, by all the edge knows."""
    asked: bool = False
    """A promise was asked for and nobody has answered yet."""
    outage: bool = False
    """There is a fault in the area."""
    pays: bool = False
    """Payment data waits for whoever proves to be the subscriber."""
    next_level: int = 0
    """The level at ``next_ms``: 2..4."""


NOBODY = Standing(0, "", 0)
