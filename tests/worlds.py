"""Where the core is tested: the fake, or the real kernel in a namespace of its own; small helpers for both."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from edged import plan
from edged.nft import sets
from edged.nft.enforcer import Enforcer
from edged.nft.fake import FakeBackend
from edged.nft.schema import Settings
from edged.nft.socket import KernelBackend
from edged.nft.transaction import Backend
from edged.plan import Element, Owned, Run
from tests.lab.netns import Namespace, unique_tag

RULES = Settings(interfaces=("subs0", "ppp*"), prefix_lengths=(64, 56))


def clock() -> int:
    """Unix milliseconds."""
    return time.time_ns() // 1_000_000


def until(condition: Callable[[], object], *, seconds: float = 10.0) -> None:
    """Wait for a condition; fails when it does not come true in time."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "what was waited for did not happen"
        time.sleep(0.005)


def turns(before: Mapping[bytes, Owned], after: Mapping[bytes, Owned]) -> dict[bytes, plan.Turn]:
    """Each address's before and after, as ``plan.diff`` takes them."""
    return {key: (before.get(key), after.get(key)) for key in before.keys() | after.keys()}


@contextmanager
def namespace() -> Iterator[Namespace]:
    """A network namespace that goes away again."""
    space = Namespace(f"{unique_tag()}-core")
    space.create()
    try:
        yield space
    finally:
        space.delete()


def kernel_backend(space: Namespace, *, owner: bool = True) -> KernelBackend:
    """A backend whose netlink socket lives in the namespace."""
    backend = KernelBackend(owner=owner)
    space.call(lambda: backend.port_id)
    return backend


@contextmanager
def attached(space: Namespace, *, owner: bool = True) -> Iterator[KernelBackend]:
    """The same, closed at the end; the table stays where it persists."""
    backend = kernel_backend(space, owner=owner)
    try:
        yield backend
    finally:
        backend.close()


@dataclass
class DictSource:
    """A refill's source over a plain dictionary, read anew with each question as the store is."""

    desired: dict[bytes, Owned] = field(default_factory=dict)

    def counts(self) -> Mapping[tuple[str, int], int]:
        out: dict[tuple[str, int], int] = {}
        for key, owned in self.desired.items():
            for e in plan.elements(key, owned):
                out[e.role, key[0]] = out.get((e.role, key[0]), 0) + 1
        return out

    def restricted(self, after: bytes, limit: int) -> Run | None:
        keys = sorted(k for k, o in self.desired.items() if o.entry.level and k > after)[:limit]
        same = [k for k in keys if k[0] == keys[0][0]]
        return Run(same[0][0], b"".join(k[1:] for k in same), same[-1]) if same else None

    def special(self, after: bytes, limit: int) -> Sequence[tuple[bytes, Owned]]:
        found = ((k, o) for k, o in sorted(self.desired.items()) if k > after and len(plan.elements(k, o)) > 1)
        return [row for row, _ in zip(found, range(limit), strict=False)]


def refill(enforcer: Enforcer, source: DictSource) -> None:
    """A refill from beginning to end."""
    for _ in enforcer.refill(source, clock):
        pass


def held(backend: Backend, generation: int, settings: Settings = RULES) -> dict[str, set[bytes]]:
    """The keys in each element set of a generation, sets without any left out."""
    specs = (sets.element_set(r, t, generation) for t in settings.classes() for r in plan.ROLES)
    return {s.name: found for s in specs if (found := set(backend.dump(s)))}


def wanted(desired: Mapping[bytes, Owned], generation: int, now: int) -> dict[str, set[bytes]]:
    """What :func:`held` should say at ``now`` (Unix ms)."""
    out: dict[str, set[bytes]] = {}
    for key, owned in desired.items():
        for e in plan.elements(key, owned):
            if not 0 < e.expiry <= now:
                out.setdefault(sets.set_name(e.role, key[0], generation), set()).add(key[1:])
    return out


def limits_wanted(desired: Mapping[bytes, Owned], generation: int) -> set[str]:
    """The policers that the desired state needs."""
    found: list[Element] = [e for k, o in desired.items() for e in plan.elements(k, o)]
    return {f"{name}_g{generation}" for name in plan.limits_of(found)}


def fake_backend() -> FakeBackend:
    """A fake on the real clock, so that both worlds wait alike."""
    return FakeBackend(clock)


def v4(number: int) -> bytes:
    """The key of the ``number``-th address of 100.64.0.0/10."""
    return bytes([4]) + ((100 << 24 | 64 << 16) + number).to_bytes(4)


def v6(number: int, length: int = 56) -> bytes:
    """The key of the ``number``-th prefix of this length under 2001:db8::/32."""
    return bytes([length]) + ((0x20010DB8 << 96) | number << (128 - length)).to_bytes(16)
