"""What the naive model knows, and the questions to it: everything is worked out anew at every question."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from typing import Any

from tests.reference import days
from tests.reference.words import DAY, DEBTS, LOOK, NOTIFIED, RAISE, WHOLE, Rules, Sub, nobody


@dataclass
class State:
    """Everything there is."""

    now: int
    rules: Rules = field(default_factory=Rules)
    subs: dict[str, Sub] = field(default_factory=dict)
    holder: dict[str, str] = field(default_factory=dict)
    """Address -> name."""
    moratoria: dict[str, tuple[int, bool]] = field(default_factory=dict)
    """Area -> end, and whether it releases those who are restricted already."""
    outages: dict[str, tuple[str, int]] = field(default_factory=dict)
    """Id -> area and eta."""
    municipal: dict[str, tuple[set[str], str]] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)
    """Areas of which something was said since the timers ran."""
    events: list[tuple[str, ...]] = field(default_factory=list)
    """(event, subscriber, what)."""

    # -- days ------------------------------------------------------------------------------------------------

    def local(self, now: int) -> dt.datetime:
        return dt.datetime.fromtimestamp(now / 1000, self.rules.zone)

    def allowed(self, moment: dt.datetime, area: str) -> bool:
        """Whether the cut calendar of the area lets a block begin at this moment."""
        if self.rules.may_cut is None:
            return True
        off = self.municipal.get(area, (set(), ""))[0]
        tomorrow = (moment + dt.timedelta(days=1)).date()
        return self.rules.may_cut(moment) and moment.date().isoformat() not in off and tomorrow.isoformat() not in off

    def next_cut(self, now: int, area: str) -> int:
        """This moment if it is allowed, else the opening of the first day that is."""
        moment = self.local(now)
        if self.allowed(moment, area):
            return now
        morning = moment.replace(hour=days.OPENS, minute=0, second=0, microsecond=0)
        while morning <= moment or not self.allowed(morning, area):
            morning += dt.timedelta(days=1)
        return round(morning.timestamp() * 1000)

    def end_of_bank_day(self, count: int) -> int:
        """The midnight that ends the ``count``-th bank day after today."""
        day = self.local(self.now).date()
        while count:
            day += dt.timedelta(days=1)
            count -= self.rules.bank_day(day)
        return self.midnight(day)

    def midnight(self, day: dt.date) -> int:
        """The one at the end of the day."""
        end = dt.datetime.combine(day + dt.timedelta(days=1), dt.time(), self.rules.zone)
        return round(end.timestamp() * 1000)

    # -- questions -------------------------------------------------------------------------------------------

    def level(self, name: str) -> int:
        """The highest level of the reasons that have begun and that are not waived (§1)."""
        sub = self.subs.get(name) or nobody()
        return max([self.felt(sub, r) for r in sub["reasons"] if not sub["reasons"][r]["pending"]], default=0)

    def owes(self, sub: Sub) -> int:
        """The same of its debts alone, a promise looked away from."""
        alone = {**sub, "promise": None}
        return max([self.felt(alone, name) for name, r in self.debts(sub).items() if not r["pending"]], default=0)

    def felt(self, sub: Sub, name: str) -> int:
        """What is left of a begun reason's level by promise, deferrals and caps: the worst of its begun invoices."""
        reason = sub["reasons"][name]
        if name not in DEBTS:
            return int(reason["level"])
        promise = sub["promise"] if sub["promise"] and sub["promise"]["until"] > self.now else None
        left = [0]
        for invoice in self.begun(reason):
            lowest = min([self.begun_level(reason), *self.deferred(sub, invoice, overridden=reason["override"])])
            lifted = promise and invoice in (promise["invoices"] or [invoice])
            left.append(0 if lifted else lowest)
        return max(left)

    def begun(self, reason: Sub) -> list[str]:
        """The invoices of a begun reason that have begun."""
        return [i for i in reason["invoices"] or [WHOLE] if i not in reason["waits"]]

    def begun_level(self, reason: Sub) -> int:
        """Its level, or while a higher one waits the one before."""
        return int(reason["waits"][RAISE]["before"] if RAISE in reason["waits"] else reason["level"])

    def deferred(self, sub: Sub, invoice: str, *, overridden: bool) -> list[int]:
        """The levels at which the deferrals of an invoice stop short; an override passes those nobody has asked for."""
        passed = {"moratorium", "onset"} if overridden else {""}
        deferrals = [d for kind, d in sub["deferrals"].items() if kind not in passed]
        return [d["up_to"] for d in deferrals if invoice in (d["invoices"] or [invoice])]

    def reasons(self, name: str) -> dict[str, bool | None]:
        """Each reason there is, and whether it has begun; None where all that is left of a begun one waits."""
        reasons = (self.subs.get(name) or nobody())["reasons"]
        return {r: not v["pending"] and (bool(self.begun(v)) or None) for r, v in reasons.items()}

    def promise(self, name: str) -> int:
        """The end of the running promise, or 0."""
        promise = (self.subs.get(name) or nobody())["promise"]
        return promise["until"] if promise and promise["until"] > self.now else 0

    def debts(self, sub: Sub) -> dict[str, Any]:
        return {r: v for r, v in sub["reasons"].items() if r in DEBTS}

    def owed(self, sub: Sub) -> list[str]:
        return list(dict.fromkeys(i for r in self.debts(sub).values() for i in r["invoices"] or [WHOLE]))

    # -- when a block may begin (§3) ---------------------------------------------------------------------------

    def onset(self, reason: str, r: Sub, area: str, *, calendar: bool = True) -> tuple[int, str]:
        """The moment by the terms in ``r`` and what it waits for; now where it waits for nothing."""
        moment, why = self.now, ""
        later = [(r["not_before"], "not_before")]
        if reason in NOTIFIED and r["notified_at"]:
            later.append((r["notified_at"] + self.rules.notice_days * DAY, "notice_days"))
        if reason in DEBTS and not r["override"]:
            later += [(end, "moratorium") for where, (end, _) in self.moratoria.items() if where in {"*", area}]
            later += [(self.look(eta), "outage") for where, eta in self.outages.values() if where in {"*", area}]
        for end, what in later:
            if end > moment:
                moment, why = end, what
        if reason in DEBTS and calendar and not r["override"] and self.next_cut(moment, area) > moment:
            moment, why = self.next_cut(moment, area), "calendar"
        return moment, why

    def look(self, eta: int) -> int:
        """When a debt held by an outage is looked at again."""
        return min([self.now + LOOK] + [eta] * (eta > self.now))

    def outage(self, area: str) -> bool:
        """Whether there is one: nobody knows when it ends."""
        return any(where in {"*", area} for where, _ in self.outages.values())
