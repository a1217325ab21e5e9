"""Commands and batches as a person hands them over: one JSON object, or one a line."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NoReturn

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
    for number, line in filled(what):
        yield number, _parsed(line, f"{what}: line {number}")


def filled(what: str) -> Iterator[tuple[int, str]]:
    """Number and text of each line of a file, or of stdin (``-``), that holds something. Raises ``EdgedError``.

    Also for bytes that are no UTF-8: read with a substitute, two names in Latin-1 would become one subscriber.
    """
    number = 0
    try:
        stdin = nullcontext(getattr(sys.stdin, "buffer", sys.stdin))
        with stdin if what == "-" else Path(what).open("rb") as lines:
            for number, line in enumerate(lines, 1):
                text = line.decode() if isinstance(line, bytes) else line
                if text.strip():
                    yield number, text.strip()
    except UnicodeDecodeError as e:
        where = f"byte {e.start + 1} (0x{e.object[e.start]:02x})"
        raise EdgedError(f"{what}: line {number}: {where} is not UTF-8; convert it, as iconv -f LATIN1 does") from None
    except OSError as e:
        raise EdgedError(f"{what}: {e.strerror}") from e


def put(text: str) -> None:
    """Print a line at once. Raises ``EdgedError`` where stdout takes none, such as on a full disk."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        raise
    except OSError as e:
        # What is left in the buffer would be tried again, and complained about, when Python ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise EdgedError(
            f"stdout: {e.strerror}; what was sent is on its way, its answer could not be printed"
        ) from None


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number of JSON")


def _parsed(text: str, where: str) -> dict[str, Any]:
    try:
        document = json.loads(text, parse_constant=_no_number)
    except (ValueError, RecursionError) as e:
        raise EdgedError(f"{where}: not JSON: {e}") from None
    if not isinstance(document, dict):
        raise EdgedError(f"{where}: a JSON object was expected, a command or a batch")
    return document
