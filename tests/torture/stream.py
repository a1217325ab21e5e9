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
from typing import Any, NamedTuple

from edged.domain.model import rfc3339

WITNESS, HAND, MARK, GHOST = "100.127.0.1", "hand", "mark-", "ghost-"
SUBSCRIBERS = tuple(f"C-{n}" for n in range(7))
ADDRESSES = (*(f"100.64.0.{n}" for n in range(10, 16)), "2001:db8:0:100::/56", "2001:db8:0:242::/64")
GHOST_ADDRESSES = ("100.64.7.1", "100.64.7.2")
DEBTS = ("notice", "debt_partial", "debt")
HOUR = 3_600_000

Command = dict[str, Any]


class Sent(NamedTuple):
    """A batch as it was sent; a repeated one is the same value again.

    ``number`` counts batches from 0, and is -1 for one that must be refused because its ``seq`` is old.
    """

    number: int
    name: str
    commands: tuple[Command, ...]
    payload: bytes = b""
    issuer: str = "erp"
    source: str = "gw/gw1/cmd"
    epoch: str = ""
    seq: int = 0
    """0: not numbered."""


class Tick(NamedTuple):
    """The clock goes to ``now`` (Unix ms) and all that is due is carried out, before anything later is delivered."""

    now: int


Step = Sent | Tick


@dataclass
class Stream:
    """Steps without end, the same for the same seed. ``ticks``: whether the clock is ours to move."""

    seed: int
    start: int
    ticks: bool = True
    ghosts: bool = True
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
        return self.steps[-1]

    def _step(self) -> Step:
        chance = self._rng.random()
        if self.ticks and self.steps and chance < 0.03:
            self._now += self._rng.choice((60_000, HOUR, 30 * HOUR))
            return Tick(self._now)
        old = [s for s in self.steps[-60:] if isinstance(s, Sent)]
        if old and chance < 0.08:
            return self._rng.choice(old)
        return self._batch()

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
            {"op": "bind", "sub": f"{MARK}{number}", "addresses": [WITNESS]},
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
        return [self._numbered(self._plain(self._rng.choice(SUBSCRIBERS)))]

    def _plain(self, sub: str) -> Command:
        rng = self._rng
        op = rng.choices(("bind", "unbind", "block", "unblock", "paid", "trust", "untrust"), (5, 1, 9, 4, 3, 6, 1))[0]
        match op:
            case "bind":
                addresses = rng.sample(ADDRESSES, rng.choice((0, 1, 1, 2, 3)))
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
        self._serial += 1
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
        self._serial += 1
        sub = f"{GHOST}{self._serial}"
        self._ghost.append(sub)
        return [
            {"op": "bind", "sub": sub, "addresses": [self._rng.choice(GHOST_ADDRESSES)]},
            {"op": "block", "sub": sub, "reason": "debt", "invoices": [f"G-{self._serial}"]},
        ]
