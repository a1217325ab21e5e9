"""What edged must do, told by domain.md alone: dictionaries and lists, everything worked out anew at every question.

Commands come as the dictionaries that are sent. Where the texts leave two answers open, an answer lists both.
Times are Unix milliseconds.
"""

from __future__ import annotations

import datetime as dt
import zoneinfo
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.reference import days

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
WHOLE = "*"
DEBTS = ("notice", "debt_partial", "debt")
OWN_LEVEL = {
    "court": 4, "terminated": 4, "fraud": 3, "abuse": 3, "preventive": 3,
    "operator": 3, "pause": 3, "debt": 3, "debt_partial": 2, "notice": 1,
}  # fmt: skip
WORDS = ("open", "notice", "reduced", "walled", "blocked")
LOOK = 15 * MINUTE
"""A debt that an outage holds is looked at again after so long."""
METHOD_DAYS = {"bank": 2, "lottery": 2, "debit": 2, "collection": 4}

Command = Mapping[str, Any]
Sub = dict[str, Any]


@dataclass
class Rules:
    """The provider's policy, as far as the model knows it. ``may_cut`` None: no cut calendar is configured."""

    zone: zoneinfo.ZoneInfo = days.ZONE
    may_cut: Callable[[dt.datetime], bool] | None = None
    bank_day: Callable[[dt.date], bool] = days.bank_day
    trust_max_hours: int = 168
    trust_per_invoice: int = 1
    trust_per_30_days: int = 0
    min_days_overdue: int = 4
    notice_days: int = 15
    require_notice: bool = False
    guard_reblock: bool = True
    preventive_days: int = 30
    debt_days: int = 60


@dataclass
class Answer:
    """``words``: the statuses, or codes of refusals, any of which is right. ``until`` and ``why`` 0 or empty: none."""

    words: set[str]
    until: int = 0
    why: str = ""


class No(Exception):
    """Refused, with every code that would be right."""


def ms(text: str) -> int:
    """RFC 3339 as Unix ms."""
    return round(dt.datetime.fromisoformat(text).timestamp() * 1000)


def ids(command: Command) -> list[str]:
    """The invoices a command names, each once."""
    named = [i if isinstance(i, str) else i["id"] for i in command.get("invoices") or []]
    return list(dict.fromkeys(named))


def dues(command: Command) -> dict[str, dt.date]:
    """Those of them whose due date is given."""
    named = [i for i in command.get("invoices") or [] if not isinstance(i, str) and i.get("due")]
    return {i["id"]: dt.date.fromisoformat(i["due"]) for i in named}


def nobody() -> Sub:
    """A subscriber of whom nothing is known."""
    return {
        "rev": -1, "area": "", "reasons": {}, "promise": None, "deferrals": {}, "breached": False,
        "granted": [], "settled": set(), "spent": {},
    }  # fmt: skip


