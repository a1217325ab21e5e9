"""Bare transactions: the fake answers as the kernel does, and a refused one changes nothing at all."""

from __future__ import annotations

import errno
from dataclasses import dataclass
from ipaddress import ip_network

import pytest

from edged.errors import KernelBusy, KernelDenied, KernelError, KernelMismatch
from edged.nft.action import Count, Verdict
from edged.nft.codec import OWNER, PERSIST
from edged.nft.expr import WHOLE4, Address, Garden, Policer, Rule
from edged.nft.garden import Opening, ranges
from edged.nft.schema import Chain
from edged.nft.sets import SetSpec
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
    Operation,
    Transaction,
)
from tests.worlds import until

PLAIN = SetSpec("plain", "ipv4")
WIDE = SetSpec("wide", "ipv6")
SMALL = SetSpec("small", "ipv4", size=4)
TIMED = SetSpec("timed", "ipv4", timed=True)
POLICED = SetSpec("policed", "ipv4", policed=True)
GARDEN = SetSpec("garden4", "garden4")
SPECS = (PLAIN, WIDE, SMALL, TIMED, POLICED, GARDEN)

A, B, C, D, E = (bytes([100, 64, 0, n]) for n in range(1, 6))
SIX = bytes.fromhex("20010db8000000000000000000000000")
ACCEPT = Verdict("accept")


def opening(network: str, *ports: int) -> AddElements:
    """The garden elements of one network, or of one TCP port range there."""
    made = Opening(ip_network(network), 6, 6, *ports) if ports else Opening(ip_network(network))
    found = sorted(ranges([made], 4))
    return AddElements(GARDEN, b"".join(r.low for r in found), ends=b"".join(r.high for r in found))


def closing(network: str, *ports: int) -> DelElements:
    """The same for taking it away."""
    op = opening(network, *ports)
    return DelElements(op.spec, op.keys, op.ends)


def on(name: str, *rule: object) -> AddRule:
    return AddRule(name, tuple(rule))  # type: ignore[arg-type]


BASIS: tuple[Operation, ...] = (
    AddTable(0),
    AddChain(Chain("first")),
    AddChain(Chain("second")),
    AddChain(Chain("forward", 2)),
    AddCounter("counted"),
    AddLimit("slow", 256),
    AddLimit("fast", 1024),
    *(AddSet(s) for s in SPECS),
    AddElements(PLAIN, A + B),
    AddElements(SMALL, A + B + C),
    AddElements(TIMED, A, (3_600_000,)),
    AddElements(POLICED, A, objects=("slow",)),
    opening("192.0.2.0/25"),
    on("first", Address("s", WHOLE4, "plain"), Count("counted"), ACCEPT),
    on("forward", Verdict("jump", "first")),
)


@dataclass(frozen=True)
class Picture:
    """Everything a backend can be asked for."""

    sets: frozenset[str]
    chains: frozenset[str]
    limits: frozenset[str]
    counters: frozenset[str]
    rules: int
    elements: tuple[frozenset[bytes], ...]

    @classmethod
    def of(cls, backend: Backend) -> Picture:
        sets = backend.sets()
        return cls(
            frozenset(sets),
            frozenset(backend.chains()),
            frozenset(backend.limits()),
            frozenset(backend.counters()),
            backend.rule_count(),
            tuple(frozenset(backend.dump(s)) if s.name in sets else frozenset() for s in SPECS),
        )


@pytest.fixture
def made(backend: Backend) -> Backend:
    """A backend with the basis in it."""
    backend.commit(Transaction(list(BASIS)))
    return backend


MIXED: Rule = (Address("s", WHOLE4, "plain"), ACCEPT)

