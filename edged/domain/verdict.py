"""What is known before a command, and what it does: the two values around every decision."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from edged.domain.model import Fact, Subscriber


class View(Struct, frozen=True, gc=False):
    """What is known before the command. ``sub`` is None for a subscriber never heard of."""

    sub: Subscriber | None
    facts: Mapping[str, Fact] = {}


class Decision(Struct, frozen=True, gc=False):
    """What the command does."""

    sub: Subscriber
    status: str = "applied"
    detail: str = ""
    until: int = 0
    """Unix ms; for ``deferred``: when it will begin."""
    why: str = ""
    facts: dict[str, Fact] = {}
    """Invoice facts to remember, only those that change."""
    events: tuple[dict[str, Any], ...] = ()
