"""The audit trail as it is asked for: which decisions, and whether all of it is as it was written.

Both are rows of short jobs for the thread that owns the store, and commands slip in between.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any

from edged.domain.audit import Finding, Verification
from edged.domain.model import rfc3339
from edged.errors import EdgedError
from edged.store.store import Store

WINDOW = 500
"""Rows read at a time; looking for one subscriber, ten times as many."""
VERIFIED = 2000
"""Rows verified at a time."""

_HASH = re.compile("[0-9a-f]{64}")
Part = dict[str, Any]
"""``{"row": …}``, ``{"result": …}``, or ``{"progress": row}`` where there was nothing to say for a while."""


def wanted(request: Mapping[str, Any]) -> tuple[str | None, int, int | None]:
    """What :func:`decisions` takes beside the store, from a request. Raises EdgedError."""
    sub, since, newest = request.get("sub"), request.get("since", 0), request.get("limit")
    if not isinstance(sub, str | None) or not isinstance(since, int) or not isinstance(newest, int | None):
        raise EdgedError("sub is a name, since a moment in Unix milliseconds, limit a number")
    if newest is not None and newest < 1:
        raise EdgedError(f"limit {newest}: at least 1")
    return sub, since, newest


def noted(request: Mapping[str, Any]) -> str | None:
    """A head that somebody wrote down, from a request. Raises EdgedError."""
    head = request.get("noted")
    if head is not None and not (isinstance(head, str) and _HASH.fullmatch(head)):
        raise EdgedError("noted: the head as edged audit --verify prints it, 64 hexadecimal digits")
    return head


def decisions(store: Store, sub: str | None, since: int, newest: int | None) -> Iterator[list[Part]]:
    """Rows, oldest first: of one subscriber or of all, recorded since a moment (Unix ms), perhaps only the newest."""
    begin, end = store.audit_bounds(since)
    size = WINDOW if sub is None else 10 * WINDOW
    if newest is not None:
        yield from _newest(store, sub, begin, end, size, newest)
        return
    for after in range(begin, end, size):
        found = store.audit_window(after, min(after + size, end), sub)
        yield [{"row": row} for row in found] or [{"progress": after}]


def _newest(store: Store, sub: str | None, begin: int, end: int, size: int, n: int) -> Iterator[list[Part]]:
    found: deque[Part] = deque()
    step = size if sub is not None else min(size, n)
    for upto in range(end, begin, -step):
        if len(found) >= n:
            break
        after = max(upto - step, begin)
        found.extendleft({"row": row} for row in reversed(store.audit_window(after, upto, sub)))
        yield [{"progress": after}]
    yield list(found)[max(len(found) - n, 0) :]


def verification(store: Store, head: str | None) -> Iterator[list[Part]]:
    """Whether the trail is whole, as ``result``. ``head``: one that somebody wrote down, in hex."""
    begin, _ = store.audit_ends()
    v = Verification(begin, bytes.fromhex(head) if head is not None else None)
    while (found := store.audit_verify(v, VERIFIED)) is True:
        yield [{"progress": v.head.last}]
    result: Part = {
        "whole": not found,
        "decisions": v.decisions,
        "links": v.links,
        "forgotten": v.forgotten,
        "head": v.head.hash.hex(),
        "purged_until": rfc3339(begin.at) if begin.last else None,
        "broken": found._asdict() if isinstance(found, Finding) else None,
    }
    if head is not None:
        result["noted"] = {"head": head, "met": v.met}
    yield [{"result": result}]
