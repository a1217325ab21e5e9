"""The path of a command: parse ─► decide ─► commit ─► plan ─► apply ─► answer. Synchronous, for one thread.

Everything that changes what is in force goes through :class:`Pipeline`: MQTT messages, local commands, timers, a seen
notice. It loads what a group of commands touches, decides in memory, commits once (fsync), and hands one transaction
to the enforcer. A store error leaves everything as it was and is raised; a kernel error leaves the commit standing,
``enforced`` False, and a refill heals it.
"""

from __future__ import annotations

import errno
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from edged.domain import command as c
from edged.domain import decide
from edged.domain.address import Addressing, check_name
from edged.domain.model import Policy, rfc3339
from edged.domain.rejection import Rejected
from edged.errors import KernelError, SetFull
from edged.nft.enforcer import Enforcer
from edged.observer import Observer
from edged.plan import diff
from edged.questions import Questions
from edged.store.rows import Write
from edged.store.store import Store
from edged.workset import Workset

KEEP_IDS_MS = 30 * 86_400_000
"""How long a batch id is remembered (contract §1)."""

FULL_RESULTS = 50
"""Batches up to this size are answered command by command."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What the pipeline needs of the configuration."""

    gateway: str
    addressing: Addressing
    policy: Policy
    max_payload: int = 4 << 20


@dataclass(slots=True)
class Answer:
    """The ack document of one payload; ``enforced`` is filled in when the kernel has it."""

    document: dict[str, Any]
    operations: list[tuple[str, str]] = field(default_factory=list)
    """(op, status) of each command, for the observer."""
    fresh: bool = True
    """Whether it has to be remembered under its batch id."""


@dataclass(slots=True)
class Outcome:
    """What became of a group of payloads."""

    answers: list[Answer]
    enforced: bool
    gardens_changed: bool = False


