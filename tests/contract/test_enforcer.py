"""The enforcer over both worlds: it lands exactly on what is desired, whatever it is asked to do on the way there."""

from __future__ import annotations

import random
from collections.abc import Mapping
from ipaddress import ip_network

import pytest

from edged import plan
from edged.domain.entry import Entry
from edged.domain.levels import Level
from edged.errors import KernelError, KernelMismatch
from edged.nft import enforcer as enforcer_module
from edged.nft import generation as generation_module
from edged.nft import sets
from edged.nft.enforcer import Enforcer
from edged.nft.garden import ANY, Opening, ranges
from edged.nft.transaction import Backend, DelLimit, DelSet, FlushRules, Transaction
from edged.plan import Owned
from tests.worlds import RULES, DictSource, clock, held, limits_wanted, refill, turns, until, v4, v6, wanted

HOUR = 3_600_000
State = dict[bytes, Owned]


@pytest.fixture
def enforcer(backend: Backend) -> Enforcer:
    return Enforcer(backend, RULES)


def lands(enforcer: Enforcer, desired: Mapping[bytes, Owned]) -> None:
    """The kernel holds exactly what is desired: elements, policers, gardens aside; and the counts say so."""
    assert enforcer.live is not None
    number = enforcer.live.number
    until(lambda: held(enforcer.backend, number) == wanted(desired, number, clock()), seconds=2)
    assert set(enforcer.backend.limits()) == limits_wanted(desired, number)
    assert enforcer.intact()
    counted: dict[str, int] = {}
    for key, owned in desired.items():
        for e in plan.elements(key, owned):
            name = f"{e.role}{sets.class_name(key[0])}"
            counted[name] = counted.get(name, 0) + 1
    assert {n: c for n, c in enforcer.set_counts().items() if c} == counted


def move(enforcer: Enforcer, before: State, after: State) -> None:
    """One small change."""
    enforcer.apply(plan.diff(turns(before, after)), clock())


def synced(enforcer: Enforcer) -> bool:
    return enforcer.synced


def owned(level: Level, owner: int = 1, **more: int) -> Owned:
    return Owned(owner, Entry(level, **more))


ENTRIES = {
    "notice": Entry(Level.NOTICE),
    "reduced": Entry(Level.REDUCED, rate=512),
    "walled": Entry(Level.WALLED),
    "blocked": Entry(Level.BLOCKED),
    "walled, promised open": Entry(Level.WALLED, lift=Level.OPEN, until=clock() + HOUR),
    "walled, promised notice": Entry(Level.WALLED, lift=Level.NOTICE, until=clock() + HOUR),
    "walled, promised reduced": Entry(Level.WALLED, rate=256, lift=Level.REDUCED, until=clock() + HOUR),
    "reduced, promised open": Entry(Level.REDUCED, rate=512, lift=Level.OPEN, until=clock() + HOUR),
    "notice, seen": Entry(Level.NOTICE, notified=clock() + HOUR),
}


@pytest.mark.parametrize("name", ENTRIES)
def test_every_entry_goes_in_by_change_and_by_refill_alike_and_out_again(enforcer: Enforcer, name: str) -> None:
    state: State = {v4(1): Owned(7, ENTRIES[name]), v6(1): Owned(7, ENTRIES[name]), v6(9, 64): Owned(7, ENTRIES[name])}
    refill(enforcer, DictSource({}))
    lands(enforcer, {})
    move(enforcer, {}, state)
    lands(enforcer, state)
    refill(enforcer, DictSource(state))
    lands(enforcer, state)
    move(enforcer, state, {})
    lands(enforcer, {})


def test_a_change_before_the_first_refill_is_left_to_it(enforcer: Enforcer) -> None:
    state: State = {v4(1): owned(Level.WALLED)}
    move(enforcer, {}, state)
    assert enforcer.backend.table() is None
    assert not synced(enforcer)
    refill(enforcer, DictSource(state))
    assert synced(enforcer)
    lands(enforcer, state)


def test_a_refill_repeated_changes_nothing_but_the_generation(enforcer: Enforcer) -> None:
    state: State = {v4(n): owned(Level.WALLED, n) for n in range(300)} | {
        v6(n): owned(Level.BLOCKED, n) for n in range(9)
    }
    for expected in (1, 2, 3):
        refill(enforcer, DictSource(state))
        assert enforcer.live is not None
        assert enforcer.live.number == expected
        lands(enforcer, state)
        assert all(n.endswith(f"_g{expected}") for n in enforcer.backend.sets())


