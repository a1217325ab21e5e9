"""IPv6 prefixes of several lengths: no address may be two subscribers' (contract §1 ``bind``, peers.md 15)."""

from __future__ import annotations

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
