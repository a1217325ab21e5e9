"""A year of a provider in some seconds: billing, a help desk, a security desk, an operations centre, and the customers.

It keeps books of its own in plain dictionaries, and compares them with the gateway every day:

* no debt begins on a forbidden day, by the events and by the kernel: nobody is newly restricted in a closed hour but by
  a command that may;
* nobody gets a second promise on an invoice, nor one after a breach; each promise ends as the books say it must;
* nobody who has paid is restricted for debt; nobody who has another reason is opened by money or a promise.
"""

from __future__ import annotations

import datetime as dt
import random
from collections import Counter
from pathlib import Path
from typing import Any

from edged.domain.brake import Limits
from edged.domain.calendar import Calendar
from edged.domain.model import Policy
from tests.reference import days
from tests.reference.orders import asked_until
from tests.reference.pair import in_force, rfc3339
from tests.reference.people import Given, Person
from tests.reference.state import State
from tests.reference.words import Rules
from tests.unit.core import Core

FIRST = dt.date(2026, 10, 1)
DAYS = 365
AREAS = tuple(f"area-{n}" for n in range(20))
ACCIDENTS = (100, 250)
"""Days on which somebody blocks everybody."""
MOST = 1000
"""Commands in a batch."""
MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
POLICY = Policy(calendar=Calendar(days.ZONE, "BR"), trust_per_30_days=2)
OTHERS = ("court", "fraud", "abuse", "preventive", "operator", "pause")


