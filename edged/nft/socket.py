"""The kernel as a backend: transactions through netlink, and the questions about our table.

What a kernel can do is tried out once, on a scratch table that the same transaction removes.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable, Iterator
from dataclasses import replace

from edged.errors import KernelBusy, KernelDenied, KernelError, KernelMismatch
from edged.nft import codec, nla
from edged.nft.netlink import Netlink
from edged.nft.schema import TABLE
from edged.nft.sets import SetSpec
from edged.nft.transaction import DelElements, Operation, TableInfo, Transaction, split

_TRIES = 3
"""How often elements are asked for and removed before it counts as an error that one ended in between."""


class KernelBackend:
    """nf_tables through netlink. ``owner`` False leaves the owner flag out (tests, shared tables)."""

    def __init__(self, *, owner: bool = True) -> None:
        self._want_owner = owner
        self._netlink = Netlink()
        self._claims: int | None = None
        self._destroy: bool | None = None

    @property
    def port_id(self) -> int:
        """The netlink port id: what ownership and notifications are told apart by."""
        return self._netlink.port_id

    def close(self) -> None:
        self._netlink.close()

    # -- writing ---------------------------------------------------------------------------------------------

    def commit(self, transaction: Transaction) -> None:
        if not transaction:
            return
        if self._can_destroy():
            self._execute(transaction)
            return
        perhaps = any(isinstance(op, DelElements) and op.maybe for op in transaction.operations)
        for tries_left in reversed(range(_TRIES if perhaps else 1)):
            try:
                self._execute(self._without_missing(transaction))
            except KernelMismatch as e:
                if e.errno != errno.ENOENT or not tries_left:
                    raise  # else one may have ended between question and removal
            else:
                return

    def _without_missing(self, transaction: Transaction) -> Transaction:
        """What kernels before 6.3 need: elements that may be missing are asked for instead of destroyed."""
        out: list[Operation] = []
        for op in transaction.operations:
            if not (isinstance(op, DelElements) and op.maybe):
                out.append(op)
            elif keys := b"".join(k for k in split(op.keys, op.spec.key) if self.holds(op.spec, k) is not None):
                out.append(replace(op, keys=keys))
        return Transaction(out)

    def _execute(self, transaction: Transaction) -> None:
        if transaction:
            destroy = self._can_destroy()
            self._netlink.transact(lambda first: codec.batch(transaction, first, destroy=destroy), "a transaction")

    # -- what this kernel can do -----------------------------------------------------------------------------

    def claims(self) -> int:
        """Owner and persist where the kernel knows both."""
        if not self._want_owner:
            return 0
        if self._claims is None:
            flags = codec.OWNER | codec.PERSIST
            asked = codec.Wire(codec.NEWTABLE, nla.NLM_F_CREATE, nla.be32(2, flags))
            self._claims = flags if self._probe(asked) else 0
        return self._claims

    def _can_destroy(self) -> bool:
        if self._destroy is None:
            missing = nla.text(2, "none") + nla.be32(3, codec.OBJ_LIMIT)
            made = codec.Wire(codec.NEWTABLE, nla.NLM_F_CREATE, b"")
            self._destroy = self._probe(made, codec.Wire(codec.DESTROYOBJ, 0, missing))
        return self._destroy

    def _probe(self, *wires: codec.Wire) -> bool:
        """Whether the kernel takes these messages, their bodies without the table's name."""
        name = nla.text(1, f"{TABLE}-probe-{self.port_id}")
        asked = [w._replace(body=name + w.body) for w in (*wires, codec.Wire(codec.DELTABLE, 0, b""))]
        try:
            self._netlink.transact(lambda first: codec.enclosed(asked, first), "a probe")
        except (KernelDenied, KernelBusy):
            raise  # which says nothing about what the kernel can do
        except KernelError:
            return False
        return True

    # -- reading ---------------------------------------------------------------------------------------------

    def _names(self, kind: int, name_attr: int, extra: bytes = b"") -> Iterator[dict[int, memoryview]]:
        for m in self._netlink.listing(kind, nla.text(1, TABLE) + extra):
            parts = nla.table_of(m.body)
            if 1 in parts and nla.string(parts[1]) == TABLE and name_attr in parts:
                yield parts

    def table(self) -> TableInfo | None:
        for m in self._netlink.ask(codec.GETTABLE, nla.text(1, TABLE)):
            parts = nla.table_of(m.body)
            flags = nla.number(parts[2]) if 2 in parts else 0
            return TableInfo(flags, (nla.number(parts[7]) if 7 in parts else 0) if flags & codec.OWNER else None)
        return None

    def sets(self) -> list[str]:
        names = (nla.string(p[2]) for p in self._names(codec.GETSET, 2))
        return [n for n in names if not n.startswith("__")]

    def chains(self) -> list[str]:
        return [nla.string(p[3]) for p in self._names(codec.GETCHAIN, 3)]

    def limits(self) -> list[str]:
        return [nla.string(p[2]) for p in self._names(codec.GETOBJ, 2, nla.be32(3, codec.OBJ_LIMIT))]

    def counters(self) -> dict[str, tuple[int, int]]:
        out: dict[str, tuple[int, int]] = {}
        for p in self._names(codec.GETOBJ, 2, nla.be32(3, codec.OBJ_COUNTER)):
            data = nla.table_of(p[4])
            out[nla.string(p[2])] = (nla.number(data[2]), nla.number(data[1]))
        return out

    def rule_count(self) -> int:
        return sum(1 for _ in self._names(codec.GETRULE, 3))

    def holds(self, spec: SetSpec, key: bytes) -> int | None:
        for m in self._netlink.ask(codec.GETSETELEM, codec.get_element(spec, key)):
            for element in codec.decode_elements(m.body):
                return element.expires
        return None

    def dump(self, spec: SetSpec) -> Iterable[bytes]:
        found = self._netlink.listing(codec.GETSETELEM, nla.text(1, TABLE) + nla.text(2, spec.name))
        return [e.key + e.end for m in found for e in codec.decode_elements(m.body)]
