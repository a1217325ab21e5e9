"""What changed subscribers mean for store, kernel, counts and digest: arithmetic on before and after. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from edged.domain import digest, effect
from edged.domain.address import words
from edged.domain.model import DEBT, WHOLE, Policy, Reason, rfc3339
from edged.plan import Owned
from edged.store.rows import UNMARKED, Known, Row, Write

_NONE: dict[str, Reason] = {}


def changes(w: Write, found: Iterable[Known], now: int, policy: Policy) -> None:
    """Work out rows, address owners, kernel entries, counts and digests, and put them into ``w``.

    ``entries`` gets *all* addresses of every subscriber whose addresses or entry changed, as the plan wants it.
    """
    stamp = rfc3339(now) if w.events else ""
    for event in w.events:
        if not event.topic:  # else it is an answer
            event.document.setdefault("at", stamp)
    for known in found:
        stored = known.stored
        if not known.gone:
            known.sub, known.entry, due = effect.judge(known.sub, now, policy)
            mark = None if known.mark is UNMARKED else known.mark
            still = stored is not None and stored.keys is known.keys and stored.sub.area == known.sub.area
            keys = None if still else known.keys
            row = Row(known.id, known.sub, due, keys, known.entry, mark)
            (w.fresh if stored is None else w.changed).append(row)
        if stored is None or known.gone or stored.keys is not known.keys or stored.entry != known.entry:
            _addresses(w, known)
        _count(w, known)
        _digest(w, known)


def _addresses(w: Write, known: Known) -> None:
    """Owner and entry of each address; an address that moves is among those of both, whichever comes first."""
    stored = known.stored
    if not known.gone and stored is not None and stored.keys is known.keys:
        turn = Owned(known.id, stored.entry), Owned(known.id, known.entry)
        for key in known.keys:
            w.entries[key] = turn
        return
    if stored is not None:
        was = Owned(known.id, stored.entry)
        for key in stored.keys:
            _, will = w.entries.get(key, (None, None))
            w.entries[key] = (was, will)
            w.owners.setdefault(key, 0)
    if not known.gone:
        will = Owned(known.id, known.entry)
        for key in known.keys:
            had, _ = w.entries.get(key, (None, None))
            w.entries[key] = (had, will)
            if stored is not None and had is not None and had.owner == known.id:
                w.owners.pop(key, None)  # it stays where it is
            else:
                w.owners[key] = known.id


def _count(w: Write, known: Known) -> None:
    stored = known.stored
    if stored is not None:
        w.levels[stored.sub.level] -= 1
        w.promises -= stored.sub.promise is not None
    if not known.gone:
        w.levels[known.sub.level] += 1
        w.promises += known.sub.promise is not None


def _digest(w: Write, known: Known) -> None:
    """What the change adds to the sums of domain/digest.py: only what really differs is hashed."""
    stored, sub = known.stored, known.sub.sub
    old = stored.sub.reasons if stored is not None else _NONE
    new = _NONE if known.gone else known.sub.reasons
    shard = 0
    if old is not new:
        for name, reason in old.items():
            if not _same(reason, new.get(name)):
                shard -= _reason(w, sub, name, reason, -1)
        for name, reason in new.items():
            if not _same(reason, old.get(name)):
                shard += _reason(w, sub, name, reason, 1)
    had = stored.keys if stored is not None else ()
    have = () if known.gone else known.keys
    if had is not have:
        shard -= sum(digest.binding(sub, words(k)) for k in set(had).difference(have))
        shard += sum(digest.binding(sub, words(k)) for k in set(have).difference(had))
    if shard:
        at = digest.shard(sub)
        w.shards[at] = w.shards.get(at, 0) + shard


def _reason(w: Write, sub: str, name: str, reason: Reason, sign: int) -> int:
    """A reason's number for its subscriber's shard; what is no debt goes to the rest instead."""
    number = digest.reason(sub, name, reason.level, reason.rate, _named(reason))
    if name in DEBT:
        return number
    w.rest += sign * number
    return 0


def _same(a: Reason, b: Reason | None) -> bool:
    return a is b or (b is not None and a.level == b.level and a.rate == b.rate and _named(a) == _named(b))


def _named(reason: Reason) -> list[str]:
    """The invoices that the last block named: none where it was the whole debt, though the rest still waits."""
    return [] if any(w.id == WHOLE for w in reason.waits) else [i.id for i in reason.invoices]
