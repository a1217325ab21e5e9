"""A debt in force that grows: what joins it has a beginning of its own (domain.md §3). Pure; times in Unix ms.

Laws:

1. What has begun is not put off by sending the block again, whatever else that names.
2. An invoice that joins begins when a block that names it alone would; until then it *waits*: it stands in the reason
   and is not felt. So does the rest where the whole debt is said to be owed behind a reason that named invoices, and a
   higher level: the reason is felt at its old one.
3. What waits and is named again is judged anew by the new terms.
4. Where the whole debt was in force, whatever is named of it has begun.
5. Its moment come, and when something is said of its area, it is asked once more, as every onset is.
"""

from __future__ import annotations

from msgspec.structs import replace

from edged.domain import command as c
from edged.domain import onset
from edged.domain.model import RAISE, WHOLE, Invoice, Policy, Reason, Waiting


def joined(
    cmd: c.Block, named: tuple[Invoice, ...], level: int, had: Reason, area: str, now: int, policy: Policy
) -> tuple[tuple[Invoice, ...], tuple[Waiting, ...]]:
    """(invoices, what waits) of a debt in force that a block names again."""
    waited = {w.id: w for w in had.waits}
    raised = _raised(cmd, level, had, waited.get(RAISE), area, now, policy)
    begun = {i.id for i in had.invoices} - waited.keys()
    if (not had.invoices and WHOLE not in waited) or (named and begun.issuperset(i.id for i in named)):
        return named, raised
    fresh = [i.id for i in named if i.id not in begun] or [WHOLE]
    parts = (_part(cmd, name, waited.get(name), area, now, policy) for name in fresh)
    waits = tuple(p for p in parts if p is not None)
    if named:
        return named, waits + raised
    if not waits:
        return (), raised
    return had.invoices, (*(w for w in had.waits if w.id not in {WHOLE, RAISE}), *waits, *raised)


def _part(cmd: c.Block, name: str, had: Waiting | None, area: str, now: int, policy: Policy) -> Waiting | None:
    notified = c.told_at(cmd) or (had.notified_at if had else 0)
    at, why, earliest = onset.asked(cmd, area, now, policy, notified)
    if not why:
        return None
    return Waiting(name, at, why, earliest, notified, override=cmd.override is not None)


def _raised(
    cmd: c.Block, level: int, had: Reason, waited: Waiting | None, area: str, now: int, policy: Policy
) -> tuple[Waiting, ...]:
    before = waited.level if waited else had.level
    if level <= before:
        return ()
    at, why, earliest = onset.asked(cmd, area, now, policy, c.told_at(cmd) or had.notified_at)
    if not why:
        return ()
    rate = waited.rate if waited else had.rate
    return (Waiting(RAISE, at, why, earliest, level=before, rate=rate, override=cmd.override is not None),)


def owed(reason: Reason) -> list[str]:
    """What is behind a debt: its invoices, and the rest that waits; the whole where nothing is named."""
    rest = [WHOLE for w in reason.waits if w.id == WHOLE]
    return [i.id for i in reason.invoices] + rest or [WHOLE]


def soonest(reason: Reason, named: tuple[Invoice, ...]) -> Waiting | None:
    """What waits of that which a block has just named, the first of it."""
    ids = {RAISE, *(i.id for i in named)} if named else {RAISE, WHOLE}
    return min((w for w in reason.waits if w.id in ids), key=lambda w: w.onset, default=None)


def due(reason: Reason, area: str, now: int, policy: Policy, *, every: bool = False) -> Reason:
    """The reason after what is due has begun or waits on (law 5); ``every``: whatever waits is asked."""
    left, begun = [], set()
    for part in reason.waits:
        found: Waiting | None = part
        if every or part.onset <= now:
            found = onset.part_due(part, area, now, policy)
        if found is None:
            begun.add(part.id)
        else:
            left.append(found)
    if WHOLE in begun:
        return replace(reason, invoices=(), waits=tuple(w for w in left if w.id == RAISE))
    return replace(reason, waits=tuple(left))


def began(before: Reason, after: Reason) -> bool:
    """Whether something of a reason has begun between the two."""
    return len(after.waits) < len(before.waits)


def without(reason: Reason, left: tuple[Invoice, ...]) -> Reason | None:
    """The reason with these of its invoices left; None where nothing is."""
    if not left and all(w.id != WHOLE for w in reason.waits):
        return None
    if not reason.waits:
        return replace(reason, invoices=left)
    ids = {RAISE, WHOLE, *(i.id for i in left)}
    return replace(reason, invoices=left, waits=tuple(w for w in reason.waits if w.id in ids))
