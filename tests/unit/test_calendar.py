"""Cut days and bank days: tables of real years written down by hand, and an oracle that walks minute by minute."""

from __future__ import annotations

import datetime as dt
import functools
import subprocess
import sys
from collections.abc import Collection
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from edged.domain import calendar as module
from edged.domain import observances
from edged.domain.calendar import DAY, GIVE_UP_DAYS, Area, Calendar, check_cut, read_hours

SP, ACRE, NORONHA = (ZoneInfo(f"America/{n}") for n in ("Sao_Paulo", "Rio_Branco", "Noronha"))
CAIRO, HAVANA, ST_JOHNS, APIA = (
    ZoneInfo(n) for n in ("Africa/Cairo", "America/Havana", "America/St_Johns", "Pacific/Apia")
)

FIXED = "01-01 04-21 05-01 09-07 10-12 11-02 11-15 11-20 12-25".split()
# year: Carnival Monday, Tuesday, Ash Wednesday, Good Friday, Corpus Christi
MOVING = {
    2024: "02-12 02-13 02-14 03-29 05-30".split(),
    2025: "03-03 03-04 03-05 04-18 06-19".split(),
    2026: "02-16 02-17 02-18 04-03 06-04".split(),
    2027: "02-08 02-09 02-10 03-26 05-27".split(),
    2028: "02-28 02-29 03-01 04-14 06-15".split(),
}
OFFICES = "10-28 12-24 12-31".split()  # the servants' day, and the eves


def dates(year: int, days: Collection[str]) -> set[dt.date]:
    return {dt.date.fromisoformat(f"{year}-{day}") for day in days}


def ms(text: str, zone: ZoneInfo = SP) -> int:
    """Unix ms of an ISO moment; a zone in the text (…Z) wins."""
    moment = dt.datetime.fromisoformat(text)
    return round((moment if moment.tzinfo else moment.replace(tzinfo=zone)).timestamp() * 1000)


def shown(moment: int, zone: ZoneInfo = SP) -> str:
    local = dt.datetime.fromtimestamp(moment / 1000, zone).replace(tzinfo=None)
    return local.isoformat(" ", "milliseconds" if moment % 1000 else "minutes")


# ------------------------------------------------------------------------------------------------- tables of holidays


@pytest.mark.parametrize("year", MOVING)
def test_the_holidays_of_brazil_are_those_on_the_wall(year: int) -> None:
    assert observances.days("BR", year) == dates(year, [*FIXED, *MOVING[year], *OFFICES])


@pytest.mark.parametrize("year", MOVING)
def test_banks_rest_in_carnival_and_on_corpus_christi_and_work_on_ash_wednesday(year: int) -> None:
    monday, tuesday, _ash, friday, corpus = MOVING[year]
    assert observances.bank(year) == dates(year, [*FIXED, monday, tuesday, friday, corpus])


@pytest.mark.parametrize(
    ("state", "more"),
    {
        "SP": ["07-09"],
        "RJ": ["04-23"],
        "MG": [],
        "BA": ["07-02"],
        "CE": ["03-19", "03-25", "08-15"],
        "PE": ["03-06"],
        "RS": ["09-20"],
        "PA": ["08-15"],
        "DF": ["11-30"],
        "SE": ["07-08"],
        "AC": [
            "01-23",
            "03-08",
            "06-15",
            "09-05",
        ],  # 17 November, a Tuesday, goes to Friday the 20th, which is one anyway
    }.items(),
)
def test_a_state_adds_its_own_days(state: str, more: list[str]) -> None:
    assert observances.days(f"BR-{state}", 2026) - observances.days("BR", 2026) == dates(2026, more)


def test_acre_moves_what_falls_within_the_week_to_friday() -> None:
    assert {dt.date(2024, 1, 26), dt.date(2025, 1, 24)} <= observances.days("BR-AC", 2024) | observances.days(
        "BR-AC", 2025
    )
    assert dt.date(2024, 1, 23) not in observances.days("BR-AC", 2024)  # a Tuesday


def test_the_20th_of_november_is_national_since_2024() -> None:
    day = dt.date(2023, 11, 20)
    assert day not in observances.days("BR", 2023) | observances.bank(2023)
    assert day in observances.days("BR-RJ", 2023)


