"""What a group of commands touches, loaded in bulk and changed in memory until it is committed.

It keeps, for every subscriber it has met, the state as stored (for the plan's *before*) and as it will be (*after*),
including all of its addresses: a policer must go with its last user.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from edged.domain import command as c
from edged.domain import effect
from edged.domain.address import Addressing, literal, words
from edged.domain.decide import Decision, check_rev
from edged.domain.entry import Entry
from edged.domain.model import Fact, Policy, Subscriber, rfc3339
from edged.domain.rejection import Rejected
from edged.plan import Owned
from edged.store.rows import Known, Write
from edged.store.store import Store

EMPTY = Entry()


class Workset:
    """One group of commands at work. Reads through the store's bulk methods."""

    def __init__(self, store: Store, addressing: Addressing) -> None:
        self._store = store
        self._addressing = addressing
        self._known: dict[str, Known | None] = {}
        self._names: dict[int, str] = {}
        self._facts: dict[int, dict[str, Fact]] = {}
        self._before: dict[bytes, Owned] = {}
        self._holder: dict[bytes, int] = {}
        """Who has an address by now, 0 for nobody; only of addresses that were looked at."""
        self._claimed_inside: dict[bytes, set[bytes]] = {}
        """IPv6 prefix -> longer prefixes inside it that this group has bound."""
        self._touched: set[int] = set()
        self._write = Write()
        self.forgotten: set[str] = set()
        """Names of subscribers that this group forgets."""

    # -- reading ---------------------------------------------------------------------------------------------

    def load(self, subs: Iterable[str]) -> None:
        """Fetch subscribers in bulk; literal addresses under their canonical name."""
        wanted = [s for s in dict.fromkeys(literal(s) or s for s in subs) if s not in self._known]
        self._meet(self._store.load(wanted))
        for s in wanted:
            self._known.setdefault(s, None)
        self._look_up(k for s in wanted if self._known[s] is None and literal(s) for k in self._keys_or_none(s))
        missing = [k.id for s in wanted if (k := self._known[s])]
        self._facts.update({i: {} for i in missing} | self._store.facts(missing))

    def load_ids(self, ids: Iterable[int]) -> None:
        """Fetch subscribers by number."""
        wanted = [i for i in ids if i not in self._names]
        self._meet(self._store.load_ids(wanted))
        self._facts.update({i: {} for i in wanted} | self._store.facts(wanted))

    def _meet(self, found: Mapping[str, Known]) -> None:
        for name, known in found.items():
            self._known[name] = known
            self._names[known.id] = name
            self._before.update((k, Owned(known.id, e)) for k, e in known.addresses.items())
            self._holder.update(dict.fromkeys(known.addresses, known.id))

    def _keys_or_none(self, sub: str) -> list[bytes]:
        try:
            return self._addressing.keys(sub)
        except Rejected:
            return []  # said when its command is carried out

    def _look_up(self, keys: Iterable[bytes]) -> None:
        """Find out who has these addresses, in bulk."""
        unknown = [k for k in keys if k not in self._holder]
        found = self._store.owners(unknown) if unknown else {}
        # Whom we have met already has lost the address in this group, or it would be in the table of holders.
        self._holder.update({k: 0 if (n := found.get(k, 0)) in self._names else n for k in unknown})
        self.load_ids({n for n in found.values() if n not in self._names})

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
        return self._facts.get(known.id, {}) if known else {}

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
        number = self._holder[key]
        return self._known[self._names[number]] if number else None

    # -- changing --------------------------------------------------------------------------------------------

    def _make(self, sub: Subscriber) -> Known:
        known = Known(self._store.new_id(), sub)
        self._known[sub.sub] = known
        self._names[known.id] = sub.sub
        self._facts[known.id] = {}
        self._touched.add(known.id)
        return known

    def set(self, name: str, sub: Subscriber, events: Iterable[dict[str, Any]]) -> None:
        """Put a subscriber's new state."""
        known = self._known.get(name) or self._make(sub)
        known.sub = sub
        self._touched.add(known.id)
        self._write.events += events

    def put(self, name: str, made: Decision) -> None:
        """Put a decision: state, invoice facts, events. A new literal address is bound to itself."""
        fresh = self._known.get(name) is None
        if not fresh and made.sub == self._known[name].sub and not made.facts:  # type: ignore[union-attr]
            return
        self.set(name, made.sub, made.events)
        known = self._known[name]
        assert known is not None  # noqa: S101  set() has just put it
        if fresh and literal(name):
            self._claim(known, self._addressing.keys(name))
        for invoice, fact in made.facts.items():
            self._facts[known.id] = {**self._facts[known.id], invoice: fact}
            self._write.facts[known.id, invoice] = fact

    def check_literal(self, name: str) -> None:
        """Raise Rejected where a literal address cannot be a subscriber of its own."""
        if not literal(name) or self._known.get(name):
            return
        for key in self._addressing.keys(name):
            if self._owner(key) or any(self._owner(k) for k in (*self._addressing.covers(key), *self._inside(key))):
                detail = f"{words(key)} is bound to another subscriber; name that one, or unbind the address first"
                raise Rejected("bad_address", detail)

    def _claim(self, known: Known, keys: Iterable[bytes]) -> None:
        """Give addresses to a subscriber, taking them from whoever has them."""
        keys = list(keys)
        self._look_up(keys)
        for key in keys:
            if key in known.addresses:
                continue
            for held in (key, *self._inside(key)):  # longer prefixes inside it are this subscriber's now, too
                self._take(known, held)
            known.addresses[key] = EMPTY
            self._holder[key] = known.id
            for cover in self._addressing.covers(key):
                self._claimed_inside.setdefault(cover, set()).add(key)
        self._touched.add(known.id)

    def _inside(self, key: bytes) -> list[bytes]:
        """Longer prefixes inside an IPv6 prefix that somebody has."""
        stored = (k for ends in self._addressing.insides(key) for k in self._store.between(*ends))
        return [k for k in {*stored, *self._claimed_inside.get(key, ())} if self._owner(k)]

    def _refuse_inside(self, known: Known | None, keys: Sequence[bytes]) -> None:
        """Raise Rejected where a key lies inside a wider prefix of somebody else.

        Rules of different prefix lengths would both match such an address, so no two subscribers may share one.
        """
        covers = {k: self._addressing.covers(k) for k in keys}
        self._look_up([*keys, *(c for found in covers.values() for c in found)])
        for key, found in covers.items():
            for cover in found:
                owner = self._owner(cover)
                if owner and owner is not known:
                    detail = f"{words(key)} lies inside {words(cover)}, which another subscriber has; unbind that first"
                    raise Rejected("bad_address", detail)

    def _take(self, known: Known, key: bytes) -> None:
        """Take an address away from whoever else has it."""
        owner = self._owner(key)
        if owner and owner is not known:
            self._release(owner, [key])
            self._touched.add(owner.id)
            moved = {"event": "address.moved", "address": words(key), "from": owner.sub.sub, "to": known.sub.sub}
            self._write.events.append(moved)

    def _release(self, known: Known, keys: Iterable[bytes]) -> None:
        for key in keys:
            del known.addresses[key]
            self._holder[key] = 0

    def _revised(self, known: Known, rev: int | None) -> None:
        """Take a revision; raises Rejected when it falls."""
        revised = check_rev(known.sub, rev)
        if revised != known.sub:
            known.sub = revised
            self._touched.add(known.id)

    def bind(self, cmd: c.Bind, now: int) -> str:
        """Carry out ``bind``; returns the status."""
        keys = [k for a in cmd.addresses for k in self._addressing.keys(a)]
        known = self.get(cmd.sub)
        self._refuse_inside(known, keys)
        if known:
            self._revised(known, cmd.rev)
        fresh = known is None
        known = known or self._make(check_rev(Subscriber(cmd.sub, since=now), cmd.rev))
        lost = set(known.addresses) - set(keys) if cmd.replace else set()
        if not lost and not set(keys) - set(known.addresses) and not fresh:
            return "unchanged"
        self._release(known, lost)
        self._claim(known, keys)
        return "applied"

    def unbind(self, cmd: c.Unbind) -> str:
        """Carry out ``unbind``; returns the status."""
        known = self.find(cmd.sub, None)
        wanted = {k for a in cmd.addresses for k in self._addressing.keys(a)} if cmd.addresses is not None else None
        self._revised(known, cmd.rev)
        lost = set(known.addresses) if wanted is None else wanted & set(known.addresses)
        self._release(known, lost)
        if not lost:
            return "unchanged"
        self._touched.add(known.id)
        return "applied"

    def forget(self, cmd: c.Forget) -> str:
        """Carry out ``forget``: the subscriber, its addresses and its invoices go."""
        known = self.find(cmd.sub, None)
        self._revised(known, cmd.rev)
        self._write.forgotten.add(known.id)
        self._touched.discard(known.id)
        for key in [k for k in self._write.facts if k[0] == known.id]:
            del self._write.facts[key]
        self._write.events = [e for e in self._write.events if cmd.sub not in e.values()]
        self._release(known, set(known.addresses))
        self._known[cmd.sub] = None
        self.forgotten.add(cmd.sub)
        return "applied"

    def garden(self, cmd: c.GardenList) -> str:
        """Carry out ``garden``; returns the status."""
        value = cmd.model_dump(mode="json", include={"networks", "domains", "ports"})
        have = self._write.gardens.get(cmd.name) or self._store.gardens().get(cmd.name)
        if have == value:
            return "unchanged"
        self._write.gardens[cmd.name] = value
        return "applied"

    # -- the result ------------------------------------------------------------------------------------------

    def written(self, now: int, policy: Policy) -> Write:
        """Everything to commit, with each touched address's entry worked out."""
        w = self._write
        w.events = [{**e, "at": rfc3339(now)} for e in w.events]
        held: set[bytes] = set()
        for name in (self._names[i] for i in sorted(self._touched)):
            known = self._known[name]
            if known is None or known.id in w.forgotten:
                continue
            known.sub = effect.settle(known.sub, now)
            entry = effect.entry(known.sub, now, policy)
            w.subscribers[known.id] = (known.sub, effect.next_moment(known.sub, now))
            for key, old in known.addresses.items():
                held.add(key)
                if self._before.get(key) != Owned(known.id, entry):
                    w.addresses[key] = Owned(known.id, entry)
                known.addresses[key] = entry if old != entry else old
        untouched = {k for known in self.all() if known.id not in self._touched for k in known.addresses}
        w.unbound = set(self._before) - held - untouched
        return w

    def transition(self, written: Write) -> tuple[dict[bytes, Owned], dict[bytes, Owned]]:
        """(before, after) for the plan: all addresses of every subscriber that this group changed."""
        changed = self._touched | written.forgotten
        before = {k: o for k, o in self._before.items() if o.owner in changed}
        after = {k: Owned(n.id, e) for n in self.all() if n.id in changed for k, e in n.addresses.items()}
        return before, after
