"""What whoever opens a page may be told, as a :class:`Standing`. Pure; times are Unix milliseconds.

Laws:

1. No name, no invoice, no amount.
2. ``can_trust`` is the edge's own decision on a promise asked for now. Billing may still refuse it.
3. Payment data is spoken of where the page is one about money, or where nothing restricts (domain.md §1: no payment
   under fraud, court, a terminated contract).
4. ``next_ms`` announces debts and the end of a promise; what else waits is none of a payment reminder's business.
"""

from __future__ import annotations

from collections.abc import Mapping

from edged.domain import command as c
from edged.domain import effect
from edged.domain.decide import View, decide
from edged.domain.model import DEBT, Fact, Policy, Subscriber
from edged.domain.rejection import Rejected
from edged.domain.standing import Standing


def standing(
    sub: Subscriber, facts: Mapping[str, Fact], now: int, policy: Policy, *, asked: bool = False, pays: bool = False
) -> Standing:
    """What the portal may know of a subscriber. ``asked`` and ``pays`` come from who knows: memory and store."""
    running = sub.promise.until if sub.promise and sub.promise.until > now else 0
    reason = effect.strongest(sub, now)
    found = policy.regions.outage(sub.area) if policy.regions.outages else None
    debts = [r for n, r in sub.reasons.items() if n in DEBT]  # law 4
    waiting = [r.onset for r in debts if r.pending and r.onset > now]
    waiting += [w.onset for r in debts for w in r.waits if w.onset > now]
    return Standing(
        int(effect.level(sub, now)),
        reason,
        running,
        since_ms=sub.since,
        deadline_ms=sub.reasons[reason].deadline if reason else 0,
        next_ms=min([*waiting, *([running] if running else [])], default=0),
        eta_ms=found[1].eta if found else 0,
        broken=sub.breached and any(n in sub.reasons for n in DEBT),
        can_trust=not running and why_not(sub, facts, now, policy) is None,
        asked=asked and not running,
        outage=found is not None,
        pays=pays and pays_here(sub, now),
    )


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
