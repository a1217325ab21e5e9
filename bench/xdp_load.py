"""A million restricted IPv4 subscribers from the store into the maps of the XDP program, beside the nft sets.

Each round is three child processes in fresh namespaces: the sets alone, the maps alone (``Enforcer.follow``), and both
as a start fills them. All three read the same database, so that reading is on both sides; loading the program is
outside.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edged.nft.enforcer import Enforcer
from edged.nft.schema import Settings
from edged.nft.socket import KernelBackend
from edged.store.store import Store
from edged.xdp import layout
from edged.xdp.kernel import KernelMaps
from edged.xdp.mirror import Mirror

from . import state
from .common import MILLION, Row, measure, median, namespaces, need, result, say, settle

KINDS = ("sets", "maps", "both")


def run(budget: float = 44.0, members: int = MILLION) -> dict[str, Any]:
    """At least three rounds, more while they fit into ``budget`` seconds, preparation included."""
    need("ip", "nft")
    end = time.monotonic() + budget
    rounds: list[dict[str, dict[str, float]]] = []
    with tempfile.TemporaryDirectory(prefix="edged-bench-") as room:
        database = Path(room) / "state"
        with state.filling(database, members):
            pass
        say(f"ready: {members:,} subscribers stored")
        while True:
            start = time.monotonic()
            found = {}
            for kind in KINDS:
                with namespaces("ours") as ns:
                    ran = measure([sys.executable, "-m", "bench.xdp_load", kind, str(database)], namespace=ns["ours"])
                found[kind] = json.loads(ran.output) | {"peak": float(ran.peak)}
                settle()
            rounds.append(found)
            if len(rounds) >= 3 and time.monotonic() + (time.monotonic() - start) > end:
                break
    return _report(members, rounds)


def _report(members: int, rounds: list[dict[str, dict[str, float]]]) -> dict[str, Any]:
    def seconds(kind: str) -> float:
        return median([found[kind]["seconds"] for found in rounds])

    times = median([found["sets"]["seconds"] / found["maps"]["seconds"] for found in rounds])
    both = median([found["both"]["seconds"] / found["sets"]["seconds"] for found in rounds])
    rows = [
        Row(f"{members:,} subscribers, store to maps", seconds("maps"), seconds("sets"), "s", "store to sets", times,
            "≥ 1", times >= 1),
        Row("sets and maps together, as a multiple", seconds("both"), seconds("sets"), "s", "store to sets", both),
        Row("memory of the maps", median([found["maps"]["memory"] for found in rounds]) / 1e6, None, "MB", "", 1.0),
    ]  # fmt: skip
    return result("xdp_load", times, rows, rounds=len(rounds))


@contextmanager
def _following(enforcer: Enforcer) -> Iterator[KernelMaps]:
    maps = KernelMaps.open(None)
    answers = layout.Answers(b"302", b"302", b"400")
    faults: list[object] = []
    enforcer.follower = mirror = Mirror(maps, layout.Settings(answers), stop=lambda: faults.append("stop"))
    yield maps
    if faults or not mirror.true:
        raise RuntimeError(f"the maps were not filled: {mirror.error}")
    mirror.close()
    maps.close()


def memory(maps: KernelMaps) -> int:
    """Bytes that the kernel charges for the live maps of addresses."""
    if maps.live is None:
        return 0
    texts = (Path(f"/proc/self/fdinfo/{maps.live.fds[family]}").read_text("ascii") for family in (4, 6))
    return sum(int(line.split()[1]) for text in texts for line in text.splitlines() if line.startswith("memlock:"))


def child(kind: str, database: Path) -> None:
    """Fill the sets, the maps, or both, then tell what it took."""
    store = Store(database)
    store.open()
    backend = KernelBackend()
    enforcer = Enforcer(backend, Settings(("sub*",)))

    def clock() -> int:
        return int(time.time() * 1000)

    if kind == "sets":
        start = time.monotonic()
        for _ in enforcer.refill(store, clock):
            pass
        told: dict[str, float] = {"seconds": time.monotonic() - start}
    else:
        with _following(enforcer) as maps:
            start = time.monotonic()
            for _ in enforcer.follow(store, clock) if kind == "maps" else enforcer.refill(store, clock):
                pass
            told = {"seconds": time.monotonic() - start, "memory": float(memory(maps))}
    print(json.dumps(told))
    backend.close()
    store.close()


if __name__ == "__main__":
    child(sys.argv[1], Path(sys.argv[2]))
