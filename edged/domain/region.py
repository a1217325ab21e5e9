"""What holds debt blocks back in whole areas: moratoria and outages. Pure values; times are Unix milliseconds.

Laws:

1. A moratorium holds every onset in its area until its end, that millisecond excluded; ``*`` means every area.
2. An outage holds an onset while it lasts. Nobody knows how long, so the onset is looked at again: at the time that is
   expected, and every :data:`LOOK_MS`.
3. Neither touches what has begun.
"""

from __future__ import annotations

import datetime as dt

import msgspec

EVERYWHERE = "*"
"""Stands for all areas."""
LOOK_MS = 900_000
"""How often an onset that an outage holds is looked at again."""


class Moratorium(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """No new debt blocks until ``until``. ``release``: those in force there rest as well."""

    since: int
    until: int
    release: bool = False
    ref: str = ""
    issuer: str = ""


class Outage(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """A fault in ``area``. ``eta``: when its end is expected, 0 where nobody says."""

    area: str
    since: int
    eta: int = 0
    ref: str = ""
    issuer: str = ""


class Holidays(msgspec.Struct, frozen=True, gc=False):
    """Municipal holidays of an area. ``version`` is the sender's name for this list."""

    dates: tuple[dt.date, ...]
    version: str


class Regions(msgspec.Struct, frozen=True):
    """All that is known of areas: moratoria and holidays by area, outages by id."""

    moratoria: dict[str, Moratorium] = {}
    outages: dict[str, Outage] = {}
    holidays: dict[str, Holidays] = {}

    def moratorium(self, area: str, at: int) -> int:
        """The end of what holds an onset in ``area`` at ``at``, 0 for nothing."""
        if not self.moratoria:
            return 0
        found = (self.moratoria.get(area) if area else None, self.moratoria.get(EVERYWHERE))
        return max((m.until for m in found if m and m.until > at), default=0)

    def releasing(self, area: str, now: int) -> Moratorium | None:
        """The moratorium that lets what is in force in ``area`` rest, the longest; None where there is none."""
        found = (self.moratoria.get(area) if area else None, self.moratoria.get(EVERYWHERE))
        return max((m for m in found if m and m.release and m.until > now), key=lambda m: m.until, default=None)

    def outage(self, area: str) -> tuple[str, Outage] | None:
        """(id, outage) of the area, the one expected to end last."""
        found = None
        for name, outage in self.outages.items():
            if outage.area == area or outage.area == EVERYWHERE:  # noqa: PLR1714  asked with every block
                lasts = outage.eta == 0, outage.eta, name
                if found is None or lasts > found[0]:
                    found = lasts, outage
        return (found[0][2], found[1]) if found else None


NOWHERE = Regions()


def look_again(outage: Outage, now: int) -> int:
    """When an onset held by an outage is looked at again (law 2)."""
    return min(outage.eta, now + LOOK_MS) if outage.eta > now else now + LOOK_MS
