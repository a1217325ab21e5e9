"""What batches do, told as simply as it can be told: dictionaries, no store, no kernel, no plan.

It knows the part of the contract that :mod:`tests.torture.stream` speaks, and nothing of how edged does it.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.torture.steps import DEBTS, Chunk, Command, Sent, Settle, Step, Tick
from tests.torture.subscriber import LEVEL, WHOLE, Reason, Subscriber

STATUSES = ("applied", "unchanged", "deferred", "rejected", "held")
LISTED = 50
"""A larger batch is answered with what was not applied only (contract §1)."""


class No(Exception):
    """A command refused, with the code."""


@dataclass
class World:
    """Everything after the steps carried out so far."""

    now: int
    subs: dict[str, Subscriber] = field(default_factory=dict)
    holder: dict[str, str] = field(default_factory=dict)
    events: list[dict[str, Any]] = field(default_factory=list)
    numberings: dict[tuple[str, str], tuple[str, int]] = field(default_factory=dict)
    """(issuer, channel) -> the highest (epoch, seq)."""
    answers: dict[str, dict[str, Any]] = field(default_factory=dict)
    """By batch id: summary and results as the contract gives them, without words for people."""

    snapshots: dict[str, set[str]] = field(default_factory=dict)
    """Snapshots that are complete -> digests of the states in which they may have been finished."""
    _parts: dict[int, Chunk] = field(default_factory=dict)
    """Of the snapshot that is being gathered."""
    _last: str = ""
    """The snapshot that is being carried out."""

    def step(self, step: Step) -> None:
        """Carry out what comes next; a batch that was carried out before changes nothing."""
        if isinstance(step, Tick):
            self._tick(step.now)
        elif isinstance(step, Chunk):
            self._chunk(step)
        elif isinstance(step, Settle):
            self._last = ""
        elif step.name not in self.answers:
            self.answers[step.name] = self._batch(step)
        if self._last:
            self.snapshots[self._last].add(self.digest())

    def steps(self, steps: Sequence[Step]) -> World:
        for step in steps:
            self.step(step)
        return self

    def _tick(self, now: int) -> None:
        self.now = max(now, self.now)
        for name, sub in self.subs.items():
            if sub.promise and sub.promise[0] <= self.now:
                outcome = sub.over or ("breached" if sub.debts() else "released")
                sub.breached = outcome == "breached"
                self._promise_ends(name, sub, outcome)

    def _batch(self, batch: Sent) -> dict[str, Any]:
        try:
            gap = self._gap(batch) if batch.seq else None
        except No as no:
            summary = dict.fromkeys(STATUSES, 0) | {"rejected": 1}
            refused = [{"i": 0, "sub": None, "status": "rejected", "code": str(no)}]
            return {"summary": summary, "results": refused}
        results, summary = [], dict.fromkeys(STATUSES, 0)
        for i, command in enumerate(batch.commands):
            result: dict[str, Any] = {"i": i, "sub": command.get("sub")}
            try:
                result["status"] = self._command(command)
            except No as no:
                result |= {"status": "rejected", "code": str(no)}
            summary[result["status"]] += 1
            results.append(result)
        if len(results) > LISTED:
            results = [r for r in results if r["status"] != "applied"]
        return {"summary": summary, "results": results} | ({"gap": gap} if gap else {})

    def _gap(self, batch: Sent) -> dict[str, int] | None:
        """The numbers left out before this batch. Raises No when it comes too late."""
        stream = batch.issuer, batch.source
        epoch, seq = self.numberings.get(stream, ("", 0))
        if (batch.epoch, batch.seq) <= (epoch, seq):
            raise No("stale")
        expected = seq + 1 if batch.epoch == epoch else 1
        self.numberings[stream] = batch.epoch, batch.seq
        if batch.seq == expected:
            return None
        gap = {"expected": expected, "got": batch.seq}
        about = {"issuer": batch.issuer, "stream": batch.source, "epoch": batch.epoch}
        self.events.append({"event": "resync.wanted", **about, **gap})
        return gap

    # -- snapshots -------------------------------------------------------------------------------------------

    def _chunk(self, chunk: Chunk) -> None:
        if chunk.sync in self.snapshots:
            return
        if any(c.sync != chunk.sync for c in self._parts.values()):
            self._parts = {}
        self._parts[chunk.part] = chunk
        if len(self._parts) < chunk.parts:
            return
        self.snapshots[chunk.sync], self._last = set(), chunk.sync
        named: dict[str, list[Command]] = {}
        for part in sorted(self._parts):
            for command in self._parts[part].commands:
                named.setdefault(command["sub"], []).append(command)
        self._parts = {}
        self._replace(named)

    def _replace(self, named: Mapping[str, list[Command]]) -> None:
        """Bindings and debts are those of the snapshot; no event tells of an address that moved."""
        events, self.events = self.events, []
        self.holder = {}
        for name, commands in named.items():
            for command in commands:
                if command["op"] == "bind":
                    self._bind(command, self.subs.setdefault(name, Subscriber()))
        self.events = events
        for name, commands in named.items():
            blocks = [c for c in commands if c["op"] == "block"]
            for command in blocks:
                self._block(command, self.subs[name])
            self._release(name, set(DEBTS) - {c["reason"] for c in blocks})
        for name in self.subs.keys() - named.keys():
            self._release(name, set(DEBTS))

    def _release(self, name: str, reasons: set[str]) -> None:
        sub = self.subs[name]
        if reasons & sub.reasons.keys():
            sub.reasons = {n: r for n, r in sub.reasons.items() if n not in reasons}
            self._released(name, sub)

    def _released(self, name: str, sub: Subscriber) -> None:
        """A reason is gone: is what the promise was given for?"""
        if not sub.debts():
            self._promise_ends(name, sub, "released")
        elif sub.promise and (given := set(sub.promise[1] or sub.owed)) and not (given | {WHOLE}) & sub.behind():
            self._is_over(name, sub, "released")

    def _is_over(self, name: str, sub: Subscriber, outcome: str) -> None:
        if sub.promise and (sub.promise[1] or max((LEVEL[n] for n in sub.debts()), default=0) <= LEVEL["notice"]):
            self._promise_ends(name, sub, sub.over or outcome)
        else:
            sub.over = sub.over or outcome

    # -- commands --------------------------------------------------------------------------------------------

    def _command(self, c: Command) -> str:
        does: Mapping[str, Callable[[Command, Subscriber], str]] = {
            "bind": self._bind,
            "unbind": self._unbind,
            "block": self._block,
            "unblock": self._unblock,
            "paid": self._paid,
            "trust": self._trust,
            "untrust": self._untrust,
            "forget": self._forget,
        }
        if c["op"] not in does:
            raise No("unknown_op")
        if c["op"] == "block" and "reason" not in c:
            raise No("malformed")
        known = self.subs.get(c["sub"])
        if known is None and c["op"] not in {"bind", "block", "paid"}:
            raise No("unknown_subscriber")
        sub = known or Subscriber()
        rev = c.get("rev", sub.rev)
        if rev < sub.rev:
            raise No("stale")
        status = does[c["op"]](c, sub)  # raises before it changes anything
        if c["op"] != "forget":
            self.subs[c["sub"]] = sub
            sub.rev = rev
        return "applied" if known is None and c["op"] == "bind" else status

    def held(self, name: str) -> set[str]:
        """The addresses of a subscriber."""
        return {a for a, n in self.holder.items() if n == name}

    def _bind(self, c: Command, _: Subscriber) -> str:
        before, wanted = self.held(c["sub"]), list(c["addresses"])
        lost = before - set(wanted) if c.get("replace", True) else set()
        for address in lost:
            del self.holder[address]
        for address in wanted:
            old = self.holder.get(address)
            if old is not None and old != c["sub"]:
                self.events.append({"event": "address.moved", "address": address, "from": old, "to": c["sub"]})
            self.holder[address] = c["sub"]
        return "applied" if lost or set(wanted) - before else "unchanged"

    def _unbind(self, c: Command, _: Subscriber) -> str:
        lost = self.held(c["sub"])
        for address in lost:
            del self.holder[address]
        return "applied" if lost else "unchanged"

    def _forget(self, c: Command, _: Subscriber) -> str:
        self._unbind(c, _)
        del self.subs[c["sub"]]
        return "applied"

    def _block(self, c: Command, sub: Subscriber) -> str:
        named = list(dict.fromkeys(c.get("invoices", ())))
        owed = [i for i in named if i not in sub.settled]
        if named and not owed:
            if c["reason"] not in sub.debts():
                return "unchanged"
            return self._unblock(c, sub)  # what was owed is replaced by nothing
        had = sub.reasons.get(c["reason"])
        sub.reasons[c["reason"]] = Reason(owed, c.get("ref"))
        if had and WHOLE not in sub.owed and c["reason"] in DEBTS and had != sub.reasons[c["reason"]]:
            self._released(c["sub"], sub)
        lifts = sub.promise and sub.promise[0] > self.now and not sub.promise[1]
        if lifts and c["reason"] in DEBTS and c["reason"] != "notice":
            sub.spent.update({i: 1 for i in owed or [WHOLE] if not sub.spent.get(i)})
        return "applied"

    def _unblock(self, c: Command, sub: Subscriber) -> str:
        gone = sub.reasons.keys() & (set(DEBTS) if c["reason"] == "debt*" else {c["reason"]})
        for name in gone:
            del sub.reasons[name]
        if gone:
            self._released(c["sub"], sub)
        return "applied" if gone else "unchanged"

    def _paid(self, c: Command, sub: Subscriber) -> str:
        before = (repr(sub.reasons), repr(sub.promise), sub.breached, sub.over)
        paid = set(c["invoices"]) if "invoices" in c else (sub.behind() | set(sub.spent)) - {WHOLE}
        news = bool(paid - sub.settled)
        sub.settled |= paid
        for name, reason in sub.debts().items():
            reason.invoices = [i for i in reason.invoices if i not in paid]
            if not reason.invoices:
                del sub.reasons[name]
        if not sub.debts():
            news |= bool(sub.spent.pop(WHOLE, 0))
            self._promise_ends(c["sub"], sub, "fulfilled")
            sub.breached = sub.breached and any(n and i not in sub.settled for i, n in sub.spent.items() if i != WHOLE)
        elif sub.promise and (given := sub.promise[1] or sub.owed) and set(given) <= sub.settled:
            self._is_over(c["sub"], sub, "fulfilled")
        after = (repr(sub.reasons), repr(sub.promise), sub.breached, sub.over)
        return "applied" if news or before != after else "unchanged"

    def _trust(self, c: Command, sub: Subscriber) -> str:
        until = round(dt.datetime.fromisoformat(c["until"]).timestamp() * 1000)
        named = tuple(dict.fromkeys(c.get("invoices", ())))
        running = sub.promise is not None and sub.promise[0] > self.now
        if "operator" in sub.reasons or not sub.debts():
            raise No("trust_not_applicable")
        if running and sub.promise == (until, named):
            return "unchanged"
        owed = list(dict.fromkeys(i for r in sub.debts().values() for i in r.invoices or [WHOLE]))
        if until <= self.now:
            raise No("malformed")
        if named and not set(named) & set(owed):
            raise No("trust_not_applicable")
        covered = list(named) or owed or [WHOLE]
        unnamed = WHOLE in covered and any(n and i not in sub.settled for i, n in sub.spent.items())
        if sub.breached or unnamed or any(sub.spent.get(i) for i in covered):
            raise No("trust_spent")
        if running:
            self._promise_ends(c["sub"], sub, "replaced")
        sub.spent.update(dict.fromkeys(covered, 1))
        sub.promise, sub.owed, sub.over = (until, named), () if named else tuple(owed), ""
        return "applied"

    def _untrust(self, c: Command, sub: Subscriber) -> str:
        if sub.promise is None or sub.promise[0] <= self.now:
            return "unchanged"
        self._promise_ends(c["sub"], sub, "revoked")
        return "applied"

    def _promise_ends(self, name: str, sub: Subscriber, outcome: str) -> None:
        if sub.promise:
            self.events.append({"event": "trust.ended", "sub": name, "outcome": outcome})
        sub.promise = None

    # -- what can be seen of it --------------------------------------------------------------------------------

    def state(self, name: str) -> dict[str, Any] | None:
        """A subscriber as :func:`tests.torture.history.seen` makes it of a record; None where there is none."""
        sub = self.subs.get(name)
        if sub is None:
            return None
        return sub.told(self.now) | {"addresses": {a: sub.sets(self.now) for a in sorted(self.held(name))}}

    def in_kernel(self) -> dict[str, list[str]]:
        """Every address that must be in some set, with those sets."""
        found = {a: self.subs[n].sets(self.now) for a, n in self.holder.items()}
        return {a: sets for a, sets in found.items() if sets}

    def digest(self) -> str:
        """The ``hash`` of the state document, as docs/protocol.md defines it."""
        facts: list[tuple[str, ...]] = [("a", name, address) for address, name in self.holder.items()]
        facts += [fact for name, sub in self.subs.items() for fact in sub.facts(name)]
        numbers = (hashlib.sha256("\x1f".join(fact).encode()).digest()[:8] for fact in facts)
        return f"{sum(int.from_bytes(n) for n in numbers) % (1 << 64):016x}"
