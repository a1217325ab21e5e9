"""Carrying out a snapshot (contract §1): the whole of an issuer's bindings and debts, put in place of what there is.

Theory of operation:

1. Chunks are kept as they come (:mod:`edged.gathering`). When the last is in, :class:`Walk` goes through them in
   order and then through the subscribers that none of them names, in short steps, so that commands slip in between.
2. A step writes what differs into the desired state and leaves the kernel alone; when all are done the kernel is
   filled anew and switched over once. A daemon that dies in between begins the walk again: a step done twice changes
   nothing the second time.
3. A subscriber changed by something newer than the snapshot (a command after its last chunk, a numbered batch above
   its ``seq``, a higher ``rev``) keeps what it has. So do reasons that are no debts, promises that are running, and
   what is remembered of invoices.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Any

import msgspec

from edged.domain import command as c
from edged.domain import decide, digest
from edged.domain.address import Addressing, check_name, literal
from edged.domain.model import DEBT, Policy
from edged.domain.rejection import Rejected
from edged.numberings import Numberings
from edged.store.rows import Known, Mark, Staged, Write
from edged.store.store import Store
from edged.workset import Workset

MOST_RESULTS = 50
"""Refused commands that the answer lists; all are counted."""
_Raws = msgspec.json.Decoder(list[msgspec.Raw])


@dataclass(slots=True)
class Tally:
    """What became of a snapshot."""

    subscribers: int = 0
    added: int = 0
    changed: int = 0
    removed: int = 0
    kept: int = 0
    """Subscribers left alone because something newer had changed them."""
    summary: Counter[str] = field(default_factory=Counter)
    results: list[dict[str, Any]] = field(default_factory=list)


class Walk:
    """One snapshot being carried out. ``source``: the channel whose numbering its ``seq`` belongs to.

    ``newer``: subscribers that commands have changed since its last chunk came; it grows meanwhile.
    """

    def __init__(
        self,
        staged: Staged,
        store: Store,
        numberings: Numberings,
        addressing: Addressing,
        policy: Policy,
        source: str,
        newer: AbstractSet[int],
    ) -> None:
        self.staged = staged
        self.tally = Tally()
        self._store = store
        self._numberings = numberings
        self._addressing = addressing
        self._policy = policy
        self._source = source
        self._changed = newer
        self._shards = frozenset(staged.shards)
        self._visited = bytearray()
        """A bit for each subscriber number."""

    def steps(self, size: int, now: int) -> Iterator[Write]:
        """What each step writes; a step is over when its successor is asked for. ``size``: subscribers in one."""
        for part in range(1, self.staged.parts + 1):
            commands = _Raws.decode(self._store.chunk(self.staged.id, part))
            found = list(self._read(part, commands).items())
            for at in range(0, len(found), size):
                yield self._named(part, found[at : at + size], now)
        after = 0
        while rows := self._store.names(after, 16 * size):
            after = rows[-1][0]
            left = [n for n, name in rows if not self._seen(n) and self._ours(name)]
            for at in range(0, len(left), size):
                yield self._unnamed(left[at : at + size], now)

    # -- those it names --------------------------------------------------------------------------------------

    def _read(self, part: int, commands: Sequence[msgspec.Raw]) -> dict[str, list[tuple[int, c.Command]]]:
        out: dict[str, list[tuple[int, c.Command]]] = {}
        for i, raw in enumerate(commands):
            try:
                cmd = c.read_command(raw)
                if not isinstance(cmd, c.Bind | c.Block | c.Trust) or (
                    isinstance(cmd, c.Block) and cmd.reason not in DEBT
                ):
                    detail = f"a snapshot holds bind, block for a debt reason and trust, not {c.op_of(cmd)}"
                    raise Rejected("malformed", detail)
                check_name(cmd.sub)
                if not self._ours(cmd.sub):
                    raise Rejected("malformed", "sub: it is of none of the shards that this snapshot replaces")
                out.setdefault(cmd.sub, []).append((i, cmd))
            except Rejected as e:
                self._refuse(part, i, c.name_in(raw), e)
        return out

    def _named(self, part: int, found: Sequence[tuple[str, list[tuple[int, c.Command]]]], now: int) -> Write:
        work = self._workset()
        work.load(name for name, _ in found)
        work.prepare(cmd for _, commands in found for _, cmd in commands if isinstance(cmd, c.Bind))
        marks = self._marks(work.all())
        for name, commands in found:
            known = work.get(name)
            if known is not None and self._newer(known, marks):
                self._visit(known)
                self.tally.kept += 1
                self.tally.summary["unchanged"] += len(commands)
                continue
            again = known is not None and self._seen(known.id)
            self._put(part, name, commands, work, now, again=again)
            known = work.get(name)
            if known is not None:
                self._visit(known)
            self.tally.subscribers += not again
        write = work.written(now, self._policy)
        self.tally.added += len(write.fresh)
        self.tally.changed += len(write.changed)
        return write

    def _put(
        self, part: int, name: str, commands: list[tuple[int, c.Command]], work: Workset, now: int, *, again: bool
    ) -> None:
        """One subscriber as the snapshot has it. ``again``: an earlier chunk named it, too, and this adds to that."""
        kept, bound = set(), False
        for i, cmd in sorted(commands, key=lambda x: isinstance(x[1], c.Trust)):
            try:
                if isinstance(cmd, c.Bind):
                    status = work.bind(
                        cmd if not bound and not again else msgspec.structs.replace(cmd, replace=False), now
                    )
                    bound = True
                else:
                    assert isinstance(cmd, c.Block | c.Trust)  # noqa: S101  _read() lets nothing else in
                    known = work.get(name)
                    if known is None:
                        work.check_literal(name)
                    if isinstance(cmd, c.Block):
                        kept.add(cmd.reason)
                    facts = work.facts(known)
                    made = decide.decide(
                        cmd, decide.View(known.sub if known else None, facts), now, self._policy, self.staged.issuer
                    )
                    work.put(name, made)
                    status = made.status
                self.tally.summary[status] += 1
            except Rejected as e:
                self._refuse(part, i, name, e)
                kept.update(DEBT)  # what cannot be judged is left as it is
                bound = True
        known = work.get(name)
        if known is not None and not again:
            if not bound and not literal(name):
                work.vacate(known)
            self._clear(known, set(DEBT) - kept, work)

    def _clear(self, known: Known, names: set[str], work: Workset) -> None:
        if names & known.sub.reasons.keys():
            after, events = decide.release(known.sub, names)
            work.set(known, after, events)

    # -- those it does not name ------------------------------------------------------------------------------

    def _unnamed(self, numbers: Sequence[int], now: int) -> Write:
        work = self._workset()
        work.load_ids(numbers)
        marks = self._marks(work.all())
        for known in work.all():
            if self._newer(known, marks):
                self.tally.kept += 1
                continue
            work.vacate(known)
            self._clear(known, set(DEBT), work)
            sub = known.sub
            if not sub.reasons and not sub.promise and not sub.breached and sub.rev < 0 and known.history is None:
                work.remove(known)
            self.tally.removed += known.touched
        return work.written(now, self._policy)

    # -- helpers ---------------------------------------------------------------------------------------------

    def _workset(self) -> Workset:
        work = Workset(self._store, self._addressing)
        work.quiet = True
        work.yields = lambda known: not self._seen(known.id) and self._ours(known.sub.sub)
        return work

    def _marks(self, found: Sequence[Known]) -> dict[int, Mark]:
        return self._store.marks(k.id for k in found) if self.staged.seq >= 0 else {}

    def _newer(self, known: Known, marks: dict[int, Mark]) -> bool:
        if known.id in self._changed:
            return True
        mark = marks.get(known.id)
        s = self.staged
        return mark is not None and self._numberings.newer(mark, s.issuer, self._source, s.epoch, s.seq)

    def _ours(self, name: str) -> bool:
        return not self._shards or digest.shard(name) in self._shards

    def _seen(self, number: int) -> bool:
        at = number >> 3
        return at < len(self._visited) and bool(self._visited[at] & 1 << (number & 7))

    def _visit(self, known: Known) -> None:
        at = known.id >> 3
        if at >= len(self._visited):
            self._visited.extend(bytes(at + 4096 - len(self._visited)))
        self._visited[at] |= 1 << (known.id & 7)

    def _refuse(self, part: int, i: int, sub: str | None, e: Rejected) -> None:
        self.tally.summary["rejected"] += 1
        if len(self.tally.results) < MOST_RESULTS:
            told = {"part": part, "i": i, "sub": sub, "status": "rejected", "code": e.code, "detail": e.detail}
            self.tally.results.append(told)
