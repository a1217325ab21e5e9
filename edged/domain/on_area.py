"""The commands on whole areas (contract §1), as structs. Pure."""

from __future__ import annotations

import datetime as dt
from typing import Annotated

from msgspec import Meta

from edged.domain.fields import Area, Moment, Opaque, Shape, check_moment
from edged.domain.region import EVERYWHERE


class StartMoratorium(Shape, tag="moratorium", frozen=True, kw_only=True):
    """No new debt blocks in an area until a moment."""

    area: Area
    until: Moment
    release_existing: bool = False
    ref: Opaque | None = None

    def __post_init__(self) -> None:
        check_moment("until", self.until)


class EndMoratorium(Shape, tag="end_moratorium", frozen=True, kw_only=True):
    """It is over."""

    area: Area
    ref: Opaque | None = None


class StartOutage(Shape, tag="outage", frozen=True, kw_only=True):
    """A fault in an area: pages and queries tell, new debt blocks wait."""

    id: Opaque
    area: Area
    eta: Moment | None = None
    ref: Opaque | None = None

    def __post_init__(self) -> None:
        if self.eta is not None:
            check_moment("eta", self.eta)


class EndOutage(Shape, tag="end_outage", frozen=True, kw_only=True):
    """It is mended."""

    id: Opaque
    ref: Opaque | None = None


class SetHolidays(Shape, tag="calendar", frozen=True, kw_only=True):
    """Replace the municipal holidays of an area; an empty list takes them out."""

    area: Area
    dates: Annotated[list[dt.date], Meta(max_length=1000)]
    version: Opaque
    ref: Opaque | None = None

    def __post_init__(self) -> None:
        if self.area == EVERYWHERE:
            raise ValueError("area: name one; holidays of the whole country come with policy.cut_calendar")
