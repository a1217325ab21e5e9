"""Keeps the kernel's table equal to what the store says. The only caller of a backend's ``commit``.

Theory of operation:

1. Commands give small :class:`~edged.plan.Change` values; each is one transaction.
2. Doubt of any kind (start, error, drift, a set too full) is answered by one means, the refill: sets of the next
   *generation*, which no rule looks at, are filled in chunks in key order; one last transaction switches the rules
   over and removes the old generation. No packet ever sees a half-filled set.
3. A refill may be interleaved with changes. It walks keys upwards, so a change belongs into the new generation exactly
   where its key lies at or below the walk's cursor; everything above will be read later from the store, which
   already has it.
4. What is achieved is known only from acknowledged transactions. After any error ``synced`` is False until a refill
   ends, and a refill beside which a change failed does not end well.
5. A follower, where there is one, hears of each change and each step of a refill right after the acknowledgement. What
   becomes of it there changes nothing here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence

from edged import plan
from edged.errors import KernelError, KernelMismatch
from edged.nft import codec, garden, schema, sets
from edged.nft.generation import Generation, Ranges
from edged.nft.schema import Settings
from edged.nft.source import Cursor, Follower, Source
from edged.nft.transaction import (
    AddChain,
    AddCounter,
    AddRule,
    AddSet,
    AddTable,
    Backend,
    DelLimit,
    DelSet,
    DelTable,
    FlushRules,
    Transaction,
)
from edged.plan import Change, Owned, Turn

CHUNK = 16_384
"""Keys in one transaction of a refill: few enough that a command beside it waits for milliseconds."""

_GENERATION = re.compile(r"_g(\d+)$")


class Enforcer:
    """One table. Not safe for several threads; constructor touches nothing."""

    def __init__(self, backend: Backend, settings: Settings) -> None:
        self.backend = backend
        self.settings = settings
        self.synced = False
        self.live: Generation | None = None
        self._next: Generation | None = None
        self._cursor = Cursor()
        self._spoiled = False
        """A change beside the refill did not reach the kernel."""
        self._walks = 0
        """Walks through the source begun so far: of two, the later one goes on."""
        self._gardens: Ranges = {}
        self.loose = False
        """The store is ahead of the live sets (a snapshot is under way): they are told what is, not what changes."""
        self.walked = False
        """While ``loose``: the store will not run further ahead, so the next refill ends it with its switch."""
        self.follower: Follower | None = None
        self.overridden: Callable[[], bool] = lambda: False
        """Whether somebody may answer packets before the sets do whom nobody here can ask (XDP without its maps)."""

    # -- small changes ---------------------------------------------------------------------------------------

    def apply(
        self, change: Change, now: int, whole: Mapping[bytes, Owned | None] = {}, turns: Mapping[bytes, Turn] = {}
    ) -> None:
        """Bring a change into force as one transaction; ``now`` in Unix ms. Raises KernelError and is then unsynced.

        Without a live generation nothing is done: the refill under way, or the next one, reads the change from the
        store. ``whole``: while ``loose``, all that is to hold for the addresses concerned. ``turns``: what the change
        was made from, for the follower.
        """
        if not change and not (self.loose and whole):
            return
        parts: list[tuple[Generation, Change]] = []
        if self.live and not self.loose:
            parts.append((self.live, change))
        if self._next:
            parts.append((self._next, self._cursor.part(change)))
        transaction = Transaction()
        try:
            if self.live and self.loose:
                transaction.add(*self.live.restate(whole, now))
            for generation, part in parts:
                transaction.add(*generation.write(part, now))
            self.backend.commit(transaction)
        except KernelError:
            self.synced = False
            self._spoiled = True
            raise
        for generation, part in parts:
            generation.count(part)
        if self.follower and (self.live or self._next):
            self.follower.tell(whole if self.loose else {key: will for key, (_, will) in turns.items()}, now)

    def _commit(self, transaction: Transaction) -> None:
        try:
            self.backend.commit(transaction)
        except KernelError:
            self.synced = False
            self._spoiled = True
            raise

    @property
    def crowded(self) -> bool:
        """Whether a set is so full that a refill with larger sets should begin."""
        return bool(self.live and not self._next and self.live.crowded)

    def set_gardens(self, openings: Mapping[str, Iterable[garden.Opening]]) -> None:
        """Make the gardens (``open``, ``garden``) hold exactly these openings, as one transaction."""
        wanted = {(g, v): garden.ranges(openings.get(g, ()), v) for g in sets.GARDENS for v in (4, 6)}
        transaction = Transaction()
        for generation in filter(None, (self.live, self._next)):
            transaction.add(*generation.write_gardens(wanted, self._gardens))
        self._gardens = wanted
        self._commit(transaction)
        if self.follower:
            self.follower.open_gardens(openings)

    # -- refill ----------------------------------------------------------------------------------------------

    def refill(self, source: Source, clock: Callable[[], int]) -> Generator[None, None, None]:
        """Bring the kernel to what ``source`` says; each step is one transaction, after which it yields.

        ``clock`` gives Unix ms.
        Raises KernelError; the live generation then still stands as it was and a new refill may be begun.
        """
        try:
            yield from self._refill(source, clock)
        except KernelError:
            self.synced = False
            if self.follower:
                self.follower.abandon()
            raise
        finally:
            self._next = None

    def _refill(self, source: Source, clock: Callable[[], int]) -> Iterator[None]:
        last = self.loose and self.walked
        counts, follower = source.counts(), self.follower
        generation = Generation.sized(self._newest() + 1, self.settings, counts)
        self._begin(generation)
        self._next, self._cursor, self._spoiled = generation, Cursor(), False
        self._walks += 1
        if follower:
            follower.begin(counts)
        yield
        while run := source.restricted(self._cursor.restricted, CHUNK):
            self._commit(Transaction([generation.write_restricted(run)]))
            generation.count_restricted(run)
            self._cursor.restricted = run.last
            if follower:
                follower.fill(run)
            yield
        self._cursor.restricted_done = True
        while rows := source.special(self._cursor.special, CHUNK // 4):
            now = clock()
            self._fill_special(generation, rows, now)
            self._cursor.special = rows[-1][0]
            if follower:
                follower.fill_special(rows, now)
            yield
        self._cursor.special_done = True
        self._unspoiled()
        self._switch(generation)
        self.live, self._next, self.synced = generation, None, True
        if follower:
            follower.switch()
        if last:
            self.loose = False
        yield
        self._sweep(generation)
        self._unspoiled()

    def follow(self, source: Source, clock: Callable[[], int]) -> Generator[None, None, None]:
        """Tell the follower all of ``source`` anew and leave the sets alone; each step is one chunk.

        Ends without its switch where a refill begins meanwhile, which tells all of it anyway, or the store runs ahead.
        """
        follower = self.follower
        if follower is None or self._next or self.loose:
            return
        self._walks += 1
        walk, cursor = self._walks, Cursor()
        follower.begin(source.counts())
        yield
        while walk == self._walks and not self.loose:
            if not cursor.restricted_done:
                if run := source.restricted(cursor.restricted, CHUNK):
                    follower.fill(run)
                    cursor.restricted = run.last
                cursor.restricted_done = run is None
            elif rows := source.special(cursor.special, CHUNK // 4):
                follower.fill_special(rows, clock())
                cursor.special = rows[-1][0]
            else:
                follower.switch()
                return
            yield
        if walk == self._walks:
            follower.abandon()

    def _unspoiled(self) -> None:
        if self._spoiled:
            raise KernelMismatch("a change failed beside the refill; it begins again")

    def _newest(self) -> int:
        """The highest generation in the table, also one left half-filled by a daemon that died, or the one that was."""
        found = (_GENERATION.search(name) for name in self.backend.sets())
        return max((int(m[1]) for m in found if m), default=self.live.number if self.live else 0)

    def _flags(self) -> int:
        """The table flags to ask for: those of the table that is there, unless it can be made ours."""
        info, claims = self.backend.table(), self.backend.claims()
        if info is None or info.owner is not None:
            return claims
        # An orphan keeps ``persist`` and can be adopted. A table made without either flag (older kernel or edged)
        # cannot be claimed in place; drift is watched instead.
        return claims if claims and info.flags & codec.PERSIST else info.flags

    def _begin(self, generation: Generation) -> None:
        have = set(self.backend.chains())
        transaction = Transaction([AddTable(self._flags())])
        transaction.add(*(AddCounter(c) for c in schema.COUNTERS))
        transaction.add(*(AddChain(c) for c in schema.chains(self.settings) if c.name not in have))
        transaction.add(*(AddSet(s) for s in generation.declared()))
        transaction.add(*generation.write_gardens(self._gardens, {}))
        self._commit(transaction)

    def _fill_special(self, generation: Generation, rows: Sequence[tuple[bytes, Owned]], now: int) -> None:
        found = [e for key, owned in rows for e in plan.elements(key, owned) if e.role != plan.RESTRICTED]
        change = Change(add=found, limits_add=plan.limits_of(found))
        self._commit(Transaction(list(generation.write(change, now))))
        generation.count(change)

    def _switch(self, generation: Generation) -> None:
        """The one moment: rules of the new generation in, old rules and sets out."""
        transaction = Transaction([FlushRules()])
        transaction.add(*(AddRule(c, r) for c, r in schema.rules(self.settings, generation.number)))
        transaction.add(*(DelSet(n) for n in self.backend.sets() if not generation.made(n)))
        self._commit(transaction)

    def _sweep(self, generation: Generation) -> None:
        """Policers of older generations: nobody names them any more."""
        old = [n for n in self.backend.limits() if not generation.made(n)]
        for at in range(0, len(old), CHUNK):
            self._commit(Transaction([DelLimit(n) for n in old[at : at + CHUNK]]))

    # -- questions and the end -------------------------------------------------------------------------------

    def intact(self) -> bool:
        """Whether the table still has our sets, chains and rules (elements are not read)."""
        if not self.live:
            return False
        if {n for n in self.backend.sets() if self.live.made(n)} != {s.name for s in self.live.declared()}:
            return False
        if {c.name for c in schema.chains(self.settings)} - set(self.backend.chains()):
            return False
        return self.backend.rule_count() == sum(1 for _ in schema.rules(self.settings, self.live.number))

    def truth(self, key: bytes) -> dict[str, int]:
        """The roles in whose live sets the kernel holds ``key`` -> ms left (0: no timeout)."""
        if not self.live or key[0] not in self.settings.classes():
            return {}
        found = {r: self.backend.holds(self.live.spec(r, key[0]), key[1:]) for r in plan.ROLES}
        return {r: left for r, left in found.items() if left is not None}

    def set_counts(self) -> dict[str, int]:
        """Set name without generation -> acknowledged elements."""
        if not self.live:
            return {}
        return {f"{r}{sets.class_name(t)}": self.live.counts[r, t] for r, t in self.live.sizes}

    def clear(self) -> None:
        """Remove the table: no restriction stays."""
        if self.backend.table() is None:
            return
        self._commit(Transaction([DelTable()]))
        self.live, self.synced = None, False
