"""The days on which Brazil rests, from the ``holidays`` library, which stays in here. Pure.

Laws:

1. A cut calendar's days are the national holidays, its state's, and the library's optional category (Carnival, Ash
   Wednesday, Corpus Christi, 28 October, 24 and 31 December). Municipal ones are not among them: ``calendar`` brings
   those.
2. Banks rest on national holidays, Good Friday among them, on Carnival Monday and Tuesday and on Corpus Christi. The
   other optional days are bank days, Ash Wednesday too, and so are state and municipal holidays.
3. Nothing around us has a say: days are asked for by year, in one language, whatever the machine's own is.

The library knows 1890 to 2100; other years have no holidays. It takes a third of a second to import, so that is left to
the first who asks, and each year of a calendar is worked out once.
"""

from __future__ import annotations

import datetime as dt
import functools

NONE = "none"
"""No cut calendar: a debt block may begin at any time."""

COUNTRY = "BR"
_LANGUAGE = "pt_BR"  # the library's own of Brazil; without it the names would follow the machine's (law 3)
_BANKS_REST = frozenset({"Carnaval", "Corpus Christi"})
"""Which of the optional days are no bank days: the library has no such category for Brazil."""

_KEPT = 1024
"""Years remembered: 29 calendars, a generation each."""


@functools.cache
def known() -> tuple[str, ...]:
    """Every cut calendar: "none", "BR" and one for each state.

    The library also has the city of São Paulo, alone of 5570: its days come by ``calendar`` like any other's.
    """
    from holidays.countries.brazil import Brazil

    return (NONE, COUNTRY, *sorted(f"{COUNTRY}-{name}" for name in Brazil.subdivisions if len(name) == 2))


@functools.lru_cache(_KEPT)
def days(cut: str, year: int) -> frozenset[dt.date]:
    """A cut calendar's holidays in a year (law 1). ``cut`` is one of :func:`known`."""
    if cut == NONE:
        return frozenset()
    from holidays.countries.brazil import Brazil

    state = cut.removeprefix(COUNTRY).removeprefix("-") or None
    return frozenset(
        Brazil(years=year, subdiv=state, expand=False, categories=("public", "optional"), language=_LANGUAGE)
    )


@functools.lru_cache(_KEPT)
def bank(year: int) -> frozenset[dt.date]:
    """The days of a year on which banks rest, weekends left aside (law 2)."""
    from holidays.countries.brazil import Brazil

    national = Brazil(years=year, expand=False, categories="public", language=_LANGUAGE)
    optional = Brazil(years=year, expand=False, categories="optional", language=_LANGUAGE)
    return frozenset(national) | {day for day, name in optional.items() if name in _BANKS_REST}
