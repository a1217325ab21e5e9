"""The five levels of service, weakest restriction first (domain.md §1)."""

from __future__ import annotations

from enum import IntEnum


class Level(IntEnum):
    """How far a subscriber is restricted. Order is meaning: the highest active reason wins."""

    OPEN = 0
    NOTICE = 1
    REDUCED = 2
    WALLED = 3
    BLOCKED = 4

    @property
    def word(self) -> str:
        """The name on the wire: lower case."""
        return self.name.lower()
