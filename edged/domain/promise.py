"""Promises: *desbloqueio em confiança* (domain.md §2). Pure; times are Unix milliseconds.

Laws:

1. A promise is given where a debt is in force or pending, nothing else restricts, and its oldest invoice is old enough.
2. An invoice carries at most ``trust_per_invoice`` promises, a subscriber ``trust_per_30_days``, and after one that ran
   out unpaid there is none until what it was given for is paid. What is spent stays spent, however the promise ended,
   and a debt of which no invoice is named is spent while any invoice is that has not been paid.
3. One that is asked for too long is refused, not shortened. Where nobody says how long, its basis does.
4. Its end is moved on to a moment at which the calendar lets a debt begin again: it ends in a restriction.
5. It is kept when all is paid that was owed when it was given, and released when billing says that none of it stands.
   What it lifts besides it lifts until its end, which then is no breach; a mere reminder is nothing to lift.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Mapping
from typing import Any

from msgspec.structs import replace

from edged.domain import command as c
from edged.domain import effect, growth
from edged.domain.levels import Level
from edged.domain.model import DEBT, NOTHING, WHOLE, Fact, Policy, Promise, Subscriber, milliseconds, rfc3339
from edged.domain.rejection import Rejected
from edged.domain.verdict import Decision

_SPENT = Fact(spent=1)
HOUR_MS, DAY_MS = 3_600_000, 86_400_000
MONTH_MS = 30 * DAY_MS

_CLAIMED_BUSINESS_DAYS = {"bank": 2, "lottery": 2, "debit": 2, "collection": 4}
_CLAIMED_MS = {"card": 3 * DAY_MS, "pix": HOUR_MS}


def ended(sub: str, promise: Promise, outcome: str) -> dict[str, Any]:
    """The event that a promise is over: fulfilled, breached, revoked, released or replaced."""
    return {"event": "trust.ended", "sub": sub, "outcome": outcome, "until": rfc3339(promise.until)}


def settled(sub: Subscriber, paid: Collection[str], now: int) -> tuple[Subscriber, tuple[dict[str, Any], ...]]:
    """After payment: a promise whose invoices are all among those ``paid`` is kept (law 5)."""
    running = sub.promise
    if running is None:
        return sub, ()
    if running.invoices:
        if any(i not in paid for i in running.invoices):
            return sub, ()
        return replace(sub, promise=None), (ended(sub.sub, running, "fulfilled"),)
    if not running.owed or any(i not in paid for i in running.owed):
        return sub, ()
    return _over(sub, running, "fulfilled", now)


def outlived(sub: Subscriber, outcome: str, now: int) -> tuple[Subscriber, tuple[dict[str, Any], ...]]:
    """After ``outcome`` was said of some reasons, while others are left: what a promise was for may be gone (law 5)."""
    running = sub.promise
    if running is None or outcome != "released":
        return sub, ()
    behind = {i for n, r in sub.reasons.items() if n in DEBT for i in growth.owed(r)}
    given = running.invoices or running.owed
    if not given or WHOLE in behind or not behind.isdisjoint(given):
        return sub, ()
    if running.invoices:
        return replace(sub, promise=None), (ended(sub.sub, running, outcome),)
    return _over(sub, running, outcome, now)


def replaced(sub: Subscriber, now: int) -> tuple[Subscriber, tuple[dict[str, Any], ...]]:
    """After a block took a debt's place: billing says what is owed now. Of a whole debt that is a part."""
    if sub.promise is None or WHOLE in sub.promise.owed:
        return sub, ()
    return outlived(sub, "released", now)


def _over(sub: Subscriber, running: Promise, outcome: str, now: int) -> tuple[Subscriber, tuple[dict[str, Any], ...]]:
    """What it was given for is owed no longer: it ends, or where it lifts something else it runs on to its end."""
    if effect.owed(sub, now, promised=False) <= Level.NOTICE:
        return replace(sub, promise=None), (ended(sub.sub, running, running.over or outcome),)
    return replace(sub, promise=replace(running, over=running.over or outcome)), ()


def spent_unpaid(facts: Mapping[str, Fact], paid: Collection[str]) -> bool:
    """Whether an invoice with a promise behind it is neither settled nor among those ``paid``."""
    return any(f.spent and not f.settled and i != WHOLE and i not in paid for i, f in facts.items())


def recent(sub: Subscriber, now: int) -> int:
    """How many promises somebody was given in the last 30 days."""
    return sum(t > now - MONTH_MS for t in sub.granted)


def used_up(invoice: str, facts: Mapping[str, Fact], policy: Policy) -> bool:
    """Whether no promise is left for an invoice, or for a debt of which none is named (law 2)."""
    if facts.get(invoice, NOTHING).spent >= policy.trust_per_invoice:
        return True
    return invoice == WHOLE and any(f.spent >= policy.trust_per_invoice and not f.settled for f in facts.values())


