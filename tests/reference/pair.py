"""A core and the model side by side: every step is done to both, and both must say the same."""

from __future__ import annotations

import datetime as dt
import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edged.domain.model import Policy
from tests.reference.model import Model
from tests.reference.orders import carry_out
from tests.reference.words import WORDS, Rules
from tests.unit.core import START, Core

TIMES = ("not_before", "notified_at", "deadline", "until", "eta")
"""Members of a command that a step gives in ms from now."""
MOST_MOMENTS = 200
"""What a wait goes through one by one; then it jumps to its end, as after a suspend."""
ADDRESSES = {
    "100.64.0.1": ("4", b"\x64\x40\x00\x01"),
    "100.64.0.2": ("4", b"\x64\x40\x00\x02"),
    "100.64.0.3": ("4", b"\x64\x40\x00\x03"),
    "2001:db8:0:100::/56": ("6_56", bytes.fromhex("20010db8000001000000000000000000")),
}
"""Address -> class of set and key in the kernel."""
EVENTS = ("trust.ended", "defer.ended", "pause.ended", "deadline.reached", "block.began")
WHAT = {"trust.ended": "outcome", "defer.ended": "kind"}
"""Event -> the member that tells it from others; of the rest it is the reason."""

QUIET = ("defer.ended", "onset")
"""Not compared: whether it is told that what joined a debt waits no longer, when that was paid meanwhile."""

Step = tuple[Any, ...]
"""("send", commands) | ("wait", ms) | ("sleep", ms) | ("due", ms before it) | ("restart",)."""


class Disagreement(AssertionError):
    """Core and model differ."""


def rfc3339(ms: int) -> str:
    """UTC, to the millisecond."""
    moment = dt.datetime(1970, 1, 1, tzinfo=dt.UTC) + dt.timedelta(milliseconds=ms)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def in_force(sets: Mapping[str, set[bytes]], kind: str, key: bytes) -> int:
    """The level that the kernel's sets give an address."""
    order = ("waived", 0), ("waived_notice", 1), ("waived_reduced", 2), ("blocked", 4), ("reduced", 2), ("notice", 1)
    if key not in sets.get(f"restricted{kind}", ()):
        return 0
    return next((level for role, level in order if key in sets.get(f"{role}{kind}", ())), 3)


