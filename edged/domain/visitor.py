"""What whoever opens a page may be told, as a :class:`Standing`. Pure; times are Unix milliseconds.

Laws:

1. No name, no invoice, no amount.
2. ``can_trust`` is the edge's own decision on a promise asked for now. Billing may still refuse it.
3. Payment data is spoken of where the page is one about money, or where nothing restricts (domain.md §1: no payment
   under fraud, court, a terminated contract).
4. ``next_ms`` and ``next_level`` announce debts alone; what else waits is none of a payment reminder's business. With a
   promise they are when what it keeps open ends, whatever ends it.
5. They are the first moment at which more is felt than now and than a reminder, by all that is known: what begins or
   ends under something that holds the level where it is announces nothing.
6. While a promise runs, ``until_ms`` is that moment, not the promise's own end: something else may hold, or follow.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from msgspec.structs import replace

from edged.domain import command as c
from edged.domain import effect
from edged.domain.decide import View, decide
from edged.domain.levels import Level
from edged.domain.model import DEBT, RAISE, WHOLE, Fact, Policy, Reason, Subscriber
from edged.domain.rejection import Rejected
from edged.domain.standing import Standing


def standing(
    sub: Subscriber, facts: Mapping[str, Fact], now: int, policy: Policy, *, asked: bool = False, pays: bool = False
) -> Standing:
    """What the portal may know of a subscriber. ``asked`` and ``pays`` come from who knows: memory and store."""
    running = sub.promise is not None and sub.promise.until > now
    level = effect.level(sub, now)
    rises, stricter = rise(sub, level, now, sub.reasons if running else DEBT)
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


def rise(sub: Subscriber, level: int, now: int, names: Collection[str]) -> tuple[int, int]:
    """(when it gets stricter for these reasons than ``level``, which is felt now, and than a reminder; how strict).

    Zeros where nothing known leads there (laws 4 and 5).
    """
    reasons = {n: r for n, r in sub.reasons.items() if n in names}
    moments = {r.onset for r in reasons.values() if r.pending} | {w.onset for r in reasons.values() for w in r.waits}
    moments |= {d.until for d in sub.deferrals.values()}
    if sub.promise is not None:
        moments.add(sub.promise.until)
    lowest = max(level, Level.NOTICE)
    for at in sorted(moments):
        if at > now:
            then = replace(sub, reasons={n: _begun(r, at) for n, r in reasons.items()})
            if (found := effect.level(then, at)) > lowest:
                return at, int(found)
    return 0, 0


def _begun(reason: Reason, at: int) -> Reason:
    """The reason with what waits no longer than ``at`` begun."""
    waits = tuple(w for w in reason.waits if w.onset > at)
    if any(w.id == WHOLE and w.onset <= at for w in reason.waits):  # as edged.domain.growth.due has it
        return replace(reason, invoices=(), waits=tuple(w for w in waits if w.id == RAISE))
    if len(waits) == len(reason.waits) and not (reason.pending and reason.onset <= at):
        return reason
    return replace(reason, pending=reason.pending and reason.onset > at, waits=waits)


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
