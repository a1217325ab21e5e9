"""What became of a run of kills or cuts."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass
class Report:
    """``where``: kills or cuts by the point at which they came."""

    where: Counter[str] = field(default_factory=Counter)
    batches: int = 0
    """Sent, repeats not counted."""
    answers: int = 0
    """Heard by the sender; for power cuts, before the cut."""
    repeated: int = 0
    """Answers given again to what was known already."""
    violations: list[str] = field(default_factory=list)

    def add(self, other: Report) -> None:
        """Sum two runs up."""
        self.where += other.where
        self.batches += other.batches
        self.answers += other.answers
        self.repeated += other.repeated
        self.violations += other.violations
