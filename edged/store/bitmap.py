"""Restricted IPv4 addresses as bitmaps, one of 256 bits for each /24: pure.

Subscribers' addresses come in dense pools, so a million of them fit some thousand rows, and reading them for a refill
costs little beside reading a million keys. Bit ``i`` of a bitmap (byte ``i // 8``, most significant bit first) is the
address ending in ``i``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

BYTES = 32


def nets_of(keys: Iterable[bytes]) -> set[int]:
    """The /24s (as 24-bit numbers) of IPv4 keys; a key is a tag byte and four address bytes."""
    return {int.from_bytes(k[1:4]) for k in keys}


def changed(bitmaps: Mapping[int, bytes], values: Mapping[bytes, bool]) -> dict[int, bytes]:
    """New bitmaps by /24 after setting (True) or clearing the bits of keys; only those that differ."""
    fresh: dict[int, bytearray] = {}
    for key, on in values.items():
        net = int.from_bytes(key[1:4])
        bits = fresh.get(net)
        if bits is None:
            bits = fresh[net] = bytearray(bitmaps.get(net, bytes(BYTES)))
        at, mask = key[4] >> 3, 0x80 >> (key[4] & 7)
        bits[at] = bits[at] | mask if on else bits[at] & ~mask
    return {net: bytes(bits) for net, bits in fresh.items() if bits != bitmaps.get(net, bytes(BYTES))}


def count(bits: bytes) -> int:
    """How many addresses a bitmap holds."""
    return int.from_bytes(bits).bit_count()


def addresses(rows: Sequence[tuple[int, bytes]]) -> bytes:
    """The addresses of (/24, bitmap) rows, four bytes each in network order, ascending within each row."""
    nets = np.fromiter((n for n, _ in rows), np.uint32, len(rows))
    bits = np.frombuffer(b"".join(b for _, b in rows), np.uint8).reshape(-1, BYTES)
    row, low = np.nonzero(np.unpackbits(bits, axis=1))
    return (nets[row] << np.uint32(8) | low.astype(np.uint32)).astype(">u4").tobytes()
