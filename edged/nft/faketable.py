"""The inside of the fake: what a table holds, and what each operation does to it, with a way back."""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from edged.nft.action import Count, Verdict
from edged.nft.expr import Address, Garden, Policer, Rule, rule_text
from edged.nft.failure import kernel_error
from edged.nft.schema import Chain
from edged.nft.sets import SetSpec
from edged.nft.transaction import (
    KEY_BYTES,
    AddChain,
    AddCounter,
    AddElements,
    AddLimit,
    AddRule,
    AddSet,
    DelElements,
    DelLimit,
    DelSet,
    Operation,
    split,
)

K = TypeVar("K")
V = TypeVar("V")

_DEEPEST = 16
"""Chains may jump this deep (NFT_JUMP_STACK_SIZE)."""


@dataclass(slots=True)
class Stored:
    """An element: inclusive end (gardens), expiry in ms of the fake's clock (0: stays), policer."""

    end: bytes = b""
    expiry: int = 0
    policer: str = ""


@dataclass(slots=True)
class FakeSet:
    """A set and its elements by packed key."""

    spec: SetSpec
    elements: dict[bytes, Stored] = field(default_factory=dict)

    def present(self, now: int) -> dict[bytes, Stored]:
        """The elements that have not ended at ``now`` (ms)."""
        return {k: e for k, e in self.elements.items() if not 0 < e.expiry <= now}


