"""What a command does to one subscriber: values in, values out (domain.md §1–§4). Pure; ``now`` is an argument.

Laws:

1. A command is applied whole or refused whole; a refusal (:class:`Rejected`) changes nothing.
2. The same command again leaves the state as it is and is answered ``unchanged``.
3. A reason is cleared by name. Money clears debt reasons only.
4. A settled invoice never restricts again, whichever of payment and block came first.
5. Nothing but its own ending ends what is no debt: court, terminated, fraud, abuse, preventive, operator, pause.
6. A command meets the subscriber as it is at that moment: what was due by then has happened, timer or not.
7. A deadline is told of a debt that is felt: while a promise or a deferral lifts it, it moves behind their end.
8. Whatever is decided is told in ``Decision``: new state, invoice facts, addresses, events.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from collections.abc import Set as AbstractSet
from typing import Any, assert_never

from msgspec.structs import replace

from edged.domain import command as c
from edged.domain import deferral, effect, growth, onset, promise
from edged.domain.levels import Level
from edged.domain.model import (
    DEBT,
    MORATORIUM,
    NOTHING,
    REASONS,
    WHOLE,
    Fact,
    Policy,
    Reason,
    Subscriber,
    Waiting,
    milliseconds,
    rfc3339,
)
from edged.domain.rejection import Rejected
from edged.domain.verdict import Decision, View

__all__ = ["Decision", "View", "check_rev", "decide", "expire", "reconsider", "release", "see_notice"]

DOCUMENTS_OK = "documents_ok"
"""The cause that ends a preventive block; nothing else does."""

_LEVELS: dict[str, tuple[Level, ...]] = {
    **{name: (level,) for name, level in REASONS.items()},
    **{name: tuple(x for x in Level if Level.OPEN < x <= REASONS[name]) for name in DEBT},
    "abuse": (Level.WALLED, Level.BLOCKED),
    "operator": (Level.NOTICE, Level.REDUCED, Level.WALLED, Level.BLOCKED),
}
"""Reason -> the levels that a command may give it."""

_USUAL = {name: level.value for name, level in REASONS.items()}
_SETTLED = Fact(settled=True)


def decide(cmd: c.OnState, view: View, now: int, policy: Policy, issuer: str = "") -> Decision:
    """The decision on one command at ``now`` (Unix ms). Raises Rejected.

    ``level`` and ``since`` of the new state are as before: whoever commits it brings them up to date
    (:func:`edged.domain.effect.settle`), once for all that happens in one moment.
    """
    before = view.sub
    if before is None:
        if not isinstance(cmd, c.Block | c.Paid):
            raise Rejected("unknown_subscriber", f"no subscriber {cmd.sub!r}; bind or block it first")
        before = Subscriber(cmd.sub)
    elif (before.reasons or before.deferrals or before.promise) and 0 < effect.next_moment(before, now) <= now:
        before, told = expire(before, now, policy)
        made = _decided(cmd, before, view.facts, now, policy, issuer)
        return replace(made, events=(*told, *made.events))
    return _decided(cmd, before, view.facts, now, policy, issuer)


def _decided(
    cmd: c.OnState, sub: Subscriber, facts: Mapping[str, Fact], now: int, policy: Policy, issuer: str
) -> Decision:
    # CPython is quickest where a line meets one class only: so the revision is read in each case, and no match.
    if isinstance(cmd, c.Block):
        return _block(cmd, check_rev(sub, cmd.rev), facts, now, policy, issuer)
    if isinstance(cmd, c.Paid):
        return _paid(cmd, check_rev(sub, cmd.rev), facts, now)
    if isinstance(cmd, c.Unblock):
        return _unblock(cmd, check_rev(sub, cmd.rev), now)
    if isinstance(cmd, c.Trust):
        return promise.trust(cmd, check_rev(sub, cmd.rev), facts, now, policy, issuer)
    if isinstance(cmd, c.Untrust):
        return promise.untrust(check_rev(sub, cmd.rev), now)
    if isinstance(cmd, c.Defer):
        return deferral.defer(cmd, check_rev(sub, cmd.rev), now, policy, issuer)
    if isinstance(cmd, c.Undefer):
        return deferral.undefer(cmd, check_rev(sub, cmd.rev), now, policy)
    assert_never(cmd)


def check_rev(sub: Subscriber, rev: int | None) -> Subscriber:
    """``sub`` with its new revision. Raises Rejected ``stale`` when it falls."""
    if rev is None:
        return sub
    if rev < sub.rev:
        raise Rejected("stale", f"rev {rev} is below {sub.rev}, the highest seen for this subscriber")
    return replace(sub, rev=rev)


def _block(cmd: c.Block, sub: Subscriber, facts: Mapping[str, Fact], now: int, policy: Policy, issuer: str) -> Decision:
    level = _level(cmd)
    invoices = c.listed(cmd.invoices)
    if facts:
        invoices = tuple(i for i in invoices if not facts.get(i.id, NOTHING).settled)
    had = sub.reasons.get(cmd.reason)
    if cmd.invoices and not invoices:
        return _by_nothing(cmd.reason, sub, now)
    if (policy.require_notice or cmd.reason == "pause") and (made := _rare(cmd, sub, now, policy)) is not None:
        return made
    notified = had.notified_at if had is not None else 0
    if cmd.notified_at is not None:
        notified = milliseconds(cmd.notified_at)
    waits: tuple[Waiting, ...] = ()
    named = invoices
    if had is None or had.pending:
        at, why, earliest = onset.asked(cmd, sub.area, now, policy, notified)
    else:
        at, why, earliest = had.onset, "", 0  # what is in force is not put off by sending it again
        if cmd.reason in DEBT:
            invoices, waits = growth.joined(cmd, named, level, had, sub.area, now, policy)
    reason = Reason(
        level=level,
        since=had.since if had else now,
        onset=at,
        invoices=invoices,
        rate=cmd.rate or 0,
        page=cmd.page or "",
        deadline=_deadline(cmd, at, why, had, now, policy),
        notified_at=notified,
        ref=cmd.ref or "",
        issuer=issuer,
        pending=bool(why),
        why=why,
        earliest=earliest if why else 0,
        override=cmd.override is not None,
        waits=waits,
    )
    if waits and (part := growth.soonest(reason, named)):
        at, why = part.onset, part.why
    if had == reason:
        return Decision(sub, "deferred", until=at, why=why) if why else Decision(sub, "unchanged")
    after = replace(sub, reasons={**sub.reasons, cmd.reason: reason} if sub.reasons else {cmd.reason: reason})
    if sub.promise is None or cmd.reason not in DEBT:
        return Decision(after, "deferred", "", at, why) if why else Decision(after)
    after, spent, events = _under_promise(after, cmd.reason, facts, now, new=had is None)
    return Decision(after, "deferred" if why else "applied", "", at if why else 0, why, spent, events)


def _under_promise(
    sub: Subscriber, name: str, facts: Mapping[str, Fact], now: int, *, new: bool
) -> tuple[Subscriber, dict[str, Fact], tuple[dict[str, Any], ...]]:
    """(state, what is spent, events) of a debt that was set while a promise runs."""
    events: tuple[dict[str, Any], ...] = ()
    if not new:
        sub, events = promise.replaced(sub, now)
    return sub, promise.spent_later(sub, name, facts, now), events


def _by_nothing(name: str, sub: Subscriber, now: int) -> Decision:
    """A block for invoices that are settled takes the place of what was owed."""
    detail = "every invoice named is settled already"
    if name not in sub.reasons or name not in DEBT:
        return Decision(sub, "unchanged", detail)
    after, events = _without(sub, {name}, "released", now)
    return Decision(after, detail=detail, events=events)


def _rare(cmd: c.Block, sub: Subscriber, now: int, policy: Policy) -> Decision | None:
    """A pause that ends in the past is over. Raises Rejected where a notification is missing."""
    if policy.require_notice:
        onset.check_notified(cmd)
    if cmd.reason != "pause" or cmd.deadline is None or milliseconds(cmd.deadline) > now:
        return None
    detail = "deadline: it has passed"
    if "pause" not in sub.reasons:
        return Decision(sub, "unchanged", detail)
    after = replace(sub, reasons={n: r for n, r in sub.reasons.items() if n != "pause"})
    return Decision(after, detail=detail, events=({"event": "pause.ended", "sub": sub.sub},))


def _deadline(cmd: c.Block, at: int, why: str, had: Reason | None, now: int, policy: Policy) -> int:
    """The deadline as it is to be kept: one that was reached is not told again because the block was sent again."""
    asked = milliseconds(cmd.deadline) if cmd.deadline else 0
    if had is None or had.pending:
        return asked or (0 if why else onset.deadline(cmd.reason, at, policy))
    return asked if asked > now or (asked and had.deadline) else had.deadline


def _level(cmd: c.Block) -> int:
    if cmd.level is None:
        if cmd.rate is None:
            return _USUAL[cmd.reason]
        level = REASONS[cmd.reason]
    elif (level := Level[cmd.level.upper()]) not in (allowed := _LEVELS[cmd.reason]):
        words = " or ".join(x.word for x in allowed)
        raise Rejected("malformed", f"level: {cmd.reason} restricts to {words}; send another reason")
    if cmd.rate is not None and level != Level.REDUCED:
        raise Rejected("malformed", f"rate: only a reduced subscriber has one, and this level is {level.word}")
    return level.value


def _without(sub: Subscriber, names: set[str], outcome: str, now: int) -> tuple[Subscriber, tuple[dict[str, Any], ...]]:
    """The subscriber without these of its reasons; a promise with nothing left to lift ends."""
    reasons = {n: r for n, r in sub.reasons.items() if n not in names} if len(names) < len(sub.reasons) else {}
    if sub.promise is None and not sub.breached and not sub.deferrals:
        return replace(sub, reasons=reasons), ()
    if reasons and _in_debt(reasons):
        return promise.outlived(replace(sub, reasons=reasons), outcome, now)
    sub = deferral.without_onset(sub)
    events = (promise.ended(sub.sub, sub.promise, outcome),) if sub.promise else ()
    # Only payment wipes out a breach: a block sent anew must not bring a new promise.
    breached = sub.breached and outcome != "fulfilled"
    return replace(sub, reasons=reasons, promise=None, breached=breached), events


def release(sub: Subscriber, names: set[str], now: int) -> tuple[Subscriber, tuple[dict[str, Any], ...]]:
    """The subscriber without these reasons, and the events of it: billing says that they no longer stand."""
    return _without(sub, names & sub.reasons.keys(), "released", now)


def _in_debt(reasons: Collection[str]) -> bool:
    return "debt" in reasons or "debt_partial" in reasons or "notice" in reasons


def _unblock(cmd: c.Unblock, sub: Subscriber, now: int) -> Decision:
    names = set(DEBT) if cmd.reason == "debt*" else {cmd.reason}
    found = names & sub.reasons.keys()
    if "preventive" in found and cmd.cause != DOCUMENTS_OK:
        raise Rejected("not_authorized", f'cause: a preventive block ends with "{DOCUMENTS_OK}" alone')
    if not found:
        return Decision(sub, "unchanged", f"no reason {cmd.reason} is set")
    after, events = _without(sub, found, "released", now)
    return Decision(after, events=events)


def _paid(cmd: c.Paid, sub: Subscriber, facts: Mapping[str, Fact], now: int) -> Decision:
    debts = [n for n in sub.reasons if n in DEBT]
    if not debts and cmd.invoices is None and not facts:
        return Decision(sub, "unchanged")
    after, cleared = sub, set(debts)
    if cmd.invoices is None:
        settled = {i.id for n in debts for i in sub.reasons[n].invoices}
        settled.update(i for i in facts if i != WHOLE)
    else:
        settled = set(c.names(cmd.invoices))
        after, cleared = _less(sub, debts, settled)
    if facts:
        known = {i: facts.get(i, NOTHING) for i in settled}
        changed = {i: Fact(True, fact.spent) for i, fact in known.items() if not fact.settled}
    else:
        changed = dict.fromkeys(settled, _SETTLED)
    after, events = _without(after, cleared, "fulfilled", now)
    if sub.breached and not after.breached and promise.spent_unpaid(facts, settled):
        after = replace(after, breached=True)
    if facts and facts.get(WHOLE, NOTHING).spent and not _in_debt(after.reasons):
        changed[WHOLE] = NOTHING
    if after.promise is not None or after.deferrals:
        after, more = _waivers_settled(after, settled.union(i for i, f in facts.items() if f.settled), now)
        events = (*events, *more)
    if not changed and after == sub:
        return Decision(sub, "unchanged")
    return Decision(after, facts=changed, events=events)


def _less(sub: Subscriber, debts: Collection[str], settled: AbstractSet[str]) -> tuple[Subscriber, set[str]]:
    """(without these invoices, the reasons behind which none is left open)."""
    cleared = set(debts)
    for name in debts:
        had = sub.reasons[name]
        left = [i for i in had.invoices if i.id not in settled]
        if left and len(left) == len(had.invoices):
            cleared.discard(name)
        elif (left or had.waits) and (reason := growth.without(had, tuple(left))) is not None:
            cleared.discard(name)
            sub = replace(sub, reasons={**sub.reasons, name: reason})
    return sub, cleared


def _waivers_settled(
    sub: Subscriber, settled: Collection[str], now: int
) -> tuple[Subscriber, tuple[dict[str, Any], ...]]:
    """Without the waivers of invoices which are all settled."""
    sub, events = promise.settled(sub, settled, now)
    if not sub.deferrals:
        return sub, events
    sub, more = deferral.settled(sub, settled)
    return sub, (*events, *more)


def expire(sub: Subscriber, now: int, policy: Policy) -> tuple[Subscriber, tuple[dict[str, Any], ...]]:
    """The subscriber after everything due by ``now`` has happened, and the events of it."""
    events: list[dict[str, Any]] = []
    after = sub
    if sub.promise and sub.promise.until <= now:
        outcome = sub.promise.over or ("breached" if _in_debt(sub.reasons) else "released")
        events.append(promise.ended(sub.sub, sub.promise, outcome))
        after = replace(after, promise=None, breached=outcome == "breached")
    if after.notified and after.notified <= now:
        after = replace(after, notified=0)
    if after.deferrals:
        after, more = deferral.expired(after, now, policy)
        events += more
    reasons = dict(after.reasons)
    for name in after.reasons:
        events += _aged(after, name, reasons, now, policy)
    if reasons != after.reasons:
        after = replace(after, reasons=reasons)
    return effect.settle(after, now), tuple(events)


def reconsider(sub: Subscriber, now: int, policy: Policy) -> tuple[Subscriber, tuple[dict[str, Any], ...]]:
    """The subscriber after something was said of its area: what waits is judged anew, what is in force rests or not."""
    events: list[dict[str, Any]] = []
    reasons = dict(sub.reasons)
    for name, reason in sub.reasons.items():
        if reason.pending:
            reasons[name] = onset.due(name, reason, sub.area, now, policy)
            if not reasons[name].pending:
                events.append(_began(sub.sub, name))
        elif reason.waits:
            reasons[name] = growth.due(reason, sub.area, now, policy, every=True)
            if growth.began(reason, reasons[name]):
                events.append(_began(sub.sub, name))
    after = replace(sub, reasons=reasons) if reasons != sub.reasons else sub
    after = deferral.judged(deferral.rest(after, now, policy), now, policy)
    if (had := sub.deferrals.get(MORATORIUM)) and MORATORIUM not in after.deferrals:
        events.append(deferral.ended(sub.sub, MORATORIUM, had, "expired"))
    return (sub if after is sub else effect.settle(after, now)), tuple(events)


def _aged(sub: Subscriber, name: str, reasons: dict[str, Reason], now: int, policy: Policy) -> list[dict[str, Any]]:
    """What is due of one reason by ``now``, done in ``reasons``; the events of it."""
    reason = reasons[name]
    if reason.pending:
        if reason.onset <= now:
            reasons[name] = onset.due(name, reason, sub.area, now, policy)
        return [] if reasons[name].pending else [_began(sub.sub, name)]
    events = []
    if any(w.onset <= now for w in reason.waits):
        reasons[name] = growth.due(reason, sub.area, now, policy)
        events += [_began(sub.sub, name)] if growth.began(reason, reasons[name]) else []
    if 0 < reason.deadline <= now:
        events += _deadline_passed(sub, name, reasons, now, policy)
    return events


def _deadline_passed(
    sub: Subscriber, name: str, reasons: dict[str, Reason], now: int, policy: Policy
) -> list[dict[str, Any]]:
    """A deadline is told once, and not while something lifts the debt: then it moves behind its end (law 7)."""
    reason = reasons[name]
    lifted = deferral.lifted_until(sub, name, reason, now)
    if lifted > now:
        reasons[name] = replace(reason, deadline=onset.deadline(name, lifted, policy) or lifted)
        return []
    if name == "pause":
        del reasons[name]
    else:
        reasons[name] = replace(reason, deadline=0)
    return [_reached(sub, name, reason)]


def _began(sub: str, name: str) -> dict[str, Any]:
    return {"event": "block.began", "sub": sub, "reason": name}


def _reached(sub: Subscriber, name: str, reason: Reason) -> dict[str, Any]:
    if name == "pause":
        return {"event": "pause.ended", "sub": sub.sub}
    told = {"event": "deadline.reached", "sub": sub.sub, "reason": name, "deadline": rfc3339(reason.deadline)}
    return told | ({"since": rfc3339(sub.since)} if sub.since and sub.level else {})


def see_notice(sub: Subscriber, now: int, policy: Policy) -> Subscriber:
    """The subscriber has looked at a page: a notice counts as seen for ``notice_repeat_hours``."""
    if effect.level(sub, now) != Level.NOTICE:
        return sub
    return replace(sub, notified=now + policy.notice_repeat_hours * 3_600_000)
