"""What a group of commands touches, loaded in bulk and changed in memory until it is committed.

It keeps, for every subscriber it has met, the state as stored (for the plan's *before*) and as it will be (*after*),
including all of its addresses: a policer must go with its last user.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

import msgspec

from edged.consequences import changes
from edged.directory import Directory
from edged.domain import command as c
from edged.domain.address import Addressing, literal, words
from edged.domain.decide import Decision, check_rev
from edged.domain.model import Policy, Subscriber
from edged.domain.rejection import Rejected
from edged.plan import Owned
from edged.store.rows import UNMARKED, Event, Known, Mark, Write
from edged.store.store import Store


class Workset(Directory):
    """One group of commands at work."""

    def __init__(self, store: Store, addressing: Addressing) -> None:
        super().__init__(store, addressing)
        self._claimed_inside: dict[bytes, set[bytes]] = {}
        """IPv6 prefix -> longer prefixes inside it that this group has bound."""
        self._touched: list[Known] = []
        self.shown: list[Known] = []
        """Of whom something beside the state changed that they may see on a page."""
        self._write = Write()
        self.mark: Mark = UNMARKED
        """The numbered batch whose commands are being carried out."""
        self.quiet = False
        """No event tells that an address moved."""
        self.yields: Callable[[Known], bool] = lambda _: False
        """Who gives up an address without being asked: whose turn in a snapshot has not come yet."""
        self.spared: AbstractSet[bytes] = frozenset()
        """Addresses that a snapshot gives nobody: commands have, since."""
        self.crowded: Callable[[bytes, bytes], bool] = lambda _first, _last: False
        """Whether commands gave or took an address between two, while a snapshot waited."""
        self.claimed: set[bytes] = set()
        """Addresses that commands have given or taken."""
        self.named: AbstractSet[str] = frozenset()
        """Whom the group's commands name."""
        self.made = 0
        """Subscribers that are new."""
        self.forgotten: set[str] = set()
        """Names of subscribers that this group forgets."""

    # -- changing --------------------------------------------------------------------------------------------

    def _make(self, sub: Subscriber) -> Known:
        known = Known(self._store.new_id(), sub)
        self.made += 1
        self._known[sub.sub] = known
        self._numbers[known.id] = known
        self._touch(known)
        return known

    def _touch(self, known: Known) -> None:
        if not known.touched:
            known.touched = True
            self._touched.append(known)
        if self.mark is not UNMARKED:
            known.mark = self.mark

    def tell(self, *events: dict[str, Any]) -> None:
        """Events to publish once it is committed."""
        self._write.events += [Event(e) for e in events]

    def set(self, known: Known, sub: Subscriber, events: Iterable[dict[str, Any]] = ()) -> None:
        """Put a subscriber's new state."""
        known.sub = sub
        self._touch(known)
        self.tell(*events)

    def put(self, name: str, made: Decision, *, claim: bool = False) -> None:
        """Put a decision: state, invoice facts, events. A new literal address is bound to itself.

        ``claim``: one that has lost its address gets it back (see :meth:`check_literal`).
        """
        known = self._known.get(name)
        fresh = known is None or (claim and not known.keys)
        if known is not None and made.sub is known.sub and not made.facts and not (fresh and literal(name)):
            return
        if known is None:
            known = self._make(made.sub)
        known.sub = made.sub
        self._touch(known)
        if made.events:
            self.tell(*made.events)
        if fresh and literal(name):
            self._claim(known, self._addressing.keys(name))
        if made.facts:
            self._facts[known.id] = self._write.facts[known.id] = {**self.facts(known), **made.facts}

    def check_literal(self, name: str) -> None:
        """Raise Rejected where a literal address cannot be a subscriber of its own."""
        known = self._known.get(name)
        if (known is not None and known.keys) or not literal(name):
            return
        for key in self._addressing.keys(name):
            for near in (key, *self._addressing.covers(key), *self._inside(key)):
                owner = self._owner(near)
                if owner is None:
                    continue
                if self.yields(owner):
                    self._release(owner, {near})
                    self._touch(owner)
                    continue
                detail = f"{words(key)} is bound to another subscriber; name that one, or unbind the address first"
                raise Rejected("bad_address", detail)

    def _claim(self, known: Known, keys: Sequence[bytes]) -> None:
        """Give addresses to a subscriber, taking them from whoever has them."""
        self._look_up(keys)
        have = dict.fromkeys(known.keys)
        for key in keys:
            if key in have:
                continue
            for held in (key, *self._inside(key)):  # longer prefixes inside it are this subscriber's now, too
                if self._take(known, held):
                    have.pop(held, None)
            have[key] = None
            self._holder[key] = known
            if not self.quiet:
                self.claimed.add(key)
            for cover in self._addressing.covers(key):
                self._claimed_inside.setdefault(cover, set()).add(key)
        known.keys = tuple(have)
        self._touch(known)

    def _inside(self, key: bytes) -> list[bytes]:
        """Longer prefixes inside an IPv6 prefix that somebody has."""
        stored = (k for ends in self._addressing.insides(key) for k in self._store.between(*ends))
        return [k for k in {*stored, *self._claimed_inside.get(key, ())} if self._owner(k)]

    def _refuse_inside(self, known: Known | None, keys: Sequence[bytes]) -> None:
        """Raise Rejected where a key lies inside a wider prefix of somebody else.

        Rules of different prefix lengths would both match such an address, so no two subscribers may share one.
        """
        covers = {k: found for k in keys if (found := self._addressing.covers(k))}
        self._look_up([*keys, *(c for found in covers.values() for c in found)])
        for key, found in covers.items():
            for cover in found:
                owner = self._owner(cover)
                if owner and owner is not known and self.yields(owner):
                    self._release(owner, {cover})
                    self._touch(owner)
                elif owner and owner is not known:
                    detail = f"{words(key)} lies inside {words(cover)}, which another subscriber has; unbind that first"
                    raise Rejected("bad_address", detail)

    def _take(self, known: Known, key: bytes) -> bool:
        """Take an address away from whoever else has it."""
        owner = self._owner(key)
        if owner is None or owner is known:
            return False
        self._release(owner, {key})
        self._touch(owner)
        if not self.quiet:
            moved = {"event": "address.moved", "address": words(key), "from": owner.sub.sub, "to": known.sub.sub}
            self.tell(moved)
        return True

    def _release(self, known: Known, keys: AbstractSet[bytes]) -> None:
        if keys:
            known.keys = tuple(k for k in known.keys if k not in keys)
            if not self.quiet:
                self.claimed |= keys
            self._holder.update(dict.fromkeys(keys))

    def _revised(self, known: Known, rev: int | None) -> None:
        """Take a revision; raises Rejected when it falls."""
        revised = check_rev(known.sub, rev)
        if revised is not known.sub:
            known.sub = revised
            self._touch(known)

    def bind(self, cmd: c.Bind, now: int) -> str:
        """Carry out ``bind``; returns the status."""
        keys = [k for a in cmd.addresses for k in self._addressing.keys(a)]
        known = self.get(cmd.sub)
        if self.spared:
            keys = [k for k in keys if k not in self.spared or (known is not None and self._owner(k) is known)]
        for key in keys:
            if (known is None or key not in known.keys) and any(
                self.crowded(*x) for x in self._addressing.insides(key)
            ):
                raise Rejected("bad_address", f"a command gave away an address inside {words(key)} since")
        self._refuse_inside(known, keys)
        if known:
            self._revised(known, cmd.rev)
        fresh = known is None
        known = known or self._make(check_rev(Subscriber(cmd.sub, since=now), cmd.rev))
        moved = cmd.area is not None and cmd.area != known.sub.area
        if moved:
            self.set(known, msgspec.structs.replace(known.sub, area=cmd.area))
        have = set(known.keys)
        lost = have - set(keys) if cmd.replace else set()
        if not lost and not fresh and have.issuperset(keys):
            return "applied" if moved else "unchanged"
        self._release(known, lost)
        self._claim(known, keys)
        return "applied"

    def vacate(self, known: Known) -> None:
        """Take all addresses from a subscriber."""
        if known.keys:
            self._release(known, set(known.keys))
            self._touch(known)

    def unbind(self, cmd: c.Unbind) -> str:
        """Carry out ``unbind``; returns the status."""
        known = self.find(cmd.sub, None)
        wanted = {k for a in cmd.addresses for k in self._addressing.keys(a)} if cmd.addresses is not None else None
        self._revised(known, cmd.rev)
        lost = set(known.keys) if wanted is None else wanted & set(known.keys)
        self._release(known, lost)
        if not lost:
            return "unchanged"
        self._touch(known)
        return "applied"

    def forget(self, cmd: c.Forget) -> str:
        """Carry out ``forget``: the subscriber, its addresses and its invoices go."""
        if (found := self.get(cmd.sub)) is not None:
            self._revised(found, cmd.rev)  # a refusal changes nothing
        self._write.forgotten.add(cmd.sub)  # also who is known to kept answers or to the audit trail alone
        self.forgotten.add(cmd.sub)
        known = self.find(cmd.sub, None)
        self.remove(known)
        self._write.events = [e for e in self._write.events if cmd.sub not in e.document.values()]
        return "applied"

    def remove(self, known: Known) -> None:
        """Take a subscriber and its invoices out."""
        self._release(known, set(known.keys))
        self._touch(known)
        known.gone = True
        if known.stored:
            self._write.removed.append(known.id)
        self._write.facts.pop(known.id, None)
        self._known[known.sub.sub] = None

    def garden(self, cmd: c.GardenList) -> str:
        """Carry out ``garden``; returns the status."""
        value = cmd.kept()
        have = self._write.gardens.get(cmd.name) or self._store.gardens().get(cmd.name)
        if have == value:
            return "unchanged"
        self._write.gardens[cmd.name] = value
        return "applied"

    # -- the result ------------------------------------------------------------------------------------------

    @property
    def write(self) -> Write:
        """What will be committed, for what is no subscriber's."""
        return self._write

    def met(self) -> dict[bytes, Owned | None]:
        """Owner and entry of every address that those have, or had, whom the group named or changed."""
        out: dict[bytes, Owned | None] = {}
        for known in self._numbers.values():
            if not known.touched and known.sub.sub not in self.named:
                continue
            for key in known.stored.keys if known.stored else ():
                out.setdefault(key, None)
            out.update((k, Owned(known.id, known.entry)) for k in known.keys if not known.gone)
        return out

    def concerned(self) -> Iterator[bytes]:
        """Every address that those have, or had, whom the group changed or :attr:`shown` names."""
        for known in (*self._touched, *self.shown):
            yield from (*known.keys, *(known.stored.keys if known.stored else ()))

    def written(self, now: int, policy: Policy) -> Write:
        """Everything to commit, with what each touched subscriber's state means worked out."""
        changes(self._write, [k for k in self._touched if k.stored or not k.gone], now, policy)
        return self._write
