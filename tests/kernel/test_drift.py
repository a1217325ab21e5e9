"""Where the table has no owner: somebody else changes it, and that is heard, seen, and repaired by a refill."""

from __future__ import annotations

import select
import socket
from collections.abc import Iterator

import pytest

from edged import plan
from edged.domain.entry import Entry
from edged.nft.enforcer import Enforcer
from edged.nft.socket import KernelBackend
from edged.nft.watch import Watch
from edged.plan import Owned
from tests.lab.netns import Namespace
from tests.worlds import RULES, DictSource, attached, clock, held, refill, turns, v4, wanted

STATE = {v4(n): Owned(n, Entry(4)) for n in range(1, 4)}


@pytest.fixture
def shared(space: Namespace) -> Iterator[Enforcer]:
    """A table that others can write to."""
    with attached(space, owner=False) as backend:
        enforcer = Enforcer(backend, RULES)
        refill(enforcer, DictSource(STATE))
        yield enforcer


@pytest.fixture
def watch(space: Namespace, shared: Enforcer) -> Iterator[Watch]:
    backend = shared.backend
    assert isinstance(backend, KernelBackend)
    made = Watch(backend.port_id)
    space.call(made.open)
    try:
        yield made
    finally:
        made.close()


def heard(watch: Watch) -> bool:
    """What ``foreign`` says once something has arrived."""
    assert watch._socket is not None
    ready, _, _ = select.select([watch._socket], [], [], 5.0)
    assert ready, "nothing was heard at all"
    return watch.foreign()


STRUCTURE = (
    "delete table inet edged",
    "flush ruleset",
    "flush table inet edged",
    "flush chain inet edged up_4",
    "flush chain inet edged forward; delete chain inet edged forward",
    "insert rule inet edged prerouting accept",
)
ELEMENTS = (
    "delete element inet edged restricted4_g1 { 100.64.0.1 }",
    "add element inet edged blocked4_g1 { 100.64.0.50 }",
    "flush set inet edged restricted4_g1",
)


@pytest.mark.parametrize("harm", STRUCTURE + ELEMENTS)
def test_harm_is_heard_and_a_refill_repairs_it(space: Namespace, shared: Enforcer, watch: Watch, harm: str) -> None:
    space.run("nft", harm)
    assert heard(watch)
    assert not watch.foreign()
    assert shared.intact() == (harm in ELEMENTS)
    watch.pause()
    refill(shared, DictSource(STATE))
    watch.resume()
    assert shared.intact()
    assert shared.live is not None
    assert held(shared.backend, shared.live.number) == wanted(STATE, shared.live.number, clock())


def test_a_missing_element_is_seen_by_asking_for_it(space: Namespace, shared: Enforcer) -> None:
    space.run("nft", ELEMENTS[0])
    assert plan.RESTRICTED not in shared.truth(v4(1))
    assert plan.RESTRICTED in shared.truth(v4(2))


def test_our_own_changes_and_other_tables_are_no_drift(space: Namespace, shared: Enforcer, watch: Watch) -> None:
    shared.apply(plan.diff(turns({}, {v4(9): Owned(9, Entry(2, rate=256))})), clock())
    assert not heard(watch)
    space.run("nft", "add table inet firewall; add set inet firewall edged { type ipv4_addr; elements = { 10.0.0.1 } }")
    assert not heard(watch)
    space.run("nft", "add table ip edged; add set ip edged restricted4_g1 { type ipv4_addr; }")
    assert not heard(watch)


def test_a_table_with_a_longer_name_is_not_ours(space: Namespace, watch: Watch) -> None:
    space.run("nft", "add table inet edged2")
    assert not heard(watch)


def test_a_paused_watch_hears_nothing_and_a_resumed_one_everything_after(space: Namespace, watch: Watch) -> None:
    watch.pause()
    space.run("nft", ELEMENTS[0])
    assert not watch.foreign()
    watch.resume()
    space.run("nft", ELEMENTS[1])
    assert heard(watch)


def test_lost_messages_count_as_drift(space: Namespace, watch: Watch) -> None:
    """Better one refill too many than a change unseen."""
    assert watch._socket is not None
    watch._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    keys = ", ".join(f"10.0.{n >> 8}.{n & 255}" for n in range(5000))
    space.run("nft", "add table inet other; add set inet other big { type ipv4_addr; size 65536; }")
    space.run("nft", "-f", "-", stdin=f"add element inet other big {{ {keys} }}")
    assert heard(watch)
    assert not watch.foreign()


def test_a_closed_watch_is_quiet(space: Namespace, watch: Watch) -> None:
    watch.close()
    space.run("nft", ELEMENTS[0])
    assert not watch.foreign()
    watch.pause()
    watch.resume()
    watch.close()
