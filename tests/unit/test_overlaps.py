"""IPv6 prefixes of several lengths: no address may be two subscribers' (contract §1 ``bind``, peers.md 15)."""

from __future__ import annotations

import itertools
import random
from ipaddress import ip_network
from typing import Any

import pytest

from tests.unit.core import Core

WIDE, NARROW, OTHER = "2001:db8:0:100::/56", "2001:db8:0:1ab::/64", "2001:db8:0:1ac::/64"


def bind(sub: str, *addresses: str, **more: Any) -> dict[str, Any]:
    return {"op": "bind", "sub": sub, "addresses": list(addresses), **more}


def told(core: Core, *commands: dict[str, Any]) -> list[tuple[str, str | None]]:
    return [(r["status"], r.get("code")) for r in core.send(*commands)["results"]]


@pytest.fixture
def core(tmp_path: Any) -> Any:
    made = Core(tmp_path)
    yield made
    made.store.close()


def test_a_prefix_inside_another_subscribers_is_refused_and_changes_nothing(core: Core) -> None:
    told(core, bind("wide", WIDE), bind("narrow", OTHER.replace("1ac", "2ac")))
    assert told(core, bind("narrow", NARROW)) == [("rejected", "bad_address")]
    assert len(core.pipeline.questions.why("narrow")["addresses"]) == 1
    assert told(core, {"op": "block", "sub": NARROW, "reason": "operator"}) == [("rejected", "bad_address")]


def test_a_wider_prefix_takes_those_inside_it_along(core: Core) -> None:
    told(core, bind("narrow", NARROW), bind("other", OTHER), {"op": "block", "sub": "narrow", "reason": "debt"})
    assert told(core, bind("wide", WIDE)) == [("applied", None)]
    assert core.pipeline.questions.why("narrow")["addresses"] == []
    assert core.pipeline.questions.why("2001:db8:0:1ab::7")["sub"] == "wide"


def test_it_holds_within_one_batch(core: Core) -> None:
    both = told(core, bind("narrow", NARROW), bind("wide", WIDE), bind("other", OTHER))
    assert both == [("applied", None), ("applied", None), ("rejected", "bad_address")]
    assert core.pipeline.questions.why("narrow")["addresses"] == []


def test_one_subscriber_may_have_both(core: Core) -> None:
    assert told(core, bind("wide", WIDE, NARROW)) == [("applied", None)]


@pytest.mark.parametrize("name", ["100.64.0.10/24", "100.64.0.300", "100.64.0.011", "2001:db8::1/56", "1::2::3"])
def test_a_mistyped_address_is_no_name(core: Core, name: str) -> None:
    assert told(core, {"op": "block", "sub": name, "reason": "operator"}) == [("rejected", "bad_address")]


@pytest.mark.parametrize("name", ["aa:bb:cc:dd:ee:ff", "1.2.3", "contract/7", "user@isp", "12:34"])
def test_what_only_resembles_an_address_is_a_name(core: Core, name: str) -> None:
    assert told(core, {"op": "block", "sub": name, "reason": "operator"}) == [("applied", None)]


SUBS = [*(f"C{i}" for i in range(5)), "2001:db8:0:101::/64", "2001:db8:0:200::/56", "100.64.0.3"]
ADDRESSES = [
    *(f"2001:db8:0:{n:x}::/64" for n in (0x100, 0x101, 0x1FF, 0x200, 0x201)),
    WIDE,
    "2001:db8:0:200::/56",
    *(f"100.64.0.{i}" for i in range(1, 6)),
    "100.64.0.0/29",
]


def any_command(r: random.Random) -> dict[str, Any]:
    sub = r.choice(SUBS)
    reason = r.choice(["debt", "debt_partial", "notice", "operator"])
    return r.choice(
        [
            bind(r.choice(SUBS[:5]), *r.sample(ADDRESSES, r.randint(0, 3)), replace=r.random() < 0.5),
            bind(r.choice(SUBS[:5]), *r.sample(ADDRESSES, 2), replace=False),
            {"op": "unbind", "sub": sub, "addresses": r.sample(ADDRESSES, 2)},
            {"op": "block", "sub": sub, "reason": reason, "invoices": r.sample(["A", "B", "C"], r.randint(0, 2))},
            {"op": "paid", "sub": sub},
            {"op": "unblock", "sub": sub, "reason": "operator"},
            {"op": "trust", "sub": sub, "hours": r.randint(1, 3)},
            {"op": "forget", "sub": sub} if r.random() < 0.2 else {"op": "unbind", "sub": sub},
        ]
    )


def networks(core: Core) -> list[tuple[Any, int]]:
    rows = core.store.db.execute("SELECT key, owner FROM address").fetchall()
    return [(ip_network((key[1:], 32 if key[0] == 4 else key[0])), owner) for key, owner in rows]


@pytest.mark.parametrize("seed", range(3))
def test_in_random_lives_no_address_is_ever_two_subscribers(core: Core, seed: int) -> None:
    r = random.Random(seed)
    for step in range(250):
        core.status(*(any_command(r) for _ in range(r.randint(1, 4))))
        if r.random() < 0.2:
            core.wait(r.randint(0, 2) * 3_600_000)
        if r.random() < 0.05:
            core.restart()
        found = networks(core)
        for (a, one), (b, other) in itertools.combinations(found, 2):
            assert one == other or a.version != b.version or not a.overlaps(b), (step, a, b)
        assert {owner for _, owner in found} <= {i for (i,) in core.store.db.execute("SELECT id FROM subscriber")}
        assert step % 5 or core.agrees(), step