class Year:
    """``directory`` must be empty; ``run`` does it all. ``violations``: what was found; ``counts``: what happened."""

    def __init__(self, directory: Path, seed: int, subscribers: int, policy: Policy = POLICY) -> None:
        self.rng = random.Random(f"year {seed}")
        self.core = Core(directory, policy)
        settings = self.core.settings
        limits = Limits(enabled=True)
        self.core.settings = type(settings)(settings.gateway, settings.addressing, settings.policy, limits, 1 << 24)
        self.core.restart()
        self.people = [Person(n, self.rng.choice(AREAS)) for n in range(subscribers)]
        self.by_name = {p.sub: p for p in self.people}
        self.behind: dict[int, Person] = {}
        """Those with an unpaid invoice, by number."""
        self.marked: dict[int, Person] = {}
        """Those with a reason that money cannot lift."""
        self.municipal: dict[str, set[str]] = {}
        self.violations: list[str] = []
        self.commands = 0
        self.counts: Counter[str] = Counter()

    # -- time --------------------------------------------------------------------------------------------------

    def at(self, day: dt.date, hour: int, minute: int = 0) -> None:
        """Time goes on to this moment; the timers run at each moment due."""
        end = round(dt.datetime(day.year, day.month, day.day, hour, minute, tzinfo=days.ZONE).timestamp() * 1000)
        while 0 < (due := self.core.store.next_due()) <= end:
            self.core.now = max(self.core.now, due)
            self.timers()
        self.core.now = max(end, self.core.now)
        self.timers()

    def timers(self) -> None:
        while self.core.upkeep.expire()[0] or self.core.upkeep.sweep()[0]:
            pass

    def local(self, now: int) -> dt.datetime:
        return dt.datetime.fromtimestamp(now / 1000, days.ZONE)

    def open_hour(self, now: int, area: str) -> bool:
        """Whether a debt block may begin there now (§3)."""
        moment, off = self.local(now), self.municipal.get(area, set())
        tomorrow = moment.date() + dt.timedelta(days=1)
        return days.may_cut(moment) and not {moment.date().isoformat(), tomorrow.isoformat()} & off

    def wrong(self, what: str) -> None:
        self.violations.append(f"{rfc3339(self.core.now)}: {what}")

    # -- commands ------------------------------------------------------------------------------------------------

    def send(self, commands: list[dict[str, Any]]) -> list[str]:
        """Batches of them; the status or code of each. A minute passes between batches, as the brake wants it."""
        out: list[str] = []
        for first in range(0, len(commands), MOST):
            part = commands[first : first + MOST]
            answer = self.core.send(*part)
            said = ["applied"] * len(part)
            for r in answer["results"]:
                said[r["i"]] = r.get("code") or r["status"]
            out += said
            self.timers()
        self.commands += len(commands)
        self.counts.update(f"{c['op']} {s}" for c, s in zip(commands, out, strict=True))
        return out

    def run(self, until: str = "") -> None:
        """The whole year; with ``until`` it ends on the day of the first violation that says so."""
        self.at(FIRST, 0)
        for p in self.people:
            p.moved = self.core.now
        self.send([{"op": "bind", "sub": p.sub, "addresses": [p.address], "area": p.area} for p in self.people])
        for n in range(DAYS):
            day = FIRST + dt.timedelta(days=n)
            self.area_days(day)
            began, before = self.core.now, self.restricted()
            self.at(day, 6)
            self.payments(day)
            self.closed_hours(began, before)
            self.books(day)
            began, before = self.core.now, self.restricted()
            self.at(day, 10)
            self.billing(day)
            self.at(day, 14, self.rng.randrange(60))
            self.help_desk(day)
            self.security(day)
            self.at(day, 19)
            self.closed_hours(began, before)
            self.promises_end()
            self.read_events()
            self.books(day)
            if n in ACCIDENTS:
                self.accident(day)
            if n % 61 == 7:
                self.core.restart()
            if until and any(until in violation for violation in self.violations):
                return
        if not self.core.agrees():
            self.wrong("a refill changes the kernel")

    # -- what happens ---------------------------------------------------------------------------------------------

    def area_days(self, day: dt.date) -> None:
        """Moratoria, outages, municipal holidays."""
        rng, area = self.rng, self.rng.choice(AREAS)
        commands: list[dict[str, Any]] = []
        if day.day == 2:
            dates = sorted({(day + dt.timedelta(days=rng.randrange(3, 27))).isoformat() for _ in range(2)})
            self.municipal[area] = set(dates)
            commands.append({"op": "calendar", "area": area, "dates": dates, "version": str(day)})
        if rng.random() < 0.05:
            until = rfc3339(self.core.now + rng.randrange(1, 7) * DAY)
            release = rng.random() < 0.5
            commands.append({"op": "moratorium", "area": area, "until": until, "release_existing": release})
        if rng.random() < 0.2:
            commands.append({"op": "outage", "id": "fibre", "area": area, "eta": rfc3339(self.core.now + 5 * HOUR)})
        if rng.random() < 0.3:
            commands.append({"op": "end_outage", "id": "fibre"})
        if commands:
            self.send(commands)

    def payments(self, day: dt.date) -> None:
        """Invoices are issued; who pays today is reported, whether late or not."""
        self.promises_end()
        commands = []
        for p in self.people[day.day - 1 :: 28] if day.day <= 28 else ():
            name, chance = f"F-{p.number}-{day:%y%m}", self.rng.random()
            late = self.rng.randrange(1, 12) if chance < 0.9 else self.rng.randrange(12, 95)
            p.due[name] = day
            p.unpaid[name] = day + dt.timedelta(days=0 if chance < 0.8 else late)
            self.behind[p.number] = p
        for p in list(self.behind.values()):
            paid = [i for i, when in p.unpaid.items() if when <= day]
            if paid and (p.claimed or self.rng.random() < 0.1):
                commands.append({"op": "paid", "sub": p.sub, "invoices": paid})
            for invoice in paid:
                del p.unpaid[invoice], p.due[invoice]
            p.claimed = {reason: left for reason, named in p.claimed.items() if (left := named - {*paid})}
            p.pays({*paid})
            if not p.unpaid:
                del self.behind[p.number]
        self.send(commands)

    def billing(self, day: dt.date) -> None:
        """Reminders, notices and blocks by how late somebody is; on the third of a month everything is said again."""
        commands, again = [], day.day == 3
        for p in self.behind.values():
            late = {i: (day - due).days for i, due in p.due.items() if i in p.unpaid}
            for reason, least in (("notice", 3), ("debt", 8), ("debt_partial", 20)):
                named = {i for i, n in late.items() if n >= least}
                if not named or (p.number % 3 and reason == "debt_partial"):
                    continue
                if named == p.claimed.get(reason) and not again:
                    continue
                if reason == "debt" and not p.notified:
                    p.notified = self.core.now
                told = {"notified_at": rfc3339(p.notified)} if reason == "debt" else {}
                invoices = [{"id": i, "due": p.due[i].isoformat()} for i in sorted(named)]
                commands.append({"op": "block", "sub": p.sub, "reason": reason, "invoices": invoices, **told})
                p.claimed[reason] = named
        for command, said in zip(commands, self.send(commands), strict=True):
            if said == "brake":
                self.wrong(f"billing's daily run is held: {command}")

    def promises_end(self) -> None:
        """Those whose time has come by now."""
        for p in self.behind.values():
            p.promises_end(self.core.now)

    def ends(self, p: Person, command: dict[str, Any]) -> int:
        """When a promise asked for now must end, in Unix ms: never in a closed hour."""
        rules = Rules(may_cut=days.may_cut)
        municipal = {area: (off, "") for area, off in self.municipal.items()}
        state = State(self.core.now, rules, municipal=municipal)
        return state.next_cut(asked_until(state, command), p.area)

    def help_desk(self, day: dt.date) -> None:
        """Promises, deferrals, and some that change their mind."""
        self.promises_end()
        rng = self.rng
        asked: list[tuple[Person, set[str]]] = []
        commands: list[dict[str, Any]] = []
        for p in self.behind.values():
            if not p.claimed or rng.random() > 0.1:
                continue
            chance, owed = rng.random(), set().union(*p.claimed.values())
            if chance < 0.85:
                named = {min(owed)} if rng.random() < 0.3 else set()
                length: dict[str, Any] = rng.choice(({}, {"hours": 30}, {"days": 5}, {"next_business_day": True}))
                commands.append(
                    {"op": "trust", "sub": p.sub, **length, **({"invoices": sorted(named)} if named else {})}
                )
                asked.append((p, named or owed))
            elif chance < 0.93:
                until = rfc3339(self.core.now + rng.randrange(1, 20) * DAY)
                kind = rng.choice(("agreement", "dispute", "hardship"))
                commands.append({"op": "defer", "sub": p.sub, "kind": kind, "until": until})
                asked.append((p, set()))
            else:
                commands.append({"op": rng.choice(("untrust", "undefer")), "sub": p.sub})
                asked.append((p, set()))
                if commands[-1]["op"] == "untrust":
                    p.moved = self.core.now
        for (p, covered), command, said in zip(asked, commands, self.send(commands), strict=True):
            if command["op"] not in {"trust", "untrust"} or said != "applied":
                continue
            for given in p.promises:  # one that was kept may have ended before
                given.outcomes |= {"replaced" if command["op"] == "trust" else "revoked"}
            if command["op"] == "untrust":
                continue
            if covered & p.promised:
                self.wrong(f"a second promise for {covered & p.promised}: {command}")
            if p.breached:
                self.wrong(f"a promise after a breach: {command}")
            if any(end > day for end in p.others.values()):
                self.wrong(f"a promise beside {[*p.others]}: {command}")
            p.promised |= covered
            p.promises.append(Given(self.ends(p, command), {*covered}))

    def security(self, day: dt.date) -> None:
        """Reasons that money cannot lift, set and ended."""
        commands: list[dict[str, Any]] = []
        for p in self.rng.sample(self.people, max(len(self.people) // 500, 1)):
            reason = self.rng.choice(OTHERS)
            if reason not in p.others:
                self.marked[p.number] = p
                p.others[reason] = day + dt.timedelta(days=self.rng.randrange(1, 50))
                more = {"deadline": rfc3339(self.midday(p.others[reason]))} if reason == "pause" else {}
                commands.append({"op": "block", "sub": p.sub, "reason": reason, **more})
                p.moved = self.core.now
        for p in self.marked.values():
            for reason in [r for r, end in p.others.items() if end <= day]:
                del p.others[reason]
                if reason != "pause":
                    cause = {"cause": "documents_ok"} if reason == "preventive" else {}
                    commands.append({"op": "unblock", "sub": p.sub, "reason": reason, **cause})
                    p.moved = self.core.now
        self.marked = {n: p for n, p in self.marked.items() if p.others}
        if "brake" in self.send(commands):
            self.wrong("the security desk is held")

    def midday(self, day: dt.date) -> int:
        return round(dt.datetime(day.year, day.month, day.day, 12, tzinfo=days.ZONE).timestamp() * 1000)

    def accident(self, day: dt.date) -> None:
        """Somebody blocks everybody: the brake holds it, and a human drops it. Then what came through is undone."""
        victims = [p for p in self.people if not p.others]
        said = self.send([{"op": "block", "sub": p.sub, "reason": "operator"} for p in victims])
        through = [p for p, s in zip(victims, said, strict=True) if s == "applied"]
        fresh = [p for p in through if not p.claimed.keys() - {"notice"}]  # who is restricted already does not count
        if len(fresh) > 500:
            self.wrong(f"the brake let {len(fresh)} through")
        self.counts["held in accidents"] += said.count("brake")
        while self.core.upkeep.drop_held():
            pass
        self.core.now += 2 * MINUTE
        self.send([{"op": "unblock", "sub": p.sub, "reason": "operator"} for p in through])
        self.core.now += 2 * MINUTE
        for p in victims:
            p.moved = self.core.now
        self.books(day)

    # -- the books ------------------------------------------------------------------------------------------------

    def restricted(self) -> set[bytes]:
        """The addresses that the kernel restricts further than by a notice, now."""
        sets = self.core.in_kernel()
        mild = [sets.get(role, set()) for role in ("waived4", "waived_notice4", "notice4")]
        return sets.get("restricted4", set()).difference(*mild)

    def closed_hours(self, began: int, before: set[bytes]) -> None:
        """Who is newly restricted where no moment since ``began`` permitted it had a reason of another kind."""
        for key in self.restricted() - before:
            p = self.people[int.from_bytes(key[1:]) - (64 << 16) - 1]
            moments = range(began + MINUTE, self.core.now, HOUR // 2)
            if p.moved < began and not p.others and not any(days.may_cut(self.local(m)) for m in moments):
                self.wrong(f"{p.sub} is cut in closed hours since {rfc3339(began)}")

    def read_events(self) -> None:
        while found := self.core.store.events():
            for _, stored in found:
                self.counts[str(stored.document["event"])] += 1
                self.judge(stored.document)
            self.core.store.forget_events(found[-1][0])
        for p in self.people:
            if any(given.until <= self.core.now for given in p.promises):
                self.wrong(f"nobody told how a promise ended: {p}")

    def judge(self, event: dict[str, Any]) -> None:
        p = self.by_name.get(event.get("sub", ""))
        if p is None:
            return
        at = round(dt.datetime.fromisoformat(event["at"]).timestamp() * 1000)
        match event["event"]:
            case "block.began" if event["reason"] in {"notice", "debt_partial", "debt"}:
                if not self.open_hour(at, p.area):
                    self.wrong(f"begins in a closed hour: {event}")
            case "trust.ended":
                if not p.told(event["outcome"]):
                    self.wrong(f"by the books it ends otherwise: {event}")
                # Municipal holidays may have been told after it was granted.
                if event["outcome"] == "breached" and not days.may_cut(self.local(at)):
                    self.wrong(f"a promise ends in a closed hour: {event}")

    def books(self, day: dt.date) -> None:
        """The kernel against what billing and the desks have written down."""
        sets = self.core.in_kernel()
        restricted = sets.get("restricted4", set())
        owing = {p.key for p in self.behind.values() if p.claimed}
        other = {p.key: p for p in self.marked.values() if p.others}
        for key in restricted - owing - other.keys():
            self.wrong(f"{key.hex(' ')} owes nothing, has no other reason, and is restricted")
        for key, p in other.items():
            wanted = 4 if "court" in p.others else 3
            ended = {r for r, end in p.others.items() if end <= day}
            if in_force(sets, "4", key) < wanted and not ended:
                self.wrong(f"{p.sub} is opened although there is {[*p.others]}")
        if sum(self.core.store.totals.levels) != len(self.people):
            self.wrong("the store has lost somebody")

    def close(self) -> None:
        self.core.store.close()
