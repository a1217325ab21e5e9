"""The same said of many devices, said once. Pure."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

NAMED = 3
"""Devices named beside a sentence; of more only the number is told."""
SENTENCES = 8
"""Different sentences; of more only the number of devices is told."""


def listed(names: Iterable[str], at_most: int = NAMED) -> str:
    """``a, b and 255 more``."""
    names = list(names)
    more = len(names) - at_most
    return ", ".join(names[:at_most]) + (f" and {more} more" if more > 0 else "")


def commands(names: Iterable[str]) -> str:
    """What to type to take a program off each; beyond :data:`NAMED` devices it goes on likewise."""
    names = list(names)
    typed = " and ".join(f"ip link set dev {name} xdp off (or xdpgeneric off)" for name in names[:NAMED])
    return typed + (" and so on" if len(names) > NAMED else "")


def remains(names: Sequence[str]) -> str:
    """For status and for whoever has to take it away by hand."""
    return f"a program of edged that nobody keeps true is still on {listed(names)}: {commands(names)}"


def went(names: Sequence[str], *, more: bool = False) -> str:
    """``more``: there may be others, whose names are not known."""
    if not names:
        return (
            "devices with the program went while the kernel's messages were lost, perhaps into another network"
            " namespace: there, ip -details link shows whether they have edged_xdp"
        )
    least = "at least " if more else ""
    return (
        f"{least}{listed(names)} went into another network namespace and the program with it, out of reach from here;"
        f" there, if they still are: {commands(names)}"
    )


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
