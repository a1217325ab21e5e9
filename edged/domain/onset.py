"""When a reason begins (domain.md §3). Pure; times are Unix milliseconds.

Laws:

1. A reason that is no debt begins at once, or at ``not_before``.
2. A debt begins at the latest of: now, ``not_before``, the notification and its period (not a reminder, which is one),
   the end of a moratorium or outage; moved to the next moment that the cut calendar allows.
3. What is in force is not put off by anything.
4. When its moment has come, and when something is said of its area, moratorium, outage, calendar and clock are asked
   once more.
5. On a clock that is not trusted no debt begins.
6. Who overrides passes moratorium, outage and calendar; never the notice period, nor the clock.
7. That somebody was notified is not forgotten because the same block comes again without saying so.
"""

from __future__ import annotations

import functools

from msgspec.structs import replace

from edged.domain import command as c
from edged.domain.model import DEBT, Policy, Reason, Waiting, milliseconds
from edged.domain.region import look_again
from edged.domain.rejection import Rejected

DAY_MS = 86_400_000
CLOCK_MS = 60_000
"""How often an onset that waits for the clock is looked at again."""
_NOTIFIED = ("debt", "debt_partial")
"""What takes something away and so keeps the notice period; a reminder is itself a notification."""
_MOST_MOVES = 50
"""Moratoria and calendars that hand an onset on to each other for longer than this are taken at their last word."""


def check_notified(cmd: c.Block) -> None:
    """For a provider who wants to be told when somebody was notified. Raises Rejected ``notice_too_short``."""
    if cmd.reason == "debt" and cmd.notified_at is None:
        raise Rejected("notice_too_short", "notified_at: this provider's policy.require_notice asks for it")


def earliest(cmd: c.Block, now: int, policy: Policy, notified: int = 0) -> tuple[int, str]:
    """When what a command asks for could begin if nothing held it back in its area.

    ``notified``: when the subscriber was told of it, by the command or else as far as is known (law 7), 0: not known.
    """
    onset, why = now, ""
    if cmd.not_before is not None and (not_before := milliseconds(cmd.not_before)) > onset:
        onset, why = not_before, "not_before"
    if notified and cmd.reason in _NOTIFIED and (told := notified + policy.notice_days * DAY_MS) > onset:
        onset, why = told, "notice_days"
    return onset, why


def asked(cmd: c.Block, area: str, now: int, policy: Policy, notified: int = 0) -> tuple[int, str, int]:
    """When what a command asks for may begin, why if later than now, and when it could if its area held nothing back.

    ``notified`` as for :func:`earliest`.
    """
    if cmd.reason in DEBT and not notified and cmd.not_before is None and cmd.override is None:
        at, why = _at_once(area, now, policy)
        return at, why, now
    first, why = earliest(cmd, now, policy, notified)
    if cmd.reason not in DEBT:
        return first, why, first
    at, why = allowed(first, why, area, now, policy, override=cmd.override is not None)
    return at, why, first


@functools.lru_cache(maxsize=4096)  # a batch blocks many in one area, at one moment
def _at_once(area: str, now: int, policy: Policy) -> tuple[int, str]:
    return allowed(now, "", area, now, policy, override=False)


def allowed(
    onset: int, why: str, area: str, now: int, policy: Policy, *, override: bool, calendar: bool = True
) -> tuple[int, str]:
    """``onset`` of a debt, or the later moment to which something moves it, and what that is (laws 2, 4 to 6).

    ``calendar``: the cut calendar is one of these.
    """
    if onset <= now and not policy.clock_trusted:
        return now + CLOCK_MS, "clock"
    if override:
        return onset, why
    at, regions = onset, policy.regions
    if onset <= now:
        at = now
        if regions.outages and (found := regions.outage(area)):
            at, why = look_again(found[1], now), "outage"
    for _ in range(_MOST_MOVES):
        if regions.moratoria and (end := regions.moratorium(area, at)):
            at, why = end, "moratorium"
        elif calendar and (permitted := policy.calendar.next_cut(at, area)) > at:
            at, why = permitted, "calendar"
        else:
            break
    return at, why


def deadline(name: str, begins: int, policy: Policy) -> int:
    """The deadline that a reason has by itself (domain.md §4), 0 for none."""
    days = policy.debt_days if name == "debt" else policy.preventive_days if name == "preventive" else 0
    return begins + days * DAY_MS if days else 0


def part_due(part: Waiting, area: str, now: int, policy: Policy) -> Waiting | None:
    """What a debt in force has grown by as it is now: None when it begins, else what it waits for (law 4)."""
    at, why = max(part.earliest, now), part.why if part.earliest > now else ""
    at, why = allowed(at, why, area, now, policy, override=part.override)
    return None if at <= now else replace(part, onset=at, why=why)


def due(name: str, reason: Reason, area: str, now: int, policy: Policy) -> Reason:
    """A waiting reason as it is now: begun, or waiting for something, perhaps something else (law 4)."""
    at, why = max(reason.earliest, now), reason.why if reason.earliest > now else ""
    if name in DEBT:
        at, why = allowed(at, why, area, now, policy, override=reason.override)
    if at > now:
        return replace(reason, onset=at, why=why)
    ends = reason.deadline or deadline(name, now, policy)
    return replace(reason, pending=False, why="", earliest=0, onset=now, deadline=ends)
