"""The path of a command: verify ─► parse ─► decide ─► commit ─► plan ─► apply ─► answer. Synchronous, for one thread.

Everything that changes what is in force goes through :class:`Pipeline`: MQTT messages, local commands, timers, a seen
notice. It loads what a group of commands touches, decides in memory, commits once (fsync), and hands one transaction
to the enforcer. A store error leaves everything as it was and is raised; a kernel error leaves the commit standing,
``enforced`` False, and a refill heals it.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from edged.answers import Answer, Ledger, refused, repeated, without
from edged.domain import command as c
from edged.domain import decide
from edged.domain.address import Addressing, check_name
from edged.domain.batch import Chunk
from edged.domain.model import Policy, rfc3339
from edged.domain.rejection import Rejected
from edged.envelope import Keyring
from edged.errors import KernelError, SetFull
from edged.gathering import Gathering
from edged.intake import Incoming, Refusal, Refused, Request, read
from edged.nft.enforcer import Enforcer
from edged.numberings import Numberings
from edged.observer import Observer
from edged.plan import diff
from edged.questions import Questions
from edged.snapshot import Walk
from edged.store.rows import UNMARKED, Write
from edged.store.store import Store
from edged.workset import Workset

KEEP_IDS_MS = 30 * 86_400_000
"""How long a batch id is remembered (contract §1)."""


_UNNAMED = frozenset({"garden", "digest"})
"""Operations that are on no subscriber."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What the pipeline needs of the configuration."""

    gateway: str
    addressing: Addressing
    policy: Policy
    max_payload: int = 4 << 20


@dataclass(slots=True)
class Outcome:
    """What became of a group of payloads."""

    answers: list[Answer]
    enforced: bool
    gardens_changed: bool = False