@dataclass(slots=True)
class FakeTable:
    """What a table holds. ``undo`` takes the operations back that were done since it was last emptied."""

    flags: int = 0
    chains: dict[str, Chain] = field(default_factory=dict)
    rules: list[tuple[str, Rule]] = field(default_factory=list)
    sets: dict[str, FakeSet] = field(default_factory=dict)
    counters: dict[str, int] = field(default_factory=dict)
    limits: dict[str, int] = field(default_factory=dict)
    undo: list[Callable[[], object]] = field(default_factory=list)

    def perform(self, op: Operation, now: int) -> None:
        """Carry out one operation that needs a table; ``now`` in ms. Raises KernelError."""
        match op:
            case AddElements() | DelElements():
                self._elements(op, now)
            case AddSet() | DelSet() | AddChain() | AddCounter() | AddLimit():
                self._declare(op)
            case DelLimit(name):
                self._del_limit(name)
            case AddRule(chain, rule):
                self._add_rule(chain, rule)
            case _:  # FlushRules; whatever concerns the table itself is the backend's
                self._flush_rules()

    # -- chains, rules, sets, objects ------------------------------------------------------------------------

    def _declare(self, op: AddSet | DelSet | AddChain | AddCounter | AddLimit) -> None:
        match op:
            case AddSet(spec):
                if spec.name in self.sets:
                    raise kernel_error(errno.EEXIST, f"add set {spec.name}")
                self._put(self.sets, spec.name, FakeSet(spec))
            case DelSet(name):
                if name not in self.sets:
                    raise kernel_error(errno.ENOENT, f"delete set {name}")
                if any(name in _sets(rule) for _, rule in self.rules):
                    raise kernel_error(errno.EBUSY, f"delete set {name}")
                self._drop(self.sets, name)
            case AddChain(chain):
                self._put(self.chains, chain.name, self.chains.get(chain.name, chain))
            case AddCounter(name):
                self._put(self.counters, name, self.counters.get(name, 0))
            case AddLimit(name, rate):
                self._put(self.limits, name, self.limits.get(name, rate))

    def _del_limit(self, name: str) -> None:
        if name not in self.limits:
            raise kernel_error(errno.ENOENT, f"delete limit {name}")
        if any(e.policer == name for s in self.sets.values() if s.spec.policed for e in s.elements.values()):
            raise kernel_error(errno.EBUSY, f"delete limit {name}")
        self._drop(self.limits, name)

    def _flush_rules(self) -> None:
        old = list(self.rules)
        self.rules.clear()
        self.undo.append(lambda: self.rules.extend(old))

    def _add_rule(self, chain: str, rule: Rule) -> None:
        counters = [s.name for s in rule if isinstance(s, Count)]
        targets = [s.chain for s in rule if isinstance(s, Verdict) and s.chain]
        known = self.sets.keys() >= set(_sets(rule)) and self.counters.keys() >= set(counters)
        if not known or not self.chains.keys() >= {chain, *targets}:
            raise kernel_error(errno.ENOENT, f"add rule {chain} {rule_text(rule)}")
        self.rules.append((chain, rule))
        self.undo.append(self.rules.pop)
        if targets and self._deep(chain, _DEEPEST):
            raise kernel_error(errno.EMLINK, f"add rule {chain} {rule_text(rule)}")

    def _deep(self, chain: str, left: int) -> bool:
        """Whether jumps from this chain go deeper than allowed, in a circle for instance."""
        targets = {s.chain for c, r in self.rules if c == chain for s in r if isinstance(s, Verdict) and s.chain}
        return not left or any(self._deep(t, left - 1) for t in targets)

    # -- elements --------------------------------------------------------------------------------------------

    def _elements(self, op: AddElements | DelElements, now: int) -> None:
        found = self.sets.get(op.spec.name)
        if found is None:
            raise kernel_error(errno.ENOENT, f"element of set {op.spec.name}")
        for key, ended in [(k, e) for k, e in found.elements.items() if 0 < e.expiry <= now]:
            del found.elements[key]
            self.undo.append(lambda k=key, e=ended: found.elements.setdefault(k, e))  # type: ignore[misc]
        if isinstance(op, AddElements):
            self._add_elements(found, op, now)
        else:
            self._del_elements(found, op)

    def _add_elements(self, found: FakeSet, op: AddElements, now: int) -> None:
        spec, width = found.spec, KEY_BYTES[op.spec.key]
        if bool(op.objects) != spec.policed or (op.timeouts and not spec.timed):
            raise kernel_error(errno.EINVAL, f"element of {spec.text()}")
        for i, key in enumerate(split(op.keys, op.spec.key)):
            policer = op.objects[i] if op.objects else ""
            if policer and policer not in self.limits:
                raise kernel_error(errno.ENOENT, f"limit {policer}")
            end = op.ends[i * width : (i + 1) * width]
            had = found.elements.get(key)
            clash = had.policer != policer or had.end != end if had else bool(end) and _overlaps(found, key, end)
            if clash:
                raise kernel_error(errno.EEXIST, f"add to set {spec.name}")
            if spec.size and had is None and len(found.elements) >= spec.size:
                raise kernel_error(errno.ENFILE, f"add to set {spec.name}")
            self._put(found.elements, key, Stored(end, now + op.timeouts[i] if op.timeouts else 0, policer))

    def _del_elements(self, found: FakeSet, op: DelElements) -> None:
        for key in split(op.keys, op.spec.key):
            # The kernel takes the range in which the first key lies, whatever end was named.
            held = next((k for k, e in found.elements.items() if _within(key, k, e.end)), None) if op.ends else key
            if held in found.elements:
                self._drop(found.elements, held)
            elif not op.maybe:
                raise kernel_error(errno.ENOENT, f"an element to remove, set {op.spec.name}")

    # -- there and back --------------------------------------------------------------------------------------

    def _put(self, where: dict[K, V], key: K, value: V) -> None:
        if key in where:
            old = where[key]
            self.undo.append(lambda: where.__setitem__(key, old))
        else:
            self.undo.append(lambda: where.pop(key))
        where[key] = value

    def _drop(self, where: dict[K, V], key: K) -> None:
        old = where.pop(key)
        self.undo.append(lambda: where.__setitem__(key, old))

    def take_back(self) -> None:
        """Undo what was done since the last transaction."""
        for step in reversed(self.undo):
            step()
        self.undo.clear()


def _sets(rule: Rule) -> list[str]:
    return [s.name for s in rule if isinstance(s, Address | Garden | Policer)]


def _fields(packed: bytes) -> tuple[bytes, int, bytes]:
    """Address, protocol and port of a garden key."""
    return packed[:-8], packed[-8], packed[-4:-2]


def _within(key: bytes, low: bytes, high: bytes) -> bool:
    return all(a <= k <= b for k, a, b in zip(_fields(key), _fields(low), _fields(high), strict=True))  # type: ignore[operator]


def _overlaps(found: FakeSet, low: bytes, high: bytes) -> bool:
    for key, stored in found.elements.items():
        pairs = zip(_fields(key), _fields(stored.end), _fields(low), _fields(high), strict=True)
        if all(a <= d and c <= b for a, b, c, d in pairs):  # type: ignore[operator]
            return True
    return False
