"""One generation of sets: what a change, or a part of a refill, means for it as operations. Pure.

Set names end in the generation's number, limit objects too, so that two generations never share anything and the one
no rule looks at can be filled at leisure.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from edged import plan
from edged.errors import KernelMismatch, SetFull
from edged.nft import garden, schema, sets
from edged.nft.schema import Settings
from edged.nft.sets import SetSpec
from edged.nft.transaction import AddElements, AddLimit, DelElements, DelLimit, Operation
from edged.plan import Change, Element, Owned, Run

SMALLEST = 4096
"""The smallest declared set size."""

CROWDED = 0.75
"""The share of the declared size from which on a larger generation is wanted."""

Ranges = Mapping[tuple[str, int], frozenset[garden.Range]]
"""(garden, IP version) -> its elements."""


def declared_size(elements: int) -> int:
    """The declared size for so many elements: a power of two, at least twice as many."""
    return max(SMALLEST, 1 << (2 * elements - 1).bit_length() if elements else 0)


@dataclass(slots=True)
class Generation:
    """Declared sizes, and how many elements were acknowledged. A timed element counts until its end is carried out."""

    number: int
    settings: Settings
    sizes: dict[tuple[str, int], int]
    counts: dict[tuple[str, int], int] = field(default_factory=lambda: defaultdict(int))

    @classmethod
    def sized(cls, number: int, settings: Settings, elements: Mapping[tuple[str, int], int]) -> Generation:
        """A generation with room for ``elements``: (role, tag) -> how many, about."""
        keys = [(role, tag) for role in plan.ROLES for tag in settings.classes()]
        return cls(number, settings, {k: declared_size(elements.get(k, 0)) for k in keys})

    def spec(self, role: str, tag: int) -> SetSpec:
        """The set for a role and key tag. Raises KernelMismatch for a prefix length that is not configured."""
        if tag not in self.settings.classes():
            raise KernelMismatch(
                f"an address with prefix length {tag} is stored but network.ipv6_prefix_lengths does not list it"
            )
        return sets.element_set(role, tag, self.number, self.sizes.get((role, tag), 0))

    def declared(self) -> list[SetSpec]:
        """Every set of this generation."""
        return schema.all_sets(self.settings, self.number, self.sizes)

    def made(self, name: str) -> bool:
        """Whether a set or limit of this name belongs to this generation."""
        return name.endswith(f"_g{self.number}")

    @property
    def crowded(self) -> bool:
        """Whether a set is so full that a larger generation is wanted."""
        return any(n > CROWDED * self.sizes[k] for k, n in self.counts.items() if self.sizes.get(k))

    # -- operations ------------------------------------------------------------------------------------------

    def write(self, change: Change, now: int) -> Iterator[Operation]:
        """A change at ``now`` (Unix ms), removals first. Raises KernelMismatch where a set has no room.

        Timed elements are taken away before they are set anew, because kernels before 6.12 keep the old timeout of an
        element that is added again. One whose end has passed is left out, yet counted: carrying out its end removes it.
        """
        timed = (Element(e.role, e.key) for e in [*change.remove, *change.add] if e.role in plan.TIMED)
        gone = [*(e for e in change.remove if e.role not in plan.TIMED), *dict.fromkeys(timed)]
        for (role, tag), group in _grouped(gone).items():
            yield DelElements(self.spec(role, tag), _keys(group), maybe=role in plan.TIMED)
        for name, rate in change.limits_add.items():
            yield AddLimit(f"{name}_g{self.number}", rate)
        for (role, tag), group in _grouped(change.add).items():
            spec = self.spec(role, tag)
            if spec.size and self.counts[role, tag] + len(group) > spec.size:
                raise SetFull(f"set {spec.name} is full ({spec.size}); growing it")
            lasting = [e for e in group if not 0 < e.expiry <= now]
            timeouts = tuple(e.expiry - now for e in lasting) if role in plan.TIMED else ()
            objects = tuple(f"{e.policer}_g{self.number}" for e in lasting) if role in plan.POLICED else ()
            if lasting:
                yield AddElements(spec, _keys(lasting), timeouts, objects)
        for name in change.limits_remove:
            yield DelLimit(f"{name}_g{self.number}")

    def restate(self, whole: Mapping[bytes, Owned | None], now: int) -> Iterator[Operation]:
        """Whatever the sets hold for these addresses, they then hold what ``whole`` says; None: nothing.

        Not counted, and policers are left behind: the next refill makes both right.
        """
        keys: dict[int, list[bytes]] = defaultdict(list)
        for key in whole:
            keys[key[0]].append(key)
        for tag, group in keys.items():
            packed = b"".join(k[1:] for k in group)
            for role in plan.ROLES:
                yield DelElements(self.spec(role, tag), packed, maybe=True)
        found = [e for key, owned in whole.items() if owned for e in plan.elements(key, owned)]
        yield from self.write(Change(add=found, limits_add=plan.limits_of(found)), now)

    def write_restricted(self, run: Run) -> Operation:
        """A run of keys into a restricted set."""
        return AddElements(self.spec(plan.RESTRICTED, run.tag), run.keys)

    def write_gardens(self, wanted: Ranges, have: Ranges) -> Iterator[Operation]:
        """The gardens from ``have`` to ``wanted``."""
        for (name, version), ranges in wanted.items():
            spec = SetSpec(sets.garden_name(name, version, self.number), f"garden{version}")
            old = have.get((name, version), frozenset())
            yield from _ranges(DelElements, spec, old - ranges)
            yield from _ranges(AddElements, spec, ranges - old)

    # -- counts ----------------------------------------------------------------------------------------------

    def count(self, change: Change) -> None:
        """Take note of an acknowledged change."""
        for sign, elements in ((-1, change.remove), (1, change.add)):
            for at, n in Counter([(e.role, e.key[0]) for e in elements]).items():
                self.counts[at] = max(self.counts[at] + sign * n, 0)

    def count_restricted(self, run: Run) -> None:
        """Take note of an acknowledged run."""
        width = 4 if run.tag == plan.V4_TAG else 16
        self.counts[plan.RESTRICTED, run.tag] += len(run.keys) // width


def _grouped(elements: Iterable[Element]) -> dict[tuple[str, int], list[Element]]:
    out: dict[tuple[str, int], list[Element]] = defaultdict(list)
    for e in elements:
        out[e.role, e.key[0]].append(e)
    return out


def _keys(group: Iterable[Element]) -> bytes:
    return b"".join(e.key[1:] for e in group)


def _ranges(
    kind: type[AddElements | DelElements], spec: SetSpec, ranges: Iterable[garden.Range]
) -> Iterator[AddElements | DelElements]:
    found = sorted(ranges)
    if found:
        yield kind(spec, b"".join(r.low for r in found), ends=b"".join(r.high for r in found))
