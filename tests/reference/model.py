"""What edged must do, told by domain.md alone: dictionaries and lists, everything worked out anew at every question.

Commands come as the dictionaries that are sent. Where the texts leave two answers open, an answer lists both.
Times are Unix milliseconds. Here is what time does; ``state`` answers questions, ``blocks`` and ``orders`` carry out
commands.
"""

from __future__ import annotations

from dataclasses import dataclass

from tests.reference.state import State
from tests.reference.words import DAY, DEBTS, NO_TERMS, NOTICE, RAISE, WHOLE, Answer, Sub


@dataclass
class Model(State):
    """Call ``due`` when time has passed."""

    # -- time --------------------------------------------------------------------------------------------------

    def next_moment(self) -> int:
        """When something happens by itself; 0: never."""
        moments: list[int] = []
        for sub in self.subs.values():
            for r in sub["reasons"].values():
                moments += [r["onset"]] if r["pending"] else [w["onset"] for w in r["waits"].values()]
                moments += [r["deadline"]] if r["deadline"] and not r["told"] and not r["pending"] else []
            moments += [d["until"] for d in sub["deferrals"].values()]
            moments += [sub["promise"]["until"]] if sub["promise"] else []
        return min(moments, default=0)

    def due(self, now: int) -> None:
        """It is ``now``, and what is due is carried out at this moment."""
        self.now = now
        for name, sub in self.subs.items():
            if {"*", sub["area"]} & {*self.said}:
                self.judge_again(name, sub)
            if sub["promise"] and sub["promise"]["until"] <= now:
                unpaid = "breached" if self.debts(sub) else "released"
                self.promise_ends(name, sub, sub["promise"]["outcome"] or unpaid)
            self.deferrals_end(name, sub)
            for reason in list(sub["reasons"]):
                self.look_at(name, sub, reason)
                self.deadline(name, sub, reason)
        self.said.clear()

    def deferrals_end(self, name: str, sub: Sub) -> None:
        """Those whose time has come; of debts that are felt more by it, the end is an onset."""
        self.look_at_onset(name, sub)
        over = {kind: d["until"] for kind, d in sub["deferrals"].items() if d["until"] <= self.now}
        last = max((until for kind, until in over.items() if kind != "moratorium"), default=0)
        for kind in [kind for kind, until in over.items() if until < last]:  # it was over before, and nobody looked
            self.deferral_ends(name, sub, kind)
        before = self.owes(sub)
        for kind in [kind for kind, until in over.items() if until >= last]:
            self.deferral_ends(name, sub, kind)
        if last:
            self.hold_back(sub, before)

    def hold_back(self, sub: Sub, before: int) -> Answer | None:
        """A deferral has ended, and ``before`` was felt of the debts: while no onset is allowed, no more than that."""
        rises = self.owes(sub)
        if rises <= before:
            return None
        until, why = self.end_of_deferral(sub)
        if not why:
            return None
        held = sub["deferrals"].get("onset")
        until = max(until, held["until"]) if held else until
        sub["deferrals"]["onset"] = {"invoices": [], "up_to": before, "until": until}
        if self.owes(sub) == rises:  # an override: nothing is held back
            sub["deferrals"].pop("onset")
            sub["deferrals"].update({"onset": held} if held else {})
            return None
        return Answer({"deferred"}, 0 if self.outage(sub["area"]) else until, {why})

    def end_of_deferral(self, sub: Sub) -> tuple[int, str]:
        """When what a deferral has lifted may be felt."""
        return self.onset("debt", NO_TERMS, sub["area"], calendar=self.rules.guard_reblock)

    def look_at(self, name: str, sub: Sub, reason: str, *, anew: bool = False) -> None:
        """A reason that waits, or invoices of it, are judged again when it is time (or ``anew``), and may begin."""
        r = sub["reasons"][reason]
        began = []
        if r["pending"] and (anew or r["onset"] <= self.now):
            r["onset"], r["why"] = self.onset(reason, r, sub["area"])
            if r["onset"] <= self.now:
                self.begin(reason, r)
                began.append(reason)
        for invoice, wait in list(r["waits"].items()):
            if anew or wait["onset"] <= self.now:
                wait["onset"], wait["why"] = self.onset(reason, wait, sub["area"])
                if wait["onset"] <= self.now:
                    del r["waits"][invoice]
                    began.append(invoice)
        if WHOLE in began:
            r["invoices"], r["dues"] = [], {}
            r["waits"] = {i: w for i, w in r["waits"].items() if i == RAISE}
        if began:
            self.events.append(("block.began", name, reason))

    def deadline(self, name: str, sub: Sub, reason: str) -> None:
        """A deadline is told once, of a debt not while something lifts it; a pause ends with it."""
        r = sub["reasons"][reason]
        if r["pending"] or r["told"] or not r["deadline"] or r["deadline"] > self.now:
            return
        ends = self.lifted_until(sub, reason)
        if ends:
            r["deadline"] = max(ends) + self.own_days(reason) * DAY
            return
        r["told"] = True
        self.events.append(("pause.ended" if reason == "pause" else "deadline.reached", name, reason))
        if reason == "pause":
            del sub["reasons"][reason]

    def lifted_until(self, sub: Sub, name: str) -> list[int]:
        """The ends of all that lifts what has begun of a debt, where together they lift it below its level."""
        r = sub["reasons"][name]
        begun, level = {*self.begun(r)}, self.begun_level(r)
        if name not in DEBTS or (begun and self.felt(sub, name) >= level):
            return []
        if not begun:
            return [min(r["waits"][i]["onset"] for i in r["invoices"])]
        passed = {"moratorium", "onset"} if r["override"] else {""}
        waivers = [d for kind, d in sub["deferrals"].items() if kind not in passed]
        waivers += [sub["promise"]] if sub["promise"] and sub["promise"]["until"] > self.now else []
        lifting = [w for w in waivers if w.get("up_to", 0) < level and begun & {*(w["invoices"] or begun)}]
        return [w["until"] for w in lifting]

    def own_days(self, reason: str) -> int:
        return {"preventive": self.rules.preventive_days, "debt": self.rules.debt_days}.get(reason, 0)

    def judge_again(self, name: str, sub: Sub) -> None:
        """Something was said of the subscriber's area: what waits is judged again, and for how long it rests."""
        for reason in self.debts(sub):
            self.look_at(name, sub, reason, anew=True)
        self.rest(name, sub)
        self.look_at_onset(name, sub, anew=True)

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

    def look_at_onset(self, name: str, sub: Sub, *, anew: bool = False) -> None:
        """What a deferral's end would bring may begin."""
        held = sub["deferrals"].get("onset")
        if held and (anew or held["until"] <= self.now):
            held["until"], _ = self.end_of_deferral(sub)
            if held["until"] <= self.now:
                self.deferral_ends(name, sub, "onset")

    def begin(self, reason: str, r: Sub) -> None:
        r["pending"], r["why"] = False, ""
        if self.own_days(reason) and not r["deadline"]:
            r["deadline"] = self.now + self.own_days(reason) * DAY

    def promise_ends(self, name: str, sub: Sub, outcome: str) -> None:
        if sub["promise"]:
            sub["breached"] = sub["breached"] or outcome == "breached"
            self.events.append(("trust.ended", name, outcome))
        sub["promise"] = None

    def promise_is_kept(self, name: str, sub: Sub, outcome: str) -> None:
        """What a promise for all was given for is owed no more: it ends, or runs on where that would cut for others."""
        promise = sub["promise"]
        promise["outcome"] = promise["outcome"] or outcome
        if self.owes(sub) <= NOTICE:
            self.promise_ends(name, sub, promise["outcome"])

    def deferral_ends(self, name: str, sub: Sub, kind: str) -> None:
        del sub["deferrals"][kind]
        self.events.append(("defer.ended", name, kind))
