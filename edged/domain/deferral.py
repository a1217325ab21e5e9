"""Debts put off: agreement, dispute, hardship (domain.md §1, §5). Pure; times are Unix milliseconds.

Laws:

1. There is one of each kind; a new one takes the old one's place. It may be given before there is any debt.
2. It ends by itself at a moment at which the calendar lets a debt begin again, or when all its invoices are settled.
3. Where one ends, by itself or by command, and more is felt than before, that is an onset: what holds a debt's onset
   back holds it, as the kind ``onset``, at what was felt.
4. The kinds of :data:`edged.domain.model.OWN` are never given by a command: ``onset``, and ``moratorium``, which
   belongs to the moratoria of areas.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from msgspec.structs import replace

from edged.domain import command as c
from edged.domain import effect, onset
from edged.domain.levels import Level
from edged.domain.model import (
    DEBT,
    MORATORIUM,
    ONSET,
    OWN,
    RAISE,
    WHOLE,
    Deferral,
    Policy,
    Reason,
    Subscriber,
    milliseconds,
    rfc3339,
)
from edged.domain.promise import guarded
from edged.domain.rejection import Rejected
from edged.domain.verdict import Decision


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
    after = replace(sub, deferrals={**sub.deferrals, cmd.kind: made})
    if had is not None:
        after, at, why = _held(after, effect.owed(sub, now, promised=False), now, policy)
        if why:
            return Decision(after, "deferred", until=at, why=why)
    return Decision(after, detail=detail, until=until)


def undefer(cmd: c.Undefer, sub: Subscriber, now: int, policy: Policy) -> Decision:
    """The decision on ``undefer``: of one kind, or all that commands gave."""
    kinds = {cmd.kind} if cmd.kind else sub.deferrals.keys() - set(OWN)
    found = {k: d for k, d in sub.deferrals.items() if k in kinds}
    if not found:
        return Decision(sub, "unchanged", "nothing is deferred")
    events = tuple(ended(sub.sub, k, d, "released") for k, d in found.items())
    after, at, why = _held(_without(sub, found), effect.owed(sub, now, promised=False), now, policy)
    return Decision(after, "deferred" if why else "applied", until=at if why else 0, why=why, events=events)


def _held(sub: Subscriber, felt: int, now: int, policy: Policy) -> tuple[Subscriber, int, str]:
    """(state, until when, why): with more to feel than was ``felt``, that may have to wait (law 3).

    A promise is looked away from: it may end before what holds the onset back.
    """
    free = sub, 0, ""
    rises = effect.owed(sub, now, promised=False)
    if rises <= felt:
        return free
    until, why = _allowed(now, sub.area, now, policy)
    if not why:
        return free
    had = sub.deferrals.get(ONSET)
    made = Deferral(now, max(until, had.until) if had else until, up_to=felt)
    after = replace(sub, deferrals={**sub.deferrals, ONSET: made})
    if effect.owed(after, now, promised=False) == rises:  # somebody has taken it on himself
        return free
    return after, made.until, why


def _allowed(moment: int, area: str, now: int, policy: Policy) -> tuple[int, str]:
    return onset.allowed(moment, "", area, now, policy, override=False, calendar=policy.guard_reblock)


def settled(sub: Subscriber, paid: Collection[str]) -> tuple[Subscriber, tuple[dict[str, Any], ...]]:
    """Without the deferrals whose every invoice is among those ``paid`` (law 2)."""
    found = {k: d for k, d in sub.deferrals.items() if d.invoices and all(i in paid for i in d.invoices)}
    return (_without(sub, found) if found else sub), tuple(ended(sub.sub, k, d, "settled") for k, d in found.items())


def expired(sub: Subscriber, now: int, policy: Policy) -> tuple[Subscriber, tuple[dict[str, Any], ...]]:
    """Without what has ended by ``now``; what is felt then is asked for as an onset is (law 3)."""
    if (held := sub.deferrals.get(ONSET)) is not None and held.until <= now:
        later = judged(sub, now, policy)
        sub = later if ONSET in later.deferrals else sub
    found = {k: d for k, d in sub.deferrals.items() if d.until <= now}
    if not found:
        return sub, ()
    events = tuple(ended(sub.sub, k, d, "expired") for k, d in found.items())
    given = [d.until for k, d in found.items() if k not in OWN]
    after = _without(sub, found)
    if given:
        after, _, _ = _held(after, effect.owed(sub, max(given) - 1, promised=False), now, policy)
    return after, events


def lifted_until(sub: Subscriber, name: str, reason: Reason, now: int) -> int:
    """The last end of what lifts what has begun of a debt at ``now``; 0 where nothing does."""
    if name not in DEBT:
        return 0
    level = effect.begun(reason)
    if not level:
        return min(w.onset for w in reason.waits if w.id != RAISE)
    if effect.felt(sub, name, reason, now, promised=True) >= level:
        return 0
    ids = {i.id for i in reason.invoices} or {WHOLE}
    given = (d for kind, d in sub.deferrals.items() if not (reason.override and kind in OWN))
    waivers = [(d.until, d.invoices, d.up_to) for d in given]
    if sub.promise is not None:
        waivers.append((sub.promise.until, sub.promise.invoices, Level.OPEN))
    return max((t for t, named, cap in waivers if cap < level and (not named or ids.intersection(named))), default=0)


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


def judged(sub: Subscriber, now: int, policy: Policy) -> Subscriber:
    """What an onset holds back, after its moment has come or something was said of its area: perhaps it begins."""
    had = sub.deferrals.get(ONSET)
    if had is None:
        return sub
    until, why = _allowed(now, sub.area, now, policy)
    if not why:
        return _without(sub, [ONSET])
    return sub if until == had.until else replace(sub, deferrals={**sub.deferrals, ONSET: replace(had, until=until)})


def without_onset(sub: Subscriber) -> Subscriber:
    """Nobody owes anything any more: nothing is held back."""
    return _without(sub, [ONSET]) if ONSET in sub.deferrals else sub


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
