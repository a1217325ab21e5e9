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
from collections.abc import Iterable, Sequence

from edged.client.beyond import beyond, lacking
from edged.client.schema import Reserved, Row
from edged.client.spool import KEEP_MS, Spool
from edged.errors import EdgedError

__all__ = ["KEEP_MS", "Outbox"]


class Outbox(Spool):
    """``path`` None: in memory, for what need not survive. Raises ``ConfigError`` if it is in use or no outbox."""

    # -- batches -----------------------------------------------------------------------------------------------

    def reserve(
        self,
        topic: str,
        batches: Sequence[tuple[str, bytes]],
        waiting: Sequence[str],
        now: int,
        epoch: str,
        digest: bytes = b"",
    ) -> Reserved:
        """Number the batches (id, commands) and keep them, durably. Those that are known stay what they were.

        ``digest`` is of all commands of the call, however they are divided into batches: what stands under an id
        with another one is another call's. Empty: the ids cannot be known. ``epoch`` is used where ``topic`` has no
        numbering yet. Raises ``EdgedError`` with nothing changed.
        """
        who = json.dumps(list(waiting))
        with self._transaction():
            if found := self._known(topic, [name for name, _ in batches], digest):
                return found
            self._db.execute("INSERT OR IGNORE INTO stream VALUES (?, ?, 0, 0)", (topic, epoch))
            (seq,) = self._db.execute("SELECT seq FROM stream WHERE topic = ?", (topic,)).fetchone()
            self._db.executemany(
                "INSERT INTO batch (topic, seq, id, waiting, commands, made, digest, beyond)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                [
                    (topic, n, name, who, commands, now, digest, beyond(commands))
                    for n, (name, commands) in enumerate(batches, seq + 1)
                ],
            )
            self._db.execute("UPDATE stream SET seq = ? WHERE topic = ?", (seq + len(batches), topic))
        return Reserved(tuple(name for name, _ in batches), {name: tuple(waiting) for name, _ in batches})

    def _known(self, topic: str, names: Sequence[str], digest: bytes) -> Reserved | None:
        """The same call of before, under whatever ids it went out. Raises ``EdgedError`` where an id is another's."""
        known: list[str] = []
        for name in names:
            for other, there in self._db.execute("SELECT topic, digest FROM batch WHERE id = ?", (name,)):
                if other != topic:
                    # Gateways know a batch by its id alone, and one of them may hear both.
                    if other.startswith("group/") or topic.startswith("group/"):
                        raise EdgedError(_taken(name, f"was sent to {_said(other)}, which {_said(topic)} may overlap"))
                elif there and there != digest:
                    raise EdgedError(_taken(name, f"was sent to {_said(topic)} with other commands"))
                else:
                    known.append(name)
        if not known:
            return None
        same = (
            "SELECT id, done, waiting FROM batch WHERE topic = ? AND"
            " (id IN (SELECT value FROM json_each(?)) OR digest = ? AND digest <> x'') ORDER BY rowid"
        )
        rows = self._db.execute(same, (topic, json.dumps(known), digest)).fetchall()
        return Reserved(tuple(n for n, _, _ in rows), {n: _names(who) for n, done, who in rows if not done})

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

    def find(self, name: str, gateway: str) -> Row | None:
        """An open batch by its id, where this gateway may have heard it."""
        found = self._db.execute(
            "SELECT b.topic, s.epoch, b.seq, b.id, b.waiting, b.commands FROM batch b JOIN stream s USING (topic)"
            " WHERE b.id = ? AND b.done = 0 AND (b.topic = ? OR b.topic LIKE 'group/%')",
            (name, f"gw/{gateway}/cmd"),
        ).fetchone()
        if found is None:
            return None
        topic, epoch, seq, _, who, commands = found
        return Row(topic, epoch, seq, name, _names(who), commands)

    def answered(self, answers: Iterable[tuple[str, str]], now: int, *, repair: bool = False) -> bool:
        """These (batch id, gateway) need no further delivery. Not durable by itself: at worst it is delivered again.

        ``repair``: a gateway that answers this outbox for the first time is put down for a snapshot, for an outbox
        before this one may have been lost with something in it. Returns whether there was one.
        """
        met = False
        with self._transaction(sync="NORMAL"):
            for name, gateway in answers:
                if self._db.execute("INSERT OR IGNORE INTO met VALUES (?)", (gateway,)).rowcount and repair:
                    self._db.execute("INSERT OR IGNORE INTO wanted (gateway) VALUES (?)", (gateway,))
                    met = True
                row = self.find(name, gateway)
                if row is None or (row.waiting and gateway not in row.waiting):
                    continue
                if left := [g for g in row.waiting if g != gateway]:
                    who = json.dumps(left)
                    self._db.execute("UPDATE batch SET waiting = ? WHERE topic = ? AND id = ?", (who, row.topic, name))
                elif row.waiting:
                    self._finish(row.topic, name, now)
        return met

    def settle(self, batches: Iterable[tuple[str, str]], now: int) -> None:
        """Of these (topic, id) nobody is waited for any more."""
        with self._transaction(sync="NORMAL"):
            for topic, name in batches:
                self._finish(topic, name, now)

    def _finish(self, topic: str, name: str, now: int) -> None:
        finish = "UPDATE batch SET done = ?, commands = x'' WHERE topic = ? AND id = ? AND done = 0"
        self._db.execute(finish, (now, topic, name))

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

    def lacking(self, gateway: str, topic: str, epoch: str, first: int, last: int) -> bytes:
        """Of the batches numbered ``first`` to ``last`` what no snapshot carries and nothing later replaces: a JSON
        array or empty. It reaches back as far as ids are remembered.
        """
        if self.position(topic)[0] != epoch:
            return b""
        rows = self._db.execute(
            "SELECT topic = ? AND seq BETWEEN ? AND ?, beyond FROM batch WHERE topic IN (?, ?) AND beyond <> x''"
            " ORDER BY rowid",
            (topic, first, last, topic, f"gw/{gateway}/cmd"),
        )
        return lacking((bool(missing), array) for missing, array in rows)

    def renumber(self, topic: str, epoch: str, theirs: str) -> None:
        """Begin a new numbering, higher than the old one and ``theirs``, and number what is open from 1, order and ids
        kept.
        """
        highest = max(self.position(topic)[0], theirs)
        epoch = epoch if epoch > highest else highest + "'"
        with self._transaction():
            names = self._db.execute(
                "SELECT id FROM batch WHERE topic = ? AND done = 0 ORDER BY seq", (topic,)
            ).fetchall()
            self._db.execute("UPDATE batch SET seq = 0 WHERE topic = ? AND done > 0", (topic,))
            # Out of the way first: the index allows no number twice, not even for a moment.
            self._db.execute("UPDATE batch SET seq = -seq WHERE topic = ? AND done = 0", (topic,))
            self._db.executemany(
                "UPDATE batch SET seq = ? WHERE topic = ? AND id = ?",
                [(n, topic, name) for n, (name,) in enumerate(names, 1)],
            )
            self._db.execute(
                "UPDATE stream SET epoch = ?, seq = ?, covered = 0 WHERE topic = ?", (epoch, len(names), topic)
            )


def _names(text: str) -> tuple[str, ...]:
    return tuple(json.loads(text))


def _said(topic: str) -> str:
    kind, name, _ = topic.split("/")
    return f"group {name}" if kind == "group" else name


def _taken(name: str, why: str) -> str:
    return f"id {name!r:.80} {why}: give each its own, or none; nothing was taken"
