"""The record of a subscriber as ``query`` and ``edged why`` give it (domain.md §7): pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from edged import plan
from edged.domain import effect, growth, promise
from edged.domain.address import words
from edged.domain.entry import Entry
from edged.domain.levels import Level
from edged.domain.model import DEBT, NOTHING, RAISE, WHOLE, Deferral, Fact, Policy, Reason, Subscriber, Waiting, rfc3339
from edged.plan import Copy

_ABOUT_NOW_MS = 1000
"""An element whose end is that near counts neither as there nor as missing."""


def _when(ms: int) -> str | None:
    return rfc3339(ms) if ms else None


def _state(name: str, reason: Reason, sub: Subscriber, now: int) -> str:
    if reason.pending:
        return "pending"
    if effect.waives(sub, name, reason, now):
        return "waived"
    felt, begun = effect.felt(sub, name, reason, now, promised=False), effect.begun(reason)
    if not begun:
        return "pending"
    return "in_force" if felt == begun else "eased" if felt else "deferred"


def _reason(
    name: str, reason: Reason, sub: Subscriber, now: int, facts: Mapping[str, Fact], policy: Policy
) -> dict[str, Any]:
    return {
        "reason": name,
        "level": Level(effect.begun(reason) or reason.level).word,
        "state": _state(name, reason, sub, now),
        "since": _when(reason.since),
        "onset": _when(reason.onset),
        "waits_for": reason.why or None,
        "overridden": reason.override or None,
        "deadline": _when(reason.deadline),
        "notified_at": _when(reason.notified_at),
        "issuer": reason.issuer or None,
        "ref": reason.ref or None,
        "page": reason.page or None,
        "rate_kbit": effect.rate(reason, policy) or None,
        "invoices": [
            {
                "id": i.id,
                "due": i.due or None,
                "promises_spent": (spent := facts.get(i.id, NOTHING).spent),
                "spent": spent >= policy.trust_per_invoice,
            }
            for i in reason.invoices
        ],
        "waiting": [_waiting(w, reason) for w in reason.waits] or None,
    }


def _waiting(part: Waiting, reason: Reason) -> dict[str, Any]:
    """What of a debt has not begun: an invoice, what nobody has named (``rest``), or its higher level."""
    return {
        "part": "level" if part.id == RAISE else "rest" if part.id == WHOLE else "invoice",
        "invoice": part.id if part.id not in {RAISE, WHOLE} else None,
        "level": Level(reason.level).word,
        "onset": _when(part.onset),
        "waits_for": part.why,
        "notified_at": _when(part.notified_at),
    }


def _deferral(kind: str, deferral: Deferral) -> dict[str, Any]:
    return {
        "kind": kind,
        "since": _when(deferral.since),
        "until": _when(deferral.until),
        "up_to": Level(deferral.up_to).word,
        "invoices": list(deferral.invoices) or None,
        "issuer": deferral.issuer or None,
        "ref": deferral.ref or None,
    }


def _area(sub: Subscriber, now: int, policy: Policy) -> dict[str, Any]:
    """What is said of where it lives: an outage with its estimate, which may be extended, and a moratorium."""
    found = policy.regions.outage(sub.area)
    return {
        "name": sub.area or None,
        "outage": {
            "id": found[0],
            "since": _when(found[1].since),
            "eta": _when(found[1].eta),
            "may_be_extended": True,
            "ref": found[1].ref or None,
        }
        if found
        else None,
        "moratorium_until": _when(policy.regions.moratorium(sub.area, now)),
    }


def _promise(sub: Subscriber, now: int, facts: Mapping[str, Fact], policy: Policy) -> dict[str, Any]:
    """The promise running, and whether another one could still be given."""
    owed = [i for n, r in sub.reasons.items() if n in DEBT for i in growth.owed(r)] or [WHOLE]
    spent = any(promise.used_up(i, facts, policy) for i in owed)
    running = sub.promise if sub.promise and sub.promise.until > now else None
    return {
        "running": {
            "basis": running.basis,
            "since": _when(running.since),
            "until": _when(running.until),
            "invoices": list(running.invoices) or None,
            "channel": running.channel or None,
            "issuer": running.issuer or None,
            "ref": running.ref or None,
            "outcome": running.over or None,
        }
        if running
        else None,
        "spent": spent,
        "breached": sub.breached,
        "in_30_days": promise.recent(sub, now) if policy.trust_per_30_days else None,
        "most_in_30_days": policy.trust_per_30_days or None,
    }


def _address(
    key: bytes, sets: Mapping[str, int] | None, told: Entry | None, now: int, copies: Mapping[bytes, Copy | None] | None
) -> dict[str, Any]:
    """An address and the kernel's word on it; ``told``: what the kernel was told to do for it, None where unknown."""
    if sets is None:
        return {"address": words(key), "kernel": None, "agrees": None}
    kernel: dict[str, Any] = {"sets": sorted(sets), "expires_ms": {role: ms for role, ms in sets.items() if ms}}
    agrees = None if told is None else _agrees(key, sets, told, now)
    if copies is not None and key not in copies:
        agrees = False  # whatever the sets say, packets may meet something else first
    elif copies is not None:
        copy = copies[key]
        kernel["xdp"] = None if copy is None else _copied(copy)
        agrees = agrees and _in_step(copy, told, now) if told is not None else None
    return {"address": words(key), "kernel": kernel, "agrees": agrees}


