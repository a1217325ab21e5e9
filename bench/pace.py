"""How much of a core a process had, and how fast the core is just now: to tell our figures from the machine's noise."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import time
from collections.abc import Callable
from pathlib import Path

from .common import pinned

LOOP = 200_000
_TICK = os.sysconf("SC_CLK_TCK")


@dataclasses.dataclass(frozen=True)
class Core:
    """What a core did between two looks, in seconds: the daemon's own work, and anybody's."""

    wall: float
    daemon: float
    busy: float

    @property
    def others(self) -> float:
        """The share of the time that somebody else had the daemon's core."""
        return max(0.0, self.busy - self.daemon) / self.wall if self.wall else 0.0


def watch(pid: int, core: int) -> Callable[[], Core]:
    """Look at a process and a core; the function that comes back tells what happened there since."""
    wall, own, busy = time.monotonic(), cpu(pid), _busy(core)
    return lambda: Core(time.monotonic() - wall, cpu(pid) - own, _busy(core) - busy)


def calibrate(core: int) -> float:
    """Rounds a second, in millions, of a fixed loop on that core."""
    with pinned(core):
        start, x = time.perf_counter(), 1
        for _ in range(LOOP):
            x = x * 1103515245 + 12345 & 0x7FFFFFFF
        return LOOP / (time.perf_counter() - start) / 1e6


def cpu(pid: int) -> float:
    """CPU seconds a process has used so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICK


def idle(core: int) -> float:
    """Seconds since the machine was started in which the core had nothing to do."""
    _user, _nice, _system, nothing, wait, *_ = _ticks(core)
    return (nothing + wait) / _TICK


def strangers() -> Callable[[], float]:
    """Who works here? CPU seconds since, of processes that are neither ours nor threads of the kernel.

    With what their children had, once those have ended: rather too much than too little.
    """
    before = _strangers()
    return lambda: sum(spent - before.get(who, 0.0) for who, spent in _strangers().items())


def _strangers() -> dict[int, float]:
    found: dict[int, tuple[int, float]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = path.read_text().rpartition(")")[2].split()
            found[int(path.parent.name)] = int(fields[1]), sum(map(int, fields[11:15])) / _TICK
    kernel = 2

    def known(pid: int) -> bool:
        while pid in found:
            if pid in {os.getpid(), kernel}:
                return True
            pid = found[pid][0]
        return False

    return {pid: spent for pid, (_, spent) in found.items() if not known(pid)}


def _busy(core: int) -> float:
    """Seconds that the core was not idle since the machine was started."""
    user, nice, system, _idle, _wait, irq, soft, steal = _ticks(core)
    return (user + nice + system + irq + soft + steal) / _TICK


def _ticks(core: int) -> list[int]:
    """Eight of them, as /proc/stat has them (proc(5)); zeros where the core is not known."""
    for line in Path("/proc/stat").read_text().splitlines():
        name, *fields = line.split()
        if name == f"cpu{core}":
            return [int(field) for field in fields[:8]]
    return [0] * 8
