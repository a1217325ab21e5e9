"""Two calendars of a provider: when a debt block may begin (cut days), and how long a promise is (bank days). Pure.

Laws:

1. A debt block begins only from Monday to Thursday, neither on a holiday of the area nor on the day before one, and by
   the area's clock on the wall from ``hours[0]`` on until ``hours[1]``, that minute excluded. Holidays are those of its
   cut calendar (:mod:`edged.domain.observances`) and of its municipality.
2. Where the cut calendar is "none" it may begin at any time, whatever the municipality says.
3. :meth:`Calendar.next_cut` is never earlier than the moment asked about, answers a permitted moment with itself, and
   of two moments never answers the later one with the earlier moment.
4. Bank days are Monday to Friday without national bank holidays: the same ones in every area and cut calendar.
5. A local day ends with the last moment whose local date it is: where clocks jump over midnight that is the jump, and
   where they are put back over midnight the hour that comes twice belongs to it both times.

Days are counted from 1970-01-01. A zone's clocks change a few times a year, so whole days are reckoned in integers and
the zone is asked twice a day. That is done once for each day and area; then a question is a look into a table.
"""

from __future__ import annotations

import datetime as dt
import functools
import re
from collections.abc import Collection, Iterator, Mapping
from types import MappingProxyType
from typing import NamedTuple
from zoneinfo import ZoneInfo

from edged.domain import observances

DAY = 86_400_000
GIVE_UP_DAYS = 400
"""No calendar of this world forbids so many days in a row."""

_MINUTE = 60_000
_EPOCH = dt.date(1970, 1, 1).toordinal()
_FIRST = 3 - _EPOCH  # days in which datetime can reckon, wherever on earth
_LAST = dt.date.max.toordinal() - 3 - _EPOCH
_KEPT = 1024
"""Days remembered for each area: what lies about, and what a table of old or far moments asks for. As many answers."""

_HOURS = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-4]):([0-5]\d)")


class Area(NamedTuple):
    """An area's own time zone and cut calendar."""

    zone: ZoneInfo
    cut: str