def test_the_machines_language_has_no_say(monkeypatch: pytest.MonkeyPatch) -> None:
    for language in ("uk", "en_US", "pt_BR", "C", ""):
        monkeypatch.setenv("LANGUAGE", language)
        assert observances.bank.__wrapped__(2026) == observances.bank(2026)
        assert len(observances.bank(2026)) == 13


def test_no_calendar_has_no_holidays() -> None:
    assert observances.days(observances.NONE, 2026) == frozenset()
    assert observances.days("BR", 2026) < observances.days("BR-AC", 2026)


def test_who_needs_no_holidays_does_not_load_the_library() -> None:
    code = """
import sys
from zoneinfo import ZoneInfo
from edged.domain.calendar import Calendar
assert Calendar(ZoneInfo("America/Sao_Paulo")).next_cut(7) == 7
assert "holidays" not in sys.modules, "holidays was imported"
"""
    subprocess.run([sys.executable, "-c", code], check=True)


# ------------------------------------------------------------------------------------------------------------ cut days


@pytest.mark.parametrize(
    ("cut", "asked", "answer"),
    [
        # the week, and the ends of the hours
        ("BR", "2026-03-02T08:00", "2026-03-02 08:00"),
        ("BR", "2026-03-02T07:59:59.999", "2026-03-02 08:00"),
        ("BR", "2026-03-02T12:34:56.789", "2026-03-02 12:34:56.789"),
        ("BR", "2026-03-02T17:59:59.999", "2026-03-02 17:59:59.999"),
        ("BR", "2026-03-02T18:00", "2026-03-03 08:00"),
        ("BR", "2026-03-05T17:59", "2026-03-05 17:59"),  # Thursday
        ("BR", "2026-03-05T18:00", "2026-03-09 08:00"),
        ("BR", "2026-03-06T10:00", "2026-03-09 08:00"),
        ("BR", "2026-03-08T23:59:59.999", "2026-03-09 08:00"),
        # Carnival with Ash Wednesday
        ("BR", "2024-02-08T18:00", "2024-02-15 08:00"),
        ("BR", "2025-02-27T18:00", "2025-03-06 08:00"),
        ("BR", "2026-02-16T10:00", "2026-02-19 08:00"),
        ("BR", "2026-02-18T14:00", "2026-02-19 08:00"),
        ("BR", "2027-02-04T18:00", "2027-02-11 08:00"),
        ("BR", "2028-02-24T18:00", "2028-03-02 08:00"),
        # Good Friday and its eve
        ("BR", "2024-03-28T10:00", "2024-04-01 08:00"),
        ("BR", "2025-04-17T08:00", "2025-04-22 08:00"),  # then Easter, and Tiradentes on Monday
        ("BR", "2026-04-01T18:00", "2026-04-06 08:00"),
        ("BR", "2027-03-25T10:00", "2027-03-29 08:00"),
        ("BR", "2028-04-13T10:00", "2028-04-17 08:00"),
        # Tiradentes, 1 May
        ("BR", "2026-04-20T10:00", "2026-04-22 08:00"),
        ("BR", "2026-04-30T10:00", "2026-05-04 08:00"),
        ("BR", "2024-04-30T10:00", "2024-05-02 08:00"),
        # Corpus Christi, always a Thursday, and its eve
        ("BR", "2024-05-29T08:00", "2024-06-03 08:00"),
        ("BR", "2025-06-18T08:00", "2025-06-23 08:00"),
        ("BR", "2026-06-03T08:00", "2026-06-08 08:00"),
        ("BR", "2027-05-26T08:00", "2027-05-31 08:00"),
        ("BR", "2028-06-14T08:00", "2028-06-19 08:00"),
        # 7 September, 12 October, 28 October, 2, 15 and 20 November
        ("BR", "2026-09-07T10:00", "2026-09-08 08:00"),
        ("BR", "2027-09-06T10:00", "2027-09-08 08:00"),
        ("BR", "2026-10-12T10:00", "2026-10-13 08:00"),
        ("BR", "2026-10-27T10:00", "2026-10-29 08:00"),
        ("BR", "2026-11-02T10:00", "2026-11-03 08:00"),
        ("BR", "2027-11-15T10:00", "2027-11-16 08:00"),
        ("BR", "2028-11-14T10:00", "2028-11-16 08:00"),
        ("BR", "2024-11-19T10:00", "2024-11-21 08:00"),
        ("BR", "2025-11-19T10:00", "2025-11-24 08:00"),
        ("BR", "2023-11-20T10:00", "2023-11-20 10:00"),  # not yet national
        ("BR-RJ", "2023-11-20T10:00", "2023-11-21 08:00"),
        # the end of the year: the 24th and the 31st have eves of their own
        ("BR", "2026-12-22T17:00", "2026-12-22 17:00"),
        ("BR", "2026-12-22T18:00", "2026-12-28 08:00"),
        ("BR", "2026-12-29T18:00", "2027-01-04 08:00"),
        ("BR", "2024-12-30T08:00", "2025-01-02 08:00"),
        # states
        ("BR", "2026-07-08T10:00", "2026-07-08 10:00"),
        ("BR-SP", "2026-07-08T10:00", "2026-07-13 08:00"),
        ("BR-RJ", "2026-07-08T10:00", "2026-07-08 10:00"),
        ("BR-RJ", "2024-04-22T10:00", "2024-04-24 08:00"),
        ("BR-BA", "2025-07-01T10:00", "2025-07-03 08:00"),
        ("BR-RS", "2028-09-19T10:00", "2028-09-21 08:00"),
        ("BR-PE", "2028-03-06T10:00", "2028-03-07 08:00"),
        # none
        ("none", "2026-12-25T03:00", "2026-12-25 03:00"),
    ],
)
def test_a_debt_block_begins_on_a_cut_day_in_business_hours(cut: str, asked: str, answer: str) -> None:
    assert shown(Calendar(SP, cut).next_cut(ms(asked))) == answer


