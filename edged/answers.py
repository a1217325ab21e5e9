"""The documents that answer batches (contract §1, Acknowledgement). Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from edged.domain.model import rfc3339
from edged.domain.rejection import Rejected

FULL_RESULTS = 50
"""Batches up to this size are answered command by command."""
STATUSES = ("applied", "unchanged", "deferred", "rejected", "held")


@dataclass(slots=True)
class Answer:
    """The ack document of one payload; ``enforced`` is filled in when the kernel has it."""

    document: dict[str, Any]
    operations: dict[tuple[str, str], int] = field(default_factory=dict)
    """(op, status) -> commands, for the observer."""
    codes: dict[str, int] = field(default_factory=dict)
    """Contract code -> commands refused with it, for the observer."""
    issuer: str = ""
    fresh: bool = True
    """Whether it has to be remembered under its issuer and batch id."""


class Ledger:
    """Gathers the results of one batch's commands."""

    def __init__(self, gateway: str, name: str | None, now: int, total: int) -> None:
        self._full = total <= FULL_RESULTS
        self._summary = dict.fromkeys(STATUSES, 0)
        self._results: list[dict[str, Any]] = []
        self._operations: dict[tuple[str, str], int] = {}
        self._codes: dict[str, int] = {}
        self.document: dict[str, Any] = {
            "v": 1,
            "id": name,
            "gateway": gateway,
            "duplicate": False,
            "received": rfc3339(now),
            "summary": self._summary,
            "results": self._results,
        }

    def note(self, i: int, sub: str | None, op: str, status: str, more: dict[str, Any] | None = None) -> None:
        """Command ``i`` ended with ``status``; ``more`` is the rest of its result."""
        at = op, status
        self._operations[at] = self._operations.get(at, 0) + 1
        if self._full or status != "applied" or (more is not None and "record" in more):
            result = {"i": i, "sub": sub, "status": status}
            self._results.append({**result, **more} if more else result)

    def refuse(self, i: int, sub: str | None, op: str, e: Rejected) -> None:
        """Command ``i`` was refused."""
        self._codes[e.code] = self._codes.get(e.code, 0) + 1
        self.note(i, sub, op, "rejected", {"code": e.code, "detail": e.detail})

    def answer(self, issuer: str, *, fresh: bool) -> Answer:
        """The whole."""
        for (_, status), n in self._operations.items():
            self._summary[status] += n
        return Answer(self.document, self._operations, self._codes, issuer, fresh)


def refused(gateway: str, e: Rejected, now: int, name: str | None) -> Answer:
    """The answer to a payload that is refused whole; it is not remembered."""
    ledger = Ledger(gateway, name, now, 1)
    ledger.refuse(0, None, "unknown", e)
    return ledger.answer("", fresh=False)


def repeated(document: dict[str, Any]) -> Answer:
    """The answer to a batch seen before."""
    return Answer({**document, "duplicate": True}, fresh=False)


def without(document: dict[str, Any], forgotten: set[str]) -> dict[str, Any]:
    """An answer as it may be kept: nothing of a forgotten subscriber stays (LGPD)."""
    if not forgotten:
        return document
    return {**document, "results": [r for r in document["results"] if r.get("sub") not in forgotten]}
