"""Snapshots under way: their chunks wait here until the last one is in, and until they are carried out."""

from __future__ import annotations

import json
import sqlite3

from edged.store.rows import Chunk, Staged, marks, parts


def read(db: sqlite3.Connection) -> list[Staged]:
    """All snapshots under way, oldest first."""
    rows = db.execute("SELECT * FROM snapshot ORDER BY id")
    return [
        Staged(number, issuer, sync, parts, tuple(json.loads(shards)), *rest)
        for number, issuer, sync, parts, shards, *rest in rows
    ]


def present(db: sqlite3.Connection, snapshot: int) -> dict[int, int]:
    """The parts that are in -> how many subscribers each names."""
    return dict(db.execute("SELECT part, subscribers FROM chunk WHERE snapshot = ?", (snapshot,)))


def commands(db: sqlite3.Connection, snapshot: int, part: int) -> bytes:
    """The commands of one part, as a JSON list."""
    (body,) = db.execute("SELECT commands FROM chunk WHERE snapshot = ? AND part = ?", (snapshot, part)).fetchone()
    return bytes(body)


def touched(db: sqlite3.Connection) -> list[int]:
    """Subscribers that a command has changed since the last chunk came."""
    return [i for (i,) in db.execute("SELECT subscriber FROM touched")]


def write(db: sqlite3.Connection, put: list[Staged], chunks: list[Chunk], dropped: list[int]) -> None:
    """Put snapshots and chunks, drop others, inside a transaction that the caller opened."""
    for part in parts(dropped):
        db.execute(f"DELETE FROM chunk WHERE snapshot IN ({marks(part)})", part)
        db.execute(f"DELETE FROM snapshot WHERE id IN ({marks(part)})", part)
    db.executemany(
        "INSERT OR REPLACE INTO snapshot VALUES (?,?,?,?,?,?,?,?,?,?,?,?)",
        ((*s[:4], json.dumps(s.shards), *s[5:]) for s in put),
    )
    db.executemany(
        "INSERT OR IGNORE INTO chunk VALUES (?,?,?,?)",
        ((c.snapshot, c.part, c.subscribers, c.commands) for c in chunks),
    )
    if dropped:  # only now: one commit may drop an unfinished snapshot and complete the next
        db.execute("DELETE FROM touched WHERE NOT EXISTS (SELECT 1 FROM snapshot WHERE ready)")
