"""A disk that may lose its power: what of a write log is certainly on it, and what perhaps.

Certain is what a completed sync of that file stands behind. Everything written later is on the disk or not, sector by
sector and in any order, as the page cache was being written back: a sector holds what the file held there at some
moment since its last sync. Names are certain once their folder was synced; before, the latest of them may be missing.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from pathlib import PurePath

from tests.torture.writelog import Create, Op, Said, Sync, Truncate, Unlink, Write

SECTOR = 512


@dataclass
class File:
    """``durable``: as after its last sync."""

    durable: bytearray = field(default_factory=bytearray)
    pending: list[Write | Truncate] = field(default_factory=list)

    def sync(self) -> None:
        for op in self.pending:
            _apply(self.durable, op)
        self.pending = []

    def cut(self, rng: random.Random) -> bytes:
        """What may be found after the power came back."""
        found = bytearray(self.durable)
        chance = rng.random()
        if chance < 0.15 or not self.pending:
            return bytes(found)
        if chance < 0.3:  # as if only the process had died
            whole, torn = self.pending, []
        elif chance < 0.6:  # in order up to a moment, the write of that moment in part
            n = rng.randrange(len(self.pending))
            whole, torn = self.pending[:n], self.pending[n : n + 1]
        else:  # in any order; a new size of the file divides what came before it from what came behind it
            sizes = [i for i, op in enumerate(self.pending) if isinstance(op, Truncate)]
            start = rng.choice((0, *(i + 1 for i in sizes)))
            end = next((i for i in sizes if i >= start), len(self.pending))
            whole, torn = self.pending[:start], self.pending[start:end]
        for op in whole:
            _apply(found, op)
        _tear(found, [op for op in torn if isinstance(op, Write)], rng)
        return bytes(found)


@dataclass
class Disk:
    """The files under one folder. Feed it a log's operations in order."""

    files: dict[str, File] = field(default_factory=dict)
    """As the running process sees them."""
    said: list[Said] = field(default_factory=list)
    _names: dict[str, File] = field(default_factory=dict)
    """As the folder says after its last sync."""
    _pending: list[tuple[str, File | None]] = field(default_factory=list)
    """Names given (or, with None, taken) since then."""

    def feed(self, op: Op) -> None:
        match op:
            case Create(path):
                if path not in self.files:
                    self.files[path] = File()
                    self._pending.append((path, self.files[path]))
            case Unlink(path):
                if self.files.pop(path, None) is not None:
                    self._pending.append((path, None))
            case Write(path) | Truncate(path):
                self.files[path].pending.append(op)
            case Sync(path):
                self._sync(path)
            case Said():
                self.said.append(op)

    def _sync(self, path: str) -> None:
        if path in self.files:
            self.files[path].sync()
            return
        for name, file in self._pending:  # all files are in one folder
            self._rename(self._names, name, file)
        self._pending = []

    @staticmethod
    def _rename(names: dict[str, File], name: str, file: File | None) -> None:
        if file is None:
            names.pop(name, None)
        else:
            names[name] = file

    def cut(self, rng: random.Random) -> dict[str, bytes]:
        """File names and contents that may be found after the power came back."""
        names = dict(self._names)
        for name, file in self._pending[: rng.choice((0, len(self._pending), rng.randint(0, len(self._pending))))]:
            self._rename(names, name, file)
        return {PurePath(path).name: file.cut(rng) for path, file in names.items()}


def _apply(image: bytearray, op: Write | Truncate) -> None:
    size = op.size if isinstance(op, Truncate) else op.offset + len(op.data)
    if len(image) < size:
        image.extend(bytes(size - len(image)))
    if isinstance(op, Truncate):
        del image[op.size :]
    else:
        image[op.offset : size] = op.data


def _tear(image: bytearray, writes: list[Write], rng: random.Random) -> None:
    """Of each sector touched, one of the contents it had."""
    sectors: dict[int, list[Write]] = {}
    for op in writes:
        for sector in range(op.offset // SECTOR, (op.offset + len(op.data) - 1) // SECTOR + 1):
            sectors.setdefault(sector, []).append(op)
    share = rng.choice((0.1, 0.5, 0.9))  # mostly lost, half, mostly there
    for sector, touching in sectors.items():
        low, high = sector * SECTOR, (sector + 1) * SECTOR
        n = len(touching) if rng.random() < share else rng.randrange(len(touching))
        for op in touching[:n]:
            first, last = max(low, op.offset), min(high, op.offset + len(op.data))
            _apply(image, Write(op.path, first, op.data[first - op.offset : last - op.offset]))
