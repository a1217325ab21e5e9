"""Where a visitor of the page proves who they are, and sees what is to be paid. For the keeper's thread.

Two proofs: the one-time code that billing gave with ``page``, typed by whoever sits behind the subscriber's address,
and a link that the provider's customer area signed. Either gives a ticket: 16 random bytes that live a quarter of an
hour in this process's memory. What is used, or was tried in vain, is committed before it is answered.

For as long as its first ticket would have lived, code and link open again on the line that used them: the answer may
have been lost on its way, or the ticket with a restart, and whoever had it is not to need a new one. A ticket that
still lives is given again, and nobody has more than a few: one subscriber cannot push out those of all others.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import secrets
from collections.abc import Mapping
from functools import partial
from typing import NamedTuple

from edged.domain import paytoken, roles, visitor
from edged.domain.payment import typed
from edged.domain.rejection import Rejected
from edged.pages import TRIES
from edged.pipeline import Pipeline
from edged.store import payments
from edged.store.rows import Bill, Known, Redeemed, Tried, Write
from edged.workset import Workset

TICKET_MS = 900_000
TICKET = 16
MOST_TICKETS = 10_000
"""Tickets at a time; one more pushes out the oldest."""
MOST_OF_ONE = 4
"""... and of one subscriber, whose own oldest it is then."""
SWEPT = 1000
"""Overdue payment data taken out in one step."""


class Ticket(NamedTuple):
    """Whose payment data it shows, by which proof, and until when (Unix ms)."""

    sub: str
    proof: bytes
    until: int

    def lives(self, now: int) -> bool:
        """Whether it still counts; not where ``now`` lies before it was given: the clock went back."""
        return now < self.until <= now + TICKET_MS


class Cashier:
    """Methods that commit raise StoreError with nothing changed."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self._tickets: dict[bytes, Ticket] = {}
        """The oldest first."""
        self._given: dict[str, dict[bytes, bytes]] = {}
        """Subscriber -> proof -> its ticket, the oldest first."""

    def prove(self, address: str, code: bytes) -> tuple[str, bytes]:
        """Somebody at ``address`` typed ``code``: (ok, wrong, locked, used, uncoded or none; a ticket with ok)."""
        now = self._pipeline.clock()
        work = self._work()
        try:
            known = work.find(None, address)
        except Rejected:
            return "none", b""
        bill = self._shown(known, work, now)
        if bill is None:
            return "none", b""
        if bill.code is None:
            return "uncoded", b""
        if bill.used and not _again(bill.used, now):
            return "used", b""
        if bill.wrong >= TRIES:
            return "locked", b""
        right = self._pipeline.pages.matches(bill, typed(code.decode("ascii", "replace")))
        if right and bill.used:
            return "ok", self._ticket(known, bill.code, now)
        tried = bill._replace(used=now) if right else bill._replace(wrong=bill.wrong + 1)
        remembered = Tried(bill.salt, bill.code, tried.wrong, tried.used)
        self._pipeline.commit(Write(bills={known.id: tried}, tried={known.sub.sub: remembered}), now, {})
        if right:
            return "ok", self._ticket(known, bill.code, now)
        return ("locked" if tried.wrong >= TRIES else "wrong"), b""

    def redeem(self, address: str, token: bytes) -> tuple[str, bytes]:
        """Somebody at ``address`` came over a signed link: (ok, stale, dead, used or none; a ticket with ok).

        What is said of a link that is not good goes by the visitor's own line alone, and tells nothing of the link. Of
        a used one other lines hear that it was used, and nothing once it is over.
        """
        now = self._pipeline.clock()
        try:
            return self._redeemed(address, token, now)
        except Rejected:
            return self._not_good(address, now), b""

    def _redeemed(self, address: str, token: bytes, now: int) -> tuple[str, bytes]:
        """What comes of a link. Raises Rejected where it is not good."""
        issuer, found = self._read(token, now)
        work = self._work()
        name = hashlib.blake2b(f"{issuer}\0{found.jti}".encode(), digest_size=16).digest()
        by = hashlib.blake2b(f"{found.jti}\0{_line(address, work)}".encode(), digest_size=16).digest()
        before = self._pipeline.store.read(partial(payments.redeemed, token=name))
        own = before is not None and hmac.compare_digest(before.by, by)
        again = before is not None and own and _again(before.used, now)
        if found.expires <= now and not again:
            raise Rejected("expired", "link: exp has passed")
        if before is not None and not own:  # whatever became of the bill since
            return "used", b""
        known = work.find(found.sub, None)
        if self._shown(known, work, now) is None:
            return "none", b""
        if before is None:
            self._pipeline.commit(Write(redeemed={name: Redeemed(found.expires, now, by)}), now, {})
        elif not again:
            return "used", b""
        return "ok", self._ticket(known, name, now)

    def _read(self, token: bytes, now: int) -> tuple[str, paytoken.PayToken]:
        """Who signed a link, and what it says; it may be over for whoever has used it. Raises Rejected."""
        keyring = self._pipeline.keyring
        opened = keyring.open(token)
        if opened.issuer is None or roles.BILLING not in opened.roles:
            raise Rejected("not_authorized", "link: signed by nobody with the role billing")
        found = paytoken.read(opened.body, now, late=TICKET_MS)
        if not keyring.is_for(found.audience) or found.iss not in {None, opened.issuer}:
            raise Rejected("not_authorized", "link: for another gateway, or of another issuer")
        return opened.issuer, found

    def _not_good(self, address: str, now: int) -> str:
        """What is said of a link that opens nothing: whether this visitor has a code to type instead."""
        work = self._work()
        try:
            bill = self._shown(work.find(None, address), work, now)
        except Rejected:
            bill = None
        return "stale" if bill is not None and bill.code is not None else "dead"

    def bill(self, ticket: bytes) -> Mapping[str, str]:
        """The payment data behind a ticket; empty where there is none (any more)."""
        now = self._pipeline.clock()
        had = self._tickets.get(ticket)
        if had is None:
            return {}
        if not had.lives(now):
            self._drop(ticket)
            return {}
        work = self._work()
        known = work.get(had.sub)
        found = self._shown(known, work, now) if known is not None else None
        return found.fields if found is not None else {}

    def sweep(self) -> None:
        """Take out some payment data that is too old."""
        if not self._pipeline.pages.any:
            return
        now = self._pipeline.clock()
        if gone := self._pipeline.store.read(partial(payments.overdue, now=now, limit=SWEPT)):
            self._pipeline.commit(Write(bills=dict.fromkeys(gone)), now, {})

    def _work(self) -> Workset:
        return Workset(self._pipeline.store, self._pipeline.settings.addressing)

    def _shown(self, known: Known, work: Workset, now: int) -> Bill | None:
        """What there is to pay, where that may be spoken of."""
        if not visitor.pays_here(known.sub, now):
            return None
        return self._pipeline.pages.bill(known, work.write, now)

    def _ticket(self, known: Known, proof: bytes, now: int) -> bytes:
        """The ticket for a proof: the one that was given for it, renewed as its cookie is, while it lives."""
        sub = known.sub.sub
        ticket = self._given.get(sub, {}).get(proof)
        again = ticket is not None and self._tickets[ticket].lives(now)
        if ticket is not None:
            self._drop(ticket)
        if ticket is None or not again:
            ticket = secrets.token_bytes(TICKET)
        own = self._given.get(sub, {})
        if len(own) >= MOST_OF_ONE:
            self._drop(next(iter(own.values())))
        elif len(self._tickets) >= MOST_TICKETS:
            self._drop(next(iter(self._tickets)))
        self._tickets[ticket] = Ticket(sub, proof, now + TICKET_MS)
        self._given.setdefault(sub, {})[proof] = ticket
        return ticket

    def _drop(self, ticket: bytes) -> None:
        sub, proof, _ = self._tickets.pop(ticket)
        del self._given[sub][proof]
        if not self._given[sub]:
            del self._given[sub]


def _again(used: int, now: int) -> bool:
    """Whether what was used then may open once more, on the line that used it."""
    return used <= now < used + TICKET_MS


def _line(address: str, work: Workset) -> str:
    """Whose line an address is on: its subscriber's, all of whose addresses are one household.

    Where nobody is known to have it, it is the address itself, of IPv6 its /64.
    """
    try:
        return f"sub {work.find(None, address).sub.sub}"
    except Rejected:
        found = ipaddress.ip_address(address)
        return f"net {ipaddress.ip_network((found, 64 if found.version == 6 else 32), strict=False)}"