def test_each_area_has_its_own_clock_and_calendar() -> None:
    ours = Calendar(
        SP, "BR", areas={"acre": Area(ACRE, "BR-AC"), "ilha": Area(NORONHA, "BR-PE"), "free": Area(SP, "none")}
    )
    night = ms("2026-03-03T03:00Z")
    assert ours.next_cut(night) == ms("2026-03-03T11:00Z")
    assert ours.next_cut(night, "elsewhere") == ms("2026-03-03T11:00Z")
    assert ours.next_cut(night, "acre") == ms("2026-03-03T13:00Z")
    assert ours.next_cut(night, "ilha") == ms("2026-03-03T10:00Z")
    assert ours.next_cut(night, "free") == night
    evening = ms("2026-03-03T21:30Z")  # 18:30, 16:30, 19:30
    assert ours.next_cut(evening) == ms("2026-03-04T11:00Z")
    assert ours.next_cut(evening, "acre") == evening
    assert ours.next_cut(evening, "ilha") == ms("2026-03-04T10:00Z")
    assert ours.next_cut(ms("2026-03-05T11:00Z")) == ms("2026-03-05T11:00Z")
    assert ours.next_cut(ms("2026-03-05T11:00Z"), "ilha") == ms("2026-03-09T10:00Z")  # 6 March is Pernambuco's
    assert ours.next_cut(ms("2026-03-05T12:59:59Z"), "acre") == ms("2026-03-05T13:00Z")


def test_the_local_date_is_the_areas() -> None:
    ours = Calendar(SP, areas={"acre": Area(ACRE, "none"), "ilha": Area(NORONHA, "none")})
    moment = ms("2026-03-03T02:00Z")
    assert ours.today(moment) == dt.date(2026, 3, 2)
    assert ours.today(moment, "ilha") == dt.date(2026, 3, 3)
    assert ours.today(ms("2026-03-03T04:59:59.999Z"), "acre") == dt.date(2026, 3, 2)
    assert ours.today(ms("2026-03-03T05:00Z"), "acre") == dt.date(2026, 3, 3)