REFUSED: dict[str, tuple[int, list[Operation]]] = {
    "removing an element that is not there": (errno.ENOENT, [DelElements(PLAIN, C)]),
    "removing one that is there and one that is not": (errno.ENOENT, [DelElements(PLAIN, A + C)]),
    "removing an element twice": (errno.ENOENT, [DelElements(PLAIN, A), DelElements(PLAIN, A)]),
    "an element of a set that is not there": (errno.ENOENT, [AddElements(SetSpec("none", "ipv4"), A)]),
    "removing from a set that is not there": (errno.ENOENT, [DelElements(SetSpec("none", "ipv4"), A)]),
    "a set that is there": (errno.EEXIST, [AddSet(PLAIN)]),
    "removing a set that is not there": (errno.ENOENT, [DelSet("none")]),
    "removing a set that a rule names": (errno.EBUSY, [DelSet("plain")]),
    "one element too many": (errno.ENFILE, [AddElements(SMALL, D + E)]),
    "one too many although one goes": (errno.ENFILE, [DelElements(SMALL, A), AddElements(SMALL, A + D + E)]),
    "a policer that is not there": (errno.ENOENT, [AddElements(POLICED, B, objects=("none",))]),
    "another policer for an address that has one": (errno.EEXIST, [AddElements(POLICED, A, objects=("fast",))]),
    "no policer in a map": (errno.EINVAL, [AddElements(POLICED, B)]),
    "a policer in a set": (errno.EINVAL, [AddElements(PLAIN, C, objects=("slow",))]),
    "a timeout in a set without": (errno.EINVAL, [AddElements(PLAIN, C, (1000,))]),
    "removing a policer in use": (errno.EBUSY, [DelLimit("slow")]),
    "removing a policer that is not there": (errno.ENOENT, [DelLimit("none")]),
    "a rule in a chain that is not there": (errno.ENOENT, [on("none", ACCEPT)]),
    "a rule naming a set that is not there": (errno.ENOENT, [on("second", Address("s", WHOLE4, "none"), ACCEPT)]),
    "a rule naming a map that is not there": (errno.ENOENT, [on("second", Policer("s", WHOLE4, "none"), ACCEPT)]),
    "a rule naming a garden that is not there": (errno.ENOENT, [on("second", Garden("d", 4, "none"), ACCEPT)]),
    "a rule naming a counter that is not there": (errno.ENOENT, [on("second", Count("none"))]),
    "a rule going to a chain that is not there": (errno.ENOENT, [on("second", Verdict("goto", "none"))]),
    "chains that jump in a circle": (
        errno.EMLINK,
        [on("first", Verdict("jump", "second")), on("second", Verdict("jump", "first"))],
    ),
    "claiming a table that was made without an owner": (errno.EOPNOTSUPP, [AddTable(OWNER | PERSIST)]),
    "a garden over a garden": (errno.EEXIST, [opening("192.0.2.0/24")]),
    "a garden within a garden": (errno.EEXIST, [opening("192.0.2.7/32")]),
    "a port within a garden": (errno.EEXIST, [opening("192.0.2.0/25", 443, 443)]),
    "removing a garden beside the one there is": (errno.ENOENT, [closing("192.0.2.128/25")]),
    "much that is right before what is wrong": (
        errno.ENOENT,
        [
            FlushRules(),
            AddLimit("new", 64),
            AddSet(SetSpec("fresh", "ipv4")),
            AddElements(SetSpec("fresh", "ipv4"), A + B),
            AddElements(POLICED, C, objects=("new",)),
            AddElements(TIMED, A + B, (5000, 5000)),
            AddElements(WIDE, SIX),
            DelElements(PLAIN, A),
            closing("192.0.2.0/25"),
            opening("192.0.2.0/24"),
            DelSet("small"),
            AddChain(Chain("third")),
            on("third", *MIXED),
            AddCounter("more"),
            DelElements(PLAIN, C),
        ],
    ),
    "removing the table before what is wrong": (errno.ENOENT, [DelTable(), AddElements(PLAIN, A)]),
}

