"""Which devices the program runs on, and which of their frames are subscribers'."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from edged.xdp.interfaces import Link, links, matches, places, read_vlans
from edged.xdp.layout import Frames
from tests.lab.netns import Namespace
from tests.worlds import namespace

ETH1 = Link(2, "eth1")
ETH2 = Link(3, "eth2")
V100 = Link(10, "eth1.100", True, 2, 100)
V200 = Link(11, "eth1.200", True, 2, 200)
V100_7 = Link(12, "eth1.100.7", True, 10, 7)
PPP0 = Link(20, "ppp0", False)
TUN0 = Link(21, "tun0", False)
ALL = (ETH1, ETH2, V100, V200, V100_7, PPP0, TUN0)
PLAIN, VLAN, QINQ, PPPOE = Frames.PLAIN, Frames.VLAN, Frames.QINQ, Frames.PPPOE
TAGGED = Frames.PPPOE_VLAN | Frames.PPPOE_QINQ


@pytest.mark.parametrize(
    ("subscribers", "named", "wanted"),
    [
        (["eth1"], [], {"eth1": (PLAIN, ())}),
        (["eth9"], [], {}),
        (["tun0", "ppp*"], [], {}),
        (["eth1", "eth2"], [], {"eth1": (PLAIN, ()), "eth2": (PLAIN, ())}),
        (["eth1", "eth2"], ["eth2"], {"eth2": (PLAIN, ())}),
        (["eth1.100"], [], {"eth1.100": (PLAIN, ())}),
        (["eth1.100"], ["eth1"], {"eth1": (VLAN, (100,))}),
        (["eth1.100", "eth1"], [], {"eth1": (PLAIN | VLAN, (100,))}),
        (["eth1.*"], ["eth1"], {"eth1": (VLAN | QINQ, (100, 200))}),
        (["eth1.100.7"], ["eth1"], {"eth1": (QINQ, (100,))}),
        (["eth1.100.7", "eth1"], [], {"eth1": (PLAIN | QINQ, (100,))}),
        (["eth1.100.7", "eth1.100"], [], {"eth1.100": (PLAIN | VLAN, (7,))}),
        (["ppp*"], ["eth2"], {"eth2": (PPPOE, ())}),
        (["ppp*"], ["eth1"], {"eth1": (PPPOE | TAGGED, (100, 200))}),
        (["ppp*", "eth2"], ["eth2"], {"eth2": (PLAIN | PPPOE, ())}),
        (["ppp*", "eth2"], [], {"eth2": (PLAIN, ())}),
        (["ppp*", "eth1.200"], ["eth1"], {"eth1": (VLAN | PPPOE | TAGGED, (100, 200))}),
        (["eth2"], ["eth1"], {"eth1": (Frames(0), ())}),
    ],
)
def test_places(subscribers: list[str], named: list[str], wanted: dict[str, tuple[Frames, tuple[int, ...]]]) -> None:
    found = places(ALL, subscribers, named)
    assert {p.name: (p.frames, tuple(sorted(p.vlans))) for p in found.values()} == wanted
    assert all(index == place.index for index, place in found.items())


def test_a_star_stands_for_any_rest_and_nothing_else_is_special() -> None:
    assert matches("ppp12", ["ppp*"])
    assert matches("ppp", ["ppp*"])
    assert not matches("ppp12", ["ppp1"])
    assert not matches("eth1", ["eth?"])
    assert matches("eth?", ["eth?"])


def test_vlans_as_the_kernel_lists_them() -> None:
    text = (
        "VLAN Dev name    | VLAN ID\n"
        "Name-Type: VLAN_NAME_TYPE_RAW_PLUS_VID_NO_PAD\n"
        "eth1.100       | 100  | eth1\n"
        "eth1.100.7     | 7  | eth1.100\n"
    )
    assert read_vlans(text) == {"eth1.100": ("eth1", 100), "eth1.100.7": ("eth1.100", 7)}


@pytest.fixture
def space() -> Iterator[Namespace]:
    with namespace() as made:
        yield made


def test_what_the_kernel_has(space: Namespace) -> None:
    space.ip("link add dev0 type veth peer name far0", "tuntap add dev tun7 mode tun")
    found = {link.name: link for link in space.call(links)}
    assert not found["lo"].ethernet
    assert not found["tun7"].ethernet
    mac = bytes.fromhex(space.run("cat", "/sys/class/net/dev0/address").stdout.replace(":", ""))
    assert found["dev0"] == Link(found["dev0"].number, "dev0", mac=mac)
    there = space.call(lambda: places(links(), ["*"]))
    assert {p.name for p in there.values()} == {"dev0", "far0"}
    assert there[found["dev0"].number].macs == {mac}
