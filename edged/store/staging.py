"""Snapshots under way: what they say of each subscriber waits here until the last chunk is in, and until its turn."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence

from edged.store.rows import Named, Staged, Write, marks, parts


def read(db: sqlite3.Connection) -> list[Staged]:
    """All snapshots under way, oldest first."""
    rows = db.execute("SELECT * FROM snapshot ORDER BY id")
    return [
        Staged(number, issuer, sync, n, tuple(json.loads(shards)), *rest)
        for number, issuer, sync, n, shards, *rest in rows
    ]


def present(db: sqlite3.Connection, snapshot: int) -> set[int]:
    """The parts that are in."""
    return {part for (part,) in db.execute("SELECT part FROM chunk WHERE snapshot = ?", (snapshot,))}


def page(db: sqlite3.Connection, snapshot: int, after: str, limit: int) -> list[Named]:
    """What a snapshot says of the next subscribers, by name."""
    query = "SELECT sub, commands, done FROM named WHERE snapshot = ? AND sub > ? ORDER BY sub LIMIT ?"
    return [Named(sub, text, bool(done)) for sub, text, done in db.execute(query, (snapshot, after, limit))]


def find(db: sqlite3.Connection, snapshot: int, subs: Sequence[str]) -> dict[str, Named]:
    """What a snapshot says of these subscribers; those it does not name are left out."""
    out: dict[str, Named] = {}
    for part in parts(subs):
        query = f"SELECT sub, commands, done FROM named WHERE snapshot = ? AND sub IN ({marks(part)})"
        out.update((sub, Named(sub, text, bool(done))) for sub, text, done in db.execute(query, (snapshot, *part)))
    return out


def claimed(db: sqlite3.Connection, keys: Sequence[bytes]) -> set[bytes]:
    """Those of these addresses that a command gave or took since a last chunk came."""
    out: set[bytes] = set()
    for part in parts(keys):
        out.update(k for (k,) in db.execute(f"SELECT key FROM claimed WHERE key IN ({marks(part)})", part))
    return out


def claimed_between(db: sqlite3.Connection, first: bytes, last: bytes) -> bool:
    """Whether a command gave or took an address from one key to another, since a last chunk came."""
    return db.execute("SELECT 1 FROM claimed WHERE key BETWEEN ? AND ? LIMIT 1", (first, last)).fetchone() is not None


def unnamed(db: sqlite3.Connection, snapshot: int, after: int, limit: int) -> tuple[int, list[tuple[int, str]]]:
    """(last number looked at, those of them that a snapshot does not name): subscribers with numbers above ``after``.

    The number comes back as ``after`` when there are no more.
    """
    query = """SELECT s.id, s.sub, n.sub IS NULL FROM subscriber s
               LEFT JOIN named n ON n.snapshot = ? AND n.sub = s.sub WHERE s.id > ? ORDER BY s.id LIMIT ?"""
    rows = db.execute(query, (snapshot, after, limit)).fetchall()
    return (rows[-1][0] if rows else after), [(number, sub) for number, sub, left in rows if left]


def write(db: sqlite3.Connection, w: Write) -> None:
    """What a commit says of snapshots, inside a transaction that the caller opened."""
    for part in parts(w.unstaged):
        db.execute(f"DELETE FROM chunk WHERE snapshot IN ({marks(part)})", part)
        db.execute(f"DELETE FROM snapshot WHERE id IN ({marks(part)})", part)
    db.executemany(
        f"INSERT OR REPLACE INTO snapshot VALUES ({marks(Staged._fields)})",
        ((*s[:4], json.dumps(s.shards), *s[5:]) for s in w.staged),
    )
    db.executemany("INSERT OR IGNORE INTO chunk VALUES (?,?)", w.chunks)
    db.executemany(
        "INSERT INTO named VALUES (?,?,?,0) ON CONFLICT DO UPDATE SET commands = commands || ',' || excluded.commands",
        ((snapshot, n.sub, n.commands) for snapshot, n in w.named),
    )
    db.executemany("INSERT OR IGNORE INTO claimed VALUES (?)", ((k,) for k in w.claimed))
    if w.unstaged:
        db.execute("DELETE FROM claimed WHERE NOT EXISTS (SELECT 1 FROM snapshot WHERE ready)")
    db.executemany("INSERT INTO named VALUES (?,?,'',1) ON CONFLICT DO UPDATE SET done = 1", w.visited)


def forget(db: sqlite3.Connection, name: str) -> None:
    """Take out what complete snapshots say of somebody; of one that still comes only the name stays, until it ends."""
    query = "DELETE FROM named WHERE sub = ? AND snapshot IN (SELECT id FROM snapshot WHERE ready)"
    db.execute(query, (name,))
    db.execute("UPDATE named SET commands = '' WHERE sub = ?", (name,))


def tidy(db: sqlite3.Connection, limit: int) -> bool:
    """Take out some of what snapshots left behind that are over; False when there is nothing more."""
    query = """SELECT snapshot, sub FROM named WHERE snapshot NOT IN (SELECT id FROM snapshot)
               ORDER BY snapshot, sub LIMIT ?"""
    rows = db.execute(query, (limit,)).fetchall()
    db.executemany("DELETE FROM named WHERE snapshot = ? AND sub = ?", rows)
    return bool(rows)
