"""One commit's rows into the database."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from typing import Any

import msgspec

from edged.store import audit, payments, refill, rulings, staging
from edged.store.rows import UNMARKED, Row, Write, entry_text, facts_text, pack

_encode = msgspec.json.Encoder().encode


def write(db: sqlite3.Connection, w: Write, now: int, notes: Mapping[str, str]) -> None:
    """Everything of one commit but the totals, inside a transaction that the caller opened."""
    db.executemany("DELETE FROM subscriber WHERE id = ?", ((i,) for i in w.removed))
    db.executemany("DELETE FROM invoice WHERE owner = ?", ((i,) for i in w.removed))
    db.executemany("DELETE FROM payment WHERE owner = ?", ((i,) for i in w.removed))
    for name in w.forgotten:
        _forget(db, name)
    db.executemany("INSERT INTO subscriber VALUES (?,?,?,?,?,?,?,?,?,?)", (_whole(r) for r in w.fresh))
    # Three statements for one thing: this is what every change pays, and a column that stays costs as much as one that
    # changes.
    db.executemany(
        "UPDATE subscriber SET level=?, due=?, entry=?, record=? WHERE id=?",
        ((*_state(r), r.id) for r in w.changed if r.mark is None),
    )
    db.executemany(
        "UPDATE subscriber SET level=?, due=?, entry=?, record=?, numbering=?, seq=? WHERE id=?",
        ((*_state(r), *r.mark, r.id) for r in w.changed if r.mark is not None),
    )
    moved = ((pack(r.keys), r.sub.area, r.id) for r in w.changed if r.keys is not None)
    db.executemany("UPDATE subscriber SET keys=?, area=? WHERE id=?", moved)
    if w.owners:
        db.executemany("DELETE FROM address WHERE key = ?", ((k,) for k, owner in w.owners.items() if not owner))
        db.executemany("INSERT OR REPLACE INTO address VALUES (?,?)", ((k, o) for k, o in w.owners.items() if o))
    if w.entries:
        refill.write(db, w.entries)
    db.executemany(
        "INSERT OR REPLACE INTO invoice VALUES (?,?)", ((owner, facts_text(f)) for owner, f in w.facts.items())
    )
    db.executemany("INSERT OR REPLACE INTO garden VALUES (?,?)", ((n, json.dumps(v)) for n, v in w.gardens.items()))
    db.executemany(
        "INSERT OR REPLACE INTO batch VALUES (?,?,?,?)",
        ((issuer, i, now, _encode(a).decode()) for (issuer, i), a in w.answers.items()),
    )
    if w.pages or w.bills or w.redeemed or w.tried:
        payments.write(db, w, now)
    if w.regions or w.held or w.restricted or w.unbraked:
        rulings.write(db, w, now)
    db.executemany("INSERT OR REPLACE INTO numbering VALUES (?,?,?,?,?)", w.numberings.values())
    if w.staged or w.unstaged or w.visited or w.claimed:
        staging.write(db, w)
    db.executemany(
        "INSERT INTO outbox(event, topic, correlation) VALUES (?,?,?)",
        ((json.dumps(e.document), e.topic, e.correlation) for e in w.events),
    )
    if w.audit or w.forgotten:
        audit.write(db, w.audit, w.forgotten, now)
    db.executemany("INSERT OR REPLACE INTO note VALUES (?,?)", notes.items())


def _state(r: Row) -> tuple[int, int, str | None, str]:
    return r.sub.level, r.due, entry_text(r.entry), _encode(r.sub).decode()


def _whole(r: Row) -> tuple[Any, ...]:
    level, due, entry, record = _state(r)
    return (r.id, r.sub.sub, level, due, entry, pack(r.keys or ()), *(r.mark or UNMARKED), r.sub.area, record)


def _forget(db: sqlite3.Connection, name: str) -> None:
    """Take a subscriber out of kept answers and unpublished events. Rare, so a walk over both is fine."""
    text = json.dumps(name)
    staging.forget(db, name)
    db.execute("DELETE FROM tried WHERE sub = ?", (name,))
    db.execute("DELETE FROM outbox WHERE instr(event, ?) > 0", (text,))
    told = _encode(name).decode()
    query = "SELECT issuer, id, answer FROM batch WHERE instr(answer, ?) > 0"
    for issuer, batch, answer in db.execute(query, (told,)).fetchall():
        kept = json.loads(answer)
        kept["results"] = [r for r in kept["results"] if r.get("sub") != name]
        db.execute("UPDATE batch SET answer = ? WHERE issuer = ? AND id = ?", (_encode(kept).decode(), issuer, batch))
