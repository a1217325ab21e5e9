"""Commands and batches as a person hands them over: one JSON object, or one a line."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from edged.errors import EdgedError


def batches(what: str, most: int) -> Iterator[tuple[int, dict[str, Any]]]:
    """Batches as they stand, commands in between gathered into batches of ``most``; with the first line's number."""
    held: list[dict[str, Any]] = []
    first = 1
    for number, document in documents(what):
        if held and ("commands" in document or len(held) >= most):
            yield first, {"commands": held}
            held = []
        if "commands" in document:
            yield number, document
        else:
            first = first if held else number
            held.append(document)
    if held:
        yield first, {"commands": held}


def documents(what: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Line number and object. ``what`` is one object, a file, or ``-`` for stdin. Raises ``EdgedError``."""
    if what.lstrip().startswith("{"):
        yield 1, _parsed(what, "the command")
        return
    try:
        stdin = nullcontext(sys.stdin)
        with stdin if what == "-" else Path(what).open(encoding="utf-8", errors="replace") as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    yield number, _parsed(line, f"{what}: line {number}")
    except OSError as e:
        raise EdgedError(f"{what}: {e.strerror}") from e


def _parsed(text: str, where: str) -> dict[str, Any]:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as e:
        raise EdgedError(f"{where}: not JSON: {e}") from None
    if not isinstance(document, dict):
        raise EdgedError(f"{where}: a JSON object was expected, a command or a batch")
    return document
