"""The commands of contract §1 as pydantic models, and how a payload becomes them.

Only what this version carries out is here; everything else in the contract is answered ``unknown_op`` or
``malformed`` with a sentence that says so.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import json
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    model_validator,
)

from edged.domain.address import literal
from edged.domain.model import REASONS
from edged.domain.rejection import Rejected

MOST_COMMANDS = 5000
MOST_ID = 64
MOST_INTEGER = (1 << 63) - 1
"""The largest number that every JSON reader and the store keep exactly."""
WIDEST_GARDEN = {4: 8, 6: 16}
"""The shortest prefix a garden list may name: a wrong export must not open the Internet to the blocked."""
_LATER_OPS = {"defer", "undefer", "moratorium", "end_moratorium", "outage", "end_outage", "calendar", "page"}
_LATER_REASONS = {"court", "terminated", "fraud", "abuse", "preventive", "pause"}


def _printable(value: str) -> str:
    if not value.isprintable() or value != value.strip():
        raise ValueError("must be printable characters without space at the ends")
    return literal(value) or value


def _reason(value: str) -> str:
    if value in _LATER_REASONS:
        raise ValueError(f"reason {value!r} is not in this version; known are {', '.join(REASONS)}")
    if value not in REASONS:
        raise ValueError(f"unknown reason {value!r:.40}; known are {', '.join(REASONS)}")
    return value


def _invoice(value: Any) -> Any:
    return {"id": value} if isinstance(value, str) else value


def _text_time(value: Any) -> Any:
    if not isinstance(value, str):
        raise ValueError("must be RFC 3339 text with a zone, such as 2026-11-21T12:00:00Z")  # noqa: TRY004
    return value


def _sane(value: dt.datetime) -> dt.datetime:
    # Beyond these, zone and notice arithmetic leaves what a date can hold.
    if not 1970 < value.year < 9000:
        raise ValueError("must lie between the years 1971 and 8999")
    return value


Sub = Annotated[str, Field(min_length=1, max_length=128), AfterValidator(_printable)]
Opaque = Annotated[str, Field(min_length=1, max_length=128)]
Moment = Annotated[AwareDatetime, BeforeValidator(_text_time), AfterValidator(_sane)]
ReasonName = Annotated[str, AfterValidator(_reason)]
LevelName = Literal["notice", "reduced", "walled", "blocked"]
Addresses = Annotated[list[Annotated[str, Field(max_length=64)]], Field(max_length=256)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=False)


class InvoiceIn(_Model):
    """An invoice as billing names it."""

    id: Opaque
    due: dt.date | None = None


Invoices = Annotated[list[Annotated[InvoiceIn, BeforeValidator(_invoice)]], Field(max_length=500)]


class _OnSubscriber(_Model):
    sub: Sub
    rev: int | None = Field(default=None, strict=True, ge=0, le=MOST_INTEGER)
    ref: Opaque | None = None


class Bind(_OnSubscriber):
    """These addresses are this subscriber's."""

    op: Literal["bind"]
    addresses: Addresses
    area: Opaque | None = None
    replace: bool = True


class Unbind(_OnSubscriber):
    """These addresses, or all, are no longer this subscriber's."""

    op: Literal["unbind"]
    addresses: Addresses | None = None


class Block(_OnSubscriber):
    """Set one reason."""

    op: Literal["block"]
    reason: ReasonName
    invoices: Invoices = []
    notified_at: Moment | None = None
    not_before: Moment | None = None
    deadline: Moment | None = None
    level: LevelName | None = None
    rate: int | None = Field(default=None, strict=True, ge=8, le=100_000_000)
    page: Opaque | None = None


class Unblock(_OnSubscriber):
    """Clear one reason, or with ``debt*`` the three debt reasons."""

    op: Literal["unblock"]
    reason: Literal["debt*"] | ReasonName
    cause: Opaque | None = None


class Paid(_OnSubscriber):
    """These invoices, or all, are settled."""

    op: Literal["paid"]
    invoices: Annotated[Invoices, Field(min_length=1)] | None = None


class Trust(_OnSubscriber):
    """Lift debt reasons until a moment."""

    op: Literal["trust"]
    basis: Literal["promise", "payment_claimed"] = "promise"
    invoices: Invoices = []
    until: Moment | None = None
    hours: float | None = Field(default=None, gt=0, le=1_000_000)
    days: float | None = Field(default=None, gt=0, le=40_000)
    next_business_day: bool | None = None
    channel: Opaque | None = None

    @model_validator(mode="after")
    def _one_end(self) -> Trust:
        if self.next_business_day:
            raise ValueError("next_business_day is not in this version; give until, hours or days")
        if sum(x is not None for x in (self.until, self.hours, self.days)) != 1:
            raise ValueError("give exactly one of until, hours, days")
        return self


class Untrust(_OnSubscriber):
    """End the promise now."""

    op: Literal["untrust"]


class Forget(_OnSubscriber):
    """Remove a subscriber and all about it."""

    op: Literal["forget"]


class Query(_Model):
    """Ask for the record of a subscriber or an address."""

    op: Literal["query"]
    sub: Sub | None = None
    address: Annotated[str, Field(max_length=64)] | None = None

    @model_validator(mode="after")
    def _one_target(self) -> Query:
        if (self.sub is None) == (self.address is None):
            raise ValueError("give either sub or address")
        return self


