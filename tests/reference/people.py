"""The subscribers of a year, as billing and the desks know them."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field


@dataclass
class Given:
    """A promise: what was owed when it was given, or what it names; how it must end, empty while that is open."""

    until: int
    owed: set[str]
    outcomes: set[str] = field(default_factory=set)


@dataclass
class Person:
    """What billing and the desks know of a subscriber."""

    number: int
    area: str
    unpaid: dict[str, dt.date] = field(default_factory=dict)
    """Invoice -> the day on which it will be paid."""
    due: dict[str, dt.date] = field(default_factory=dict)
    claimed: dict[str, set[str]] = field(default_factory=dict)
    """Debt reason sent to the gateway -> its unpaid invoices."""
    notified: int = 0
    promised: set[str] = field(default_factory=set)
    """Invoices that were in a promise that was granted, or came under one."""
    promises: list[Given] = field(default_factory=list)
    """Of whose end the gateway has not told yet."""
    breached: bool = False
    """A promise ran out, and what was promised is not paid since: by the books, whatever the gateway says."""
    others: dict[str, dt.date] = field(default_factory=dict)
    """Reason that money cannot lift -> the day on which it ends."""
    moved: int = -1
    """When something was said last that may restrict it at any hour, or end what opened it, Unix ms."""

    def pays(self, paid: set[str]) -> None:
        """What that means for promises: for one that named nothing, what was owed when it was given counts."""
        for given in self.promises:
            given.owed -= paid
            if not given.outcomes and not (given.owed and self.claimed):
                given.outcomes = {"fulfilled"}
        if not self.claimed and paid:
            self.notified = 0
            self.breached = self.breached and bool(self.promised & self.unpaid.keys())

    def promises_end(self, now: int) -> None:
        """Who has not paid what was promised until the end has broken the promise."""
        for given in self.promises:
            if given.until <= now and not given.outcomes:
                given.outcomes, self.breached = {"breached"}, True

    def told(self, outcome: str) -> bool:
        """Whether the oldest promise, of which the gateway says this, ends so."""
        return bool(self.promises) and outcome in self.promises.pop(0).outcomes

    @property
    def sub(self) -> str:
        return f"C-{self.number}"

    @property
    def key(self) -> bytes:
        return (100 << 24 | 64 << 16 | self.number + 1).to_bytes(4)

    @property
    def address(self) -> str:
        return ".".join(str(b) for b in self.key)