def test_an_empty_change_costs_no_transaction(enforcer: Enforcer) -> None:
    refill(enforcer, DictSource({}))
    state: State = {v4(1): owned(Level.WALLED)}
    assert not plan.diff(turns(state, state))
    move(enforcer, state, state)
    lands(enforcer, {})


def test_a_promise_ends_in_the_kernel_and_its_end_can_be_carried_out_later(enforcer: Enforcer) -> None:
    refill(enforcer, DictSource({}))
    key = v4(1)
    promised: State = {key: owned(Level.WALLED, lift=Level.OPEN, until=clock() + 150)}
    move(enforcer, {}, promised)
    assert set(enforcer.truth(key)) == {plan.RESTRICTED, plan.WAIVED}
    assert 0 < enforcer.truth(key)[plan.WAIVED] <= 150
    until(lambda: set(enforcer.truth(key)) == {plan.RESTRICTED})
    assert enforcer.set_counts()["waived4"] == 1
    after: State = {key: owned(Level.WALLED)}
    move(enforcer, promised, after)
    lands(enforcer, after)


def test_a_promise_that_ended_before_a_refill_does_not_come_back(enforcer: Enforcer) -> None:
    key = v4(1)
    ended: State = {key: owned(Level.WALLED, rate=256, lift=Level.REDUCED, until=clock() - 5)}
    refill(enforcer, DictSource(ended))
    assert plan.WAIVED_REDUCED not in enforcer.truth(key)
    after: State = {key: owned(Level.WALLED)}
    move(enforcer, ended, after)
    lands(enforcer, after)


def test_a_promise_ended_early_because_the_clock_was_set_ends_in_the_kernel_too(enforcer: Enforcer) -> None:
    refill(enforcer, DictSource({}))
    key = v4(1)
    promised: State = {key: owned(Level.WALLED, lift=Level.OPEN, until=clock() + HOUR)}
    move(enforcer, {}, promised)
    after: State = {key: owned(Level.WALLED)}
    enforcer.apply(plan.diff(turns(promised, after)), clock() + 2 * HOUR)
    assert set(enforcer.truth(key)) == {plan.RESTRICTED}


@pytest.mark.parametrize("hours", [1, 3])
def test_a_promise_is_prolonged_and_shortened(enforcer: Enforcer, hours: int) -> None:
    refill(enforcer, DictSource({}))
    key, now = v4(1), clock()
    first: State = {key: owned(Level.WALLED, lift=Level.OPEN, until=now + 2 * HOUR)}
    second: State = {key: owned(Level.WALLED, lift=Level.OPEN, until=now + hours * HOUR)}
    move(enforcer, {}, first)
    move(enforcer, first, second)
    assert (hours - 0.1) * HOUR < enforcer.truth(key)[plan.WAIVED] <= hours * HOUR
    lands(enforcer, second)


def test_a_policer_serves_all_addresses_and_goes_with_the_last(enforcer: Enforcer) -> None:
    refill(enforcer, DictSource({}))
    both: State = {v4(1): owned(Level.REDUCED, 5, rate=512), v6(1): owned(Level.REDUCED, 5, rate=512)}
    one: State = {v4(1): both[v4(1)]}
    faster: State = {v4(1): owned(Level.REDUCED, 5, rate=2048)}
    move(enforcer, {}, both)
    assert set(enforcer.backend.limits()) == {"s5_512_up_g1", "s5_512_down_g1"}
    move(enforcer, both, one)
    lands(enforcer, one)
    assert set(enforcer.backend.limits()) == {"s5_512_up_g1", "s5_512_down_g1"}
    move(enforcer, one, faster)
    assert set(enforcer.backend.limits()) == {"s5_2048_up_g1", "s5_2048_down_g1"}
    lands(enforcer, faster)


def test_an_address_moves_to_another_subscriber_in_one_change(enforcer: Enforcer) -> None:
    refill(enforcer, DictSource({}))
    before: State = {v4(1): owned(Level.REDUCED, 5, rate=512)}
    after: State = {v4(1): owned(Level.REDUCED, 6, rate=512)}
    move(enforcer, {}, before)
    move(enforcer, before, after)
    lands(enforcer, after)
    move(enforcer, after, {v4(1): owned(Level.OPEN, 8)})
    lands(enforcer, {})


def test_a_change_that_the_kernel_refuses_leaves_everything_and_a_refill_heals(enforcer: Enforcer) -> None:
    state: State = {v4(1): owned(Level.WALLED)}
    refill(enforcer, DictSource(state))
    with pytest.raises(KernelMismatch):  # it removes what is not there
        move(enforcer, {v4(2): owned(Level.WALLED)}, {v4(3): owned(Level.BLOCKED)})
    assert not synced(enforcer)
    assert held(enforcer.backend, 1) == wanted(state, 1, clock())
    after: State = state | {v4(3): owned(Level.BLOCKED)}
    refill(enforcer, DictSource(after))
    assert synced(enforcer)
    lands(enforcer, after)


