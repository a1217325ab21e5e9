"""What commands add to pages: texts by reason, payment data by subscriber, and which proofs of identity were used."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from edged.domain.model import Fact, Subscriber
from edged.domain.payment import LONGEST_MS
from edged.store.rows import Bill, Redeemed, Tried, Write, marks, read_facts
from edged.store.subscribers import decode

MOST_TRIED = 20
"""Tried codes that are remembered of a subscriber; one more pushes out the oldest."""
REMEMBERED_MS = 31 * 86_400_000
"""How long a used link is remembered behind its end: a clock may go ahead and come back, and the link with it."""

_VISITOR = (
    "SELECT a.key, s.id, s.record, i.facts, p.expires FROM address a JOIN subscriber s ON s.id = a.owner"
    " LEFT JOIN invoice i ON i.owner = s.id LEFT JOIN payment p ON p.owner = s.id WHERE a.key IN"
)


def texts(db: sqlite3.Connection) -> dict[str, Mapping[str, str]]:
    """Reason -> the texts of its page."""
    return {reason: json.loads(fields) for reason, fields in db.execute("SELECT reason, fields FROM page")}


def any_bill(db: sqlite3.Connection) -> bool:
    """Whether there is payment data of anybody."""
    return bool(db.execute("SELECT EXISTS (SELECT 1 FROM payment)").fetchone()[0])


def bill(db: sqlite3.Connection, owner: int) -> Bill | None:
    """A subscriber's payment data, expired or not."""
    row = db.execute(
        "SELECT fields, salt, code, wrong, used, expires, invoices FROM payment WHERE owner = ?", (owner,)
    ).fetchone()
    if row is None:
        return None
    fields, salt, code, wrong, used, expires, invoices = row
    return Bill(json.loads(fields), salt, code, wrong, used, expires, tuple(json.loads(invoices)))


def tried(db: sqlite3.Connection, sub: str, now: int) -> list[Tried]:
    """The codes of a subscriber that somebody tried, or tried to guess, and that still count."""
    query = "SELECT salt, code, wrong, used FROM tried WHERE sub = ? AND until > ?"
    return [Tried(salt, code, wrong, used) for salt, code, wrong, used in db.execute(query, (sub, now))]


class Visitor(NamedTuple):
    """Whoever has an address: number, state, facts of the invoices, when payment data expires (0: there is none)."""

    owner: int
    sub: Subscriber
    facts: dict[str, Fact]
    expires: int


def visitors(db: sqlite3.Connection, keys: Sequence[bytes]) -> dict[bytes, Visitor]:
    """Who has these addresses. One query, because every look at a page asks it; some dozens of keys at a time."""
    rows = db.execute(f"{_VISITOR} ({marks(keys)})", keys)
    return {
        key: Visitor(owner, decode(record), read_facts(facts), expires or 0)
        for key, owner, record, facts, expires in rows
    }


def overdue(db: sqlite3.Connection, now: int, limit: int) -> list[int]:
    """Subscribers whose payment data is too old by ``now`` (Unix ms)."""
    query = "SELECT owner FROM payment WHERE expires <= ? LIMIT ?"
    return [owner for (owner,) in db.execute(query, (now, limit))]


def redeemed(db: sqlite3.Connection, token: bytes) -> Redeemed | None:
    """How a signed link was used; None where it was not."""
    row = db.execute("SELECT expires, used, by FROM redeemed WHERE token = ?", (token,)).fetchone()
    return None if row is None else Redeemed(*row)


def write(db: sqlite3.Connection, w: Write, now: int) -> None:
    """What a commit says of them, inside a transaction that the caller opened."""
    db.executemany("DELETE FROM page WHERE reason = ?", ((r,) for r, fields in w.pages.items() if not fields))
    found = ((r, json.dumps(fields)) for r, fields in w.pages.items() if fields)
    db.executemany("INSERT OR REPLACE INTO page VALUES (?,?)", found)
    db.executemany("DELETE FROM payment WHERE owner = ?", ((o,) for o, b in w.bills.items() if b is None))
    rows = ((o, json.dumps(b.fields), *b[1:-1], json.dumps(b.invoices)) for o, b in w.bills.items() if b is not None)
    db.executemany("INSERT OR REPLACE INTO payment VALUES (?,?,?,?,?,?,?,?)", rows)
    _remember(db, w, now)
    if w.redeemed:
        db.execute("DELETE FROM redeemed WHERE expires <= ?", (now - REMEMBERED_MS,))
        db.executemany("INSERT OR REPLACE INTO redeemed VALUES (?,?,?,?)", ((t, *r) for t, r in w.redeemed.items()))


def _remember(db: sqlite3.Connection, w: Write, now: int) -> None:
    """The codes that were tried: outside of the payment data, which may be replaced or go."""
    if not w.tried:
        return
    db.execute("DELETE FROM tried WHERE until <= ?", (now,))
    rows = ((s, t.code, t.salt, t.wrong, t.used, now + LONGEST_MS) for s, t in w.tried.items())
    db.executemany("INSERT OR REPLACE INTO tried VALUES (?,?,?,?,?,?)", rows)
    oldest = "SELECT code FROM tried WHERE sub = ? ORDER BY until DESC LIMIT -1 OFFSET ?"
    query = f"DELETE FROM tried WHERE sub = ? AND code IN ({oldest})"
    db.executemany(query, ((s, s, MOST_TRIED) for s in w.tried))