@dataclass
class Model:
    """Everything there is. Call ``due`` when time has passed."""

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
        """The same of its debts alone."""
        return max([self.felt(sub, name) for name, r in self.debts(sub).items() if not r["pending"]], default=0)

    def felt(self, sub: Sub, name: str) -> int:
        """What is left of a reason's level by promise and deferrals: the worst of its invoices."""
        reason = sub["reasons"][name]
        if name not in DEBTS:
            return int(reason["level"])
        left: list[int] = []
        for invoice in reason["invoices"] or [WHOLE]:
            caps = [reason["level"]]
            promise = sub["promise"]
            if promise and promise["until"] > self.now and invoice in (promise["invoices"] or [invoice]):
                caps.append(0)
            left.append(min(caps + self.deferred(sub, invoice, overridden=reason["override"])))
        return max(left)

    def deferred(self, sub: Sub, invoice: str, *, overridden: bool) -> list[int]:
        """The levels at which the deferrals that cover an invoice stop short; an override passes those of its area."""
        passed = "moratorium" if overridden else ""
        running = [d for kind, d in sub["deferrals"].items() if d["until"] > self.now and kind != passed]
        return [d["up_to"] for d in running if invoice in (d["invoices"] or [invoice])]

    def reasons(self, name: str) -> dict[str, bool]:
        """Each reason there is, and whether it has begun."""
        return {r: not v["pending"] for r, v in (self.subs.get(name) or nobody())["reasons"].items()}

    def promise(self, name: str) -> int:
        """The end of the running promise, or 0."""
        promise = (self.subs.get(name) or nobody())["promise"]
        return promise["until"] if promise and promise["until"] > self.now else 0

    def debts(self, sub: Sub) -> dict[str, Any]:
        return {r: v for r, v in sub["reasons"].items() if r in DEBTS}

    def owed(self, sub: Sub) -> list[str]:
        return list(dict.fromkeys(i for r in self.debts(sub).values() for i in r["invoices"]))

    # -- when a block may begin (§3) ---------------------------------------------------------------------------

    def onset(self, name: str, reason: str, r: Sub, area: str) -> tuple[int, str]:
        """The moment and what it waits for; the moment is now where it waits for nothing."""
        moment, why = self.now, ""
        later = [(r["not_before"], "not_before")]
        if reason == "debt" and r["notified_at"]:
            later.append((r["notified_at"] + self.rules.notice_days * DAY, "notice_days"))
        if reason in DEBTS and not r["override"]:
            later += [(end, "moratorium") for where, (end, _) in self.moratoria.items() if where in {"*", area}]
            later += [(self.look(eta), "outage") for where, eta in self.outages.values() if where in {"*", area}]
        for end, what in later:
            if end > moment:
                moment, why = end, what
        if reason in DEBTS and not r["override"] and self.next_cut(moment, area) > moment:
            moment, why = self.next_cut(moment, area), "calendar"
        return moment, why

    def look(self, eta: int) -> int:
        """When a debt held by an outage is looked at again."""
        return min([self.now + LOOK] + [eta] * (eta > self.now))

    # -- time --------------------------------------------------------------------------------------------------

    def next_moment(self) -> int:
        """When something happens by itself; 0: never."""
        moments: list[int] = []
        for sub in self.subs.values():
            moments += [r["onset"] for r in sub["reasons"].values() if r["pending"]]
            moments += [r["deadline"] for r in sub["reasons"].values() if r["deadline"] and not r["told"]]
            moments += [d["until"] for d in sub["deferrals"].values()]
            moments += [sub["promise"]["until"]] if sub["promise"] else []
        return min(moments, default=0)

    def due(self, now: int) -> None:
        """It is ``now``, and what is due is carried out at this moment."""
        self.now = now
        for name, sub in self.subs.items():
            if {"*", sub["area"]} & {*self.said}:
                self.judge_again(name, sub)
            for reason, r in list(sub["reasons"].items()):
                if r["pending"] and r["onset"] <= now:
                    self.look_at(name, sub, reason)
                if r["deadline"] and not r["told"] and r["deadline"] <= now:
                    r["told"] = True
                    if reason == "pause":
                        del sub["reasons"][reason]
                    self.events.append(("pause.ended" if reason == "pause" else "deadline.reached", name, reason))
            if sub["promise"] and sub["promise"]["until"] <= now:
                sub["breached"] = bool(self.debts(sub))
                self.promise_ends(name, sub, "breached" if sub["breached"] else "released")
            for kind, deferral in list(sub["deferrals"].items()):
                if deferral["until"] <= now and kind == "onset":
                    self.look_at_growth(name, sub)
                elif deferral["until"] <= now:
                    self.deferral_ends(name, sub, kind)
        self.said.clear()

    def look_at(self, name: str, sub: Sub, reason: str) -> None:
        """A reason that waits is judged again, and may begin."""
        r = sub["reasons"][reason]
        r["onset"], r["why"] = self.onset(name, reason, r, sub["area"])
        if r["onset"] <= self.now:
            self.begin(reason, r)
            self.events.append(("block.began", name, reason))

    def judge_again(self, name: str, sub: Sub) -> None:
        """Something was said of the subscriber's area: what waits is judged again, and for how long it rests."""
        for reason, r in self.debts(sub).items():
            if r["pending"]:
                self.look_at(name, sub, reason)
        self.rest(name, sub)
        if "onset" in sub["deferrals"]:
            self.look_at_growth(name, sub)

    def rest(self, name: str, sub: Sub) -> None:
        """For how long a moratorium lets rest what is in force."""
        ends = [end for where, (end, releases) in self.moratoria.items() if releases and where in {"*", sub["area"]}]
        until = max([self.now, *ends])
        begun = any(not r["pending"] and not r["override"] for r in self.debts(sub).values())
        if until > self.now and begun:
            sub["deferrals"]["moratorium"] = {"invoices": [], "up_to": 0, "until": self.guarded(until, sub)}
        elif until <= self.now and "moratorium" in sub["deferrals"]:
            resting = sub["deferrals"]["moratorium"]
            resting["until"] = min(resting["until"], self.guarded(until, sub))
            if resting["until"] <= self.now:
                self.deferral_ends(name, sub, "moratorium")

    def guarded(self, until: int, sub: Sub) -> int:
        return self.next_cut(until, sub["area"]) if self.rules.guard_reblock else until

    def look_at_growth(self, name: str, sub: Sub) -> None:
        """What joined a debt in force, and waits, is judged again."""
        waiting = sub["deferrals"]["onset"]
        if waiting["reason"] in sub["reasons"]:
            waiting["until"], _ = self.onset(name, waiting["reason"], waiting["terms"], sub["area"])
        if waiting["until"] <= self.now:
            self.deferral_ends(name, sub, "onset")

    def begin(self, reason: str, r: Sub) -> None:
        r["pending"], r["why"] = False, ""
        length = {"preventive": self.rules.preventive_days, "debt": self.rules.debt_days}.get(reason)
        if length and not r["deadline"]:
            r["deadline"] = self.now + length * DAY

    def promise_ends(self, name: str, sub: Sub, outcome: str) -> None:
        if sub["promise"]:
            self.events.append(("trust.ended", name, outcome))
        sub["promise"] = None

    def deferral_ends(self, name: str, sub: Sub, kind: str) -> None:
        del sub["deferrals"][kind]
        self.events.append(("defer.ended", name, kind))
