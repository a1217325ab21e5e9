"""What is asked and changes nothing: the record of a subscriber, lists, what the portal may know."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from edged.directory import Directory
from edged.domain import effect, visitor
from edged.domain.address import Addressing
from edged.domain.model import Fact, Policy, Reason, rfc3339
from edged.domain.rejection import Rejected
from edged.domain.standing import NOBODY, Standing
from edged.errors import EdgedError, KernelError
from edged.nft.enforcer import Enforcer
from edged.petitions import Petitions
from edged.plan import Copy
from edged.records import record
from edged.store import payments, rulings
from edged.store.rows import Known
from edged.store.store import Store

_MOST_HELD = 100_000
_MOST_SHOWN = 100_000


def _waits(reason: Reason) -> list[str] | None:
    """When a reason, or the first of what of it has not begun, is looked at again, and what it waits for."""
    if reason.pending:
        return [rfc3339(reason.onset), reason.why]
    part = min(reason.waits, key=lambda w: w.onset, default=None)
    return [rfc3339(part.onset), part.why] if part else None


class Questions:
    """Reads store and kernel; ``clock`` gives Unix milliseconds. Not safe for several threads."""

    def __init__(
        self,
        store: Store,
        enforcer: Enforcer,
        addressing: Addressing,
        policy: Callable[[], Policy],
        clock: Callable[[], int],
        petitions: Petitions,
    ) -> None:
        self._store = store
        self._enforcer = enforcer
        self._addressing = addressing
        self._policy = policy
        self._clock = clock
        self._petitions = petitions
        self._shown: dict[int, tuple[int, int]] = {}
        """Subscriber number -> (hash of its name, Unix ms) of the last page; in memory, for nobody notes who looked."""

    def why(self, target: str) -> dict[str, Any]:
        """The record of a subscriber or address. Raises Rejected."""
        directory = Directory(self._store, self._addressing)
        try:
            found = self.look_up(directory, target)
        except Rejected as e:
            if held := sorted(reason for _, reason in self._store.read(partial(rulings.held_of, subs=[target]))):
                raise Rejected(e.code, f"{e.detail}; the brake holds a first block of it: {', '.join(held)}") from None
            raise
        return self.describe(found, directory.facts(found), self._clock())

    @staticmethod
    def look_up(directory: Directory, target: str) -> Known:
        """Whoever has this name, or else this address. Raises Rejected."""
        try:
            return directory.find(target, None)
        except Rejected as first:
            try:
                return directory.find(None, target)
            except Rejected:
                raise first from None

    def describe(self, known: Known, facts: Mapping[str, Fact], now: int) -> dict[str, Any]:
        """The record with the kernel's truth in it; ``facts`` are those of its invoices."""
        truth = {key: self._truth(key) for key in sorted(known.keys)}
        copies = self._copies(known.keys)
        held = [reason for _, reason in sorted(self._store.read(partial(rulings.held_of, subs=[known.sub.sub])))]
        # A command before the question changes it, or a snapshot everything: the kernel is told later.
        told = None if known.touched or self._enforcer.loose else known.entry
        name, shown = self._shown.get(known.id, (0, 0))
        shown = shown if name == hash(known.sub.sub) else 0  # a number may have been somebody else's
        return record(known.sub, known.keys, truth, facts, now, self._policy(), held, told, copies, shown)

    def _truth(self, key: bytes) -> dict[str, int] | None:
        try:
            return self._enforcer.truth(key)
        except KernelError:
            return None  # said as such; the vigil will meet the error, too

    def _copies(self, keys: Iterable[bytes]) -> dict[bytes, Copy | None] | None:
        """What the XDP program goes by; None where there is none, nothing where it cannot be asked."""
        if self._enforcer.overridden():
            return {}
        if self._enforcer.follower is None:
            return None
        try:
            return {key: self._enforcer.follower.truth(key) for key in keys}
        except EdgedError:
            return {}

    def listing(self, level: int | None, reason: str | None) -> Iterator[list[dict[str, Any]]]:
        """Rows of restricted, waiting or promised subscribers, in chunks."""
        after, now = 0, self._clock()
        while True:
            number, rows = self._store.listing(level, reason, after)
            if rows:
                yield [
                    {
                        "sub": s.sub,
                        "level": effect.level(s, now).word,
                        "since": rfc3339(s.since) if s.since else None,
                        "reasons": list(s.reasons),
                        "waits": {n: waits for n, r in s.reasons.items() if (waits := _waits(r))},
                        "promise_until": rfc3339(s.promise.until) if s.promise else None,
                    }
                    for s in rows
                ]
            if number == after:
                break
            after = number
        if level is None and (held := self._store.read(partial(rulings.held, limit=_MOST_HELD))):
            yield [
                {"sub": h.sub, "level": "held", "since": rfc3339(h.at), "reasons": [h.reason]}
                for h in held
                if reason in (None, h.reason)
            ]

    def standing(self, address: str) -> Standing:
        """What the portal may know of whoever has this address."""
        return self.standings((address,))[0]

    def standings(self, addresses: Sequence[str]) -> list[Standing]:
        """The same of each of these, in their order, from one look into the store."""
        wanted = [self._lookup(address) for address in addresses]
        keys = list({key for keys in wanted for key in keys})
        found = self._store.read(partial(payments.visitors, keys=keys)) if keys else {}
        now, policy = self._clock(), self._policy()
        told = (next((found[key] for key in keys if key in found), None) for keys in wanted)  # the first counts
        return [NOBODY if one is None else self._standing(one, now, policy) for one in told]

    def _lookup(self, address: str) -> list[bytes]:
        try:
            return self._addressing.lookup(address)
        except Rejected:
            return []

    def _standing(self, one: payments.Visitor, now: int, policy: Policy) -> Standing:
        self._shown.pop(one.owner, None)
        self._shown[one.owner] = hash(one.sub.sub), now
        if len(self._shown) > _MOST_SHOWN:
            del self._shown[next(iter(self._shown))]
        asked = self._petitions.awaits(one.owner, now)
        return visitor.standing(one.sub, one.facts, now, policy, asked=asked, pays=one.expires > now)
