"""Where a refill reads from, and how far it has come."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from edged import plan
from edged.plan import Change, Element, Owned, Run


class Source(Protocol):
    """Where a refill reads the desired state from (the store)."""

    def counts(self) -> Mapping[tuple[str, int], int]:
        """(role, tag) -> elements there will be, about."""

    def restricted(self, after: bytes, limit: int) -> Run | None:
        """The next restricted addresses above key ``after``, about ``limit`` of them; None when there are no more."""

    def special(self, after: bytes, limit: int) -> Sequence[tuple[bytes, Owned]]:
        """The same for addresses that need more than the restricted set, with their entries."""


@dataclass(slots=True)
class Cursor:
    """How far a refill has come: the last key of each walk, and whether the walk is over."""

    restricted: bytes = b""
    special: bytes = b""
    restricted_done: bool = False
    special_done: bool = False

    def passed(self, element: Element) -> bool:
        """Whether the refill has already read this element's key."""
        if element.role == plan.RESTRICTED:
            return self.restricted_done or element.key <= self.restricted
        return self.special_done or element.key <= self.special

    def part(self, change: Change) -> Change:
        """What of a change belongs into the generation being filled; the walk will read the rest from the store."""
        return Change(
            [e for e in change.remove if self.passed(e)],
            [e for e in change.add if self.passed(e)],
            change.limits_add,
            # A limit the refill may still be going to name stays; the next refill drops what nobody uses.
            change.limits_remove if self.special_done else set(),
        )
