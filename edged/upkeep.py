"""What happens to subscribers without a command from billing: timers, sweeps, a seen page, a human at the brake.

All of it goes the path of a command, :mod:`edged.pipeline`: decide, commit, plan, apply. For the keeper's thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from edged.directory import Directory
from edged.domain import command as c
from edged.domain import decide, effect, visitor
from edged.domain.audit import Decision as Audited
from edged.domain.levels import Level
from edged.domain.model import Policy, Subscriber, rfc3339
from edged.domain.rejection import Rejected
from edged.looks import Looks
from edged.pipeline import Pipeline
from edged.store import rulings
from edged.store.rows import Held, Write
from edged.territory import everywhere
from edged.workset import Workset

LOCAL_ISSUER = "local"
"""Who grants a promise when billing cannot be reached."""
_REFUSALS = {"trust_not_applicable": "not_applicable", "trust_spent": "spent"}
SWEEP = 500
"""Subscribers looked at in one step of a sweep, or of a release."""
Judge = Callable[[Subscriber, int, Policy], tuple[Subscriber, tuple[dict[str, Any], ...]]]


class Upkeep:
    """Each method raises StoreError with nothing changed."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self._looks = Looks()

    def expire(self) -> tuple[int, bool]:
        """Carry out what is due by now: (subscribers touched, whether the kernel has it)."""
        now = self._pipeline.clock()
        ids = self._pipeline.store.due(now)
        return (len(ids), self._each(ids, decide.expire, now)) if ids else (0, True)

    def sweep(self) -> tuple[int, bool]:
        """Go on through an area of which something was said: (subscribers looked at, whether the kernel has it)."""
        now = self._pipeline.clock()
        territory = self._pipeline.territory
        area, after = next(iter(territory.sweeps.items()), (None, 0))
        if area is None:
            return 0, True
        ids = self._pipeline.store.read(lambda db: rulings.in_area(db, everywhere(area), after, SWEEP))
        territory.begin(clock_trusted=self._pipeline.trusted())
        territory.swept(area, ids[-1] if ids else None)
        return max(len(ids), 1), self._each(ids, decide.reconsider, now)

    def _each(self, ids: Sequence[int], judge: Judge, now: int) -> bool:
        """Bring each of these up to now; returns whether the kernel has it."""
        if not self._pipeline.territory.notes():
            self._pipeline.territory.begin(clock_trusted=self._pipeline.trusted())
        policy = self._pipeline.territory.policy
        work = Workset(self._pipeline.store, self._pipeline.settings.addressing)
        work.load_ids(ids)
        self._meet(work, [k.sub.sub for k in work.all()], now)
        for known in work.all():
            before = known.sub
            after, events = judge(before, now, policy)
            work.set(known, after, events)
            if after is not before:
                work.write.audit.append(Audited(now, "timer", before.sub, before=before, after=after))
        return self._pipeline.finish(work, now)

    def _meet(self, work: Workset, names: Iterable[str], now: int) -> None:
        """Whom a snapshot being carried out has not come to is visited first, as for a command."""
        if (walk := self._pipeline.walk()) is not None:
            walk.before(work, names, now)

    def looked(self, address: str) -> bool | None:
        """A reminder was on a screen behind this address. Often enough, and it rests without having been sent away.

        So it keeps no device without a screen from plain http. Returns whether the kernel has it, None: not yet.
        """
        now = self._pipeline.clock()
        try:
            known = Directory(self._pipeline.store, self._pipeline.settings.addressing).find(None, address)
        except Rejected:
            return None
        rests = known.sub.notified > now  # whoever reads it again meanwhile moves nothing
        if rests or effect.level(known.sub, now) != Level.NOTICE or not self._looks.enough(known.id, known.sub.since):
            return None
        return self.seen(address)

    def seen(self, address: str) -> bool:
        """Somebody at this address has seen a notice: it rests now. Returns whether the kernel has it."""
        now = self._pipeline.clock()
        work = Workset(self._pipeline.store, self._pipeline.settings.addressing)
        try:
            known = work.find(None, address)
        except Rejected:
            return True
        self._meet(work, [known.sub.sub], now)
        after = decide.see_notice(known.sub, now, self._pipeline.territory.policy)
        if after == known.sub:
            return True
        work.set(known, after)
        enforced = self._pipeline.finish(work, now)
        self._looks.forget(known.id)
        return enforced

    def release_brake(self) -> tuple[int, int, bool]:
        """Carry out some of what the brake holds, oldest first: (how many, refused by now, whether the kernel has it).

        Held snapshots are let go with the first step.
        """
        now, work, held = self._begin_held()
        work.named = {h.sub for h in held}
        work.load(work.named)
        self._meet(work, work.named, now)
        self._pipeline.gathering.release(work.write, now)
        self._pipeline.begin_snapshots(work.write.staged)
        work.write.numberings.update(self._pipeline.numberings.moved)
        refused_ = self._pipeline.carrier.release(held, work, now)
        return len(held), refused_, self._end_held(work, now)

    def drop_held(self) -> int:
        """Drop some of what the brake holds; how many. Held snapshots are refused with the first step."""
        now, work, held = self._begin_held()
        for h in held:
            self._pipeline.brake.release(h.sub, h.reason)
            work.write.audit.append(Audited(now, "drop-held", h.sub, LOCAL_ISSUER, about=h.reason))
        found = self._pipeline.gathering.refuse_held(work.write, now)
        self._end_held(work, now)
        return len(held) + found

    def _begin_held(self) -> tuple[int, Workset, list[Held]]:
        now = self._pipeline.clock()
        held = self._pipeline.store.read(lambda db: rulings.held(db, SWEEP))
        work = Workset(self._pipeline.store, self._pipeline.settings.addressing)
        self._pipeline.territory.begin(clock_trusted=self._pipeline.trusted())
        self._pipeline.gathering.begin()
        self._pipeline.numberings.begin()
        self._pipeline.brake.begin(work.write, {h.sub for h in held}, now)
        work.write.unbraked = True
        return now, work, held

    def _end_held(self, work: Workset, now: int) -> bool:
        enforced = self._pipeline.finish(work, now)
        self._pipeline.gathering.keep()
        self._pipeline.numberings.keep()
        self._pipeline.brake.keep(now)
        self._pipeline.brake.reset()
        return enforced

    def request_trust(self, target: str, channel: str, *, alone: bool) -> tuple[dict[str, Any], bool]:
        """Somebody asks for a promise: (what came of it, whether the kernel has it). Raises Rejected.

        Billing is told, and answers with ``trust``. ``alone``: billing cannot be reached, and the provider lets us
        grant it ourselves; billing is told of that.
        """
        now = self._pipeline.clock()
        self._pipeline.territory.begin(clock_trusted=self._pipeline.trusted())
        work = Workset(self._pipeline.store, self._pipeline.settings.addressing)
        known = self._pipeline.questions.look_up(work, target)
        name = known.sub.sub
        self._meet(work, [name], now)
        told: dict[str, Any] = {"sub": name, "channel": channel}
        if not alone:
            work.tell({"event": "trust.requested", **told})
            work.shown.append(known)
            return {"sub": name, "status": "requested"}, self._pipeline.finish(work, now)
        before, cmd = known.sub, c.Trust(sub=name, channel=channel)
        view = decide.View(before, work.facts(known))
        try:
            made = decide.decide(cmd, view, now, self._pipeline.territory.policy, LOCAL_ISSUER)
        except Rejected as e:
            refused = Audited(
                now, "trust", name, LOCAL_ISSUER, status="rejected", code=e.code, before=before, after=before
            )
            work.write.audit.append(refused)
            self._pipeline.finish(work, now)
            raise
        work.put(name, made)
        until = rfc3339(made.until)
        if made.status != "unchanged":
            work.tell({"event": "trust.granted", **told, "until": until, "local": True})
            work.write.audit.append(Audited(now, "trust", name, LOCAL_ISSUER, before=before, after=made.sub))
        return {"sub": name, "status": "granted", "until": until}, self._pipeline.finish(work, now)

    def petition(self, address: str, channel: str, *, alone: bool) -> tuple[str, bool]:
        """Whoever has this address asks on the page for a promise: (what came of it, whether the kernel has it).

        ``requested`` or ``granted``; ``not_applicable`` or ``spent`` where the edge knows that none can be given;
        ``limited`` where this subscriber has asked too often; ``failed``. Only a request that could be granted is told
        to billing, and counts.
        """
        now = self._pipeline.clock()
        work = Workset(self._pipeline.store, self._pipeline.settings.addressing)
        try:
            known = work.find(None, address)
        except Rejected:
            return "not_applicable", True
        if known.sub.promise and known.sub.promise.until > now:
            return "granted", True
        code = visitor.why_not(known.sub, work.facts(known), now, self._pipeline.territory.policy)
        if code is not None:
            return _REFUSALS.get(code, "failed"), True
        if not self._pipeline.petitions.may(known.id, now):
            return "limited", True
        try:
            told, enforced = self.request_trust(known.sub.sub, channel, alone=alone)
        except Rejected as e:
            return _REFUSALS.get(e.code, "failed"), True
        self._pipeline.petitions.note(known.id, now)
        return str(told["status"]), enforced

    def ask(self) -> bool:
        """Ask for missing parts of snapshots, drop those whose rest stays away; returns whether there is an event."""
        now = self._pipeline.clock()
        write = Write(events=self._pipeline.gathering.overdue(now))
        self._pipeline.gathering.begin()
        for number in self._pipeline.gathering.forsaken(now):
            self._pipeline.gathering.drop(number, write)
        if write.events or write.unstaged:
            self._pipeline.commit(write, now, {})
            self._pipeline.gathering.keep()
        return bool(write.events)
