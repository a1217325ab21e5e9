"""What a subscriber's state means at a moment: level, kernel entry, next moment something changes. Pure.

Laws:

1. The level in force is the highest level of the reasons that have begun and are not waived; OPEN without any.
2. A reason counts once it has begun: somebody has to say so when its moment comes (:mod:`edged.domain.onset`).
3. Promise and deferral lift debt reasons only, from their grant until their end, that millisecond excluded; a deferral
   perhaps no further than to a level.
4. One that names invoices lifts a reason as far as that is due to those: what no waiver covers is felt in full.
   What of a debt has not begun (:mod:`edged.domain.growth`) is not felt.
5. The kernel entry says the level without the promise, the level with it, and when it ends: what the kernel does at
   that moment needs nobody.
6. Between two moments named by :func:`next_moment` the level does not change.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet

import msgspec

from edged.domain.entry import PLAIN, Entry
from edged.domain.levels import Level
from edged.domain.model import DEBT, OWN, RAISE, REASONS, WHOLE, Invoice, Policy, Reason, Subscriber

_PLAIN = {e.level: e for e in PLAIN}
_LEVELS = tuple(Level)
_WHOLE = (Invoice(WHOLE),)
_NONE: frozenset[str] = frozenset()


def felt(sub: Subscriber, name: str, reason: Reason, now: int, *, promised: bool) -> int:
    """The level that a reason which has begun asks for, what waives it taken off; ``promised``: the promise, too.

    Each open invoice is taken for itself (law 4): one may be under a promise and another one in dispute.
    """
    if name not in DEBT:
        return reason.level
    promise = sub.promise if promised and sub.promise is not None and sub.promise.until > now else None
    if promise is not None and not promise.invoices:
        return 0
    waivers = [] if promise is None else [(promise.invoices, 0)]
    for kind, deferral in sub.deferrals.items():
        if deferral.until > now and not (reason.override and kind in OWN):
            waivers.append((deferral.invoices, deferral.up_to))
    if not waivers and not reason.waits:
        return reason.level
    level, waiting = _begun(reason) if reason.waits else (reason.level, _NONE)
    highest = 0
    for invoice in reason.invoices or _WHOLE:
        if invoice.id in waiting:
            continue
        lowest = level
        for named, cap in waivers:
            if cap < lowest and (not named or invoice.id in named):
                lowest = cap
        highest = max(highest, lowest)
    return highest


def begun(reason: Reason) -> int:
    """The level of what of a reason has begun, waivers or not; 0 where all of it waits."""
    if reason.pending:
        return 0
    if not reason.waits:
        return reason.level
    level, waiting = _begun(reason)
    return level if any(i.id not in waiting for i in reason.invoices or _WHOLE) else 0


def rate(reason: Reason, policy: Policy) -> int:
    """The rate (kbit/s) of a reason that reduces, of what of it has begun; 0 where it does not."""
    if (begun(reason) or reason.level) != Level.REDUCED:
        return 0
    return next((w.rate for w in reason.waits if w.id == RAISE), reason.rate) or policy.reduced_rate_kbit


def _begun(reason: Reason) -> tuple[int, AbstractSet[str]]:
    """(the level of what has begun, what of it has not)."""
    ids = {w.id for w in reason.waits}
    return min((w.level for w in reason.waits if w.id == RAISE), default=reason.level), ids


def waives(sub: Subscriber, name: str, reason: Reason, now: int) -> bool:
    """Whether a running promise lifts this reason at ``now`` (laws 3 and 4)."""
    return felt(sub, name, reason, now, promised=True) < felt(sub, name, reason, now, promised=False)


def active(sub: Subscriber) -> dict[str, Reason]:
    """The reasons that have begun (law 2)."""
    return {n: r for n, r in sub.reasons.items() if not r.pending}


def levels(sub: Subscriber, now: int) -> tuple[int, int]:
    """(the level without the promise, the level in force)."""
    base = lifted = 0
    for name, reason in sub.reasons.items():
        if reason.pending:
            continue
        found = felt(sub, name, reason, now, promised=False)
        base = max(base, found)
        lifted = max(lifted, found if sub.promise is None else felt(sub, name, reason, now, promised=True))
    return base, lifted


def level(sub: Subscriber, now: int) -> Level:
    """The level in force (law 1)."""
    return _LEVELS[_in_force(sub, now)]


def owed(sub: Subscriber, now: int, *, promised: bool = True) -> int:
    """The level in force as far as debts go; ``promised``: with what a promise lifts taken off."""
    debts = ((n, r) for n, r in sub.reasons.items() if n in DEBT and not r.pending)
    return max((felt(sub, n, r, now, promised=promised) for n, r in debts), default=0)


def _in_force(sub: Subscriber, now: int) -> int:
    highest = 0
    for name, reason in sub.reasons.items():
        if not reason.pending:
            highest = max(highest, felt(sub, name, reason, now, promised=True))
    return highest


def entry(sub: Subscriber, now: int, policy: Policy) -> Entry:
    """What the kernel should do for each address (law 5)."""
    return _entry(sub, levels(sub, now), now, policy)


def _entry(sub: Subscriber, found: tuple[int, int], now: int, policy: Policy) -> Entry:
    base, lift = found
    if base in _PLAIN and lift == base:
        return _PLAIN[base]
    until = sub.promise.until if sub.promise and lift < base else 0
    rates = [own for r in active(sub).values() if (own := rate(r, policy))] or [policy.reduced_rate_kbit]
    reduced = base == Level.REDUCED or (until and lift == Level.REDUCED)
    seen = sub.notified if sub.notified > now and Level.NOTICE in (base, lift) else 0
    return Entry(base, min(rates) if reduced else 0, lift if until else 0, until, seen)


def next_moment(sub: Subscriber, now: int) -> int:
    """The next moment (Unix ms) at which :func:`edged.domain.decide.expire` has something to do; 0 for never."""
    due = sub.promise.until if sub.promise is not None else 0
    for reason in sub.reasons.values():
        at = reason.onset if reason.pending else reason.deadline
        if at and (at < due or not due):
            due = at
        for part in reason.waits:
            if part.onset < due or not due:
                due = part.onset
    for deferral in sub.deferrals.values():
        if deferral.until < due or not due:
            due = deferral.until
    if sub.notified > now and (sub.notified < due or not due):
        due = sub.notified
    return due


def strongest(sub: Subscriber, now: int) -> str:
    """The reason that chooses the page: of those in force the strongest; empty when open."""
    begun = {n for n, r in active(sub).items() if felt(sub, n, r, now, promised=True)}
    return next((n for n in REASONS if n in begun), "")


def settle(sub: Subscriber, now: int) -> Subscriber:
    """``sub`` with ``level`` and ``since`` brought up to ``now``."""
    return _settled(sub, _in_force(sub, now), now)


def judge(sub: Subscriber, now: int, policy: Policy) -> tuple[Subscriber, Entry, int]:
    """:func:`settle`, :func:`entry` and :func:`next_moment` at once: what a commit needs of each subscriber."""
    # Nearly everybody; the rest says the same at greater length.
    if sub.promise is None and not sub.notified and not sub.deferrals:
        base = due = 0
        for reason in sub.reasons.values():
            if reason.pending or reason.waits:
                break
            base = max(base, reason.level)
            if reason.deadline and (reason.deadline < due or not due):
                due = reason.deadline
        else:
            if base in _PLAIN:
                return (sub if base == sub.level else _settled(sub, base, now)), _PLAIN[base], due
    found = levels(sub, now)
    return _settled(sub, found[1], now), _entry(sub, found, now, policy), next_moment(sub, now)


def _settled(sub: Subscriber, found: int, now: int) -> Subscriber:
    return sub if found == sub.level else msgspec.structs.replace(sub, level=found, since=now)
