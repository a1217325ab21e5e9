"""Which devices the program runs on, and which of their frames are subscribers'."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from edged.xdp.interfaces import Link, links, matches, places, read_ports, read_vlans
from edged.xdp.layout import Frames
from edged.xdp.summary import summary
from tests.lab.netns import Namespace
from tests.worlds import namespace

VLANS = "802.1Q VLAN Support"
ETH1 = Link(2, "eth1", driver="igb")
ETH2 = Link(3, "eth2", driver="igb")
V100 = Link(10, "eth1.100", True, 2, 100, driver=VLANS)
V200 = Link(11, "eth1.200", True, 2, 200, driver=VLANS)
V100_7 = Link(12, "eth1.100.7", True, 10, 7, driver=VLANS)
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


BRIDGE = Link(30, "br0", driver="bridge")
BOND = Link(31, "bond0", driver="bonding")
VETH = Link(32, "sub0", driver="veth")
VETH_100 = Link(33, "sub0.100", True, 32, 100, driver=VLANS)
STRIPS = ETH1._replace(strips=("ethtool -K eth1 rxvlan off",))


@pytest.mark.parametrize(
    ("devices", "subscribers", "named", "mode", "may", "why"),
    [
        ([ETH2], ["eth2"], [], "auto", "auto", ""),
        ([ETH2._replace(strips=STRIPS.strips)], ["eth2"], [], "auto", "auto", ""),
        # tags that the driver takes off, asked for by name or not
        ([STRIPS, V100], ["eth1.100"], ["eth1"], "auto", "off", "before XDP sees a frame: ethtool -K eth1 rxvlan off"),
        ([STRIPS, V100], ["eth1.100"], ["eth1"], "native", "off", "ethtool -K eth1 rxvlan off"),
        ([STRIPS, V100], ["eth1"], [], "generic", "off", "ethtool -K eth1 rxvlan off"),
        ([STRIPS, V100, V100_7], ["eth1.100.7"], ["eth1"], "auto", "off", "ethtool -K eth1 rxvlan off"),
        ([STRIPS, V100], ["ppp*"], ["eth1"], "auto", "off", "ethtool -K eth1 rxvlan off"),
        ([VETH, VETH_100], ["sub0.100"], ["sub0"], "native", "off", "tags are not in the frames"),
        # tags that are there: not left to generic mode unasked
        ([ETH1, V100], ["eth1.100"], ["eth1"], "auto", "native", "eth1 has VLANs"),
        ([ETH1, V100], ["eth1.100"], ["eth1"], "generic", "generic", ""),
        # stacked
        ([BRIDGE], ["br0"], [], "auto", "off", "of the kind bridge"),
        ([BRIDGE], ["br0"], [], "generic", "generic", ""),
        ([Link(40, "odd0")], ["odd0"], [], "auto", "off", "has no driver"),
        ([ETH1, V100], ["eth1.100"], [], "auto", "off", "name the device below it"),
        ([BOND], ["bond0"], [], "auto", "native", "is a bond"),
        # ports of a bridge
        ([ETH2, BRIDGE], ["br0"], ["eth2"], "auto", "off", "come in by eth2 itself"),
        # another's VLAN among the outer ids
        ([ETH1, V100, V200, V100_7], ["eth1.200", "eth1.100.7"], ["eth1"], "auto", "off", "eth1.100 on eth1 would be"),
        ([ETH1, V100, V100_7, V200], ["eth1.100.7"], ["eth1"], "auto", "native", "eth1 has VLANs"),
        ([ETH1, V100, V100_7, V100_7._replace(number=13, name="eth1.100.8", vlan=8)], ["eth1.100.7"], ["eth1"], "auto",
         "off", "eth1.100.8 on eth1 would be"),
        ([ETH1, V100, V200], ["ppp*", "eth1.200"], ["eth1"], "auto", "off", "eth1.100 on eth1 would be"),
    ],
)  # fmt: skip
def test_what_may_be_tried(
    devices: list[Link], subscribers: list[str], named: list[str], mode: str, may: str, why: str
) -> None:
    (place,) = places(devices, subscribers, named, mode).values()
    assert place.mode == may
    assert why in place.why
    assert bool(why) == bool(place.why)


def test_of_more_hardware_addresses_than_there_is_room_for_the_devices_own_is_the_first() -> None:
    device = ETH1._replace(mac=b"\xff" * 6)
    vlans = [Link(9 + i, f"eth1.{i}", True, 2, i, bytes([2, 0, 0, 0, 0, i]), VLANS) for i in (3, 1, 2)]
    (place,) = places([device, *vlans], ["eth1.*"], ["eth1"]).values()
    assert place.macs == (device.mac, *(bytes([2, 0, 0, 0, 0, i]) for i in (1, 2, 3)))
    assert not place.lacks
    vlans += [vlans[0]._replace(number=20 + i, name=f"eth1.{i}", vlan=i, mac=bytes([2, 0, 0, 0, 0, i])) for i in (4, 5)]
    vlans += [vlans[0]._replace(number=30, name="eth1.6", vlan=6)]  # has a place already, with the third
    (place,) = places([device, *vlans], ["eth1.*"], ["eth1"]).values()
    assert place.macs == (device.mac, *(bytes([2, 0, 0, 0, 0, i]) for i in (1, 2, 3)))
    assert place.lacks.startswith("eth1.4, eth1.5 on eth1: nftables serves them")


def test_what_is_so_with_many_devices_is_said_once() -> None:
    whys = {f"eth{i}": f"eth{i} is one end: eth{i}" for i in range(300)}
    assert summary(whys) == ["eth0 is one end: eth0 (so it is with eth1, eth2, eth3 and 296 more)"]
    assert summary({"eth1": "eth1 a", "eth2": "", "eth10": "eth10 b", "eth3": "eth3 b"}) == [
        "eth1 a", "eth10 b (so it is with eth3)",
    ]  # fmt: skip
    assert summary({"eth1": "eth1 and eth1.5, eth10"}) == ["eth1 and eth1.5, eth10"]
    own = {f"eth{i}": f"reason {i} of eth{i}" for i in range(300)}
    assert [*own.values()][:8] == summary(own)[:8]
    assert summary(own)[8:] == ["something else with eth8, eth9, eth10 and 289 more"]


def test_the_ports_of_a_bond() -> None:
    text = "Bonding Mode: load balancing\n\nSlave Interface: eth1\nMII Status: up\n\nSlave Interface: eth2\n"
    assert read_ports(text) == ["eth1", "eth2"]


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
    space.ip("link add dev0 type veth peer name far0", "tuntap add dev tun7 mode tun", "link add br0 type bridge")
    found = {link.name: link for link in space.call(links)}
    assert not found["lo"].ethernet
    assert not found["tun7"].ethernet
    mac = bytes.fromhex(space.run("cat", "/sys/class/net/dev0/address").stdout.replace(":", ""))
    strips = ("ethtool -K dev0 rxvlan off rx-vlan-stag-hw-parse off",)
    assert found["dev0"] == Link(found["dev0"].number, "dev0", mac=mac, driver="veth", strips=strips)
    assert found["br0"].driver == "bridge"
    there = space.call(lambda: places(links(), ["*"]))
    assert {p.name for p in there.values()} == {"dev0", "far0", "br0"}
    assert there[found["dev0"].number].macs == (mac,)
    space.run(*strips[0].split())
    assert next(link for link in space.call(links) if link.name == "dev0").strips == ()
