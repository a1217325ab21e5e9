"""What the kernel should do for one address, as plain numbers."""

from __future__ import annotations

from typing import NamedTuple


class Entry(NamedTuple):
    """What the kernel should do for one address. Times are Unix milliseconds, 0 for none."""

    level: int = 0
    """The level once every promise has ended."""
    rate: int = 0
    """kbit/s each way while REDUCED."""
    lift: int = 0
    """The level while the promise runs; only meaningful with ``until``."""
    until: int = 0
    """End of the promise."""
    notified: int = 0
    """Until when a NOTICE counts as seen."""


OPEN = Entry()
WALLED = Entry(3)
"""The entries of nearly everybody. Where they are made they are these two, so that a quick look is enough."""
PLAIN = (OPEN, WALLED)
