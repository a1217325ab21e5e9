"""Who is who in the benches: a million restricted subscribers and some open ones, the same in every run.

Addresses are spread over 100.96.0.0/11 by an odd multiplier, so that neighbours in time are not neighbours in
the hash, and no address comes twice.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

BASE = 0x64600000
"""100.96.0.0, the upper half of the shared address space of RFC 6598; the lab lives in the lower one."""
SPACE = 1 << 21
ODD = 2654435761

Addresses = npt.NDArray[np.uint32]


def addresses(first: int, count: int) -> Addresses:
    """Subscribers number ``first`` .. ``first + count`` as host-order integers, shape (count,)."""
    if first < 0 or first + count > SPACE:
        raise ValueError(f"subscribers {first}..{first + count} do not fit into a /11")
    numbers = np.arange(first, first + count, dtype=np.uint64)
    return ((numbers * ODD) % SPACE + BASE).astype(np.uint32)


def texts(values: Addresses) -> list[str]:
    """Dotted form of each address."""
    octets = values.astype(">u4").view(np.uint8).reshape(-1, 4)
    return [f"{a}.{b}.{c}.{d}" for a, b, c, d in octets.tolist()]
