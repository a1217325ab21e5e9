"""A database with many restricted subscribers, made through the store itself, in a process of its own.

Making it is not part of any figure; a bench starts it, prepares its rival meanwhile, and then waits for it.
"""

from __future__ import annotations

import contextlib
import gc
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from edged import plan
from edged.consequences import changes
from edged.domain.levels import Level
from edged.domain.model import Policy, Reason, Subscriber
from edged.store.rows import Known, Write
from edged.store.store import Store

from .common import BenchError, stop
from .people import Addresses, addresses

_CHUNK = 50_000


@contextlib.contextmanager
def filling(directory: Path, members: int) -> Iterator[None]:
    """Start filling a database in ``directory`` with the first ``members`` people; it is there when the block ends."""
    child = subprocess.Popen([sys.executable, "-m", "bench.state", str(directory), str(members)])
    try:
        yield
        if child.wait():
            raise BenchError(f"the database could not be made: status {child.returncode}")
    finally:
        stop(child)


def fill(directory: Path, people: Addresses) -> None:
    """All of ``people`` are subscribers walled for debt since now, as ``bind`` and ``block`` leave them."""
    now = int(time.time() * 1000)
    debt = {"debt": Reason(level=int(Level.WALLED), since=now, onset=now)}
    ordered = people.copy()
    ordered.sort()
    names = [f"C-{number:07}" for number in range(len(ordered))]
    packed = ordered.astype(">u4").tobytes()
    tag = bytes([plan.V4_TAG])
    store = Store(directory)
    store.open()
    gc.disable()  # a million values that are no cycles: looking for some would take a quarter of the time
    try:
        for first in range(0, len(names), _CHUNK):
            write, found = Write(), []
            for at in range(first, min(first + _CHUNK, len(names))):
                number = store.new_id()
                state = Subscriber(names[at], reasons=debt, level=int(Level.WALLED), since=now)
                key = tag + packed[4 * at : 4 * at + 4]
                found.append(Known(number, state, (key,)))
            changes(write, found, now, Policy())
            store.commit(write, now)
    finally:
        gc.enable()
        store.close()


if __name__ == "__main__":
    fill(Path(sys.argv[1]), addresses(0, int(sys.argv[2])))
