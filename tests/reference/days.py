"""Brazil's days as written down by hand: no library, no formula but adding days."""

from __future__ import annotations

import datetime as dt
import zoneinfo
from collections.abc import Callable

ZONE = zoneinfo.ZoneInfo("America/Sao_Paulo")

EASTER = {2026: (4, 5), 2027: (3, 28), 2028: (4, 16), 2029: (4, 1), 2030: (4, 21), 2031: (4, 13)}
FIXED = ((1, 1), (4, 21), (5, 1), (9, 7), (10, 12), (11, 2), (11, 15), (11, 20), (12, 25))
FACULTATIVE = ((10, 28), (12, 24), (12, 31))
"""Optional: the public servant's day, Christmas Eve and New Year's Eve."""
GOOD_FRIDAY, CARNIVAL, ASHES, CORPUS_CHRISTI = -2, (-48, -47), -46, 60
"""Days from Easter Sunday."""

OPENS, CLOSES = 8, 18
"""Business hours: from 08:00, and no longer at 18:00."""


def from_easter(day: dt.date) -> int:
    """How many days behind Easter Sunday of its year."""
    return (day - dt.date(day.year, *EASTER[day.year])).days


def national(day: dt.date) -> bool:
    """A public holiday in the whole country."""
    return (day.month, day.day) in FIXED or from_easter(day) == GOOD_FRIDAY


def optional(day: dt.date) -> bool:
    """A day off by custom (*ponto facultativo*)."""
    return (day.month, day.day) in FACULTATIVE or from_easter(day) in {*CARNIVAL, ASHES, CORPUS_CHRISTI}


def off(day: dt.date) -> bool:
    """A holiday of either kind."""
    return national(day) or optional(day)


def may_cut(moment: dt.datetime, is_off: Callable[[dt.date], bool] = off) -> bool:
    """domain.md §3: not on Friday, Saturday, Sunday, a holiday or its eve, only in business hours."""
    today = moment.date()
    return (
        today.strftime("%a") not in {"Fri", "Sat", "Sun"}
        and not is_off(today)
        and not is_off(today + dt.timedelta(days=1))
        and OPENS <= moment.hour < CLOSES
    )


def bank_day(day: dt.date) -> bool:
    """A day on which banks settle: not the weekend, not a national holiday, not Carnival, not Corpus Christi."""
    weekend = day.strftime("%a") in {"Sat", "Sun"}
    return not weekend and not national(day) and from_easter(day) not in {*CARNIVAL, CORPUS_CHRISTI}