def test_summer_time_and_moved_zones_move_the_hours() -> None:
    ours = Calendar(SP, "BR", areas={"acre": Area(ACRE, "BR")})
    # forward on 4 November 2018 at midnight, back on 18 February 2018 at midnight
    assert ours.next_cut(ms("2018-11-01T15:00Z")) == ms("2018-11-05T10:00Z")  # the eve of 2 November, a Friday
    assert ours.next_cut(ms("2018-10-31T21:00Z")) == ms("2018-11-05T10:00Z")
    assert ours.next_cut(ms("2018-02-15T20:00Z")) == ms("2018-02-19T11:00Z")
    # Acre was four hours behind UTC from June 2008 to 10 November 2013, a Sunday
    assert ours.next_cut(ms("2013-11-06T03:00Z"), "acre") == ms("2013-11-06T12:00Z")
    assert ours.next_cut(ms("2013-11-08T03:00Z"), "acre") == ms("2013-11-11T13:00Z")


def test_other_hours() -> None:
    assert shown(Calendar(SP, "BR", read_hours("09:30-12:00")).next_cut(ms("2026-03-03T12:00"))) == "2026-03-04 09:30"
    whole = Calendar(SP, "BR", read_hours("00:00-24:00"))
    assert shown(whole.next_cut(ms("2026-03-05T23:59:59.999"))) == "2026-03-05 23:59:59.999"
    assert shown(whole.next_cut(ms("2026-03-06T00:00"))) == "2026-03-09 00:00"


# ----------------------------------------------------------------------------------------------------- municipal dates


def test_a_municipal_holiday_and_its_eve_are_its_areas_alone() -> None:
    plain = Calendar(SP, "BR", areas={"norte": Area(ACRE, "BR"), "free": Area(SP, "none")})
    ours = plain.with_dates("centro", [dt.date(2026, 3, 4)]).with_dates("norte", {dt.date(2026, 3, 3)})
    ours = ours.with_dates("free", [dt.date(2026, 3, 3)])
    asked = ms("2026-03-03T14:00")
    assert shown(ours.next_cut(asked, "centro")) == "2026-03-05 08:00"
    assert ours.next_cut(asked, "norte") == ms("2026-03-04T08:00", ACRE)
    assert ours.next_cut(asked) == ours.next_cut(asked, "sul") == ours.next_cut(asked, "free") == asked
    assert plain.next_cut(asked, "centro") == plain.next_cut(asked, "norte") == asked  # values do not change
    assert ours.with_dates("centro", []).next_cut(asked, "centro") == asked
    given_at_once = Calendar(SP, "BR", dates={"centro": [dt.date(2026, 3, 4)]})
    assert given_at_once.next_cut(asked, "centro") == ours.next_cut(asked, "centro")


def test_the_first_of_january_may_be_a_municipal_eves_morrow() -> None:
    ours = Calendar(SP, "BR", dates={"a": [dt.date(2029, 1, 2)]})
    assert shown(ours.next_cut(ms("2028-12-27T18:00"), "a")) == "2028-12-28 08:00"
    assert shown(ours.next_cut(ms("2028-12-28T18:00"), "a")) == "2029-01-03 08:00"


# ----------------------------------------------------------------------------------------------------------- bank days


@pytest.mark.parametrize("cut", ["none", "BR", "BR-SP"])
@pytest.mark.parametrize(
    ("asked", "days", "end"),
    [
        ("2026-03-03T10:00", 0, "2026-03-04"),
        ("2026-03-03T00:00", 1, "2026-03-05"),
        ("2026-03-03T23:59:59.999", 1, "2026-03-05"),
        ("2026-03-03T10:00", 4, "2026-03-10"),
        ("2026-03-06T10:00", 1, "2026-03-10"),  # Friday
        ("2026-03-07T10:00", 1, "2026-03-10"),
        ("2026-02-13T10:00", 1, "2026-02-19"),  # the Friday before Carnival: Ash Wednesday is a bank day
        ("2026-02-13T10:00", 2, "2026-02-20"),
        ("2024-02-09T10:00", 1, "2024-02-15"),
        ("2025-02-28T10:00", 1, "2025-03-06"),
        ("2027-02-05T10:00", 1, "2027-02-11"),
        ("2028-02-25T10:00", 1, "2028-03-02"),
        ("2026-04-02T10:00", 1, "2026-04-07"),  # Good Friday
        ("2026-06-03T10:00", 1, "2026-06-06"),  # Corpus Christi on Thursday: the Friday after it counts
        ("2026-07-08T10:00", 1, "2026-07-10"),  # 9 July is São Paulo's alone
        ("2026-09-04T10:00", 1, "2026-09-09"),
        ("2024-11-19T10:00", 1, "2024-11-22"),
        ("2023-11-17T10:00", 1, "2023-11-21"),
        ("2026-10-27T10:00", 1, "2026-10-29"),
        ("2026-12-23T10:00", 1, "2026-12-25"),  # the 24th is a bank day, the 25th is not
        ("2026-12-23T10:00", 2, "2026-12-29"),
        ("2026-12-30T10:00", 2, "2027-01-05"),
    ],
)
def test_a_promise_ends_with_a_bank_day(cut: str, asked: str, days: int, end: str) -> None:
    ours = Calendar(SP, cut, dates={"a": [dt.date(2026, 3, day) for day in range(1, 32)]})
    assert shown(ours.business_day_end(ms(asked), days)) == f"{end} 00:00"
    assert shown(ours.business_day_end(ms(asked), days, "a")) == f"{end} 00:00"


