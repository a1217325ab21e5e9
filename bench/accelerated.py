"""What the benches of XDP share: subscribers made by the kernel (xdp_crowd.bpf.c), and the program over a million."""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np

from edged.portal.head import Verdict, answers
from edged.xdp import layout, libbpf
from edged.xdp.attach import Attacher, hardware
from edged.xdp.kernel import KernelMaps

from . import people
from .common import BenchError, inside
from .surfers import REQUEST

SOURCE = Path(__file__).with_name("xdp_crowd.bpf.c")
URL = "http://100.64.0.1:8081/"
SERVER = "203.0.113.80"
SYN, ASK, DATAGRAM = 0, 1, 2
PASS, DROP, TX = 2, 1, 3
NOBODY_ASKED, TESTED, SINK = 0, 1, 2
"""What a packet is handed to."""
_ROOM = 512
_PLAN = np.dtype(
    [
        *((name, "u4") for name in ("kind", "first", "mask", "call", "pass", "stop")),
        *((name, "u4") for name in ("mix", "flood_mask", "flood_call", "flood_pass", "spread")),
        ("size", "u4", (3,)),
        *((name, "u4") for name in ("odd", "space", "base")),
        ("sum", "u4", (3,)),
        ("claim", "u4", (2,)),
        ("frame", "u1", (3, _ROOM)),
    ]
)


def templates(gateway: bytes, own: bytes, server: str = SERVER) -> list[bytes]:
    """The frames of :data:`SYN`, :data:`ASK`, :data:`DATAGRAM`, without who sends them."""
    ethernet = gateway + own + b"\x08\0"

    def ip(proto: int, inside: bytes) -> bytes:
        head = struct.pack(
            "!BBHHHBBHI4s", 0x45, 0, 20 + len(inside), 0, 0x4000, 64, proto, 0, 0, socket.inet_aton(server)
        )
        return ethernet + head + inside

    def tcp(flags: int, options: bytes, data: bytes) -> bytes:
        return struct.pack("!HHIIBBHHH", 0, 80, 0, 0, (20 + len(options)) << 2, flags, 64240, 0, 0) + options + data

    syn = tcp(2, bytes.fromhex("020405b40402080a000000010000000001030307"), b"")
    udp = struct.pack("!HHHH", 0, 443, 26, 0) + bytes(18)
    return [ip(6, syn), ip(6, tcp(0x18, b"", REQUEST)), ip(17, udp).ljust(74, b"\0")]


def _sum(frame: bytes) -> int:
    """Of a TCP template's segment and pseudo header, as 16-bit words of this machine; addresses are left out."""
    segment = frame[34:]
    words = segment + bytes(len(segment) % 2) + struct.pack("!HH", 6, len(segment))
    return int(np.frombuffer(words, np.uint16).sum(dtype=np.uint32))


