"""What is known of all subscribers together: counts by level, running promises, digests of the desired state."""

from __future__ import annotations

import json
import sqlite3
import struct
from dataclasses import dataclass, replace

from edged.domain.digest import MODULUS, SHARDS, words
from edged.store.rows import Write

_SUMS = struct.Struct(f">{SHARDS}Q")


@dataclass(frozen=True, slots=True)
class Totals:
    """``levels``: subscribers by level in force. ``shards`` and ``rest``: sums as in domain/digest.py."""

    levels: tuple[int, ...] = (0,) * 5
    promises: int = 0
    shards: tuple[int, ...] = (0,) * SHARDS
    rest: int = 0

    def plus(self, w: Write) -> Totals:
        """The totals after a commit; ``self`` where it changes none."""
        if not any(w.levels) and not w.promises and not w.shards and not w.rest:
            return self
        shards = list(self.shards)
        for i, delta in w.shards.items():
            shards[i] = (shards[i] + delta) % MODULUS
        levels = tuple(a + b for a, b in zip(self.levels, w.levels, strict=True))
        return replace(
            self,
            levels=levels,
            promises=self.promises + w.promises,
            shards=tuple(shards),
            rest=(self.rest + w.rest) % MODULUS,
        )

    @property
    def hash(self) -> str:
        """The digest of the whole desired state."""
        return words(sum(self.shards) + self.rest)

    def digests(self) -> list[str]:
        """The digest of each shard."""
        return [words(s) for s in self.shards]


def read(db: sqlite3.Connection) -> Totals:
    """The totals as committed."""
    row = db.execute("SELECT levels, promises, shards, rest FROM total").fetchone()
    if row is None:
        return Totals()
    levels, promises, shards, rest = row
    return Totals(tuple(json.loads(levels)), promises, _SUMS.unpack(shards), int.from_bytes(rest))


def write(db: sqlite3.Connection, t: Totals) -> None:
    """Put them, inside a transaction that the caller opened."""
    db.execute(
        "INSERT OR REPLACE INTO total VALUES (1,?,?,?,?)",
        (json.dumps(t.levels), t.promises, _SUMS.pack(*t.shards), t.rest.to_bytes(8)),
    )