class Pipeline:
    """``clock`` gives Unix milliseconds. Not safe for several threads."""

    def __init__(
        self, settings: Settings, store: Store, enforcer: Enforcer, observer: Observer, clock: Callable[[], int]
    ) -> None:
        self.settings = settings
        self.store = store
        self.enforcer = enforcer
        self.observer = observer
        self.clock = clock
        self.questions = Questions(store, enforcer, settings.addressing, settings.policy, clock)
        self.last_error = ""
        self.doubt = "error"
        """Why the last change was not enforced: error or growth."""
        self.last_seconds = 0.0
        """What the last group of commands took."""
        self.last_batch = store.note("last_batch")

    # -- commands --------------------------------------------------------------------------------------------

    def process(self, payloads: Sequence[bytes]) -> Outcome:
        """Everything the payloads ask for, in order, as one commit and one transaction.

        Raises StoreError with nothing changed. A kernel error is not raised: ``Outcome.enforced`` is False then.
        """
        now, began = self.clock(), time.perf_counter()
        work = Workset(self.store, self.settings.addressing)
        answers = self._answer_all(payloads, work, now)
        write = work.written(now, self.settings.policy)
        for answer in answers:
            name = answer.document["id"]
            if answer.fresh and name is not None:
                write.answers[name] = _without(answer.document, work.forgotten)
        last = next((a.document["id"] for a in reversed(answers) if a.fresh), "")
        self._commit(write, now, {"last_batch": last} if last else {})
        self.last_batch = last or self.last_batch
        enforced = self._enforce(work, write)
        self._tell(answers)
        self.last_seconds = time.perf_counter() - began
        return Outcome(answers, enforced, bool(write.gardens))

    def _tell(self, answers: Sequence[Answer]) -> None:
        """Tell the observer: only of what is committed, so that a retried group is counted once."""
        for answer in answers:
            for op, status in answer.operations:
                self.observer.command(op, status)
            for result in answer.document["results"] if answer.operations else ():
                if "code" in result:
                    self.observer.rejection(result["code"])

    def _answer_all(self, payloads: Sequence[bytes], work: Workset, now: int) -> list[Answer]:
        read: list[c.Batch | dict[str, Any] | Rejected] = []
        for payload in payloads:
            try:
                read.append(c.read_payload(payload, self.settings.max_payload))
            except Rejected as e:
                read.append(e)
        known = self.store.answers([b.id for b in read if isinstance(b, c.Batch)])
        work.load(_names(read))
        answers: list[Answer] = []
        for item in read:
            if isinstance(item, Rejected):
                answers.append(self._refused(item, now, item.batch))
            elif isinstance(item, c.Batch):
                answer = self._known(known[item.id]) if item.id in known else self._batch(item, work, now)
                known[item.id] = answer.document
                answers.append(answer)
            else:
                answers.append(self._bare(item, work, now))
        return answers

    def _batch(self, batch: c.Batch, work: Workset, now: int) -> Answer:
        if batch.expires is not None and batch.expires.timestamp() * 1000 <= now:
            detail = f"the batch expired at {batch.expires.isoformat()}"
            return self._refused(Rejected("expired", detail), now, batch.id)
        return self._run(batch.commands, work, now, batch.id, batch.issuer or "")

    def _bare(self, command: dict[str, Any], work: Workset, now: int) -> Answer:
        """A single command without a batch: it gets an id of its own and is never a duplicate."""
        answer = self._run([command], work, now, f"bare-{uuid.uuid4().hex[:16]}", "")
        answer.fresh = False
        return answer

    @staticmethod
    def _known(document: dict[str, Any]) -> Answer:
        return Answer({**document, "duplicate": True}, fresh=False)

    def _refused(self, e: Rejected, now: int, name: str | None = None) -> Answer:
        result = {"i": 0, "sub": None, "status": "rejected", "code": e.code, "detail": e.detail}
        return Answer(self._document(name, now, [result], 1), [("unknown", "rejected")], fresh=False)

    def _run(self, commands: list[Any], work: Workset, now: int, name: str | None, issuer: str) -> Answer:
        results: list[dict[str, Any]] = []
        operations: list[tuple[str, str]] = []
        for i, raw in enumerate(commands):
            result = self._one(raw, work, now, issuer)
            op = raw.get("op") if isinstance(raw, dict) else None
            operations.append((str(op) if op in c.OPS else "unknown", result["status"]))
            results.append({"i": i, **result})
        return Answer(self._document(name, now, results, len(commands)), operations)

    def _one(self, raw: Any, work: Workset, now: int, issuer: str) -> dict[str, Any]:
        named = raw.get("sub") if isinstance(raw, dict) else None
        sub = named if isinstance(named, str) and named.isprintable() else None  # half a surrogate pair is no UTF-8
        try:
            cmd = c.read_command(raw)
            if not isinstance(cmd, c.GardenList) and cmd.sub is not None:
                check_name(cmd.sub)
            return {"sub": sub, **self._carry_out(cmd, work, now, issuer)}
        except Rejected as e:
            return {"sub": sub, "status": "rejected", "code": e.code, "detail": e.detail}

    def refuse(self, detail: str) -> Outcome:
        """The outcome for a payload that met a fault of our own: refused, so that it does not come again for ever."""
        answer = self._refused(Rejected("malformed", detail), self.clock())
        self._tell([answer])
        return Outcome([answer], True)

    def _carry_out(self, cmd: c.Command, work: Workset, now: int, issuer: str) -> dict[str, Any]:
        match cmd:
            case c.Bind():
                return {"status": work.bind(cmd, now)}
            case c.Unbind():
                return {"status": work.unbind(cmd)}
            case c.Forget():
                return {"status": work.forget(cmd)}
            case c.GardenList():
                return {"status": work.garden(cmd)}
            case c.Query():
                found = work.find(cmd.sub, cmd.address)
                told = self.questions.describe(found.sub, found.addresses, work.facts(found), now)
                return {"sub": found.sub.sub, "status": "applied", "record": told}
            case _:
                known = work.get(cmd.sub)
                if isinstance(cmd, c.Block | c.Paid):
                    work.check_literal(cmd.sub)
                view = decide.View(known.sub if known else None, work.facts(known))
                made = decide.decide(cmd, view, now, self.settings.policy, issuer)
                work.put(cmd.sub, made)
                out: dict[str, Any] = {"status": made.status}
                if made.detail:
                    out["detail"] = made.detail
                if made.until:
                    out["until"] = rfc3339(made.until)
                if made.why:
                    out["why"] = made.why
                return out

    def _document(self, name: str | None, now: int, results: list[dict[str, Any]], total: int) -> dict[str, Any]:
        summary = {"applied": 0, "unchanged": 0, "deferred": 0, "rejected": 0, "held": 0}
        for r in results:
            summary[r["status"]] += 1
        if total > FULL_RESULTS:
            results = [r for r in results if r["status"] != "applied" or "record" in r]
        return {
            "v": 1,
            "id": name,
            "gateway": self.settings.gateway,
            "duplicate": False,
            "received": rfc3339(now),
            "summary": summary,
            "results": results,
        }

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
            work.set(known.sub.sub, after, events)
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
        work.set(known.sub.sub, after, ())
        return self._finish(work, now)

    def _finish(self, work: Workset, now: int) -> bool:
        """Commit and enforce what nobody waits to be answered for."""
        write = work.written(now, self.settings.policy)
        self._commit(write, now, {})
        return self._enforce(work, write)

    # -- commit and enforce ----------------------------------------------------------------------------------

    def _commit(self, write: Write, now: int, notes: dict[str, str]) -> None:
        began = time.perf_counter()
        self.store.commit(write, now, notes)
        self.observer.committed(time.perf_counter() - began)

    def _enforce(self, work: Workset, write: Write) -> bool:
        before, after = work.transition(write)
        try:
            self.enforcer.apply(diff(before, after), self.clock())
        except SetFull:
            self.doubt = "growth"
            return False
        except KernelError as e:
            self.doubt = "error"
            self.last_error = str(e)
            self.observer.kernel_error(error_name(e))
            return False
        return self.enforcer.synced


def _names(read: Sequence[c.Batch | dict[str, Any] | Rejected]) -> list[str]:
    """The subscribers that a group of payloads names, for one bulk load."""
    out: list[str] = []
    for item in read:
        commands = item.commands if isinstance(item, c.Batch) else [item] if isinstance(item, dict) else []
        # What is not printable is refused later, and half a surrogate pair is nothing SQLite could be asked for.
        subs = (r.get("sub") for r in commands if isinstance(r, dict))
        out += [sub for sub in subs if isinstance(sub, str) and sub.isprintable()]
    return out


def _without(document: dict[str, Any], forgotten: set[str]) -> dict[str, Any]:
    """An answer as it may be kept: nothing of a forgotten subscriber stays (LGPD)."""
    if not forgotten:
        return document
    return {**document, "results": [r for r in document["results"] if r.get("sub") not in forgotten]}


def error_name(e: KernelError) -> str:
    """The errno's name for metrics."""
    return errno.errorcode.get(e.errno, "unanswered")