def test_a_set_that_is_full_says_so_and_grows(enforcer: Enforcer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generation_module, "SMALLEST", 8)
    state: State = {}
    refill(enforcer, DictSource(state))
    for n in range(8):
        assert enforcer.crowded == (n > 6)
        grown: State = state | {v4(n): owned(Level.WALLED, n)}
        move(enforcer, state, grown)
        state = grown
    with pytest.raises(KernelMismatch, match="restricted4_g1 is full"):
        move(enforcer, state, state | {v4(9): owned(Level.WALLED, 9)})
    assert not synced(enforcer)
    assert held(enforcer.backend, 1) == wanted(state, 1, clock())
    state[v4(9)] = owned(Level.WALLED, 9)
    refill(enforcer, DictSource(state))
    assert not enforcer.crowded
    lands(enforcer, state)
    assert enforcer.live is not None
    assert enforcer.live.sizes[plan.RESTRICTED, 4] == 32


def test_promises_that_ended_leave_the_count(enforcer: Enforcer) -> None:
    state: State = {v4(1): owned(Level.WALLED)}
    refill(enforcer, DictSource(state))
    for _ in range(5):
        promised: State = {v4(1): owned(Level.WALLED, lift=Level.OPEN, until=clock() + 20)}
        move(enforcer, state, promised)
        until(lambda: plan.WAIVED not in enforcer.truth(v4(1)))
        move(enforcer, promised, state)
    lands(enforcer, state)


def test_a_change_between_switch_and_sweep_goes_into_the_new_generation_once(enforcer: Enforcer) -> None:
    state: State = {v4(1): owned(Level.REDUCED, rate=256), v4(2): owned(Level.WALLED, 2)}
    refill(enforcer, DictSource(state))
    steps = enforcer.refill(DictSource(state), clock)
    for _ in steps:
        if enforcer.live is not None and enforcer.live.number == 2:
            break
    after: State = {v4(2): owned(Level.WALLED, 2), v4(3): owned(Level.WALLED, 3)}
    move(enforcer, state, after)
    list(steps)
    assert synced(enforcer)
    lands(enforcer, after)


