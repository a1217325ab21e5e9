"""Where the program runs, and which of the frames that arrive there are subscribers'.

The nft rules name interfaces of the IP stack (``eth1.100``, ``ppp*``); the program sees a device's frames before they
are sorted to those. So for each device it is told which frames would come out at a subscriber interface:

| subscriber interface          | device the program is on      | frames                                      |
|-------------------------------|-------------------------------|---------------------------------------------|
| ``eth1``                      | ``eth1``                      | plain                                       |
| ``eth1.100``, VLAN of eth1    | ``eth1``                      | one tag, outer id 100                       |
| ``eth1.100.7``, VLAN in VLAN  | ``eth1``                      | two tags, outer id 100                      |
| ``eth1.100``, eth1 not named  | ``eth1.100``, if generic      | plain: the tag is gone there                |
| ``ppp*``                      | ``eth1``, named               | PPPoE sessions, behind the VLANs that it has |

A frame that is taken for a subscriber's is still answered only when its source address is restricted.

Where frames would be taken for what they are not, or answers would be lost, the program is kept away, and the place
says why: a driver takes tags off before the program sees them; one list of outer ids would take in another's VLAN;
generic mode on a device that stands on others meets packets that are merged, or whose checksum is still to be made.
"""

from __future__ import annotations

import contextlib
import fcntl
import fnmatch
import socket
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from edged.xdp import ethtool
from edged.xdp.layout import MACS, Frames
from edged.xdp.summary import listed

_SIOCGIFHWADDR = 0x8927
_ARPHRD_ETHER = 1
_VLANS = Path("/proc/thread-self/net/vlan/config")
_BONDS = Path("/proc/thread-self/net/bonding")

_VLAN_DRIVER, _BOND_DRIVER = "802.1Q VLAN Support", "bonding"
_STACKED = frozenset(
    {"", "bridge", "team", "macvlan", "macvtap", "ipvlan", "openvswitch", "vxlan", "geneve", "vrf", "dsa"}
)
"""Drivers of devices that stand on others, or on none."""


class Link(NamedTuple):
    """A network device and its index; of a VLAN also the index of the device below (0: none known) and the id.

    ``strips``: the commands, if any, that make its driver, or its ports', leave VLAN tags in the frames.
    """

    number: int
    name: str
    ethernet: bool = True
    below: int = 0
    vlan: int = 0
    mac: bytes = b""
    driver: str = ""
    strips: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Place:
    """A device to run on, and the frames that are subscribers'. ``vlans`` are outer ids, ``macs`` those they go to.

    ``mode`` is what may be tried there: auto, native, generic or off; ``why`` it is less than was wanted. ``lacks``:
    what is not answered there although the program runs. The device's own hardware address is the first.
    """

    index: int
    name: str
    frames: Frames
    vlans: frozenset[int] = frozenset()
    macs: tuple[bytes, ...] = ()
    mode: str = "auto"
    why: str = ""
    lacks: str = ""


def matches(name: str, patterns: Iterable[str]) -> bool:
    """Whether one of the configured names means this one; a star stands at the end only."""
    return any(fnmatch.fnmatchcase(name, p) if p.endswith("*") else name == p for p in patterns)


def places(
    links: Iterable[Link], subscribers: Sequence[str], named: Sequence[str] = (), mode: str = "auto"
) -> dict[int, Place]:
    """Index -> place, for the subscriber interfaces as configured and the devices named for XDP (none: the same).

    ``mode``: xdp.mode.
    """
    there = {link.number: link for link in links}
    chosen = {i for i, link in there.items() if link.ethernet and matches(link.name, named or subscribers)}
    if not named:  # what comes through a device that is chosen anyway is answered there
        chosen -= {i for i in chosen if there[i].below in chosen or _grandparent(there, i) in chosen}
    sessions = bool(named) and any(_is_ppp(pattern) for pattern in subscribers)
    out: dict[int, Place] = {}
    for index in chosen:
        frames, vlans, carrying = Frames(0), set(), [there[index]]
        if matches(there[index].name, subscribers):
            frames |= Frames.PLAIN
        tagged = list(_tagged(there, index))
        for link, outer, kind, session in tagged:
            found = kind * matches(link.name, subscribers) | session * sessions
            if found:
                frames |= found
                vlans.add(outer)
                carrying.append(link)
        if sessions:
            frames |= Frames.PPPOE
        others = [t.link.name for t in tagged if t.kind & frames and t.vlan in vlans]
        others = [name for name in others if not matches(name, subscribers)]
        may, why = _may(there[index], frames, others, mode, tagged=bool(tagged))
        macs, lacks = _macs(carrying)
        out[index] = Place(index, there[index].name, frames, frozenset(vlans), macs, may, why, lacks)
    return out


def _macs(links: Sequence[Link]) -> tuple[tuple[bytes, ...], str]:
    """The hardware addresses of a device and of what stands on it, and of which there is no room for theirs."""
    device, *others = links = [links[0], *sorted(links[1:], key=lambda link: (link.vlan, link.number))]
    macs = tuple(dict.fromkeys(link.mac for link in links if link.mac))
    left = [link.name for link in others if link.mac in macs[MACS:]]
    if not left:
        return macs, ""
    return macs[:MACS], (
        f"{listed(left)} on {device.name}: nftables serves them, because XDP knows {MACS} hardware addresses to a"
        f" device and theirs are others; give them that of {device.name} (ip link set dev {left[0]} address ...)"
    )


