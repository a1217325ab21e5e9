"""A whole core without daemon or kernel: store in a folder, pipeline, enforcer over the fake, a clock set by hand."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from ipaddress import ip_network
from pathlib import Path
from typing import Any

from edged.domain.address import Addressing
from edged.domain.brake import Limits
from edged.domain.model import Policy
from edged.domain.payment import Payees
from edged.intake import Incoming
from edged.nft.enforcer import Enforcer
from edged.nft.fake import FakeBackend
from edged.observer import Silent
from edged.pipeline import Outcome, Pipeline, Settings
from edged.replacement import Replacement
from edged.store.store import Store
from edged.upkeep import Upkeep
from tests.worlds import RULES, held

START = 1_790_000_000_000
"""Unix ms of the first moment."""


class Counting(Silent):
    """An observer that remembers."""

    def __init__(self) -> None:
        self.commands: list[tuple[str, str]] = []
        self.rejections: list[str] = []
        self.kernel_errors: list[str] = []

    def command(self, op: str, status: str, n: int = 1) -> None:
        self.commands += [(op, status)] * n

    def rejection(self, code: str, n: int = 1) -> None:
        self.rejections += [code] * n

    def kernel_error(self, kind: str) -> None:
        self.kernel_errors.append(kind)


class Core:
    """``now`` is the clock. ``restart`` ends everything but the kernel's table and begins anew."""

    def __init__(
        self, directory: Path, policy: Policy | None = None, limits: Limits | None = None, payees: Payees | None = None
    ) -> None:
        self.now = START
        self.directory = directory
        self.kernel = FakeBackend(lambda: self.now)
        self.observer = Counting()
        self.settings = Settings(
            "gw1",
            Addressing((64, 56), (ip_network("192.0.2.0/24"),)),
            policy or Policy(),
            limits or Limits(),
            max_payload=1 << 20,
            payees=payees or Payees(),
        )
        self._ids = itertools.count()
        self.start()

    def start(self) -> None:
        self.store = Store(self.directory)
        self.store.open()
        self.enforcer = Enforcer(self.kernel, RULES)
        self.pipeline = Pipeline(self.settings, self.store, self.enforcer, self.observer, lambda: self.now)
        self.upkeep = Upkeep(self.pipeline)
        self.refill()

    def refill(self) -> None:
        for _ in self.enforcer.refill(self.store, lambda: self.now):
            pass

    def post(self, document: dict[str, Any], source: str) -> dict[str, Any]:
        """One message as it comes by MQTT on a channel; its answer."""
        return self.pipeline.process([Incoming(json.dumps(document).encode(), source)]).answers[0].document

    def carry_out(self) -> None:
        """What the keeper does when a snapshot's last chunk is in, without pauses."""
        while self.pipeline.gathering.ready:
            self.end_snapshot(self.begin_snapshot())

    def begin_snapshot(self) -> Iterator[None]:
        """The steps of the snapshot that is complete."""
        assert self.pipeline.gathering.ready
        self.replacement = Replacement(self.pipeline, self.pipeline.gathering.ready)
        return self.replacement.steps()

    def end_snapshot(self, steps: Iterator[None]) -> None:
        """The steps that are left, and what follows them."""
        for _ in steps:
            pass
        self.refill()
        self.replacement.finish()

    def sync(self, *parts: list[Any], name: str = "s1", **head: Any) -> dict[str, Any]:
        """A whole snapshot; its answer."""
        for i, commands in enumerate(parts, 1):
            self.chunk(commands, i, len(parts), name, **head)
        self.carry_out()
        return self.answered(name)

    def chunk(self, commands: list[Any], part: int, parts: int, name: str = "s1", **head: Any) -> dict[str, Any]:
        """One part of a snapshot; its answer."""
        document = {"v": 1, "sync": name, "part": part, "parts": parts, "commands": commands, **head}
        return self.process(json.dumps(document).encode()).answers[0].document

    def answered(self, name: str) -> dict[str, Any]:
        """The final answer to a snapshot, as it waits to be published."""
        return next(e for e in self.events() if e.get("sync") == name and "counts" in e)

    def restart(self) -> None:
        self.store.close()
        self.kernel.close()
        self.start()

    def send(self, *commands: Any, name: str | None = None, **batch: Any) -> dict[str, Any]:
        """One batch; its answer."""
        document = {"v": 1, "id": name or f"b{next(self._ids)}", "commands": list(commands), **batch}
        return self.process(json.dumps(document).encode()).answers[0].document

    def process(self, *payloads: bytes) -> Outcome:
        return self.pipeline.process([Incoming(p) for p in payloads])

    def status(self, *commands: Any) -> list[str]:
        """The statuses, or the codes of what was refused."""
        return [r.get("code") or r["status"] for r in self.send(*commands)["results"]]

    def wait(self, ms: int) -> None:
        """Time passes and the timers do their work at each due moment."""
        end = self.now + ms
        while 0 < (due := self.store.next_due()) <= end:
            self.now = max(self.now, due)
            assert self.upkeep.expire()[0]
        self.now = end

    def sweep(self) -> None:
        """What the timers do after something was said of an area."""
        while self.upkeep.sweep()[0]:
            pass

    def tidy_audit(self) -> None:
        """What the daemon does at its next pulse: who was forgotten goes out of the audit trail."""
        while self.store.audit_forget(1000):
            pass

    def level(self, target: str) -> str:
        return str(self.pipeline.questions.why(target)["level"])

    def events(self) -> list[dict[str, Any]]:
        return [e.document for _, e in self.store.events()]

    def in_kernel(self) -> dict[str, set[bytes]]:
        """Set name without generation -> keys."""
        assert self.enforcer.live is not None
        found = held(self.kernel, self.enforcer.live.number)
        return {name.rsplit("_g", 1)[0]: keys for name, keys in found.items()}

    def agrees(self) -> bool:
        """Whether a refill from the store would change nothing in the kernel but the generation."""
        limits = {n.rsplit("_g", 1)[0] for n in self.kernel.limits()}
        before = self.in_kernel(), limits, {n: c for n, c in self.enforcer.set_counts().items() if c}
        self.refill()
        limits = {n.rsplit("_g", 1)[0] for n in self.kernel.limits()}
        return before == (self.in_kernel(), limits, {n: c for n, c in self.enforcer.set_counts().items() if c})
