"""Thousands of kills of one core: store on a RAM disk, a kernel that outlives it, messages that come again."""

from __future__ import annotations

import errno
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

from edged import replacement
from edged.errors import StoreError
from tests.torture import history
from tests.torture.faults import ANYWHERE, LINE, Faults, Killed, sqlite
from tests.torture.history import History, Violation
from tests.torture.model import World
from tests.torture.mortal import Mortal, ram
from tests.torture.postbox import Postbox
from tests.torture.report import Report
from tests.torture.steps import Message, Settle, Tick
from tests.torture.stream import Stream
from tests.unit.core import START

EPISODE = 250
"""Kills between two looks at everything."""
PATIENCE = 6
"""Groups of messages after which a point that nobody passes is given up."""


Serve = Callable[[Mortal, list[Message]], list[dict[str, Any]]]


class Episode:
    """One database and one kernel from their beginning through ``kills`` kills.

    ``serve`` and ``early`` make mutants that must be found out: a core that does something else with its messages, and
    one that acknowledges before it has done anything.
    """

    def __init__(
        self, seed: int, kills: int, *, serve: Serve = Mortal.serve, early: bool = False, snapshots: bool = False
    ) -> None:
        self.seed, self.kills, self._serve, self._early = seed, kills, serve, early
        self.rng = random.Random(f"kills {seed}")
        self.stream = Stream(seed, START, snapshots=snapshots, ghosts=not snapshots)
        self.box = Postbox(self.stream, self.rng)
        self.folder = ram()
        self.lives = 0
        self.faults = Faults(self._aside)
        self.core = Mortal(self._place(0), self.faults)
        self.world, self.modelled = World(START), 0
        self.violations: list[Violation] = []

    def run(self) -> Report:
        """Live, die, live again; then let everything come to an end, and judge."""
        pragmas = {"wal_autocheckpoint": self.rng.choice((15, 60, 250, 4000))}
        try:
            with sqlite(self.faults, pragmas), mock.patch.object(replacement, "STEP", self.rng.choice((3, 9, 25))):
                for _ in range(self.kills):
                    self._life()
                self.box.closed = True
                self.core.start()
                while self._group():
                    pass
                self.core.finish_snapshot()
                self._judge()
        finally:
            self.faults.revive()
            shutil.rmtree(self.folder)
        told = [f"kills, seed {self.seed}: {v.kind}: {v.detail}" for v in self.violations]
        again = sum(1 for a in self.box.heard if a["duplicate"])
        return Report(self.faults.kills, self.stream.count, len(self.box.heard), again, told)

    # -- lives -----------------------------------------------------------------------------------------------

    def _life(self) -> None:
        """A process from its start to its death."""
        if self.rng.random() < 0.25:
            self._choose()
        try:
            with self.faults.tracing():
                self.core.start()
            if not self.faults.armed:
                self._choose()
            for n in range(1000):
                if n == PATIENCE:
                    self.faults.arm(ANYWHERE, self.rng.randint(1, 20))
                with self.faults.tracing():
                    self._group()
        except Killed:
            pass
        except Exception:
            if not self.faults.dead:  # the dying may complain of anything
                raise
        assert self.faults.dead, "nobody could be killed within a thousand groups of messages"
        self._bury()

    def _choose(self) -> None:
        """Arm a point, of those passed so far each as likely."""
        points = sorted(self.faults.passed)
        chance = self.rng.random()
        if chance < 0.3:
            self.faults.arm(LINE, round(10 ** self.rng.uniform(0, 4)))
        elif points and chance < 0.85:
            self.faults.arm(self.rng.choice(points), self.rng.choice((1, 1, 2, 3, 8)))
        else:
            self.faults.arm(ANYWHERE, self.rng.randint(1, 100))

    def _place(self, life: int) -> Path:
        return self.folder / str(life)

    def _aside(self) -> None:
        """The files as they are in the instant of death, for the next life."""
        source, target = self._place(self.lives), self._place(self.lives + 1)
        target.mkdir()
        for path in source.iterdir() if source.exists() else ():
            shutil.copyfile(path, target / path.name)

    def _bury(self) -> None:
        self.faults.revive()
        shutil.rmtree(self._place(self.lives), ignore_errors=True)
        self.lives += 1
        self.core.directory = self._place(self.lives)
        self.core.kernel.close()
        self.core.kernel.failures = []
        self.box.crash()

    # -- the daemon's turn ---------------------------------------------------------------------------------------

    def _group(self) -> bool:
        """Take, carry out, answer, acknowledge. False when there is nothing left."""
        step = self.box.take(self.rng.choice((1, 1, 2, 4, 9)))
        if step is None:
            return False
        self.faults.at("a message came")
        if isinstance(step, Tick | Settle):
            self.core.pause(step)
            self.box.passed()
            return True
        if self._early:
            self._acknowledge(step)
        for answer in self._served(step):
            self.faults.at("before an answer")
            self.box.answer(answer)
        self.faults.at("after the answers")
        self.box.flush()
        self._look_into_the_kernel()
        if not self._early:
            self._acknowledge(step)
        self.core.walk(self.rng.choice((0, 0, 1, 1, 2, 9)))
        return True

    def _served(self, group: list[Message]) -> list[dict[str, Any]]:
        self._disturb()
        while True:
            try:
                answers = self._serve(self.core, group)
            except StoreError:  # a full disk: again, as the keeper does
                self.faults.at("after a failed commit")
                continue
            self.core.kernel.failures, self.core.maps.failures, self.faults.refusals = [], [], []
            self.core.follow()
            return answers

    def _acknowledge(self, group: list[Message]) -> None:
        for _ in group:
            self.faults.at("before PUBACK")
            self.box.acknowledge()
        self.faults.at("after PUBACK")

    def _disturb(self) -> None:
        """Now and then the kernel or the disk says no, which is an error and not a death."""
        chance = self.rng.random()
        self.core.kernel.failures = (
            [self.rng.choice((errno.EBUSY, errno.ENOBUFS, errno.ENOENT))] if chance < 0.03 else []
        )
        self.faults.refusals = [self.rng.choice(("INSERT", "COMMIT", "BEGIN"))] if chance > 0.97 else []
        if 0.1 < chance < 0.16:
            self.core.maps.failures = [(self.rng.choice(("write", "delete", "begin", "switch")), errno.ENOMEM)]

    # -- judging -------------------------------------------------------------------------------------------------

    def _look_into_the_kernel(self) -> None:
        """What is answered is in force (invariant 2)."""
        if self.box.position < self.box.furthest:
            return  # what was delivered before and not answered may be in force or not
        while self.modelled < self.box.position:
            self.world.step(self.box.steps[self.modelled])
            self.modelled += 1
        if self.core.snapshot_under_way:
            return  # what it will change is not yet changed
        if (astray := self.core.astray()) and not self.violations:
            self.violations.append(Violation("maps", f"behind step {self.modelled}: {astray}"))
        wanted, got = self.world.in_kernel(), self.core.restrictions()
        if wanted != got and not self.violations:
            wrong = sorted(a for a in {**wanted, **got} if wanted.get(a) != got.get(a))
            detail = ", ".join(f"{a} is in {got.get(a)} instead of {wanted.get(a)}" for a in wrong)
            self.violations.append(Violation("kernel", f"behind step {self.modelled}: {detail}"))

    def _judge(self) -> None:
        done = History(
            START, self.box.steps, self.box.heard, self.core.events(), self.core.records(), self.core.digest()
        )
        self.violations += history.check(done)
        if not self.core.agrees():
            self.violations.append(Violation("kernel", "a refill in the end changed what was in force"))
        self.core.follow()
        if (astray := self.core.astray()) or not (self.core.mirror and self.core.mirror.true):
            self.violations.append(Violation("maps", f"in the end: {astray or 'they were never filled'}"))
