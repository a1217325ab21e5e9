"""A random stream of batches in which every effect can be told from every other.

* Each batch carries an address, the *witness*, through the hands of a subscriber called ``hand`` to a subscriber named
  after the batch. The events ``address.moved`` are therefore a ledger of what took effect, in which order, how often,
  and whether by halves.
* ``rev`` rises from command to command of a subscriber; references and invoices are never used twice; a promise
  spends its invoice. A command that is lost, repeated or late changes the answers behind it.
* Now and then the sender repeats a batch that it has sent before, as it would when it waits in vain for an answer.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from edged.domain.model import rfc3339
from tests.torture.model import World
from tests.torture.snapshots import Draft
from tests.torture.steps import (
    ADDRESSES,
    DEBTS,
    GHOST,
    GHOST_ADDRESSES,
    HAND,
    SUBSCRIBERS,
    WITNESS,
    Command,
    Sent,
    Settle,
    Step,
    Tick,
    mark,
)

HOUR = 3_600_000


@dataclass
class Stream:
    """Steps without end, the same for the same seed.

    ``ticks``: whether the clock is ours to move. ``ghosts`` or ``snapshots``: a ghost's forgetting and a snapshot in
    one stream would need a model that knows more of both.
    """

    seed: int
    start: int
    ticks: bool = True
    ghosts: bool = True
    snapshots: bool = False
    sources: tuple[str, ...] = ("gw/gw1/cmd", "group/all/cmd")
    seal: Callable[[dict[str, Any]], bytes] = lambda document: json.dumps(document).encode()
    """Makes the payload of a batch."""
    name: str = "b"
    steps: list[Step] = field(default_factory=list)
    """All that was drawn so far."""

    def __post_init__(self) -> None:
        self._rng = random.Random(f"stream {self.seed}")
        self._now = self.start
        self.count = 0
        """Batches drawn so far that must take effect, repeats not counted."""
        self._names = 0
        self._revs: dict[str, int] = {}
        self._invoices: dict[str, list[str]] = {}
        self._serial = 0
        self._numbering: dict[tuple[str, str], tuple[int, int]] = {}
        """(issuer, channel) -> (epoch, seq)."""
        self._ghost: list[str] = []
        self._world = World(self.start)
        self._planned: list[Step | None] = []
        """What comes next of a snapshot; None stands for any batch."""
        self._busy: Draft | None = None
        """The snapshot that is being carried out."""

    def __iter__(self) -> Iterator[Step]:
        while True:
            yield self.draw()

    def take(self, n: int) -> list[Step]:
        """Steps until there are ``n``."""
        while len(self.steps) < n:
            self.draw()
        return self.steps

    def draw(self) -> Step:
        """The next step, remembered in ``steps``."""
        self.steps.append(self._step())
        if self.snapshots:
            self._world.step(self.steps[-1])
        return self.steps[-1]

    def _step(self) -> Step:
        if self._planned:
            return self._next_planned()
        chance = self._rng.random()
        if self.ticks and self.steps and chance < 0.03:
            self._now += self._rng.choice((60_000, HOUR, 30 * HOUR))
            return Tick(self._now)
        old = [s for s in self.steps[-60:] if isinstance(s, Sent)]
        if old and chance < 0.08:
            return self._rng.choice(old)
        if self.snapshots and chance > 0.96:
            self._plan()
            return self._next_planned()
        return self._batch()

    def _plan(self) -> None:
        """A snapshot; before it perhaps one that is never completed, behind it some batches while it is carried out."""
        if self._rng.random() < 0.2:
            self._planned += self._draft().chunks(self.seal)[:-1]
        draft = self._draft()
        self._planned += [*draft.chunks(self.seal), *[None] * self._rng.randint(0, 5), Settle(draft.name)]
        self._busy = draft

    def _draft(self) -> Draft:
        return Draft(f"{self.name}{self.seed}-s{self._next()}", self._world, self._rng, self._next)

    def _next(self) -> int:
        self._serial += 1
        return self._serial

    def _next_planned(self) -> Step:
        step = self._planned.pop(0)
        if isinstance(step, Settle):
            self._busy = None
        return step or self._batch()

    def _batch(self) -> Sent:
        size = self._rng.choice((1, 1, 2, 3, 5, 8) if self._rng.random() < 0.97 else (55,))
        middle = [command for _ in range(size) for command in self._commands()]
        issuer, source = self._rng.choice(("erp", "crm")), self._rng.choice(self.sources)
        epoch, seq, stale = self._number((issuer, source))
        number = -1 if stale else self.count
        self.count += not stale
        commands = (
            {"op": "bind", "sub": HAND, "addresses": [WITNESS]},
            *middle,
            {"op": "bind", "sub": mark(number), "addresses": [WITNESS]},
        )
        self._names += 1
        name = f"{self.name}{self.seed}-{self._names}"
        document = {"v": 1, "id": name, "issuer": issuer, "epoch": epoch, "seq": seq, "commands": commands}
        return Sent(number, name, commands, self.seal(document), issuer, source, epoch, seq)

    def _number(self, at: tuple[str, str]) -> tuple[str, int, bool]:
        """Epoch and number of a batch, mostly the next; and whether it comes too late."""
        (epoch, seq), chance = self._numbering.get(at, (0, 0)), self._rng.random()
        if chance < 0.02 and seq:
            return f"e{epoch:04}", self._rng.randint(1, seq), True
        if chance < 0.03:
            epoch, seq = epoch + 1, 0
        seq += 1 if chance < 0.98 else 4
        self._numbering[at] = epoch, seq
        return f"e{epoch:04}", seq, False

    def _commands(self) -> list[Command]:
        chance = self._rng.random()
        if self.ghosts and chance < 0.05:
            return self._of_a_ghost()
        if chance < 0.07:
            return [self._rng.choice(({"op": "dance", "sub": "C-1"}, {"op": "block", "sub": "C-1"}))]
        return [self._numbered(self._plain(self._rng.choice(self._free(SUBSCRIBERS))))]

    def _free(self, names: tuple[str, ...]) -> list[str]:
        """Those that no snapshot under way is about to change."""
        taken = {*self._busy.changed, *self._busy.addresses} if self._busy else set()
        return [n for n in names if n not in taken]

    def _plain(self, sub: str) -> Command:
        rng = self._rng
        op = rng.choices(("bind", "unbind", "block", "unblock", "paid", "trust", "untrust"), (5, 1, 9, 4, 3, 6, 1))[0]
        match op:
            case "bind":
                mine = self._free(ADDRESSES)
                addresses = rng.sample(mine, min(rng.choice((0, 1, 1, 2, 3)), len(mine)))
                return {"op": op, "sub": sub, "addresses": addresses, "replace": rng.random() < 0.5}
            case "block":
                return self._block(sub)
            case "unblock":
                return {"op": op, "sub": sub, "reason": rng.choice(("debt*", "operator", "operator", *DEBTS))}
            case "paid":
                return {"op": op, "sub": sub} | ({"invoices": self._some(sub)} if rng.random() < 0.5 else {})
            case "trust":
                until = rfc3339(self._now + rng.randint(1, 48) * HOUR)
                named = {"invoices": self._some(sub)} if rng.random() < 0.4 else {}
                return {"op": op, "sub": sub, "until": until, **named}
            case _:
                return {"op": op, "sub": sub}

    def _block(self, sub: str) -> Command:
        self._next()
        command = {"op": "block", "sub": sub, "ref": f"T-{self._serial}"}
        if self._rng.random() < 0.25:
            return {**command, "reason": "operator"}
        fresh = [f"F-{self._serial}-{n}" for n in range(self._rng.choice((0, 1, 1, 2)))]
        old = self._some(sub) if self._rng.random() < 0.2 else []
        self._invoices.setdefault(sub, []).extend(fresh)
        return {**command, "reason": self._rng.choice(DEBTS), "invoices": [*fresh, *old]}

    def _some(self, sub: str) -> list[str]:
        known = self._invoices.get(sub, [])[-4:]
        return self._rng.sample(known, min(len(known), self._rng.choice((1, 1, 2)))) or [f"F-{sub}-never"]

    def _numbered(self, command: Command) -> Command:
        if self._rng.random() < 0.3:
            return command
        highest = self._revs[command["sub"]] = self._revs.get(command["sub"], 0) + 1
        return {**command, "rev": max(highest - (4 if self._rng.random() < 0.06 else 0), 0)}

    def _of_a_ghost(self) -> list[Command]:
        """A subscriber who is forgotten soon: that has a path of its own through the store."""
        if self._ghost and self._rng.random() < 0.7:
            return [{"op": "forget", "sub": self._ghost.pop()}]
        self._next()
        sub = f"{GHOST}{self._serial}"
        self._ghost.append(sub)
        return [
            {"op": "bind", "sub": sub, "addresses": [self._rng.choice(GHOST_ADDRESSES)]},
            {"op": "block", "sub": sub, "reason": "debt", "invoices": [f"G-{self._serial}"]},
        ]
