"""What the sender promised to deliver and has not been answered yet: one SQLite file.

SQLite rather than a JSON file, because the number and the batch it numbers must become durable in one step, because
a backlog of a million commands must not be rewritten for each answer, and because nothing has to be installed for it.

* :meth:`Outbox.reserve` is on disk (WAL, ``synchronous=FULL``) before anything is published: after a crash the same
  commands go out again under the same id and the same number, and no number is ever given to two batches.
* An answer need not be: a batch whose answer was forgotten is sent once more and answered as a duplicate.
* Ids are remembered for 30 days, as long as a gateway remembers them.

The file belongs to one process at a time. All methods are for one thread.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from edged.client.schema import SCHEMA, VERSION, Row, Snapshot
from edged.errors import ConfigError, EdgedError

KEEP_MS = 30 * 86_400_000


class Outbox:
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
        if version not in {0, VERSION}:
            raise ConfigError(f"outbox {self._where}: made by a newer edged (version {version})")
        if version == 0:
            for statement in SCHEMA.split(";")[:-1]:
                self._db.execute(statement)
            self._db.execute(f"PRAGMA user_version = {VERSION}")
        self._db.execute("DELETE FROM batch WHERE done > 0 AND done < ?", (now - KEEP_MS,))
        # Parts of a snapshot that was still being written when the process ended.
        self._db.execute("DELETE FROM part WHERE gateway NOT IN (SELECT gateway FROM snapshot)")

    def close(self) -> None:
        """Give the file free."""
        self._db.close()

    # -- batches -----------------------------------------------------------------------------------------------

    def reserve(
        self, topic: str, batches: Sequence[tuple[str, bytes]], waiting: Sequence[str], now: int, epoch: str
    ) -> set[str]:
        """Number the batches (id, commands) and keep them, durably. An id that is known stays what it was.

        ``epoch`` is used where ``topic`` has no numbering yet. Returns the ids that were answered long ago. Raises
        ``EdgedError`` with nothing changed.
        """
        answered: set[str] = set()
        who = json.dumps(list(waiting))
        with self._transaction():
            self._db.execute("INSERT OR IGNORE INTO stream VALUES (?, ?, 0, 0)", (topic, epoch))
            (seq,) = self._db.execute("SELECT seq FROM stream WHERE topic = ?", (topic,)).fetchone()
            for name, commands in batches:
                row = (topic, seq + 1, name, who, commands, now)
                done = self._db.execute(
                    "INSERT OR IGNORE INTO batch (topic, seq, id, waiting, commands, made) VALUES (?, ?, ?, ?, ?, ?)",
                    row,
                )
                seq += done.rowcount
                if not done.rowcount and self.find(name) is None:
                    answered.add(name)
            self._db.execute("UPDATE stream SET seq = ? WHERE topic = ?", (seq, topic))
        return answered

    def open_topics(self) -> list[str]:
        """Where something waits for an answer."""
        return [t for (t,) in self._db.execute("SELECT DISTINCT topic FROM batch WHERE done = 0")]

    def pending(self, topic: str, after: int, window: int, most: int) -> list[Row]:
        """What to publish next: ``most`` of the open batches above number ``after``, within the oldest ``window``."""
        (last,) = self._db.execute(
            "SELECT max(seq) FROM (SELECT seq FROM batch WHERE topic = ? AND done = 0 ORDER BY seq LIMIT ?)",
            (topic, window),
        ).fetchone()
        epoch, _ = self.position(topic)
        found = self._db.execute(
            "SELECT seq, id, waiting, commands FROM batch WHERE topic = ? AND done = 0 AND seq > ? AND seq <= ?"
            " ORDER BY seq LIMIT ?",
            (topic, after, last or 0, most),
        )
        return [Row(topic, epoch, seq, name, _names(who), commands) for seq, name, who, commands in found]

    def waiting(self, topic: str, upto: int) -> bool:
        """Whether a batch up to this number is open."""
        query = "SELECT 1 FROM batch WHERE topic = ? AND done = 0 AND seq <= ? LIMIT 1"
        return self._db.execute(query, (topic, upto)).fetchone() is not None

    def find(self, name: str) -> Row | None:
        """An open batch by its id."""
        found = self._db.execute(
            "SELECT b.topic, s.epoch, b.seq, b.id, b.waiting, b.commands FROM batch b JOIN stream s USING (topic)"
            " WHERE b.id = ? AND b.done = 0",
            (name,),
        ).fetchone()
        if found is None:
            return None
        topic, epoch, seq, _, who, commands = found
        return Row(topic, epoch, seq, name, _names(who), commands)

    def answered(self, answers: Iterable[tuple[str, str]], now: int) -> None:
        """These (batch id, gateway) need no further delivery. Not durable by itself: at worst it is delivered again."""
        with self._transaction(sync="NORMAL"):
            for name, gateway in answers:
                row = self.find(name)
                if row is None or (row.waiting and gateway not in row.waiting):
                    continue
                if left := [g for g in row.waiting if g != gateway]:
                    self._db.execute("UPDATE batch SET waiting = ? WHERE id = ?", (json.dumps(left), name))
                elif row.waiting:
                    self._finish(name, now)

    def settle(self, names: Iterable[str], now: int) -> None:
        """Nobody is waited for any more."""
        with self._transaction(sync="NORMAL"):
            for name in names:
                self._finish(name, now)

    def _finish(self, name: str, now: int) -> None:
        self._db.execute("UPDATE batch SET done = ?, commands = x'' WHERE id = ? AND done = 0", (now, name))

    # -- numbering ---------------------------------------------------------------------------------------------

    def position(self, topic: str) -> tuple[str, int]:
        """Epoch and last number given; empty where nothing was sent yet."""
        return self._db.execute("SELECT epoch, seq FROM stream WHERE topic = ?", (topic,)).fetchone() or ("", 0)

    def overtaken(self, row: Row) -> str:
        """Why it is too late for the batch: a ``snapshot`` covers it, or a ``later`` one was answered. Else empty."""
        (covered,) = self._db.execute("SELECT covered FROM stream WHERE topic = ?", (row.topic,)).fetchone()
        later = "SELECT 1 FROM batch WHERE topic = ? AND seq > ? AND done > 0 LIMIT 1"
        if row.seq <= covered:
            return "snapshot"
        return "later" if self._db.execute(later, (row.topic, row.seq)).fetchone() else ""

    def covers(self, topic: str, epoch: str, seq: int) -> bool:
        """Whether a snapshot that was accepted includes this number."""
        found = self._db.execute("SELECT covered FROM stream WHERE topic = ? AND epoch = ?", (topic, epoch)).fetchone()
        return found is not None and seq <= found[0]

    def renumber(self, topic: str, epoch: str) -> None:
        """Begin a new numbering, higher than the old one, and number what is open from 1, order and ids kept."""
        old, _ = self.position(topic)
        epoch = epoch if epoch > old else old + "'"
        with self._transaction():
            names = self._db.execute(
                "SELECT id FROM batch WHERE topic = ? AND done = 0 ORDER BY seq", (topic,)
            ).fetchall()
            self._db.execute("UPDATE batch SET seq = 0 WHERE topic = ? AND done > 0", (topic,))
            # Out of the way first: the index allows no number twice, not even for a moment.
            self._db.execute("UPDATE batch SET seq = -seq WHERE topic = ? AND done = 0", (topic,))
            self._db.executemany(
                "UPDATE batch SET seq = ? WHERE id = ?", [(n, name) for n, (name,) in enumerate(names, 1)]
            )
            self._db.execute(
                "UPDATE stream SET epoch = ?, seq = ?, covered = 0 WHERE topic = ?", (epoch, len(names), topic)
            )

    # -- snapshots ---------------------------------------------------------------------------------------------

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


def _names(text: str) -> tuple[str, ...]:
    return tuple(json.loads(text))


def _shards(text: str) -> tuple[int, ...] | None:
    found = json.loads(text)
    return None if found is None else tuple(found)