def _network(value: str) -> str:
    try:
        network = ipaddress.ip_network(value)
    except ValueError as e:
        raise ValueError(f"{e}; write 192.0.2.0/24 or 2001:db8::/32") from None
    widest = WIDEST_GARDEN[network.version]
    if network.prefixlen < widest:
        raise ValueError(f"{network} would open more than a garden; at widest a /{widest}")
    return str(network)


def _domain(value: str) -> str:
    name = value.rstrip(".").lower()
    labels = name.encode("idna").decode().split(".")
    if len(labels) < 2 or any(not x.replace("-", "").replace("_", "").isalnum() for x in labels):
        raise ValueError(f"{value!r:.80} is not a domain name")
    return ".".join(labels)


class Port(_Model):
    """A port range of one protocol, written ``443``, ``"tcp/443"`` or ``"udp/5060-5061"``; a bare number means both."""

    protocols: tuple[int, ...]
    first: int = Field(ge=0, le=65535)
    last: int = Field(ge=0, le=65535)


def _port(value: Any) -> Any:
    if isinstance(value, dict):
        return value
    kind, _, span = str(value).rpartition("/")
    first, _, last = span.partition("-")
    protocols = {"": (6, 17), "tcp": (6,), "udp": (17,)}.get(kind)
    if protocols is None or not first.isdigit() or (last and not last.isdigit()) or (last and int(last) < int(first)):
        raise ValueError(f"{value!r:.40} is not a port; write 443, tcp/443 or udp/5060-5061")
    return {"protocols": protocols, "first": int(first), "last": int(last or first)}


class GardenList(_Model):
    """Replace the named garden list."""

    op: Literal["garden"]
    name: Opaque
    networks: Annotated[list[Annotated[str, AfterValidator(_network)]], Field(max_length=2000)] = []
    domains: Annotated[list[Annotated[str, AfterValidator(_domain)]], Field(max_length=500)] = []
    ports: Annotated[list[Annotated[Port, BeforeValidator(_port)]], Field(max_length=100)] = []
    ref: Opaque | None = None

    @model_validator(mode="after")
    def _ports_of_something(self) -> GardenList:
        if self.ports and not self.networks and not self.domains:
            raise ValueError("ports: say whose, in networks or domains")
        return self


OnSubscriber = Bind | Unbind | Block | Unblock | Paid | Trust | Untrust | Forget
Command = OnSubscriber | Query | GardenList
OPS = ("bind", "unbind", "block", "unblock", "paid", "trust", "untrust", "garden", "query", "forget")
_ADAPTER: TypeAdapter[Command] = TypeAdapter(Annotated[Command, Field(discriminator="op")])


class Batch(_Model):
    """The envelope of contract §1; its commands are read one by one, so that each stands or falls alone."""

    v: Literal[1]
    id: Annotated[str, Field(min_length=1, max_length=MOST_ID), AfterValidator(_printable)]
    issuer: Opaque | None = None
    ts: Moment | None = None
    expires: Moment | None = None
    epoch: Opaque | None = None
    seq: int | None = Field(default=None, strict=True, ge=0, le=MOST_INTEGER)
    aud: list[Opaque] | Opaque | None = None
    commands: Annotated[list[Any], Field(min_length=1, max_length=MOST_COMMANDS)]


def explain(error: ValidationError) -> str:
    """The first fault of a validation in one line: where, what, and how many more."""
    errors = error.errors(include_url=False, include_context=False)
    first = errors[0]
    where = ".".join(str(p) for p in first["loc"] if p not in OPS and not str(p).startswith("function-"))
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    return f"{where or 'command'}: {first['msg'].removeprefix('Value error, ')}{more}"


def read_payload(payload: bytes, limit: int) -> Batch | dict[str, Any]:
    """A batch, or the bare command as a dictionary. ``limit``: bytes. Raises Rejected ``malformed``."""
    if len(payload) > limit:
        detail = f"payload of {len(payload)} bytes is over the limit of {limit}; send smaller batches"
        raise Rejected("malformed", detail)
    try:
        document = json.loads(payload.decode())
    except (ValueError, RecursionError) as e:
        what = "nested too deeply" if isinstance(e, RecursionError) else str(e)[:120]
        raise Rejected("malformed", f"payload is not UTF-8 JSON: {what}") from None
    if not isinstance(document, dict):
        kind = type(document).__name__
        raise Rejected("malformed", f"payload is a JSON {kind}, not an object with a batch or a command")
    if "op" in document and "commands" not in document:
        return document
    try:
        return Batch.model_validate(document)
    except ValidationError as e:
        raise Rejected("malformed", f"batch: {explain(e)}", _id_of(document)) from None


def _id_of(document: dict[str, Any]) -> str | None:
    """The id of a batch that cannot be read otherwise, so that its sender recognises the answer."""
    name = document.get("id")
    return name if isinstance(name, str) and 0 < len(name) <= MOST_ID and name.isprintable() else None


def read_command(document: Any) -> Command:
    """One command. Raises Rejected ``malformed`` or ``unknown_op``."""
    if not isinstance(document, dict):
        raise Rejected("malformed", "a command must be a JSON object")
    op = document.get("op")
    if not isinstance(op, str) or op not in OPS:
        later = " is not in this version" if isinstance(op, str) and op in _LATER_OPS else " is unknown"
        raise Rejected("unknown_op", f"op {op!r:.40}{later}; known are {', '.join(OPS)}")
    try:
        return _ADAPTER.validate_python(document)
    except ValidationError as e:
        raise Rejected("malformed", explain(e)) from None
    except RecursionError:
        raise Rejected("malformed", "the command is nested too deeply") from None
