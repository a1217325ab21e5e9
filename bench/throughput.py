"""Changes a second with a million subscribers present: signed, durable, enforced and acknowledged.

The real daemon and broker. A sender publishes batches of 1000 changes, half of them blocks and half payments, so many
unanswered at a time as ``edged.client`` allows itself; the time runs from the first publish to the last answer. Beside
it, in turns: the same changes one a message, and SQLite alone with rows of the same size, one durable commit for 1000.
All messages are signed before. Broker and sender have the first core, the daemon and SQLite the last.
"""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path
from typing import Any

import msgspec

from . import state
from .changes import Order, Stream, Table, check, pump
from .common import MILLION, Row, median, need, pinned, result, say
from .pace import Core, calibrate
from .rig import ANSWERS, Rig

BATCH, BATCHES, SINGLES, WINDOW = 1000, 60, 2000, 64
WANTED, MOST_MB = 50_000, 250


def run(budget: float = 150.0, members: int = MILLION) -> dict[str, Any]:
    """At least two rounds, more while they fit into ``budget`` seconds with all preparation."""
    need("ip", "nft", "mosquitto")
    end = time.monotonic() + budget
    with Rig() as rig:
        with state.filling(rig.state_dir, members, state.HALF):
            bare = Bare(rig.room / "bare.db")
        took = rig.start()
        say(f"ready: daemon in sync with {members:,} subscribers, half of them walled, after {took:.1f} s")
        return _measure(rig, bare, end, members)


def _measure(rig: Rig, bare: Bare, end: float, members: int) -> dict[str, Any]:
    table = Table(members)
    stream, before = Stream(rig, table), rig.digest()
    half = members // 4 * 2
    orders = {
        "table": Order.table(0, half).batches(BATCH),
        "random": Order.shuffled(half, half, seed=3).batches(BATCH),
        "one": Order.shuffled(0, 2 * half, seed=5).batches(SINGLES),
    }
    found: dict[str, list[float]] = {word: [] for word in (*orders, "sqlite", "calibration")}
    cores: dict[str, list[Core]] = {word: [] for word in orders}
    rounds, longest = 0, 0.0
    with pinned(rig.home):
        wire = rig.wire("bench-erp", ANSWERS, patience=60)
        pump(rig, wire, [stream.batch(next(orders["table"])) for _ in range(5)], WINDOW, BATCH)  # to warm up
        while rounds < 2 or time.monotonic() + 1.2 * longest < end:
            start = time.monotonic()
            found["calibration"].append(calibrate(rig.away))
            for word, order in orders.items():
                if word == "one":
                    messages, changes = [stream.batch([n]) for n in next(order)], 1
                else:
                    messages, changes = [stream.batch(next(order)) for _ in range(BATCHES)], BATCH
                core = rig.watch()
                found[word].append(len(messages) * changes / pump(rig, wire, messages, WINDOW, changes))
                cores[word].append(core())
            with pinned(rig.away):
                found["sqlite"].append(bare.insert(BATCHES))
            found["calibration"].append(calibrate(rig.away))
            rounds, longest = rounds + 1, max(longest, time.monotonic() - start)
        wire.close()
    check(rig, table, before)
    return _report(rig, members, found, cores)


class Bare:
    """SQLite as the daemon sets it up, with one table of rows like a subscriber's."""

    def __init__(self, path: Path) -> None:
        self._db = sqlite3.connect(path, isolation_level=None)
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "cache_size=-32768", "wal_autocheckpoint=4000"):
            self._db.execute(f"PRAGMA {pragma}")
        self._db.execute("CREATE TABLE row (id INTEGER PRIMARY KEY, sub TEXT, level INTEGER, keys BLOB, record TEXT)")
        self._next = 1
        somebody = state.first("0000000", int(time.time() * 1000), walled=True, invoices=True)
        self._record = msgspec.json.encode(somebody).decode()

    def insert(self, commits: int) -> float:
        """Rows a second."""
        chunks = []
        for _ in range(commits):
            numbers = range(self._next, self._next + BATCH)
            chunks.append([(n, state.name(n), 3, bytes(5), self._record) for n in numbers])
            self._next += BATCH
        start = time.monotonic()
        for rows in chunks:
            self._db.execute("BEGIN IMMEDIATE")
            self._db.executemany("INSERT INTO row VALUES (?,?,?,?,?)", rows)
            self._db.execute("COMMIT")
        return commits * BATCH / (time.monotonic() - start)


def _report(rig: Rig, members: int, found: dict[str, list[float]], cores: dict[str, list[Core]]) -> dict[str, Any]:
    def beside(word: str, rival: str) -> float:
        return median([a / b for a, b in zip(found[word], found[rival], strict=True)])

    rows = []
    for word, told in (("table", "in the table's order"), ("random", "in random order")):
        rate = median(found[word])
        rows.append(
            Row(f"changes in batches of {BATCH}, {told}, {members:,} present", rate, median(found["one"]), "/s",
                "one change a message", beside(word, "one"), f"≥ {WANTED:,}/s", rate >= WANTED)
        )  # fmt: skip
        rows.append(
            Row(f"the same beside SQLite alone, {told}", rate, median(found["sqlite"]), "/s",
                f"inserted rows, a commit for {BATCH}", beside(word, "sqlite"))
        )  # fmt: skip
    peak = rig.peak() / 1e6
    rows.append(
        Row("peak memory of the daemon", peak, MOST_MB, "MB", "the bar", MOST_MB / peak, f"≤ {MOST_MB} MB",
            peak <= MOST_MB)
    )  # fmt: skip
    changes = {"table": BATCH * BATCHES, "random": BATCH * BATCHES, "one": SINGLES}
    return result(
        "throughput",
        min(beside("table", "one"), beside("random", "one")),
        rows,
        value=round(min(median(found["table"]), median(found["random"]))),
        per_s={word: [round(x) for x in found[word]] for word in ("table", "random", "one", "sqlite")},
        cpu_us_a_change={
            word: round(median([core.daemon for core in seen]) / changes[word] * 1e6, 1) for word, seen in cores.items()
        },
        others_on_the_core={word: [round(core.others, 2) for core in seen] for word, seen in cores.items()},
        million_loops_per_s=[round(x, 2) for x in found["calibration"]],
        window=WINDOW,
        rounds=len(found["table"]),
    )
