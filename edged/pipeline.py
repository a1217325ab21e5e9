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

from edged.answers import Answer, Ledger, refused, repeated, without
from edged.brake import Brake
from edged.carrying import Carrier
from edged.domain import command as c
from edged.domain.address import Addressing
from edged.domain.batch import Chunk
from edged.domain.brake import Limits
from edged.domain.model import Policy
from edged.domain.payment import Payees
from edged.domain.rejection import Rejected
from edged.envelope import Keyring
from edged.errors import KernelError, SetFull
from edged.gathering import Gathering
from edged.intake import Incoming, Refusal, Request, read
from edged.nft.enforcer import Enforcer
from edged.numberings import Numberings
from edged.observer import Observer
from edged.pages import Pages
from edged.petitions import Frequency, Petitions
from edged.plan import diff
from edged.questions import Questions
from edged.snapshot import Walk
from edged.store.rows import UNMARKED, Staged, Write
from edged.store.store import Store
from edged.territory import Territory
from edged.watched import Watched
from edged.workset import Workset

KEEP_IDS_MS = 30 * 86_400_000
"""How long a batch id is remembered (contract §1)."""


_UNBRAKED = Limits()
_NOBODY = Payees()
_USUAL = Frequency()


@dataclass(frozen=True, slots=True)
class Settings:
    """What the pipeline needs of the configuration."""

    gateway: str
    addressing: Addressing
    policy: Policy
    limits: Limits = _UNBRAKED
    max_payload: int = 4 << 20
    payees: Payees = _NOBODY
    frequency: Frequency = _USUAL


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
        *,
        trusted: Callable[[], bool] = lambda: True,
    ) -> None:
        self.settings = settings
        self.store = store
        self.enforcer = enforcer
        self.observer = observer
        self.clock = clock
        self.keyring = keyring or Keyring((), required=False, audience=(), max_ahead=0, max_age=0)
        self.trusted = trusted
        self.territory = Territory(store, settings.policy)
        self.brake = Brake(store, settings.limits, clock())
        self.pages = Pages(store, settings.payees)
        self.petitions = Petitions(settings.frequency)
        self.questions = Questions(
            store, enforcer, settings.addressing, lambda: self.territory.policy, clock, self.petitions
        )
        self.carrier = Carrier(settings.gateway, store, self.questions, self.territory, self.brake, self.pages)
        self.numberings = Numberings(store.numberings())
        self.gathering = Gathering(store, settings.gateway, self.brake)
        self.own_channel = f"gw/{settings.gateway}/cmd"
        """The channel whose numbering a snapshot's ``seq`` belongs to."""
        self.watched = Watched(settings.addressing)
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
        self.territory.begin(clock_trusted=self.trusted())
        answers = self._answer_all(messages, work, now)
        write = work.written(now, self.territory.policy)
        write.numberings.update(self.numberings.moved)
        if self._walk is not None or self.gathering.waiting:
            write.claimed = work.claimed
        if work.forgotten:
            # A complete snapshot says nothing of them any more; in one that still comes their names stay until it ends.
            gone = {name for name in work.forgotten if work.get(name) is None}
            write.visited = [x for x in write.visited if x[1] not in gone]
            write.visited += [(number, name) for number in self.gathering.coming for name in gone]
        for answer in answers:
            if answer.fresh:
                write.answers[answer.issuer, answer.document["id"]] = without(answer.document, work.forgotten)
        last = next((a.document["id"] for a in reversed(answers) if a.fresh), "")
        self.commit(write, now, {"last_batch": last} if last else {})
        self.numberings.keep()
        self.gathering.keep()
        self.brake.keep(now)
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
        work.load([*named, *_on_pages(fresh)])
        self.brake.begin(work.write, work.named, now)
        self.brake.snapshots = len(self.gathering.held)
        if (walk := self.walk()) is not None:
            around = work.around(cmd for i in fresh for cmd in i.commands if cmd.__class__ is c.Bind)
            walk.before(work, [*work.named, *around], now)
        for staged in self.gathering.waiting:  # whenever its turn comes, what came since is newer
            work.write.visited += [(staged.id, name) for name in work.named]
        work.prepare(cmd for i in fresh for cmd in i.commands if cmd.__class__ is c.Bind)
        answers: list[Answer] = []
        for item in items:
            if isinstance(item, Refusal):
                answers.append(refused(self.settings.gateway, item.rejected, now, item.name))
            elif item.head is None:
                work.mark = UNMARKED  # not of the numbered batch before it
                answers.append(self.carrier.run(item, work, now, fresh=False))
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
        answer = self.carrier.run(request, work, now, fresh=True)
        if gap:
            answer.document["gap"] = {"expected": gap.expected, "got": gap.got}
            stream = {"issuer": request.issuer, "stream": request.source, "epoch": head.epoch or ""}
            work.tell({"event": "resync.wanted", **stream, "expected": gap.expected, "got": gap.got})
        return answer

    def _chunk(self, request: Request, work: Workset, now: int) -> Answer:
        told = self.gathering.take(request, sum(self.store.totals.levels), work.write, now)
        self.begin_snapshots(work.write.staged)
        answer = Ledger(self.settings.gateway, request.name, now, 1).answer(request.issuer, fresh=False)
        answer.document.update(told)
        return answer

    def begin_snapshots(self, found: Sequence[Staged]) -> None:
        """From a snapshot's last chunk on what it includes is over: batches up to its ``seq`` come too late."""
        for staged in found:
            if staged.ready and not staged.held and staged.seq >= 0:
                self.numberings.advance(staged.issuer, self.own_channel, staged.epoch, staged.seq)

    def refuse(self, detail: str) -> Outcome:
        """The outcome for a payload that met a fault of our own: refused, so that it does not come again for ever."""
        answer = refused(self.settings.gateway, Rejected("malformed", detail), self.clock(), None)
        self._tell([answer])
        return Outcome([answer], True)

    def walk(self) -> Walk | None:
        """The walk through the snapshot that is being carried out, from its last chunk on."""
        staged = self.gathering.ready
        if self._walk is not None and self._walk.staged.id in self.gathering.under_way:
            return self._walk
        if staged is None:
            self._walk = None
        else:
            now = next(s for s in self.store.snapshots() if s.id == staged.id)  # with how far it has come
            self._walk = Walk(
                now, self.store, self.numberings, self.settings.addressing, lambda: self.territory.policy,
                self.own_channel, self.brake,
            )  # fmt: skip
        return self._walk

    def forget_walk(self) -> None:
        """The next look at it begins from what is committed."""
        self._walk = None

    @property
    def held(self) -> int:
        """How many commands and snapshots the brake holds."""
        return self.brake.held + len(self.gathering.held)

    # -- commit and enforce ----------------------------------------------------------------------------------

    def finish(self, work: Workset, now: int) -> bool:
        """Commit and enforce what nobody waits to be answered for."""
        write = work.written(now, self.territory.policy)
        self.commit(write, now, {})
        return self._enforce(work, write)

    def commit(self, write: Write, now: int, notes: dict[str, str]) -> None:
        began = time.perf_counter()
        try:
            self.store.commit(write, now, {**notes, **self.territory.notes()})
        except Exception:
            self.forget_walk()  # it has counted visits that did not happen
            self.territory.begin(clock_trusted=self.trusted())  # and others must not keep what was not written
            raise
        self.territory.keep()
        self.pages.keep(write)
        if write.held:
            self.brake.recount()
        self.observer.committed(time.perf_counter() - began)

    def _enforce(self, work: Workset, write: Write) -> bool:
        if self.watched:
            self.watched.touch(work.concerned())
        whole = work.met() if self.enforcer.loose else {}
        try:
            self.enforcer.apply(diff(write.entries), self.clock(), whole, write.entries)
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


def _on_pages(requests: Sequence[Request]) -> list[str]:
    """Whose payment data a group sets: loaded with the others, and yet nothing is said of their debts by it."""
    return [cmd.sub for r in requests for cmd in r.commands if isinstance(cmd, c.Page) and cmd.sub is not None]


def error_name(e: KernelError) -> str:
    """The errno's name for metrics."""
    return errno.errorcode.get(e.errno, "unanswered")
