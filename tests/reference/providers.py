"""Providers with different rules: the same ones in edged's words and in the model's."""

from __future__ import annotations

from edged.domain.calendar import Calendar
from edged.domain.model import Policy
from tests.reference import days
from tests.reference.pair import Pair
from tests.reference.words import Rules

BRAZIL = Calendar(days.ZONE, "BR")

PROVIDERS: dict[str, tuple[Policy, Rules]] = {
    "the code's defaults": (Policy(), Rules()),
    "the installed file": (Policy(calendar=BRAZIL), Rules(may_cut=days.may_cut)),
    "no guard, generous": (
        Policy(calendar=BRAZIL, guard_reblock=False, trust_per_invoice=2, trust_per_30_days=3),
        Rules(may_cut=days.may_cut, guard_reblock=False, trust_per_invoice=2, trust_per_30_days=3),
    ),
    "strict and short": (
        Policy(calendar=BRAZIL, require_notice=True, notice_days=5, min_days_overdue=1, trust_max_hours=48,
               trust_per_30_days=1, preventive_days=3, debt_days=7),
        Rules(may_cut=days.may_cut, require_notice=True, notice_days=5, min_days_overdue=1, trust_max_hours=48,
              trust_per_30_days=1, preventive_days=3, debt_days=7),
    ),
}  # fmt: skip


def pair(provider: str, begin: int = 0) -> Pair:
    """A fresh core and model of one provider; ``begin`` in ms."""
    return Pair(*PROVIDERS[provider], begin)
