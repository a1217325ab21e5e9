"""The audit trail in the database: rows and links (see domain/audit.py), forgetting and purging in small steps.

A row is written once. Only two things touch it afterwards: forgetting empties it, purging removes it, always from the
oldest on and by whole links. What was purged last stays behind as the *anchor*, so that the rest still verifies.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any

from edged.domain import audit
from edged.domain.address import literal
from edged.domain.audit import SALT, Decision, Finding, Head, Link, Row, Verification

LONGEST = 128
"""Characters of a name (contract); what is refused may name anything."""
_ANCHOR = "audit_anchor"


def anchor(db: sqlite3.Connection) -> Head:
    """The end of what was purged."""
    row = db.execute("SELECT value FROM note WHERE name = ?", (_ANCHOR,)).fetchone()
    if row is None:
        return Head()
    last, at, text = json.loads(row[0])
    return Head(last, at, bytes.fromhex(text))


def head(db: sqlite3.Connection) -> Head:
    """The end of the trail."""
    row = db.execute("SELECT last, at, hash FROM audit_link ORDER BY first DESC LIMIT 1").fetchone()
    return anchor(db) if row is None else Head(*row)


def write(db: sqlite3.Connection, decisions: Sequence[Decision], forgotten: Iterable[str], now: int) -> None:
    """One commit's decisions as one link, inside the caller's transaction. ``forgotten``: names to be forgotten.

    Decisions of this commit about somebody who is forgotten later in it are written as stubs right away.
    """
    found, gone = _forgetting(decisions, forgotten, now)
    if not found:
        return
    previous = head(db)
    first, n = previous.last + 1, len(found)
    salts = os.urandom(SALT * n)
    rows: list[tuple[int, bytes | None, bytes, str | None, str | None]] = []
    digests: list[bytes] = []
    for i, d in enumerate(found):
        sub = d.sub
        if sub is not None:
            sub = literal(sub) or sub[:LONGEST]
        text, salt = audit.content(d), salts[SALT * i : SALT * i + SALT]
        digest = audit.digest(salt, text, sub)
        digests.append(digest)
        if gone and sub is not None and gone.get(sub, -1) > i:
            rows.append((first + i, None, digest, None, None))
        else:
            rows.append((first + i, salt, digest, sub, text.decode()))
    db.executemany("INSERT INTO audit VALUES (?,?,?,?,?)", rows)
    last = previous.last + n
    hashed = audit.link(previous.hash, first, last, now, digests)
    db.execute("INSERT INTO audit_link VALUES (?,?,?,?)", (first, last, now, hashed))
    if gone:
        # Whoever is being forgotten already is walked for from where that walk is.
        start = anchor(db).last
        db.executemany(
            "INSERT INTO audit_forgetting VALUES (?,?,?) ON CONFLICT DO UPDATE SET upto = excluded.upto",
            ((name, start, previous.last) for name in gone),
        )


def _forgetting(
    decisions: Sequence[Decision], forgotten: Iterable[str], now: int
) -> tuple[Sequence[Decision], dict[str, int]]:
    """What to write, and name -> place of the decision that forgets it: each forgetting has one."""
    names = [literal(name) or name for name in forgotten]
    if not names and not any(d.op == "forget" for d in decisions):
        return decisions, {}
    asked = ((i, d.sub) for i, d in enumerate(decisions) if audit.forgets(d.op, d.status, d.code))
    gone = {literal(sub) or sub: i for i, sub in asked if sub}
    found = [audit.without_name(d) if d.op == "forget" else d for d in decisions]
    for name in names:
        if name not in gone:
            gone[name] = len(found)
            found.append(Decision(now, "forget"))
    return found, gone


def forget(db: sqlite3.Connection, limit: int) -> tuple[bool, bool]:
    """Empty what the next ``limit`` rows say of those being forgotten: (something was to do, somebody's walk ended).

    All walks that are at the same row go on together, and one that is behind catches up with the others.
    """
    (after,) = db.execute("SELECT min(after) FROM audit_forgetting").fetchone()
    if after is None:
        return False, False
    (others,) = db.execute("SELECT min(after) FROM audit_forgetting WHERE after > ?", (after,)).fetchone()
    end = after + limit if others is None else min(after + limit, others)
    db.execute(
        "UPDATE audit SET salt = NULL, sub = NULL, content = NULL WHERE id > ? AND id <= ? AND sub IS NOT NULL"
        " AND id <= (SELECT upto FROM audit_forgetting f WHERE f.name = audit.sub AND f.after = ?)",
        (after, end, after),
    )
    db.execute("UPDATE audit_forgetting SET after = ? WHERE after = ?", (end, after))
    return True, db.execute("DELETE FROM audit_forgetting WHERE after >= upto").rowcount > 0


def purge(db: sqlite3.Connection, before: int, limit: int) -> bool:
    """Remove the oldest links older than ``before`` (Unix ms), about ``limit`` rows; False when there are no more."""
    gone: Head | None = None
    rows = 0
    for first, *link in db.execute("SELECT first, last, at, hash FROM audit_link ORDER BY first LIMIT ?", (limit,)):
        found = Head(*link)
        if found.at >= before or rows >= limit:
            break
        gone, rows = found, rows + found.last - first + 1
    if gone is None:
        return False
    db.execute("DELETE FROM audit WHERE id <= ?", (gone.last,))
    db.execute("DELETE FROM audit_link WHERE first <= ?", (gone.last,))
    value = json.dumps([gone.last, gone.at, gone.hash.hex()])
    db.execute("INSERT OR REPLACE INTO note VALUES (?,?)", (_ANCHOR, value))
    return True


# -- reading --------------------------------------------------------------------------------------------------------


def window(db: sqlite3.Connection, after: int, upto: int, sub: str | None) -> list[dict[str, Any]]:
    """The rows above ``after`` up to ``upto`` as :func:`audit.told` tells them; only those of ``sub`` where named."""
    query, values = "SELECT id, sub, content FROM audit WHERE id > ? AND id <= ?", (after, upto)
    if sub is None:
        rows = db.execute(f"{query} ORDER BY id", values).fetchall()
    else:
        rows = db.execute(f"{query} AND sub = ? ORDER BY id", (*values, literal(sub) or sub)).fetchall()
    return [audit.told(i, _moment(db, i) if text is None else 0, name, text) for i, name, text in rows]


def _moment(db: sqlite3.Connection, row: int) -> int:
    """When the commit of a row was made."""
    query = "SELECT at FROM audit_link WHERE first <= ? ORDER BY first DESC LIMIT 1"
    return int((db.execute(query, (row,)).fetchone() or (0,))[0])


def bounds(db: sqlite3.Connection, moment: int) -> tuple[int, int]:
    """The last row before ``moment`` (Unix ms, 0: of all), and the last of all, whatever a link may claim."""
    (last,) = db.execute("SELECT coalesce(max(id), 0) FROM audit").fetchone()
    begin = since(db, moment) if moment else anchor(db).last
    return begin, min(head(db).last, last)


def since(db: sqlite3.Connection, moment: int) -> int:
    """The last row before ``moment`` (Unix ms); where the clock was set back, one of several."""
    low, high = anchor(db).last, head(db).last
    while low < high:  # everything up to `low` is older, everything above `high` is not
        middle = (low + high + 1) // 2
        if _moment(db, middle) < moment:
            low = middle
        else:
            high = middle - 1
    return low


def verify(db: sqlite3.Connection, v: Verification, limit: int) -> Finding | bool:
    """Go on with a verification for about ``limit`` rows: what is wrong, else whether there is more."""
    start = anchor(db)
    if start.last > v.head.last:
        v.restart(start)
    enough = v.decisions + limit
    links = db.execute("SELECT first, last, at, hash FROM audit_link WHERE first > ? ORDER BY first", (v.first,))
    for found in map(Link._make, links):
        if v.decisions >= enough:
            return True
        query = "SELECT id, salt, digest, sub, content FROM audit WHERE id BETWEEN ? AND ? ORDER BY id"
        wrong = v.take(found, map(Row._make, db.execute(query, (found.first, found.last))))
        if wrong is not None:
            return wrong
    query = "SELECT id FROM audit WHERE id <= ? OR id > ? ORDER BY id LIMIT 1"
    return v.end([i for (i,) in db.execute(query, (start.last, v.head.last))]) or False