class Pipeline:
    """``clock`` gives Unix milliseconds. Not safe for several threads. ``keyring`` may be replaced between calls."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        enforcer: Enforcer,
        observer: Observer,
        clock: Callable[[], int],
        keyring: Keyring | None = None,
    ) -> None:
        self.settings = settings
        self.store = store
        self.enforcer = enforcer
        self.observer = observer
        self.clock = clock
        self.keyring = keyring or Keyring((), required=False, audience=(), max_ahead=0, max_age=0)
        self.questions = Questions(store, enforcer, settings.addressing, settings.policy, clock)
        self.numberings = Numberings(store.numberings())
        self.gathering = Gathering(store, settings.gateway)
        self.own_channel = f"gw/{settings.gateway}/cmd"
        """The channel whose numbering a snapshot's ``seq`` belongs to."""
        self._walk: Walk | None = None
        self.last_error = ""
        self.doubt = "error"
        """Why the last change was not enforced: error or growth."""
        self.last_seconds = 0.0
        """What the last group of commands took."""
        self.last_batch = store.note("last_batch")

    # -- commands --------------------------------------------------------------------------------------------

    def process(self, messages: Sequence[Incoming]) -> Outcome:
        """Everything the messages ask for, in order, as one commit and one transaction.

        Raises StoreError with nothing changed. A kernel error is not raised: ``Outcome.enforced`` is False then.
        """
        now, began = self.clock(), time.perf_counter()
        work = Workset(self.store, self.settings.addressing)
        self.numberings.begin()
        self.gathering.begin()
        answers = self._answer_all(messages, work, now)
        write = work.written(now, self.settings.policy)
        write.numberings.update(self.numberings.moved)
        if self._walk is not None:
            write.claimed = work.claimed
        for answer in answers:
            if answer.fresh:
                write.answers[answer.issuer, answer.document["id"]] = without(answer.document, work.forgotten)
        last = next((a.document["id"] for a in reversed(answers) if a.fresh), "")
        try:
            self._commit(write, now, {"last_batch": last} if last else {})
        except Exception:
            self.forget_walk()  # it has counted visits that did not happen
            raise
        self.numberings.keep()
        self.gathering.keep()
        self.last_batch = last or self.last_batch
        enforced = self._enforce(work, write)
        self._tell(answers)
        self.last_seconds = time.perf_counter() - began
        return Outcome(answers, enforced, bool(write.gardens))

    def _tell(self, answers: Sequence[Answer]) -> None:
        """Tell the observer: only of what is committed, so that a retried group is counted once."""
        for answer in answers:
            for (op, status), n in answer.operations.items():
                self.observer.command(op, status, n)
            for code, n in answer.codes.items():
                self.observer.rejection(code, n)

    def _answer_all(self, messages: Sequence[Incoming], work: Workset, now: int) -> list[Answer]:
        limit = self.settings.max_payload
        items = [read(m, self.keyring, limit, now) for m in messages]
        known = self.store.answers([(i.issuer, i.name) for i in items if isinstance(i, Request) and i.head])
        fresh = [i for i in items if isinstance(i, Request) and (i.issuer, i.name) not in known]
        work.named = set(named := _named(fresh))
        work.load(named)
        if (walk := self.walk()) is not None:
            walk.before(work, work.named, now)
        work.prepare(cmd for i in fresh for cmd in i.commands if cmd.__class__ is c.Bind)
        answers: list[Answer] = []
        for item in items:
            if isinstance(item, Refusal):
                answers.append(refused(self.settings.gateway, item.rejected, now, item.name))
            elif item.head is None:
                answers.append(self._run(item, work, now, fresh=False))
            elif (item.issuer, item.name) in known:
                answers.append(repeated(known[item.issuer, item.name]))
            else:
                answer = self._batch(item, work, now)
                if answer.fresh:
                    known[item.issuer, item.name] = answer.document
                answers.append(answer)
        return answers

    def _batch(self, request: Request, work: Workset, now: int) -> Answer:
        head = request.head
        assert head is not None  # noqa: S101  a bare command goes another way
        try:
            if request.late:
                raise request.late
            if isinstance(head, Chunk):
                return self._chunk(request, work, now)
            gap, work.mark = None, UNMARKED
            if head.seq is not None:
                gap, work.mark = self.numberings.take(request.issuer, request.source, head.epoch or "", head.seq)
        except Rejected as e:
            return refused(self.settings.gateway, e, now, request.name)
        answer = self._run(request, work, now, fresh=True)
        if gap:
            answer.document["gap"] = {"expected": gap.expected, "got": gap.got}
            stream = {"issuer": request.issuer, "stream": request.source, "epoch": head.epoch or ""}
            work.tell({"event": "resync.wanted", **stream, "expected": gap.expected, "got": gap.got})
        return answer

    def _chunk(self, request: Request, work: Workset, now: int) -> Answer:
        told = self.gathering.take(request, sum(self.store.totals.levels), work.write, now)
        answer = Ledger(self.settings.gateway, request.name, now, 1).answer(request.issuer, fresh=False)
        answer.document.update(told)
        return answer

    def _run(self, request: Request, work: Workset, now: int, *, fresh: bool) -> Answer:
        ledger = Ledger(self.settings.gateway, request.name, now, len(request.commands))
        for i, cmd in enumerate(request.commands):
            if isinstance(cmd, Refused):
                ledger.refuse(i, cmd.sub, cmd.op, cmd.rejected)
                continue
            op = c.op_of(cmd)
            sub = None if op in _UNNAMED else cmd.sub  # type: ignore[union-attr]
            try:
                if sub is not None:
                    check_name(sub)
                self._carry_out(i, cmd, op, work, now, request.issuer, ledger)
            except Rejected as e:
                ledger.refuse(i, sub, op, e)
        return ledger.answer(request.issuer, fresh=fresh)

    def refuse(self, detail: str) -> Outcome:
        """The outcome for a payload that met a fault of our own: refused, so that it does not come again for ever."""
        answer = refused(self.settings.gateway, Rejected("malformed", detail), self.clock(), None)
        self._tell([answer])
        return Outcome([answer], True)

    def _carry_out(self, i: int, cmd: c.Command, op: str, work: Workset, now: int, issuer: str, ledger: Ledger) -> None:
        match cmd:
            case c.Block() | c.Unblock() | c.Paid() | c.Trust() | c.Untrust():
                known = work.get(cmd.sub)
                if known is None and isinstance(cmd, c.Block | c.Paid):
                    work.check_literal(cmd.sub)
                view = decide.View(known.sub if known else None, work.facts(known))
                made = decide.decide(cmd, view, now, self.settings.policy, issuer)
                work.put(cmd.sub, made)
                ledger.note(i, cmd.sub, op, made.status, _told(made))
            case c.Bind():
                ledger.note(i, cmd.sub, op, work.bind(cmd, now))
            case c.Unbind():
                ledger.note(i, cmd.sub, op, work.unbind(cmd))
            case c.Forget():
                ledger.note(i, cmd.sub, op, work.forget(cmd))
            case c.GardenList():
                ledger.note(i, None, op, work.garden(cmd))
            case c.Query():
                found = work.find(cmd.sub, cmd.address)
                told = self.questions.describe(found.sub, found.keys, work.facts(found), now)
                ledger.note(i, found.sub.sub, op, "applied", {"record": told})
            case c.Digest():
                totals = self.store.totals
                told = {"hash": totals.hash, "shards": totals.digests()}
                ledger.note(i, None, op, "applied", {"record": told})

    def walk(self) -> Walk | None:
        """The walk through the oldest snapshot that is complete."""
        staged = self.gathering.ready
        if staged is None:
            self._walk = None
        elif self._walk is None or self._walk.staged.id != staged.id:
            now = next(s for s in self.store.snapshots() if s.id == staged.id)  # with how far it has come
            settings = self.settings
            self._walk = Walk(now, self.store, self.numberings, settings.addressing, settings.policy, self.own_channel)
        return self._walk

    def forget_walk(self) -> None:
        """The next look at it begins from what is committed."""
        self._walk = None

    # -- the other ways in -----------------------------------------------------------------------------------

    def expire(self) -> tuple[int, bool]:
        """Carry out what is due by now: (subscribers touched, whether the kernel has it)."""
        now = self.clock()
        ids = self.store.due(now)
        if not ids:
            return 0, True
        work = Workset(self.store, self.settings.addressing)
        work.load_ids(ids)
        for known in work.all():
            after, events = decide.expire(known.sub, now)
            work.set(known, after, events)
        return len(ids), self._finish(work, now)

    def seen(self, address: str) -> bool:
        """A page was looked at from this address; a notice then rests. Returns whether the kernel has it."""
        now = self.clock()
        work = Workset(self.store, self.settings.addressing)
        try:
            known = work.find(None, address)
        except Rejected:
            return True
        after = decide.see_notice(known.sub, now, self.settings.policy)
        if after == known.sub:
            return True
        work.set(known, after)
        return self._finish(work, now)

    def _finish(self, work: Workset, now: int) -> bool:
        """Commit and enforce what nobody waits to be answered for."""
        write = work.written(now, self.settings.policy)
        self._commit(write, now, {})
        return self._enforce(work, write)

    def ask(self) -> bool:
        """Ask for missing parts of snapshots, drop those whose rest stays away; returns whether there is an event."""
        now = self.clock()
        write = Write(events=self.gathering.overdue(now))
        self.gathering.begin()
        for number in self.gathering.forsaken(now):
            self.gathering.drop(number, write)
        if write.events or write.unstaged:
            self._commit(write, now, {})
            self.gathering.keep()
        return bool(write.events)

    # -- commit and enforce ----------------------------------------------------------------------------------

    def _commit(self, write: Write, now: int, notes: dict[str, str]) -> None:
        began = time.perf_counter()
        self.store.commit(write, now, notes)
        self.observer.committed(time.perf_counter() - began)

    def _enforce(self, work: Workset, write: Write) -> bool:
        whole = work.met() if self.enforcer.loose else {}
        try:
            self.enforcer.apply(diff(write.entries), self.clock(), whole)
        except SetFull:
            self.doubt = "growth"
            return False
        except KernelError as e:
            self.doubt = "error"
            self.last_error = str(e)
            self.observer.kernel_error(error_name(e))
            return False
        return self.enforcer.synced


def _named(requests: Sequence[Request]) -> list[str]:
    """The subscribers that a group names, for one bulk load."""
    return [cmd.sub for r in requests for cmd in r.commands if isinstance(cmd, c.OnSubscriber)]


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


def error_name(e: KernelError) -> str:
    """The errno's name for metrics."""
    return errno.errorcode.get(e.errno, "unanswered")
