"""What of the outbox is to be published next, and what again: one lane for each destination. Pure but for the clock.

Laws:

1. A lane is published in the order of its numbers. What must go out again goes out with all that follows it.
2. At most ``WINDOW`` batches of a lane are unanswered at the broker; the rest waits in the outbox, and expires never.
3. Another broker knows nothing of what the last one took: all that is unanswered goes out again. The same broker after
   a lost connection gets what it has not confirmed.
4. A lane without an answer for its patience (30 s, doubling to an hour; any answer sets it back) goes out again:
   a broker may have lost its memory. Duplicates are harmless, so this costs only traffic.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

WINDOW = 64
FIRST_PATIENCE, LAST_PATIENCE = 30.0, 3600.0  # s


@dataclass
class Lane:
    """One destination with something to deliver. ``cursor``: the highest number this broker has taken."""

    topic: str
    patience: float
    said: float
    """Monotonic seconds of the last publication or answer."""
    cursor: int = 0
    turn: int = 0
    """Rises when the lane goes back: a publication that began before must not move the cursor."""
    dirty: bool = True
    """Whether a look into the outbox may find something to publish."""

    def back(self) -> None:
        """Publish again from the oldest that is unanswered."""
        self.cursor = 0
        self.turn += 1
        self.dirty = True

    def took(self, turn: int, seq: int, now: float) -> None:
        """The broker has taken everything up to ``seq``, published when the turn was ``turn``."""
        self.said = now
        if turn == self.turn:
            self.cursor = max(self.cursor, seq)


class Lanes:
    """All lanes. ``now`` is monotonic seconds."""

    def __init__(self) -> None:
        self._lanes: dict[str, Lane] = {}
        self._broker = ""

    def __len__(self) -> int:
        return len(self._lanes)

    def open(self, topics: Iterable[str], now: float) -> None:
        """Something new waits there."""
        for topic in topics:
            lane = self._lanes.setdefault(topic, Lane(topic, FIRST_PATIENCE, now))
            lane.dirty = True

    def connected(self, broker: str) -> None:
        """Law 3."""
        for lane in self._lanes.values():
            if broker != self._broker:
                lane.back()
            lane.dirty = True
        self._broker = broker

    def back(self, topic: str) -> None:
        """The numbers of this lane have changed."""
        if lane := self._lanes.get(topic):
            lane.back()

    def answered(self, topic: str, now: float) -> None:
        """Somebody there lives, and there may be room in the window."""
        if lane := self._lanes.get(topic):
            lane.said, lane.patience, lane.dirty = now, FIRST_PATIENCE, True

    def due(self, now: float) -> Iterator[Lane]:
        """Lanes to look into; those that lost their patience (law 4) go back."""
        for lane in list(self._lanes.values()):
            if lane.cursor and now - lane.said > lane.patience:
                lane.patience = min(2 * lane.patience, LAST_PATIENCE)
                lane.said = now
                lane.back()
            if lane.dirty:
                yield lane

    def drop(self, lane: Lane) -> None:
        """Nothing waits there any more."""
        if not lane.dirty:
            self._lanes.pop(lane.topic, None)
