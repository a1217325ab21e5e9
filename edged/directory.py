"""Who is who: subscribers by name, by number and by address, loaded in bulk and kept as they were met.

Whoever changes them (:mod:`edged.workset`) changes them here, so that who asks next meets what has become of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from edged.domain import command as c
from edged.domain.address import Addressing, literal
from edged.domain.model import Fact
from edged.domain.rejection import Rejected
from edged.store.rows import Known, read_facts
from edged.store.store import Store

_NO_FACTS: Mapping[str, Fact] = {}


class Directory:
    """Those whom one question, or one group of commands, is about. Reads through the store's bulk methods."""

    def __init__(self, store: Store, addressing: Addressing) -> None:
        self._store = store
        self._addressing = addressing
        self._known: dict[str, Known | None] = {}
        self._numbers: dict[int, Known] = {}
        self._facts: dict[int, Mapping[str, Fact]] = {}
        self._holder: dict[bytes, Known | None] = {}
        """Who has an address by now; only of addresses that were looked at."""

    def load(self, subs: Iterable[str]) -> None:
        """Fetch subscribers in bulk; literal addresses under their canonical name."""
        wanted = [s for s in dict.fromkeys(literal(s) or s for s in subs) if s not in self._known]
        found = self._store.load(wanted)
        self._meet(found)
        if len(found) < len(wanted):
            for s in wanted:
                self._known.setdefault(s, None)
            self._look_up(k for s in wanted if self._known[s] is None and literal(s) for k in self._keys_or_none(s))

    def holders(self, keys: Iterable[bytes]) -> dict[bytes, Known]:
        """Who has these addresses, of those that were looked at."""
        return {k: found for k in keys if (found := self._holder.get(k)) is not None}

    def around(self, binds: Iterable[c.Bind]) -> list[str]:
        """The names of those whose wider prefixes hold what these commands bind."""
        covers = [
            cover
            for cmd in binds
            for a in cmd.addresses
            for k in self._keys_or_none(a)
            for cover in self._addressing.covers(k)
        ]
        self._look_up(covers)
        return [k.sub.sub for k in self.holders(covers).values()]

    def prepare(self, binds: Iterable[c.Bind]) -> list[bytes]:
        """Find out in bulk who has the addresses that these commands bind; returns the addresses."""
        keys = [k for cmd in binds for a in cmd.addresses for k in self._keys_or_none(a)]
        self._look_up(keys)
        return keys

    def load_ids(self, ids: Iterable[int]) -> None:
        """Fetch subscribers by number."""
        self._meet(self._store.load_ids([i for i in ids if i not in self._numbers]))

    def _meet(self, found: Mapping[str, Known]) -> None:
        self._known.update(found)
        for known in found.values():
            self._numbers[known.id] = known
            for key in known.keys:
                self._holder[key] = known

    def _keys_or_none(self, sub: str) -> list[bytes]:
        try:
            return self._addressing.keys(sub)
        except Rejected:
            return []  # said when its command is carried out

    def _look_up(self, keys: Iterable[bytes]) -> None:
        """Find out who has these addresses, in bulk."""
        unknown = [k for k in keys if k not in self._holder]
        if not unknown:
            return
        found = self._store.owners(unknown)
        # Whom we have met already has lost the address in this group, or it would be in the table of holders.
        self._holder.update(dict.fromkeys(unknown))
        if strangers := {n for n in found.values() if n not in self._numbers}:
            self.load_ids(strangers)

    def get(self, sub: str) -> Known | None:
        """The subscriber, None when never heard of."""
        if sub not in self._known:
            self.load([sub])
        return self._known[sub]

    def all(self) -> list[Known]:
        """Every known subscriber met so far."""
        return [k for k in self._known.values() if k]

    def facts(self, known: Known | None) -> Mapping[str, Fact]:
        """What is remembered of its invoices."""
        if known is None:
            return _NO_FACTS
        found = self._facts.get(known.id)
        if found is None:
            if known.history is None:
                return _NO_FACTS
            found = self._facts[known.id] = read_facts(known.history)
        return found

    def find(self, sub: str | None, address: str | None) -> Known:
        """By name or by address. Raises Rejected ``unknown_subscriber`` or ``bad_address``."""
        if sub is not None:
            known = self.get(sub)
            if known is None:
                raise Rejected("unknown_subscriber", f"no subscriber {sub!r}")
            return known
        for key in self._addressing.lookup(str(address)):
            owner = self._owner(key)
            if owner:
                return owner
        raise Rejected("unknown_subscriber", f"nobody has the address {address}")

    def _owner(self, key: bytes) -> Known | None:
        """Who has this address, with what the group has changed so far."""
        self._look_up([key])
        return self._holder[key]
