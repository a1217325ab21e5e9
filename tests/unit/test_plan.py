"""From entries to set elements and from two states to a change: pure arithmetic, so tables and properties."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edged import plan
from edged.domain.entry import Entry
from edged.domain.levels import Level
from edged.plan import Change, Element, Owned, diff, elements
from tests.worlds import turns, v4, v6

KEY = v4(1)

ROLES: dict[str, tuple[Entry, set[str]]] = {
    "open": (Entry(), set()),
    "walled costs one element": (Entry(Level.WALLED), {"restricted"}),
    "notice": (Entry(Level.NOTICE), {"restricted", "notice"}),
    "notice, seen": (Entry(Level.NOTICE, notified=9), {"restricted", "notice", "notified"}),
    "reduced": (Entry(Level.REDUCED, 64), {"restricted", "reduced", "reduced_up", "reduced_down"}),
    "blocked": (Entry(Level.BLOCKED), {"restricted", "blocked"}),
    "walled, lifted": (Entry(Level.WALLED, until=9), {"restricted", "waived"}),
    "walled, lifted to notice": (Entry(Level.WALLED, lift=1, until=9), {"restricted", "waived_notice"}),
    "walled, lifted to reduced": (
        Entry(Level.WALLED, 64, 2, 9), {"restricted", "waived_reduced", "reduced_up", "reduced_down"},
    ),
    "reduced, lifted": (
        Entry(Level.REDUCED, 64, 0, 9), {"restricted", "reduced", "reduced_up", "reduced_down", "waived"},
    ),
    "blocked, lifted": (Entry(Level.BLOCKED, until=9), {"restricted", "blocked", "waived"}),
}  # fmt: skip


@pytest.mark.parametrize("name", ROLES)
def test_roles(name: str) -> None:
    entry, roles = ROLES[name]
    made = elements(KEY, Owned(5, entry))
    assert {e.role for e in made} == roles
    assert len(made) == len(roles)
    assert all(bool(e.expiry) == (e.role in plan.TIMED) for e in made)
    assert all(bool(e.policer) == (e.role in plan.POLICED) for e in made)


def test_a_policer_is_named_after_subscriber_rate_and_direction() -> None:
    made = elements(KEY, Owned(5, Entry(Level.REDUCED, 64)))
    assert plan.limits_of(made) == {"s5_64_up": 64, "s5_64_down": 64}
    assert {e.policer for e in made if e.policer} == {"s5_64_up", "s5_64_down"}


def test_an_empty_change_is_false() -> None:
    assert not Change()
    assert Change(limits_remove={"x"})
    assert not diff(turns({KEY: Owned(5, Entry(3))}, {KEY: Owned(9, Entry(3))}))


ENTRIES = st.sampled_from([entry for entry, _ in ROLES.values()])
KEYS = st.sampled_from([v4(1), v4(2), v6(1), v6(2, 64)])
STATES = st.dictionaries(KEYS, st.builds(Owned, st.integers(1, 3), ENTRIES))


def all_of(state: dict[bytes, Owned]) -> set[Element]:
    return {e for k, o in state.items() for e in elements(k, o)}


@settings(deadline=None)
@given(STATES, STATES)
def test_a_change_leads_from_one_state_to_the_other_and_not_further(
    before: dict[bytes, Owned], after: dict[bytes, Owned]
) -> None:
    change = diff(turns(before, after))
    old, new = all_of(before), all_of(after)
    assert set(change.remove) == old - new
    assert set(change.add) == new - old
    assert len(change.remove) == len(set(change.remove))
    assert len(change.add) == len(set(change.add))
    had, will = set(plan.limits_of(old)), set(plan.limits_of(new))
    assert set(change.limits_add) == will - had
    assert change.limits_remove == had - will


@settings(deadline=None)
@given(STATES)
def test_to_stay_needs_no_change(state: dict[bytes, Owned]) -> None:
    assert not diff(turns(state, dict(state)))
