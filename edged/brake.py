"""The brake at work: what it counts and holds, for a group of commands that may still be rolled back.

It is closed as long as it holds anything. A human releases or drops what is held; a later command for the same
subscriber drops what it makes void, so that nothing old is carried out over something newer.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from functools import partial

import msgspec

from edged.domain import command as c
from edged.domain.brake import Limits
from edged.domain.decide import DOCUMENTS_OK
from edged.domain.model import DEBT
from edged.store import rulings
from edged.store.rows import Held, Write
from edged.store.store import Store

_write_json = msgspec.json.Encoder().encode


class Brake:
    """``begin`` opens a group, ``keep`` closes it once it is committed."""

    def __init__(self, store: Store, limits: Limits, now: int) -> None:
        self.limits = limits
        self._store = store
        self.held = store.read(rulings.count)
        """Commands held."""
        self._recent = store.read(partial(rulings.recent, since=now - limits.window))
        self.snapshots = 0
        """Snapshots held."""
        self._group: Write = Write()
        self._of_group: dict[str, set[str]] = {}
        """Subscriber -> reasons held by now, of those that the group names or holds."""
        self._change = 0
        """How many more are held than before the group."""

    @property
    def closed(self) -> bool:
        """Whether it holds anything."""
        return self.held > 0

    def begin(self, write: Write, subs: Iterable[str], now: int) -> None:
        """Forget what a group that was not committed did. ``subs``: whom the new one names."""
        self._group, self._of_group, self._change = write, {}, 0
        for sub, reason in self._store.read(partial(rulings.held_of, subs=list(subs))) if self.held else ():
            self._of_group.setdefault(sub, set()).add(reason)
        since = now - self.limits.window
        if self._recent and not since < self._recent[0][0] <= now:
            self._recent = [x for x in self._recent if since < x[0] <= now]

    def keep(self, now: int) -> None:
        """The group is committed."""
        if self._group.restricted:
            self._recent.append((now, self._group.restricted))

    def recount(self) -> None:
        """Something was held, or is no longer."""
        self.held = self._store.read(rulings.count)

    def recent(self, now: int) -> int:
        """New restrictions within the window, those of the group included."""
        since = now - self.limits.window
        return sum(n for at, n in self._recent if since < at <= now) + self._group.restricted

    def reasons(self, sub: str) -> set[str]:
        """Reasons of which the brake holds a block of this subscriber, of those that the group names."""
        return set(self._of_group.get(sub, ()))

    def stops(self, cmd: c.Block, issuer: str, known: int, now: int) -> str:
        """Count a new restriction, or hold it: then why. ``known``: subscribers."""
        recent = self.recent(now) + 1
        held = self.held + self._change + self.snapshots > 0
        passed = "the brake is closed" if held else self.limits.passed(recent, known)
        if not passed:
            self._group.restricted += 1
            return ""
        text = _write_json(cmd).decode()
        self._group.held[cmd.sub, cmd.reason] = Held(0, cmd.sub, cmd.reason, issuer, now, text)
        self._of_group.setdefault(cmd.sub, set()).add(cmd.reason)
        self._change += 1
        return passed

    def void(self, cmd: c.Command) -> bool:
        """Drop what a later command makes void; whether there was anything."""
        match cmd:
            case c.Block():
                return self._drop(cmd.sub, {cmd.reason})
            case c.Unblock():
                if cmd.reason == "preventive" and cmd.cause != DOCUMENTS_OK:
                    return False
                return self._drop(cmd.sub, set(DEBT) if cmd.reason == "debt*" else {cmd.reason})
            case c.Paid() if cmd.invoices is None:
                return self._drop(cmd.sub, set(DEBT))
            case c.Forget():
                return self._drop(cmd.sub, None)
        return False

    def _drop(self, sub: str, reasons: AbstractSet[str] | None) -> bool:
        held = self._of_group.get(sub)
        found = set(held or ()) if reasons is None else (held or set()) & reasons
        for reason in found:
            self.release(sub, reason)
        return bool(found)

    def release(self, sub: str, reason: str) -> None:
        """Hold this no longer."""
        self._group.held[sub, reason] = None
        self._of_group[sub].discard(reason)
        self._change -= 1

    def reset(self) -> None:
        """A human has looked: what came before counts no longer."""
        self._recent = []
