"""Where the program is attached: natively in the driver, else generic, else not at all, and why.

By interface index and netlink, not by a link that ends with its owner: the program stays when the daemon dies.
Another's XDP program is never replaced. Ours is known by its pin, its name or a note (:mod:`edged.xdp.ours`), so that a
later start puts its own in its place without a moment in between.
"""

from __future__ import annotations

import array
import contextlib
import fcntl
import os
import socket
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from edged.xdp import leftovers, libbpf, rtnetlink
from edged.xdp.binding import BpfError
from edged.xdp.kernel import KernelMaps
from edged.xdp.layout import Frames
from edged.xdp.ours import Ours, note, pin_name
from edged.xdp.rtnetlink import Attached

_FLAGS = {"native": libbpf.NATIVE, "generic": libbpf.GENERIC}
_ETHER, _SIOCGIFHWADDR, _SIOCETHTOOL, _GDRVINFO = 1, 0x8927, 0x8946, 3


class Attachment(NamedTuple):
    """How an interface is attached: ``mode`` native, generic or off; ``why`` it is not a better one, empty if it is."""

    mode: str
    why: str = ""


class Attacher:
    """Attaches the program of one :class:`KernelMaps`. Works in the network namespace of the calling thread.

    ``notes``: the file in which each start notes its program.
    """

    def __init__(self, maps: KernelMaps, notes: Path | None = None) -> None:
        self._maps = maps
        self._id = libbpf.number(maps.program)
        self._ours = Ours(maps.pins, notes)
        self._ours.keep(self._id, os.dup(maps.program))
        if maps.pins is not None:
            self._ours.pins[self._id] = maps.pins / pin_name(self._id)
            libbpf.pin(maps.program, self._ours.pins[self._id])
        if notes is not None:
            note(notes, self._id)

    def attach(
        self, name: str, wanted: str = "auto", frames: Frames = Frames.PLAIN, vlans: Iterable[int] | None = None
    ) -> Attachment:
        """Attach to an interface; ``wanted`` auto, native, generic or off. What a driver cannot do raises nothing.

        Raises BpfError where the maps have no room for it, OSError where it goes meanwhile.

        ``frames`` and ``vlans`` as :func:`edged.xdp.layout.link` takes them. Called again it brings things up to date:
        a new hardware address, a program of an earlier start.
        """
        try:
            ifindex = socket.if_nametoindex(name)
        except OSError:
            return Attachment("off", f"{name}: no such interface")
        if wanted == "off":
            self.detach(name)
            return Attachment("off", "xdp.mode is off")
        kind, mac = hardware(name)
        if kind != _ETHER:
            return Attachment("off", f"{name} has no Ethernet header: name the device below it in xdp.interfaces")
        modes, why = ["native", "generic"] if wanted == "auto" else [wanted], ""
        if wanted == "auto" and driver(name) == "veth":
            modes = ["generic"]
            why = f"{name} is one end of a veth pair: natively its answers arrive only if the other end has XDP, too"
        self._maps.link(ifindex, frames, [mac], vlans)
        for mode in modes:
            try:
                self._put(name, ifindex, mode)
            except BpfError as error:
                why = "; ".join(filter(None, (why, f"{mode} on {name}: {error}")))
            else:
                return Attachment(mode, why)
        self._maps.unlink(ifindex)
        return Attachment("off", why)

    def _put(self, name: str, ifindex: int, mode: str) -> None:
        now = rtnetlink.attached(ifindex)
        if now.program and not self._ours.has(now.program):
            raise BpfError(f"{name} has another's XDP program (id {now.program}): ip link set dev {name} xdp off")
        if now.program and (now.mode != mode or self._ours.fd(now.program) is None):
            libbpf.detach(ifindex, _FLAGS[now.mode], self._ours.fd(now.program))
            now = rtnetlink.attached(ifindex)
        if now.program == self._id:
            return
        libbpf.attach(ifindex, self._maps.program, _FLAGS[mode], self._ours.fd(now.program))

    def detach(self, name: str) -> bool:
        """Detach our program, whichever start's it is. False when it was not there."""
        try:
            ifindex = socket.if_nametoindex(name)
        except OSError:
            return False
        return self.leave(ifindex)

    def leave(self, ifindex: int) -> bool:
        """The same by index: whatever the device is called by now. False also when there is none any more."""
        self._maps.unlink(ifindex)
        try:
            socket.if_indextoname(ifindex)
        except OSError:
            return False
        now = rtnetlink.attached(ifindex)
        if not self._ours.has(now.program):
            return False
        libbpf.detach(ifindex, _FLAGS[now.mode], self._ours.fd(now.program))
        return True

    def silence(self, ifindex: int) -> None:
        """Let the program on an interface answer nothing from now on; where that cannot be said, take it away."""
        try:
            self._maps.unlink(ifindex)
        except BpfError:
            now = rtnetlink.attached(ifindex)
            if self._ours.has(now.program):
                libbpf.detach(ifindex, _FLAGS[now.mode], self._ours.fd(now.program))

    def mode(self, now: Attached) -> str:
        """Native, generic or off: how this start's program is there where ``now`` is attached."""
        return now.mode if now.program == self._id else "off"

    def everywhere(self) -> dict[int, str]:
        """The interfaces of this namespace, by index, that have a program of ours, of this start or an earlier one."""
        return {i: now.name for i, now in rtnetlink.everywhere().items() if self._ours.has(now.program)}

    def reads(self, program: int) -> bool:
        """Whether a program goes by these maps: this start's, or an earlier one's whose pin was beside them."""
        return program == self._id or program in self._ours.pins

    def expel(self, *, all_of_them: bool = False) -> list[str]:
        """Detach what goes by maps that nobody can reach any more, or everything; returns from where."""
        return leftovers.expel(self._ours, (lambda _: False) if all_of_them else self.reads)

    def pin(self) -> bool:
        """Pin maps and program anew where somebody took the pins away; whether it was so. Raises BpfError."""
        gone = self._maps.pin()
        path = self._ours.pins.get(self._id)
        if path is not None and not libbpf.is_pinned(self._maps.program, path):
            path.unlink(missing_ok=True)
            libbpf.pin(self._maps.program, path)
            gone = True
        return gone

    def settle(self) -> None:
        """Forget the programs of earlier starts, once every interface has ours."""
        for number in self._ours.pins.keys() - {self._id}:
            self._ours.forget(number)

    def close(self) -> None:
        """Give descriptors back; what is attached stays."""
        self._ours.close()


def hardware(name: str) -> tuple[int, bytes]:
    """The link type (ARPHRD_*; 1 is Ethernet) and the hardware address."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        answer = fcntl.ioctl(sock, _SIOCGIFHWADDR, struct.pack("16s240x", name.encode()))
    kind, mac = struct.unpack_from("=H6s", answer, 16)
    return int(kind), bytes(mac)


def driver(name: str) -> str:
    """The driver's name as ethtool has it; empty where it does not say."""
    room = array.array("B", struct.pack("=I252x", _GDRVINFO))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock, contextlib.suppress(OSError):
        fcntl.ioctl(sock, _SIOCETHTOOL, struct.pack("16sP16x", name.encode(), room.buffer_info()[0]))
    return room.tobytes()[4:36].split(b"\0")[0].decode(errors="replace")
