"""What a subscriber's state means at a moment: level, kernel entry, next moment something changes. Pure.

Laws:

1. The level in force is the highest level of the reasons that have begun and are not waived; OPEN without any.
2. A reason has begun from its onset on, that millisecond included.
3. A promise waives debt reasons only, from its grant until its end, that millisecond excluded.
4. A promise that names invoices waives a reason only if it covers each of the reason's open invoices.
5. The kernel entry says the level without the promise, the level with it, and when it ends: what the kernel does at
   that moment needs nobody.
6. Between two moments named by :func:`next_moment` the level does not change.
"""

from __future__ import annotations

import msgspec

from edged.domain.entry import PLAIN, Entry
from edged.domain.levels import Level
from edged.domain.model import DEBT, REASONS, WHOLE, Policy, Reason, Subscriber
from edged.domain.standing import Standing

_PLAIN = {e.level: e for e in PLAIN}


def waives(sub: Subscriber, name: str, reason: Reason, now: int) -> bool:
    """Whether a running promise lifts this reason at ``now`` (laws 3 and 4)."""
    promise = sub.promise
    if promise is None or promise.until <= now or name not in DEBT:
        return False
    if not promise.invoices:
        return True
    covered = set(promise.invoices)
    return all(i.id in covered for i in reason.invoices) if reason.invoices else WHOLE in covered


def active(sub: Subscriber, now: int) -> dict[str, Reason]:
    """The reasons that have begun (law 2)."""
    return {n: r for n, r in sub.reasons.items() if r.onset <= now}


def levels(sub: Subscriber, now: int) -> tuple[int, int]:
    """(the level without the promise, the level in force)."""
    base = lifted = 0
    running = sub.promise is not None and sub.promise.until > now
    for name, reason in sub.reasons.items():
        if reason.onset > now:
            continue
        base = max(base, reason.level)
        if reason.level > lifted and not (running and waives(sub, name, reason, now)):
            lifted = reason.level
    return base, lifted


def level(sub: Subscriber, now: int) -> Level:
    """The level in force (law 1)."""
    return Level(levels(sub, now)[1])


def entry(sub: Subscriber, now: int, policy: Policy) -> Entry:
    """What the kernel should do for each address (law 5)."""
    return _entry(sub, levels(sub, now), now, policy)


def _entry(sub: Subscriber, found: tuple[int, int], now: int, policy: Policy) -> Entry:
    base, lift = found
    if base in _PLAIN and lift == base and not sub.notified:
        return _PLAIN[base]
    until = sub.promise.until if sub.promise and lift < base else 0
    rates = [r.rate or policy.reduced_rate_kbit for r in active(sub, now).values() if r.level == Level.REDUCED]
    reduced = base == Level.REDUCED or (until and lift == Level.REDUCED)
    seen = sub.notified if sub.notified > now and Level.NOTICE in (base, lift) else 0
    return Entry(base, min(rates) if reduced and rates else 0, lift if until else 0, until, seen)


def next_moment(sub: Subscriber, now: int) -> int:
    """The next moment (Unix ms) at which :func:`edged.domain.decide.expire` has something to do; 0 for never."""
    found = sub.promise.until if sub.promise else 0
    for reason in sub.reasons.values():
        for moment in (reason.onset if reason.onset > now else 0, reason.deadline):
            if moment and (moment < found or not found):
                found = moment
    return min(found or sub.notified, sub.notified) if sub.notified > now else found


def strongest(sub: Subscriber, now: int) -> str:
    """The reason that chooses the page: of those in force the strongest; empty when open."""
    begun = active(sub, now)
    return next((n for n in REASONS if n in begun and not waives(sub, n, begun[n], now)), "")


def standing(sub: Subscriber, now: int) -> Standing:
    """What the portal may know of a subscriber."""
    running = sub.promise.until if sub.promise and sub.promise.until > now else 0
    return Standing(int(level(sub, now)), strongest(sub, now), running)


def settle(sub: Subscriber, now: int) -> Subscriber:
    """``sub`` with ``level`` and ``since`` brought up to ``now``."""
    return _settled(sub, levels(sub, now)[1], now)


def judge(sub: Subscriber, now: int, policy: Policy) -> tuple[Subscriber, Entry, int]:
    """:func:`settle`, :func:`entry` and :func:`next_moment` at once: what a commit needs of each subscriber."""
    if sub.promise is None and not sub.notified:  # nearly everybody; the rest says the same at greater length
        base = due = 0
        for reason in sub.reasons.values():
            if reason.onset > now or reason.deadline:
                break
            base = max(base, reason.level)
        else:
            if base in _PLAIN:
                return (sub if base == sub.level else _settled(sub, base, now)), _PLAIN[base], due
    found = levels(sub, now)
    return _settled(sub, found[1], now), _entry(sub, found, now, policy), next_moment(sub, now)


def _settled(sub: Subscriber, found: int, now: int) -> Subscriber:
    return sub if found == sub.level else msgspec.structs.replace(sub, level=found, since=now)
