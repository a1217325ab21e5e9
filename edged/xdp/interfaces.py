"""Where the program runs, and which of the frames that arrive there are subscribers'.

The nft rules name interfaces of the IP stack (``eth1.100``, ``ppp*``); the program sees a device's frames before they
are sorted to those. So for each device it is told which frames would come out at a subscriber interface:

| subscriber interface          | device the program is on      | frames                                      |
|-------------------------------|-------------------------------|---------------------------------------------|
| ``eth1``                      | ``eth1``                      | plain                                       |
| ``eth1.100``, VLAN of eth1    | ``eth1``                      | one tag, outer id 100                       |
| ``eth1.100.7``, VLAN in VLAN  | ``eth1``                      | two tags, outer id 100                      |
| ``eth1.100``, eth1 not named  | ``eth1.100`` (generic only)   | plain: the tag is gone there                |
| ``ppp*``                      | ``eth1``, named               | PPPoE sessions, behind the VLANs that it has |

A frame that is taken for a subscriber's is still answered only when its source address is restricted.
"""

from __future__ import annotations

import fcntl
import fnmatch
import socket
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from edged.xdp.layout import Frames

_SIOCGIFHWADDR = 0x8927
_ARPHRD_ETHER = 1
_VLANS = Path("/proc/thread-self/net/vlan/config")


class Link(NamedTuple):
    """A network device and its index; of a VLAN also the index of the device below (0: none known) and the id."""

    number: int
    name: str
    ethernet: bool = True
    below: int = 0
    vlan: int = 0
    mac: bytes = b""


@dataclass(frozen=True, slots=True)
class Place:
    """A device to run on, and the frames that are subscribers'. ``vlans`` are outer ids, ``macs`` those they go to."""

    index: int
    name: str
    frames: Frames
    vlans: frozenset[int] = frozenset()
    macs: frozenset[bytes] = frozenset()


def matches(name: str, patterns: Iterable[str]) -> bool:
    """Whether one of the configured names means this one; a star stands at the end only."""
    return any(fnmatch.fnmatchcase(name, p) if p.endswith("*") else name == p for p in patterns)


def places(links: Iterable[Link], subscribers: Sequence[str], named: Sequence[str] = ()) -> dict[int, Place]:
    """Index -> place, for the subscriber interfaces as configured and the devices named for XDP (none: the same)."""
    there = {link.number: link for link in links}
    chosen = {i for i, link in there.items() if link.ethernet and matches(link.name, named or subscribers)}
    if not named:  # what comes through a device that is chosen anyway is answered there
        chosen -= {i for i in chosen if there[i].below in chosen or _grandparent(there, i) in chosen}
    sessions = bool(named) and any(_is_ppp(pattern) for pattern in subscribers)
    out: dict[int, Place] = {}
    for index in chosen:
        frames, vlans, macs = Frames(0), set(), {there[index].mac}
        if matches(there[index].name, subscribers):
            frames |= Frames.PLAIN
        for link in there.values():
            outer = link if link.below == index else there.get(link.below)
            if outer is None or outer.below != index:
                continue
            tags = (Frames.VLAN, Frames.PPPOE_VLAN) if outer is link else (Frames.QINQ, Frames.PPPOE_QINQ)
            found = tags[0] * matches(link.name, subscribers) | tags[1] * sessions
            if found:
                frames |= found
                vlans.add(outer.vlan)
                macs.add(link.mac)
        if sessions:
            frames |= Frames.PPPOE
        out[index] = Place(index, there[index].name, frames, frozenset(vlans), frozenset(macs))
    return out


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
            out.append(Link(index, name, kind == _ARPHRD_ETHER, found.get(below, 0), vlan, mac))
    return out


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
