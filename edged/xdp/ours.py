"""Which XDP programs are edged's: by their pins, by their name, or by what an earlier start noted.

A pin goes with its file system (a container's restart, ``umount``, ``rm``), the program stays where it is attached. So
the name counts as well. The kernel tells names to root alone; for a daemon that is not root (``edged-core.service``)
each start notes its program's number in the state directory, beside the boot that it belongs to: the kernel gives no
number twice before the next boot.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from edged.xdp import libbpf
from edged.xdp.binding import BpfError

PROGRAM = "edged_xdp"
NOTES = "xdp-programs"
"""File in the state directory: a boot's id, a blank and a program's number on each line."""
_BOOT = Path("/proc/sys/kernel/random/boot_id")
_SPACE = Path("/proc/thread-self/ns/net")
_REMEMBERED = 64


def namespace() -> int:
    """The kernel's number of the calling thread's network namespace."""
    return _SPACE.stat().st_ino


def pin_name(number: int) -> str:
    """What a program is pinned as: its number, and the namespace it is attached in."""
    return f"program-{number}-{namespace()}"


def elsewhere(pins: Path) -> bool:
    """Whether a folder of pins belongs to an edged in another network namespace."""
    spaces = {path.name.split("-")[2] for path in pins.glob("program-*-*")}
    return bool(spaces) and str(namespace()) not in spaces


class Ours:
    """The programs of edged. ``pins``: folder to look into, ``notes``: file of earlier starts; close it."""

    def __init__(self, pins: Path | None = None, notes: Path | None = None) -> None:
        self.pins: dict[int, Path] = {}
        self._fds: dict[int, int] = {}
        self._noted = _noted(notes)
        self._others: set[int] = set()
        for path in sorted(pins.glob("program-*")) if pins is not None else ():
            fd = libbpf.pinned(path)
            if fd is not None:
                number = libbpf.number(fd)
                self.keep(number, fd)
                self.pins[number] = path

    def keep(self, number: int, fd: int) -> None:
        """This one is ours, too. The descriptor is closed with the others."""
        if number in self._fds:
            os.close(self._fds[number])
        self._fds[number] = fd

    def has(self, number: int) -> bool:
        """Whether the program with this number (0: none) is edged's."""
        if number and number not in self._fds and number not in self._others:
            try:
                fd = libbpf.program(number)
            except BpfError:  # not root
                fd = None
            if fd is None or libbpf.program_name(fd) == PROGRAM:
                self._fds.update({number: fd} if fd is not None else {})
            else:
                os.close(fd)
                self._others.add(number)
        return number in self._fds or (number in self._noted and number not in self._others)

    def fd(self, number: int) -> int | None:
        """Its descriptor; None where there is none to be had."""
        return self._fds.get(number)

    def forget(self, number: int) -> None:
        """Let go of one and of its pin."""
        self.pins.pop(number).unlink(missing_ok=True)
        os.close(self._fds.pop(number))

    def close(self) -> None:
        """Give the descriptors back."""
        libbpf.close_all(list(self._fds.values()))
        self._fds = {}


def note(notes: Path, number: int) -> None:
    """Remember the program of this start. A file that cannot be written is no reason to do without XDP."""
    known = [*sorted(_noted(notes)), number][-_REMEMBERED:]
    new = notes.with_suffix(".new")
    with contextlib.suppress(OSError):
        new.write_text("".join(f"{_boot()} {n}\n" for n in known), "ascii")
        new.replace(notes)


def _noted(notes: Path | None) -> frozenset[int]:
    try:
        lines = notes.read_text("ascii", "replace").splitlines() if notes is not None else []
    except OSError:
        return frozenset()
    rows = [line.split() for line in lines]
    boot = _boot()
    return frozenset(int(row[1]) for row in rows if len(row) == 2 and row[0] == boot and row[1].isdecimal())


def _boot() -> str:
    return _BOOT.read_text("ascii").strip()
