"""What a rule does with a packet, as values: each statement knows its nft text and its bytes (see ``expr.py``)."""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass

from edged.nft.bytecode import (
    META_MARK,
    REG_1,
    REG_2,
    expression,
    masked,
    meta,
    value,
)
from edged.nft.nla import attr, be32, nest, text


@dataclass(frozen=True, slots=True)
class Tproxy:
    """Hand the packet to the local transparent listener; without one the rule ends here and the next decides."""

    family: int
    port: int

    def text(self) -> str:
        where = "ip to 127.0.0.1" if self.family == 4 else "ip6 to [::1]"
        return f"tproxy {where}:{self.port}"

    def wire(self) -> bytes:
        address = socket.inet_aton("127.0.0.1") if self.family == 4 else bytes(15) + b"\x01"
        return (
            expression("immediate", be32(1, REG_1), value(2, address))
            + expression("immediate", be32(1, REG_2), value(2, struct.pack(">H", self.port)))
            + expression("tproxy", be32(1, 2 if self.family == 4 else 10), be32(2, REG_1), be32(3, REG_2))
        )


@dataclass(frozen=True, slots=True)
class Mark:
    """Set one bit of the packet mark and leave the operator's other bits alone."""

    bit: int

    def text(self) -> str:
        return f"meta mark set meta mark | {self.bit:#010x}"

    def wire(self) -> bytes:
        keep, add = struct.pack("=I", ~self.bit & 0xFFFFFFFF), struct.pack("=I", self.bit)
        return meta(META_MARK) + masked(keep, add) + expression("meta", be32(2, META_MARK), be32(3, REG_1))


@dataclass(frozen=True, slots=True)
class Count:
    """Add the packet to the named counter."""

    name: str

    def text(self) -> str:
        return f'counter name "{self.name}"'

    def wire(self) -> bytes:
        return expression("objref", be32(1, 1), text(2, self.name))


@dataclass(frozen=True, slots=True)
class Reject:
    """Refuse at once: ``tcp`` answers with a reset, ``admin`` with ICMP administratively prohibited."""

    how: str

    def text(self) -> str:
        return "reject with tcp reset" if self.how == "tcp" else "reject with icmpx admin-prohibited"

    def wire(self) -> bytes:
        kind, code = (1, 0) if self.how == "tcp" else (2, 3)
        return expression("reject", be32(1, kind), attr(2, bytes([code])))


@dataclass(frozen=True, slots=True)
class Verdict:
    """``accept``, ``drop``, ``goto`` or ``jump`` (the last two with a chain)."""

    name: str
    chain: str = ""

    def text(self) -> str:
        return f"{self.name} {self.chain}".rstrip()

    def wire(self) -> bytes:
        code = {"accept": 1, "drop": 0, "jump": -3, "goto": -4}[self.name]
        inner = be32(1, code) + (text(2, self.chain) if self.chain else b"")
        return expression("immediate", be32(1, 0), nest(2, nest(2, inner)))
