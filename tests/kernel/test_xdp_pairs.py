"""The allow and deny pairs of test_packets.py with XDP in front of the rules: those that wait for no silence."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.kernel.gateway import Gateway, gateway
from tests.kernel.test_packets import FAMILIES, GARDENS, LEVELS, PROBES

QUICK = ("http", "bank http", "https", "bank https", "always open", "gateway")


@pytest.fixture(scope="module", params=["native", "generic"])
def gw(request: pytest.FixtureRequest) -> Iterator[Gateway]:
    with gateway(request.param) as made:
        yield made


@pytest.mark.parametrize("gardens", [True, False], ids=["gardens", "no gardens"])
@pytest.mark.parametrize("level", LEVELS)
def test_the_table_holds_with_xdp_in_front(gw: Gateway, level: str, *, gardens: bool) -> None:
    gw.open_gardens(GARDENS if gardens else {})
    entry, expected = LEVELS[level]
    gw.put(entry)
    for family in FAMILIES.values():
        if gardens:
            found = {name: PROBES[name].real(gw, family) for name in QUICK}
            assert found == {name: expected[name] for name in QUICK}
        else:  # nothing but the portal then: XDP answers where it leaves a garden's network to the rules
            assert PROBES["http"].real(gw, family) == expected["http"]
    assert gw.xdp is not None


def test_it_was_xdp_that_answered(gw: Gateway) -> None:
    assert gw.xdp is not None
    gw.open_gardens({})
    gw.put(LEVELS["walled"][0])
    before = gw.xdp.counted().get("redirect", 0)
    for family in FAMILIES.values():
        assert PROBES["http"].real(gw, family) == "portal"
    assert gw.xdp.counted()["redirect"] == before + len(FAMILIES)
