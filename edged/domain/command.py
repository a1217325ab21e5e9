"""The commands of contract §1 as msgspec structs, and how a payload becomes them.

Only what this version carries out is here; everything else in the contract is answered ``unknown_op`` or
``malformed`` with a sentence that says so. A batch is read without looking into its commands, and each command by
itself, so that each stands or falls alone.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import re
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal, get_args

import msgspec
from msgspec import Meta, Struct
from msgspec.structs import force_setattr

from edged.domain.address import literal, may_be_address
from edged.domain.model import REASONS, Invoice, milliseconds
from edged.domain.region import EVERYWHERE
from edged.domain.rejection import Rejected

MOST_COMMANDS = 5000
MOST_ID = 64
MOST_INTEGER = (1 << 63) - 1
"""The largest number that every JSON reader and the store keep exactly."""
MOST_PARTS = 100_000
WIDEST_GARDEN = {4: 8, 6: 16}
"""The shortest prefix a garden list may name: a wrong export must not open the Internet to the blocked."""
_LATER_OPS = {"page"}
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


def told_at(cmd: Block) -> int:
    """When the subscriber was notified, Unix ms; 0 where the command does not say."""
    return milliseconds(cmd.notified_at) if cmd.notified_at is not None else 0


def names(invoices: Sequence[str | InvoiceIn]) -> tuple[str, ...]:
    """Their ids, each once."""
    if len(invoices) == 1:
        invoice = invoices[0]
        return (invoice if isinstance(invoice, str) else invoice.id,)
    return tuple(dict.fromkeys(i if isinstance(i, str) else i.id for i in invoices))


def _named(invoice: str | InvoiceIn) -> Invoice:
    if isinstance(invoice, str):
        return Invoice(invoice)
    return Invoice(invoice.id, invoice.due.isoformat() if invoice.due else "")


class _Command(Struct, frozen=True, forbid_unknown_fields=True, gc=False, tag_field="op"):
    pass


class _OnSubscriber(_Command, frozen=True):
    sub: Sub
    rev: Count | None = None
    ref: Opaque | None = None

    def __post_init__(self) -> None:
        _check_sub(self)


class Bind(_OnSubscriber, tag="bind", frozen=True, kw_only=True):
    """These addresses are this subscriber's."""

    addresses: Addresses
    area: Opaque | None = None
    replace: bool = True

    def __post_init__(self) -> None:
        _check_sub(self)
        if self.area == EVERYWHERE:
            raise ValueError('area: "*" stands for all areas, nobody lives in it')


class Unbind(_OnSubscriber, tag="unbind", frozen=True, kw_only=True):
    """These addresses, or all, are no longer this subscriber's."""

    addresses: Addresses | None = None


