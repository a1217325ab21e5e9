"""Each of these tests has the real kernel in a network namespace of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from edged.domain.entry import Entry
from edged.domain.levels import Level
from edged.nft.socket import KernelBackend
from edged.xdp.layout import Settings
from tests import worlds
from tests.kernel.accelerator import Accelerator, texts
from tests.kernel.segments import KEY4, KEY6, OTHER, Line
from tests.lab.netns import Namespace, unique_tag
from tests.lab.topology import SUBSCRIBER_INTERFACE, Network


@pytest.fixture
def space() -> Iterator[Namespace]:
    with worlds.namespace() as made:
        yield made


@pytest.fixture
def backend(space: Namespace) -> Iterator[KernelBackend]:
    with worlds.attached(space) as made:
        yield made


@pytest.fixture(scope="module")
def network() -> Iterator[Network]:
    made = Network.named(unique_tag())
    made.create()
    made.gateway.ip("route add default via 198.51.100.10", "route add ::/0 via 2001:db8:f::10")
    try:
        yield made
    finally:
        made.delete()


@pytest.fixture
def xdp(network: Network) -> Iterator[Accelerator]:
    """Everybody walled, so many connections that no test is slowed."""
    made = Accelerator(network.gateway, settings=Settings(texts(), rate=10**6, burst=10**6))
    made.put([KEY4, KEY6, OTHER], Entry(Level.WALLED))
    made.pretend(SUBSCRIBER_INTERFACE)
    try:
        yield made
    finally:
        made.close()


@pytest.fixture(params=[4, 6], ids=["IPv4", "IPv6"])
def line(xdp: Accelerator, request: pytest.FixtureRequest) -> Line:
    return Line(xdp, request.param)
