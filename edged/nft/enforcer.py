"""Keeps the kernel's table equal to what the store says. The only caller of a backend's ``commit``.

Theory of operation:

1. Commands give small :class:`~edged.plan.Change` values; each is one transaction.
2. Doubt of any kind (start, error, drift, a set too full) is answered by one means, the refill: sets of the next
   *generation*, which no rule looks at, are filled in chunks in key order; one last transaction switches the rules
   over and removes the old generation. No packet ever sees a half-filled set.
3. A refill may be interleaved with changes. It walks keys upwards, so a change belongs into the new generation exactly
   where its key lies at or below the walk's cursor; everything above will be read later from the store, which
   already has it.
4. What is achieved is known only from acknowledged transactions. After any error ``synced`` is False until a refill ends.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from edged import plan
from edged.errors import KernelError, KernelMismatch
from edged.nft import garden, schema
from edged.nft.schema import SetSpec, Settings
from edged.nft.transaction import (
    AddChain,
    AddCounter,
    AddElements,
    AddLimit,
    AddRule,
    AddSet,
    AddTable,
    Backend,
    DelElements,
    DelLimit,
    DelSet,
    DelTable,
    FlushRules,
    Transaction,
)
from edged.plan import Change, Element, Owned

CHUNK = 16_384
"""Keys in one transaction of a refill: some 8 ms of kernel work, so that a command beside it waits no longer."""

SMALLEST = 4096
"""The smallest declared set size."""

_FULL, _CROWDED = 1.0, 0.75
_GENERATION = re.compile(r"_g(\d+)$")


class Source(Protocol):
    """Where a refill reads the desired state from (the store)."""

    def counts(self) -> Mapping[tuple[str, int], int]:
        """(role, tag) -> elements there will be, about."""

    def restricted(self, after: bytes, limit: int) -> Sequence[bytes]:
        """Up to ``limit`` keys of restricted addresses above ``after``, ascending."""

    def special(self, after: bytes, limit: int) -> Sequence[tuple[bytes, Owned]]:
        """The same for addresses that need more than the restricted set, with their entries."""


@dataclass(slots=True)
class Generation:
    """The sets of one generation: declared sizes and how many elements were acknowledged."""

    number: int
    sizes: dict[tuple[str, int], int]
    counts: dict[tuple[str, int], int] = field(default_factory=lambda: defaultdict(int))


@dataclass(slots=True)
class Cursor:
    """How far a refill has come: the last key of each walk, and whether the walk is over."""

    restricted: bytes = b""
    special: bytes = b""
    restricted_done: bool = False
    special_done: bool = False

    def passed(self, element: Element) -> bool:
        """Whether the refill has already read this element's key."""
        if element.role == plan.RESTRICTED:
            return self.restricted_done or element.key <= self.restricted
        return self.special_done or element.key <= self.special


def declared_size(elements: int) -> int:
    """The declared size for so many elements: a power of two, at least twice as many."""
    return max(SMALLEST, 1 << (2 * elements - 1).bit_length() if elements else 0)


