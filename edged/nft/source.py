"""Where a refill reads from, how far it has come, and who is told the same."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from edged import plan
from edged.nft.garden import Opening
from edged.plan import Change, Copy, Element, Owned, Run


class Source(Protocol):
    """Where a refill reads the desired state from (the store)."""

    def counts(self) -> Mapping[tuple[str, int], int]:
        """(role, tag) -> elements there will be, about."""

    def restricted(self, after: bytes, limit: int) -> Run | None:
        """The next restricted addresses above key ``after``, about ``limit`` of them; None when there are no more."""

    def special(self, after: bytes, limit: int) -> Sequence[tuple[bytes, Owned]]:
        """The same for addresses that need more than the restricted set, with their entries."""


class Follower(Protocol):
    """Whoever keeps a copy of what the sets say, to answer packets faster (the maps of the XDP program).

    It is told of a change once the kernel has acknowledged it, and of a refill while it goes on. It never raises: a
    copy that cannot be kept true is for the follower to put out of use; what it is copied from must not wait for it.
    """

    def tell(self, whole: Mapping[bytes, Owned | None], now: int) -> None:
        """Of these addresses this holds from now (Unix ms) on; None: nothing."""

    def open_gardens(self, openings: Mapping[str, Iterable[Opening]]) -> None:
        """The gardens hold exactly these openings."""

    def begin(self, counts: Mapping[tuple[str, int], int]) -> None:
        """A refill begins, with (role, tag) -> about so many elements. One that was under way is over."""

    def fill(self, run: Run) -> None:
        """The refill has come to these restricted addresses."""

    def fill_special(self, rows: Sequence[tuple[bytes, Owned]], now: int) -> None:
        """The refill has come to these addresses that need more than the restricted set."""

    def switch(self) -> None:
        """What the refill brought is in force."""

    def abandon(self) -> None:
        """The refill failed; another one will begin."""

    def truth(self, key: bytes) -> Copy | None:
        """What is held for an address. This one raises EdgedError when it cannot be said."""


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
