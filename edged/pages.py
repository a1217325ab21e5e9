"""What the command ``page`` says: texts of a reason's page, a subscriber's payment data.

A one-time code is never kept itself: what is kept is its hash under a key that lies in a file of its own beside the
database, so that a copy of the database alone lets nobody try codes (docs/decisions/0015-payment-page.md).
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections import deque
from collections.abc import Mapping
from functools import partial
from typing import Any

from edged.domain import command as c
from edged.domain.decide import check_rev
from edged.domain.fields import names
from edged.domain.model import DEBT
from edged.domain.payment import Payees, payment
from edged.store import payments, secret
from edged.store.rows import Bill, Known, Tried, Write
from edged.store.store import Store
from edged.workset import Workset

TRIES = 5
"""Wrong codes after which the code is worth nothing any more."""
_SALT = 16
_PERSON = b"edged one-time"
_PAID = {"detail": "invoices: one of them is paid already, so nothing is shown"}
_DEAD = {"detail": "fields.code: it was used or locked before and opens nothing; send a new one"}


class Pages:
    """What a group says waits in its write; :meth:`keep` closes it once that is committed."""

    def __init__(self, store: Store, payees: Payees) -> None:
        self._store = store
        self._payees = payees
        self._key = secret.read(store.path.parent)  # one that cannot be read is found at the start
        self.texts: Mapping[str, Mapping[str, str]] = store.read(payments.texts)
        """Reason -> the committed texts of its page. Replaced, never changed: any thread may look."""
        self.news: deque[str] = deque()
        """Reasons whose texts were committed anew; the event loop takes them out."""
        self.any = store.read(payments.any_bill)
        """Whether there is payment data of anybody."""

    def keep(self, write: Write) -> None:
        """A group is committed."""
        if write.pages:
            changed = {**self.texts, **write.pages}
            self.texts = {reason: fields for reason, fields in changed.items() if fields}
            self.news.extend(write.pages)
        if write.bills or (self.any and write.removed):
            self.any = self._store.read(payments.any_bill)

    def carry_out(self, cmd: c.Page, work: Workset, now: int) -> tuple[str, dict[str, Any] | None]:
        """Carry out a command; returns the status and what more the answer says. Raises Rejected."""
        if cmd.sub is None:
            assert cmd.reason is not None  # noqa: S101  one of the two is there
            return self._set_texts(cmd.reason, cmd.fields, work.write), None
        known = work.find(cmd.sub, None)
        had = self.bill(known, work.write, now)
        bill = self._made(cmd, known, had, now) if cmd.fields else None
        told = _DEAD if bill is not None and bill.code and (bill.used or bill.wrong >= TRIES) else None
        check_rev(known.sub, cmd.rev)  # compared, not kept: a snapshot under way would take it for news of the debt
        facts = work.facts(known)
        if bill is not None and any(i in facts and facts[i].settled for i in bill.invoices):
            bill, told = None, _PAID  # the payment came first, and nobody is to pay twice
        if bill == had:
            return "unchanged", told
        work.write.bills[known.id] = bill
        work.shown.append(known)
        return "applied", told

    def _set_texts(self, reason: str, fields: Mapping[str, str], write: Write) -> str:
        if write.pages.get(reason, self.texts.get(reason, {})) == fields:
            return "unchanged"
        write.pages[reason] = fields
        return "applied"

    def _made(self, cmd: c.Page, known: Known, had: Bill | None, now: int) -> Bill:
        """The row for this command; the same where it only comes again. Raises Rejected."""
        found = payment(cmd.fields, self._payees, now)
        expires = had.expires if had and "expires" not in cmd.fields else found.expires
        invoices = tuple(dict.fromkeys(cmd.invoices))
        if not found.code:
            salt = had.salt if had else secrets.token_bytes(_SALT)
            return Bill(found.shown, salt, None, 0, used=0, expires=expires, invoices=invoices)
        code = self._tried(found.code, known, had, now)
        return Bill(found.shown, code.salt, code.code, code.wrong, code.used, expires, invoices)

    def _tried(self, code: str, known: Known, had: Bill | None, now: int) -> Tried:
        """A code with its past: whoever has guessed keeps the tries that are left, and a used one stays used."""
        past = self._store.read(partial(payments.tried, sub=known.sub.sub, now=now))
        if had is not None and had.code is not None:
            past.append(Tried(had.salt, had.code, had.wrong, had.used))
        for one in past:
            if _equal(one.code, self.hashed(code, one.salt)):
                return one
        salt = secrets.token_bytes(_SALT)
        return Tried(salt, self.hashed(code, salt), 0, used=0)

    def hashed(self, code: str, salt: bytes) -> bytes:
        """The hash of a one-time code. Raises StoreError where the key cannot be kept."""
        self._key = self._key or secret.make(self._store.path.parent)
        return hashlib.blake2b(code.encode(), key=self._key, salt=salt, person=_PERSON, digest_size=32).digest()

    def matches(self, bill: Bill, code: str) -> bool:
        """Whether this is the bill's one-time code."""
        return bill.code is not None and _equal(bill.code, self.hashed(code, bill.salt))

    def bill(self, known: Known, write: Write, now: int) -> Bill | None:
        """A subscriber's payment data, with what the group has changed so far."""
        if known.id in write.bills:
            return write.bills[known.id]
        if not self.any:
            return None
        found = self._store.read(partial(payments.bill, owner=known.id))
        return found if found is not None and found.expires > now else None

    def paid(self, cmd: c.Paid, status: str, work: Workset, now: int) -> None:
        """A payment came: what was to be paid with it is shown no more, so that nobody pays it twice."""
        if not self.any and not work.write.bills:
            return
        known = work.get(cmd.sub)
        if known is not None and self._settled(cmd, status, known, work, now):
            work.write.bills[known.id] = None
            work.shown.append(known)

    def _settled(self, cmd: c.Paid, status: str, known: Known, work: Workset, now: int) -> bool:
        """Whether the payment data goes: all is paid, or an invoice of it, or, where it names none, anything anew."""
        if cmd.invoices is None or not any(name in known.sub.reasons for name in DEBT):
            return True
        had = self.bill(known, work.write, now)
        if had is None:
            return False
        return not set(had.invoices).isdisjoint(names(cmd.invoices)) if had.invoices else status == "applied"


def _equal(one: bytes, other: bytes) -> bool:
    return hmac.compare_digest(one, other)
