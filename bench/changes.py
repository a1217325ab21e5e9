"""Changes as billing sends them: a debt with an invoice, and that invoice paid, in turns, signed and numbered.

It begins with the database of ``state.HALF``: even numbers open, odd ones walled for invoice 0. Each subscriber's next
change is then the other one, with an invoice nobody has seen before, so every command must be answered ``applied``.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from edged.domain.digest import MODULUS

from . import people
from .common import BenchError
from .mqtt import Wire
from .rig import COMMANDS, Rig
from .state import debt_number, invoice, name

Numbers = npt.NDArray[np.int64]


class Table:
    """Who is due for what. Everything it gives out counts as carried out."""

    def __init__(self, members: int) -> None:
        self._turns = np.zeros(members, dtype=np.int64)
        """Changes so far."""
        self.members = members

    def commands(self, numbers: Sequence[int] | Numbers) -> bytes:
        """The next change of each of these different subscribers, as a JSON list."""
        out = []
        for n in map(int, numbers):
            turns = int(self._turns[n])
            sub, named = name(n), invoice(n, _invoice(n, turns))
            if (n + turns) & 1:
                out.append(f'{{"op":"paid","sub":"{sub}","invoices":["{named}"]}}')
            else:
                out.append(f'{{"op":"block","sub":"{sub}","reason":"debt","invoices":["{named}"]}}')
            self._turns[n] += 1
        return ("[" + ",".join(out) + "]").encode()

    @property
    def walled(self) -> npt.NDArray[np.bool_]:
        """Who is walled by now."""
        found: npt.NDArray[np.bool_] = (np.arange(self.members) + self._turns) % 2 == 1
        return found

    def digest(self, before: int) -> int:
        """The digest of the desired state by now, if it was ``before`` at the start."""
        total = before
        for n in map(int, np.flatnonzero(self._turns)):
            turns = int(self._turns[n])
            if n & 1:
                total -= debt_number(n, invoice(n, 0))
            if (n + turns) & 1:
                total += debt_number(n, invoice(n, _invoice(n, turns)))
        return total % MODULUS


def _invoice(n: int, turns: int) -> int:
    """The invoice a subscriber owes after ``turns`` changes, or, where it owes none, the next one."""
    return (turns + 1) // 2 if n & 1 else turns // 2 + 1


class Order(NamedTuple):
    """Subscribers in the order of their changes; ``even`` and ``odd`` take turns, so blocks and payments do, too."""

    numbers: Numbers

    @classmethod
    def table(cls, first: int, count: int) -> Order:
        """As they stand in the table."""
        return cls(np.arange(first, first + count))

    @classmethod
    def shuffled(cls, first: int, count: int, seed: int) -> Order:
        """At random. ``first`` and ``count`` are even."""
        random = np.random.default_rng(seed)
        out = np.empty(count, dtype=np.int64)
        out[0::2] = random.permutation(np.arange(first, first + count, 2))
        out[1::2] = random.permutation(np.arange(first + 1, first + count, 2))
        return cls(out)

    def batches(self, size: int) -> Iterator[Numbers]:
        """``size`` at a time, from the beginning again after the last whole batch."""
        while True:
            for at in range(0, len(self.numbers) - size + 1, size):
                yield self.numbers[at : at + size]


class Stream:
    """One numbering of signed batches to one gateway."""

    def __init__(self, rig: Rig, table: Table) -> None:
        self._rig, self.table = rig, table
        self.batches = 0
        """Made so far."""

    def batch(self, numbers: Sequence[int] | Numbers) -> bytes:
        """The next batch: a change of each of these subscribers."""
        self.batches += 1
        head = {"id": f"b-{self.batches}", "epoch": "bench", "seq": self.batches}
        return self._rig.signed(head, self.table.commands(numbers))


def pump(rig: Rig, wire: Wire, messages: Iterable[bytes], window: int, changes: int) -> float:
    """Publish, with at most ``window`` messages unanswered; seconds from the first publish to the last answer.

    ``wire`` hears the answers. Raises BenchError unless each answer says that all ``changes`` of its message were
    applied.
    """
    began, flying = time.monotonic(), 0
    last = began
    try:
        for message in messages:
            if flying == window:
                last = _answer(wire, changes)
                flying -= 1
            wire.publish(COMMANDS, message)
            flying += 1
        for _ in range(flying):
            last = _answer(wire, changes)
    except TimeoutError:
        raise BenchError(f"no answer any more; the daemon's log:\n{rig.log()}") from None
    return last - began


def _answer(wire: Wire, changes: int) -> float:
    at, payload = wire.receive()
    found: dict[str, Any] = json.loads(payload)
    summary = found.get("summary", {})
    if summary.get("applied") != changes or sum(summary.values()) != changes or found["duplicate"] or "gap" in found:
        raise BenchError(f"not all of a batch was applied: {payload[:600].decode(errors='replace')}")
    return at


def check(rig: Rig, table: Table, before: int) -> None:
    """Raise BenchError unless all of it is in the store and in the kernel, and nothing else."""
    walled = table.walled
    n = int(walled.sum())
    rig.levels({"walled": n, "open": table.members - n}, n)
    if rig.digest() != table.digest(before):
        raise BenchError("the digest of the desired state is not what the changes make of it")
    texts = people.texts(np.sort(people.addresses(0, table.members)))
    step = max(1, table.members // 400)
    some = range(0, table.members - step, step + 1)
    rig.kernel([texts[i] for i in some if walled[i]], [texts[i] for i in some if not walled[i]])
