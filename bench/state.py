"""A database with many subscribers, in a process of its own: the first of a kind is made by the store itself.

Making it is not part of any figure; a bench starts it, prepares its rival meanwhile, and then waits for it. A million
subscribers through the store's own code would take a minute, so one subscriber of each kind goes through it and the
others are copies of its row with another number in it; counts, digests and bitmaps are worked out as the store does.
A test holds the result against what the store alone makes (tests/unit/test_bench_state.py).
"""

from __future__ import annotations

import contextlib
import gc
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from edged import plan
from edged.consequences import changes
from edged.domain import digest
from edged.domain.levels import Level
from edged.domain.model import Invoice, Policy, Reason, Subscriber
from edged.store import bitmap, totals
from edged.store.rows import Known, Write
from edged.store.store import Store
from edged.store.totals import Totals

from .common import BenchError, stop
from .people import Addresses, addresses, texts

WALLED, HALF = "walled", "half"
"""Everybody walled for a debt without invoices; or every second one (the odd numbers) for a debt with one invoice."""

_CHUNK = 50_000
_MARK = "#######"
"""Stands in the first of a kind where its number belongs."""


def name(number: int) -> str:
    """Subscriber ``number``, counted in the order of their addresses."""
    return f"C-{number:07}"


def invoice(number: int, turn: int) -> str:
    """A subscriber's invoice number ``turn``; the one of the database is 0."""
    return f"F{turn}-{number:07}"


@contextlib.contextmanager
def filling(directory: Path, members: int, kind: str = WALLED) -> Iterator[None]:
    """Start filling a database in ``directory`` with the first ``members`` people; it is there when the block ends."""
    child = subprocess.Popen([sys.executable, "-m", "bench.state", str(directory), str(members), kind])
    try:
        yield
        if child.wait():
            raise BenchError(f"the database could not be made: status {child.returncode}")
    finally:
        stop(child)


def first(number: str, now: int, *, walled: bool, invoices: bool) -> Subscriber:
    """A subscriber as ``bind`` and ``block`` leave it at ``now``. ``number``: seven characters."""
    if not walled:
        return Subscriber(f"C-{number}", since=now)
    named = (Invoice(f"F0-{number}"),) if invoices else ()
    debt = Reason(level=int(Level.WALLED), since=now, onset=now, invoices=named)
    return Subscriber(f"C-{number}", reasons={"debt": debt}, level=int(Level.WALLED), since=now)


def fill(directory: Path, people: Addresses, kind: str = WALLED, now: int | None = None) -> None:
    """All of ``people`` are subscribers, as ``kind`` says, since ``now`` (Unix ms)."""
    now = int(time.time() * 1000) if now is None else now
    ordered = np.sort(people)
    walled = np.ones(len(ordered), dtype=bool) if kind == WALLED else np.arange(len(ordered)) % 2 == 1
    models = [_model(now, walled=w, invoices=kind == HALF) for w in (False, True)]
    store = Store(directory)
    store.open()
    gc.disable()  # a million values that are no cycles: looking for some would take a quarter of the time
    try:
        db = store.db
        db.execute("PRAGMA synchronous=OFF")
        db.execute("BEGIN IMMEDIATE")
        for at in range(0, len(ordered), _CHUNK):
            _rows(db, at, ordered[at : at + _CHUNK], walled[at : at + _CHUNK].tolist(), models)
        _bitmaps(db, ordered[walled])
        totals.write(db, totals_of(ordered, walled, invoices=kind == HALF))
        db.execute("COMMIT")
    finally:
        gc.enable()
        store.close()


def _model(now: int, *, walled: bool, invoices: bool) -> dict[str, Any]:
    """The row that the store makes of such a subscriber, by column."""
    with tempfile.TemporaryDirectory(prefix="edged-bench-") as room:
        store = Store(Path(room))
        store.open()
        try:
            write, somebody = Write(), first(_MARK, now, walled=walled, invoices=invoices)
            changes(write, [Known(1, somebody, (bytes([plan.V4_TAG, 100, 64, 0, 1]),))], now, Policy())
            store.commit(write, now)
            found = store.db.execute("SELECT * FROM subscriber")
            columns = [column for column, *_ in found.description]
            return dict(zip(columns, found.fetchone(), strict=True))
        finally:
            store.close()


def _rows(db: Any, begin: int, part: Addresses, walled: list[bool], models: list[dict[str, Any]]) -> None:
    """``db`` is the store's own connection."""
    packed = part.astype(">u4").tobytes()
    tag = bytes([plan.V4_TAG])
    keys = [tag + packed[4 * i : 4 * i + 4] for i in range(len(part))]
    rows = []
    for number, (key, w) in enumerate(zip(keys, walled, strict=True), begin):
        row = models[w].copy()
        row["id"], row["sub"], row["keys"] = number + 1, name(number), key
        row["record"] = row["record"].replace(_MARK, f"{number:07}")
        rows.append(tuple(row.values()))
    columns = ",".join(models[0])
    db.executemany(f"INSERT INTO subscriber ({columns}) VALUES ({','.join('?' * len(models[0]))})", rows)  # noqa: S608
    owners = ((key, number + 1) for number, key in enumerate(keys, begin))
    db.executemany("INSERT INTO address (key, owner) VALUES (?,?)", owners)


def _bitmaps(db: Any, restricted: Addresses) -> None:
    nets, row = np.unique(restricted >> np.uint32(8), return_inverse=True)
    bits = np.zeros((len(nets), 256), dtype=np.uint8)
    bits[row, restricted & np.uint32(255)] = 1
    rows = [(int(net), packed.tobytes()) for net, packed in zip(nets, np.packbits(bits, axis=1), strict=True)]
    db.executemany("INSERT INTO restricted4 (net, bits, n) VALUES (?,?,?)", ((n, b, bitmap.count(b)) for n, b in rows))


def totals_of(ordered: Addresses, walled: Any, *, invoices: bool) -> Totals:
    """Counts and digests of such a database; ``walled`` is an array of truth values."""
    sums = [0] * digest.SHARDS
    for number, (address, w) in enumerate(zip(texts(ordered), walled.tolist(), strict=True)):
        sub = name(number)
        value = digest.binding(sub, address)
        if w:
            value += debt_number(number, invoice(number, 0) if invoices else None)
        sums[digest.shard(sub)] += value
    levels = [0] * 5
    levels[Level.WALLED] = int(walled.sum())
    levels[Level.OPEN] = len(ordered) - levels[Level.WALLED]
    return Totals(levels=tuple(levels), shards=tuple(s % digest.MODULUS for s in sums))


def debt_number(number: int, open_invoice: str | None) -> int:
    """What a debt of this subscriber adds to the digest."""
    return digest.reason(name(number), "debt", int(Level.WALLED), 0, [open_invoice] if open_invoice else [])


if __name__ == "__main__":
    fill(Path(sys.argv[1]), addresses(0, int(sys.argv[2])), sys.argv[3])
