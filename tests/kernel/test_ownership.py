"""Who may touch the table: while its owner lives, after it died, and where ownership does not exist."""

from __future__ import annotations

import sys

import pytest

from edged.domain.entry import Entry
from edged.errors import KernelDenied
from edged.nft.codec import OWNER, PERSIST
from edged.nft.enforcer import Enforcer
from edged.nft.routing import Steering
from edged.nft.sets import SetSpec
from edged.nft.socket import KernelBackend
from edged.nft.transaction import AddElements, AddTable, Transaction
from edged.plan import Owned
from tests import worlds
from tests.lab.netns import Namespace
from tests.worlds import RULES, DictSource, attached, held, refill, v4, wanted

STATE = {v4(n): Owned(n, Entry(4)) for n in range(1, 4)} | {v4(9): Owned(9, Entry(2, rate=256))}

OTHERS = (
    "add set inet edged mine { type ipv4_addr; }",
    "add chain inet edged mine",
    "insert rule inet edged prerouting accept",
    "flush chain inet edged prerouting",
    "delete element inet edged blocked4_g1 { 100.64.0.1 }",
    "add element inet edged restricted4_g1 { 100.64.0.77 }",
    "flush set inet edged restricted4_g1",
    "flush table inet edged",
    "delete table inet edged",
)


@pytest.fixture
def owning(backend: KernelBackend) -> Enforcer:
    if not backend.claims():
        pytest.skip("this kernel has no table owners with persist (before 6.9)")
    enforcer = Enforcer(backend, RULES)
    refill(enforcer, DictSource(STATE))
    return enforcer


def untouched(enforcer: Enforcer) -> bool:
    assert enforcer.live is not None
    number = enforcer.live.number
    return enforcer.intact() and held(enforcer.backend, number) == wanted(STATE, number, worlds.clock())


def test_the_table_is_ours_and_persists(owning: Enforcer, backend: KernelBackend) -> None:
    info = backend.table()
    assert info is not None
    assert info.owner == backend.port_id
    assert info.flags == OWNER | PERSIST


def test_asking_what_the_kernel_can_do_leaves_nothing(space: Namespace, backend: KernelBackend) -> None:
    backend.claims()
    backend.commit(Transaction([AddTable(0)]))
    assert space.run("nft", "list", "tables").stdout == "table inet edged\n"


@pytest.mark.parametrize("command", OTHERS)
def test_nobody_else_changes_the_table_while_its_owner_lives(space: Namespace, owning: Enforcer, command: str) -> None:
    done = space.run("nft", command, check=False)
    assert done.returncode != 0
    assert "not permitted" in done.stderr
    assert untouched(owning)


def test_flush_ruleset_passes_the_table_by(space: Namespace, owning: Enforcer) -> None:
    space.run("nft", "add table inet firewall")
    space.run("nft", "flush ruleset")
    assert space.run("nft", "list", "tables").stdout == "table inet edged\n"
    assert untouched(owning)


def test_a_second_daemon_is_denied_and_told_why(space: Namespace, owning: Enforcer) -> None:
    for owner in (True, False):
        with attached(space, owner=owner) as other:
            with pytest.raises(KernelDenied, match="no other process may own table inet edged"):
                refill(Enforcer(other, RULES), DictSource({}))
            with pytest.raises(KernelDenied):
                Enforcer(other, RULES).clear()
    assert untouched(owning)


def test_the_restrictions_outlive_the_owner_and_the_next_one_adopts_them(
    space: Namespace, owning: Enforcer, backend: KernelBackend
) -> None:
    backend.close()
    with attached(space) as second:
        info = second.table()
        assert info is not None
        assert info.flags == PERSIST
        assert info.owner is None
        assert held(second, 1) == wanted(STATE, 1, worlds.clock())
        adopting = Enforcer(second, RULES)
        refill(adopting, DictSource(STATE))
        assert second.table() == (OWNER | PERSIST, second.port_id)
        assert untouched(adopting)
        assert space.run("nft", "flush table inet edged", check=False).returncode != 0


def test_an_orphan_can_be_cleared_without_a_daemon(space: Namespace, owning: Enforcer, backend: KernelBackend) -> None:
    backend.close()
    with attached(space) as second:
        Enforcer(second, RULES).clear()
        assert second.table() is None


def test_an_orphan_is_refilled_where_owning_is_not_wanted(
    space: Namespace, owning: Enforcer, backend: KernelBackend
) -> None:
    backend.close()
    with attached(space, owner=False) as second:
        enforcer = Enforcer(second, RULES)
        refill(enforcer, DictSource(STATE))
        assert untouched(enforcer)


