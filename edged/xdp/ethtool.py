"""What a device's driver says of itself: its name, and which VLAN tags it takes off before XDP sees a frame.

``SIOCETHTOOL`` as ``linux/ethtool.h`` has it. Nothing here raises for a device that is gone or says nothing.
"""

from __future__ import annotations

import array
import contextlib
import fcntl
import functools
import socket
import struct

_SIOCETHTOOL = 0x8946
_GDRVINFO, _GSTRINGS, _GSSET_INFO, _GFEATURES = 0x03, 0x1B, 0x37, 0x3A
_FEATURE_NAMES = 4
"""ETH_SS_FEATURES."""
_NAME = 32
"""ETH_GSTRING_LEN."""
STRIPPING = {"rx-vlan-hw-parse": "rxvlan", "rx-vlan-stag-hw-parse": "rx-vlan-stag-hw-parse"}
"""Features that take a tag off -> what ``ethtool -K`` calls them."""


def driver(s: socket.socket, device: str) -> str:
    """The driver's name, ``bridge`` or ``802.1Q VLAN Support`` too; empty where none is known."""
    said = _asked(s, device, struct.pack("=I252x", _GDRVINFO))
    return said[4:36].split(b"\0")[0].decode(errors="replace")


def strips(s: socket.socket, device: str) -> tuple[str, ...]:
    """Those of STRIPPING that are on, by their names for ``ethtool -K``: XDP never sees a tag that they took."""
    names = _features()
    words = (len(names) + 31) // 32
    said = _asked(s, device, struct.pack(f"=II{16 * words}x", _GFEATURES, words))
    on = {name for i, name in enumerate(names) if struct.unpack_from("=I", said, 16 * (i // 32) + 16)[0] >> i % 32 & 1}
    return tuple(short for name, short in STRIPPING.items() if name in on)


@functools.cache
def _features() -> tuple[str, ...]:
    """The kernel's names of features, in the order of their bits, which differs from kernel to kernel."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as s:
        said = _asked(s, "lo", struct.pack("=IIQI4x", _GSSET_INFO, 0, 1 << _FEATURE_NAMES, 0))
        count = struct.unpack_from("=I", said, 16)[0]
        said = _asked(s, "lo", struct.pack(f"=III{_NAME * count}x", _GSTRINGS, _FEATURE_NAMES, count))
    rows = (said[12 + _NAME * i :][:_NAME] for i in range(count))
    return tuple(row.split(b"\0")[0].decode(errors="replace") for row in rows)


def _asked(s: socket.socket, device: str, question: bytes) -> bytes:
    """The kernel's answer; the question itself, zeros where the answer would be, if there is none."""
    room = array.array("B", question)
    with contextlib.suppress(OSError):
        fcntl.ioctl(s, _SIOCETHTOOL, struct.pack("16sP16x", device.encode(), room.buffer_info()[0]))
    return room.tobytes()
