"""One batch's commands on a workset, each standing or falling alone; the results go into a ledger.

What a command does to a subscriber is decided by domain/, what it does to addresses by the workset, what it says of
areas by the territory; the brake may keep a decision from being put.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from edged.answers import Answer, Ledger
from edged.brake import Brake
from edged.domain import brake, decide, roles
from edged.domain import command as c
from edged.domain.address import check_name
from edged.domain.audit import Decision as Audited
from edged.domain.model import Subscriber, rfc3339
from edged.domain.region import NOWHERE
from edged.domain.rejection import Rejected
from edged.intake import Refused, Request
from edged.pages import Pages
from edged.questions import Questions
from edged.store.rows import Held, Known
from edged.store.store import Store
from edged.territory import Territory
from edged.workset import Workset

_UNNAMED = frozenset({"garden", "digest", "moratorium", "end_moratorium", "outage", "end_outage", "calendar"})
"""Operations that are on no subscriber."""
_ASKING = (c.Query, c.Digest)


_NOBODY = (None, None)


class Origin(NamedTuple):
    """When, by whom and in which batch something is decided. ``at``: Unix ms."""

    at: int
    issuer: str
    batch: str


class Carrier:
    """Carries out commands. Changes nothing but the workset, territory and brake of the group."""

    def __init__(
        self, gateway: str, store: Store, questions: Questions, territory: Territory, brake_: Brake, pages: Pages
    ) -> None:
        self._gateway = gateway
        self._store = store
        self._questions = questions
        self._territory = territory
        self._brake = brake_
        self._pages = pages

    def run(self, request: Request, work: Workset, now: int, *, fresh: bool) -> Answer:
        """All commands of a batch, in order."""
        ledger = Ledger(self._gateway, request.name, now, len(request.commands))
        origin = Origin(now, request.issuer, request.name)
        for i, cmd in enumerate(request.commands):
            if isinstance(cmd, Refused):
                ledger.refuse(i, cmd.sub, cmd.op, cmd.rejected)
                self._record(work, origin, cmd.op, cmd.sub, _NOBODY, ("rejected", cmd.rejected.code, ""), None)
                continue
            op = c.op_of(cmd)
            sub = None if op in _UNNAMED else cmd.sub  # type: ignore[union-attr]
            before = None
            try:
                if sub is not None:
                    check_name(sub)
                before = self._now(work, cmd)
                status, more = self._one(cmd, work, now, request)
            except Rejected as e:
                ledger.refuse(i, sub, op, e)
                if not isinstance(cmd, _ASKING):
                    self._record(work, origin, op, sub, (before, before), ("rejected", e.code, ""), cmd)
                continue
            ledger.note(i, sub, op, status, more)
            if not isinstance(cmd, _ASKING):
                code, why = ("brake" if status == "held" else ""), (more or {}).get("why", "")
                self._record(work, origin, op, sub, (before, self._now(work, cmd)), (status, code, why), cmd)
        return ledger.answer(request.issuer, fresh=fresh)

    @staticmethod
    def _now(work: Workset, cmd: c.Command) -> Subscriber | None:
        known = work.get(cmd.sub) if isinstance(cmd, c.OnSubscriber) else None
        return known.sub if known else None

    def _one(self, cmd: c.Command, work: Workset, now: int, request: Request) -> tuple[str, dict[str, Any] | None]:
        """(status, the rest of the result). Raises Rejected."""
        if not isinstance(cmd, c.OnSubscriber):
            return self._aside(cmd, work, now, request.issuer)
        holds = bool(self._brake.held or work.write.held)
        if isinstance(cmd, c.Forget):
            self._check_forget(cmd, work, request, holds=holds)
        try:
            status, more = self._on_subscriber(cmd, work, now, request.issuer)
        except Rejected as e:
            if e.code != "unknown_subscriber" or not holds or not self._brake.void(cmd):
                raise
            return "applied", {"detail": "what the brake held of it is dropped"}  # which was all there was of it
        if holds and status != "held" and self._brake.void(cmd) and status == "unchanged":
            return "applied", {"detail": "what the brake held of it is dropped"}
        return status, more

    def _check_forget(self, cmd: c.Forget, work: Workset, request: Request, *, holds: bool) -> None:
        """Raises Rejected where a reason would go with the subscriber that this issuer may not clear."""
        known = work.get(cmd.sub)
        names = set(known.sub.reasons) if known else set()
        if holds:
            names |= self._brake.reasons(cmd.sub)
        for name in sorted(names):
            if not roles.may(request.roles, "unblock", name):
                told = roles.refusal(request.roles, "unblock", name)
                raise Rejected("not_authorized", f"forget: {name} would go with it, and {told}")

    def _aside(
        self, cmd: c.OnArea | c.Query | c.Digest | c.GardenList | c.Page, work: Workset, now: int, issuer: str
    ) -> tuple[str, dict[str, Any] | None]:
        """What changes no subscriber."""
        match cmd:
            case c.Query():
                found = work.find(cmd.sub, cmd.address)
                told = self._questions.describe(found, work.facts(found), now)
                return "applied", {"sub": found.sub.sub, "record": told}
            case c.Digest():
                totals = self._store.totals
                return "applied", {"record": {"hash": totals.hash, "shards": totals.digests()}}
            case c.GardenList():
                return work.garden(cmd), None
            case c.Page():
                return self._pages.carry_out(cmd, work, now)
            case _:
                return self._territory.carry_out(cmd, now, issuer, work.write), None

    def _on_subscriber(
        self, cmd: c.OnSubscriber, work: Workset, now: int, issuer: str
    ) -> tuple[str, dict[str, Any] | None]:
        match cmd:
            case c.Bind():
                return self._bind(cmd, work, now), None
            case c.Unbind():
                return work.unbind(cmd), None
            case c.Forget():
                return work.forget(cmd), None
        known = work.get(cmd.sub)
        block = cmd if isinstance(cmd, c.Block) else None
        if block or (known is None and isinstance(cmd, c.Paid)):
            work.check_literal(cmd.sub)
        made = self._decide(cmd, known, work, now, issuer)
        if block and self._brake.limits.enabled and (why := self._stopped(block, known, made, work, now, issuer)):
            return "held", {"code": "brake", "detail": f"{why}; look at it, then edged release-brake or drop-held"}
        work.put(cmd.sub, made, claim=block is not None)
        if isinstance(cmd, c.Paid):
            self._pages.paid(cmd, made.status, work, now)
        return made.status, _told(made)

    def _stopped(
        self, cmd: c.Block, known: Known | None, made: decide.Decision, work: Workset, now: int, issuer: str
    ) -> str:
        """Why the brake holds a command, empty where it passes."""
        if not brake.counts(known.sub if known else None, made.sub, now):
            return ""
        first = not self._brake.closed and not work.write.held
        members = sum(self._store.totals.levels) + work.made
        why = self._brake.stops(cmd, issuer, members, now)
        if why and first:
            work.tell({"event": "brake.closed", "why": why})
        return why

    def _decide(self, cmd: c.OnState, known: Known | None, work: Workset, now: int, issuer: str) -> decide.Decision:
        view = decide.View(known.sub if known else None, work.facts(known))
        return decide.decide(cmd, view, now, self._territory.policy, issuer)

    def _bind(self, cmd: c.Bind, work: Workset, now: int) -> str:
        status = work.bind(cmd, now)
        policy = self._territory.policy
        known = work.get(cmd.sub)
        if cmd.area is not None and policy.regions is not NOWHERE and known is not None:
            after, events = decide.reconsider(known.sub, now, policy)
            if after is not known.sub:
                work.set(known, after, events)
        return status

    def release(self, held: Iterable[Held], work: Workset, now: int) -> int:
        """Carry out what the brake held; returns how many are refused by now."""
        refused = 0
        for item in held:
            self._brake.release(item.sub, item.reason)
            cmd = c.read_command(item.command.encode())
            assert isinstance(cmd, c.Block)  # noqa: S101  nothing else is held
            before = self._now(work, cmd)
            try:
                known = work.get(cmd.sub)
                work.check_literal(cmd.sub)
                made = self._decide(cmd, known, work, now, item.issuer)
                work.put(cmd.sub, made, claim=True)
                status, code = made.status, ""
            except Rejected as e:
                refused += 1
                status, code = "rejected", e.code
            origin, states = Origin(now, item.issuer, "release-brake"), (before, self._now(work, cmd))
            self._record(work, origin, "block", cmd.sub, states, (status, code, ""), cmd)
        return refused

    @staticmethod
    def _record(
        work: Workset,
        origin: Origin,
        op: str,
        sub: str | None,
        states: tuple[Subscriber | None, Subscriber | None],
        ended: tuple[str, str, str],
        cmd: c.Command | None,
    ) -> None:
        """A decision for the audit trail. ``states``: before and after; ``ended``: status, code, what it waits for."""
        override = cmd.override if isinstance(cmd, c.Block) else None
        work.write.audit.append(
            Audited(
                origin.at,
                op,
                sub,
                origin.issuer,
                origin.batch,
                _about(cmd),
                getattr(cmd, "ref", None) or "",
                *ended,
                (override.author, override.motive) if override else (),
                *states,
            )
        )


def _about(cmd: c.Command | None) -> str:
    match cmd:
        case c.Block() | c.Unblock():
            return cmd.reason
        case c.Defer():
            return cmd.kind
        case c.Trust():
            return cmd.basis
        case c.StartMoratorium() | c.EndMoratorium() | c.SetHolidays():
            return cmd.area
        case c.StartOutage() | c.EndOutage():
            return cmd.id
        case c.GardenList():
            return cmd.name
        case c.Page():
            return ("payment data set" if cmd.fields else "payment data removed") if cmd.sub else cmd.reason or ""
    return ""


def _told(made: decide.Decision) -> dict[str, Any] | None:
    """What an answer says of a decision beside its status."""
    if not made.detail and not made.until:
        return None
    out: dict[str, Any] = {"detail": made.detail} if made.detail else {}
    if made.until:
        out["until"] = rfc3339(made.until)
    if made.why:
        out["why"] = made.why
    return out
