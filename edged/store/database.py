"""The file of the database: opened, brought to today's layout, read, and written to, each commit with its fsync."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from edged.errors import StoreError
from edged.store.schema import MIGRATIONS

T = TypeVar("T")


class Database:
    """SQLite in WAL mode with synchronous=FULL, at ``path``. Use from one thread. All of it raises StoreError."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._db: sqlite3.Connection | None = None

    def open(self) -> None:
        """Open and migrate. The StoreError says the remedy."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640))  # SQLite's other files follow it
            db = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False, timeout=5)
            self._db = db
            for pragma in (
                "page_size=2048",  # subscribers in random order: each row is a page to log, so a small one
                "journal_mode=WAL",
                "synchronous=FULL",
                "cache_size=-32768",
                "wal_autocheckpoint=8000",
                "secure_delete=ON",
            ):
                db.execute(f"PRAGMA {pragma}")
            _migrate(db)
            self._opened(db)
        except (sqlite3.Error, OSError) as e:
            self.close()
            raise StoreError(f"database {self.path}: {e}; check state_dir, its owner and free space") from e

    def _opened(self, db: sqlite3.Connection) -> None:
        """Read what is to be known from the start."""

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

    def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """What ``work`` reads."""
        try:
            return work(self.db)
        except sqlite3.Error as e:
            raise StoreError(f"reading {self.path}: {e}") from e

    def _commit(self, work: Callable[[sqlite3.Connection], object]) -> None:
        """All that ``work`` writes, or nothing of it."""
        db = self.db
        try:
            db.execute("BEGIN IMMEDIATE")
            work(db)
            db.execute("COMMIT")
        except Exception as e:
            if db.in_transaction:
                db.execute("ROLLBACK")
            if not isinstance(e, sqlite3.Error):
                raise  # a value that SQLite cannot hold: trying again would not help
            raise StoreError(f"writing {self.path}: {e}; nothing was changed, it will be tried again") from e

    @contextlib.contextmanager
    def _lightly(self) -> Iterator[None]:
        """Commits without fsync in here."""
        self.read(lambda db: db.execute("PRAGMA synchronous=NORMAL"))
        try:
            yield
        finally:
            self.read(lambda db: db.execute("PRAGMA synchronous=FULL"))

    def _truncate(self) -> None:
        """Leave nothing in the log of earlier pages."""
        self.read(lambda db: db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall())


def _migrate(db: sqlite3.Connection) -> None:
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if version in (1, 2):
        raise sqlite3.DatabaseError("it is of a version before the first release; remove it and send a snapshot")
    if version > len(MIGRATIONS):
        raise sqlite3.DatabaseError(
            f"schema version {version} is newer than {len(MIGRATIONS)}, all that this edged knows; upgrade"
        )
    if version == len(MIGRATIONS):
        return
    db.execute("BEGIN IMMEDIATE")  # all or nothing: a first start that is killed leaves no version in between
    try:
        for step in (step for steps in MIGRATIONS[version:] for step in steps):
            db.execute(step)
        db.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
        db.execute("COMMIT")
    except sqlite3.Error:
        db.execute("ROLLBACK")
        raise
