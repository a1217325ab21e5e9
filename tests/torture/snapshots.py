"""Snapshots for the stream: what the model knows, with some subscribers changed as if commands had been lost.

Beside a snapshot that is being carried out, commands go on. What comes of one for a subscriber that the snapshot is
about to change depends on which is first, so those commands are for the others: they must be obeyed at once, and the
snapshot must neither undo them nor be disturbed.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from tests.torture.model import World
from tests.torture.steps import ADDRESSES, DEBTS, SUBSCRIBERS, Chunk, Command

SYNC_SOURCE = "gw/gw1/sync"


class Draft:
    """A snapshot to be sent. ``changed``: whom it changes; ``addresses``: those it gives to or takes from them."""

    def __init__(self, name: str, world: World, rng: random.Random, serial: Callable[[], int]) -> None:
        self.name, self._rng, self._serial = name, rng, serial
        known = [s for s in SUBSCRIBERS if s in world.subs]
        self.changed = set(rng.sample(SUBSCRIBERS, rng.randint(0, 3)))
        before = {a for s in self.changed for a in world.held(s)}
        self._free = [a for a in ADDRESSES if a in before or a not in world.holder]
        self.addresses = {*before, *self._free}
        left_out = {s for s in known if s in self.changed and world.subs[s].rev >= 0 and rng.random() < 0.2}
        named = [s for s in SUBSCRIBERS if (s in known or s in self.changed) and s not in left_out]
        self._groups = [self._changed(s) if s in self.changed else _as_is(s, world) for s in named]
        # Everybody else as well: whom a snapshot leaves out and who has nothing is forgotten, with all that was said.
        self._groups += [_as_is(s, world) for s in world.subs if s not in SUBSCRIBERS]

    def _changed(self, sub: str) -> list[Command]:
        rng = self._rng
        mine = [a for a in self._free if rng.random() < 0.4]
        self._free = [a for a in self._free if a not in mine]
        out: list[Command] = [{"op": "bind", "sub": sub, "addresses": mine}]
        for reason in rng.sample(DEBTS, rng.choice((0, 1, 1, 2))):
            n = self._serial()
            out.append({"op": "block", "sub": sub, "reason": reason, "invoices": [f"S-{n}"], "ref": f"T-{n}"})
        return out

    def chunks(self, seal: Callable[[dict[str, Any]], bytes]) -> list[Chunk]:
        """In some order, some of them twice, the last one only once."""
        rng = self._rng
        parts = rng.randint(1, 4)
        cut: list[list[Command]] = [[] for _ in range(parts)]
        for group in self._groups:
            cut[rng.randrange(parts)] += group
        made = [self._chunk(i, parts, commands, seal) for i, commands in enumerate(cut, 1)]
        rng.shuffle(made)
        return [*made[:-1], *(c for c in made[:-1] if rng.random() < 0.3), made[-1]]

    def _chunk(self, part: int, parts: int, commands: list[Command], seal: Callable[[dict[str, Any]], bytes]) -> Chunk:
        document = {"v": 1, "sync": self.name, "issuer": "erp", "part": part, "parts": parts, "commands": commands}
        return Chunk(self.name, part, parts, tuple(commands), seal(document), SYNC_SOURCE)


def _as_is(sub: str, world: World) -> list[Command]:
    out: list[Command] = [{"op": "bind", "sub": sub, "addresses": sorted(world.held(sub))}]
    for name, reason in world.subs[sub].debts().items():
        block = {"op": "block", "sub": sub, "reason": name, "invoices": list(reason.invoices)}
        out.append({**block, "ref": reason.ref} if reason.ref else block)
    return out
