"""Subscribers and their addresses, read: by name, by number, by address, by what is due."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any

import msgspec

from edged.domain.model import Subscriber
from edged.store.rows import Known, Mark, Stored, entry_of, marks, parts, unpack

decode = msgspec.json.Decoder(Subscriber).decode
"""A ``record`` as it was written."""


def known(db: sqlite3.Connection, column: str, values: Sequence[str | int]) -> dict[str, Known]:
    """Name -> subscriber with addresses, of those whose ``sub`` or ``id`` is one of these."""
    out: dict[str, Known] = {}
    query = (
        "SELECT s.id, s.sub, s.keys, s.entry, s.record, i.facts"
        f" FROM subscriber s LEFT JOIN invoice i ON i.owner = s.id WHERE s.{column} IN "
    )
    for part in parts(values):
        for number, name, blob, entry, record, facts in db.execute(f"{query}({marks(part)})", part):
            sub, keys, told = decode(record), unpack(blob), entry_of(entry)
            out[name] = Known(number, sub, keys, told, Stored(sub, keys, told), facts)
    return out


def numbered(db: sqlite3.Connection, ids: Sequence[int]) -> dict[int, Mark]:
    """The last numbered batch of subscribers, by number."""
    out: dict[int, Mark] = {}
    for part in parts(ids):
        rows = db.execute(f"SELECT id, numbering, seq FROM subscriber WHERE id IN ({marks(part)})", part)
        out.update((number, Mark(*mark)) for number, *mark in rows)
    return out


def owners(db: sqlite3.Connection, keys: Sequence[bytes]) -> dict[bytes, int]:
    """Subscriber numbers by address; unbound keys are left out."""
    out: dict[bytes, int] = {}
    for part in parts(keys):
        out.update(db.execute(f"SELECT key, owner FROM address WHERE key IN ({marks(part)})", part))
    return out


def between(db: sqlite3.Connection, first: bytes, last: bytes) -> list[bytes]:
    """The bound addresses from one key to another, both included."""
    return [k for (k,) in db.execute("SELECT key FROM address WHERE key BETWEEN ? AND ?", (first, last))]


def due(db: sqlite3.Connection, now: int, limit: int) -> list[int]:
    """Numbers of subscribers with something due by ``now`` (Unix ms), earliest first."""
    query = "SELECT id FROM subscriber WHERE due > 0 AND due <= ? ORDER BY due LIMIT ?"
    return [i for (i,) in db.execute(query, (now, limit))]


def next_due(db: sqlite3.Connection) -> int:
    """The earliest due moment (Unix ms), 0 for none."""
    found = db.execute("SELECT due FROM subscriber WHERE due > 0 ORDER BY due LIMIT 1").fetchone()
    return int((found or (0,))[0])


def listing(
    db: sqlite3.Connection, level: int | None, after: int, upto: int, limit: int
) -> list[tuple[int, Subscriber]]:
    """(number, state) of those on a level, None: restricted, waiting or promised, above ``after`` up to ``upto``."""
    values: tuple[Any, ...] = (after, upto, limit) if level is None else (level, after, upto, limit)
    where = "(level > 0 OR due > 0)" if level is None else "level = ?"
    query = f"SELECT id, record FROM subscriber WHERE {where} AND id > ? AND id <= ? ORDER BY id LIMIT ?"
    return [(i, decode(record)) for i, record in db.execute(query, values)]
