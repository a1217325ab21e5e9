"""The order of an issuer's batches on one channel (contract §1, ``epoch`` and ``seq``): pure.

Laws:

1. Within an epoch numbers rise by one. A number not above the highest seen is ``stale``.
2. Epochs are compared as text. A higher one begins a new numbering, a lower one is ``stale``.
3. A numbering begins at 0 or 1. Whatever lies between the number expected and the one that came is a gap: the batch
   is applied all the same, and a snapshot is asked for.
"""

from __future__ import annotations

from typing import NamedTuple

from edged.domain.rejection import Rejected


class Gap(NamedTuple):
    """Numbers ``expected`` .. ``got`` - 1 never came."""

    expected: int
    got: int


def judge(last: tuple[str, int] | None, epoch: str, seq: int) -> Gap | None:
    """The gap before batch ``seq`` of ``epoch``, None where it follows on ``last``, the (epoch, seq) seen highest.

    Raises Rejected ``stale``.
    """
    if last is None or epoch > last[0]:
        return None if seq <= 1 else Gap(1, seq)
    if epoch < last[0]:
        raise Rejected("stale", f"epoch {epoch!r:.40} is below {last[0]!r:.40}, which has begun already")
    if seq <= last[1]:
        raise Rejected("stale", f"seq {seq} is not above {last[1]}, the highest seen of epoch {epoch!r:.40}")
    return None if seq == last[1] + 1 else Gap(last[1] + 1, seq)
