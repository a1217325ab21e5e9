"""The commands of contract §1, all together, and how a payload becomes one.

What is none of them is answered ``unknown_op`` or ``malformed`` with a sentence that says so. A batch is read without
looking into its commands, and each command by itself, so that each stands or falls alone. Their shapes are by family:
:mod:`.on_subscriber`, :mod:`.on_area`, :mod:`.garden_list`, :mod:`.page`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, get_args

import msgspec
from msgspec import Meta
from msgspec.structs import force_setattr

from edged.domain.address import literal
from edged.domain.fields import InvoiceIn, Shape, Sub, listed, names
from edged.domain.garden_list import GardenList, Port
from edged.domain.on_area import EndMoratorium, EndOutage, SetHolidays, StartMoratorium, StartOutage
from edged.domain.on_subscriber import (
    Bind,
    Block,
    Defer,
    Forget,
    Override,
    Paid,
    Trust,
    Unbind,
    Unblock,
    Undefer,
    Untrust,
)
from edged.domain.page import Page
from edged.domain.rejection import Rejected

__all__ = [
    "MOST_COMMANDS",
    "MOST_PARTS",
    "OPS",
    "TAGS",
    "UNREADABLE",
    "UNREADABLE_COMMAND",
    "Bind",
    "Block",
    "Command",
    "Defer",
    "Digest",
    "EndMoratorium",
    "EndOutage",
    "Forget",
    "GardenList",
    "InvoiceIn",
    "OnArea",
    "OnState",
    "OnSubscriber",
    "Override",
    "Page",
    "Paid",
    "Port",
    "Query",
    "SetHolidays",
    "StartMoratorium",
    "StartOutage",
    "Trust",
    "Unbind",
    "Unblock",
    "Undefer",
    "Untrust",
    "explain",
    "listed",
    "name_in",
    "names",
    "op_of",
    "read_command",
]

MOST_COMMANDS = 5000
MOST_PARTS = 100_000


class Query(Shape, tag="query", frozen=True):
    """Ask for the record of a subscriber or an address."""

    sub: Sub | None = None
    address: Annotated[str, Meta(max_length=64)] | None = None

    def __post_init__(self) -> None:
        if (self.sub is None) == (self.address is None):
            raise ValueError("give either sub or address")
        if self.sub is not None:
            force_setattr(self, "sub", literal(self.sub) or self.sub)


class Digest(Shape, tag="digest", frozen=True):
    """Ask for the digests of the desired state (:mod:`edged.domain.digest`)."""


UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What reading JSON may raise."""

UNREADABLE_COMMAND = "the command is no JSON"
"""How a text begins that stands for a command which strict JSON cannot hold."""

OnState = Block | Unblock | Paid | Trust | Untrust | Defer | Undefer
OnSubscriber = OnState | Bind | Unbind | Forget
OnArea = StartMoratorium | EndMoratorium | StartOutage | EndOutage | SetHolidays
Command = OnSubscriber | OnArea | Query | Digest | GardenList | Page
_read: Callable[[bytes | msgspec.Raw], Command] = msgspec.json.Decoder(Command).decode


TAGS = {kind: str(kind.__struct_config__.tag) for kind in get_args(Command)}
"""Class -> the command's name on the wire."""
OPS = tuple(TAGS.values())


def op_of(cmd: Command) -> str:
    """The command's name on the wire."""
    return TAGS[cmd.__class__]


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
        return Rejected("unknown_op", f"op {op!r:.40} is unknown; known are {', '.join(OPS)}")
    return Rejected("malformed", explain(error))


def explain(error: msgspec.ValidationError) -> str:
    """A validation's fault in one line: where, what, and for times the remedy."""
    what, _, where = str(error).partition(" - at `$")
    path = where.rstrip("`").lstrip(".")
    if "datetime" in what or "RFC3339" in what or "timezone" in what:
        what += "; write RFC 3339 with a zone, such as 2026-11-21T12:00:00Z"
    return f"{path}: {what}" if path else what
