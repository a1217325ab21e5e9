"""What a worker counts between two reports to the core. Sums only: no host, no path, no address."""

from __future__ import annotations

from collections import defaultdict

from edged.portal.wire import Stats


class Tally:
    """Counters of one worker, by kind (``redirect``, ``refused``, ``page``) and HTTP status (0: closed unanswered)."""

    def __init__(self) -> None:
        self._counts: defaultdict[tuple[str, int], list[float]] = defaultdict(lambda: [0, 0.0, 0])

    def add(self, kind: str, code: int, n: int = 1, seconds: float | None = None) -> None:
        """``n`` answers; ``seconds`` is what they took together, None where nobody looked at the clock."""
        sums = self._counts[kind, code]
        sums[0] += n
        if seconds is not None:
            sums[1] += seconds
            sums[2] += n

    def count(self, kind: str, code: int) -> int:
        """How many since the last :meth:`take`."""
        return int(self._counts[kind, code][0])

    def take(self) -> list[Stats]:
        """The sums since the last call, as records; they begin at zero again."""
        records = [
            Stats(kind, code, int(n), seconds, int(timed))
            for (kind, code), (n, seconds, timed) in self._counts.items()
            if n
        ]
        self._counts.clear()
        return records

    def put_back(self, record: Stats) -> None:
        """Count again what could not be reported."""
        sums = self._counts[record.kind, record.code]
        sums[0] += record.count
        sums[1] += record.seconds
        sums[2] += record.timed
