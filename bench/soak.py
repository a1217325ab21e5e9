"""``python -m bench.soak CHANGES``: is the daemon's memory flat over that many changes? Not part of the suite.

A million subscribers, signed batches of 1000 changes through a real broker, each subscriber again and again, one batch
in the table's order and one at random in turns. Resident memory is looked at every two seconds. It ends after
``CHANGES`` or ``--seconds``, whichever comes first, and prints one JSON object: memory after the first million, at the
end, the most ever, and the course in between. Batches are made and signed on the way, beside the broker, so the changes
a second are no measurement of the daemon; ``python -m bench throughput`` is.
"""

from __future__ import annotations

import argparse
import itertools
import json
import signal
import sys
import time
from collections.abc import Iterator
from typing import Any

from . import state
from .changes import Order, Stream, Table, check, pump
from .common import MILLION, BenchError, need, pinned, say
from .rig import ANSWERS, Rig

BATCH, WINDOW = 1000, 64
EVERY = 2.0
"""Seconds between two looks."""
FLAT = 1.05
"""The memory at the end may be this share of that after the first million, and the bench calls it flat."""


def run(changes: int, seconds: float, window: int = WINDOW, members: int = MILLION) -> dict[str, Any]:
    """Up to ``changes`` changes, for up to ``seconds`` seconds without the preparation."""
    need("ip", "nft", "mosquitto")
    with Rig() as rig:
        with state.filling(rig.state_dir, members, state.HALF):
            pass
        rig.start()
        table = Table(members)
        before = rig.digest()
        course: list[tuple[int, int]] = [(0, rig.resident())]
        say(f"ready: {members:,} subscribers, {course[0][1] / 1e6:.0f} MB resident")
        with pinned(rig.home):
            wire = rig.wire("bench-erp", ANSWERS, patience=60)
            began = time.monotonic()
            pump(rig, wire, _batches(rig, table, changes, began + seconds, course), window, BATCH)
            took = time.monotonic() - began
            wire.close()
        course.append((course[-1][0], rig.resident()))
        check(rig, table, before)
        return _result(rig, course, took) | {"window": window}


def _batches(rig: Rig, table: Table, changes: int, end: float, course: list[tuple[int, int]]) -> Iterator[bytes]:
    stream = Stream(rig, table)
    everybody = table.members // 2 * 2
    orders = (Order.table(0, everybody).batches(BATCH), Order.shuffled(0, everybody, seed=7).batches(BATCH))
    look = time.monotonic() + EVERY
    for done, order in zip(range(0, changes - BATCH + 1, BATCH), itertools.cycle(orders), strict=False):
        if (now := time.monotonic()) > look:
            course.append((done, rig.resident()))
            look = now + EVERY
            if len(course) % 15 == 0:
                say(f"{done:,} changes, {course[-1][1] / 1e6:.0f} MB")
        if now > end:
            break
        yield stream.batch(next(order))
    course.append((stream.batches * BATCH, rig.resident()))


def _result(rig: Rig, course: list[tuple[int, int]], took: float) -> dict[str, Any]:
    done, last = course[-1]
    first = next((resident for at, resident in course if at >= MILLION), None)
    step = max(1, len(course) // 60)
    return {
        "bench": "soak",
        "ratio": None if first is None else round(last / first, 3),
        "changes": done,
        "seconds": round(took, 1),
        "mb_before": round(course[0][1] / 1e6, 1),
        "mb_after_a_million": None if first is None else round(first / 1e6, 1),
        "mb_at_the_end": round(last / 1e6, 1),
        "mb_peak": round(rig.peak() / 1e6, 1),
        "flat": None if first is None else last <= FLAT * first,
        "database_mb": round((rig.state_dir / "edged.db").stat().st_size / 1e6),
        "course": [[at, round(resident / 1e6, 1)] for at, resident in course[::step]],
    }


def main() -> int:
    """Entry point; see the module's text."""
    parser = argparse.ArgumentParser(prog="python -m bench.soak", description="memory of the daemon over many changes")
    parser.add_argument("changes", type=int, help="as many changes at most; 10000000 for the figure")
    parser.add_argument("--seconds", type=float, default=1800.0, help="as long at most (default: half an hour)")
    parser.add_argument("--window", type=int, default=WINDOW, help=f"unanswered batches (default: {WINDOW})")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the namespace is removed
    try:
        found = run(options.changes, options.seconds, options.window)
    except (BenchError, RuntimeError, AssertionError, OSError) as error:
        print(f"soak: {error}", file=sys.stderr)
        return 1
    print(json.dumps(found), flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
