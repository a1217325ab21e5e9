"""What a row of the table is, and the providers that rows are about."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from zoneinfo import ZoneInfo

from edged.domain.brake import Limits
from edged.domain.calendar import Area, Calendar
from edged.domain.model import Policy
from tests.reference.days import ZONE
from tests.sentences.story import Step, Story

BEGIN = "2026-11-24 10:00"
"""A Tuesday on which a block may begin, and so may it on the two days after it."""


Steps = Sequence[Step | Callable[[Story], None]]


@dataclass(frozen=True)
class Row:
    """``quote`` begins a sentence of ``paragraph``; ``about`` tells rows of one sentence apart."""

    paragraph: str
    quote: str
    about: str
    steps: Steps
    policy: str = "BR"
    begin: str = BEGIN
    limits: Limits | None = None

    def __str__(self) -> str:
        return f"{self.paragraph} {self.quote}: {self.about}"


_AREAS = MappingProxyType({"centro": Area(ZONE, "BR-RJ")})
_BEHIND = MappingProxyType({"centro": Area(ZoneInfo("America/Manaus"), "BR")})
POLICIES = {
    "none": Policy(),
    "BR": Policy(calendar=Calendar(ZONE, "BR")),
    "BR-RJ in centro": Policy(calendar=Calendar(ZONE, "BR", areas=_AREAS)),
    "an hour behind in centro": Policy(calendar=Calendar(ZONE, "BR", areas=_BEHIND)),
    "no guard": Policy(calendar=Calendar(ZONE, "BR"), guard_reblock=False),
    "two an invoice": Policy(trust_per_invoice=2),
    "one in 30 days": Policy(trust_per_30_days=1),
    "require notice": Policy(require_notice=True),
    "ten days of notice": Policy(notice_days=10),
    "a day overdue": Policy(min_days_overdue=1),
    "long promises": Policy(trust_max_hours=400),
}
