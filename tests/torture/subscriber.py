"""One subscriber of the model: reasons, one promise, and what its invoices went through."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tests.torture.steps import DEBTS

LEVEL = {"notice": 1, "debt_partial": 2, "debt": 3, "operator": 3}
WORDS = ("open", "notice", "reduced", "walled", "blocked")
WHOLE = "*"
"""Stands for the whole debt where no invoice is named."""


@dataclass
class Reason:
    invoices: list[str]
    ref: str | None


@dataclass
class Subscriber:
    rev: int = -1
    reasons: dict[str, Reason] = field(default_factory=dict)
    settled: set[str] = field(default_factory=set)
    spent: dict[str, int] = field(default_factory=dict)
    promise: tuple[int, tuple[str, ...]] | None = None
    owed: tuple[str, ...] = ()
    """What a promise that names nothing was given for."""
    over: str = ""
    """Its outcome, where that is owed no longer and it lifts something else to its end."""
    breached: bool = False

    def debts(self) -> dict[str, Reason]:
        return {n: r for n, r in self.reasons.items() if n in DEBTS}

    def behind(self) -> set[str]:
        return {i for r in self.debts().values() for i in r.invoices or [WHOLE]}

    def waived(self, name: str, now: int) -> bool:
        if self.promise is None or self.promise[0] <= now or name not in DEBTS:
            return False
        named = self.promise[1]
        return not named or (set(self.reasons[name].invoices) or {WHOLE}) <= set(named)

    def level(self, now: int) -> int:
        return max((LEVEL[n] for n in self.reasons if not self.waived(n, now)), default=0)

    def sets(self, now: int) -> list[str]:
        """The kernel sets in which each of its addresses must be."""
        base, level = max((LEVEL[n] for n in self.reasons), default=0), self.level(now)
        out = ["restricted"] if base else []
        out += ["reduced_down", "reduced_up"] if base == 2 or (level < base and level == 2) else []
        out += {1: ["notice"], 2: ["reduced"]}.get(base, [])
        out += [("waived", "waived_notice", "waived_reduced")[level]] if level < base else []
        return sorted(out)

    def told(self, now: int) -> dict[str, Any]:
        """What a record says, but for the addresses."""
        running = self.promise if self.promise and self.promise[0] > now else None
        return {
            "level": WORDS[self.level(now)],
            "rev": self.rev if self.rev >= 0 else None,
            "reasons": {
                n: (r.ref, sorted((i, self.spent.get(i, 0)) for i in r.invoices)) for n, r in self.reasons.items()
            },
            "promise": (running[0], sorted(running[1])) if running else None,
            "breached": self.breached,
        }

    def facts(self, name: str) -> list[tuple[str, ...]]:
        """Its reasons as the digest counts them."""
        return [("r", name, n, str(LEVEL[n]), "0", *sorted(r.invoices)) for n, r in self.reasons.items()]
