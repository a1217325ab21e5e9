"""What a process did to the files of a folder, in order, from a log of strace."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

CALLS = (
    "open openat creat write writev pwrite64 pwritev pwritev2 ftruncate truncate fallocate fsync fdatasync msync mmap"
    " sync_file_range unlink unlinkat rename renameat renameat2 link linkat copy_file_range sendfile sendto"
).split()
LONGEST = 1 << 20
"""Bytes of one write that the log keeps; a longer one is an error, not a guess."""


class Write(NamedTuple):
    path: str
    offset: int
    data: bytes


class Truncate(NamedTuple):
    path: str
    size: int


class Sync(NamedTuple):
    """fsync or fdatasync, completed; of a file or of a folder."""

    path: str


class Create(NamedTuple):
    path: str


class Unlink(NamedTuple):
    path: str


class Said(NamedTuple):
    """Something that left the process: from here on somebody may rely on it. ``voice`` names the file or socket."""

    voice: str
    data: bytes


Op = Write | Truncate | Sync | Create | Unlink | Said

_AT_THE_END = ("open", "openat", "creat", "fsync", "fdatasync", "mmap")
"""Calls whose result says what they did; the others may have done it as soon as they began."""
_LINE = re.compile(r"^(\d+) +(\w+)\((.*)\) += (-?\w+)(?:<([^>]*)>)?.*$", re.DOTALL)
_UNFINISHED = re.compile(r"^(\d+) +(\w+)\((.*) <unfinished \.\.\.>$")
_RESUMED = re.compile(r"^(\d+) +<\.\.\. (\w+) resumed>(.*)$")
_FD = re.compile(r"^\d+<([^>]*)>")
_PATH = re.compile(r'(?:"((?:\\x[0-9a-f]{2})*)"|\d<([^>]*)>)')
_TEXT = re.compile(r'"((?:\\x[0-9a-f]{2})*)"(\.\.\.)?')


def strace(log: Path) -> list[str]:
    """What to put before a command so that ``log`` becomes its write log; it runs a few times slower."""
    return ["strace", "-f", "-y", "-xx", "-s", str(LONGEST), "-e", f"trace={','.join(CALLS)}", "-o", str(log)]


def record(argv: Sequence[str], log: Path, timeout: float = 100.0) -> None:
    """Run a program to its end and log it. Raises RuntimeError with what it said when it fails."""
    done = subprocess.run(
        [*strace(log), *argv], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout
    )
    if done.returncode:
        raise RuntimeError(f"the recorded run ended with {done.returncode}: {done.stderr[-2000:]}")


def read(log: Path, folder: str, said: str) -> list[Op]:
    """The operations on the files in ``folder``, and what was written to files or sockets named ``said`` or longer.

    With several threads a write counts from its beginning, a sync from its end. Raises ValueError for a call it does
    not understand.
    """
    begun: dict[str, tuple[str, str, int]] = {}
    ops: list[list[Op]] = []
    with log.open() as lines:
        for raw in lines:
            line, place = raw.rstrip("\n"), len(ops)
            if found := _UNFINISHED.match(line):
                begun[found[1]] = found[2], found[3].removesuffix(","), place
                ops.append([])
                continue
            if found := _RESUMED.match(line):
                name, arguments, started = begun.pop(found[1])
                line = f"{found[1]} {name}({arguments}{found[3]}"
                place = place if name in _AT_THE_END else started
            if (found := _LINE.match(line)) and not found[4].startswith("-"):
                done = [*_ops(found[2], found[3], _plain(found[5] or ""), found[4], folder, said)]
                if place == len(ops):
                    ops.append([])
                ops[place] = done
    return [op for done in ops for op in done]


def _ops(name: str, arguments: str, opened: str, result: str, folder: str, said: str) -> Iterator[Op]:
    held = _FD.match(arguments)
    path = _plain(held[1]) if held else ""
    if name in {"open", "openat", "creat"}:
        if opened.startswith(folder) and "O_CREAT" in arguments:
            yield Create(opened)
        if opened.startswith(folder) and "O_TRUNC" in arguments:
            yield Truncate(opened, 0)
    elif held and path.startswith(said) and name in {"write", "sendto"}:
        if arguments[held.end() :].startswith(', "'):  # else it is netlink, which strace takes apart
            yield Said(path, _bytes(arguments)[: int(result)])
    elif not (named := _named(name, arguments, folder)):
        return
    elif name == "unlink":
        yield Unlink(named)
    elif name in {"fsync", "fdatasync"}:
        yield Sync(path)
    elif name == "pwrite64":
        data, offset = _bytes(arguments), int(arguments.rpartition(", ")[2])
        yield Write(path, offset, data[: int(result)])
    elif name == "ftruncate":
        yield Truncate(path, int(arguments.rpartition(", ")[2]))
    else:
        raise ValueError(f"{name} on {named}: the harness would have to learn what this does to a disk")


def _named(name: str, arguments: str, folder: str) -> str:
    """The file of ours that a call is about, if any. Shared memory is rebuilt after a power cut, whatever is in it."""
    if name == "mmap" and not ("PROT_WRITE" in arguments and "MAP_SHARED" in arguments):
        return ""
    if "<" in arguments[:16] and (held := _FD.match(arguments)):
        found = [_plain(held[1])]  # what is written may look like anything
    else:
        found = [_plain(a or b) for a, b in _PATH.findall(arguments)]
    return next((p for p in found if p.startswith(folder) and not p.endswith("-shm")), "")


def _bytes(arguments: str) -> bytes:
    found = _TEXT.search(arguments)
    if found is None or found[2]:
        raise ValueError(f"not a whole text: {arguments[:100]}")
    return bytes.fromhex(found[1].replace("\\x", ""))


def _plain(path: str) -> str:
    return bytes.fromhex(path.replace("\\x", "")).decode() if path.startswith("\\x") else path
