"""One subscriber who is blocked and freed in turns, to see how long a command takes beside something large."""

from __future__ import annotations

import contextlib
import json
import sys
import threading
import time
from collections.abc import Iterator

from edged.domain import digest
from edged.domain.levels import Level

from .common import BenchError
from .rig import ANSWERS, COMMANDS, Rig

PAUSE = 0.02
"""Seconds between an answer and the next command, idle or beside a snapshot: more would be a load of its own."""
GUEST, GUEST_ADDRESS = "X-0000001", "100.95.0.1"
"""The subscriber that commands are on meanwhile, and an address that is none of people.py's."""
BLOCKED = digest.reason(GUEST, "operator", int(Level.WALLED), 0, ())


class Guest:
    """One subscriber that is blocked and freed in turns, each time when the last answer is there."""

    def __init__(self, rig: Rig, patience: float) -> None:
        self._rig, self._patience = rig, patience
        self._wire = rig.wire("bench-guest", ANSWERS, patience=patience)
        self._count = 0
        self.taken: list[tuple[float, float]] = []
        """(moment of the publish, seconds until the answer) while it was :meth:`busy`."""
        self._one(f'{{"op":"bind","sub":"{GUEST}","addresses":["{GUEST_ADDRESS}"]}}')

    def times(self, n: int) -> list[float]:
        """Seconds from publish to answer of ``n`` commands."""
        return [self._turn()[1] for _ in range(n)]  # even, so it is free again

    @contextlib.contextmanager
    def busy(self) -> Iterator[None]:
        """One command after the other until the block ends."""
        stop, fault = threading.Event(), list[BaseException]()

        def work() -> None:
            try:
                while not stop.is_set() or self._count % 2 == 0:  # the last one frees it
                    self.taken.append(self._turn())
            except BaseException as e:  # noqa: BLE001  raised again by the thread that waits
                fault.append(e)

        thread = threading.Thread(target=work, name="guest")
        before = sys.getswitchinterval()
        sys.setswitchinterval(0.0005)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join(self._patience)
            sys.setswitchinterval(before)
        if fault or thread.is_alive():
            raise BenchError(f"the commands beside the snapshot ended: {fault}; the daemon's log:\n{self._rig.log()}")

    def close(self) -> None:
        self._wire.close()

    def _turn(self) -> tuple[float, float]:
        time.sleep(PAUSE)
        op = "block" if self._count % 2 else "unblock"
        return self._one(f'{{"op":"{op}","sub":"{GUEST}","reason":"operator"}}')

    def _one(self, command: str) -> tuple[float, float]:
        self._count += 1
        name = f"guest-{self._count}"
        message = self._rig.signed({"id": name}, f"[{command}]".encode())
        start = self._wire.publish(COMMANDS, message)
        while True:
            at, payload = self._wire.receive()
            if name.encode() not in payload:
                continue
            found = json.loads(payload)
            if found.get("id") != name:
                continue
            if found["summary"]["applied"] != 1:
                raise BenchError(f"a command was not applied: {payload[:400]!r}")
            return start, at - start
