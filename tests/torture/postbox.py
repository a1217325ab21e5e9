"""A broker of a few lines: it delivers in order, and again, in order, what was not acknowledged."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from tests.torture.steps import Chunk, Message, Pause, Settle, Step, Tick
from tests.torture.stream import Stream


class Postbox:
    """The sender's steps on their way. ``closed``: nothing new is sent any more."""

    def __init__(self, stream: Stream, rng: random.Random) -> None:
        self._stream = stream
        self._rng = rng
        self._acknowledged = 0
        """Steps that will not come again."""
        self._at = 0
        self.furthest = 0
        """Steps that were ever delivered."""
        self.closed = False
        self.heard: list[dict[str, Any]] = []
        """Answers that reached the sender."""
        self._wire: list[dict[str, Any]] = []

    @classmethod
    def of(cls, steps: Sequence[Step], at: int, rng: random.Random) -> Postbox:
        """A closed one that delivers ``steps`` from the one numbered ``at`` on."""
        stream = Stream(0, 0)
        stream.steps = list(steps)
        made = cls(stream, rng)
        made._at, made.closed = at, True
        return made

    @property
    def position(self) -> int:
        """Steps delivered so far."""
        return self._at

    @property
    def steps(self) -> list[Step]:
        """All that was sent."""
        return self._stream.steps

    def take(self, most: int) -> list[Message] | Pause | None:
        """What comes next: up to ``most`` messages, or a pause, or None when the closed box is empty.

        A chunk is the first of its group: what is in one group with a snapshot's last chunk counts as newer than it.
        """
        taken: list[Message] = []
        while len(taken) < most:
            if self._at == len(self.steps):
                if self.closed:
                    break
                self._stream.draw()
            step = self.steps[self._at]
            if isinstance(step, Chunk) and taken:
                break
            if isinstance(step, Tick | Settle):
                if not taken:
                    self._go_on()
                    return step
                break
            taken.append(step)
            self._go_on()
        return taken or None

    def _go_on(self) -> None:
        self._at += 1
        self.furthest = max(self.furthest, self._at)

    def passed(self) -> None:
        """The pause is over."""
        self._acknowledged = max(self._acknowledged, self._at)

    def answer(self, document: dict[str, Any]) -> None:
        """An answer was sent; that it arrived is sure only after :meth:`flush`."""
        self._wire.append(document)

    def flush(self) -> None:
        """The broker has the answers."""
        self.heard += self._wire
        self._wire = []

    def acknowledge(self) -> None:
        """PUBACK of the oldest message that waits for one, and of a pause before it."""
        while isinstance(self.steps[self._acknowledged], Tick | Settle):
            self._acknowledged += 1
        self._acknowledged += 1

    def crash(self) -> None:
        """The connection broke: some answers arrived, some PUBACKs did not; the rest is delivered again."""
        self.heard += self._wire[: self._rng.randint(0, len(self._wire))]
        self._wire = []
        lost = self._rng.choice((0, 0, 0, 1, 2, 5))
        self._at = max(self._acknowledged - lost, 0)
        self._acknowledged = self._at