def test_a_table_made_without_an_owner_is_used_as_it_is(space: Namespace) -> None:
    with attached(space, owner=False) as first:
        assert first.claims() == 0
        refill(Enforcer(first, RULES), DictSource({}))
        assert first.table() == (0, None)
    with attached(space) as second:
        enforcer = Enforcer(second, RULES)
        refill(enforcer, DictSource(STATE))
        assert second.table() == (0, None)
        assert untouched(enforcer)


# -- without CAP_NET_ADMIN -------------------------------------------------------------------------------------------

_CHILD = """
from edged.errors import KernelError
from edged.nft.enforcer import Enforcer
from edged.nft.routing import Steering
from edged.nft.schema import Settings
from edged.nft.socket import KernelBackend
from edged.nft.transaction import AddTable, DelTable, Transaction
from edged.nft.watch import Watch

backend = KernelBackend()
for name, work in {
    "claims": backend.claims,
    "commit": lambda: backend.commit(Transaction([AddTable(0)])),
    "table": backend.table,
    "sets": backend.sets,
    "clear": Enforcer(backend, Settings(("eth1",))).clear,
    "steering": Steering(0x10000, 8880, 8880).ensure,
    "watch": Watch(1).open,
}.items():
    try:
        print(name, "answered", work())
    except KernelError as e:
        print(name, type(e).__name__, "CAP_NET_ADMIN" in str(e))
"""


def test_without_net_admin_everything_is_denied_and_the_remedy_named(space: Namespace) -> None:
    done = space.run("setpriv", "--bounding-set", "-net_admin", sys.executable, "-W", "ignore", "-c", _CHILD)
    said = dict(line.split(" ", 1) for line in done.stdout.splitlines())
    asked = ["claims", "commit", "table", "sets", "clear", "steering", "watch"]
    assert said == dict.fromkeys(asked, "KernelDenied True")


def test_with_net_admin_the_same_program_is_not_denied(space: Namespace) -> None:
    done = space.run(sys.executable, "-W", "ignore", "-c", _CHILD)
    assert "Denied" not in done.stdout


# -- the portal's route ----------------------------------------------------------------------------------------------


def test_route_and_rule_are_made_once_found_again_and_removed(space: Namespace) -> None:
    steering = Steering(0x10000, 8880, 8880)
    every = ["rule v4", "route v4", "rule v6", "route v6"]
    assert sorted(space.call(steering.ensure)) == sorted(every)
    assert space.call(steering.ensure) == []
    assert space.call(steering.missing) == []
    rules = space.run("ip", "rule").stdout + space.run("ip", "-6", "rule").stdout
    assert rules.count("fwmark 0x10000/0x10000 lookup 8880") == 2
    assert "local default dev lo" in space.run("ip", "route", "show", "table", "8880").stdout
    assert "local default dev lo" in space.run("ip", "-6", "route", "show", "table", "8880").stdout
    space.run("ip", "rule", "del", "fwmark", "0x10000/0x10000")
    space.run("ip", "-6", "route", "flush", "table", "8880")
    assert sorted(space.call(steering.missing)) == ["route v6", "rule v4"]
    assert sorted(space.call(steering.ensure)) == ["route v6", "rule v4"]
    assert sorted(space.call(steering.remove)) == sorted(every)
    assert space.call(steering.remove) == []
    assert "8880" not in space.run("ip", "rule").stdout + space.run("ip", "-6", "rule").stdout


def test_the_operators_own_rules_and_routes_stay(space: Namespace) -> None:
    space.ip("rule add fwmark 0x1/0xff lookup 100", "route add local default dev lo table 100")
    steering = Steering(0x10000, 8880, 8880)
    space.call(steering.ensure)
    space.call(steering.remove)
    assert "fwmark 0x1/0xff lookup 100" in space.run("ip", "rule").stdout
    assert "local default dev lo" in space.run("ip", "route", "show", "table", "100").stdout


def test_elements_of_a_foreign_table_of_the_same_name_are_not_ours(space: Namespace, backend: KernelBackend) -> None:
    space.run("nft", "add table ip edged; add set ip edged restricted4_g1 { type ipv4_addr; }")
    assert backend.table() is None
    assert backend.sets() == []
    backend.commit(Transaction([AddTable(0)]))
    assert backend.sets() == []
    with pytest.raises(Exception, match="ENOENT"):
        backend.commit(Transaction([AddElements(SetSpec("restricted4_g1", "ipv4"), bytes(4))]))
