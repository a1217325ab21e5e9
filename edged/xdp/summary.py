"""The same said of many devices, said once. Pure."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping

NAMED = 3
"""Devices named beside a sentence; of more only the number is told."""
SENTENCES = 8
"""Different sentences; of more only the number of devices is told."""


def listed(names: Iterable[str], at_most: int = NAMED) -> str:
    """``a, b and 255 more``."""
    names = list(names)
    more = len(names) - at_most
    return ", ".join(names[:at_most]) + (f" and {more} more" if more > 0 else "")


def summary(whys: Mapping[str, str]) -> list[str]:
    """``whys``: device -> a sentence that names it, or nothing. Sentences that differ by that name alone become one."""
    same: dict[str, list[str]] = defaultdict(list)
    for name, why in whys.items():
        if why:
            same[re.sub(rf"(?<![\w.-]){re.escape(name)}(?![\w-]|\.\w)", "\0", why)].append(name)
    out = []
    for names in list(same.values())[:SENTENCES]:
        others = f" (so it is with {listed(names[1:])})" if names[1:] else ""
        out.append(whys[names[0]] + others)
    left = [name for names in list(same.values())[SENTENCES:] for name in names]
    return [*out, f"something else with {listed(left)}"] if left else out
