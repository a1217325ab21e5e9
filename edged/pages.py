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

from edged.domain import command as c
from edged.domain.decide import check_rev
from edged.domain.model import DEBT
from edged.domain.payment import Payees, payment
from edged.store import payments, secret
from edged.store.rows import Bill, Known, Write
from edged.store.store import Store
from edged.workset import Workset

_SALT = 16
_PERSON = b"edged one-time"


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

    def carry_out(self, cmd: c.Page, work: Workset, now: int) -> str:
        """Carry out a command; returns the status. Raises Rejected."""
        if cmd.sub is None:
            assert cmd.reason is not None  # noqa: S101  one of the two is there
            return self._set_texts(cmd.reason, cmd.fields, work.write)
        known = work.find(cmd.sub, None)
        had = self.bill(known, work.write, now)
        bill = self._made(cmd.fields, had, now) if cmd.fields else None
        check_rev(known.sub, cmd.rev)  # compared, not kept: a snapshot under way would take it for news of the debt
        if bill == had:
            return "unchanged"
        work.write.bills[known.id] = bill
        work.shown.append(known)
        return "applied"

    def _set_texts(self, reason: str, fields: Mapping[str, str], write: Write) -> str:
        if write.pages.get(reason, self.texts.get(reason, {})) == fields:
            return "unchanged"
        write.pages[reason] = fields
        return "applied"

    def _made(self, fields: Mapping[str, str], had: Bill | None, now: int) -> Bill:
        """The row for these fields; the same where the command only comes again. Raises Rejected."""
        found = payment(fields, self._payees, now)
        salt = had.salt if had else secrets.token_bytes(_SALT)
        code = self.hashed(found.code, salt) if found.code else None
        expires = had.expires if had and "expires" not in fields else found.expires
        if had is not None and code is not None and had.code is not None and _equal(had.code, code):
            # whoever has guessed keeps the tries that are left, and a used code stays used
            return had._replace(fields=found.shown, expires=expires)
        return Bill(found.shown, salt, code, 0, used=False, expires=expires)

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

    def paid(self, sub: str, work: Workset) -> None:
        """A payment came: who owes nothing any more has no payment data."""
        if not self.any and not work.write.bills:
            return
        known = work.get(sub)
        if known is not None and not any(name in known.sub.reasons for name in DEBT):
            work.write.bills[known.id] = None
            work.shown.append(known)


def _equal(one: bytes, other: bytes) -> bool:
    return hmac.compare_digest(one, other)
