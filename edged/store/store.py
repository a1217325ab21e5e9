"""What is desired, durable: SQLite in WAL mode with synchronous=FULL, one writer, group commit.

A commit takes everything a group of commands changed. Nothing here grows in memory with the number of subscribers:
rows are read in chunks by key order, timers come from an index.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from edged.domain.entry import Entry
from edged.domain.model import Fact, Subscriber
from edged.errors import StoreError
from edged.plan import Owned, Run
from edged.store import refill, writer
from edged.store.rows import Known, Write, marks, parts
from edged.store.schema import MIGRATIONS

T = TypeVar("T")
MOST_EVENTS = 100_000
"""Events kept for a broker that is away; beyond, the oldest go."""

_decoder = msgspec.json.Decoder(Subscriber)


class Store:
    """The database in ``directory``/edged.db. Use from one thread."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "edged.db"
        self._db: sqlite3.Connection | None = None
        self._next_id = 1
        self.levels: list[int] = [0] * 5
        """Subscribers by level in force, kept up to date with each commit."""
        self.promises = 0
        """Running promises."""

    # -- life ------------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Open, migrate and count. Raises StoreError with the remedy."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640))  # SQLite's other files follow it
            db = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False, timeout=5)
            self._db = db
            for pragma in (
                "journal_mode=WAL",
                "synchronous=FULL",
                "cache_size=-32768",
                "wal_autocheckpoint=4000",
                "secure_delete=ON",
            ):
                db.execute(f"PRAGMA {pragma}")
            self._migrate(db)
            self.levels = [0] * 5
            for level, n in db.execute("SELECT level, count(*) FROM subscriber WHERE level > 0 GROUP BY level"):
                self.levels[level] = n
            (total,) = db.execute("SELECT count(*) FROM subscriber").fetchone()
            self.levels[0] = total - sum(self.levels)
            (self.promises,) = db.execute("SELECT count(*) FROM subscriber WHERE due > 0 AND promised").fetchone()
            (self._next_id,) = db.execute("SELECT coalesce(max(id), 0) + 1 FROM subscriber").fetchone()
        except (sqlite3.Error, OSError) as e:
            self.close()
            raise StoreError(f"database {self.path}: {e}; check state_dir, its owner and free space") from e

    @staticmethod
    def _migrate(db: sqlite3.Connection) -> None:
        (version,) = db.execute("PRAGMA user_version").fetchone()
        if version > len(MIGRATIONS):
            raise sqlite3.DatabaseError(
                f"schema version {version} is newer than {len(MIGRATIONS)}, all that this edged knows; upgrade"
            )
        for number, steps in enumerate(MIGRATIONS[version:], version + 1):
            db.execute("BEGIN IMMEDIATE")
            try:
                for step in steps:
                    db.execute(step)
                db.execute(f"PRAGMA user_version = {number}")
                db.execute("COMMIT")
            except sqlite3.Error:
                db.execute("ROLLBACK")
                raise

    def close(self) -> None:
        """Close; safe to call twice."""
        if self._db is not None:
            self._db.close()
            self._db = None

    @property
    def db(self) -> sqlite3.Connection:
        """The open connection."""
        if self._db is None:
            raise StoreError(f"database {self.path} is not open")
        return self._db

    def _read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        try:
            return work(self.db)
        except sqlite3.Error as e:
            raise StoreError(f"reading {self.path}: {e}") from e

    # -- subscribers -----------------------------------------------------------------------------------------

    def load(self, subs: Iterable[str]) -> dict[str, Known]:
        """Subscribers by name, with their addresses; unknown names are left out."""
        return self._read(lambda db: self._known(db, "sub", list(subs)))

    def load_ids(self, ids: Iterable[int]) -> dict[str, Known]:
        """The same by number."""
        return self._read(lambda db: self._known(db, "id", list(ids)))

    @staticmethod
    def _known(db: sqlite3.Connection, column: str, values: Sequence[str | int]) -> dict[str, Known]:
        by_id: dict[int, Known] = {}
        for part in parts(values):
            for number, record in db.execute(
                f"SELECT id, record FROM subscriber WHERE {column} IN ({marks(part)})", part
            ):
                by_id[number] = Known(number, _decoder.decode(record))
        for ids in parts(list(by_id)):
            rows = db.execute(
                f"SELECT owner, key, level, rate, lift, until, notified FROM address WHERE owner IN ({marks(ids)})", ids
            )
            for owner, key, *entry in rows:
                by_id[owner].addresses[key] = Entry(*entry)
        return {k.sub.sub: k for k in by_id.values()}

    def owners(self, keys: Iterable[bytes]) -> dict[bytes, int]:
        """Subscriber numbers by address; unbound keys are left out."""

        def work(db: sqlite3.Connection) -> dict[bytes, int]:
            out: dict[bytes, int] = {}
            for part in parts(list(keys)):
                out.update(db.execute(f"SELECT key, owner FROM address WHERE key IN ({marks(part)})", part))
            return out

        return self._read(work)

    def between(self, first: bytes, last: bytes) -> list[bytes]:
        """The bound addresses from one key to another, both included."""
        query = "SELECT key FROM address WHERE key BETWEEN ? AND ?"
        return self._read(lambda db: [k for (k,) in db.execute(query, (first, last))])

    def facts(self, ids: Iterable[int]) -> dict[int, dict[str, Fact]]:
        """What is remembered of invoices, by subscriber number."""

        def work(db: sqlite3.Connection) -> dict[int, dict[str, Fact]]:
            out: dict[int, dict[str, Fact]] = {}
            for part in parts(list(ids)):
                rows = db.execute(f"SELECT owner, id, settled, spent FROM invoice WHERE owner IN ({marks(part)})", part)
                for owner, invoice, settled, spent in rows:
                    out.setdefault(owner, {})[invoice] = Fact(bool(settled), spent)
            return out

        return self._read(work)

    def new_id(self) -> int:
        """A fresh subscriber number (used or not, it is not given again while the daemon runs)."""
        self._next_id += 1
        return self._next_id - 1

    def due(self, now: int, limit: int = 5000) -> list[int]:
        """Numbers of subscribers with something due by ``now`` (Unix ms), earliest first."""
        query = "SELECT id FROM subscriber WHERE due > 0 AND due <= ? ORDER BY due LIMIT ?"
        return self._read(lambda db: [i for (i,) in db.execute(query, (now, limit))])

    def next_due(self) -> int:
        """The earliest due moment (Unix ms), 0 for none."""
        query = "SELECT due FROM subscriber WHERE due > 0 ORDER BY due LIMIT 1"
        return self._read(lambda db: int((db.execute(query).fetchone() or (0,))[0]))

    def listing(
        self, level: int | None, reason: str | None, after: int, limit: int = 1000
    ) -> tuple[int, list[Subscriber]]:
        """Restricted, waiting or promised subscribers with numbers above ``after``: (last number read, those wanted).

        The number comes back as ``after`` when there are no more.
        """
        where, values = ("level = ?", (level,)) if level is not None else ("(level > 0 OR due > 0)", ())
        query = f"SELECT id, record FROM subscriber WHERE {where} AND id > ? ORDER BY id LIMIT ?"
        rows = self._read(lambda db: db.execute(query, (*values, after, limit)).fetchall())
        found = [_decoder.decode(r) for _, r in rows]
        return (rows[-1][0] if rows else after), [s for s in found if reason is None or reason in s.reasons]

    # -- batches, events, gardens ----------------------------------------------------------------------------

    def answers(self, ids: Iterable[str]) -> dict[str, dict[str, Any]]:
        """Stored answers by batch id."""

        def work(db: sqlite3.Connection) -> dict[str, dict[str, Any]]:
            out: dict[str, dict[str, Any]] = {}
            for part in parts(list(ids)):
                for i, a in db.execute(f"SELECT id, answer FROM batch WHERE id IN ({marks(part)})", part):
                    out[i] = json.loads(a)
            return out

        return self._read(work)

    def events(self, limit: int = 500) -> list[tuple[int, str]]:
        """Events not yet published: (number, JSON), oldest first."""
        return self._read(
            lambda db: db.execute("SELECT id, event FROM outbox ORDER BY id LIMIT ?", (limit,)).fetchall()
        )

    def gardens(self) -> dict[str, dict[str, Any]]:
        """The garden lists set by commands."""
        return self._read(lambda db: {n: json.loads(v) for n, v in db.execute("SELECT name, list FROM garden")})

    def note(self, name: str) -> str:
        """A remembered word (last batch, sequence, ...), empty when never set."""
        query = "SELECT value FROM note WHERE name = ?"
        return self._read(lambda db: str((db.execute(query, (name,)).fetchone() or ("",))[0]))

    # -- writing ---------------------------------------------------------------------------------------------

    def commit(self, write: Write, now: int, notes: Mapping[str, str] = {}) -> None:
        """Write everything and fsync, or raise StoreError with nothing written."""
        self._commit(lambda db: self._write(db, write, now, notes))
        if write.forgotten:
            # Really forgotten: not even in the log of earlier pages.
            self._read(lambda db: db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall())

    def forget_events(self, up_to: int) -> None:
        """Remove published events up to this number."""
        self._commit(lambda db: db.execute("DELETE FROM outbox WHERE id <= ?", (up_to,)))

    def purge(self, before: int) -> None:
        """Drop batch ids older than ``before`` (Unix ms) and events beyond the limit."""

        def work(db: sqlite3.Connection) -> None:
            db.execute("DELETE FROM batch WHERE at < ?", (before,))
            db.execute("DELETE FROM outbox WHERE id <= (SELECT max(id) FROM outbox) - ?", (MOST_EVENTS,))

        self._commit(work)

    def heartbeat(self, now: int) -> None:
        """A commit that proves the disk still takes one."""
        self._commit(lambda db: db.execute("INSERT OR REPLACE INTO note VALUES ('heartbeat', ?)", (str(now),)))

    def _commit(self, work: Callable[[sqlite3.Connection], object]) -> None:
        db = self.db
        levels, promises = list(self.levels), self.promises
        try:
            db.execute("BEGIN IMMEDIATE")
            work(db)
            db.execute("COMMIT")
        except Exception as e:
            self.levels, self.promises = levels, promises
            if db.in_transaction:
                db.execute("ROLLBACK")
            if not isinstance(e, sqlite3.Error):
                raise  # a value that SQLite cannot hold: trying again would not help
            raise StoreError(f"writing {self.path}: {e}; nothing was changed, it will be tried again") from e

    def _write(self, db: sqlite3.Connection, w: Write, now: int, notes: Mapping[str, str]) -> None:
        self._count(db, w)
        writer.write(db, w, now, notes)

    def _count(self, db: sqlite3.Connection, w: Write) -> None:
        """Keep the counts by level: what the touched rows were goes out, what they become comes in."""
        for part in parts([*w.subscribers, *w.forgotten]):
            for level, promised in db.execute(
                f"SELECT level, promised FROM subscriber WHERE id IN ({marks(part)})", part
            ):
                self.levels[level] -= 1
                self.promises -= promised
        for sub, _ in w.subscribers.values():
            self.levels[sub.level] += 1
            self.promises += sub.promise is not None

    # -- source of a refill and of read-back (see refill.py) ---------------------------------------------------

    def counts(self) -> dict[tuple[str, int], int]:
        """(role, tag) -> set elements there will be."""
        return self._read(refill.counts)

    def restricted(self, after: bytes, limit: int) -> Run | None:
        """The next restricted addresses above key ``after``, about ``limit``; None when there are no more."""
        return self._read(lambda db: refill.restricted(db, after, limit))

    def special(self, after: bytes, limit: int) -> Sequence[tuple[bytes, Owned]]:
        """Addresses that need more than the restricted set, above ``after``, ascending."""
        return self._read(lambda db: refill.special(db, after, limit))

    def sample(self, n: int) -> list[bytes]:
        """Up to ``n`` keys of restricted addresses from all over the key space."""
        return self._read(lambda db: refill.sample(db, n))