class _Tagged(NamedTuple):
    """A VLAN on a device: outer id, and which frames are its own, and which are a session's in it."""

    link: Link
    vlan: int
    kind: Frames
    session: Frames


def _tagged(there: Mapping[int, Link], index: int) -> Iterator[_Tagged]:
    for link in there.values():
        if link.below == index:
            yield _Tagged(link, link.vlan, Frames.VLAN, Frames.PPPOE_VLAN)
        elif (outer := there.get(link.below)) is not None and outer.below == index:
            yield _Tagged(link, outer.vlan, Frames.QINQ, Frames.PPPOE_QINQ)


def _may(device: Link, frames: Frames, others: Sequence[str], mode: str, *, tagged: bool) -> tuple[str, str]:
    """The mode that may be tried on a device, and why not the one wanted."""
    name = device.name
    if not frames:
        return "off", (
            f"no frames of network.subscriber_interfaces come in by {name} itself: of what stands on it only VLANs are"
            " answered here, and PPPoE where ppp interfaces are subscribers'; instead of a port name its bridge or bond"
        )
    if others:
        return "off", (
            f"{', '.join(sorted(others))} on {name} would be taken for subscribers': XDP has one list of outer VLAN"
            " ids for all kinds of frames; put what is a subscribers' VLAN into network.subscriber_interfaces, or leave"
            f" {name} out of xdp.interfaces"
        )
    if tagged and device.driver == "veth":
        return "off", f"{name} is one end of a veth pair and has VLANs: its tags are not in the frames that XDP sees"
    if tagged and device.strips:
        return "off", (
            f"{name} has VLANs, and its driver takes tags off before XDP sees a frame: {'; '.join(device.strips)}"
        )
    if mode != "auto":
        return mode, ""
    if device.driver == _VLAN_DRIVER:
        return "off", f"{name} is a VLAN: name the device below it in xdp.interfaces"
    if device.driver in _STACKED:
        kind = f"is of the kind {device.driver}" if device.driver else "has no driver"
        return "off", (
            f"{name} {kind}: there XDP meets merged packets and unfinished checksums. docs/xdp.md says what to set for"
            ' xdp.mode = "generic", which does it all the same'
        )
    if tagged or device.driver == _BOND_DRIVER:
        return "native", f"{name} {'has VLANs' if tagged else 'is a bond'}, so generic mode was not tried"
    return mode, ""


def _grandparent(there: Mapping[int, Link], index: int) -> int:
    parent = there.get(there[index].below)
    return parent.below if parent and parent.below else -1


def _is_ppp(pattern: str) -> bool:
    return pattern.startswith("ppp")


def links() -> list[Link]:
    """The devices of this network namespace."""
    found = {name: index for index, name in socket.if_nameindex()}
    vlans = _vlans()
    out = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as s:
        for name, index in found.items():
            below, vlan = vlans.get(name, ("", 0))
            kind, mac = _hardware(s, name)
            ethernet = kind == _ARPHRD_ETHER
            driver = ethtool.driver(s, name) if ethernet else ""
            strips = _strips(s, name, driver) if ethernet else ()
            out.append(Link(index, name, ethernet, found.get(below, 0), vlan, mac, driver, strips))
    return out


def _strips(s: socket.socket, name: str, driver: str) -> tuple[str, ...]:
    devices = [name]
    if driver == _BOND_DRIVER:  # says nothing of its ports
        with contextlib.suppress(OSError):
            devices += read_ports((_BONDS / name).read_text("utf-8", "replace"))
    on = ((device, ethtool.strips(s, device)) for device in devices)
    return tuple(f"ethtool -K {device} {' off '.join(features)} off" for device, features in on if features)


def read_ports(text: str) -> list[str]:
    """``/proc/net/bonding/<bond>``: the bond's ports."""
    rows = (line.partition(": ") for line in text.splitlines())
    return [value.strip() for key, _, value in rows if key == "Slave Interface"]


def _hardware(s: socket.socket, name: str) -> tuple[int, bytes]:
    """Link type and hardware address."""
    try:
        answer = fcntl.ioctl(s, _SIOCGIFHWADDR, struct.pack("16s24x", name.encode()))
    except OSError:  # it has gone
        return 0, b""
    kind, mac = struct.unpack_from("=H6s", answer, 16)
    return int(kind), bytes(mac)


def _vlans() -> dict[str, tuple[str, int]]:
    try:
        return read_vlans(_VLANS.read_text("utf-8", "replace"))
    except OSError:  # no VLANs on this machine
        return {}


def read_vlans(text: str) -> dict[str, tuple[str, int]]:
    """``/proc/net/vlan/config``: name -> (device below, id)."""
    rows = ([part.strip() for part in line.split("|")] for line in text.splitlines())
    return {row[0]: (row[2], int(row[1])) for row in rows if len(row) == 3 and row[1].isdigit()}