class _Place:
    """What next_cut knows of one area: its rules, and the permitted windows from each day on as far as known."""

    __slots__ = ("_dates", "_hours", "cut", "known", "last", "zone")

    def __init__(self, area: Area, hours: tuple[int, int], dates: frozenset[dt.date]) -> None:
        self.zone, self.cut = area
        self._hours = hours
        self._dates = dates
        self.known: dict[int, tuple[tuple[int, int], ...]] = {}
        self.last = (0, 0)
        """The window of the last answer: blocks of one batch begin at one moment."""

    def look(self, day: int) -> tuple[tuple[int, int], ...]:
        """The windows [begin, end) in Unix ms of a UTC day, and of the first day after it that has any; remembered."""
        later = (tuple(self._windows(d)) for d in range(day + 1, min(day + GIVE_UP_DAYS, _LAST) + 1))
        if len(self.known) >= _KEPT:
            self.known.clear()
        windows = self.known[day] = (*self._windows(day), *next(filter(None, later), ()))
        return windows

    def _windows(self, day: int) -> Iterator[tuple[int, int]]:
        """The permitted stretches of a UTC day (law 1)."""
        for begin, end, offset in _stretches(self.zone, day):
            for local in range((begin + offset) // DAY, (end + offset) // DAY + 1):
                opens, closes = (local * DAY - offset + minute * _MINUTE for minute in self._hours)
                if max(begin, opens) < min(end, closes) and self._permitted(local):
                    yield max(begin, opens), min(end, closes)

    def _permitted(self, local: int) -> bool:
        today, tomorrow = _date(local), _date(local + 1)
        return today.weekday() < 4 and not (self._rests(today) or self._rests(tomorrow))

    def _rests(self, day: dt.date) -> bool:
        return day in self._dates or day in observances.days(self.cut, day.year)


class Calendar:
    """The days and hours of a provider and its areas. Immutable.

    ``zone`` and ``cut`` are for every area that is not in ``areas``; ``hours`` are minutes of the local day, [from,
    to); ``dates`` are municipal holidays by area. Raises ValueError, with the remedy, for an unknown cut calendar.
    """

    __slots__ = ("_dates", "_default", "_places", "_rules")

    def __init__(
        self,
        zone: ZoneInfo,
        cut: str = observances.NONE,
        hours: tuple[int, int] = (480, 1080),
        areas: Mapping[str, Area] = MappingProxyType({}),
        dates: Mapping[str, Collection[dt.date]] = MappingProxyType({}),
    ) -> None:
        default = Area(zone, check_cut(cut))
        for area in areas.values():
            check_cut(area.cut)
        self._rules = zone, cut, hours, dict(areas)
        self._dates = dict(dates)
        self._default = _Place(default, hours, frozenset())
        self._places = {
            name: _Place(areas.get(name, default), hours, frozenset(dates.get(name, ()))) for name in {*areas, *dates}
        }

    def with_dates(self, area: str, dates: Collection[dt.date]) -> Calendar:
        """The same calendar with these municipal holidays for ``area``, instead of those it had."""
        return Calendar(*self._rules, {**self._dates, area: dates})

    def next_cut(self, moment: int, area: str = "") -> int:
        """The first moment (Unix ms) from ``moment`` on at which a debt block may begin (laws 1 to 3).

        Where no day within 400 permits one it gives up and says ``moment`` + 400 days; asked then, it looks further.
        Beyond the years that datetime knows, ``moment`` itself.
        """
        place = self._places.get(area, self._default)
        if place.cut == observances.NONE or place.last[0] <= moment < place.last[1]:
            return moment
        day = moment // DAY
        windows = place.known.get(day)
        if windows is None:
            if not _FIRST <= day <= _LAST:
                return moment
            windows = place.look(day)
        for begin, end in windows:
            if moment < end:
                place.last = begin, end
                return max(moment, begin)
        return moment + GIVE_UP_DAYS * DAY

    def business_day_end(self, moment: int, days: int, area: str = "") -> int:
        """When (Unix ms) the ``days``-th bank day after the local day of ``moment`` ends (laws 4 and 5).

        1 is the next bank day, even if today is one; 0 is today, whatever day it is.
        """
        zone = self._place(area).zone
        return _day_end(zone, _bank_day(_local_day(zone, moment), days))

    def today(self, moment: int, area: str = "") -> dt.date:
        """The area's local date at ``moment`` (Unix ms)."""
        return _date(_local_day(self._place(area).zone, moment))

    def days_ago(self, moment: int, days: int, area: str = "") -> str:
        """The area's local date ``days`` before ``moment`` (Unix ms), as ISO writes it."""
        return _written(_local_day(self._place(area).zone, moment) - days)

    def _place(self, area: str) -> _Place:
        return self._places.get(area, self._default)


def check_cut(value: str) -> str:
    """``value``, if it names a cut calendar; raises ValueError with the remedy."""
    if value != observances.NONE and value not in observances.known():
        states = " ".join(name.removeprefix("BR-") for name in observances.known()[2:])
        raise ValueError(f'{value!r} is no cut calendar: write "none", "BR", or "BR-" and a state, one of {states}')
    return value


def read_hours(text: str) -> tuple[int, int]:
    """Minutes of the day [from, to) of "08:00-18:00"; raises ValueError with the remedy."""
    found = _HOURS.fullmatch(text)
    if found:
        start, end = (int(h) * 60 + int(m) for h, m in (found.group(1, 2), found.group(3, 4)))
        if start < end <= 24 * 60:
            return start, end
    raise ValueError(
        f'{text!r} are no business hours: write from and to on one day with two digits each, like "08:00-18:00"; '
        'the latest end is "24:00"'
    )


def _date(day: int) -> dt.date:
    return dt.date.fromordinal(min(max(day + _EPOCH, 1), dt.date.max.toordinal()))


@functools.lru_cache(_KEPT)
def _written(day: int) -> str:
    return _date(day).isoformat()


def _offset(zone: ZoneInfo, moment: int) -> int:
    """How far (ms) the zone's clocks are ahead of UTC at ``moment``; at the ends of time, shortly before."""
    inside = min(max(moment, _FIRST * DAY), _LAST * DAY)
    offset = dt.datetime.fromtimestamp(inside // 1000, zone).utcoffset()
    return offset // dt.timedelta(milliseconds=1) if offset else 0


@functools.lru_cache(_KEPT)
def _local_day(zone: ZoneInfo, moment: int) -> int:
    for _, end, offset in _changes(zone, moment // DAY):
        if moment < end:
            return (moment + offset) // DAY
    raise AssertionError("a day's last stretch ends with the day")


@functools.lru_cache(_KEPT)
def _changes(zone: ZoneInfo, day: int) -> tuple[tuple[int, int, int], ...]:
    return tuple(_stretches(zone, day))


def _stretches(zone: ZoneInfo, day: int) -> Iterator[tuple[int, int, int]]:
    """A UTC day cut where the zone's clocks are changed: (begin, end, offset), Unix ms. No zone changes twice a day."""
    begin, end = day * DAY, (day + 1) * DAY
    before, after = _offset(zone, begin), _offset(zone, end)
    if before == after:
        yield begin, end, before
        return
    low, high = begin // 1000, end // 1000  # changes fall on whole seconds: the last one before, the first one after
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if _offset(zone, middle * 1000) == before else (low, middle)
    yield begin, high * 1000, before
    if high * 1000 < end:
        yield high * 1000, end, after


@functools.lru_cache(_KEPT)
def _bank_day(day: int, count: int) -> int:
    """The ``count``-th bank day after a local day (law 4); the last day of time, should it run out."""
    while count > 0 and day < _LAST:
        day += 1
        today = _date(day)
        count -= today.weekday() < 5 and today not in observances.bank(today.year)
    return day


@functools.lru_cache(_KEPT)
def _day_end(zone: ZoneInfo, day: int) -> int:
    """When (Unix ms) a local day is over for good (law 5): no clock is a whole day from UTC, so two UTC days tell."""
    edge = (day + 1) * DAY
    return max(
        min(end, edge - offset)
        for utc in (day, day + 1)
        for begin, end, offset in _stretches(zone, utc)
        if begin < edge - offset
    )