class Pair:
    """``begin`` is the first moment in ms behind ``START``. Close it."""

    def __init__(self, policy: Policy, rules: Rules, begin: int = 0) -> None:
        memory = Path("/dev/shm")  # a commit waits for no disk there
        self.directory = Path(tempfile.mkdtemp(prefix="edged-pair-", dir=memory if memory.is_dir() else None))
        self.core = Core(self.directory, policy)
        self.core.now = self.begin = START + begin
        self.model = Model(self.core.now, rules)
        self.commands = 0
        self.seen: set[str] = set()
        """Every answer there was: to know what a run has met."""

    def close(self) -> None:
        self.core.store.close()
        shutil.rmtree(self.directory)

    def do(self, step: Step) -> None:
        """One step to both, and all questions. Raises Disagreement."""
        kind, *rest = step
        if kind == "send":
            self.send(rest[0])
            self.moment(self.core.now)  # a moratorium that releases works by timer
        elif kind == "wait":
            self.wait(rest[0])
        elif kind == "sleep":
            self.moment(self.core.now + rest[0])
        elif kind == "due":
            self.wait(max(self.model.next_moment() - self.core.now - rest[0], 0))
        else:
            self.core.restart()
        self.compare()

    # -- time ------------------------------------------------------------------------------------------------

    def wait(self, ms: int) -> None:
        """Time passes, and at each moment at which something is due the timers run."""
        end = self.core.now + ms
        for _ in range(MOST_MOMENTS):
            moments = [m for m in (self.core.store.next_due(), self.model.next_moment()) if 0 < m <= end]
            if not moments:
                break
            self.moment(max(self.core.now, min(moments)))
        self.moment(end)

    def moment(self, now: int) -> None:
        """It is ``now``, and the timers run."""
        self.core.now = now
        for _ in range(1000):
            if not self.core.upkeep.expire()[0] and not self.core.upkeep.sweep()[0]:
                break
        else:
            raise Disagreement("the timers never come to rest")
        self.model.due(now)

    # -- commands --------------------------------------------------------------------------------------------

    def resolved(self, command: Mapping[str, Any]) -> dict[str, Any]:
        """A step's command as it is sent: moments for ms from now, due dates for days from the beginning."""
        out = {k: rfc3339(self.core.now + v) if k in TIMES else v for k, v in command.items()}
        if "invoices" in out:
            out["invoices"] = [
                i if isinstance(i, str) else {"id": i[0], "due": self.date(self.begin, i[1])}
                for i in command["invoices"]
            ]
        if "dates" in out:
            out["dates"] = [self.date(self.core.now, d) for d in command["dates"]]
        return out

    def date(self, now: int, days: int) -> str:
        """The local date so many days from a moment."""
        return (self.model.local(now).date() + dt.timedelta(days=days)).isoformat()

    def send(self, commands: Sequence[Mapping[str, Any]]) -> None:
        """One batch to both; each answer must be one that the model allows."""
        sent = [self.resolved(c) for c in commands]
        for command, result in zip(sent, self.core.send(*sent)["results"], strict=True):
            self.model.now = self.core.now
            answer = carry_out(self.model, command)
            said = result.get("code") or result["status"]
            self.seen.add(f"{command['op']} {said}")
            self.commands += 1
            told = f"{json.dumps(command)} at {rfc3339(self.core.now)} answered {json.dumps(result)}"
            if said not in answer.words:
                raise Disagreement(f"{told}; the model: {sorted(answer.words)}")
            if answer.until and "until" in result and result["until"] != shorter(rfc3339(answer.until)):
                raise Disagreement(f"{told}; the model's end: {rfc3339(answer.until)}")
            if said == "deferred" and answer.until and result["why"] not in answer.why:
                raise Disagreement(f"{told}; the model: {sorted(answer.why)}")

    # -- questions -------------------------------------------------------------------------------------------

    def compare(self) -> None:
        """Answers to questions, totals, kernel and events against the model. Raises Disagreement."""
        now, model = rfc3339(self.core.now), self.model
        levels = [model.level(name) for name in model.subs]
        counts = tuple(levels.count(level) for level in range(5))
        if self.core.store.totals.levels != counts:
            raise Disagreement(f"{now}: the store counts {self.core.store.totals.levels}, the model {counts}")
        for name in model.subs:
            record = self.core.pipeline.questions.why(name)
            got = self.told(record)
            shown = got[1]
            waived = {r["reason"] for r in record["reasons"] if r["state"] == "waived"}
            # Begun or not, it cannot be told of one that is waived, nor of one that has begun and waits all the same.
            begun = {r: shown.get(r, True) if b is None else b or r in waived for r, b in model.reasons(name).items()}
            want = WORDS[model.level(name)], begun, model.promise(name), model.subs[name]["breached"]
            if got != want:
                raise Disagreement(f"{now}: {name} is {got}, the model: {want}; {json.dumps(record)}")
        sets = self.core.in_kernel()
        for address, (kind, key) in ADDRESSES.items():
            level = model.level(model.holder.get(address, ""))
            if in_force(sets, kind, key) != level:
                raise Disagreement(f"{now}: the kernel has {address} on {in_force(sets, kind, key)}, the model {level}")
        self.compare_events()

    @staticmethod
    def told(record: Mapping[str, Any]) -> tuple[Any, ...]:
        running = record["promise"]["running"]
        until = round(dt.datetime.fromisoformat(running["until"]).timestamp() * 1000) if running else 0
        begun = {r["reason"]: r["state"] != "pending" for r in record["reasons"]}
        return record["level"], begun, until, record["promise"]["breached"]

    def compare_events(self) -> None:
        got: list[tuple[str, ...]] = []
        for event in self.core.events():
            kind = event["event"]
            if kind == "address.moved":
                got.append((kind, event["from"], event["to"]))
            elif kind in EVENTS:
                got.append((kind, event["sub"], event[WHAT.get(kind, "reason")] if kind != "pause.ended" else "pause"))
        want = [e for e in self.model.events if e[::2] != QUIET]
        got = [e for e in got if e[::2] != QUIET]
        if sorted(got) != sorted(want):
            extra = [e for e in got if got.count(e) > want.count(e)]
            missing = [e for e in want if want.count(e) > got.count(e)]
            raise Disagreement(f"{rfc3339(self.core.now)}: events too many {extra}, missing {missing}")


def shorter(moment: str) -> str:
    """As the core writes it: no milliseconds where there are none."""
    return moment.replace(".000Z", "Z")
