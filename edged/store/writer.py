"""One commit's rows into the database."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping

import msgspec

from edged.store import refill
from edged.store.rows import Write, marks, parts

_encode = msgspec.json.Encoder().encode


def write(db: sqlite3.Connection, w: Write, now: int, notes: Mapping[str, str]) -> None:
    """Everything of one commit, inside a transaction that the caller opened."""
    for number in w.forgotten:
        _scrub(db, number)
    for part in parts(list(w.forgotten)):
        for table, column in (("subscriber", "id"), ("address", "owner"), ("invoice", "owner")):
            db.execute(f"DELETE FROM {table} WHERE {column} IN ({marks(part)})", part)
    db.executemany(
        "INSERT INTO subscriber(id, sub, level, due, promised, record) VALUES (?,?,?,?,?,?) ON CONFLICT(id) DO UPDATE"
        " SET level = excluded.level, due = excluded.due, promised = excluded.promised, record = excluded.record",
        ((i, s.sub, s.level, due, s.promise is not None, _encode(s).decode()) for i, (s, due) in w.subscribers.items()),
    )
    db.executemany("DELETE FROM address WHERE key = ?", ((k,) for k in w.unbound))
    db.executemany(
        "INSERT OR REPLACE INTO address VALUES (?,?,?,?,?,?,?)", ((k, o, *e) for k, (o, e) in w.addresses.items())
    )
    refill.write_bitmaps(db, dict.fromkeys(w.unbound, False) | {k: o.entry.level > 0 for k, o in w.addresses.items()})
    db.executemany(
        "INSERT OR REPLACE INTO invoice VALUES (?,?,?,?)",
        ((owner, i, f.settled, f.spent) for (owner, i), f in w.facts.items()),
    )
    db.executemany("INSERT OR REPLACE INTO garden VALUES (?,?)", ((n, json.dumps(v)) for n, v in w.gardens.items()))
    db.executemany(
        "INSERT OR REPLACE INTO batch VALUES (?,?,?)", ((i, now, json.dumps(a)) for i, a in w.answers.items())
    )
    db.executemany("INSERT INTO outbox(event) VALUES (?)", ((json.dumps(e),) for e in w.events))
    db.executemany("INSERT OR REPLACE INTO note VALUES (?,?)", notes.items())


def _scrub(db: sqlite3.Connection, number: int) -> None:
    """Take a subscriber out of kept answers and unpublished events. Rare, so a walk over both is fine."""
    row = db.execute("SELECT sub FROM subscriber WHERE id = ?", (number,)).fetchone()
    if row is None:
        return
    name = json.dumps(row[0])
    db.execute("DELETE FROM outbox WHERE instr(event, ?) > 0", (name,))
    for batch, answer in db.execute("SELECT id, answer FROM batch WHERE instr(answer, ?) > 0", (name,)).fetchall():
        kept = json.loads(answer)
        kept["results"] = [r for r in kept["results"] if r.get("sub") != row[0]]
        db.execute("UPDATE batch SET answer = ? WHERE id = ?", (json.dumps(kept), batch))
