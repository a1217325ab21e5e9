"""Debts put off: agreement, dispute, hardship (domain.md §1, §5). Pure; times are Unix milliseconds.

Laws:

1. There is one of each kind; a new one takes the old one's place. It may be given before there is any debt.
2. It ends by itself at a moment at which the calendar lets a debt begin again, or when all its invoices are settled.
3. The kinds of :data:`OWN` are never given by a command: ``moratorium`` belongs to the moratoria of areas, ``onset`` to
   a debt in force that grows, while what it has grown by may not begin yet.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from msgspec.structs import replace

from edged.domain import command as c
from edged.domain import effect, onset
from edged.domain.levels import Level
from edged.domain.model import DEBT, Deferral, Policy, Subscriber, milliseconds, rfc3339
from edged.domain.promise import guarded
from edged.domain.rejection import Rejected
from edged.domain.verdict import Decision

MORATORIUM, ONSET = OWN = ("moratorium", "onset")


def ended(sub: str, kind: str, deferral: Deferral, outcome: str) -> dict[str, Any]:
    """The event that a deferral is over: expired, settled or released."""
    until = rfc3339(deferral.until)
    return {"event": "defer.ended", "sub": sub, "kind": kind, "outcome": outcome, "until": until}


def defer(cmd: c.Defer, sub: Subscriber, now: int, policy: Policy, issuer: str) -> Decision:
    """The decision on ``defer``. Raises Rejected ``trust_not_applicable`` for an end that has passed."""
    asked = milliseconds(cmd.until)
    if asked <= now:
        raise Rejected("trust_not_applicable", f"until: {rfc3339(asked)} has passed")
    until = guarded(asked, sub.area, policy)
    had = sub.deferrals.get(cmd.kind)
    made = Deferral(
        since=had.since if had else now,
        until=until,
        invoices=c.names(cmd.invoices),
        up_to=Level[cmd.up_to.upper()] if cmd.up_to else Level.OPEN,
        ref=cmd.ref or "",
        issuer=issuer,
    )
    if had == made:
        return Decision(sub, "unchanged", until=until)
    detail = f"moved from {rfc3339(asked)}, when the calendar allows no block" if until != asked else ""
    return Decision(replace(sub, deferrals={**sub.deferrals, cmd.kind: made}), detail=detail, until=until)


def undefer(cmd: c.Undefer, sub: Subscriber) -> Decision:
    """The decision on ``undefer``: of one kind, or all that commands gave."""
    kinds = {cmd.kind} if cmd.kind else sub.deferrals.keys() - set(OWN)
    found = {k: d for k, d in sub.deferrals.items() if k in kinds}
    if not found:
        return Decision(sub, "unchanged", "nothing is deferred")
    events = tuple(ended(sub.sub, k, d, "released") for k, d in found.items())
    return Decision(_without(sub, found), events=events)


def settled(sub: Subscriber, paid: Collection[str]) -> tuple[Subscriber, tuple[dict[str, Any], ...]]:
    """Without the deferrals whose every invoice is among those ``paid`` (law 2)."""
    found = {k: d for k, d in sub.deferrals.items() if d.invoices and all(i in paid for i in d.invoices)}
    return (_without(sub, found) if found else sub), tuple(ended(sub.sub, k, d, "settled") for k, d in found.items())


def expired(sub: Subscriber, now: int, policy: Policy) -> tuple[Subscriber, tuple[dict[str, Any], ...]]:
    """Without what has ended by ``now``; what a debt has grown by is judged once more, as an onset is."""
    grown = sub.deferrals.get(ONSET)
    if grown is not None and grown.until <= now:
        later = judged(sub, now, policy)
        sub = later if ONSET in later.deferrals else sub
    found = {k: d for k, d in sub.deferrals.items() if d.until <= now}
    return (_without(sub, found) if found else sub), tuple(ended(sub.sub, k, d, "expired") for k, d in found.items())


def rest(sub: Subscriber, now: int, policy: Policy) -> Subscriber:
    """A subscriber as the moratoria of its area have it: what is in force rests, or does so no longer."""
    moratorium = policy.regions.releasing(sub.area, now)
    if moratorium is None:
        return _resumed(sub, now, policy)
    # An overridden one counts all the same, see edged.domain.effect.felt: somebody has taken it on himself.
    if not any(n in DEBT and not r.pending and not r.override for n, r in sub.reasons.items()):
        return sub
    until = guarded(moratorium.until, sub.area, policy)
    made = Deferral(moratorium.since, until, ref=moratorium.ref, issuer=moratorium.issuer)
    if sub.deferrals.get(MORATORIUM) == made:
        return sub
    return replace(sub, deferrals={**sub.deferrals, MORATORIUM: made})


def grown(before: Subscriber, after: Subscriber, reason: str, earliest: int, until: int, now: int) -> Subscriber:
    """A debt in force has grown so that more would be felt, which may begin at ``until``: till then as before."""
    made = Deferral(now, until, up_to=effect.owed(before, now), reason=reason, earliest=earliest)
    return replace(after, deferrals={**after.deferrals, ONSET: made})


def overridden(sub: Subscriber, reason: str) -> Subscriber:
    """What this debt has grown by counts at once: somebody has taken it on himself."""
    had = sub.deferrals.get(ONSET)
    return _without(sub, [ONSET]) if had is not None and had.reason == reason else sub


def judged(sub: Subscriber, now: int, policy: Policy) -> Subscriber:
    """What a debt has grown by, after something was said of the area: perhaps it may begin earlier, or now."""
    had = sub.deferrals.get(ONSET)
    if had is None:
        return sub
    if had.reason not in sub.reasons:  # nothing waits any more
        return _without(sub, [ONSET])
    until, _ = onset.allowed(max(had.earliest, now), "", sub.area, now, policy, override=False)
    if until <= now:
        return _without(sub, [ONSET])
    return sub if until == had.until else replace(sub, deferrals={**sub.deferrals, ONSET: replace(had, until=until)})


def _resumed(sub: Subscriber, now: int, policy: Policy) -> Subscriber:
    """Whom no moratorium releases any more: cut again, yet not before the calendar allows that."""
    had = sub.deferrals.get(MORATORIUM)
    if had is None:
        return sub
    until = min(had.until, guarded(now, sub.area, policy))
    if until <= now:
        return _without(sub, [MORATORIUM])
    return replace(sub, deferrals={**sub.deferrals, MORATORIUM: replace(had, until=until)})


def _without(sub: Subscriber, kinds: Collection[str]) -> Subscriber:
    return replace(sub, deferrals={k: d for k, d in sub.deferrals.items() if k not in kinds})
