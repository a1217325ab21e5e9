"""Carrying out a snapshot (contract §1): the whole of an issuer's bindings and debts, put in place of what there is.

Theory of operation:

1. What the chunks say is kept by subscriber as they come (:mod:`edged.gathering`). From the commit of the last chunk on
   the snapshot is older than every command that follows.
2. :class:`Walk` *visits* every subscriber once: those the snapshot names, by name, then those it does not. A visit is
   one step from the old state to the new one, nothing in between. Whom a command names is visited before the command is
   carried out, in the same commit, whosever turn it is: so the command meets, and changes, what the snapshot says.
3. The walk leaves the kernel alone; when all are visited it is filled anew and switched over once. How far the walk has
   come is part of each commit, so a daemon that dies goes on where it was.
4. A subscriber changed by something newer than the snapshot (a numbered batch above its ``seq``, a higher ``rev``)
   keeps what it has. So do reasons that are no debts, promises that are running, what is remembered of invoices, and
   whoever the snapshot names in a command that cannot be read or obeyed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial

import msgspec

from edged.brake import Brake
from edged.domain import command as c
from edged.domain import decide, digest
from edged.domain.address import Addressing, check_name, literal
from edged.domain.audit import Decision as Audited
from edged.domain.model import DEBT, Policy, Subscriber
from edged.domain.region import NOWHERE
from edged.domain.rejection import Rejected
from edged.gathering import NOBODY
from edged.numberings import Numberings
from edged.store import rulings
from edged.store.rows import Known, Mark, Named, Staged, Write
from edged.store.store import Store
from edged.workset import Workset

_Told = c.Bind | c.Block | c.Trust | c.Defer
_ORDER = {c.Bind: 0, c.Block: 1, c.Trust: 2, c.Defer: 2}
"""Where somebody lives says when a block may begin, and a promise is about a debt."""
MOST_RESULTS = 50
"""Refused commands that the answer lists; all are counted."""


class Refusal(msgspec.Struct, omit_defaults=True):
    """A refused command in the answer."""

    part: int
    i: int
    sub: str | None
    status: str
    code: str
    detail: str


class Tally(msgspec.Struct):
    """What became of a snapshot so far."""

    subscribers: int = 0
    added: int = 0
    changed: int = 0
    removed: int = 0
    kept: int = 0
    """Subscribers left alone because something newer had changed them."""
    summary: dict[str, int] = {}
    results: list[Refusal] = []

    def count(self, status: str, n: int = 1) -> None:
        """``n`` commands ended so."""
        self.summary[status] = self.summary.get(status, 0) + n


_read_tally = msgspec.json.Decoder(Tally).decode
_write_json = msgspec.json.Encoder().encode
_read_commands = msgspec.json.Decoder(list[tuple[int, int, msgspec.Raw]]).decode


class Walk:
    """One snapshot being carried out. ``source``: the channel whose numbering its ``seq`` belongs to."""

    def __init__(
        self,
        staged: Staged,
        store: Store,
        numberings: Numberings,
        addressing: Addressing,
        policy: Callable[[], Policy],
        source: str,
        brake: Brake,
    ) -> None:
        self._brake = brake
        self.staged = staged
        self.tally = _read_tally(staged.tally)
        self._store = store
        self._numberings = numberings
        self._addressing = addressing
        self._policy = policy
        self._source = source
        self._shards = frozenset(staged.shards)
        self._turn: set[str] = set()
        """Whose turn has been in the step that is not yet committed."""

    def steps(self, size: int, now: int) -> Iterator[Write]:
        """What each step writes. It must be committed before the next is asked for. ``size``: subscribers in one."""
        number = self.staged.id
        while self.staged.swept < 0:
            page = self._store.named(number, self.staged.cursor, size)
            work = self._workset()
            self._visit_named(work, [n for n in page if not n.done], now)
            self.staged = self.staged._replace(
                cursor=page[-1].sub if page else self.staged.cursor, swept=-1 if page else 0
            )
            yield self._written(work, now)
        while True:
            last, left = self._store.unnamed(number, self.staged.swept, 16 * size)
            if last == self.staged.swept:
                return
            for at in range(0, len(left), size):
                part = left[at : at + size]
                work = self._workset()
                self._visit_unnamed(work, [i for i, name in part if self._ours(name)], now)
                self.staged = self.staged._replace(swept=part[-1][0])
                yield self._written(work, now)
            self.staged = self.staged._replace(swept=last)

    def before(self, work: Workset, names: Iterable[str], now: int) -> None:
        """Visit whom the commands of a group name, unless their turn has been; ``work`` then holds what they meet."""
        wanted = [n for n in dict.fromkeys(names) if self._ours(n)]
        said = self._store.named_of(self.staged.id, wanted)
        named: list[Named] = []
        unnamed: list[int] = []
        for name in wanted:
            found, known = said.get(name), work.get(name)
            if found is not None:
                if found.done or self._past(name):
                    continue
                named.append(found)
            elif known is not None:
                if known.id <= self.staged.swept:
                    continue
                unnamed.append(known.id)
            work.write.visited.append((self.staged.id, name))
        work.quiet, work.yields, work.crowded = True, self._waits, self._store.claimed_between
        self._visit_named(work, named, now)
        self._visit_unnamed(work, unnamed, now)
        work.quiet, work.yields, work.spared = False, lambda _: False, frozenset()
        work.crowded = lambda _first, _last: False

    # -- those it names --------------------------------------------------------------------------------------

    def _visit_named(self, work: Workset, found: Sequence[Named], now: int) -> None:
        read = {n.sub: self._read(n) for n in found}
        self._void(work, [n.sub for n in found])
        work.load(name for name in read if name != NOBODY)
        binds = [cmd for commands, _ in read.values() for _, _, cmd in commands if isinstance(cmd, c.Bind)]
        keys = work.prepare(binds)
        holders = work.holders(keys)
        marks = self._marks([*holders.values(), *(k for name in read if name != NOBODY and (k := work.get(name)))])
        # What somebody newer has stays his; he himself is left alone below.
        kept = {key for key, holder in holders.items() if self._newer(holder, marks)}
        work.spared = self._store.claimed_of(keys) | kept
        self._turn = set()
        for name, (commands, whole) in read.items():
            if name == NOBODY:
                continue
            self.tally.subscribers += 1
            self._turn.add(name)
            known = work.get(name)
            if known is not None and self._newer(known, marks):
                self.tally.kept += 1
                self.tally.count("unchanged", len(commands))
                continue
            self._put(name, commands, work, now, whole=whole)

    def _read(self, named: Named) -> tuple[list[tuple[int, int, _Told]], bool]:
        """The commands of a subscriber that can be obeyed, blocks before promises; whether that is all of them."""
        out: list[tuple[int, int, _Told]] = []
        whole = True
        for part, i, raw in _read_commands(f"[{named.commands}]"):
            try:
                cmd = c.read_command(raw)
                if not isinstance(cmd, _Told) or (isinstance(cmd, c.Block) and cmd.reason not in DEBT):
                    detail = f"a snapshot holds bind, block for a debt reason, trust and defer, not {c.op_of(cmd)}"
                    raise Rejected("malformed", detail)
                check_name(cmd.sub)
                if not self._ours(cmd.sub):
                    raise Rejected("malformed", "sub: it is of none of the shards that this snapshot replaces")
                out.append((part, i, cmd))
            except Rejected as e:
                whole = False
                self._refuse(part, i, c.name_in(raw), e)
        return sorted(out, key=lambda x: (_ORDER[x[2].__class__], x[0], x[1])), whole

    def _put(
        self,
        name: str,
        commands: list[tuple[int, int, _Told]],
        work: Workset,
        now: int,
        *,
        whole: bool,
    ) -> None:
        """One subscriber as the snapshot has it. Not ``whole``: what is missing may be what keeps it as it is."""
        kept, bound = set(), False
        known = work.get(name)
        before = known.sub if known else None
        for part, i, cmd in commands:
            try:
                if isinstance(cmd, c.Bind):
                    status = work.bind(msgspec.structs.replace(cmd, replace=whole and not bound), now)
                    bound = True
                else:
                    if isinstance(cmd, c.Block):
                        kept.add(cmd.reason)
                    status = self._decide(cmd, name, work, now)
                self.tally.count(status)
            except Rejected as e:
                # What lifts debts and is refused leaves them as they are said to be.
                whole = whole and isinstance(cmd, c.Trust | c.Defer)
                self._refuse(part, i, name, e)
        known = work.get(name)
        if known is not None and whole:
            if not bound and not literal(name):
                work.vacate(known)
            self._clear(known, set(DEBT) - kept, work, now)
        if known is None:
            return
        if (policy := self._policy()).regions is not NOWHERE and (before is None or before.area != known.sub.area):
            after, events = decide.reconsider(known.sub, now, policy)
            work.set(known, after, events)
        self._record(name, before, known.sub, work, now)

    def _void(self, work: Workset, names: Sequence[str]) -> None:
        """What the brake holds of these is older than what the snapshot says of their debts."""
        for sub, reason in self._store.read(partial(rulings.held_of, subs=names)) if self._brake.held else ():
            if reason in DEBT:
                work.write.held[sub, reason] = None

    def _record(self, name: str, before: Subscriber | None, after: Subscriber, work: Workset, now: int) -> None:
        if after is not before:
            made = Audited(now, "sync", name, self.staged.issuer, self.staged.sync, before=before, after=after)
            work.write.audit.append(made)

    def _decide(self, cmd: c.Block | c.Trust | c.Defer, name: str, work: Workset, now: int) -> str:
        known = work.get(name)
        if isinstance(cmd, c.Block):
            work.check_literal(name)
        view = decide.View(known.sub if known else None, work.facts(known))
        made = decide.decide(cmd, view, now, self._policy(), self.staged.issuer)
        work.put(name, made, claim=isinstance(cmd, c.Block))
        return made.status

    def _clear(self, known: Known, names: set[str], work: Workset, now: int) -> None:
        if names & known.sub.reasons.keys():
            after, events = decide.release(known.sub, names, now)
            work.set(known, after, events)

    # -- those it does not name ------------------------------------------------------------------------------

    def _visit_unnamed(self, work: Workset, numbers: Sequence[int], now: int) -> None:
        """Who has nothing left is taken out."""
        work.load_ids(numbers)
        wanted = set(numbers)
        found = [k for k in work.all() if k.id in wanted]
        self._void(work, [k.sub.sub for k in found])
        marks = self._marks(found)
        for known in found:
            if self._newer(known, marks):
                self.tally.kept += 1
                continue
            before = known.sub
            if not literal(before.sub):  # a literal address is bound to itself
                work.vacate(known)
            self._clear(known, set(DEBT), work, now)
            sub = known.sub
            self._record(sub.sub, before, sub, work, now)
            if not (sub.reasons or sub.promise or sub.deferrals or sub.breached or sub.rev >= 0 or known.history):
                work.remove(known)
            self.tally.removed += known.touched

    # -- helpers ---------------------------------------------------------------------------------------------

    def _workset(self) -> Workset:
        work = Workset(self._store, self._addressing)
        work.quiet, work.yields, work.crowded = True, self._waits, self._store.claimed_between
        return work

    def _written(self, work: Workset, now: int) -> Write:
        write = work.written(now, self._policy())
        if self.staged.swept < 0:
            self.tally.added += len(write.fresh)
            self.tally.changed += len(write.changed)
        write.staged.append(self.staged._replace(tally=_write_json(self.tally).decode()))
        return write

    def _past(self, name: str) -> bool:
        """Whether the turn of a subscriber that the snapshot names has been."""
        return self.staged.swept >= 0 or name <= self.staged.cursor

    def _waits(self, known: Known) -> bool:
        """Whether a subscriber's turn is still to come: then it gives up an address without being asked."""
        name = known.sub.sub
        if not self._ours(name) or name in self._turn or self._newer(known, self._marks([known])):
            return False
        found = self._store.named_of(self.staged.id, [name]).get(name)
        if found is not None:
            return not found.done and not self._past(name)
        return known.id > self.staged.swept

    def _marks(self, found: Sequence[Known]) -> dict[int, Mark]:
        return self._store.marks(k.id for k in found) if self.staged.seq >= 0 else {}

    def _newer(self, known: Known, marks: dict[int, Mark]) -> bool:
        mark = marks.get(known.id)
        s = self.staged
        return mark is not None and self._numberings.newer(mark, s.issuer, self._source, s.epoch, s.seq)

    def _ours(self, name: str) -> bool:
        return not self._shards or digest.shard(name) in self._shards

    def _refuse(self, part: int, i: int, sub: str | None, e: Rejected) -> None:
        self.tally.count("rejected")
        if len(self.tally.results) < MOST_RESULTS:
            self.tally.results.append(Refusal(part, i, sub, "rejected", e.code, e.detail))
