"""The store as the source of a refill and of read-back: everything restricted, in key order, in chunks."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence

from edged import plan
from edged.domain.entry import OPEN, PLAIN
from edged.plan import V4_TAG, Owned, Run
from edged.store import bitmap
from edged.store.rows import entry_of, entry_text, marks, parts

_LONGEST_TAG = 128


def counts(db: sqlite3.Connection) -> dict[tuple[str, int], int]:
    """(role, tag) -> set elements there will be, promises that have ended meanwhile included."""
    out: dict[tuple[str, int], int] = {}
    for tag in range(V4_TAG, _LONGEST_TAG + 1):
        ends = (bytes([tag]), bytes([tag + 1]))
        if tag == V4_TAG:
            (n,) = db.execute("SELECT coalesce(sum(n), 0) FROM restricted4").fetchone()
        else:
            (n,) = db.execute("SELECT count(*) FROM restricted6 WHERE key >= ? AND key < ?", ends).fetchone()
        if n:
            out[plan.RESTRICTED, tag] = n
            (m,) = db.execute("SELECT count(*) FROM special WHERE key >= ? AND key < ?", ends).fetchone()
            out.update({(role, tag): m for role in plan.ROLES if role != plan.RESTRICTED})
    return out


def restricted(db: sqlite3.Connection, after: bytes, limit: int) -> Run | None:
    """The next restricted addresses above key ``after``, about ``limit`` of them; None when there are no more."""
    if after < bytes([V4_TAG + 1]):
        rows: list[tuple[int, bytes]] = []
        found = 0
        first = int.from_bytes(after[1:4]) + 1 if after else 0
        for net, bits, n in db.execute("SELECT net, bits, n FROM restricted4 WHERE net >= ? ORDER BY net", (first,)):
            rows.append((net, bits))
            found += n
            if found >= limit:
                break
        if rows:
            return Run(V4_TAG, bitmap.addresses(rows), bytes([V4_TAG]) + rows[-1][0].to_bytes(3) + b"\xff")
    query = "SELECT key FROM restricted6 WHERE key > ? ORDER BY key LIMIT ?"
    keys = [k for (k,) in db.execute(query, (after, limit))]
    if not keys:
        return None
    same = [k for k in keys if k[0] == keys[0][0]]
    return Run(same[0][0], b"".join(k[1:] for k in same), same[-1])


def special(db: sqlite3.Connection, after: bytes, limit: int) -> Sequence[tuple[bytes, Owned]]:
    """Addresses that need more than the restricted set, above ``after``, ascending."""
    query = "SELECT key, owner, entry FROM special WHERE key > ? ORDER BY key LIMIT ?"
    return [(k, Owned(o, entry_of(e))) for k, o, e in db.execute(query, (after, limit))]


def sample(db: sqlite3.Connection, n: int) -> list[bytes]:
    """Up to ``n`` keys of restricted addresses from all over the key space, for read-back."""
    out: set[bytes] = set()
    low, high = db.execute("SELECT min(net), max(net) FROM restricted4").fetchone()
    for i in range(n if low is not None else 0):
        at = low + (high - low) * i // max(n - 1, 1)
        row = db.execute("SELECT net, bits FROM restricted4 WHERE net >= ? ORDER BY net LIMIT 1", (at,)).fetchone()
        packed = bitmap.addresses([row])
        pick = 4 * (i * 7 % (len(packed) // 4))
        out.add(bytes([V4_TAG]) + packed[pick : pick + 4])
    low6, high6 = db.execute("SELECT min(key), max(key) FROM restricted6").fetchone()
    if low6 is not None:
        first, last = int.from_bytes(low6), int.from_bytes(high6)
        for i in range(n):
            at6 = (first + (last - first) * i // max(n - 1, 1)).to_bytes(len(low6))
            row = db.execute("SELECT key FROM restricted6 WHERE key >= ? ORDER BY key LIMIT 1", (at6,)).fetchone()
            out.update(row or ())
    return sorted(out)


def write(db: sqlite3.Connection, entries: Mapping[bytes, tuple[Owned | None, Owned | None]]) -> None:
    """Keep ``restricted4``, ``restricted6`` and ``special`` equal to the entries: address -> before and after."""
    v4: dict[bytes, bool] = {}
    come: list[tuple[bytes]] = []
    go: list[tuple[bytes]] = []
    special_come: list[tuple[bytes, int, str | None]] = []
    special_go: list[tuple[bytes]] = []
    for key, (was, will) in entries.items():
        old, new = was.entry if was else OPEN, will.entry if will else OPEN
        if (old.level > 0) != (new.level > 0):
            if key[0] == V4_TAG:
                v4[key] = new.level > 0
            else:
                (come if new.level else go).append((key,))
        if will is not None and new not in PLAIN:
            special_come.append((key, will.owner, entry_text(new)))
        elif old not in PLAIN:
            special_go.append((key,))
    if v4:
        _write_bitmaps(db, v4)
    db.executemany("DELETE FROM restricted6 WHERE key = ?", go)
    db.executemany("INSERT OR REPLACE INTO restricted6 VALUES (?)", come)
    db.executemany("DELETE FROM special WHERE key = ?", special_go)
    db.executemany("INSERT OR REPLACE INTO special VALUES (?,?,?)", special_come)


def _write_bitmaps(db: sqlite3.Connection, v4: Mapping[bytes, bool]) -> None:
    nets = sorted(bitmap.nets_of(v4))
    have: dict[int, bytes] = {}
    for part in parts(nets):
        have.update(db.execute(f"SELECT net, bits FROM restricted4 WHERE net IN ({marks(part)})", part))
    new = bitmap.changed(have, v4)
    db.executemany("DELETE FROM restricted4 WHERE net = ?", ((n,) for n, b in new.items() if not any(b)))
    db.executemany(
        "INSERT OR REPLACE INTO restricted4 VALUES (?,?,?)", ((n, b, bitmap.count(b)) for n, b in new.items() if any(b))
    )
