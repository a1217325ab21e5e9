"""The commands on one subscriber (contract §1), as structs. Pure."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct, field

from edged.domain.fields import (
    Addresses,
    InvoiceIn,
    Invoices,
    Kind,
    LevelName,
    Method,
    Moment,
    OfSubscriber,
    Opaque,
    ReasonName,
    ReasonNames,
    check_moment,
    check_sub,
    no_reason,
)
from edged.domain.model import REASONS
from edged.domain.region import EVERYWHERE


class Bind(OfSubscriber, tag="bind", frozen=True, kw_only=True):
    """These addresses are this subscriber's."""

    addresses: Addresses
    area: Opaque | None = None
    replace: bool = True

    def __post_init__(self) -> None:
        check_sub(self)
        if self.area == EVERYWHERE:
            raise ValueError('area: "*" stands for all areas, nobody lives in it')


class Unbind(OfSubscriber, tag="unbind", frozen=True, kw_only=True):
    """These addresses, or all, are no longer this subscriber's."""

    addresses: Addresses | None = None


class Override(Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    """Who takes it on himself that a debt begins in spite of calendar, moratorium and outage."""

    author: Opaque
    motive: Opaque


class Block(OfSubscriber, tag="block", frozen=True, kw_only=True):
    """Set one reason."""

    reason: ReasonName
    invoices: Invoices = field(default_factory=list)
    notified_at: Moment | None = None
    not_before: Moment | None = None
    deadline: Moment | None = None
    level: LevelName | None = None
    rate: Annotated[int, Meta(ge=8, le=100_000_000, description="kbit/s each way.")] | None = None
    page: Opaque | None = None
    override: Override | None = None

    def __post_init__(self) -> None:
        check_sub(self)
        if self.reason not in REASONS:
            raise no_reason(self.reason)
        if self.notified_at is not None:
            check_moment("notified_at", self.notified_at)
        if self.not_before is not None:
            check_moment("not_before", self.not_before)
        if self.deadline is not None:
            check_moment("deadline", self.deadline)


class Unblock(OfSubscriber, tag="unblock", frozen=True, kw_only=True):
    """Clear one reason, or with ``debt*`` the three debt reasons."""

    reason: ReasonNames
    cause: Opaque | None = None

    def __post_init__(self) -> None:
        check_sub(self)
        if self.reason not in REASONS and self.reason != "debt*":
            raise no_reason(self.reason)


class Paid(OfSubscriber, tag="paid", frozen=True, kw_only=True):
    """These invoices, or all, are settled."""

    invoices: Annotated[list[Opaque | InvoiceIn], Meta(min_length=1, max_length=500)] | None = None


class Trust(OfSubscriber, tag="trust", frozen=True, kw_only=True):
    """Lift debt reasons until a moment; where none is given, for as long as is usual on this basis."""

    basis: Literal["promise", "payment_claimed"] = "promise"
    method: Method | None = None
    invoices: Invoices = field(default_factory=list)
    until: Moment | None = None
    hours: Annotated[float, Meta(gt=0, le=1_000_000)] | None = None
    days: Annotated[float, Meta(gt=0, le=40_000)] | None = None
    next_business_day: bool | None = None
    channel: Opaque | None = None

    def __post_init__(self) -> None:
        check_sub(self)
        if (self.until, self.hours, self.days, self.next_business_day or None).count(None) < 3:
            raise ValueError("give one of until, hours, days, next_business_day, or none of them")
        if self.method is not None and self.basis != "payment_claimed":
            raise ValueError("method: it goes with the basis payment_claimed")
        if self.until is not None:
            check_moment("until", self.until)


class Untrust(OfSubscriber, tag="untrust", frozen=True):
    """End the promise now."""


class Defer(OfSubscriber, tag="defer", frozen=True, kw_only=True):
    """Put debt reasons off until a moment: an agreement, a dispute, a hardship."""

    until: Moment
    kind: Kind
    invoices: Invoices = field(default_factory=list)
    up_to: LevelName | None = None

    def __post_init__(self) -> None:
        check_sub(self)
        check_moment("until", self.until)


class Undefer(OfSubscriber, tag="undefer", frozen=True, kw_only=True):
    """End a deferral, or all of them."""

    kind: Kind | None = None


class Forget(OfSubscriber, tag="forget", frozen=True):
    """Remove a subscriber and all about it."""