def test_a_bank_day_ends_at_the_areas_own_midnight() -> None:
    ours = Calendar(SP, areas={"acre": Area(ACRE, "none"), "ilha": Area(NORONHA, "none")})
    moment = ms("2026-03-03T02:00Z")  # Monday in Acre and São Paulo, Tuesday on Noronha
    assert ours.business_day_end(moment, 1) == ms("2026-03-04T03:00Z")
    assert ours.business_day_end(moment, 1, "acre") == ms("2026-03-04T05:00Z")
    assert ours.business_day_end(moment, 1, "ilha") == ms("2026-03-05T02:00Z")


@pytest.mark.parametrize(
    ("zone", "noon", "end"),
    [
        (SP, "2018-11-03T15:00Z", "2018-11-04T03:00Z"),  # 24:00 is 01:00 on Sunday
        (SP, "2018-02-17T15:00Z", "2018-02-18T03:00Z"),  # 23:00 to 24:00 comes twice
        (SP, "2018-02-18T02:30Z", "2018-02-18T03:00Z"),  # the second time
        (CAIRO, "2023-04-27T10:00Z", "2023-04-27T22:00Z"),
        (CAIRO, "2023-10-26T10:00Z", "2023-10-26T22:00Z"),
        (HAVANA, "2024-11-02T16:00Z", "2024-11-03T04:00Z"),  # 00:00 to 01:00 comes twice: Sunday has begun all the same
        (ST_JOHNS, "2010-11-06T16:00Z", "2010-11-07T03:30Z"),  # at 00:01 back to 23:01: Saturday once more
        (APIA, "2011-12-29T20:00Z", "2011-12-30T10:00Z"),  # the 30th was left out
    ],
)
def test_a_day_ends_once_where_midnight_does_not(zone: ZoneInfo, noon: str, end: str) -> None:
    assert Calendar(zone).business_day_end(ms(noon), 0) == ms(end)


def test_promises_over_the_change_of_2018() -> None:
    ours = Calendar(SP, "BR-SP")
    assert ours.business_day_end(ms("2018-10-31T15:00Z"), 1) == ms("2018-11-02T03:00Z")
    assert ours.business_day_end(ms("2018-10-31T15:00Z"), 2) == ms("2018-11-06T02:00Z")
    assert ours.business_day_end(ms("2018-02-16T15:00Z"), 1) == ms("2018-02-20T03:00Z")


# ---------------------------------------------------------------------------------------------- ends, limits, mistakes


def test_a_calendar_without_a_day_gives_up() -> None:
    moment = ms("2026-03-03T10:00")
    every = [dt.date(2026, 1, 1) + dt.timedelta(days=i) for i in range(900)]
    assert Calendar(SP, "BR", dates={"a": every}).next_cut(moment, "a") == moment + GIVE_UP_DAYS * DAY
    assert Calendar(SP, "BR", hours=(480, 480)).next_cut(moment) == moment + GIVE_UP_DAYS * DAY
    assert Calendar(SP, "none", dates={"a": every}).next_cut(moment, "a") == moment


