"""What the fields of commands hold (contract §1), and what all commands have in common. Pure."""

from __future__ import annotations

import datetime as dt
import functools
from collections.abc import Sequence
from typing import Annotated, Literal

from msgspec import Meta, Struct
from msgspec.structs import force_setattr

from edged.domain.address import literal, may_be_address
from edged.domain.model import REASONS, Invoice

MOST_ID = 64
MOST_INTEGER = (1 << 63) - 1
"""The largest number that every JSON reader and the store keep exactly."""
_YEARS = range(1971, 9000)
"""Beyond these, zone and notice arithmetic leaves what a date can hold."""

Sub = Annotated[str, Meta(min_length=1, max_length=128, description="Contract, service or login id, or an address.")]
Opaque = Annotated[str, Meta(min_length=1, max_length=128)]
Id = Annotated[str, Meta(min_length=1, max_length=MOST_ID)]
Moment = Annotated[dt.datetime, Meta(tz=True, description="RFC 3339 with zone.")]
ReasonName = Annotated[str, Meta(extra_json_schema={"enum": list(REASONS)})]
ReasonNames = Annotated[str, Meta(extra_json_schema={"enum": [*REASONS, "debt*"]})]
LevelName = Literal["notice", "reduced", "walled", "blocked"]
Kind = Literal["agreement", "dispute", "hardship"]
Area = Annotated[str, Meta(min_length=1, max_length=128, description='Where a subscriber lives; "*" means everywhere.')]
Method = Literal["pix", "card", "bank", "lottery", "debit", "collection"]
Addresses = Annotated[list[Annotated[str, Meta(max_length=64)]], Meta(max_length=256)]
Count = Annotated[int, Meta(ge=0, le=MOST_INTEGER)]


class InvoiceIn(Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    """An invoice as billing names it."""

    id: Opaque
    due: dt.date | None = None


Invoices = Annotated[list[Opaque | InvoiceIn], Meta(max_length=500)]


def listed(invoices: Sequence[str | InvoiceIn]) -> tuple[Invoice, ...]:
    """The invoices a command names, each once, the last word on it counting."""
    if not invoices:
        return ()
    if len(invoices) == 1:
        return (_named(invoices[0]),)
    found = (_named(i) for i in invoices)
    return tuple({i.id: i for i in found}.values())


def names(invoices: Sequence[str | InvoiceIn]) -> tuple[str, ...]:
    """Their ids, each once."""
    if len(invoices) == 1:
        invoice = invoices[0]
        return (invoice if isinstance(invoice, str) else invoice.id,)
    return tuple(dict.fromkeys(i if isinstance(i, str) else i.id for i in invoices))


def _named(invoice: str | InvoiceIn) -> Invoice:
    if isinstance(invoice, str):
        return Invoice(invoice)
    return Invoice(invoice.id, _written(invoice.due) if invoice.due else "")


_written = functools.lru_cache(maxsize=1024)(dt.date.isoformat)  # bills fall due together


class Shape(Struct, frozen=True, forbid_unknown_fields=True, gc=False, tag_field="op"):
    """A command: ``op`` says which, and what it has no field for is refused."""


class OfSubscriber(Shape, frozen=True):
    """A command on one subscriber."""

    sub: Sub
    rev: Count | None = None
    ref: Opaque | None = None

    def __post_init__(self) -> None:
        check_sub(self)


def check_sub(cmd: OfSubscriber) -> None:
    """Bring the name into its canonical form. Raises ValueError for one that nobody could read."""
    name = cmd.sub
    if not name.isprintable() or name[0] == " " or name[-1] == " ":
        raise ValueError("sub must be printable characters without space at the ends")
    if may_be_address(name) and (canonical := literal(name)) is not None and canonical != name:
        force_setattr(cmd, "sub", canonical)


def no_reason(value: str) -> ValueError:
    """The error for a reason that there is not."""
    return ValueError(f"reason unknown: {value!r:.40}; known are {', '.join(REASONS)}")


def check_moment(name: str, value: dt.datetime) -> None:
    """Raise ValueError for a time in a field ``name`` that is out of all reason."""
    if value.year not in _YEARS:
        raise ValueError(f"{name} must lie between the years 1971 and 8999")
