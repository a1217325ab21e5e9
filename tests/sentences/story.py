"""Stories in a few words, told to a core over the fake kernel: what domain.md says, with moments and expectations.

A story is a list of

* ``"2026-11-24 10:00"``: time goes on to this local moment (São Paulo), and the timers run at each moment due;
* ``"asleep 2026-11-24 10:00"``: the same with the daemon gone; only the kernel can be asked then;
* ``"timers"``: they run now; ``"restart"``: the daemon ends and begins anew; ``"clock lost"``, ``"clock found"``;
* ``({command}, "applied")``: a command and its status, or the code of its refusal; ``"deferred 2026-11-26 08:00
  calendar"`` also tells until when and why, ``"applied 2026-11-26 08:00"`` the end of a promise;
* ``"= walled"`` or ``"B = open"``: the level of A or B in the record and in the kernel;
* ``"page debt"``: the strongest reason; ``"reasons debt notice"``: those there are, in any order;
* ``"! trust.ended breached"``: the next event, with a word of it; ``"! none"``: no event since the last one asked for.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from edged.domain.brake import Limits
from edged.domain.model import Policy
from tests.reference.days import ZONE
from tests.reference.pair import in_force
from tests.unit.core import Core

Command = dict[str, Any]
Step = str | tuple[Command, str]
ADDRESS = {"A": "100.64.0.1", "B": "100.64.0.2"}
KEY = {"A": b"\x64\x40\x00\x01", "B": b"\x64\x40\x00\x02"}
LEVELS = ("open", "notice", "reduced", "walled", "blocked")


def local(text: str) -> int:
    """Unix ms of a local moment such as 2026-11-24 10:00."""
    return round(dt.datetime.fromisoformat(text).replace(tzinfo=ZONE).timestamp() * 1000)


def moment(text: str) -> str:
    """The same as a command says it."""
    return dt.datetime.fromisoformat(text).replace(tzinfo=ZONE).isoformat()


def block(reason: str, *invoices: str, sub: str = "A", **more: Any) -> Command:
    return {"op": "block", "sub": sub, "reason": reason, **({"invoices": [*invoices]} if invoices else {}), **more}


def unblock(reason: str, sub: str = "A", **more: Any) -> Command:
    return {"op": "unblock", "sub": sub, "reason": reason, **more}


def paid(*invoices: str, sub: str = "A") -> Command:
    return {"op": "paid", "sub": sub, **({"invoices": [*invoices]} if invoices else {})}


def trust(*invoices: str, sub: str = "A", **more: Any) -> Command:
    return {"op": "trust", "sub": sub, **({"invoices": [*invoices]} if invoices else {}), **more}


def defer(kind: str, until: str, *invoices: str, **more: Any) -> Command:
    named = {"invoices": [*invoices]} if invoices else {}
    return {"op": "defer", "sub": "A", "kind": kind, "until": moment(until), **named, **more}


class Story:
    """A core with A and B, bound in the area ``centro`` on the first morning."""

    def __init__(self, directory: Path, policy: Policy, begin: str, limits: Limits | None = None) -> None:
        self.core = Core(directory, policy)
        self.core.now = local(begin)
        if limits:
            self.brake(limits)
        binds = [{"op": "bind", "sub": s, "addresses": [a], "area": "centro"} for s, a in ADDRESS.items()]
        self.say(*((b, "applied") for b in binds))
        self.told = len(self.events())

    def brake(self, limits: Limits) -> None:
        """With these limits from now on; the code's default is none."""
        settings = self.core.settings
        self.core.settings = type(settings)(
            settings.gateway, settings.addressing, settings.policy, limits, settings.max_payload
        )
        self.core.restart()

    def tell(self, steps: Sequence[Step | Callable[[Story], None]]) -> None:
        """All of it; raises AssertionError with the step that came otherwise."""
        for n, step in enumerate(steps):
            try:
                if isinstance(step, tuple):
                    self.say(step)
                elif isinstance(step, str):
                    self.one(step)
                else:
                    step(self)
            except AssertionError as e:
                raise AssertionError(f"step {n}, {step}: {e}") from e

    def say(self, *steps: tuple[Command, str]) -> None:
        results = self.core.send(*(c for c, _ in steps))["results"]
        for (command, said), result in zip(steps, results, strict=True):
            word, _, rest = said.partition(" ")
            assert (result.get("code") or result["status"]) == word, (command, result)
            if rest:
                assert result["until"] == self.utc(rest[:16]), result
            if rest[17:]:
                assert result["why"] == rest[17:], result
        self.timers()

    @staticmethod
    def utc(text: str) -> str:
        return dt.datetime.fromtimestamp(local(text) / 1000, dt.UTC).isoformat().replace("+00:00", "Z")

    def one(self, step: str) -> None:
        word, _, rest = step.partition(" ")
        if step[:2] == "20":
            self.wait(local(step))
        elif word == "asleep":
            self.core.now = local(rest)
        elif word == "timers":
            self.timers()
        elif word == "restart":
            self.core.restart()
        elif word == "clock":
            self.core.pipeline.trusted = lambda: rest == "found"
            self.timers()
        elif word == "page":
            assert self.core.pipeline.questions.standing(ADDRESS["A"]).reason == rest
        elif word == "reasons":
            assert {r["reason"] for r in self.record()["reasons"]} == {*rest.split()}
        elif word == "!":
            self.event(rest)
        elif word == "kernel":
            assert self.kernel(rest.split()[0]) == rest.split()[1]
        else:
            sub, _, level = (f"A {step}" if word == "=" else step).split()
            assert self.record(sub)["level"] == level
            assert self.kernel(sub) == level

    def kernel(self, sub: str) -> str:
        return LEVELS[in_force(self.core.in_kernel(), "4", KEY[sub])]

    def record(self, sub: str = "A") -> dict[str, Any]:
        return self.core.pipeline.questions.why(sub)

    def events(self) -> list[dict[str, Any]]:
        return [e for e in self.core.events() if "event" in e]

    def event(self, words: str) -> None:
        new = self.events()[self.told :]
        if words == "none":
            assert not new, new
            return
        assert new, "no event"
        kind, *members = words.split()
        assert new[0]["event"] == kind, new[0]
        assert {*members} <= {str(v) for v in new[0].values()}, new[0]
        self.told += 1

    def timers(self) -> None:
        for _ in range(100):
            if not self.core.upkeep.expire()[0] and not self.core.upkeep.sweep()[0]:
                return
        raise AssertionError("the timers never come to rest")

    def wait(self, end: int) -> None:
        while 0 < (due := self.core.store.next_due()) <= end:
            self.core.now = max(self.core.now, due)
            self.timers()
        self.core.now = end
        self.timers()
