"""What is desired, durable: one writer, group commit. The modules beside this one hold the statements.

A commit takes everything a group of commands changed. Nothing here grows in memory with the number of subscribers:
rows are read in chunks by key order, timers come from an index.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from edged.domain.audit import Finding, Head, Verification
from edged.domain.model import Subscriber
from edged.plan import Owned, Run
from edged.store import audit, refill, rulings, staging, subscribers, totals, writer
from edged.store.database import Database
from edged.store.rows import (
    Event,
    Known,
    Mark,
    Named,
    Numbered,
    Staged,
    Write,
)
from edged.store.totals import Totals

MOST_EVENTS = 100_000
"""Events kept for a broker that is away; beyond, the oldest go."""

_WINDOW = 20_000
"""Numbers of subscribers that one call of ``listing`` looks at."""


class Store(Database):
    """The database in ``directory``/edged.db. Use from one thread."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory / "edged.db")
        self._next_id = 1
        self.totals = Totals()
        """Counts and digests, kept up to date with each commit."""
        self._traces = True
        """Whether the log of earlier pages may still say something of somebody whose walk through the trail ended."""

    def _opened(self, db: sqlite3.Connection) -> None:
        self.totals = totals.read(db)
        (self._next_id,) = db.execute("SELECT coalesce(max(id), 0) + 1 FROM subscriber").fetchone()

    # -- subscribers -----------------------------------------------------------------------------------------

    def load(self, subs: Iterable[str]) -> dict[str, Known]:
        """Subscribers by name, with their addresses; unknown names are left out."""
        return self.read(lambda db: subscribers.known(db, "sub", list(subs)))

    def load_ids(self, ids: Iterable[int]) -> dict[str, Known]:
        """The same by number."""
        return self.read(lambda db: subscribers.known(db, "id", list(ids)))

    def marks(self, ids: Iterable[int]) -> dict[int, Mark]:
        """The last numbered batch of subscribers, by number."""
        return self.read(lambda db: subscribers.numbered(db, list(ids)))

    def owners(self, keys: Iterable[bytes]) -> dict[bytes, int]:
        """Subscriber numbers by address; unbound keys are left out."""
        return self.read(lambda db: subscribers.owners(db, list(keys)))

    def between(self, first: bytes, last: bytes) -> list[bytes]:
        """The bound addresses from one key to another, both included."""
        return self.read(lambda db: subscribers.between(db, first, last))

    def new_id(self) -> int:
        """A fresh subscriber number (used or not, it is not given again while the daemon runs)."""
        self._next_id += 1
        return self._next_id - 1

    def due(self, now: int, limit: int = 5000) -> list[int]:
        """Numbers of subscribers with something due by ``now`` (Unix ms), earliest first."""
        return self.read(lambda db: subscribers.due(db, now, limit))

    def next_due(self) -> int:
        """The earliest due moment (Unix ms), 0 for none."""
        return self.read(subscribers.next_due)

    def listing(
        self, level: int | None, reason: str | None, after: int, limit: int = 1000
    ) -> tuple[int, list[Subscriber]]:
        """Restricted, waiting or promised subscribers with numbers above ``after``: (last number read, those wanted).

        The number comes back as ``after`` when there are no more. Each call looks at a window of numbers, so that none
        takes long however few are found.
        """
        end = after + _WINDOW
        rows = self.read(lambda db: subscribers.listing(db, level, after, end, limit))
        if len(rows) == limit:
            end = rows[-1][0]
        elif end >= self._next_id:
            end = after if not rows else rows[-1][0]
        return end, [s for _, s in rows if reason is None or reason in s.reasons]

    # -- batches, events, gardens ----------------------------------------------------------------------------

    def answers(self, ids: Iterable[tuple[str, str]]) -> dict[tuple[str, str], dict[str, Any]]:
        """Stored answers by (issuer, batch id)."""
        query = "SELECT answer FROM batch WHERE issuer = ? AND id = ?"

        def work(db: sqlite3.Connection) -> dict[tuple[str, str], dict[str, Any]]:
            found = ((i, db.execute(query, i).fetchone()) for i in ids)
            return {i: json.loads(row[0]) for i, row in found if row}

        return self.read(work)

    def numberings(self) -> list[Numbered]:
        """How far each issuer's numbering has come on each channel, oldest first; the newest epoch of each."""
        query = "SELECT id, issuer, source, max(epoch), seq FROM numbering GROUP BY issuer, source ORDER BY id"
        return self.read(lambda db: [Numbered(*row) for row in db.execute(query)])

    def events(self, limit: int = 500) -> list[tuple[int, Event]]:
        """Events not yet published, with their numbers, oldest first."""
        query = "SELECT id, event, topic, correlation FROM outbox ORDER BY id LIMIT ?"
        return self.read(lambda db: [(i, Event(json.loads(e), t, c)) for i, e, t, c in db.execute(query, (limit,))])

    def snapshots(self) -> list[Staged]:
        """Snapshots under way, oldest first."""
        return self.read(staging.read)

    def chunks(self, snapshot: int) -> set[int]:
        """The parts of a snapshot that are in."""
        return self.read(lambda db: staging.present(db, snapshot))

    def named(self, snapshot: int, after: str, limit: int) -> list[Named]:
        """What a snapshot says of the next subscribers above a name, ascending."""
        return self.read(lambda db: staging.page(db, snapshot, after, limit))

    def named_of(self, snapshot: int, subs: Iterable[str]) -> dict[str, Named]:
        """What a snapshot says of these subscribers; those it does not name are left out."""
        return self.read(lambda db: staging.find(db, snapshot, list(subs)))

    def claimed_of(self, keys: Iterable[bytes]) -> set[bytes]:
        """Those of these addresses that a command gave or took since a snapshot's last chunk came."""
        return self.read(lambda db: staging.claimed(db, list(keys)))

    def claimed_between(self, first: bytes, last: bytes) -> bool:
        """Whether a command gave or took an address from one key to another, since a last chunk came."""
        return self.read(lambda db: staging.claimed_between(db, first, last))

    def unnamed(self, snapshot: int, after: int, limit: int) -> tuple[int, list[tuple[int, str]]]:
        """(last number looked at, those a snapshot does not name) of the next subscribers above a number."""
        return self.read(lambda db: staging.unnamed(db, snapshot, after, limit))

    def last_snapshot(self) -> int:
        """The highest number that a snapshot under way has, or one that is over and of which something is left."""
        query = (
            "SELECT max(coalesce((SELECT max(id) FROM snapshot), 0), coalesce((SELECT max(snapshot) FROM named), 0))"
        )
        return self.read(lambda db: int(db.execute(query).fetchone()[0]))

    def tidy(self, limit: int) -> bool:
        """Take out some of what snapshots that are over left behind; False when nothing is left."""
        found: list[bool] = []
        self._commit(lambda db: found.append(staging.tidy(db, limit)))
        return found[0]

    def gardens(self) -> dict[str, dict[str, Any]]:
        """The garden lists set by commands."""
        return self.read(lambda db: {n: json.loads(v) for n, v in db.execute("SELECT name, list FROM garden")})

    def note(self, name: str) -> str:
        """A remembered word (last batch, sequence, ...), empty when never set."""
        query = "SELECT value FROM note WHERE name = ?"
        return self.read(lambda db: str((db.execute(query, (name,)).fetchone() or ("",))[0]))

    # -- writing ---------------------------------------------------------------------------------------------

    def commit(self, write: Write, now: int, notes: Mapping[str, str] = {}, *, lasting: bool = True) -> None:
        """Write everything and fsync, or raise StoreError with nothing written.

        Not ``lasting``: without fsync. It is never lost alone, yet all such commits at the end may be, in a power cut.
        """
        after = self.totals.plus(write)

        def work(db: sqlite3.Connection) -> None:
            writer.write(db, write, now, notes)
            if after is not self.totals:
                totals.write(db, after)

        with contextlib.nullcontext() if lasting else self._lightly():
            self._commit(work)
        self.totals = after
        if write.forgotten:
            self._truncate()  # really forgotten: not even in the log of earlier pages

    def forget_events(self, up_to: int) -> None:
        """Remove published events up to this number."""
        self._commit(lambda db: db.execute("DELETE FROM outbox WHERE id <= ?", (up_to,)))

    def purge(self, before: int) -> None:
        """Drop batch ids older than ``before`` (Unix ms) and events beyond the limit."""

        def work(db: sqlite3.Connection) -> None:
            db.execute("DELETE FROM batch WHERE at < ?", (before,))
            rulings.forget_before(db, before)
            db.execute("DELETE FROM outbox WHERE id <= (SELECT max(id) FROM outbox) - ?", (MOST_EVENTS,))

        self._commit(work)

    def heartbeat(self, now: int) -> None:
        """A commit that proves the disk still takes one."""
        self._commit(lambda db: db.execute("INSERT OR REPLACE INTO note VALUES ('heartbeat', ?)", (str(now),)))

    # -- the audit trail (see audit.py) ------------------------------------------------------------------------

    def audit_ends(self) -> tuple[Head, Head]:
        """Where the trail begins, behind what was purged, and where it ends."""
        return self.read(lambda db: (audit.anchor(db), audit.head(db)))

    def audit_bounds(self, since: int = 0) -> tuple[int, int]:
        """The last row before a moment (Unix ms, 0: of all), and the last of all."""
        return self.read(lambda db: audit.bounds(db, since))

    def audit_window(self, after: int, upto: int, sub: str | None = None) -> list[dict[str, Any]]:
        """The rows above ``after`` up to ``upto``, for people and programs; only those of ``sub`` where named."""
        return self.read(lambda db: audit.window(db, after, upto, sub))

    def audit_verify(self, verification: Verification, limit: int) -> Finding | bool:
        """Go on with a verification for about ``limit`` rows: what is wrong, else whether there is more."""
        return self.read(lambda db: audit.verify(db, verification, limit))

    def audit_forget(self, limit: int) -> bool:
        """Take those who are to be forgotten out of the next ``limit`` rows; False when nothing is left to do."""
        went: list[tuple[bool, bool]] = []
        with self._lightly():  # a step that a power cut loses is done again
            self._commit(lambda db: went.append(audit.forget(db, limit)))
        more, ended = went[0]
        self._traces |= ended
        if not more and self._traces:
            # Really forgotten: not even in the log of earlier pages, perhaps of a daemon that died.
            self._truncate()
            self._traces = False
        return more

    def audit_purge(self, before: int, limit: int) -> bool:
        """Drop about ``limit`` of the decisions made before a moment (Unix ms); False when there are no more."""
        gone: list[bool] = []
        self._commit(lambda db: gone.append(audit.purge(db, before, limit)))
        return gone[0]

    # -- source of a refill and of read-back (see refill.py) ---------------------------------------------------

    def counts(self) -> dict[tuple[str, int], int]:
        """(role, tag) -> set elements there will be."""
        return self.read(refill.counts)

    def restricted(self, after: bytes, limit: int) -> Run | None:
        """The next restricted addresses above key ``after``, about ``limit``; None when there are no more."""
        return self.read(lambda db: refill.restricted(db, after, limit))

    def special(self, after: bytes, limit: int) -> Sequence[tuple[bytes, Owned]]:
        """Addresses that need more than the restricted set, above ``after``, ascending."""
        return self.read(lambda db: refill.special(db, after, limit))

    def sample(self, n: int) -> list[bytes]:
        """Up to ``n`` keys of restricted addresses from all over the key space."""
        return self.read(lambda db: refill.sample(db, n))
