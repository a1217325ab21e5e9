"""A database with many restricted subscribers, made through the store itself."""

from __future__ import annotations

import gc
import time
from pathlib import Path

from edged import plan
from edged.domain.entry import Entry
from edged.domain.levels import Level
from edged.domain.model import Reason, Subscriber
from edged.plan import Owned
from edged.store.store import Store, Write

from .people import Addresses

_CHUNK = 50_000


def fill(directory: Path, addresses: Addresses) -> None:
    """Everybody of ``addresses`` is a subscriber walled for debt since now, as ``bind`` and ``block`` leave it."""
    now = int(time.time() * 1000)
    debt = {"debt": Reason(level=int(Level.WALLED), since=now, onset=now)}
    entry = Entry(level=int(Level.WALLED))
    ordered = addresses.copy()
    ordered.sort()
    names = [f"C-{number:07}" for number in range(len(ordered))]
    packed = ordered.astype(">u4").tobytes()
    tag = bytes([plan.V4_TAG])
    store = Store(directory)
    store.open()
    gc.disable()  # a million values that are no cycles: looking for some would take a quarter of the time
    try:
        for first in range(0, len(names), _CHUNK):
            write = Write()
            for at in range(first, min(first + _CHUNK, len(names))):
                number = store.new_id()
                state = Subscriber(names[at], reasons=debt, level=int(Level.WALLED), since=now)
                write.subscribers[number] = (state, 0)
                write.addresses[tag + packed[4 * at : 4 * at + 4]] = Owned(number, entry)
            store.commit(write, now)
    finally:
        gc.enable()
        store.close()
