"""An atomic stand-in for nf_tables: executes transactions on plain dictionaries, or not at all.

It ships with the package so that every test of the core, and of whoever builds on it, runs without a kernel. It
answers with the errnos the kernel gives; one contract suite (``tests/contract``) holds it against the real one.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from edged.errors import KernelError
from edged.nft.expr import Address, Garden, Policer, Rule, rule_text
from edged.nft.failure import kernel_error
from edged.nft.schema import Chain, SetSpec
from edged.nft.transaction import (
    KEY_BYTES,
    AddChain,
    AddCounter,
    AddElements,
    AddLimit,
    AddRule,
    AddSet,
    AddTable,
    DelElements,
    DelLimit,
    DelSet,
    DelTable,
    FlushRules,
    Operation,
    TableInfo,
    Transaction,
    split,
)

K = TypeVar("K")
V = TypeVar("V")


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


@dataclass(slots=True)
class FakeTable:
    """What a table holds."""

    flags: int = 0
    chains: dict[str, Chain] = field(default_factory=dict)
    rules: list[tuple[str, Rule]] = field(default_factory=list)
    sets: dict[str, FakeSet] = field(default_factory=dict)
    counters: dict[str, int] = field(default_factory=dict)
    limits: dict[str, int] = field(default_factory=dict)


class FakeBackend:
    """The :class:`~edged.nft.transaction.Backend` protocol without a kernel. ``clock`` gives milliseconds."""

    def __init__(self, clock: Callable[[], int], *, claims: int = 6) -> None:
        self.state: FakeTable | None = None
        self.failures: list[int] = []
        """Errnos for the next commits, first one first; 0 lets one pass."""
        self.commits = 0
        self._clock = clock
        self._claims = claims
        self._undo: list[Callable[[], object]] = []

    def commit(self, transaction: Transaction) -> None:
        if not transaction:
            return
        number = self.failures.pop(0) if self.failures else 0
        if number:
            raise kernel_error(number, "a transaction")
        self._undo = []
        try:
            for op in transaction.operations:
                self._apply(op)
            self.commits += 1
        except KernelError:
            for step in reversed(self._undo):
                step()
            raise
        finally:
            self._undo = []

    def _table(self) -> FakeTable:
        if self.state is None:
            raise kernel_error(errno.ENOENT, "a transaction")
        return self.state

    def _apply(self, op: Operation) -> None:
        match op:
            case AddTable(flags):
                before = self.state
                if before is None:
                    self.state = FakeTable(flags)
                    self._undo.append(lambda: setattr(self, "state", None))
            case DelTable():
                before = self._table()
                self.state = None
                self._undo.append(lambda: setattr(self, "state", before))
            case AddChain(chain):
                _insert(self._undo, self._table().chains, chain.name, chain)
            case FlushRules():
                table = self._table()
                old = table.rules
                table.rules = []
                self._undo.append(lambda: setattr(table, "rules", old))
            case AddRule(chain, rule):
                self._add_rule(chain, rule)
            case AddSet(spec):
                if spec.name in self._table().sets:
                    raise kernel_error(errno.EEXIST, f"add set {spec.name}")
                _insert(self._undo, self._table().sets, spec.name, FakeSet(spec))
            case DelSet(name):
                if name not in self._table().sets:
                    raise kernel_error(errno.ENOENT, f"delete set {name}")
                if any(name in _names(r) for _, r in self._table().rules):
                    raise kernel_error(errno.EBUSY, f"delete set {name}")
                _remove(self._undo, self._table().sets, name)
            case AddCounter(name):
                _insert(self._undo, self._table().counters, name, 0)
            case AddLimit(name, rate):
                _insert(self._undo, self._table().limits, name, rate)
            case DelLimit(name):
                table = self._table()
                if name not in table.limits:
                    raise kernel_error(errno.ENOENT, f"delete limit {name}")
                if any(e.policer == name for s in table.sets.values() if s.spec.policed for e in s.elements.values()):
                    raise kernel_error(errno.EBUSY, f"delete limit {name}")
                _remove(self._undo, table.limits, name)
            case AddElements():
                self._add_elements(op)
            case DelElements():
                self._del_elements(op)

    def _add_rule(self, chain: str, rule: Rule) -> None:
        table = self._table()
        missing = [n for n in _names(rule) if n not in table.sets]
        if chain not in table.chains or missing:
            raise kernel_error(errno.ENOENT, f"add rule {chain} {rule_text(rule)}")
        table.rules.append((chain, rule))
        self._undo.append(lambda: table.rules.remove((chain, rule)))

    def _set(self, name: str) -> FakeSet:
        found = self._table().sets.get(name)
        if found is None:
            raise kernel_error(errno.ENOENT, f"element of set {name}")
        return found

    def _add_elements(self, op: AddElements) -> None:
        found, now = self._set(op.spec.name), self._clock()
        for i, key in enumerate(split(op.keys, op.spec.key)):
            policer = op.objects[i] if op.objects else ""
            if policer and policer not in self._table().limits:
                raise kernel_error(errno.ENOENT, f"limit {policer}")
            if found.spec.size and len(found.elements) >= found.spec.size and key not in found.elements:
                raise kernel_error(errno.ENFILE, f"add to set {op.spec.name}")
            width = KEY_BYTES[op.spec.key]
            end = op.ends[i * width : (i + 1) * width]
            expiry = now + op.timeouts[i] if op.timeouts else 0
            _insert(self._undo, found.elements, key, Stored(end, expiry, policer), replace=True)

    def _del_elements(self, op: DelElements) -> None:
        found, now = self._set(op.spec.name), self._clock()
        for key in split(op.keys, op.spec.key):
            held = found.elements.get(key)
            if held is None or (held.expiry and held.expiry <= now):
                if op.maybe:
                    continue
                raise kernel_error(errno.ENOENT, f"delete from set {op.spec.name}")
            _remove(self._undo, found.elements, key)

    # -- questions -------------------------------------------------------------------------------------------

    def table(self) -> TableInfo | None:
        return None if self.state is None else TableInfo(self.state.flags, 1 if self.state.flags & 2 else None)

    def sets(self) -> list[str]:
        return list(self.state.sets) if self.state else []

    def chains(self) -> list[str]:
        return list(self.state.chains) if self.state else []

    def limits(self) -> list[str]:
        return list(self.state.limits) if self.state else []

    def counters(self) -> Mapping[str, tuple[int, int]]:
        return {n: (c, 0) for n, c in self.state.counters.items()} if self.state else {}

    def rule_count(self) -> int:
        return len(self.state.rules) if self.state else 0

    def holds(self, spec: SetSpec, key: bytes) -> int | None:
        found = self.state.sets.get(spec.name) if self.state else None
        held = found.elements.get(key) if found else None
        if held is None:
            return None
        left = held.expiry - self._clock() if held.expiry else 0
        return None if held.expiry and left <= 0 else left

    def dump(self, spec: SetSpec) -> Iterable[bytes]:
        found, now = self._set(spec.name), self._clock()
        return [k + e.end for k, e in found.elements.items() if not e.expiry or e.expiry > now]

    def claims(self) -> int:
        return self._claims

    def close(self) -> None:
        """Nothing to let go of."""


def _names(rule: Rule) -> list[str]:
    return [s.name for s in rule if isinstance(s, Address | Garden | Policer)]


def _insert(undo: list[Callable[[], object]], where: dict[K, V], key: K, value: V, *, replace: bool = False) -> None:
    if key in where:
        if replace:
            old = where[key]
            where[key] = value
            undo.append(lambda: where.__setitem__(key, old))
        return
    where[key] = value
    undo.append(lambda: where.pop(key))


def _remove(undo: list[Callable[[], object]], where: dict[K, V], key: K) -> None:
    old = where.pop(key)
    undo.append(lambda: where.__setitem__(key, old))