@pytest.mark.parametrize("at", range(10))
def test_a_failure_beside_a_refill_makes_the_refill_fail(
    enforcer: Enforcer, at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever step it happens at: nobody may be told that all is in force while a change is missing."""
    monkeypatch.setattr(enforcer_module, "CHUNK", 4)
    state: State = {v4(n): owned(Level.BLOCKED, n) for n in range(6)}
    refill(enforcer, DictSource(state))
    failed = False
    steps = enforcer.refill(DictSource(state), clock)
    try:
        for n, _ in enumerate(steps):
            if n == at:
                with pytest.raises(KernelError):
                    move(enforcer, {v4(99): owned(Level.WALLED)}, {})
    except KernelMismatch:
        failed = True
    assert failed
    assert not synced(enforcer)
    refill(enforcer, DictSource(state))
    assert synced(enforcer)
    lands(enforcer, state)


@pytest.mark.parametrize("level", [Level.WALLED, Level.BLOCKED, Level.REDUCED])
def test_each_address_may_change_at_each_step_of_a_refill(
    enforcer: Enforcer, level: Level, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Out at one step and in at one, for every address and every step: the walk may stand right on it."""
    monkeypatch.setattr(enforcer_module, "CHUNK", 8)
    full: State = {v4(n): owned(level, n, rate=64 * (level == Level.REDUCED)) for n in range(10)}
    full |= {v6(n): owned(level, 20 + n, rate=64 * (level == Level.REDUCED)) for n in range(3)}
    source = DictSource(dict(full))
    refill(enforcer, source)
    for key in full:
        for at in range(12):
            n = -1
            for n, _ in enumerate(enforcer.refill(source, clock)):
                if n == at:
                    before = dict(source.desired)
                    if not source.desired.pop(key, None):
                        source.desired[key] = full[key]
                    move(enforcer, before, source.desired)
            assert enforcer.live is not None
            number = enforcer.live.number
            assert held(enforcer.backend, number) == wanted(source.desired, number, clock()), (key, at)
            if n < at:
                break  # it has no step of this number, nor of a higher one


def test_a_refill_given_up_halfway_leaves_the_live_generation_and_no_trace_later(enforcer: Enforcer) -> None:
    state: State = {v4(n): owned(Level.WALLED, n) for n in range(10)}
    refill(enforcer, DictSource(state))
    steps = enforcer.refill(DictSource(state), clock)
    next(steps)
    next(steps)
    steps.close()
    move(enforcer, {v4(1): state[v4(1)]}, {})
    del state[v4(1)]
    lands(enforcer, state)
    refill(enforcer, DictSource(state))
    lands(enforcer, state)
    assert all(n.endswith(f"_g{enforcer.live.number}") for n in enforcer.backend.sets())  # type: ignore[union-attr]


def test_a_new_daemon_takes_over_what_an_old_one_left(enforcer: Enforcer) -> None:
    state: State = {v4(1): owned(Level.REDUCED, rate=256), v6(1): owned(Level.WALLED)}
    refill(enforcer, DictSource(state))
    steps = enforcer.refill(DictSource(state), clock)
    next(steps)  # it dies in the middle of a refill
    new = Enforcer(enforcer.backend, RULES)
    assert not new.intact()
    refill(new, DictSource(state))
    lands(new, state)


def test_the_table_vanishes_and_a_refill_brings_it_back(enforcer: Enforcer) -> None:
    state: State = {v4(1): owned(Level.REDUCED, rate=256)}
    refill(enforcer, DictSource(state))
    Enforcer(enforcer.backend, RULES).clear()
    assert not enforcer.intact()
    assert enforcer.truth(v4(1)) == {}
    with pytest.raises(KernelError):
        move(enforcer, state, {})
    refill(enforcer, DictSource(state))
    lands(enforcer, state)


@pytest.mark.parametrize(
    "harm", [FlushRules(), DelSet("waived6_64_g1"), DelLimit("nobody")], ids=["rules", "set", "nothing"]
)
def test_intact_sees_missing_rules_and_sets(enforcer: Enforcer, harm: FlushRules | DelSet | DelLimit) -> None:
    refill(enforcer, DictSource({}))
    assert enforcer.intact()
    if isinstance(harm, DelLimit):
        return
    enforcer.backend.commit(Transaction([FlushRules(), harm]))
    assert not enforcer.intact()
    refill(enforcer, DictSource({}))
    assert enforcer.intact()


def test_clear_leaves_nothing_and_may_be_repeated(enforcer: Enforcer) -> None:
    enforcer.clear()
    refill(enforcer, DictSource({v4(1): owned(Level.WALLED)}))
    enforcer.clear()
    assert enforcer.backend.table() is None
    assert not synced(enforcer)
    enforcer.clear()


def test_an_address_of_a_length_that_is_not_configured_is_named(enforcer: Enforcer) -> None:
    with pytest.raises(KernelMismatch, match="prefix length 48"):
        refill(enforcer, DictSource({v6(1, 48): owned(Level.WALLED)}))
    assert enforcer.truth(v6(1, 48)) == {}


# -- gardens ---------------------------------------------------------------------------------------------------------

BANK, SHOP, WIDE = ip_network("198.51.100.80/32"), ip_network("2001:db8:f::80/128"), ip_network("198.51.100.0/24")
GARDENS: tuple[dict[str, list[Opening]], ...] = (
    {},
    {"open": [Opening(BANK)], "garden": [Opening(SHOP)]},
    {"garden": [Opening(WIDE), Opening(BANK, 6, 6, 443, 443)]},
    {"garden": [Opening(WIDE, 6, 6, 443, 443), Opening(BANK, 6, 6, 80, 90), Opening(BANK, 17, 17, 53, 53)]},
    {"garden": [Opening(WIDE, 6, 6, 443, 443), Opening(BANK)], "open": [Opening(WIDE, 6, 6, 400, 500)]},
)


def gardens_held(enforcer: Enforcer) -> dict[tuple[str, int], set[bytes]]:
    assert enforcer.live is not None
    names = {(g, v): sets.garden_name(g, v, enforcer.live.number) for g in sets.GARDENS for v in (4, 6)}
    return {k: set(enforcer.backend.dump(sets.SetSpec(n, f"garden{k[1]}"))) for k, n in names.items()}


def gardens_wanted(openings: Mapping[str, list[Opening]]) -> dict[tuple[str, int], set[bytes]]:
    cut = {(g, v): ranges(openings.get(g, ()), v) for g in sets.GARDENS for v in (4, 6)}
    return {k: {r.low + r.high for r in found} for k, found in cut.items()}


def test_gardens_go_from_each_to_each(enforcer: Enforcer) -> None:
    refill(enforcer, DictSource({}))
    for first in GARDENS:
        for second in GARDENS:
            for openings in (first, second):
                enforcer.set_gardens(openings)
                assert gardens_held(enforcer) == gardens_wanted(openings)


def test_gardens_are_set_before_beside_and_after_a_refill(enforcer: Enforcer) -> None:
    enforcer.set_gardens(GARDENS[1])
    steps = enforcer.refill(DictSource({}), clock)
    next(steps)
    enforcer.set_gardens(GARDENS[3])
    list(steps)
    assert gardens_held(enforcer) == gardens_wanted(GARDENS[3])
    for n, _ in enumerate(enforcer.refill(DictSource({}), clock)):
        enforcer.set_gardens(GARDENS[n % len(GARDENS)])
        assert gardens_held(enforcer) == gardens_wanted(GARDENS[n % len(GARDENS)])


def test_a_wide_opening_takes_a_narrow_one_along() -> None:
    assert ranges([Opening(WIDE), Opening(BANK, 6, 6, 443, 443)], 4) == ranges([Opening(WIDE)], 4)
    assert Opening(BANK).ports == ANY


# -- a random walk ---------------------------------------------------------------------------------------------------

KEYS = [v4(n) for n in range(12)] + [v6(n) for n in range(6)] + [v6(n << 8, 64) for n in range(6)]


def some_state(rng: random.Random) -> State:
    """Addresses of six subscribers; all addresses of one have one entry."""
    now = clock()
    entries = {
        owner: rng.choice(
            [
                Entry(),
                Entry(Level.WALLED),
                Entry(Level.WALLED),
                Entry(Level.NOTICE, notified=rng.choice([0, now + HOUR])),
                Entry(Level.REDUCED, rate=rng.choice([256, 512])),
                Entry(Level.BLOCKED),
                Entry(Level.WALLED, lift=Level.OPEN, until=now + rng.choice([HOUR, 2 * HOUR, 40])),
                Entry(Level.WALLED, lift=Level.NOTICE, until=now + HOUR),
                Entry(Level.WALLED, rate=128, lift=Level.REDUCED, until=now + rng.choice([HOUR, 40])),
                Entry(Level.REDUCED, rate=256, lift=Level.OPEN, until=now + HOUR),
            ]
        )
        for owner in range(1, 7)
    }
    return {k: Owned(o, entries[o]) for k in KEYS if rng.random() < 0.7 and (o := rng.randint(1, 6))}


@pytest.mark.parametrize("seed", range(4))
def test_a_random_walk_lands_exactly_on_each_state(
    enforcer: Enforcer, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Changes of every kind, in the middle of refills, too; refills are sometimes given up."""
    monkeypatch.setattr(enforcer_module, "CHUNK", 4)
    rng = random.Random(seed)
    source = DictSource({})
    for _ in range(8):
        for _ in range(rng.randrange(3)):
            after = some_state(rng)
            move(enforcer, source.desired, after)
            source.desired = after
            if enforcer.live:
                lands_but_for_limits(enforcer, after)
        steps = enforcer.refill(source, clock)
        for _ in steps:
            if rng.random() < 0.5:
                after = some_state(rng)
                before, source.desired = source.desired, after  # the store is committed before the kernel is asked
                move(enforcer, before, after)
            if rng.random() < 0.05:
                steps.close()
        if enforcer.live:
            lands_but_for_limits(enforcer, source.desired)
    refill(enforcer, source)
    lands(enforcer, source.desired)


def lands_but_for_limits(enforcer: Enforcer, desired: State) -> None:
    """A refill that was interrupted may leave policers nobody uses, until the next one."""
    assert enforcer.live is not None
    number = enforcer.live.number
    until(lambda: held(enforcer.backend, number) == wanted(desired, number, clock()), seconds=2)
    assert set(enforcer.backend.limits()) >= limits_wanted(desired, number)
    assert enforcer.intact()


def test_a_walk_over_thousands_of_addresses_in_many_chunks(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(enforcer_module, "CHUNK", 700)
    enforcer = Enforcer(backend, RULES)
    levels = (Level.WALLED, Level.WALLED, Level.WALLED, Level.BLOCKED, Level.NOTICE)
    state: State = {v4(n): owned(levels[n % 5], n) for n in range(3000)} | {
        v6(n): owned(levels[n % 5], n) for n in range(900)
    }
    source = DictSource(state)
    steps = enforcer.refill(source, clock)
    for n, _ in enumerate(steps):
        key = v4(n * 397 % 3000)
        gone = {key: source.desired.pop(key)} if key in source.desired else {}
        move(enforcer, gone, {})
    lands(enforcer, source.desired)
