"""The store as the source of a refill and of read-back: everything restricted, in key order, in chunks."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from edged import plan
from edged.domain.entry import Entry
from edged.plan import V4_TAG, Owned, Run
from edged.store import bitmap
from edged.store.rows import marks, parts

SPECIAL = "level > 0 AND (level <> 3 OR until > 0 OR notified > 0)"
"""Addresses that are in more than the restricted set; the same words as the partial index."""
_LONGEST_TAG = 128


def counts(db: sqlite3.Connection) -> dict[tuple[str, int], int]:
    """(role, tag) -> set elements there will be, promises that have ended meanwhile included."""
    out: dict[tuple[str, int], int] = {}
    for tag in range(V4_TAG, _LONGEST_TAG + 1):
        ends = (bytes([tag]), bytes([tag + 1]))
        if tag == V4_TAG:
            (n,) = db.execute("SELECT coalesce(sum(n), 0) FROM restricted4").fetchone()
        else:
            (n,) = db.execute(
                "SELECT count(*) FROM address WHERE level > 0 AND key >= x'05' AND key >= ? AND key < ?", ends
            ).fetchone()
        if n:
            out[plan.RESTRICTED, tag] = n
            (m,) = db.execute(f"SELECT count(*) FROM address WHERE {SPECIAL} AND key >= ? AND key < ?", ends).fetchone()
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
    query = "SELECT key FROM address WHERE level > 0 AND key >= x'05' AND key > ? ORDER BY key LIMIT ?"
    keys = [k for (k,) in db.execute(query, (after, limit))]
    if not keys:
        return None
    same = [k for k in keys if k[0] == keys[0][0]]
    return Run(same[0][0], b"".join(k[1:] for k in same), same[-1])


def special(db: sqlite3.Connection, after: bytes, limit: int) -> Sequence[tuple[bytes, Owned]]:
    """Addresses that need more than the restricted set, above ``after``, ascending."""
    query = (
        "SELECT key, owner, level, rate, lift, until, notified FROM address"
        f" WHERE {SPECIAL} AND key > ? ORDER BY key LIMIT ?"
    )
    return [(k, Owned(o, Entry(*e))) for k, o, *e in db.execute(query, (after, limit))]


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
    where = "level > 0 AND key >= x'05'"
    low6, high6 = db.execute(f"SELECT min(key), max(key) FROM address WHERE {where}").fetchone()
    if low6 is not None:
        first, last = int.from_bytes(low6), int.from_bytes(high6)
        for i in range(n):
            at6 = (first + (last - first) * i // max(n - 1, 1)).to_bytes(len(low6))
            row = db.execute(
                f"SELECT key FROM address WHERE {where} AND key >= ? ORDER BY key LIMIT 1", (at6,)
            ).fetchone()
            out.update(row or ())
    return sorted(out)


def write_bitmaps(db: sqlite3.Connection, values: dict[bytes, bool]) -> None:
    """Keep ``restricted4`` equal to the address rows: key -> whether its level is above open."""
    v4 = {k: on for k, on in values.items() if k[0] == V4_TAG}
    nets = sorted(bitmap.nets_of(v4))
    have: dict[int, bytes] = {}
    for part in parts(nets):
        have.update(db.execute(f"SELECT net, bits FROM restricted4 WHERE net IN ({marks(part)})", part))
    new = bitmap.changed(have, v4)
    db.executemany("DELETE FROM restricted4 WHERE net = ?", ((n,) for n, b in new.items() if not any(b)))
    db.executemany(
        "INSERT OR REPLACE INTO restricted4 VALUES (?,?,?)", ((n, b, bitmap.count(b)) for n, b in new.items() if any(b))
    )
