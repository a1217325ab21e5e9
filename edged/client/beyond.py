"""What a snapshot cannot carry, so that a batch that came too late must be sent again for it. Pure.

A snapshot holds bindings and debts, and what else was said of debts is in the table it is made of. Gardens, what is
said of areas, removed subscribers, ended promises and the reasons that are no debts are in none. A deferral may be in
one, but not its end; so of both the last word is said again.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from edged.domain.model import DEBT

_THINGS = {
    "garden": ("garden", "name"),
    "moratorium": ("moratorium", "area"),
    "end_moratorium": ("moratorium", "area"),
    "outage": ("outage", "id"),
    "end_outage": ("outage", "id"),
    "calendar": ("calendar", "area"),
}
"""op that is on no subscriber -> of what it is the last word, and the field that names it."""
_DEFERRALS = frozenset({"defer", "undefer"})
_OPS = _DEFERRALS | {"forget", "untrust", *_THINGS}
_BY_REASON = frozenset({"block", "unblock"})
_DEBT = frozenset({*DEBT, "debt*"})
_HINTS = (b'"garden"', b'"forget"', b'"untrust"', b'lock"', b'defer"', b'moratorium"', b'outage"', b'"calendar"')


def beyond(commands: bytes) -> bytes:
    """Of a JSON array of commands those that no snapshot carries; empty when there are none."""
    if not any(hint in commands for hint in _HINTS):
        return b""
    found = [c for c in msgspec.json.decode(commands) if _is_beyond(c)]
    return msgspec.json.encode(found) if found else b""


def lacking(batches: Iterable[tuple[bool, bytes]]) -> bytes:
    """What must be said again, a JSON array or empty. ``batches``: what :func:`beyond` gave, in the order in which
    they were sent, and whether that one is missing. What a later one says of the same thing stands instead; what came
    after a word that ends several things is said again with it.
    """
    last: dict[tuple[str, ...], tuple[bool, Any]] = {}
    for missing, array in batches:
        for command in msgspec.json.decode(array):
            key = _key(command)
            if ends := _ends(key):
                for old in [k for k in last if k[: len(ends)] == ends]:
                    del last[old]
            last.pop(key, None)  # the order is that of the last word
            last[key] = missing, command
    found, ended = [], set()
    for key, (missing, command) in last.items():
        if missing or key[:1] in ended or key[:2] in ended:
            found.append(command)
            ended.add(_ends(key))
    return msgspec.json.encode(found) if found else b""


def _ends(key: tuple[str, ...]) -> tuple[str, ...]:
    """How the keys begin of all that a command ends beside its own thing; empty: nothing."""
    if key[1] == "forget":
        return key[:1]
    return key[:2] if key[1:] == ("deferrals", "") else ()


def _is_beyond(command: dict[str, Any]) -> bool:
    op = command.get("op")
    return op in _OPS or (op in _BY_REASON and command.get("reason") not in _DEBT)


def _key(command: dict[str, Any]) -> tuple[str, ...]:
    """Which thing a command is about."""
    op = command["op"]
    if op in _THINGS:
        thing, field = _THINGS[op]
        return "", thing, str(command.get(field))
    if op in _DEFERRALS:
        return str(command.get("sub")), "deferrals", str(command.get("kind") or "")
    return str(command.get("sub")), str(op if op not in _BY_REASON else command.get("reason"))