def test_a_long_holiday_is_waited_for_to_its_end() -> None:
    days = [dt.date(2026, 1, 1) + dt.timedelta(days=i) for i in range(365)]
    assert shown(Calendar(SP, "BR", dates={"a": days}).next_cut(ms("2026-01-05T10:00"), "a")) == "2027-01-04 08:00"


@pytest.mark.parametrize(
    "text", ["0001-01-01T00:00Z", "1969-12-31T23:59Z", "1970-01-01T00:00Z", "9999-12-31T23:59:59Z"]
)
def test_no_moment_is_too_early_or_too_late_to_answer(text: str) -> None:
    moment = ms(text)
    for zone in (SP, ACRE, APIA, CAIRO):
        ours = Calendar(zone, "BR-AC")
        for far in (moment, moment - 10**18, moment + 10**18):
            assert ours.next_cut(far) >= far
            assert isinstance(ours.today(far), dt.date)
            assert ours.business_day_end(far, 3) == ours.business_day_end(far, 3)


def test_the_first_moment_there_is_a_number_for_is_no_cut_day() -> None:
    for moment in (-DAY, -1, 0, 1):  # New Year's Eve, and the day behind it
        assert shown(Calendar(SP, "BR").next_cut(moment)) == "1970-01-05 08:00"


CLOCKS = [
    ("America/Sao_Paulo", "2018-11-04"), ("America/Sao_Paulo", "2019-02-17"), ("Europe/Berlin", "2026-03-29"),
    ("Europe/Berlin", "2026-10-25"), ("Africa/Cairo", "2026-04-24"), ("Australia/Lord_Howe", "2026-04-05"),
    ("Australia/Lord_Howe", "2026-10-04"), ("Pacific/Apia", "2011-12-30"), ("America/Rio_Branco", "2008-06-24"),
    ("America/Rio_Branco", "2013-11-10"), ("Atlantic/Azores", "2026-03-29"), ("America/St_Johns", "2006-10-29"),
]  # fmt: skip


