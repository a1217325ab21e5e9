"""A million restricted IPv4 subscribers from the store to the kernel, beside ``nft -f`` with the same elements.

Both run as child processes in a fresh namespace, in turns. Time of ours is from opening the database to the
acknowledged switch to the filled sets; time of the rival is the whole ``nft -f``. Memory is each process's peak
resident set. What does not belong to the load (making the database, writing the file) is outside.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from edged.nft.enforcer import Enforcer
from edged.nft.schema import Settings
from edged.nft.socket import KernelBackend
from edged.store.store import Store

from . import people, rivals, state
from .common import MILLION, Ran, Row, measure, median, namespaces, need, result, say, settle


def run(budget: float = 44.0, members: int = MILLION) -> dict[str, Any]:
    """At least two rounds, more while they fit into ``budget`` seconds, preparation included."""
    need("ip", "nft")
    end = time.monotonic() + budget
    values = people.addresses(0, members)
    with tempfile.TemporaryDirectory(prefix="edged-bench-") as room:
        file, database = Path(room) / "members.nft", Path(room) / "state"
        with state.filling(database, members):
            rivals.nft_file(file, values)
        say(f"ready: {members:,} subscribers stored, and a file of {file.stat().st_size >> 20} MiB for nft")
        mine: list[tuple[Ran, dict[str, float]]] = []
        theirs: list[Ran] = []
        while True:
            start = time.monotonic()
            with namespaces("ours", "rival") as ns:
                ran = measure([sys.executable, "-m", "bench.load", str(database)], namespace=ns["ours"])
                mine.append((ran, json.loads(ran.output)))
                settle()
                theirs.append(measure(["nft", "-f", str(file)], namespace=ns["rival"]))
            settle()
            if len(mine) >= 2 and time.monotonic() + (time.monotonic() - start) > end:
                break
    return _report(members, mine, theirs)


def _report(members: int, mine: list[tuple[Ran, dict[str, float]]], theirs: list[Ran]) -> dict[str, Any]:
    loads = [inner["seconds"] for _, inner in mine]
    times = median([rival.seconds / load for load, rival in zip(loads, theirs, strict=True)])
    memory = median([ran.peak / rival.peak for (ran, _), rival in zip(mine, theirs, strict=True)])
    rows = [
        Row(f"{members:,} subscribers, store to kernel", median(loads), median([r.seconds for r in theirs]), "s",
            "nft -f", times, "≥ 3", times >= 3),
        Row("peak memory of it", median([r.peak for r, _ in mine]) / 1e6, median([r.peak for r in theirs]) / 1e6, "MB",
            "nft -f", memory, "< 0.333", memory < 1 / 3),
        Row("the same with starting the interpreter", median([r.seconds for r, _ in mine]),
            median([r.seconds for r in theirs]), "s", "nft -f",
            median([rival.seconds / ran.seconds for (ran, _), rival in zip(mine, theirs, strict=True)])),
    ]  # fmt: skip
    return result("load", times, rows, memory_ratio=round(memory, 4), rounds=len(mine))


def child(database: Path) -> None:
    """Ours: fill the kernel from the database, then tell what it took."""
    start = time.monotonic()
    store = Store(database)
    store.open()
    backend = KernelBackend()
    enforcer = Enforcer(backend, Settings(("sub*",)))
    for _ in enforcer.refill(store, lambda: int(time.time() * 1000)):
        pass
    seconds = time.monotonic() - start
    print(json.dumps({"seconds": seconds, "elements": enforcer.set_counts()["restricted4"]}))
    backend.close()
    store.close()


if __name__ == "__main__":
    child(Path(sys.argv[1]))
