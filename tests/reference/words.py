"""The words of the naive model: levels, the provider's rules, answers, what a command names."""

from __future__ import annotations

import datetime as dt
import zoneinfo
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.reference import days

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
WHOLE = "*"
RAISE = ""
"""Stands among what waits for a higher level of the reason."""
DEBTS = ("notice", "debt_partial", "debt")
NOTIFIED = ("debt_partial", "debt")
"""A reminder is a notification itself."""
OWN_LEVEL = {
    "court": 4, "terminated": 4, "fraud": 3, "abuse": 3, "preventive": 3,
    "operator": 3, "pause": 3, "debt": 3, "debt_partial": 2, "notice": 1,
}  # fmt: skip
NOTICE = 1
WORDS = ("open", "notice", "reduced", "walled", "blocked")
LOOK = 15 * MINUTE
"""A debt that an outage holds is looked at again after so long."""
NO_TERMS = {"not_before": 0, "notified_at": 0, "override": False}
METHOD_DAYS = {"bank": 2, "lottery": 2, "debit": 2, "collection": 4}

Command = Mapping[str, Any]
Sub = dict[str, Any]


@dataclass
class Rules:
    """The provider's policy, as far as the model knows it. ``may_cut`` None: no cut calendar is configured."""

    zone: zoneinfo.ZoneInfo = days.ZONE
    may_cut: Callable[[dt.datetime], bool] | None = None
    bank_day: Callable[[dt.date], bool] = days.bank_day
    trust_max_hours: int = 168
    trust_per_invoice: int = 1
    trust_per_30_days: int = 0
    min_days_overdue: int = 4
    notice_days: int = 15
    require_notice: bool = False
    guard_reblock: bool = True
    preventive_days: int = 30
    debt_days: int = 60


@dataclass
class Answer:
    """``words``: the statuses, or codes of refusals, any of which is right; so is any ``why``. ``until`` 0: unknown."""

    words: set[str]
    until: int = 0
    why: set[str] = field(default_factory=set)


class No(Exception):
    """Refused, with every code that would be right."""


def ms(text: str) -> int:
    """RFC 3339 as Unix ms."""
    return round(dt.datetime.fromisoformat(text).timestamp() * 1000)


def ids(command: Command) -> list[str]:
    """The invoices a command names, each once."""
    named = [i if isinstance(i, str) else i["id"] for i in command.get("invoices") or []]
    return list(dict.fromkeys(named))


def dues(command: Command) -> dict[str, dt.date]:
    """Those of them whose due date is given."""
    named = [i for i in command.get("invoices") or [] if not isinstance(i, str) and i.get("due")]
    return {i["id"]: dt.date.fromisoformat(i["due"]) for i in named}


def nobody() -> Sub:
    """A subscriber of whom nothing is known."""
    return {
        "rev": -1, "area": "", "reasons": {}, "promise": None, "deferrals": {}, "breached": False,
        "granted": [], "settled": set(), "spent": {},
    }  # fmt: skip