@pytest.mark.parametrize(("zone", "day"), CLOCKS)
def test_the_local_date_is_the_zones_own_around_a_change_of_clocks(zone: str, day: str) -> None:
    own = ZoneInfo(zone)
    ours = Calendar(own, "BR")
    start = ms(f"{day}T00:00Z") - DAY
    assert len({dt.datetime.fromtimestamp((start + i * DAY) / 1000, own).utcoffset() for i in range(4)}) == 2
    dates = [(start + i * 600_000 - 1, dt.datetime.fromtimestamp(start // 1000 + i * 600 - 1, own)) for i in range(433)]
    for moment, local in dates:
        assert ours.today(moment) == local.date()
        end = ours.business_day_end(moment, 0)
        assert ours.today(end - 1) == local.date() < ours.today(end)
        assert ours.days_ago(moment, 1) == (local.date() - dt.timedelta(1)).isoformat()


@pytest.mark.parametrize(
    ("answer", "arguments"),
    [
        (module._written, (20_000,)), (module._local_day, (SP, 7)), (module._changes, (SP, 20_000)),
        (module._bank_day, (20_000, 1)), (module._day_end, (SP, 20_000)), (observances.known, ()),
        (observances.days, ("BR", 2026)), (observances.bank, (2026,)),
    ],
)  # fmt: skip
def test_what_was_asked_once_is_known(answer: Any, arguments: tuple[Any, ...]) -> None:
    """A batch of blocks asks about one day a thousand times."""
    assert answer(*arguments) is answer(*arguments)
    assert answer.cache_info().hits


def test_days_ago_is_today_counted_back_and_written() -> None:
    ours = Calendar(SP, "BR", areas={"a": Area(ACRE, "BR")})
    moment = ms("2026-03-03T01:30")  # in Acre it is still the second
    for area in ("", "a"):
        for days in (0, 1, 4, 365):
            assert ours.days_ago(moment, days, area) == (ours.today(moment, area) - dt.timedelta(days)).isoformat()
    assert ours.days_ago(moment, 0) != ours.days_ago(moment, 0, "a")


def test_a_day_is_worked_out_once_and_only_so_many_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    look = module._Place.look

    def counted(place: module._Place, day: int) -> tuple[tuple[int, int], ...]:
        asked.append(day)
        return look(place, day)

    monkeypatch.setattr(module._Place, "look", counted)
    ours = Calendar(SP, "BR", areas={"a": Area(ACRE, "BR")})
    start = ms("2026-03-03T02:00")
    for i in range(200):
        ours.next_cut(start + i)
        ours.next_cut(start + i, f"unknown-{i}")
    assert len(asked) == 1
    ours.next_cut(start, "a")
    assert len(asked) == 2
    for i in range(200):  # three days by turns
        ours.next_cut(start + i % 3 * DAY)
    assert len(asked) == 4
    del asked[2:]
    ours._default.known.clear()
    ours.next_cut(start)
    del asked[2:]
    for i in range(module._KEPT + 10):
        ours.next_cut(start + i * DAY)
    assert len(asked) == 2 + module._KEPT + 9
    assert len(ours._default.known) <= module._KEPT


def test_the_cut_calendars_are_none_the_country_and_its_states() -> None:
    names = observances.known()
    assert names[:2] == ("none", "BR")
    assert list(names[2:]) == [
        f"BR-{s}" for s in "AC AL AM AP BA CE DF ES GO MA MG MS MT PA PB PE PI PR RJ RN RO RR RS SC SE SP TO".split()
    ]
    assert [check_cut(name) for name in names] == list(names)


@pytest.mark.parametrize(
    "value", ["", "br", "BR-", "BR-XX", "SP", "BR-sp", "BR-São Paulo Capital", "AR", "None", "none ", "zz"]
)
def test_an_unknown_cut_calendar_is_refused_with_the_remedy(value: str) -> None:
    with pytest.raises(ValueError, match=r'write "none", "BR", or "BR-" and a state, one of AC AL .* TO$'):
        check_cut(value)
    with pytest.raises(ValueError, match="is no cut calendar"):
        Calendar(SP, value)
    with pytest.raises(ValueError, match="is no cut calendar"):
        Calendar(SP, areas={"a": Area(SP, value)})


@pytest.mark.parametrize(
    ("text", "minutes"),
    [
        ("08:00-18:00", (480, 1080)),
        ("00:00-24:00", (0, 1440)),
        ("09:15-09:16", (555, 556)),
        ("22:00-23:59", (1320, 1439)),
    ],
)
def test_hours_are_read(text: str, minutes: tuple[int, int]) -> None:
    assert read_hours(text) == minutes


@pytest.mark.parametrize(
    "text",
    ["", "8-18", "8:00-18:00", "08:00", "18:00-08:00", "08:00-08:00", "08:00-24:01", "24:00-24:00", "08:60-18:00",
     "08:00 - 18:00", "08:00-18:00\n", "٠8:00-18:00"],
)  # fmt: skip
def test_hours_that_are_none_are_refused_with_the_remedy(text: str) -> None:
    with pytest.raises(ValueError, match='like "08:00-18:00"'):
        read_hours(text)


# -------------------------------------------------------------------------------- an oracle that goes minute by minute


@functools.cache
def rests(day: dt.date) -> bool:
    """National and optional holidays, by the Gregorian computus; knows nothing of the library."""
    a, (b, c) = day.year % 19, divmod(day.year, 100)
    h = (19 * a + b - b // 4 - (b - (b + 8) // 25 + 1) // 3 + 15) % 30
    k = (32 + 2 * (b % 4) + 2 * (c // 4) - h - c % 4) % 7
    month, rest = divmod(h + k - 7 * ((a + 11 * h + 22 * k) // 451) + 114, 31)
    to_easter = (day - dt.date(day.year, month, rest + 1)).days
    name = f"{day:%m-%d}"
    return to_easter in {-48, -47, -46, -2, 60} or (
        name in [*FIXED, *OFFICES] and (name != "11-20" or day.year >= 2024)
    )


def permitted(local: dt.datetime, hours: tuple[int, int], municipal: Collection[dt.date]) -> bool:
    if not hours[0] <= local.hour * 60 + local.minute < hours[1] or local.strftime("%a") in {"Fri", "Sat", "Sun"}:
        return False
    today = local.date()
    return not any(rests(day) or day in municipal for day in (today, today + dt.timedelta(days=1)))


def walked(moment: int, zone: ZoneInfo, hours: tuple[int, int], municipal: Collection[dt.date]) -> int:
    while not permitted(dt.datetime.fromtimestamp(moment // 1000, zone), hours, municipal):
        moment = (moment // 60_000 + 1) * 60_000
    return moment


ZONES = [SP, ACRE, NORONHA, CAIRO, HAVANA, ST_JOHNS, APIA, ZoneInfo("America/Manaus"), ZoneInfo("Australia/Lord_Howe")]
CHANGED = "2018-11-04 2018-02-18 2013-11-10 2008-06-24 2023-04-28 2023-10-27 2024-11-03 2010-11-07 2011-12-30"
CHANGES = [ms(f"{day}T00:00Z") for day in CHANGED.split()]
zones = st.sampled_from(ZONES)
moments = st.one_of(
    st.integers(ms("2005-01-01T00:00Z"), ms("2035-01-01T00:00Z")),
    st.builds(lambda at, by: at + by, st.sampled_from(CHANGES), st.integers(-4 * DAY, 2 * DAY)),
)
open_hours = st.one_of(
    st.just((480, 1080)),
    st.tuples(st.integers(0, 1439), st.integers(1, 1440)).filter(lambda h: h[0] < h[1]),
    st.sampled_from([(0, 1), (0, 60), (30, 90), (1380, 1440), (1385, 1410), (1439, 1440), (0, 1440)]),
)
after = st.frozensets(st.integers(0, 15), max_size=6)


def municipal(moment: int, days: Collection[int]) -> list[dt.date]:
    first = dt.datetime.fromtimestamp(moment // 1000, dt.UTC).date()
    return [first + dt.timedelta(days=day) for day in days]


@settings(max_examples=150, deadline=None)
@given(moments, zones, open_hours, after)
@example(ms("2018-02-15T00:00Z"), SP, (1380, 1440), frozenset())
@example(ms("2023-10-23T00:00Z"), CAIRO, (1380, 1410), frozenset())
def test_it_answers_what_walking_minute_by_minute_finds(
    moment: int, zone: ZoneInfo, hours: tuple[int, int], days: frozenset[int]
) -> None:
    rest = municipal(moment, days)
    ours = Calendar(zone, "BR", hours, dates={"a": rest})
    assert ours.next_cut(moment, "a") == walked(moment, zone, hours, rest)


@settings(max_examples=300, deadline=None)
@given(moments, st.integers(0, 20 * DAY), zones, open_hours, st.sampled_from(["none", "BR", "BR-SP", "BR-AC"]), after)
def test_never_earlier_idempotent_and_monotone(
    moment: int, later: int, zone: ZoneInfo, hours: tuple[int, int], cut: str, days: frozenset[int]
) -> None:
    ours = Calendar(zone, cut, hours, dates={"a": municipal(moment, days)})
    found = ours.next_cut(moment, "a")
    assert found >= moment
    assert ours.next_cut(found, "a") == found
    assert ours.next_cut(moment + later, "a") >= found
    assert Calendar(zone, cut, hours, dates={"a": municipal(moment, days)}).next_cut(moment, "a") == found


@settings(max_examples=200, deadline=None)
@given(moments, st.integers(0, 6), zones)
def test_a_business_day_ends_with_its_last_minute(moment: int, days: int, zone: ZoneInfo) -> None:
    ours = Calendar(zone)
    day = dt.datetime.fromtimestamp(moment // 1000, zone).date()
    assert ours.today(moment) == day
    for _ in range(days):
        day += dt.timedelta(days=1)
        while day.weekday() > 4 or (rests(day) and f"{day:%m-%d}" not in OFFICES and not ash_wednesday(day)):
            day += dt.timedelta(days=1)
    edge = ms(f"{day}T00:00Z")
    minutes = range(edge - DAY, edge + 3 * DAY, 60_000)
    last = max(m for m in minutes if dt.datetime.fromtimestamp(m // 1000, zone).date() <= day)
    assert ours.business_day_end(moment, days) == last + 60_000


def ash_wednesday(day: dt.date) -> bool:
    return day.weekday() == 2 and rests(day - dt.timedelta(days=1)) and rests(day - dt.timedelta(days=2))
