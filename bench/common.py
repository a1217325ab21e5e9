"""What every bench stands on: namespaces, cores, clocks, memory, medians, and the form of a result.

All times are seconds on ``time.monotonic()`` unless a name says otherwise. The machines are noisy, so a bench
runs us and the rival in turns and compares medians of neighbouring rounds; only ratios are promised.
"""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import itertools
import math
import os
import platform
import signal
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

CLONE_NEWNET = 0x40000000
MILLION = 1_000_000
BUDGET = 50.0
"""Seconds that one bench may take, preparation included."""

_libc = ctypes.CDLL(None, use_errno=True)
_numbers = itertools.count()


class BenchError(Exception):
    """The bench cannot be run here; the text says what is missing and how to get it."""


@dataclasses.dataclass(frozen=True)
class Row:
    """One figure of ours beside one rival. ``ratio`` is how many times better we are unless ``what`` says otherwise."""

    what: str
    ours: float
    rival: float | None
    unit: str
    rival_name: str
    ratio: float
    bar: str = ""
    met: bool | None = None


def result(bench: str, ratio: float, rows: Sequence[Row], **extra: Any) -> dict[str, Any]:
    """The JSON object that a bench prints as its last line."""
    return {
        "bench": bench,
        "ratio": round(ratio, 4),
        "rows": [dataclasses.asdict(row) for row in rows],
        **extra,
    }


def say(text: str) -> None:
    """Progress for people; the machine-readable line comes last."""
    print(f"# {text}", flush=True)


def need(*programs: str) -> None:
    """Raise :class:`BenchError` unless all programs are there and we are root."""
    if os.geteuid() != 0:
        raise BenchError("benches make network namespaces: run them as root")
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    missing = [p for p in programs if not any((Path(d) / p).exists() for d in path.split(":") if d)]
    if missing:
        raise BenchError(f"missing programs: {', '.join(missing)} (apt install {' '.join(missing)})")


def sh(*argv: str, text: str | None = None, check: bool = True) -> str:
    """Run one program, feed it ``text``, give back its output; its complaint is in the error."""
    done = subprocess.run(argv, input=text, capture_output=True, text=True, check=False)
    if check and done.returncode:
        raise BenchError(f"{' '.join(argv)}: status {done.returncode}: {done.stderr.strip()[:400]}")
    return done.stdout


# -- namespaces ---------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def namespaces(*roles: str) -> Iterator[dict[str, str]]:
    """Make network namespaces with names of our own; remove them at the end whatever happens."""
    tag = f"edb{os.getpid()}n{next(_numbers)}"
    names = {role: f"{tag}{role}" for role in roles}
    made: list[str] = []
    try:
        for name in names.values():
            sh("ip", "netns", "add", name)
            made.append(name)
            sh("ip", "-n", name, "link", "set", "dev", "lo", "up")
        yield names
    finally:
        for name in made:
            sh("ip", "netns", "del", name, check=False)


@contextlib.contextmanager
def inside(namespace: str) -> Iterator[None]:
    """This thread works in ``namespace`` until the block ends; sockets opened in it stay there."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    there = os.open(f"/run/netns/{namespace}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _setns(there)
        try:
            yield
        finally:
            _setns(home)
    finally:
        os.close(there)
        os.close(home)


def _setns(fd: int) -> None:
    if _libc.setns(fd, CLONE_NEWNET):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), "setns")


def write_in(namespace: str, path: str, value: str) -> None:
    """Write a file of /proc or /sys as it looks inside ``namespace``."""
    sh("ip", "netns", "exec", namespace, "sh", "-c", f"printf %s '{value}' > {path}")


# -- cores and memory ---------------------------------------------------------------------------------------------


def cores() -> list[int]:
    """The cores we may use, lowest first."""
    return sorted(os.sched_getaffinity(0))


@contextlib.contextmanager
def pinned(core: int) -> Iterator[None]:
    """This process runs on ``core`` alone until the block ends."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def come_first(pid: int | str = "self") -> Callable[[], None]:
    """Let a process's session come before other sessions of this machine; the function that comes back undoes it.

    Ours and the rival's alike: it keeps others' work out of what is measured, and changes nothing between the two.
    Where the kernel does not share processors by session, nothing happens.
    """
    group = Path(f"/proc/{pid}/autogroup")

    def write(value: str) -> None:
        with contextlib.suppress(OSError):
            group.write_text(value)

    try:
        before = group.read_text().rpartition(" ")[2]
    except OSError:
        before = "0"
    write("-15")
    return lambda: write(before)


def peak_rss(pid: int | str = "self") -> int:
    """Highest resident memory of a living process in bytes (VmHWM), 0 once it is gone.

    Not ``ru_maxrss``: that one is inherited over fork and exec, so a child never shows less than its parent.
    """
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    for line in text.splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


@dataclasses.dataclass(frozen=True)
class Ran:
    """A child process that ended well."""

    seconds: float
    peak: int
    output: str


def measure(argv: Sequence[str], *, namespace: str | None = None) -> Ran:
    """Run a child to its end: seconds from start to exit, and its peak memory, looked up every 5 ms."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        start = time.monotonic()
        with inside(namespace) if namespace else contextlib.nullcontext():
            child = subprocess.Popen(argv, stdout=out, stderr=err)
        peak = 0
        try:
            while True:
                peak = max(peak, peak_rss(child.pid))
                with contextlib.suppress(subprocess.TimeoutExpired):
                    child.wait(0.005)
                    break
            seconds = time.monotonic() - start
        finally:
            stop(child)
        out.seek(0)
        err.seek(0)
        if child.returncode:
            raise BenchError(f"{argv[0]}: status {child.returncode}: {err.read().strip()[-800:]}")
        return Ran(seconds, peak, out.read())


def stop(child: subprocess.Popen[Any], grace: float = 10.0) -> None:
    """End a child that we started: politely, then for good."""
    if child.poll() is not None:
        return
    child.send_signal(signal.SIGTERM)
    try:
        child.wait(grace)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def settle(limit: float = 5.0) -> None:
    """Wait until the kernel has freed what was deleted (it does so behind our back and would slow the next round)."""
    end = time.monotonic() + limit
    last = _slab()
    still = 0
    while time.monotonic() < end and still < 3:
        time.sleep(0.04)
        now = _slab()
        still = still + 1 if abs(now - last) < 512 else 0
        last = now


def _slab() -> int:
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("Slab:"):
            return int(line.split()[1])
    return 0


# -- numbers ------------------------------------------------------------------------------------------------------


def median(values: Sequence[float]) -> float:
    return statistics.median(values)


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least ``share`` (0..1) of the values do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def machine() -> str:
    """One line about where the figures come from."""
    model = "unknown processor"
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    nft = sh("nft", "--version", check=False).split(" (")[0].strip() or "nft ?"
    system = platform.freedesktop_os_release().get("PRETTY_NAME", "Linux")
    return (
        f"{len(cores())} cores of {model}, Linux {platform.release().split('-')[0]}, {system}, "
        f"{nft}, Python {platform.python_version()}"
    )
