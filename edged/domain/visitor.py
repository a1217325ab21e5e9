"""What whoever opens a page may be told, as a :class:`Standing`. Pure; times are Unix milliseconds.

Laws:

1. No name, no invoice, no amount.
2. ``can_trust`` is the edge's own decision on a promise asked for now. Billing may still refuse it.
3. Payment data is spoken of where the page is one about money, or where nothing restricts (domain.md §1: no payment
   under fraud, court, a terminated contract).
4. ``next_ms`` and ``next_level`` announce debts alone; what else waits is none of a payment reminder's business, and
   where that comes first nothing is announced. With a promise they are when what it keeps open ends, whatever ends it.
5. They are the first moment at which more is felt than now and than a reminder, by all that is known: what begins or
   ends under something that holds the level where it is announces nothing.
6. While a promise runs, ``until_ms`` is that moment, not the promise's own end: something else may hold, or follow.
7. It is found by letting happen what will happen, as :func:`edged.domain.decide.expire` does it: moratorium, outage,
   calendar and clock are asked as they will be. What takes more than :data:`STEPS` moments is not announced, such as
   what an outage without an end holds back.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec.structs import replace

from edged.domain import command as c
from edged.domain import effect
from edged.domain.decide import View, decide, expire
from edged.domain.levels import Level
from edged.domain.model import DEBT, Fact, Policy, Subscriber
from edged.domain.rejection import Rejected
from edged.domain.standing import Standing

STEPS = 16
"""Moments looked ahead for one page: a bound on what it may cost."""


def standing(
    sub: Subscriber, facts: Mapping[str, Fact], now: int, policy: Policy, *, asked: bool = False, pays: bool = False
) -> Standing:
    """What the portal may know of a subscriber. ``asked`` and ``pays`` come from who knows: memory and store."""
    running = sub.promise is not None and sub.promise.until > now
    level = effect.level(sub, now)
    rises, stricter = rise(sub, level, now, policy, promised=running)
    reason = effect.strongest(sub, now)
    found = policy.regions.outage(sub.area) if policy.regions.outages else None
    return Standing(
        int(level),
        reason,
        rises if running else 0,
        since_ms=sub.since,
        deadline_ms=sub.reasons[reason].deadline if reason else 0,
        next_ms=rises,
        next_level=stricter,
        eta_ms=found[1].eta if found else 0,
        broken=sub.breached and any(n in sub.reasons for n in DEBT),
        can_trust=not running and why_not(sub, facts, now, policy) is None,
        asked=asked and not running,
        outage=found is not None,
        pays=pays and pays_here(sub, now),
    )


def rise(sub: Subscriber, level: int, now: int, policy: Policy, *, promised: bool) -> tuple[int, int]:
    """(when more is felt than ``level``, which is felt now, and than a reminder; how much).

    ``promised``: a promise runs, and what comes is told whatever it is. Zeros where nothing known leads there, or what
    does is none of a reminder's business (laws 4, 5 and 7).
    """
    if not any(r.pending or r.waits for r in sub.reasons.values()) and sub.promise is None and not sub.deferrals:
        return 0, 0  # nearly everybody
    then, _ = expire(replace(sub, notified=0), now, policy)
    lowest = max(level, then.level, Level.NOTICE)
    at = now
    for _ in range(STEPS):
        at, before = effect.next_moment(then, at), at
        if at <= before:
            break
        then, _ = expire(then, at, policy)
        if then.level > lowest:
            return (at, then.level) if promised or effect.owed(then, at) == then.level else (0, 0)
    return 0, 0


def why_not(sub: Subscriber, facts: Mapping[str, Fact], now: int, policy: Policy) -> str | None:
    """The contract's code for why a promise asked for now would be refused, None where it would be given (law 2)."""
    if not any(n in sub.reasons for n in DEBT):  # nearly everybody
        return "trust_not_applicable"
    try:
        decide(c.Trust(sub=sub.sub), View(sub, facts), now, policy)
    except Rejected as e:
        return e.code
    return None


def pays_here(sub: Subscriber, now: int) -> bool:
    """Whether payment data may be spoken of to this subscriber (law 3)."""
    return effect.strongest(sub, now) in (*DEBT, "")