class Crowd:
    """The programs of xdp_crowd.bpf.c, compiled and loaded; ``plan`` says what they do.

    ``base``: the first address of subscribers who have neighbouring ones; without it they are those of people.py.
    """

    def __init__(self, frames: list[bytes], *, base: int | None = None) -> None:
        with tempfile.TemporaryDirectory(prefix="edged-bench-") as room:
            target = Path(room) / "crowd.o"
            headers = f"-I/usr/include/{os.uname().machine}-linux-gnu"
            subprocess.run(
                ["clang", "-target", "bpf", "-mcpu=v3", "-O2", "-g", headers, "-c", str(SOURCE), "-o", str(target)],
                check=True,
            )
            made = libbpf.Object(target)
            made.load()
            self.generate, self.surf, self.sink = (made.program(name) for name in ("generate", "surf", "sink"))
            self._plans, self._seen, self._tested = (made.map(name) for name in ("plans", "seen", "tested"))
            libbpf.update(self._tested, struct.pack("=I", 1), struct.pack("=I", self.sink))
            made.close()
        self._row = np.zeros(1, _PLAN)
        row = self._row[0]
        spread = (people.ODD, people.SPACE, people.BASE) if base is None else (1, 1 << 31, base)
        row["odd"], row["space"], row["base"] = spread
        for n, frame in enumerate(frames):
            row["size"][n] = len(frame)
            row["frame"][n][: len(frame)] = np.frombuffer(frame, np.uint8)
            row["sum"][n] = _sum(frame) if n != DATAGRAM else 0
        self.frames = frames

    def plan(self, kind: int = SYN, *, first: int = 0, bits: int = 20, call: bool = True, otherwise: int = DROP,
             stop: bool = False) -> None:  # fmt: skip
        """``bits``: 2**bits subscribers from number ``first`` on."""
        row = self._row[0]
        row["kind"], row["first"], row["mask"], row["call"] = kind, first, (1 << bits) - 1, call
        row["pass"], row["stop"] = otherwise, stop
        libbpf.update(self._plans, bytes(4), self._row.tobytes())

    def flood(self, share: float, *, bits: int, call: int, otherwise: int = DROP, spread: int = 0) -> None:
        """Beside what the plan says: this share of all packets is SYNs of 2**bits subscribers. 0: none.

        ``spread``: bits of the destination that are drawn anew for each SYN.
        """
        row = self._row[0]
        row["mix"], row["flood_mask"] = round(share * 0xFFFFFFFF), (1 << bits) - 1
        row["flood_call"], row["flood_pass"], row["spread"] = call, otherwise, spread
        libbpf.update(self._plans, bytes(4), self._row.tobytes())

    def claim(self, seed: int) -> None:
        """Requests come with the cookies that a program with this seed would have given to the sender of the frames."""
        number = int.from_bytes(self.frames[ASK][6:12], "little") ^ seed
        for factor in (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53):  # as mixed() in edged/xdp/bpf/maps.h
            number = ((number ^ number >> 33) * factor) & 0xFFFFFFFFFFFFFFFF
        number ^= number >> 33
        self._row[0]["claim"] = number & 0xFFFFFFFF, number >> 32

    def under_test(self, program: int) -> None:
        libbpf.update(self._tested, bytes(4), struct.pack("=I", program))

    def redirects(self) -> tuple[int, int]:
        """Whole redirects seen so far, and packets that were something else."""
        raw = [libbpf.lookup(self._seen, struct.pack("=I", n), 8 * libbpf.cpus()) or b"" for n in (0, 1)]
        good, bad = (int(np.frombuffer(r, np.uint64).sum()) for r in raw)
        return good, bad

    def burst(self, packets: int, ifindex: int, kind: int) -> None:
        """So many packets as the plan says, in the receive path of a device."""
        libbpf.run(self.generate, self.frames[kind], repeat=packets, ifindex=ifindex, live=True)

    def mean(self, kind: int, ifindex: int, repeat: int = 1_000_000, **plan: int) -> float:
        """Mean ns of a run, packet and all."""
        self.plan(kind, **plan)  # type: ignore[arg-type]
        return float(libbpf.run(self.generate, self.frames[kind], repeat=repeat, ifindex=ifindex).ns)


class Gateway:
    """The program over ``restricted`` subscribers, all walled; attached nowhere yet."""

    def __init__(self, restricted: int, *, rate: int = 1_000_000, burst: int = 1_000_000) -> None:
        said = answers(URL)
        self.texts = layout.Answers(said[Verdict.FOUND], said[Verdict.FOUND_NO_BODY], said[Verdict.BAD])
        self.maps = KernelMaps.open(None)
        self.attacher = Attacher(self.maps)
        keys = people.addresses(0, restricted).astype(">u4").view(np.uint8).reshape(-1, 4)
        started = time.monotonic()
        generation = self.maps.begin(restricted, 0)
        self.maps.write(generation, 4, keys, layout.same(3, restricted))
        self.maps.switch(generation, layout.Settings(self.texts, rate=rate, burst=burst))
        self.load_seconds = time.monotonic() - started

    def link(self, namespace: str, device: str) -> tuple[int, bytes]:
        """Take frames that arrive there for subscribers'; the index and the address."""
        with inside(namespace):
            ifindex, mac = socket.if_nametoindex(device), hardware(device)[1]
        self.maps.link(ifindex, layout.Frames.PLAIN, [mac])
        return ifindex, mac

    def attach(self, namespace: str, device: str, mode: str = "native") -> None:
        with inside(namespace):
            found = self.attacher.attach(device, mode)
        if found.mode != mode:
            raise BenchError(found.why)

    def close(self) -> None:
        self.attacher.close()
        self.maps.close()