def trust(cmd: c.Trust, sub: Subscriber, facts: Mapping[str, Fact], now: int, policy: Policy, issuer: str) -> Decision:
    """The decision on ``trust``. Raises Rejected."""
    owed = _owed(sub)
    asked = _end(cmd, sub.area, now, policy)
    until = guarded(asked, sub.area, policy)
    named = c.names(cmd.invoices)
    running = sub.promise if sub.promise and sub.promise.until > now else None
    if running and running.until == until and running.invoices == named:
        return Decision(sub, "unchanged", until=until)
    if asked <= now:
        raise Rejected("malformed", f"until: {rfc3339(asked)} has passed")
    said = cmd.until is not None or cmd.hours is not None or cmd.days is not None
    if said and asked - now > policy.trust_max_hours * HOUR_MS:
        raise Rejected("trust_too_long", f"until {rfc3339(asked)} is more than {policy.trust_max_hours} hours ahead")
    if named and owed.keys().isdisjoint(named):
        raise Rejected("trust_not_applicable", "none of these invoices is behind a debt reason")
    covered = list(named) or list(owed) or [WHOLE]
    _unspent(covered, sub, facts, now, policy)
    said_due = {i.id: i.due for i in c.listed(cmd.invoices)}
    dues = [owed.get(i) or said_due.get(i, "") for i in covered]
    _old_enough([due for due in dues if due], now, sub.area, policy)
    promise = Promise(
        cmd.basis, now, until, named, cmd.channel or "", cmd.ref or "", issuer, () if named else tuple(owed)
    )
    if facts:
        changed = {i: Fact(fact.settled, fact.spent + 1) for i in covered for fact in (facts.get(i, NOTHING),)}
    else:
        changed = dict.fromkeys(covered, _SPENT)
    events = (ended(sub.sub, running, "replaced"),) if running else ()
    granted = (*(t for t in sub.granted if t > now - MONTH_MS), now) if policy.trust_per_30_days else ()
    after = replace(sub, promise=promise, granted=granted)
    return Decision(after, detail=_told(after, asked, until, now), until=until, facts=changed, events=events)


def _owed(sub: Subscriber) -> dict[str, str]:
    """Invoice -> its due date, the earliest that any reason names. Raises Rejected where no promise helps (law 1)."""
    owed: dict[str, str] = {}
    in_debt = False
    for name, reason in sub.reasons.items():
        if name in DEBT:
            in_debt = True
            for invoice in reason.invoices:
                had = owed.get(invoice.id)
                owed[invoice.id] = min(had, invoice.due) if had and invoice.due else had or invoice.due
            if not reason.invoices or reason.waits:
                owed.update({WHOLE: ""} if WHOLE in growth.owed(reason) else {})
        elif not reason.pending:
            raise Rejected("trust_not_applicable", f"{name} is in force, which no promise lifts")
    if not in_debt:
        raise Rejected("trust_not_applicable", "no debt reason is in force or pending")
    return owed


def _told(after: Subscriber, asked: int, until: int, now: int) -> str:
    moved = f"moved from {rfc3339(asked)}, when the calendar allows no block" if until != asked else ""
    still = effect.level(after, now)
    if not still:
        return moved
    limits = f"still {still.word}: another debt is not covered"
    return f"{moved}; {limits}" if moved else limits


def _end(cmd: c.Trust, area: str, now: int, policy: Policy) -> int:
    """When the promise is asked to end (law 3)."""
    if cmd.until is not None:
        return milliseconds(cmd.until)
    if cmd.hours is not None or cmd.days is not None:
        return now + round((cmd.hours or 0) * HOUR_MS + (cmd.days or 0) * DAY_MS)
    method = cmd.method or "bank"
    if cmd.basis == "payment_claimed" and not cmd.next_business_day:
        if method in _CLAIMED_MS:
            return now + _CLAIMED_MS[method]
        return policy.calendar.business_day_end(now, _CLAIMED_BUSINESS_DAYS[method], area)
    return policy.calendar.business_day_end(now, 1, area)


def guarded(until: int, area: str, policy: Policy) -> int:
    """Where a restriction that comes back at ``until`` may really come back (law 4)."""
    return policy.calendar.next_cut(until, area) if policy.guard_reblock else until


def _unspent(covered: list[str], sub: Subscriber, facts: Mapping[str, Fact], now: int, policy: Policy) -> None:
    """Raises Rejected ``trust_spent`` (law 2)."""
    if sub.breached:
        raise Rejected("trust_spent", "a promise ran out unpaid and the debt still stands")
    spent = [i for i in covered if used_up(i, facts, policy)] if facts or not policy.trust_per_invoice else []
    if spent:
        what = "the debt" if spent[0] == WHOLE else f"invoice {spent[0]}"
        raise Rejected("trust_spent", f"the promise for {what} is used up")
    most = policy.trust_per_30_days
    if most and recent(sub, now) >= most:
        raise Rejected("trust_spent", f"{most} promises in 30 days are used up (policy.trust_per_30_days)")


def _old_enough(dues: list[str], now: int, area: str, policy: Policy) -> None:
    """The oldest invoice is overdue long enough (law 1), where its due date is known."""
    if dues and min(dues) > policy.calendar.days_ago(now, policy.min_days_overdue, area):
        overdue = (policy.calendar.today(now, area) - dt.date.fromisoformat(min(dues))).days
        raise Rejected(
            "trust_not_applicable",
            f"the oldest invoice is {overdue} days overdue; policy.min_days_overdue is {policy.min_days_overdue}",
        )


def untrust(sub: Subscriber, now: int) -> Decision:
    """The decision on ``untrust``."""
    if sub.promise is None or sub.promise.until <= now:
        return Decision(sub, "unchanged", "no promise is running")
    return Decision(replace(sub, promise=None), events=(ended(sub.sub, sub.promise, "revoked"),))


def spent_later(sub: Subscriber, name: str, facts: Mapping[str, Fact], now: int) -> dict[str, Fact]:
    """Invoices that come under a promise already running are spent, too: it lifts them as well, once they begin."""
    reason, promise = sub.reasons[name], sub.promise
    if reason.level <= Level.NOTICE or promise is None or promise.invoices or promise.until <= now:
        return {}
    owed = growth.owed(reason)
    fresh = [i for i in owed if not facts.get(i, NOTHING).spent]
    return {i: facts.get(i, NOTHING)._replace(spent=1) for i in fresh}
