"""A core that may die at any moment, and its kernel and its XDP maps, which do not."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edged.domain.address import words
from edged.domain.rejection import Rejected
from edged.errors import StoreError
from edged.intake import Incoming, groups
from edged.xdp.layout import Answers, Settings
from edged.xdp.mirror import Mirror
from tests.refusing_maps import from_maps, from_sets
from tests.torture.faults import Faults, MortalKernel, MortalMaps
from tests.torture.steps import HAND, SUBSCRIBERS, Message, Pause, Tick
from tests.unit.core import Core

_SETTINGS = Settings(Answers(b"found", b"found", b"bad"))


def ram() -> Path:
    """A fresh folder, where possible on a RAM disk: what is tested here is not the disk."""
    disk = Path("/dev/shm")
    return Path(tempfile.mkdtemp(prefix="edged-torture-", dir=disk if disk.is_dir() else None))


class Mortal(Core):
    """Not started by its constructor. ``faults`` None: it does not die."""

    kernel: MortalKernel

    def __init__(self, directory: Path, faults: Faults | None = None) -> None:
        self._built = False
        self._walk: Iterator[None] | None = None
        self.maps = MortalMaps()
        self.maps.faults = faults
        self.mirror: Mirror | None = None
        super().__init__(directory)
        self._built = True
        self.kernel = MortalKernel(lambda: self.now)
        self.kernel.faults = faults

    def start(self) -> None:
        self._walk = None
        if self._built:
            if self.mirror is not None:
                self.mirror.close()
            self.mirror = Mirror(self.maps, _SETTINGS, stop=lambda: None, steady=lambda: self.now * 1_000_000)
            super().start()

    def follow(self) -> None:
        """What the accelerator does when the maps refused something."""
        if self.mirror is not None and self.mirror.wanted:
            for _ in self.enforcer.follow(self.store, lambda: self.now):
                pass

    def astray(self) -> str:
        """What the maps say differently from the sets; empty while the program would not answer anyway."""
        if self.mirror is None or not self.mirror.true or not self.enforcer.synced:
            return ""
        maps, of_sets = from_maps(self.maps, self.now), from_sets(self)
        wrong = sorted(words(k) for k in maps.keys() | of_sets.keys() if maps.get(k) != of_sets.get(k))
        return f"maps and sets differ about {', '.join(wrong)}" if wrong else ""

    def refill(self) -> None:
        """As the keeper does it: not in the middle of a snapshot, where there is a table."""
        self.enforcer.follower = self.mirror
        if self.snapshot_under_way and self.kernel.table() is not None:
            self.finish_snapshot()
        else:
            super().refill()

    @property
    def snapshot_under_way(self) -> bool:
        """Whether a snapshot is complete and not yet in force and answered."""
        return self.pipeline.gathering.ready is not None

    def walk(self, steps: int) -> None:
        """Some steps of a snapshot that is complete; behind the last one the kernel is filled and it is answered."""
        for _ in range(steps):
            if not self.snapshot_under_way:
                return
            try:
                self._walk = self._walk or self.begin_snapshot()
                if next(self._walk, self) is not self:
                    continue
            except StoreError:  # a full disk: from the beginning, as the keeper does
                self._walk = None
                continue
            self._walk = None
            super().refill()
            self._finish()

    def _finish(self) -> None:
        while True:
            try:
                return self.replacement.finish()
            except StoreError:
                continue

    def finish_snapshot(self) -> None:
        """All of them."""
        while self.snapshot_under_way:
            self.walk(100)

    def serve(self, group: list[Message]) -> list[dict[str, Any]]:
        """The answers to a group of messages, once the kernel has it."""
        out: list[dict[str, Any]] = []
        for part in groups([Incoming(s.payload, s.source) for s in group]):
            outcome = self.pipeline.process(part)
            if not outcome.enforced:
                self.refill()
            out += [a.document for a in outcome.answers]
        return out

    def pause(self, step: Pause) -> None:
        """The clock goes forward, and all that is due is done; or a snapshot comes to its end."""
        if not isinstance(step, Tick):
            self.finish_snapshot()
            return
        self.now = max(self.now, step.now)
        while self.upkeep.expire()[0]:
            if not self.enforcer.synced:
                self.refill()

    def events(self) -> list[dict[str, Any]]:
        return list(self.numbered().values())

    def numbered(self) -> dict[int, dict[str, Any]]:
        """The events not yet published, by number."""
        return {n: e.document for n, e in self.store.events(1_000_000)}

    def records(self, names: tuple[str, ...] = (*SUBSCRIBERS, HAND)) -> dict[str, dict[str, Any] | None]:
        """Subscribers as support sees them."""
        out: dict[str, dict[str, Any] | None] = {}
        for name in names:
            try:
                out[name] = self.pipeline.questions.why(name)
            except Rejected:
                out[name] = None
        return out

    def digest(self) -> str:
        """What it says of its whole state."""
        return str(self.process(b'{"op":"digest"}').answers[0].document["results"][0]["record"]["hash"])

    def restrictions(self) -> dict[str, list[str]]:
        """Address -> the kernel sets it is in."""
        out: dict[str, list[str]] = {}
        for name, keys in self.in_kernel().items():
            role, _, length = name.rpartition("6_") if "6_" in name else (name.removesuffix("4"), "", "4")
            for key in keys:
                out.setdefault(words(bytes([int(length)]) + key), []).append(role)
        return {a: sorted(roles) for a, roles in out.items()}
