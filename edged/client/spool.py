"""The outbox's file, and what of it is about snapshots: their parts, and the wishes for one."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from edged.client.schema import FROM_1, MOVE_1, SCHEMA, VERSION, Snapshot
from edged.errors import ConfigError, EdgedError

KEEP_MS = 30 * 86_400_000


class Spool:
    """``path`` None: in memory, for what need not survive. Raises ``ConfigError`` if it is in use or no outbox."""

    def __init__(self, path: Path | None, now: int) -> None:
        self._where = path or "memory"
        try:
            self._db = sqlite3.connect(path or ":memory:", isolation_level=None, timeout=1)
            self._db.execute("PRAGMA locking_mode = EXCLUSIVE")
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")
            with self._transaction():
                self._prepare(now)
        except sqlite3.Error as e:
            hint = "another sender uses it; give each its own" if "locked" in str(e) else "it must be a writable file"
            raise ConfigError(f"outbox {self._where}: {e}: {hint}") from None

    def _prepare(self, now: int) -> None:
        version = self._db.execute("PRAGMA user_version").fetchone()[0]
        if version > VERSION or version < 0:
            raise ConfigError(f"outbox {self._where}: made by a newer edged (version {version})")
        if version != VERSION:
            self._run(FROM_1 if version == 1 else "")
            self._run(SCHEMA)
            self._run(MOVE_1 if version == 1 else "")
            self._db.execute(f"PRAGMA user_version = {VERSION}")
        self._db.execute("DELETE FROM batch WHERE done > 0 AND done < ?", (now - KEEP_MS,))
        # Parts of a snapshot that was still being written when the process ended.
        self._db.execute("DELETE FROM part WHERE gateway NOT IN (SELECT gateway FROM snapshot)")

    def _run(self, script: str) -> None:
        """Its statements, within the transaction that is open."""
        for statement in script.split(";")[:-1]:
            self._db.execute(statement)

    def close(self) -> None:
        """Give the file free."""
        self._db.close()

    def begin_snapshot(self, gateway: str) -> None:
        """Drop what is left of an earlier one."""
        with self._transaction(sync="NORMAL"):
            self._db.execute("DELETE FROM snapshot WHERE gateway = ?", (gateway,))
            self._db.execute("DELETE FROM part WHERE gateway = ?", (gateway,))

    def add_part(self, gateway: str, part: int, commands: bytes) -> None:
        """Keep a part; it counts when :meth:`end_snapshot` was called."""
        with self._transaction(sync="NORMAL"):
            self._db.execute("INSERT INTO part VALUES (?, ?, ?)", (gateway, part, commands))

    def end_snapshot(self, snapshot: Snapshot) -> None:
        """All parts are there: from here on it survives a crash."""
        with self._transaction():
            gateway, sync, parts, epoch, seq, shards = snapshot
            self._db.execute(
                "INSERT INTO snapshot VALUES (?, ?, ?, ?, ?, ?)", (gateway, sync, parts, epoch, seq, json.dumps(shards))
            )

    def snapshots(self) -> list[Snapshot]:
        """Those that were not answered yet."""
        rows = self._db.execute("SELECT gateway, sync, parts, epoch, seq, shards FROM snapshot").fetchall()
        return [Snapshot(gw, sync, parts, epoch, seq, _shards(text)) for gw, sync, parts, epoch, seq, text in rows]

    def part(self, gateway: str, part: int) -> bytes:
        """The commands of a part; empty when there is none."""
        found = self._db.execute("SELECT commands FROM part WHERE gateway = ? AND part = ?", (gateway, part)).fetchone()
        return bytes(found[0]) if found else b""

    def finish_snapshot(self, snapshot: Snapshot, topic: str, *, accepted: bool) -> None:
        """It was answered; accepted, it covers every batch of ``topic`` up to its number."""
        with self._transaction():
            if accepted:
                self._db.execute(
                    "UPDATE stream SET covered = max(covered, ?) WHERE topic = ? AND epoch = ?",
                    (snapshot.seq, topic, snapshot.epoch),
                )
            self._db.execute("DELETE FROM snapshot WHERE gateway = ? AND sync = ?", (snapshot.gateway, snapshot.sync))
            self._db.execute("DELETE FROM part WHERE gateway NOT IN (SELECT gateway FROM snapshot)")

    def want(self, gateways: Iterable[str]) -> None:
        """These gateways asked for a snapshot; remembered until :meth:`grant`."""
        with self._transaction():
            more = "INSERT INTO wanted (gateway) VALUES (?) ON CONFLICT (gateway) DO UPDATE SET times = times + 1"
            self._db.executemany(more, [(g,) for g in gateways])

    def wanted(self) -> dict[str, int]:
        """Who waits for one, and how often it was asked for."""
        return dict(self._db.execute("SELECT gateway, times FROM wanted ORDER BY gateway").fetchall())

    def grant(self, gateway: str, times: int) -> None:
        """A snapshot read after so many wishes is kept or sent; one that came later is still open."""
        with self._transaction():
            self._db.execute("DELETE FROM wanted WHERE gateway = ? AND times = ?", (gateway, times))

    @contextmanager
    def _transaction(self, sync: str = "FULL") -> Iterator[None]:
        try:
            self._db.execute(f"PRAGMA synchronous = {sync}")
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise
        except sqlite3.Error as e:
            raise EdgedError(f"outbox {self._where}: {e}: nothing was taken; is the disk full?") from None


def _shards(text: str) -> tuple[int, ...] | None:
    found = json.loads(text)
    return None if found is None else tuple(found)