TAKEN: dict[str, list[Operation]] = {
    "an element that is there": [AddElements(PLAIN, A)],
    "the same range of a garden again": [opening("192.0.2.0/25")],
    "gardens side by side": [
        opening("192.0.2.128/25"),
        opening("198.51.100.0/24", 443, 443),
        opening("198.51.100.0/24", 80, 80),
    ],
    "a chain, a counter, a policer, the table that are there": [
        AddTable(0),
        AddChain(Chain("first")),
        AddCounter("counted"),
        AddLimit("slow", 256),
    ],
    "room made and taken": [DelElements(SMALL, A + B), AddElements(SMALL, A + D + E)],
    "the full set's own elements again": [AddElements(SMALL, D), AddElements(SMALL, A + D)],
    "another policer when the old element goes": [
        DelElements(POLICED, A),
        AddElements(POLICED, A, objects=("fast",)),
        DelLimit("slow"),
    ],
    "a used set when its rules go": [FlushRules(), DelSet("plain")],
    "a map with its elements, then their policer": [DelSet("policed"), DelLimit("slow")],
    "no rules to remove": [FlushRules(), FlushRules()],
    "added and removed": [AddElements(PLAIN, C), DelElements(PLAIN, C)],
    "removed and added": [DelElements(PLAIN, A), AddElements(PLAIN, A)],
    "perhaps removing what is there and what is not": [DelElements(TIMED, A + B, maybe=True)],
    "perhaps removing from a set without it": [DelElements(PLAIN, C + D, maybe=True)],
    "a part of a garden's beginning takes the whole": [closing("192.0.2.0/26"), opening("192.0.2.0/24")],
    "nothing": [],
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_refused_transaction_says_why_and_changes_nothing(made: Backend, case: str) -> None:
    number, operations = REFUSED[case]
    before = Picture.of(made)
    with pytest.raises(KernelError) as caught:
        made.commit(Transaction(operations))
    assert errno.errorcode[caught.value.errno] == errno.errorcode[number]
    assert Picture.of(made) == before
    made.commit(Transaction([AddElements(PLAIN, E)]))
    assert E in set(made.dump(PLAIN))


@pytest.mark.parametrize("case", TAKEN)
def test_a_transaction_is_taken(made: Backend, case: str) -> None:
    made.commit(Transaction(TAKEN[case]))


def test_what_was_taken_is_there(made: Backend) -> None:
    assert Picture.of(made) == Picture(
        sets=frozenset(s.name for s in SPECS),
        chains=frozenset({"first", "second", "forward"}),
        limits=frozenset({"slow", "fast"}),
        counters=frozenset({"counted"}),
        rules=2,
        elements=(
            frozenset({A, B}),
            frozenset(),
            frozenset({A, B, C}),
            frozenset({A}),
            frozenset({A}),
            frozenset(opening("192.0.2.0/25").keys[:12] + opening("192.0.2.0/25").ends[:12] for _ in "1"),
        ),
    )
    assert made.counters() == {"counted": (0, 0)}


@pytest.mark.parametrize(
    "operation",
    [AddElements(PLAIN, A), DelElements(PLAIN, A), DelTable(), FlushRules(), AddSet(PLAIN), AddChain(Chain("x"))],
    ids=lambda op: type(op).__name__,
)
def test_without_a_table_everything_is_missing(backend: Backend, operation: Operation) -> None:
    with pytest.raises(KernelMismatch) as caught:
        backend.commit(Transaction([operation]))
    assert caught.value.errno == errno.ENOENT
    assert backend.table() is None
    assert backend.sets() == []
    assert backend.chains() == []
    assert backend.limits() == []
    assert dict(backend.counters()) == {}
    assert backend.rule_count() == 0
    assert backend.holds(PLAIN, A) is None


def test_errors_have_classes_by_what_helps(made: Backend) -> None:
    with pytest.raises(KernelBusy) as busy:
        made.commit(Transaction([DelSet("plain")]))
    assert busy.value.transient
    with pytest.raises(KernelMismatch) as mismatch:
        made.commit(Transaction([AddSet(PLAIN)]))
    assert not mismatch.value.transient
    assert not issubclass(KernelDenied, KernelMismatch)


def test_a_timeout_ends_by_itself(made: Backend) -> None:
    made.commit(Transaction([AddElements(TIMED, B + C, (150, 3_600_000))]))
    left = made.holds(TIMED, B)
    assert left is not None
    assert 0 < left <= 150
    until(lambda: made.holds(TIMED, B) is None)
    hour = made.holds(TIMED, C)
    assert hour is not None
    assert 3_590_000 < hour <= 3_600_000
    assert set(made.dump(TIMED)) == {A, C}
    assert made.holds(PLAIN, A) == 0


def test_what_has_ended_counts_as_missing(made: Backend) -> None:
    made.commit(Transaction([AddElements(TIMED, B, (30,))]))
    until(lambda: made.holds(TIMED, B) is None)
    made.commit(Transaction([DelElements(TIMED, B, maybe=True)]))
    with pytest.raises(KernelMismatch):
        made.commit(Transaction([DelElements(TIMED, B)]))
    made.commit(Transaction([AddElements(TIMED, B, (3_600_000,))]))
    left = made.holds(TIMED, B)
    assert left is not None
    assert left > 3_590_000


@pytest.mark.parametrize("longer", [True, False])
def test_a_new_end_replaces_the_old_one_in_one_transaction(made: Backend, longer: bool) -> None:
    first, second = (60_000, 7_200_000) if longer else (7_200_000, 60_000)
    made.commit(Transaction([AddElements(TIMED, B, (first,))]))
    made.commit(Transaction([DelElements(TIMED, B, maybe=True), AddElements(TIMED, B, (second,))]))
    left = made.holds(TIMED, B)
    assert left is not None
    assert second - 10_000 < left <= second


@pytest.mark.parametrize("n", [1, 2500, 10_000])
def test_many_elements_go_in_and_out(backend: Backend, n: int) -> None:
    """Sets of a declared size, as ours all are: the kernel cannot dump others exactly while it still grows them."""
    plain, wide = SetSpec("many", "ipv4", size=2 * n), SetSpec("many6", "ipv6", size=2 * n)
    keys4 = b"".join((0x0A000000 + i).to_bytes(4) for i in range(n))
    keys6 = b"".join(SIX[:8] + i.to_bytes(8) for i in range(n))
    backend.commit(Transaction([AddTable(0), AddSet(plain), AddSet(wide)]))
    backend.commit(Transaction([AddElements(plain, keys4), AddElements(wide, keys6)]))
    assert set(backend.dump(plain)) == {keys4[i : i + 4] for i in range(0, len(keys4), 4)}
    assert set(backend.dump(wide)) == {keys6[i : i + 16] for i in range(0, len(keys6), 16)}
    assert backend.holds(wide, keys6[-16:]) == 0
    backend.commit(Transaction([DelElements(plain, keys4[4:]), DelElements(wide, keys6, maybe=True)]))
    assert set(backend.dump(plain)) == {keys4[:4]}
    assert set(backend.dump(wide)) == set()


def test_many_timed_and_policed_elements(backend: Backend) -> None:
    n = 3000
    timed, policed = (
        SetSpec("timed", "ipv4", timed=True, size=8192),
        SetSpec("policed", "ipv4", policed=True, size=8192),
    )
    keys = b"".join((0x0A000000 + i).to_bytes(4) for i in range(n))
    limits = [f"s{i}_64_up" for i in range(10)]
    backend.commit(Transaction([AddTable(0), AddSet(timed), AddSet(policed), *(AddLimit(x, 64) for x in limits)]))
    added = [AddElements(timed, keys, (3_600_000,) * n), AddElements(policed, keys, objects=tuple(limits * (n // 10)))]
    backend.commit(Transaction([*added]))
    assert len(set(backend.dump(timed))) == n
    assert len(set(backend.dump(policed))) == n
    backend.commit(Transaction([DelElements(timed, keys, maybe=True), DelElements(policed, keys)]))
    backend.commit(Transaction([DelLimit(x) for x in limits]))
    assert not [*backend.dump(timed), *backend.dump(policed), *backend.limits()]
