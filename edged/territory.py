"""What commands say of areas: moratoria, outages, municipal holidays. For a group that may still be rolled back.

What has been said is part of the policy that decides. Who is in an area when something is said of it is gone through
in steps (:meth:`Territory.sweep`): what waits is judged anew, what is in force rests or does so no longer.
"""

from __future__ import annotations

import json
from typing import Any

import msgspec
from msgspec.structs import replace

from edged.domain import command as c
from edged.domain.model import Policy, milliseconds
from edged.domain.region import EVERYWHERE, Holidays, Moratorium, Outage, Regions
from edged.domain.rejection import Rejected
from edged.store import rulings
from edged.store.rows import Write
from edged.store.store import Store

SWEEPS = "sweeps"
"""The note that says which areas are gone through, and how far: JSON, area -> number."""
_KINDS: dict[str, tuple[str, Any]] = {
    "moratorium": ("moratoria", Moratorium),
    "outage": ("outages", Outage),
    "calendar": ("holidays", Holidays),
}


class Territory:
    """``begin`` opens a group, ``keep`` closes it once it is committed. ``policy`` is the one of the group."""

    def __init__(self, store: Store, policy: Policy) -> None:
        self._base = policy.calendar
        self._kept = policy
        self.sweeps: dict[str, int] = json.loads(store.note(SWEEPS) or "{}")
        """Area -> the last number looked at. Written with each commit that changes it."""
        found: dict[str, dict[str, Any]] = {word: {} for word, _ in _KINDS.values()}
        for (kind, name), value in store.read(rulings.regions).items():
            word, made = _KINDS[kind]
            found[word][name] = msgspec.json.decode(value, type=made)
        self._kept = self._with(Regions(**found))
        self._group_sweeps = dict(self.sweeps)
        self.policy = self._kept

    def begin(self, *, clock_trusted: bool) -> None:
        """Forget what a group that was not committed did."""
        if clock_trusted != self._kept.clock_trusted:
            self._kept = replace(self._kept, clock_trusted=clock_trusted)
        self.policy = self._kept
        self._group_sweeps = self.sweeps

    def keep(self) -> None:
        """The group is committed."""
        self._kept, self.sweeps = self.policy, self._group_sweeps

    def notes(self) -> dict[str, str]:
        """What the group's commit has to remember."""
        return {SWEEPS: json.dumps(self._group_sweeps)} if self._group_sweeps is not self.sweeps else {}

    def swept(self, area: str, last: int | None) -> None:
        """An area was gone through up to this number; None: to the end."""
        left = {a: n for a, n in self._group_sweeps.items() if a != area}
        self._group_sweeps = left if last is None else {**left, area: last}

    def carry_out(self, cmd: c.OnArea, now: int, issuer: str, write: Write) -> str:
        """Carry out a command on an area; returns the status. Raises Rejected."""
        regions = self.policy.regions
        match cmd:
            case c.StartMoratorium():
                until = milliseconds(cmd.until)
                if until <= now:
                    raise Rejected("malformed", "until: it has passed")
                had = regions.moratoria.get(cmd.area)
                since = had.since if had else now
                made = Moratorium(since, until, cmd.release_existing, cmd.ref or "", issuer)
                return self._put("moratorium", cmd.area, made, cmd.area, write)
            case c.EndMoratorium():
                return self._put("moratorium", cmd.area, None, cmd.area, write)
            case c.StartOutage():
                known = regions.outages.get(cmd.id)
                eta = milliseconds(cmd.eta) if cmd.eta else 0
                outage = Outage(cmd.area, known.since if known else now, eta, cmd.ref or "", issuer)
                return self._put("outage", cmd.id, outage, known.area if known else "", write)
            case c.EndOutage():
                over = regions.outages.get(cmd.id)
                return self._put("outage", cmd.id, None, over.area if over else "", write)
            case c.SetHolidays():
                dates = Holidays(tuple(sorted(set(cmd.dates))), cmd.version)
                return self._put("calendar", cmd.area, dates if dates.dates else None, cmd.area, write)

    def _put(self, kind: str, name: str, value: Any, area: str, write: Write) -> str:
        """Put what is said, or take it out (None); ``area``: who is concerned by what changes for the better."""
        word, _ = _KINDS[kind]
        table = getattr(self.policy.regions, word)
        if table.get(name) == value:
            return "unchanged"
        left = {k: v for k, v in table.items() if k != name}
        regions = replace(self.policy.regions, **{word: left if value is None else {**left, name: value}})
        write.regions[kind, name] = None if value is None else msgspec.json.encode(value).decode()
        self.policy = self._with(regions)
        if area:
            self._group_sweeps = {**self._group_sweeps, area: 0}
        return "applied"

    def _with(self, regions: Regions) -> Policy:
        calendar = self._base
        for area, holidays in regions.holidays.items():
            calendar = calendar.with_dates(area, holidays.dates)
        return replace(self._kept, regions=regions, calendar=calendar)


def everywhere(area: str) -> str | None:
    """The area as the store wants it: None for all."""
    return None if area == EVERYWHERE else area