class Override(Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    """Who takes it on himself that a debt begins in spite of calendar, moratorium and outage."""

    author: Opaque
    motive: Opaque


class Block(_OnSubscriber, tag="block", frozen=True, kw_only=True):
    """Set one reason."""

    reason: ReasonName
    invoices: Invoices = []
    notified_at: Moment | None = None
    not_before: Moment | None = None
    deadline: Moment | None = None
    level: LevelName | None = None
    rate: Annotated[int, Meta(ge=8, le=100_000_000, description="kbit/s each way.")] | None = None
    page: Opaque | None = None
    override: Override | None = None

    def __post_init__(self) -> None:
        _check_sub(self)
        if self.reason not in REASONS:
            raise _no_reason(self.reason)
        if self.notified_at is not None:
            _check_moment("notified_at", self.notified_at)
        if self.not_before is not None:
            _check_moment("not_before", self.not_before)
        if self.deadline is not None:
            _check_moment("deadline", self.deadline)


class Unblock(_OnSubscriber, tag="unblock", frozen=True, kw_only=True):
    """Clear one reason, or with ``debt*`` the three debt reasons."""

    reason: ReasonNames
    cause: Opaque | None = None

    def __post_init__(self) -> None:
        _check_sub(self)
        if self.reason not in REASONS and self.reason != "debt*":
            raise _no_reason(self.reason)


class Paid(_OnSubscriber, tag="paid", frozen=True, kw_only=True):
    """These invoices, or all, are settled."""

    invoices: Annotated[list[Opaque | InvoiceIn], Meta(min_length=1, max_length=500)] | None = None


class Trust(_OnSubscriber, tag="trust", frozen=True, kw_only=True):
    """Lift debt reasons until a moment; where none is given, for as long as is usual on this basis."""

    basis: Literal["promise", "payment_claimed"] = "promise"
    method: Method | None = None
    invoices: Invoices = []
    until: Moment | None = None
    hours: Annotated[float, Meta(gt=0, le=1_000_000)] | None = None
    days: Annotated[float, Meta(gt=0, le=40_000)] | None = None
    next_business_day: bool | None = None
    channel: Opaque | None = None

    def __post_init__(self) -> None:
        _check_sub(self)
        if (self.until, self.hours, self.days, self.next_business_day or None).count(None) < 3:
            raise ValueError("give one of until, hours, days, next_business_day, or none of them")
        if self.method is not None and self.basis != "payment_claimed":
            raise ValueError("method: it goes with the basis payment_claimed")
        if self.until is not None:
            _check_moment("until", self.until)


class Untrust(_OnSubscriber, tag="untrust", frozen=True):
    """End the promise now."""


class Defer(_OnSubscriber, tag="defer", frozen=True, kw_only=True):
    """Put debt reasons off until a moment: an agreement, a dispute, a hardship."""

    until: Moment
    kind: Kind
    invoices: Invoices = []
    up_to: LevelName | None = None

    def __post_init__(self) -> None:
        _check_sub(self)
        _check_moment("until", self.until)


class Undefer(_OnSubscriber, tag="undefer", frozen=True, kw_only=True):
    """End a deferral, or all of them."""

    kind: Kind | None = None


class Forget(_OnSubscriber, tag="forget", frozen=True):
    """Remove a subscriber and all about it."""


class Query(_Command, tag="query", frozen=True):
    """Ask for the record of a subscriber or an address."""

    sub: Sub | None = None
    address: Annotated[str, Meta(max_length=64)] | None = None

    def __post_init__(self) -> None:
        if (self.sub is None) == (self.address is None):
            raise ValueError("give either sub or address")
        if self.sub is not None:
            force_setattr(self, "sub", literal(self.sub) or self.sub)


class Digest(_Command, tag="digest", frozen=True):
    """Ask for the digests of the desired state (:mod:`edged.domain.digest`)."""


class StartMoratorium(_Command, tag="moratorium", frozen=True, kw_only=True):
    """No new debt blocks in an area until a moment."""

    area: Area
    until: Moment
    release_existing: bool = False
    ref: Opaque | None = None

    def __post_init__(self) -> None:
        _check_moment("until", self.until)


class EndMoratorium(_Command, tag="end_moratorium", frozen=True, kw_only=True):
    """It is over."""

    area: Area
    ref: Opaque | None = None


class StartOutage(_Command, tag="outage", frozen=True, kw_only=True):
    """A fault in an area: pages and queries tell, new debt blocks wait."""

    id: Opaque
    area: Area
    eta: Moment | None = None
    ref: Opaque | None = None

    def __post_init__(self) -> None:
        if self.eta is not None:
            _check_moment("eta", self.eta)


class EndOutage(_Command, tag="end_outage", frozen=True, kw_only=True):
    """It is mended."""

    id: Opaque
    ref: Opaque | None = None


class SetHolidays(_Command, tag="calendar", frozen=True, kw_only=True):
    """Replace the municipal holidays of an area; an empty list takes them out."""

    area: Area
    dates: Annotated[list[dt.date], Meta(max_length=1000)]
    version: Opaque
    ref: Opaque | None = None

    def __post_init__(self) -> None:
        if self.area == EVERYWHERE:
            raise ValueError("area: name one; holidays of the whole country come with policy.cut_calendar")


class Port(Struct, frozen=True):
    """A port range of one or both protocols (6 TCP, 17 UDP)."""

    protocols: tuple[int, ...]
    first: int
    last: int


class GardenList(_Command, tag="garden", frozen=True, kw_only=True):
    """Replace the named garden list. A port is ``443``, ``"tcp/443"`` or ``"udp/5060-5061"``; a number means both."""

    name: Opaque
    networks: Annotated[list[Annotated[str, Meta(max_length=64)]], Meta(max_length=2000)] = []
    domains: Annotated[list[Annotated[str, Meta(max_length=255)]], Meta(max_length=500)] = []
    ports: Annotated[list[int | Annotated[str, Meta(max_length=20)]], Meta(max_length=100)] = []
    ref: Opaque | None = None

    def __post_init__(self) -> None:
        force_setattr(self, "networks", [_network(n) for n in self.networks])
        force_setattr(self, "domains", [_domain(d) for d in self.domains])
        if self.spans() and not self.networks and not self.domains:
            raise ValueError("ports: say whose, in networks or domains")

    def spans(self) -> list[Port]:
        """The ports as ranges. Raises ValueError naming the first that is none."""
        return [_port(p) for p in self.ports]

    def kept(self) -> dict[str, Any]:
        """The list as the store keeps it."""
        return {
            "networks": self.networks,
            "domains": self.domains,
            "ports": [{"protocols": list(p.protocols), "first": p.first, "last": p.last} for p in self.spans()],
        }


UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What reading JSON may raise."""

UNREADABLE_COMMAND = "the command is no JSON"
"""How a text begins that stands for a command which strict JSON cannot hold."""

OnState = Block | Unblock | Paid | Trust | Untrust | Defer | Undefer
OnSubscriber = OnState | Bind | Unbind | Forget
OnArea = StartMoratorium | EndMoratorium | StartOutage | EndOutage | SetHolidays
Command = OnSubscriber | OnArea | Query | Digest | GardenList
_read: Callable[[bytes | msgspec.Raw], Command] = msgspec.json.Decoder(Command).decode


TAGS = {kind: str(kind.__struct_config__.tag) for kind in get_args(Command)}
"""Class -> the command's name on the wire."""
OPS = tuple(TAGS.values())


def op_of(cmd: Command) -> str:
    """The command's name on the wire."""
    return TAGS[cmd.__class__]


def _check_sub(cmd: _OnSubscriber) -> None:
    name = cmd.sub
    if not name.isprintable() or name[0] == " " or name[-1] == " ":
        raise ValueError("sub must be printable characters without space at the ends")
    if may_be_address(name) and (canonical := literal(name)) is not None and canonical != name:
        force_setattr(cmd, "sub", canonical)


def _no_reason(value: str) -> ValueError:
    return ValueError(f"reason unknown: {value!r:.40}; known are {', '.join(REASONS)}")


def _check_moment(name: str, value: dt.datetime) -> None:
    if value.year not in _YEARS:
        raise ValueError(f"{name} must lie between the years 1971 and 8999")


def _network(value: str) -> str:
    try:
        network = ipaddress.ip_network(value)
    except ValueError as e:
        raise ValueError(f"networks: {e}; write 192.0.2.0/24 or 2001:db8::/32") from None
    widest = WIDEST_GARDEN[network.version]
    if network.prefixlen < widest:
        raise ValueError(f"networks: {network} would open more than a garden; at widest a /{widest}")
    return str(network)


def _domain(value: str) -> str:
    name = value.rstrip(".").lower()
    try:
        labels = name.encode("idna").decode().split(".")
    except UnicodeError:
        labels = []
    if len(labels) < 2 or any(not x.replace("-", "").replace("_", "").isalnum() for x in labels):
        raise ValueError(f"domains: {value!r:.80} is not a domain name")
    return ".".join(labels)


def _port(value: int | str) -> Port:
    found = re.fullmatch(r"(?:(tcp|udp)/)?([0-9]{1,5})(?:-([0-9]{1,5}))?", str(value))
    first, last = (int(found[2]), int(found[3] or found[2])) if found else (1, 0)
    if not found or not 1 <= first <= last <= 65535:
        raise ValueError(f"ports: {value!r:.40} is not a port; write 443, tcp/443 or udp/5060-5061")
    return Port({None: (6, 17), "tcp": (6,), "udp": (17,)}[found[1]], first, last)


def read_command(raw: bytes | msgspec.Raw) -> Command:
    """One command from its JSON. Raises Rejected ``malformed`` or ``unknown_op``."""
    try:
        return _read(raw)
    except msgspec.ValidationError as e:
        raise _fault(raw, e) from None
    except RecursionError:
        raise Rejected("malformed", "the command is nested too deeply") from None
    except UNREADABLE as e:
        raise Rejected("malformed", f"command: {str(e)[:200]}") from None


def name_in(raw: bytes | msgspec.Raw) -> str | None:
    """The subscriber that a refused command names, where that can be read, for its answer."""
    try:
        document = msgspec.json.decode(raw)
    except UNREADABLE:
        return None
    named = document.get("sub") if isinstance(document, dict) else None
    return named if isinstance(named, str) and named.isprintable() else None


def _fault(raw: bytes | msgspec.Raw, error: msgspec.ValidationError) -> Rejected:
    try:
        document = msgspec.json.decode(raw)
    except UNREADABLE:
        document = None
    if not isinstance(document, dict):
        told = isinstance(document, str) and document.startswith(UNREADABLE_COMMAND)
        return Rejected("malformed", str(document)[:200] if told else "a command must be a JSON object")
    op = document.get("op")
    if not isinstance(op, str) or op not in OPS:
        later = " is not in this version" if isinstance(op, str) and op in _LATER_OPS else " is unknown"
        return Rejected("unknown_op", f"op {op!r:.40}{later}; known are {', '.join(OPS)}")
    return Rejected("malformed", explain(error))


def explain(error: msgspec.ValidationError) -> str:
    """A validation's fault in one line: where, what, and for times the remedy."""
    what, _, where = str(error).partition(" - at `$")
    path = where.rstrip("`").lstrip(".")
    if "datetime" in what or "RFC3339" in what or "timezone" in what:
        what += "; write RFC 3339 with a zone, such as 2026-11-21T12:00:00Z"
    return f"{path}: {what}" if path else what
