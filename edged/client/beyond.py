"""What a snapshot cannot carry, so that a batch that came too late must be sent again for it. Pure.

A snapshot holds bindings and debts, and what else was said of debts is in the table it is made of. Gardens, removed
subscribers, ended promises and the reasons that are no debts are in no snapshot.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from edged.domain.model import DEBT

_OPS = frozenset({"garden", "forget", "untrust"})
_BY_REASON = frozenset({"block", "unblock"})
_DEBT = frozenset({*DEBT, "debt*"})
_HINTS = (b'"garden"', b'"forget"', b'"untrust"', b'lock"')


def beyond(commands: bytes) -> bytes:
    """Of a JSON array of commands those that no snapshot carries; empty when there are none."""
    if not any(hint in commands for hint in _HINTS):
        return b""
    found = [c for c in msgspec.json.decode(commands) if _is_beyond(c)]
    return msgspec.json.encode(found) if found else b""


def lacking(batches: Iterable[tuple[bool, bytes]]) -> bytes:
    """What must be said again, a JSON array or empty. ``batches``: what :func:`beyond` gave, in the order in which
    they were sent, and whether that one is missing. What a later one says of the same thing stands instead.
    """
    last: dict[tuple[str, ...], tuple[bool, Any]] = {}
    for missing, array in batches:
        for command in msgspec.json.decode(array):
            if command["op"] == "forget":
                for key in [k for k in last if k[0] == command.get("sub")]:
                    del last[key]
            key = _key(command)
            last.pop(key, None)  # the order is that of the last word
            last[key] = missing, command
    found = [command for missing, command in last.values() if missing]
    return msgspec.json.encode(found) if found else b""


def _is_beyond(command: dict[str, Any]) -> bool:
    op = command.get("op")
    return op in _OPS or (op in _BY_REASON and command.get("reason") not in _DEBT)


def _key(command: dict[str, Any]) -> tuple[str, ...]:
    """Which thing a command is about."""
    op = command["op"]
    if op == "garden":
        return "", str(command.get("name"))
    return str(command.get("sub")), str(command.get("reason") if op in _BY_REASON else op)
