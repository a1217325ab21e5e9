"""``python -m tests``: everything, in pieces of some files each; whichever process is free takes the next piece.

There is a process more than there are processors, as much of it is waiting for real parts. What a piece says is printed
when it ends. Exit status 1 when a test of any failed.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

TESTS = Path(__file__).parent
PIECES = (
    "unit/",
    "system/test_resilience.py system/test_rules.py system/test_story.py",
    "system/",
    "system/test_client",
    "torture/",
    "contract/ kernel/",
    "system/test_portal.py system/test_lab.py system/test_gardens.py",
    "unit/test_a_year.py unit/test_audit.py unit/test_reference.py",
    "system/test_bad_input.py system/test_group.py",
    "system/test_brokers.py",
)
"""Beginnings of paths; a file belongs to the piece that names most of its path, and to one more when none does.

What takes longest goes first, so that all processes end at about the same time.
"""
ROOM = 512 << 20
"""Free bytes that a RAM disk must have."""
PREFIX = "edged-tests"


def pieces(files: list[str]) -> list[list[str]]:
    """Each test file, a path below ``tests``, in exactly one piece; no piece is empty."""
    out: list[list[str]] = [[] for _ in range(len(PIECES) + 1)]
    named = [(beginning, n) for n, piece in enumerate(PIECES) for beginning in piece.split()]
    for name in sorted(files):
        fitting = [(len(beginning), n) for beginning, n in named if name.startswith(beginning)]
        out[max(fitting)[1] if fitting else -1].append(name)
    return [piece for piece in out if piece]


@contextlib.contextmanager
def room() -> Iterator[Path]:
    """A folder for what the tests write: in memory where there is room, so that no commit waits for a disk.

    Whether edged waits for the disk where it must is tested by its system calls (``torture/cuts.py``).
    """
    memory = Path("/dev/shm")
    usable = memory.is_dir() and os.access(memory, os.W_OK) and shutil.disk_usage(memory).free >= ROOM
    parent = memory if usable else Path(tempfile.gettempdir())
    for old in parent.glob(f"{PREFIX}-*"):  # of a run that was killed
        if (found := re.match(rf"{PREFIX}-(\d+)-", old.name)) and not Path(f"/proc/{found[1]}").exists():
            shutil.rmtree(old, ignore_errors=True)
    made = Path(tempfile.mkdtemp(prefix=f"{PREFIX}-{os.getpid()}-", dir=parent))
    made.chmod(0o755)  # the portal gives up root and must still reach its socket
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


class Run:
    """All the pieces, ``processes`` at a time, their temporary files in ``folder``."""

    def __init__(self, folder: Path, processes: int) -> None:
        self._folder = folder
        self._processes = processes
        self._running: set[subprocess.Popen[str]] = set()
        self._lock = threading.Lock()
        self._over = False

    def all(self, todo: list[list[str]]) -> bool:
        """Run them; whether all tests of all of them passed."""
        good = True
        began = time.monotonic()
        with ThreadPoolExecutor(self._processes) as pool:
            try:
                futures = [pool.submit(self._one, n, piece) for n, piece in enumerate(todo)]
                for n, done in enumerate(as_completed(futures), 1):
                    status, said = done.result()
                    good = good and status == 0
                    print(f"{said}\n[{n} of {len(todo)} pieces, {time.monotonic() - began:.0f} s]\n", flush=True)
            finally:
                self._end()
        return good

    def _one(self, number: int, piece: list[str]) -> tuple[int, str]:
        with self._lock:
            if self._over:
                return 1, "not begun"
            options = ["-p", "no:cacheprovider", f"--basetemp={self._folder / str(number)}"]  # short: sockets lie in it
            process = subprocess.Popen(
                [sys.executable, "-m", "pytest", *options, *(str(TESTS / name) for name in piece)],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                env={**os.environ, "TMPDIR": str(self._folder)},
            )
            self._running.add(process)
        said, _ = process.communicate()
        with self._lock:
            self._running.discard(process)
        return process.returncode, said

    def _end(self) -> None:
        """Nothing more begins, and what still runs ends."""
        with self._lock:
            self._over = True
            for process in self._running:
                process.terminate()


def main() -> int:
    """Entry point."""
    files = [str(path.relative_to(TESTS)) for path in TESTS.rglob("test_*.py")]
    with room() as folder:
        return 0 if Run(folder, len(os.sched_getaffinity(0)) + 1).all(pieces(files)) else 1


if __name__ == "__main__":
    raise SystemExit(main())
