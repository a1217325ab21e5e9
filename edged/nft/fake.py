"""An atomic stand-in for nf_tables: executes transactions on plain dictionaries, or not at all.

It ships with the package so that every test of the core, and of whoever builds on it, runs without a kernel. It
answers with the errnos the kernel gives; one contract suite (``tests/contract``) holds it against the real one.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable, Mapping

from edged.errors import KernelError
from edged.nft.codec import OWNER, PERSIST
from edged.nft.failure import kernel_error
from edged.nft.faketable import FakeTable, Stored
from edged.nft.sets import SetSpec
from edged.nft.transaction import AddTable, DelTable, Operation, TableInfo, Transaction


class FakeBackend:
    """The :class:`~edged.nft.transaction.Backend` protocol without a kernel. ``clock`` gives milliseconds."""

    def __init__(self, clock: Callable[[], int], *, claims: int = OWNER | PERSIST) -> None:
        self.state: FakeTable | None = None
        self.failures: list[int] = []
        """Errnos for the next commits, first one first; 0 lets one pass."""
        self.commits = 0
        self._clock = clock
        self._claims = claims

    def commit(self, transaction: Transaction) -> None:
        if not transaction:
            return
        number = self.failures.pop(0) if self.failures else 0
        if number:
            raise kernel_error(number, "a transaction")
        before, flags = self.state, self.state.flags if self.state else 0
        try:
            for op in transaction.operations:
                self._perform(op)
        except KernelError:
            self.state = before
            if before:
                before.take_back()
                before.flags = flags
            raise
        self.commits += 1
        if self.state:
            self.state.undo.clear()

    def _perform(self, op: Operation) -> None:
        if isinstance(op, AddTable) and self.state is None:
            self.state = FakeTable(op.flags)
        elif self.state is None:
            raise kernel_error(errno.ENOENT, "a transaction")
        elif isinstance(op, AddTable):
            adopted = self.state.flags == PERSIST and op.flags == OWNER | PERSIST
            if op.flags != self.state.flags and not adopted:
                raise kernel_error(errno.EOPNOTSUPP, "a table with other flags")
            self.state.flags = op.flags
        elif isinstance(op, DelTable):
            self.state = None
        else:
            self.state.perform(op, self._clock())

    # -- questions -------------------------------------------------------------------------------------------

    def table(self) -> TableInfo | None:
        return TableInfo(self.state.flags, 1 if self.state.flags & OWNER else None) if self.state else None

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

    def elements(self, name: str) -> dict[bytes, Stored]:
        """What the set holds now; empty where there is no such set."""
        found = self.state.sets.get(name) if self.state else None
        return found.present(self._clock()) if found else {}

    def holds(self, spec: SetSpec, key: bytes) -> int | None:
        found = self.state.sets.get(spec.name) if self.state else None
        held = found.elements.get(key) if found else None
        if held is None:
            return None
        left = held.expiry - self._clock()
        return None if held.expiry and left <= 0 else max(left, 0)

    def dump(self, spec: SetSpec) -> Iterable[bytes]:
        return [k + e.end for k, e in self.elements(spec.name).items()]

    def claims(self) -> int:
        return self._claims

    def close(self) -> None:
        """What the kernel does when the owner's socket closes: the table stays, as an orphan, if it is to persist."""
        if self.state and self.state.flags & OWNER:
            self.state.flags &= ~OWNER
            if not self.state.flags & PERSIST:
                self.state = None
