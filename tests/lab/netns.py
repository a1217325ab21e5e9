"""A network namespace one can work in without leaving this process.

A namespace belongs to a *thread*, and a socket remembers the one it was made in. So each :class:`Namespace` keeps one
helper thread inside it which makes the sockets; whoever asked uses them from anywhere. That spares an agent process
per namespace and lets a refusal of half a millisecond be measured as half a millisecond.
"""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

RUN = Path("/run/netns")
PREFIX = "edgedlab"
_CLONE_NEWNET = 0x40000000
_NAME = re.compile(rf"{PREFIX}-(\d+)-")
_serial = itertools.count()


def unique_tag() -> str:
    """A name part no other lab on this machine has now: this process's id and a serial number."""
    return f"{PREFIX}-{os.getpid()}-{next(_serial)}"


def _enter(path: Path) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if libc.setns(fd, _CLONE_NEWNET) != 0:
            errno = ctypes.get_errno()
            raise OSError(errno, os.strerror(errno), str(path))
    finally:
        os.close(fd)


class Namespace:
    """One named network namespace. ``create`` makes it, ``delete`` ends what still runs in it and removes it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.path = RUN / name
        self._thread: ThreadPoolExecutor | None = None

    def create(self) -> None:
        """Make the namespace with its loopback up. Raises CalledProcessError (not root, name taken)."""
        subprocess.run(["ip", "netns", "add", self.name], check=True, capture_output=True)
        self._thread = ThreadPoolExecutor(1, f"in-{self.name}", initializer=_enter, initargs=(self.path,))
        self.ip("link set lo up")

    def delete(self) -> None:
        """End the processes inside, by pid, and remove the namespace. Never fails; calling it twice is harmless."""
        if self._thread is not None:
            self._thread.shutdown()
            self._thread = None
        if self.path.exists():
            end_processes(self.pids())
            subprocess.run(["ip", "netns", "del", self.name], check=False, capture_output=True)

    def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run ``function`` in the namespace's thread; sockets, threads and processes it makes live in the namespace."""
        if self._thread is None:
            raise RuntimeError(f"namespace {self.name} does not exist (any more)")
        return self._thread.submit(function, *args, **kwargs).result()

    def socket(self, family: socket.AddressFamily, kind: socket.SocketKind) -> socket.socket:
        """A fresh socket of this namespace."""
        return self.call(socket.socket, family, kind)

    def run(self, *argv: str, stdin: str | None = None, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a program inside to its end; with ``check`` a failure raises RuntimeError carrying what it said."""
        done = subprocess.run(
            [*self.prefix(), *argv], input=stdin, capture_output=True, text=True, check=False, timeout=60
        )
        if check and done.returncode:
            raise RuntimeError(f"{' '.join(argv)!r} in {self.name} ended with {done.returncode}: {done.stderr.strip()}")
        return done

    def prefix(self) -> list[str]:
        """What to put before a command line so that it runs inside."""
        return ["ip", "netns", "exec", self.name]

    def ip(self, *lines: str) -> None:
        """Several ``ip`` commands in one process. Raises RuntimeError with the first complaint."""
        done = subprocess.run(
            ["ip", "-n", self.name, "-batch", "-"], input="\n".join(lines), capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise RuntimeError(f"ip in {self.name}: {done.stderr.strip()}")

    def sysctl(self, **values: int | str) -> None:
        """Set sysctls of the namespace; ``net__ipv4__ip_forward=1`` writes net.ipv4.ip_forward."""

        def write() -> None:
            for key, value in values.items():
                Path("/proc/sys", *key.split("__")).write_text(f"{value}\n")

        self.call(write)

    def pids(self) -> list[int]:
        """The processes that live inside now, this one never among them."""
        done = subprocess.run(["ip", "netns", "pids", self.name], capture_output=True, text=True, check=False)
        return [pid for pid in map(int, done.stdout.split()) if pid != os.getpid()]


def mount_bpffs(path: Path) -> None:
    """Mount a BPF file system. Not from inside ``ip netns exec``, whose mounts end with the process."""
    path.mkdir()
    subprocess.run(["mount", "-t", "bpf", "bpf", str(path)], check=True, capture_output=True)


def unmount(path: Path) -> None:
    """Take a file system away; what is pinned in it goes. Never fails."""
    subprocess.run(["umount", "--lazy", str(path)], check=False, capture_output=True)


def end_processes(pids: Sequence[int], *, grace: float = 0.0) -> None:
    """End these processes: SIGTERM and up to ``grace`` seconds first, where given, then SIGKILL; waits until gone."""
    for number, patience in ((signal.SIGTERM, grace), (signal.SIGKILL, 5.0)):
        if not patience:
            continue
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        end = time.monotonic() + patience
        while any(alive(pid) for pid in pids) and time.monotonic() < end:
            time.sleep(0.01)


def alive(pid: int) -> bool:
    """Whether the process still runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def sweep() -> None:
    """Remove what labs left behind whose process is gone (it was killed with SIGKILL and could not clean up)."""
    places = [place for place in (RUN, Path(tempfile.gettempdir())) if place.is_dir()]
    for path in [path for place in places for path in place.iterdir()]:
        found = _NAME.match(path.name)
        if found is None or Path(f"/proc/{found[1]}").exists():
            continue
        if path.parent == RUN:
            Namespace(path.name).delete()
        else:
            unmount(path / "bpf")
            shutil.rmtree(path, ignore_errors=True)
