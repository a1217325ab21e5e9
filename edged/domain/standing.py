"""What the portal may know of whoever opens a page."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Standing:
    """``level`` 0..4 in force, the strongest ``reason`` (or empty), end of a promise (Unix ms, 0: none)."""

    level: int
    reason: str
    until_ms: int
