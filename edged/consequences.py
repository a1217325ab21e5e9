"""What changed subscribers mean for store, kernel, counts and digest: arithmetic on before and after. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from edged.domain import digest, effect
from edged.domain.address import words
from edged.domain.model import DEBT, Policy, Reason, rfc3339
from edged.plan import Owned
from edged.store.rows import Known, Row, Write

_NONE: dict[str, Reason] = {}


class Pair(NamedTuple):
    """A subscriber as the store has it and as it will be; None for not at all."""

    before: Known | None
    after: Known | None


def changes(w: Write, found: Iterable[Pair], now: int, policy: Policy) -> None:
    """Work out rows, address owners, kernel entries, counts and digests, and put them into ``w``.

    ``entries`` gets *all* addresses of every subscriber whose addresses or entry changed, as the plan wants it.
    """
    stamp = rfc3339(now) if w.events else ""
    for event in w.events:
        event.document.setdefault("at", stamp)
    for before, after in found:
        if after is not None:
            _write_row(w, before, after, now, policy)
        if before is None or after is None or before.keys != after.keys or before.entry != after.entry:
            _addresses(w, before, after)
        _count(w, before, after)
        _digest(w, before, after)


def _write_row(w: Write, before: Known | None, after: Known, now: int, policy: Policy) -> None:
    sub = after.sub = effect.settle(after.sub, now)
    after.entry = effect.entry(sub, now, policy)
    row = Row(after.id, sub, effect.next_moment(sub, now), after.keys, after.entry, after.mark)
    (w.fresh if before is None else w.changed).append(row)


def _addresses(w: Write, before: Known | None, after: Known | None) -> None:
    """Owner and entry of each address; an address that moves is in the list of both, in either order."""
    if before is not None:
        was = Owned(before.id, before.entry)
        for key in before.keys:
            _, will = w.entries.get(key, (None, None))
            w.entries[key] = (was, will)
            w.owners.setdefault(key, 0)
    if after is not None:
        will = Owned(after.id, after.entry)
        for key in after.keys:
            had, _ = w.entries.get(key, (None, None))
            w.entries[key] = (had, will)
            if before is not None and had is not None and had.owner == after.id:
                w.owners.pop(key, None)  # it stays where it is
            else:
                w.owners[key] = after.id


def _count(w: Write, before: Known | None, after: Known | None) -> None:
    if before is not None:
        w.levels[before.sub.level] -= 1
        w.promises -= before.sub.promise is not None
    if after is not None:
        w.levels[after.sub.level] += 1
        w.promises += after.sub.promise is not None


def _digest(w: Write, before: Known | None, after: Known | None) -> None:
    """What the change adds to the sums of domain/digest.py: only what really differs is hashed."""
    sub = (after or before).sub.sub  # type: ignore[union-attr]
    old = before.sub.reasons if before else _NONE
    new = after.sub.reasons if after else _NONE
    shard = rest = 0
    if old is not new:
        for sign, reasons, others in ((-1, old, new), (1, new, old)):
            for name, reason in reasons.items():
                other = others.get(name)
                if other is reason or (other is not None and _same(other, reason)):
                    continue
                number = sign * digest.reason(sub, name, reason.level, reason.rate, (i.id for i in reason.invoices))
                if name in DEBT:
                    shard += number
                else:
                    rest += number
    had = before.keys if before else ()
    have = after.keys if after else ()
    if had != have:
        shard -= sum(digest.binding(sub, words(k)) for k in set(had).difference(have))
        shard += sum(digest.binding(sub, words(k)) for k in set(have).difference(had))
    if shard:
        at = digest.shard(sub)
        w.shards[at] = w.shards.get(at, 0) + shard
    w.rest += rest


def _same(a: Reason, b: Reason) -> bool:
    return a.level == b.level and a.rate == b.rate and a.invoices == b.invoices


def whole_digest(known: Known) -> tuple[int, int]:
    """(what a subscriber adds to its shard, to the rest): from nothing, for checks."""
    w = Write()
    _digest(w, None, known)
    return sum(w.shards.values()), w.rest
