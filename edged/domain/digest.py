"""A digest of the desired state that two sides can keep for themselves and compare: pure.

It is a sum modulo 2^64 of one number for each fact, so it does not depend on order, and a change costs one hash for
what goes and one for what comes. A fact's number is the first eight bytes, big-endian, of the SHA-256 of a line in
UTF-8, its fields separated by the unit separator (U+001F):

* a binding: ``a``, subscriber, address as :func:`edged.domain.address.words` writes it (single IPv4 addresses, IPv6
  prefixes);
* a reason: ``r``, subscriber, reason, level in force once it has begun (1..4), rate in kbit/s (0: the gateway's own),
  and each open invoice's id, sorted.

Promises, onsets and times are left out: they are the gateway's own clock's. A *shard* is one of 256 parts of the
subscribers, by CRC-32 of the name, so that only what differs must be sent again.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256
from zlib import crc32

SHARDS = 256
MODULUS = 1 << 64
_SEPARATOR = "\x1f"


def shard(sub: str) -> int:
    """The part (0..255) of the subscribers to which this one belongs."""
    return crc32(sub.encode()) & 0xFF


def binding(sub: str, address: str) -> int:
    """The number of the fact that ``address`` (canonical text) is bound to ``sub``."""
    return int.from_bytes(sha256(f"a\x1f{sub}\x1f{address}".encode()).digest()[:8])


def reason(sub: str, name: str, level: int, rate: int, invoices: Iterable[str]) -> int:
    """The number of the fact that this reason is set; ``invoices`` are ids in any order."""
    line = f"r\x1f{sub}\x1f{name}\x1f{level}\x1f{rate}"
    for invoice in sorted(invoices):
        line += _SEPARATOR + invoice
    return int.from_bytes(sha256(line.encode()).digest()[:8], "big")


def words(value: int) -> str:
    """A sum as 16 hex digits."""
    return f"{value % MODULUS:016x}"
