"""YAML of plain values, for a file that is read by people: block style, what could be misread in quotes. Pure.

A YAML library is needed for tests only, and this half-page is all that one document asks for.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_./$-]*( [A-Za-z0-9_./$()-]+)*")
_WORDS = frozenset({"true", "false", "null", "yes", "no", "on", "off", "y", "n"})
"""Texts that one YAML or another takes for something else."""


def dump(value: dict[str, Any]) -> str:
    """The document."""
    return "\n".join(_block(value, "")) + "\n"


def _block(value: Any, margin: str) -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _entry(f"{margin}{_scalar(str(key))}:", inner, margin + "  ")
    else:
        for inner in value:
            if isinstance(inner, dict | list) and inner:
                first, *rest = _block(inner, margin + "  ")
                yield f"{margin}- {first.lstrip()}"
                yield from rest
            else:
                yield f"{margin}- {_scalar(inner)}"


def _entry(head: str, inner: Any, margin: str) -> Iterator[str]:
    if isinstance(inner, dict | list) and inner:
        if isinstance(inner, list) and not any(isinstance(x, dict | list) for x in inner):
            line = f"{head} [{', '.join(_scalar(x) for x in inner)}]"
            if len(line) <= 120:
                yield line
                return
        yield head
        yield from _block(inner, margin)
    else:
        yield f"{head} {_scalar(inner)}"


def _scalar(value: Any) -> str:
    if isinstance(value, str) and _PLAIN.fullmatch(value) and value.lower() not in _WORDS:
        return value
    return json.dumps(value, ensure_ascii=False)
