"""Random lives of three subscribers and four addresses, held against a model of a few lines.

The model knows no store, no kernel and no plan: only reasons, one promise, and who has which address. After every
step the traced packets of each address must fare as the model says.
"""

from __future__ import annotations

import errno
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from edged.nft.tracer import Packet, Tracer
from tests.unit.core import Core

MINUTE = 60_000
LEVEL = {"notice": 1, "debt_partial": 2, "debt": 3, "operator": 3}
DEBTS = ("notice", "debt_partial", "debt")
FATE = {0: "pass", 1: "portal", 2: "pass", 3: "portal"}
COUNTER = {1: "notice_up_portal", 2: "reduced_up_pass", 3: "walled_up_portal"}

SUBS = st.sampled_from(["A", "B", "C"])
ADDRESSES = {
    "100.64.0.1": "100.64.0.1",
    "100.64.0.2": "100.64.0.2",
    "2001:db8:0:100::/56": "2001:db8:0:1fe::7",
    "2001:db8:0:242::/64": "2001:db8:0:242::7",
}


@dataclass
class Model:
    """One subscriber."""

    reasons: set[str] = field(default_factory=set)
    promise: int = 0
    spent: bool = False
    breached: bool = False

    def debts(self) -> set[str]:
        return self.reasons & set(DEBTS)

    def level(self, now: int) -> int:
        return max((LEVEL[r] for r in self.reasons if r not in DEBTS or self.promise <= now), default=0)

    def cleared(self) -> None:
        if not self.debts():
            self.promise, self.breached = 0, False


class Lives(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp(prefix="edged-lives-"))
        self.core = Core(self.directory)
        self.models: dict[str, Model] = {}
        self.holder: dict[str, str] = {}

    def teardown(self) -> None:
        self.core.refill()
        assert self.core.agrees()
        self.core.store.close()
        shutil.rmtree(self.directory)

    def do(self, op: str, sub: str, **fields: Any) -> str:
        (said,) = self.core.status({"op": op, "sub": sub, **fields})
        return said

    @rule(sub=SUBS, addresses=st.sets(st.sampled_from(sorted(ADDRESSES))), replace=st.booleans())
    def bind(self, sub: str, addresses: set[str], replace: bool) -> None:
        self.do("bind", sub, addresses=sorted(addresses), replace=replace)
        self.models.setdefault(sub, Model())
        if replace:
            self.holder = {a: s for a, s in self.holder.items() if s != sub}
        self.holder.update(dict.fromkeys(addresses, sub))

    @rule(sub=SUBS)
    def unbind(self, sub: str) -> None:
        assert (self.do("unbind", sub) == "unknown_subscriber") == (sub not in self.models)
        self.holder = {a: s for a, s in self.holder.items() if s != sub}

    @rule(sub=SUBS, reason=st.sampled_from(sorted(LEVEL)))
    def block(self, sub: str, reason: str) -> None:
        model = self.models.setdefault(sub, Model())
        assert self.do("block", sub, reason=reason) == ("unchanged" if reason in model.reasons else "applied")
        model.reasons.add(reason)
        model.spent |= reason in DEBTS and model.promise > self.core.now

    @rule(sub=SUBS, reason=st.sampled_from([*LEVEL, "debt*"]))
    def unblock(self, sub: str, reason: str) -> None:
        said = self.do("unblock", sub, reason=reason)
        if sub in self.models:
            gone = set(DEBTS) if reason == "debt*" else {reason}
            assert said == ("applied" if gone & self.models[sub].reasons else "unchanged")
            if gone & self.models[sub].reasons:
                self.models[sub].reasons -= gone
                self.models[sub].cleared()

    @rule(sub=SUBS)
    def paid(self, sub: str) -> None:
        self.do("paid", sub)
        model = self.models.setdefault(sub, Model())
        model.reasons -= set(DEBTS)
        model.spent = False
        model.cleared()

    @rule(sub=SUBS, minutes=st.integers(1, 100))
    def trust(self, sub: str, minutes: int) -> None:
        said = self.do("trust", sub, hours=minutes / 60)
        model = self.models.get(sub)
        end = self.core.now + round(minutes / 60 * 3_600_000)
        if model is None:
            assert said == "unknown_subscriber"
        elif model.promise > self.core.now and model.promise == end:
            assert said == "unchanged"
        elif "operator" in model.reasons or not model.debts():
            assert said == "trust_not_applicable"
        elif model.spent or model.breached:
            assert said == "trust_spent"
        else:
            assert said == "applied"
            model.promise, model.spent = end, True

    @rule(sub=SUBS)
    def untrust(self, sub: str) -> None:
        self.do("untrust", sub)
        if sub in self.models:
            self.models[sub].promise = 0

    @rule(sub=SUBS)
    def forget(self, sub: str) -> None:
        assert self.do("forget", sub) == ("applied" if self.models.pop(sub, None) else "unknown_subscriber")
        self.holder = {a: s for a, s in self.holder.items() if s != sub}

    @rule(minutes=st.sampled_from([1, 30, 101]))
    def wait(self, minutes: int) -> None:
        self.core.wait(minutes * MINUTE)
        for model in self.models.values():
            if 0 < model.promise <= self.core.now:
                model.promise, model.breached = 0, bool(model.debts())

    @rule()
    def sleep_through_it(self) -> None:
        """Nobody carries the ends out in time; the kernel's timers have done it already."""
        self.core.now += 17 * MINUTE
        self.packets_fare_as_the_model_says()
        self.wait(1)

    @rule()
    def restart(self) -> None:
        self.core.restart()

    @rule(number=st.sampled_from([errno.EBUSY, errno.ENOBUFS, errno.ENOENT]), sub=SUBS)
    def kernel_refuses(self, number: int, sub: str) -> None:
        self.core.kernel.failures = [number]
        self.block(sub, "operator")
        self.core.kernel.failures = []
        if not self.core.enforcer.synced:
            self.core.refill()

    @rule(sub=SUBS, step=st.integers(0, 3))
    def change_beside_a_refill(self, sub: str, step: int) -> None:
        for n, _ in enumerate(self.core.enforcer.refill(self.core.store, lambda: self.core.now)):
            if n == step:
                self.block(sub, "debt")
                self.unblock(sub, "notice")

    @invariant()
    def packets_fare_as_the_model_says(self) -> None:
        assert self.core.enforcer.synced
        tracer = Tracer(self.core.kernel)
        for address, source in ADDRESSES.items():
            model = self.models.get(self.holder.get(address, ""), Model())
            level = model.level(self.core.now)
            far = "2001:db8:f::9" if ":" in source else "198.51.100.9"
            found = tracer.trace(Packet(source, far, dport=80, iif="subs0", oif="up0"))
            assert found.fate == FATE[level], (address, model)
            if level:
                assert found.counters == (COUNTER[level],)
            assert self.core.pipeline.questions.standing(source).level == level


Lives.TestCase.settings = settings(
    max_examples=15,
    stateful_step_count=25,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
TestLives = Lives.TestCase