class Enforcer:
    """One table. Not safe for several threads; constructor touches nothing."""

    def __init__(self, backend: Backend, settings: Settings) -> None:
        self.backend = backend
        self.settings = settings
        self.synced = False
        self.live: Generation | None = None
        self._next: Generation | None = None
        self._cursor = Cursor()
        self._spoiled = False
        """A change beside the refill did not reach the generation being filled."""
        self._gardens: dict[tuple[str, int], frozenset[garden.Range]] = {}

    # -- small changes ---------------------------------------------------------------------------------------

    def apply(self, change: Change, now: int) -> None:
        """Bring a change into force as one transaction; ``now`` in Unix ms. Raises KernelError and is then unsynced.

        Without a live generation nothing is done: the refill under way, or the next one, reads the change from the
        store.
        """
        if not change:
            return
        transaction = Transaction()
        counted: list[tuple[Generation, Element, int]] = []
        if self.live:
            self._write(transaction, self.live, change, now, counted)
        if self._next:
            seen = self._cursor.passed
            part = Change(
                [e for e in change.remove if seen(e)],
                [e for e in change.add if seen(e)],
                change.limits_add,
                # A limit the refill may still be going to name stays; the next refill drops what nobody uses.
                {n for n in change.limits_remove if self._cursor.special_done},
            )
            self._write(transaction, self._next, part, now, counted)
        self._commit(transaction)
        for generation, element, step in counted:
            generation.counts[element.role, element.key[0]] += step

    def _commit(self, transaction: Transaction) -> None:
        try:
            self.backend.commit(transaction)
        except KernelError:
            self.synced = False
            self._spoiled = True
            raise

    def _spec(self, generation: Generation, role: str, tag: int) -> SetSpec:
        if tag not in self.settings.classes():
            raise KernelMismatch(
                f"an address with prefix length {tag} is stored but network.ipv6_prefix_lengths does not list it"
            )
        return schema.element_set(role, tag, generation.number, generation.sizes.get((role, tag), 0))

    def _write(
        self,
        out: Transaction,
        generation: Generation,
        change: Change,
        now: int,
        counted: list[tuple[Generation, Element, int]],
    ) -> None:
        """Append a change for one generation: timed elements are taken away before they are set anew, because
        kernels before 6.12 keep the old timeout of an element that is added again."""
        g = generation.number
        gone = [*change.remove, *(e for e in change.add if e.expiry and e not in change.remove)]
        for (role, tag), group in _grouped(gone).items():
            spec = self._spec(generation, role, tag)
            out.add(DelElements(spec, _keys(group), maybe=role in plan.TIMED))
        out.add(*(AddLimit(f"{n}_g{g}", rate) for n, rate in change.limits_add.items()))
        for (role, tag), group in _grouped(change.add).items():
            spec = self._spec(generation, role, tag)
            if generation.counts[role, tag] + len(group) > spec.size * _FULL and spec.size:
                self.synced = False
                self._spoiled = True
                raise KernelMismatch(f"set {spec.name} is full ({spec.size}); growing it")
            timeouts = tuple(max(e.expiry - now, 1) for e in group) if role in plan.TIMED else ()
            objects = tuple(f"{e.policer}_g{g}" for e in group) if role in plan.POLICED else ()
            out.add(AddElements(spec, _keys(group), timeouts, objects))
        out.add(*(DelLimit(f"{n}_g{g}") for n in change.limits_remove))
        counted += [(generation, e, -1) for e in change.remove]
        counted += [(generation, e, 1) for e in change.add]

    @property
    def crowded(self) -> bool:
        """Whether a set is so full that a refill with larger sets should begin."""
        if not self.live or self._next:
            return False
        return any(n > _CROWDED * self.live.sizes[k] for k, n in self.live.counts.items() if self.live.sizes.get(k))

    # -- gardens ---------------------------------------------------------------------------------------------

    def set_gardens(self, openings: Mapping[str, Iterable[garden.Opening]]) -> None:
        """Make the gardens (``open``, ``garden``) hold exactly these openings, as one transaction."""
        wanted = {(g, v): garden.ranges(openings.get(g, ()), v) for g in schema.GARDENS for v in (4, 6)}
        transaction = Transaction()
        for generation in filter(None, (self.live, self._next)):
            for (name, version), ranges in wanted.items():
                spec = SetSpec(schema.garden_name(name, version, generation.number), f"garden{version}")
                have = self._gardens.get((name, version), frozenset())
                transaction.add(*_ranges(DelElements, spec, have - ranges), *_ranges(AddElements, spec, ranges - have))
        self._gardens = wanted
        self._commit(transaction)

    # -- refill ----------------------------------------------------------------------------------------------

    def refill(self, source: Source, clock: Callable[[], int]) -> Iterator[None]:
        """Bring the kernel to what ``source`` says; each step is one transaction, after which it yields.

        ``clock`` gives Unix ms.
        Raises KernelError; the live generation then still stands as it was and a new refill may be begun.
        """
        try:
            yield from self._refill(source, clock)
        except KernelError:
            self.synced = False
            raise
        finally:
            self._next = None

    def _refill(self, source: Source, clock: Callable[[], int]) -> Iterator[None]:
        generation = Generation(self._newest() + 1, self._sizes(source))
        self._begin(generation)
        self._next, self._cursor, self._spoiled = generation, Cursor(), False
        yield
        while keys := source.restricted(self._cursor.restricted, CHUNK):
            self._fill(generation, Change(), 0, keys)
            self._cursor.restricted = keys[-1]
            yield
        self._cursor.restricted_done = True
        while rows := source.special(self._cursor.special, CHUNK // 4):
            now = clock()
            found = [e for key, owned in rows for e in plan.elements(key, owned, now) if e.role != plan.RESTRICTED]
            self._fill(generation, Change(add=found, limits_add=plan.limits_of(found)), now, ())
            self._cursor.special = rows[-1][0]
            yield
        self._cursor.special_done = True
        if self._spoiled:
            raise KernelMismatch("a change failed beside the refill; it begins again")
        self._switch(generation)
        self.live, self.synced = generation, True
        yield
        self._sweep(generation)

    def _newest(self) -> int:
        """The highest generation in the table, also one left half-filled by a daemon that died."""
        found = (_GENERATION.search(name) for name in self.backend.sets())
        return max((int(m[1]) for m in found if m), default=0)

    def _sizes(self, source: Source) -> dict[tuple[str, int], int]:
        counts = source.counts()
        return {
            (r, t): declared_size(counts.get((r, t), 0)) for r in plan.ROLES for t in self.settings.classes()
        }

    def _begin(self, generation: Generation) -> None:
        info, flags = self.backend.table(), self.backend.claims()
        if info and info.owner is None and flags:
            # A table made without an owner (older kernel or edged) cannot be claimed in place; drift is watched instead.
            flags = info.flags
        transaction = Transaction([AddTable(flags)])
        transaction.add(*(AddCounter(c) for c in schema.COUNTERS))
        have = set(self.backend.chains()) if info else set()
        transaction.add(*(AddChain(c) for c in schema.chains(self.settings) if c.name not in have))
        specs = schema.all_sets(self.settings, generation.number, generation.sizes)
        transaction.add(*(AddSet(s) for s in specs))
        for (name, version), ranges in self._gardens.items():
            spec = SetSpec(schema.garden_name(name, version, generation.number), f"garden{version}")
            transaction.add(*_ranges(AddElements, spec, ranges))
        self._commit(transaction)

    def _fill(self, generation: Generation, change: Change, now: int, keys: Sequence[bytes]) -> None:
        transaction = Transaction()
        counted: list[tuple[Generation, Element, int]] = []
        self._write(transaction, generation, change, now, counted)
        for tag, packed, n in _by_tag(keys):
            transaction.add(AddElements(self._spec(generation, plan.RESTRICTED, tag), packed))
            generation.counts[plan.RESTRICTED, tag] += n
        self._commit(transaction)
        for _, element, step in counted:
            generation.counts[element.role, element.key[0]] += step

    def _switch(self, generation: Generation) -> None:
        """The one moment: rules of the new generation in, old rules and sets out."""
        transaction = Transaction([FlushRules()])
        transaction.add(*(AddRule(c, r) for c, r in schema.rules(self.settings, generation.number)))
        transaction.add(*(DelSet(n) for n in self.backend.sets() if not n.endswith(f"_g{generation.number}")))
        self._commit(transaction)

    def _sweep(self, generation: Generation) -> None:
        """Policers of older generations: nobody names them any more."""
        old = [n for n in self.backend.limits() if not n.endswith(f"_g{generation.number}")]
        for at in range(0, len(old), CHUNK):
            self._commit(Transaction([DelLimit(n) for n in old[at : at + CHUNK]]))

    # -- questions and the end -------------------------------------------------------------------------------

    def intact(self) -> bool:
        """Whether the table still has our sets, chains and rules (elements are not read)."""
        if not self.live:
            return False
        number = self.live.number
        sets = {n for n in self.backend.sets() if n.endswith(f"_g{number}")}
        if sets != {s.name for s in schema.all_sets(self.settings, number, {})}:
            return False
        if {c.name for c in schema.chains(self.settings)} - set(self.backend.chains()):
            return False
        return self.backend.rule_count() == sum(1 for _ in schema.rules(self.settings, number))

    def truth(self, key: bytes) -> dict[str, int]:
        """The roles in whose live sets the kernel holds ``key`` -> ms left (0: no timeout)."""
        if not self.live or key[0] not in self.settings.classes():
            return {}
        found = {r: self.backend.holds(self._spec(self.live, r, key[0]), key[1:]) for r in plan.ROLES}
        return {r: left for r, left in found.items() if left is not None}

    def set_counts(self) -> dict[str, int]:
        """Set name without generation -> acknowledged elements."""
        if not self.live:
            return {}
        return {f"{r}{schema.class_name(t)}": self.live.counts[r, t] for r, t in self.live.sizes}

    def clear(self) -> None:
        """Remove the table: no restriction stays. Adopts it first where it is an orphan."""
        info = self.backend.table()
        if info is None:
            return
        if info.owner == 0:
            self._commit(Transaction([AddTable(info.flags)]))
        self._commit(Transaction([DelTable()]))
        self.live, self.synced = None, False


def _grouped(elements: Iterable[Element]) -> dict[tuple[str, int], list[Element]]:
    out: dict[tuple[str, int], list[Element]] = defaultdict(list)
    for e in elements:
        out[e.role, e.key[0]].append(e)
    return out


def _keys(group: Iterable[Element]) -> bytes:
    return b"".join(e.key[1:] for e in group)


def _by_tag(keys: Sequence[bytes]) -> Iterator[tuple[int, bytes, int]]:
    """Ascending keys as (tag, packed keys without tags, count)."""
    if not keys:
        return
    if keys[0][0] == keys[-1][0]:
        yield keys[0][0], _strip(b"".join(keys), len(keys[0])), len(keys)
        return
    groups: dict[int, list[bytes]] = defaultdict(list)
    for k in keys:
        groups[k[0]].append(k)
    for tag, group in groups.items():
        yield tag, _strip(b"".join(group), len(group[0])), len(group)


def _strip(packed: bytes, width: int) -> bytes:
    """Packed keys without their tag bytes."""
    return np.frombuffer(packed, np.uint8).reshape(-1, width)[:, 1:].tobytes()


def _ranges(
    kind: type[AddElements] | type[DelElements], spec: SetSpec, ranges: Iterable[garden.Range]
) -> Iterator[AddElements | DelElements]:
    found = sorted(ranges)
    if found:
        yield kind(spec, b"".join(r.low for r in found), ends=b"".join(r.high for r in found))