def _copied(copy: Copy) -> dict[str, Any]:
    found: dict[str, Any] = {"level": Level(copy.level).word}
    return found | ({"lift": Level(copy.lift).word, "expires_ms": copy.left} if copy.left else {})


def _in_step(copy: Copy | None, told: Entry, now: int) -> bool:
    """Whether the XDP program does what the sets do. An address that it does not know it leaves to them."""
    if copy is None:
        return True
    end = told.until if told.lift < min(told.level, Level.WALLED) else 0
    unsure = abs(end - now) <= _ABOUT_NOW_MS
    return copy.level == told.level and (unsure or (copy.left > 0) == (end > now))


def _agrees(key: bytes, sets: Mapping[str, int], told: Entry, now: int) -> bool:
    wanted = {e.role: e.expiry for e in plan.elements(key, plan.Owned(0, told))}
    # What ends about now may be gone already, or not yet.
    unsure = {role for role, expiry in wanted.items() if expiry and expiry <= now + _ABOUT_NOW_MS}
    return wanted.keys() - unsure == sets.keys() - unsure


def record(
    sub: Subscriber,
    addresses: Iterable[bytes],
    truth: Mapping[bytes, Mapping[str, int] | None],
    facts: Mapping[str, Fact],
    now: int,
    policy: Policy,
    held: Sequence[str] = (),
    told: Entry | None = None,
    copies: Mapping[bytes, Copy | None] | None = None,
    shown: int = 0,
) -> dict[str, Any]:
    """Everything support needs.

    ``truth``: per address the kernel's roles and ms left, None where it did not answer. ``held``: reasons that the
    brake holds. ``told``: what the kernel was told to do for each address, None where that is just being changed.
    ``copies``: what the XDP program holds, where there is one; addresses are missing where it cannot be asked.
    ``shown``: when a page was last asked for, 0: not known.
    """
    return {
        "sub": sub.sub,
        "level": effect.level(sub, now).word,
        "since": _when(sub.since),
        "page_reason": effect.strongest(sub, now) or None,
        "rev": sub.rev if sub.rev >= 0 else None,
        "reasons": [_reason(n, r, sub, now, facts, policy) for n, r in sub.reasons.items()],
        "promise": _promise(sub, now, facts, policy),
        "deferrals": [_deferral(kind, d) for kind, d in sub.deferrals.items()],
        "area": _area(sub, now, policy),
        "held": list(held) or None,
        "notice_seen_until": _when(sub.notified),
        "page_shown": _when(shown),
        "next_change": _when(effect.next_moment(sub, now)),
        "timezone": str(policy.zone),
        "addresses": [_address(key, truth.get(key), told, now, copies) for key in sorted(addresses)],
    }
