"""A restart of the daemon with a million restricted subscribers: from its start until everything is in force.

In turns after SIGTERM and after SIGKILL, from the start of the process, interpreter included, until it tells its
service manager that it is in sync; beside it the moment its state document says so, and, in the same rounds, the bare
kernel load of as many addresses. The restrictions stay in force meanwhile; ``python -m bench probe`` shows that.
"""

from __future__ import annotations

import contextlib
import json
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any

from . import people, state
from .bare import load
from .common import MILLION, BenchError, Row, median, need, pinned, result, say
from .pace import calibrate
from .rig import STATE, Rig

MOST_MB = 250
KINDS = {"SIGTERM": signal.SIGTERM, "SIGKILL": signal.SIGKILL}


def run(budget: float = 120.0, members: int = MILLION) -> dict[str, Any]:
    """At least two rounds, up to twelve while they fit into ``budget`` seconds with all preparation."""
    need("ip", "nft", "mosquitto")
    end = time.monotonic() + budget
    texts = people.texts(people.addresses(0, members)[:: max(1, members // 200)])
    with Rig() as rig:
        empty = rig.start()
        rig.end(signal.SIGTERM)
        for file in rig.state_dir.iterdir():
            file.unlink()
        with state.filling(rig.state_dir, members):
            pass
        rig.start()
        say(f"ready: {members:,} subscribers, all of them walled")
        with pinned(rig.home), _listening(rig) as heard:
            return _measure(rig, members, texts, heard, end) | {"empty_s": round(empty, 2)}


def _measure(rig: Rig, members: int, texts: list[str], heard: Heard, end: float) -> dict[str, Any]:
    in_sync: dict[str, list[float]] = {kind: [] for kind in KINDS}
    told: list[float] = []
    bare: dict[str, list[float]] = {kind: [] for kind in KINDS}
    loops: list[float] = []
    peaks: list[int] = []
    before, longest = rig.digest(), 0.0
    while len(loops) < 2 or (len(loops) < 12 and time.monotonic() + 1.2 * longest < end):
        start = time.monotonic()
        loops.append(calibrate(rig.away))
        for kind, number in KINDS.items():
            bare[kind].append(load(members, rig.away))
            old = heard.since
            rig.end(number)
            began = time.monotonic()
            in_sync[kind].append(rig.start())
            told.append(heard.in_sync_after(old) - began)
            rig.levels({"walled": members}, members)
            rig.kernel(texts, [])
            if rig.digest() != before:
                raise BenchError(f"the digest of the desired state is another one after {kind}")
            peaks.append(rig.peak())
        longest = max(longest, time.monotonic() - start)
    return _report(members, in_sync, bare, told, peaks, loops)


class Heard:
    """What the retained state document of the daemon said, and when."""

    def __init__(self) -> None:
        self.since = ""
        """When the daemon that spoke last began."""
        self._in_sync: dict[str, float] = {}
        self._changed = threading.Condition()

    def take(self, at: float, document: dict[str, Any]) -> None:
        if document["online"]:
            with self._changed:
                self.since = document["since"]
                if document["in_sync"]:
                    self._in_sync.setdefault(self.since, at)
                self._changed.notify_all()

    def in_sync_after(self, since: str, limit: float = 30.0) -> float:
        """The moment at which a later daemon than this said that it is in sync."""
        with self._changed:
            if not self._changed.wait_for(lambda: self.since > since and self.since in self._in_sync, limit):
                raise BenchError(f"the state document did not say in_sync within {limit:g} s of being so")
            return self._in_sync[self.since]


@contextlib.contextmanager
def _listening(rig: Rig) -> Iterator[Heard]:
    """Hear the state documents in a thread of their own."""
    heard, done = Heard(), threading.Event()
    wire = rig.wire("bench-ear", STATE, patience=0.2)

    def work() -> None:
        while not done.is_set():
            with contextlib.suppress(TimeoutError):
                at, payload = wire.receive()
                heard.take(at, json.loads(payload))

    thread = threading.Thread(target=work, name="ear", daemon=True)
    thread.start()
    try:
        heard.in_sync_after("")
        yield heard
    finally:
        done.set()
        thread.join(5)
        wire.close()


def _report(
    members: int,
    in_sync: dict[str, list[float]],
    bare: dict[str, list[float]],
    told: list[float],
    peaks: list[int],
    loops: list[float],
) -> dict[str, Any]:
    ratios = {
        kind: median([a / b for a, b in zip(in_sync[kind], bare[kind], strict=True)]) for kind in KINDS
    }  # each beside its neighbour
    everything = [x for times in bare.values() for x in times]
    rows = [
        Row(f"restart after {kind}, {members:,} restricted, until in sync, as a multiple", median(in_sync[kind]),
            median(bare[kind]), "s", "bare kernel load", ratios[kind])
        for kind in KINDS
    ]  # fmt: skip
    rows.append(
        Row("until its state document says so, as a multiple", median(told), median(everything), "s",
            "bare kernel load", median(told) / median(everything))
    )  # fmt: skip
    peak = max(peaks) / 1e6
    rows.append(
        Row("peak memory of the daemon", peak, MOST_MB, "MB", "the bar", MOST_MB / peak, f"≤ {MOST_MB} MB",
            peak <= MOST_MB)
    )  # fmt: skip
    return result(
        "restart",
        max(ratios.values()),
        rows,
        in_sync_s={kind: [round(x, 2) for x in times] for kind, times in in_sync.items()},
        bare_s=[round(x, 3) for x in everything],
        million_loops_per_s=[round(x, 2) for x in loops],
        rounds=len(loops),
    )
