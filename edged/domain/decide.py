"""What a command does to one subscriber: values in, values out (domain.md §1–§4). Pure; ``now`` is an argument.

Laws:

1. A command is applied whole or refused whole; a refusal (:class:`Rejected`) changes nothing.
2. The same command again leaves the state as it is and is answered ``unchanged``.
3. A reason is cleared by name. Money clears debt reasons only.
4. A settled invoice never restricts again, whichever of payment and block came first.
5. An invoice carries at most ``trust_per_invoice`` promises, and none is granted after a breach until the debt is paid.
6. Whatever is decided is told in ``Decision``: new state, invoice facts, addresses, events.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Mapping
from typing import Any, assert_never

from msgspec import Struct
from msgspec.structs import replace

from edged.domain import command as c
from edged.domain import effect
from edged.domain.levels import Level
from edged.domain.model import (
    DEBT,
    NOTHING,
    REASONS,
    WHOLE,
    Fact,
    Policy,
    Promise,
    Reason,
    Subscriber,
    milliseconds,
    rfc3339,
)
from edged.domain.rejection import Rejected

DAY_MS = 86_400_000


class View(Struct, frozen=True, gc=False):
    """What is known before the command. ``sub`` is None for a subscriber never heard of."""

    sub: Subscriber | None
    facts: Mapping[str, Fact] = {}


class Decision(Struct, frozen=True, gc=False):
    """What the command does."""

    sub: Subscriber
    status: str = "applied"
    detail: str = ""
    until: int = 0
    """Unix ms; for ``deferred``: when it will begin."""
    why: str = ""
    facts: dict[str, Fact] = {}
    """Invoice facts to remember, only those that change."""
    events: tuple[dict[str, Any], ...] = ()


def decide(
    cmd: c.Block | c.Unblock | c.Paid | c.Trust | c.Untrust, view: View, now: int, policy: Policy, issuer: str = ""
) -> Decision:
    """The decision on one command at ``now`` (Unix ms). Raises Rejected.

    ``level`` and ``since`` of the new state are as before: whoever commits it brings them up to date
    (:func:`edged.domain.effect.settle`), once for all that happens in one moment.
    """
    before = view.sub
    if before is None:
        if not isinstance(cmd, c.Block | c.Paid):
            raise Rejected("unknown_subscriber", f"no subscriber {cmd.sub!r}; bind or block it first")
        before = Subscriber(cmd.sub)
    checked = check_rev(before, cmd.rev)
    match cmd:
        case c.Block():
            return _block(cmd, checked, view.facts, now, policy, issuer)
        case c.Unblock():
            return _unblock(cmd, checked)
        case c.Paid():
            return _paid(cmd, checked, view.facts)
        case c.Trust():
            return _trust(cmd, checked, view.facts, now, policy, issuer)
        case c.Untrust():
            return _untrust(checked, now)
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
    named = c.listed(cmd.invoices)
    open_invoices = tuple(i for i in named if not facts.get(i.id, NOTHING).settled) if facts else named
    if cmd.invoices and not open_invoices:
        return Decision(sub, "unchanged", "every invoice named is settled already")
    had = sub.reasons.get(cmd.reason)
    onset, why = _onset(cmd, now, policy)
    if had and (not why or had.onset <= now):
        onset, why = min(had.onset, now), ""  # what is in force is not put off by sending it again
    reason = Reason(
        level=level,
        since=had.since if had else now,
        onset=onset,
        invoices=open_invoices,
        rate=cmd.rate or 0,
        page=cmd.page or "",
        deadline=milliseconds(cmd.deadline) if cmd.deadline else 0,
        notified_at=milliseconds(cmd.notified_at) if cmd.notified_at else 0,
        ref=cmd.ref or "",
        issuer=issuer,
    )
    waiting = {"until": onset, "why": why} if why else {}
    if had == reason:
        return Decision(sub, "deferred" if why else "unchanged", **waiting)  # type: ignore[arg-type]
    after = replace(sub, reasons={**sub.reasons, cmd.reason: reason})
    spent = _spend_later(after, cmd.reason, facts, now) if sub.promise else {}
    return Decision(after, "deferred" if why else "applied", facts=spent, **waiting)  # type: ignore[arg-type]


def _level(cmd: c.Block) -> int:
    natural = REASONS[cmd.reason]
    level = Level[cmd.level.upper()] if cmd.level else natural
    if cmd.level and cmd.reason in DEBT and level > natural:
        raise Rejected("malformed", f"level: {cmd.reason} restricts to {natural.word} at most; send another reason")
    if cmd.rate is not None and level != Level.REDUCED:
        raise Rejected("malformed", f"rate: only a reduced subscriber has one, and this level is {level.word}")
    return level.value


def _onset(cmd: c.Block, now: int, policy: Policy) -> tuple[int, str]:
    """When the reason begins and, if later than now, why (domain.md §3)."""
    onset, why = now, ""
    if cmd.not_before and milliseconds(cmd.not_before) > onset:
        onset, why = milliseconds(cmd.not_before), "not_before"
    if cmd.reason == "debt":
        if cmd.notified_at is None and policy.require_notice:
            raise Rejected("notice_too_short", "notified_at: this provider's policy.require_notice asks for it")
        if cmd.notified_at is not None:
            earliest = milliseconds(cmd.notified_at) + policy.notice_days * DAY_MS
            if earliest > onset:
                onset, why = earliest, "notice_days"
    return onset, why


def _spend_later(sub: Subscriber, name: str, facts: Mapping[str, Fact], now: int) -> dict[str, Fact]:
    """Invoices that come under a promise already running are spent, too: it lifts them as well."""
    reason, promise = sub.reasons[name], sub.promise
    if promise is None or promise.invoices or not effect.waives(sub, name, reason, now):
        return {}
    fresh = [i.id for i in reason.invoices if not facts.get(i.id, NOTHING).spent]
    return {i: facts.get(i, NOTHING)._replace(spent=1) for i in fresh}


def _without(sub: Subscriber, names: set[str], outcome: str) -> tuple[Subscriber, tuple[dict[str, Any], ...]]:
    """The subscriber without these reasons; a promise with nothing left to lift ends."""
    reasons = {n: r for n, r in sub.reasons.items() if n not in names}
    if _in_debt(reasons):
        return replace(sub, reasons=reasons), ()
    events = (_promise_event(sub.sub, sub.promise, outcome),) if sub.promise else ()
    # Only payment wipes out a breach: a block sent anew must not bring a new promise.
    breached = sub.breached and outcome != "fulfilled"
    return replace(sub, reasons=reasons, promise=None, breached=breached), events


def release(sub: Subscriber, names: set[str]) -> tuple[Subscriber, tuple[dict[str, Any], ...]]:
    """The subscriber without these reasons, and the events of it: billing says that they no longer stand."""
    return _without(sub, names, "released")


def _in_debt(reasons: Collection[str]) -> bool:
    return "debt" in reasons or "debt_partial" in reasons or "notice" in reasons


def _promise_event(sub: str, promise: Promise, outcome: str) -> dict[str, Any]:
    return {"event": "trust.ended", "sub": sub, "outcome": outcome, "until": rfc3339(promise.until)}


def _unblock(cmd: c.Unblock, sub: Subscriber) -> Decision:
    names = set(DEBT) if cmd.reason == "debt*" else {cmd.reason}
    found = names & sub.reasons.keys()
    if not found:
        return Decision(sub, "unchanged", f"no reason {cmd.reason} is set")
    after, events = _without(sub, found, "released")
    return Decision(after, events=events)


def _paid(cmd: c.Paid, sub: Subscriber, facts: Mapping[str, Fact]) -> Decision:
    debts = {n: r for n, r in sub.reasons.items() if n in DEBT}
    if not debts and cmd.invoices is None and not facts:
        return Decision(sub, "unchanged")
    after, cleared = sub, set(debts)
    if cmd.invoices is None:
        settled = {i.id for r in debts.values() for i in r.invoices}
    else:
        settled = {i.id for i in c.listed(cmd.invoices)}
        left = {n: replace(r, invoices=tuple(i for i in r.invoices if i.id not in settled)) for n, r in debts.items()}
        cleared = {n for n, r in left.items() if not r.invoices}
        after = replace(sub, reasons={**sub.reasons, **{n: r for n, r in left.items() if r.invoices}})
    changed: dict[str, Fact] = {}
    for i in settled:
        fact = facts.get(i, NOTHING)
        if not fact.settled:
            changed[i] = Fact(True, fact.spent)
    after, events = _without(after, cleared, "fulfilled")
    if facts and facts.get(WHOLE, NOTHING).spent and not _in_debt(after.reasons):
        changed[WHOLE] = NOTHING
    promise = after.promise
    if promise and promise.invoices and set(promise.invoices) <= settled | _settled(facts):
        events = (*events, _promise_event(after.sub, promise, "fulfilled"))
        after = replace(after, promise=None)
    if not changed and after == sub:
        return Decision(sub, "unchanged")
    return Decision(after, facts=changed, events=events)


def _settled(facts: Mapping[str, Fact]) -> set[str]:
    return {i for i, f in facts.items() if f.settled}


def _trust(cmd: c.Trust, sub: Subscriber, facts: Mapping[str, Fact], now: int, policy: Policy, issuer: str) -> Decision:
    until = _trust_end(cmd, now)
    named = tuple(i.id for i in c.listed(cmd.invoices))
    running = sub.promise if sub.promise and sub.promise.until > now else None
    if running and running.until == until and running.invoices == named:
        return Decision(sub, "unchanged", until=until)
    debts = {n: r for n, r in sub.reasons.items() if n in DEBT}
    barred = [n for n in effect.active(sub, now) if n not in DEBT]
    if barred:
        raise Rejected("trust_not_applicable", f"{barred[0]} is in force, which no promise lifts")
    if not debts:
        raise Rejected("trust_not_applicable", "no debt reason is in force or pending")
    if until <= now:
        raise Rejected("malformed", f"until: {rfc3339(until)} has passed")
    if until - now > policy.trust_max_hours * 3_600_000:
        raise Rejected("trust_too_long", f"until {rfc3339(until)} is more than {policy.trust_max_hours} hours ahead")
    owed = {i.id: i for r in debts.values() for i in r.invoices}
    if named and not set(named) & owed.keys():
        raise Rejected("trust_not_applicable", "none of these invoices is behind a debt reason")
    covered = list(named) or list(owed) or [WHOLE]
    if sub.breached:
        raise Rejected("trust_spent", "a promise ran out unpaid and the debt still stands")
    spent = [i for i in covered if facts.get(i, NOTHING).spent >= policy.trust_per_invoice]
    if spent:
        what = "the debt" if spent[0] == WHOLE else f"invoice {spent[0]}"
        raise Rejected("trust_spent", f"the promise for {what} is used up")
    _old_enough([owed[i].due for i in covered if i in owed and owed[i].due], now, policy)
    promise = Promise(cmd.basis, now, until, named, cmd.channel or "", cmd.ref or "", issuer)
    changed = {i: facts.get(i, NOTHING)._replace(spent=facts.get(i, NOTHING).spent + 1) for i in covered}
    events = (_promise_event(sub.sub, running, "replaced"),) if running else ()
    after = replace(sub, promise=promise)
    still = effect.level(after, now)
    detail = f"still {still.word}: another debt is not covered" if still else ""
    return Decision(after, detail=detail, until=until, facts=changed, events=events)


def _trust_end(cmd: c.Trust, now: int) -> int:
    if cmd.until is not None:
        return milliseconds(cmd.until)
    return now + round((cmd.hours or 0) * 3_600_000 + (cmd.days or 0) * DAY_MS)


def _old_enough(dues: list[str], now: int, policy: Policy) -> None:
    """The oldest invoice is overdue long enough (domain.md §2), where its due date is known."""
    if not dues:
        return
    today = dt.datetime.fromtimestamp(now / 1000, policy.zone).date()
    overdue = (today - dt.date.fromisoformat(min(dues))).days
    if overdue < policy.min_days_overdue:
        raise Rejected(
            "trust_not_applicable",
            f"the oldest invoice is {overdue} days overdue; policy.min_days_overdue is {policy.min_days_overdue}",
        )


def _untrust(sub: Subscriber, now: int) -> Decision:
    if sub.promise is None or sub.promise.until <= now:
        return Decision(sub, "unchanged", "no promise is running")
    return Decision(replace(sub, promise=None), events=(_promise_event(sub.sub, sub.promise, "revoked"),))


def expire(sub: Subscriber, now: int) -> tuple[Subscriber, tuple[dict[str, Any], ...]]:
    """The subscriber after everything due by ``now`` has happened, and the events of it."""
    events: list[dict[str, Any]] = []
    after = sub
    promise = sub.promise
    if promise and promise.until <= now:
        breached = any(n in DEBT for n in sub.reasons)
        events.append(_promise_event(sub.sub, promise, "breached" if breached else "released"))
        after = replace(after, promise=None, breached=breached)
    if after.notified and after.notified <= now:
        after = replace(after, notified=0)
    for name, reason in after.reasons.items():
        if reason.deadline and reason.deadline <= now:
            deadline = rfc3339(reason.deadline)
            events.append({"event": "deadline.reached", "sub": sub.sub, "reason": name, "deadline": deadline})
            after = replace(after, reasons={**after.reasons, name: replace(reason, deadline=0)})
    return effect.settle(after, now), tuple(events)


def see_notice(sub: Subscriber, now: int, policy: Policy) -> Subscriber:
    """The subscriber has looked at a page: a notice counts as seen for ``notice_repeat_hours``."""
    if effect.level(sub, now) != Level.NOTICE:
        return sub
    return replace(sub, notified=now + policy.notice_repeat_hours * 3_600_000)
