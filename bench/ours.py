"""Our side of the benches that need no daemon: the real enforcer, fed from an array instead of the store."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from edged import plan
from edged.nft.enforcer import Enforcer
from edged.nft.schema import Settings
from edged.nft.socket import KernelBackend
from edged.plan import Owned, Run

from .common import inside
from .people import Addresses


class ArraySource:
    """What a refill reads, with everybody of ``addresses`` walled."""

    def __init__(self, addresses: Addresses) -> None:
        self._ordered = np.sort(addresses)

    def counts(self) -> Mapping[tuple[str, int], int]:
        return {(plan.RESTRICTED, plan.V4_TAG): len(self._ordered)}

    def restricted(self, after: bytes, limit: int) -> Run | None:
        first = int(np.searchsorted(self._ordered, int.from_bytes(after[1:]), "right")) if after else 0
        packed = self._ordered[first : first + limit].astype(">u4").tobytes()
        return Run(plan.V4_TAG, packed, bytes([plan.V4_TAG]) + packed[-4:]) if packed else None

    def special(self, after: bytes, limit: int) -> Sequence[tuple[bytes, Owned]]:  # noqa: ARG002
        return ()


@contextlib.contextmanager
def enforced(namespace: str, subscriber_side: str, addresses: Addresses) -> Iterator[None]:
    """The whole ruleset of edged in ``namespace`` with these addresses walled, by our own enforcer."""
    with inside(namespace):
        backend = KernelBackend()
        try:
            enforcer = Enforcer(backend, Settings((subscriber_side,)))
            for _ in enforcer.refill(ArraySource(addresses), lambda: int(time.time() * 1000)):
                pass
        except BaseException:
            backend.close()
            raise
    try:
        yield
    finally:
        backend.close()
