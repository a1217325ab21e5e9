"""From what is desired to what must change in the kernel: pure arithmetic on set elements.

An address is a *key*: one tag byte and the address in network order. Tag 4 is a single IPv4 address (5 bytes in
all); any other tag is an IPv6 prefix length in bits and 16 bytes follow (17 in all), host bits zero. Sorting keys
sorts by family, prefix length and address, which is the order a full load walks in.

What the kernel should do for one address is an :class:`Entry`; the set elements that say so follow from it alone:

* every restricted address is in ``restricted``; being in no other set means WALLED (the common case costs one element,
  and a lost second element fails closed);
* NOTICE, REDUCED and BLOCKED add one element; whoever is or will for a while be REDUCED adds one for each direction
  in the maps ``reduced_up`` and ``reduced_down``, which name the subscriber's policer;
* a running promise adds one element with a timeout, in ``waived`` or, where it does not lift everything, in
  ``waived_notice`` or ``waived_reduced``: its end needs no daemon;
* a seen notice adds one element with a timeout in ``notified``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from msgspec import Struct

from edged.domain.entry import OPEN, PLAIN, Entry
from edged.domain.levels import Level

V4_TAG = 4

RESTRICTED = "restricted"
NOTICE = "notice"
REDUCED = "reduced"
REDUCED_UP = "reduced_up"
REDUCED_DOWN = "reduced_down"
BLOCKED = "blocked"
WAIVED = "waived"
WAIVED_NOTICE = "waived_notice"
WAIVED_REDUCED = "waived_reduced"
NOTIFIED = "notified"

ROLES = (
    RESTRICTED,
    BLOCKED,
    REDUCED,
    REDUCED_UP,
    REDUCED_DOWN,
    NOTICE,
    WAIVED,
    WAIVED_NOTICE,
    WAIVED_REDUCED,
    NOTIFIED,
)
TIMED = frozenset({WAIVED, WAIVED_NOTICE, WAIVED_REDUCED, NOTIFIED})
POLICED = frozenset({REDUCED_UP, REDUCED_DOWN})


class Element(Struct, frozen=True, gc=False):
    """One set element. ``expiry`` in Unix ms (0: stays), ``policer`` the limit object's name (empty: none)."""

    role: str
    key: bytes
    expiry: int = 0
    policer: str = ""


class Owned(Struct, frozen=True, gc=False):
    """An address's subscriber number and entry."""

    owner: int
    entry: Entry


class Copy(NamedTuple):
    """What somebody who follows the sets (the maps of the XDP program) holds for an address."""

    level: int
    lift: int = 0
    """The level while a promise runs; only meaningful with ``left``."""
    left: int = 0
    """ms until the promise ends there; 0 for none."""


class Run(NamedTuple):
    """Keys of one tag, packed without it, ascending; ``last`` is a key that no key of a later run lies at or below."""

    tag: int
    keys: bytes
    last: bytes


def policer_name(owner: int, rate: int, role: str) -> str:
    """The limit object of a subscriber's direction; its rate is in its name because limits cannot be changed."""
    return f"s{owner}_{rate}_{'up' if role == REDUCED_UP else 'down'}"


def elements(key: bytes, owned: Owned) -> list[Element]:
    """The elements one address needs, also those whose end has passed: when that is, only the writer can say."""
    owner, entry = owned.owner, owned.entry
    if not entry.level:
        return []
    out = [Element(RESTRICTED, key)]
    lifted = bool(entry.until) and entry.lift < entry.level
    reduced = entry.level == Level.REDUCED or (lifted and entry.lift == Level.REDUCED)
    if reduced:
        out += [Element(r, key, 0, policer_name(owner, entry.rate, r)) for r in (REDUCED_UP, REDUCED_DOWN)]
    role = {Level.NOTICE: NOTICE, Level.REDUCED: REDUCED, Level.BLOCKED: BLOCKED}.get(Level(entry.level))
    if role:
        out.append(Element(role, key))
    if lifted:
        role = {Level.OPEN: WAIVED, Level.NOTICE: WAIVED_NOTICE, Level.REDUCED: WAIVED_REDUCED}.get(Level(entry.lift))
        if role:
            out.append(Element(role, key, entry.until))
    if entry.notified:
        out.append(Element(NOTIFIED, key, entry.notified))
    return out


@dataclass(slots=True)
class Change:
    """Set elements and limit objects to add and to remove, applied as one transaction: removals first."""

    remove: list[Element] = field(default_factory=list)
    add: list[Element] = field(default_factory=list)
    limits_add: dict[str, int] = field(default_factory=dict)
    """Name -> kbit/s."""
    limits_remove: set[str] = field(default_factory=set)

    def __bool__(self) -> bool:
        return bool(self.remove or self.add or self.limits_add or self.limits_remove)


def limits_of(addresses: Iterable[Element]) -> dict[str, int]:
    """The limit objects that elements name, with their rates in kbit/s."""
    return {e.policer: int(e.policer.split("_")[1]) for e in addresses if e.policer}


Turn = tuple[Owned | None, Owned | None]
"""An address's owner and entry before and after."""


def diff(turns: Mapping[bytes, Turn]) -> Change:
    """What must change to bring each address from its before to its after.

    ``turns`` must hold *all* addresses of every subscriber it names, so that a policer is removed with its last user.
    Elements that should have timed out by themselves are removed all the same: the wall clock may have been set, and
    the kernel's timers do not follow it.
    """
    change = Change()
    add, remove = change.add, change.remove
    old_limits: dict[str, int] = {}
    new_limits: dict[str, int] = {}
    for key, (was, will) in turns.items():
        old_entry, new_entry = was.entry if was else OPEN, will.entry if will else OPEN
        if old_entry in PLAIN and new_entry in PLAIN:  # nearly always; the rest says the same at greater length
            if old_entry.level != new_entry.level:
                (add if new_entry.level else remove).append(Element(RESTRICTED, key))
            continue
        old = elements(key, was) if was else []
        new = elements(key, will) if will else []
        old_limits.update(limits_of(old))
        new_limits.update(limits_of(new))
        if old == new:
            continue
        keep = set(old) & set(new)
        remove += [e for e in old if e not in keep]
        add += [e for e in new if e not in keep]
    change.limits_add = {n: r for n, r in new_limits.items() if n not in old_limits}
    change.limits_remove = set(old_limits) - set(new_limits)
    return change
