"""What core and portal say to each other, as values; :mod:`edged.portal.wire` turns them into bytes and back.

Addresses are 16 bytes, IPv4 mapped into IPv6. What is secret is kept out of ``repr``, and so out of any log.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from edged.domain.standing import Standing

VERSION = 4
SOCKET_NAME = "portal.sock"
CLOSED = 0
"""The code of a connection that ended without an answer; others are HTTP status codes."""
MOST_CODE = 32
"""Bytes of a one-time code."""
MOST_TOKEN = 2048
"""Bytes of a signed link's token."""
MOST_JSON = 8192
"""Bytes of payment data, or of one reason's texts."""
TICKET = 16
"""Bytes of the ticket that a proof gives."""
MOST_ASKED = 32
"""Addresses in one question."""

REASONS = ("notice debt_partial debt pause operator preventive abuse fraud terminated court").split()
"""Weakest first (domain.md §1). Append only: the place is the code on the wire."""
KINDS = ("redirect", "refused", "page", "api", "live", "promise", "pay", "asset")
"""What the portal counts. Append only, as the above and the two below."""
ANSWERS = ("failed", "requested", "granted", "not_applicable", "spent", "limited")
"""What may come of asking for a promise."""
PROOFS = ("none", "ok", "wrong", "locked", "used", "uncoded", "stale", "dead")
"""What may come of a code or token; none: there is nothing to prove, or nobody to prove it; used: it was right once;
uncoded: there is something to pay, and no code was given for it; stale and dead: a link that is not good (any
more), whose visitor has, or has not, a code to type instead."""


@dataclass(frozen=True, slots=True)
class Hello:
    """Portal to core: first on each connection. ``need``: send me sockets for ``workers`` workers."""

    workers: int
    need: bool
    version: int = VERSION


@dataclass(frozen=True, slots=True)
class Who:
    """Portal to core: what may be shown to whoever has each of ``addresses`` (16 bytes each, at most MOST_ASKED)?"""

    request: int
    addresses: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Shown:
    """Portal to core: ``address`` was shown its reminder, or (``pressed``) has sent it away."""

    address: bytes
    pressed: bool


@dataclass(frozen=True, slots=True)
class Stats:
    """Portal to core: ``count`` more answers of ``kind`` with ``code``; ``timed`` of them took ``seconds`` in all."""

    kind: str
    code: int
    count: int
    seconds: float = 0.0
    timed: int = 0


@dataclass(frozen=True, slots=True)
class Sockets:
    """Core to portal, with descriptors: the listening sockets of one worker; the three say which of them came."""

    worker: int
    workers: int
    ipv4: bool
    ipv6: bool
    site: bool


@dataclass(frozen=True, slots=True)
class People:
    """Core to portal: the answer to a :class:`Who`, in its order; None where it could not be looked up."""

    request: int
    standings: tuple[Standing | None, ...]


@dataclass(frozen=True, slots=True)
class Watch:
    """Portal to core: tell me when what holds for ``address`` may have changed, or (not ``on``) no longer."""

    address: bytes
    on: bool


@dataclass(frozen=True, slots=True)
class Changed:
    """Core to portal: what holds for ``address`` may have changed, and the kernel has it."""

    address: bytes


@dataclass(frozen=True, slots=True)
class Ask:
    """Portal to core: whoever has ``address`` asks for a promise.

    ``until`` (milliseconds of the clock CLOCK_MONOTONIC, which both processes read): for so long somebody waits for the
    answer. What the core comes to later it drops, because the visitor was told that nothing is known of it.
    """

    request: int
    address: bytes
    until: int


@dataclass(frozen=True, slots=True)
class Asked:
    """Core to portal: what came of an :class:`Ask`; one of :data:`ANSWERS`."""

    request: int
    answer: str


@dataclass(frozen=True, slots=True)
class Prove:
    """Portal to core: whoever has ``address`` typed this ``code``; ``until`` as in :class:`Ask`."""

    request: int
    address: bytes
    until: int
    code: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Token:
    """Portal to core: whoever has ``address`` came over a link with this signed ``token``; ``until`` as above."""

    request: int
    address: bytes
    until: int
    token: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Proof:
    """Core to portal: one of :data:`PROOFS`; with ``ok`` a ticket for :class:`Bill`, else zeros."""

    request: int
    verdict: str
    ticket: bytes = field(default=bytes(TICKET), repr=False)


@dataclass(frozen=True, slots=True)
class Bill:
    """Portal to core: the payment data behind a ticket, please."""

    request: int
    ticket: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Payment:
    """Core to portal: the payment data; empty where the ticket is too old, or nothing is owed any more."""

    request: int
    fields: dict[str, str] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Texts:
    """Core to portal: all texts that billing set for the page of a reason; empty where it took them back."""

    reason: str
    fields: dict[str, str]


Record = (
    Hello
    | Who
    | Shown
    | Stats
    | Sockets
    | People
    | Watch
    | Changed
    | Ask
    | Asked
    | Prove
    | Token
    | Proof
    | Bill
    | Payment
    | Texts
)
