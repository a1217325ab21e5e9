"""A subscriber's TCP, segment by segment, as the XDP program meets it, and what the program says to each."""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass

from tests.kernel.accelerator import Accelerator, texts
from tests.lab.topology import DEBTOR, NEIGHBOUR, SUBSCRIBER_INTERFACE

DROP, PASS, TX = 1, 2, 3
FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16
GET = b"GET /a HTTP/1.1\r\nHost: example.net\r\n\r\n"
ISN = 4_000_000_000
FREE = {4: "192.0.2.1", 6: "2001:db8:9::9"}
MY = {4: DEBTOR.v4, 6: DEBTOR.v6}
KEY4 = b"\x04" + socket.inet_pton(socket.AF_INET, DEBTOR.v4)
KEY6 = b"\x38" + socket.inet_pton(socket.AF_INET6, DEBTOR.prefix[:-3])
OTHER = b"\x04" + socket.inet_pton(socket.AF_INET, NEIGHBOUR.v4)
MSS = b"\x02\x04\x05\xb4"
FOUND, FOUND_NO_BODY, BAD = texts()


def words(data: bytes) -> int:
    """The sum that TCP and IP check by."""
    total: int = sum(struct.unpack(f"!{(len(data) + 1) // 2}H", data + b"\0" * (len(data) % 2)))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


@dataclass(frozen=True)
class Segment:
    """A TCP segment of the subscriber's, or an answer to it."""

    flags: int
    seq: int = ISN
    ack: int = 0
    data: bytes = b""
    window: int = 64240
    options: bytes = b""


@dataclass(frozen=True)
class Line:
    """A subscriber's connection to somewhere, seen from the cable."""

    xdp: Accelerator
    family: int = 4
    source: str = ""
    target: str = ""
    port: int = 50000
    proto: int = 6
    dport: int = 80

    def frame(self, s: Segment) -> bytes:
        family = socket.AF_INET if self.family == 4 else socket.AF_INET6
        here = socket.inet_pton(family, self.source or MY[self.family])
        there = socket.inet_pton(family, self.target or FREE[self.family])
        tcp = struct.pack(
            "!HHIIBBHHH", self.port, self.dport, s.seq & 0xFFFFFFFF, s.ack & 0xFFFFFFFF,
            (20 + len(s.options)) << 2, s.flags, s.window, 0, 0,
        ) + s.options + s.data  # fmt: skip
        if self.family == 4:
            ip = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(tcp), 7, 0, 64, self.proto, 0) + here + there
            ip = ip[:10] + (0xFFFF - words(ip)).to_bytes(2) + ip[12:]
        else:
            ip = struct.pack("!IHBB", 6 << 28, len(tcp), self.proto, 64) + here + there
        mac = self.xdp.pretend(SUBSCRIBER_INTERFACE)
        return mac + b"\x02\0\0\0\0\x01" + (b"\x08\0" if self.family == 4 else b"\x86\xdd") + ip + tcp

    def send(self, s: Segment) -> int | Segment:
        """The verdict, or the answer."""
        ran = self.xdp.run(self.frame(s))
        if ran.verdict != TX:
            return ran.verdict
        at = 34 if self.family == 4 else 54
        end = 14 + (int.from_bytes(ran.data[16:18]) if self.family == 4 else 40 + int.from_bytes(ran.data[18:20]))
        sport, dport, seq, ack, size, flags, window, *_ = struct.unpack("!HHIIBBHHH", ran.data[at : at + 20])
        assert (sport, dport) == (self.dport, self.port)
        data = at + (size >> 2)
        return Segment(flags, seq, ack, ran.data[data:end], window, ran.data[at + 20 : data])

    def answered(self, s: Segment) -> Segment:
        answer = self.send(s)
        assert isinstance(answer, Segment), answer
        return answer

    def opened(self) -> int:
        """Begin; the number after the cookie."""
        return self.answered(Segment(SYN, options=MSS)).seq + 1
