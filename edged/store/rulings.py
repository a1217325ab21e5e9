"""What is said of areas, and what the brake counts and holds."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Sequence

from edged.domain.levels import Level
from edged.store.rows import Held, Write, marks, parts


def regions(db: sqlite3.Connection) -> dict[tuple[str, str], str]:
    """(moratorium, outage or calendar; its name) -> its value as JSON."""
    return {(kind, name): value for kind, name, value in db.execute("SELECT kind, name, value FROM region")}


def held(db: sqlite3.Connection, limit: int) -> list[Held]:
    """The oldest of what the brake holds."""
    query = "SELECT id, sub, reason, issuer, at, command FROM held ORDER BY id LIMIT ?"
    return [Held(*row) for row in db.execute(query, (limit,))]


def held_of(db: sqlite3.Connection, subs: Collection[str]) -> set[tuple[str, str]]:
    """(subscriber, reason) of what the brake holds of these."""
    out: set[tuple[str, str]] = set()
    for part in parts(list(subs)):
        out.update(db.execute(f"SELECT sub, reason FROM held WHERE sub IN ({marks(part)})", part))
    return out


def count(db: sqlite3.Connection) -> int:
    """How many commands the brake holds."""
    return int(db.execute("SELECT count(*) FROM held").fetchone()[0])


def recent(db: sqlite3.Connection, since: int) -> list[tuple[int, int]]:
    """(Unix ms, new restrictions) since a moment, oldest first."""
    return [(at, n) for at, n in db.execute("SELECT at, n FROM braked WHERE at > ? ORDER BY at", (since,))]


def unrestricted(db: sqlite3.Connection, subs: Sequence[str]) -> int:
    """How many of these have no reason that takes something away, begun or waiting: known or not."""
    reasons = " + ".join(f"""instr(record, '"level":{level.value},')""" for level in Level if level >= Level.REDUCED)
    query = f"SELECT count(*) FROM subscriber WHERE {reasons} AND sub IN"
    found = (db.execute(f"{query} ({marks(part)})", part).fetchone() for part in parts(subs))
    return len(subs) - sum(int(n) for (n,) in found)


def in_area(db: sqlite3.Connection, area: str | None, after: int, limit: int) -> list[int]:
    """Numbers above ``after`` of those in an area, None: anywhere, who are restricted or wait for something."""
    where, values = ("area = ? AND (level > 0 OR due > 0)", (area,)) if area else ("(level > 0 OR due > 0)", ())
    query = f"SELECT id FROM subscriber WHERE {where} AND id > ? ORDER BY id LIMIT ?"
    return [i for (i,) in db.execute(query, (*values, after, limit))]


def write(db: sqlite3.Connection, w: Write, now: int) -> None:
    """What a commit says of them, inside a transaction that the caller opened."""
    gone = [at for at, value in w.regions.items() if value is None]
    db.executemany("DELETE FROM region WHERE kind = ? AND name = ?", gone)
    found = ((*at, value) for at, value in w.regions.items() if value is not None)
    db.executemany("INSERT OR REPLACE INTO region VALUES (?,?,?)", found)
    db.executemany("DELETE FROM held WHERE sub = ? AND reason = ?", w.held)
    rows = (tuple(h)[1:] for h in w.held.values() if h is not None)
    db.executemany("INSERT INTO held(sub, reason, issuer, at, command) VALUES (?,?,?,?,?)", rows)
    if w.unbraked:
        db.execute("DELETE FROM braked")
    if w.restricted:
        db.execute("INSERT INTO braked VALUES (?,?)", (now, w.restricted))


def forget_before(db: sqlite3.Connection, before: int) -> None:
    """Drop the brake's counts of before a moment."""
    db.execute("DELETE FROM braked WHERE at <= ?", (before,))
