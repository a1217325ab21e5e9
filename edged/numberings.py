"""How far each issuer's numbering of its batches has come, for a group of batches that may still be rolled back."""

from __future__ import annotations

from collections.abc import Iterable

from edged.domain.order import Gap, judge
from edged.store.rows import Mark, Numbered


class Numberings:
    """What the store says is the start; ``begin`` opens a group, ``keep`` closes it once it is committed."""

    def __init__(self, found: Iterable[Numbered]) -> None:
        self._kept: dict[tuple[str, str], Numbered] = {(n.issuer, n.source): n for n in found}
        self._group: dict[tuple[str, str], Numbered] = {}
        self._highest = max((n.id for n in self._kept.values()), default=0)
        self.moved: dict[int, Numbered] = {}
        """What the group changed, by number, for its commit."""
        self.latest: Numbered | None = max(self._kept.values(), default=None)
        """The one that moved last."""

    def begin(self) -> None:
        """Forget what a group that was not committed did."""
        self._group, self.moved = {}, {}

    def take(self, issuer: str, source: str, epoch: str, seq: int) -> tuple[Gap | None, Mark]:
        """Take a batch's number: the gap before it, and the mark of whom it changes. Raises Rejected ``stale``."""
        had = self._last(issuer, source)
        gap = judge((had.epoch, had.seq) if had else None, epoch, seq)
        return gap, self._take(had, issuer, source, epoch, seq)

    def _last(self, issuer: str, source: str) -> Numbered | None:
        return self._group.get((issuer, source)) or self._kept.get((issuer, source))

    def _take(self, had: Numbered | None, issuer: str, source: str, epoch: str, seq: int) -> Mark:
        if had is not None and had.epoch == epoch:
            number = had.id
        else:
            self._highest += 1
            number = self._highest
        self._group[issuer, source] = self.moved[number] = Numbered(number, issuer, source, epoch, seq)
        return Mark(number, seq)

    def advance(self, issuer: str, source: str, epoch: str, seq: int) -> None:
        """Everything up to this number is in force by other means; a numbering that is further stays."""
        had = self._last(issuer, source)
        if had is None or (had.epoch, had.seq) < (epoch, seq):
            self._take(had, issuer, source, epoch, seq)

    def keep(self) -> None:
        """The group is committed."""
        self._kept.update(self._group)
        if self._group:
            self.latest = next(reversed(self._group.values()))
        self.begin()

    def all(self) -> list[Numbered]:
        """The present numbering of each issuer and channel."""
        return list(self._kept.values())

    def newer(self, mark: Mark, issuer: str, source: str, epoch: str, seq: int) -> bool:
        """Whether the batch ``mark`` stands for came after batch ``seq`` of ``epoch`` of the same numbering."""
        had = self._kept.get((issuer, source))
        return had is not None and mark.numbering == had.id and (had.epoch, mark.seq) > (epoch, seq)
