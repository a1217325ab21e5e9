"""What is known of a subscriber, as immutable values. Times are Unix milliseconds; 0 means none.

These values are what the store keeps (as JSON) and what ``decide`` turns into new ones.
"""

from __future__ import annotations

import datetime as dt
import functools
import zoneinfo
from typing import NamedTuple

import msgspec

from edged.domain.calendar import Calendar
from edged.domain.levels import Level
from edged.domain.region import NOWHERE, Regions

DEBT = ("notice", "debt_partial", "debt")
"""The debt reasons: what money, promises and deferrals can lift (domain.md §1)."""

REASONS: dict[str, Level] = {
    "court": Level.BLOCKED,
    "terminated": Level.BLOCKED,
    "fraud": Level.WALLED,
    "abuse": Level.WALLED,
    "preventive": Level.WALLED,
    "operator": Level.WALLED,
    "pause": Level.WALLED,
    "debt": Level.WALLED,
    "debt_partial": Level.REDUCED,
    "notice": Level.NOTICE,
}
"""Reason -> its level, strongest first: the order that chooses the page."""

WHOLE = "*"
"""Stands for the whole debt where no invoice is named."""

RAISE = ""
"""The id of a debt's higher level that waits (:class:`Waiting`)."""

MORATORIUM, ONSET = OWN = ("moratorium", "onset")
"""The kinds of deferral that no command gives (:mod:`edged.domain.deferral`)."""


class Invoice(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """An invoice billing named. ``due`` is an ISO date or empty."""

    id: str
    due: str = ""


class Waiting(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """What a debt in force has grown by and what may not begin yet.

    ``id``: an invoice; :data:`WHOLE`: the rest, which nobody has named; :data:`RAISE`: the reason's higher level.
    """

    id: str
    onset: int
    """When that will be looked at."""
    why: str
    earliest: int
    """When it could begin if areas and calendars held nothing back."""
    notified_at: int = 0
    level: int = 0
    """The level felt until then, where it is a higher one that waits."""
    rate: int = 0
    """And its rate, kbit/s."""
    override: bool = False
    """Its own: calendar, moratorium and outage do not hold it back."""


class Reason(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """One reason to restrict a subscriber. It counts once it has begun."""

    level: int
    since: int
    onset: int
    invoices: tuple[Invoice, ...] = ()
    rate: int = 0
    page: str = ""
    deadline: int = 0
    notified_at: int = 0
    ref: str = ""
    issuer: str = ""
    pending: bool = False
    """It has not begun: ``onset`` says when that will be looked at."""
    why: str = ""
    """What it waits for: not_before, notice_days, moratorium, outage, calendar or clock."""
    earliest: int = 0
    """While it waits: when it could begin if areas and calendars held nothing back."""
    override: bool = False
    """Somebody has taken it on himself that it begins in spite of calendar, moratorium and outage."""
    waits: tuple[Waiting, ...] = ()
    """What of a debt that has begun has not (:mod:`edged.domain.growth`)."""


class Deferral(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """Debt reasons put off by agreement. ``invoices`` empty: all. ``up_to``: the level it stops short at."""

    since: int
    until: int
    invoices: tuple[str, ...] = ()
    up_to: int = 0
    ref: str = ""
    issuer: str = ""


class Promise(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """A running promise. ``invoices`` empty: it covers every debt reason, and ``owed`` are those it was given for."""

    basis: str
    since: int
    until: int
    invoices: tuple[str, ...] = ()
    channel: str = ""
    ref: str = ""
    issuer: str = ""
    owed: tuple[str, ...] = ()
    over: str = ""
    """What it was given for is owed no longer: the outcome to be told at its end, fulfilled or released."""


class Subscriber(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """A subscriber's whole state but for addresses and invoice history."""

    sub: str
    rev: int = -1
    area: str = ""
    reasons: dict[str, Reason] = {}
    promise: Promise | None = None
    deferrals: dict[str, Deferral] = {}
    """Kind (agreement, dispute, hardship, moratorium, onset) -> what it puts off."""
    breached: bool = False
    """A promise ran out unpaid and the debt still stands: no further promise."""
    notified: int = 0
    """Until when a notice counts as seen."""
    granted: tuple[int, ...] = ()
    """When the promises of the last 30 days were given."""
    level: int = 0
    """The level in force when this value was made."""
    since: int = 0
    """When that level began."""


class Fact(NamedTuple):
    """What is remembered of one invoice for ever."""

    settled: bool = False
    spent: int = 0
    """Promises used on it."""


NOTHING = Fact()


_ZONE = zoneinfo.ZoneInfo("America/Sao_Paulo")


class Policy(msgspec.Struct, frozen=True, eq=False):
    """The provider's rules (configuration section ``policy``), and what is known of the day. One is like no other."""

    zone: zoneinfo.ZoneInfo = _ZONE
    calendar: Calendar = Calendar(_ZONE)
    regions: Regions = NOWHERE
    clock_trusted: bool = True
    trust_max_hours: int = 168
    trust_per_invoice: int = 1
    trust_per_30_days: int = 0
    """0: as many as there are invoices."""
    min_days_overdue: int = 4
    notice_days: int = 15
    require_notice: bool = False
    reduced_rate_kbit: int = 1024
    notice_repeat_hours: int = 24
    guard_reblock: bool = True
    preventive_days: int = 30
    debt_days: int = 60


def milliseconds(moment: dt.datetime) -> int:
    """Unix milliseconds of an aware moment."""
    return round(moment.timestamp() * 1000)


@functools.lru_cache(maxsize=1024)  # many promises end at one midnight
def rfc3339(ms: int) -> str:
    """UTC with Z, milliseconds only where there are any."""
    moment = dt.datetime.fromtimestamp(ms / 1000, dt.UTC)
    return moment.isoformat(timespec="milliseconds" if ms % 1000 else "seconds").replace("+00:00", "Z")
