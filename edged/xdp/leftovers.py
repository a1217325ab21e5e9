"""What an earlier start left in the kernel: programs that are attached, and pins. Works without loading anything.

Needed where nobody keeps the maps true any more: ``edged stop --open``, ``xdp.mode = "off"``, a program that cannot be
loaded, pins of another layout, pins that are gone. What is ours says :mod:`edged.xdp.ours`; a program is detached
before its pin goes, and pins of another network namespace stay: what is attached there cannot be seen from here.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from edged.xdp import binding, libbpf, rtnetlink
from edged.xdp.interfaces import matches
from edged.xdp.ours import Ours, elsewhere
from edged.xdp.rtnetlink import Attached

FOLDER = "edged"
_FLAGS = {"native": libbpf.NATIVE, "generic": libbpf.GENERIC}


def remove(bpffs: Path, *, but: int | None = None, notes: Path | None = None) -> list[str]:
    """Detach and unpin everything of ours, but for layout ``but``; returns what was detached. Raises BpfError.

    Works in the network namespace of the calling thread. With ``but`` only what has a pin is looked for.
    """
    gone: list[str] = []
    layouts = _layouts(bpffs)
    for pins in layouts:
        if pins.name != str(but):
            gone += detach(pins)
            if not elsewhere(pins):
                with contextlib.suppress(OSError):
                    _clear(pins)
    if but is None and (layouts or binding.available()):
        with contextlib.closing(Ours(None, notes)) as ours:
            gone += expel(ours)
    return gone


def detach(pins: Path) -> list[str]:
    """Detach the programs pinned in one folder; returns from where. Raises BpfError."""
    with contextlib.closing(Ours(pins)) as ours:
        return expel(ours, lambda number: number not in ours.pins) if ours.pins else []


def expel(ours: Ours, keep: Callable[[int], bool] = lambda _: False) -> list[str]:
    """Detach our programs from the devices of this namespace, but those to keep; returns where. Raises BpfError."""
    gone = []
    for index in rtnetlink.everywhere():
        now = rtnetlink.attached(index)  # asked again: detaching takes its time, and devices come and go
        if now.program and not keep(now.program) and ours.has(now.program):
            libbpf.detach(index, _FLAGS[now.mode], ours.fd(now.program))
            gone.append(f"XDP program on {now.name}")
    return gone


def left(
    patterns: Iterable[str],
    notes: Path | None = None,
    keep: Callable[[int], bool] = lambda _: False,
    there: Mapping[int, Attached] | None = None,
) -> list[str]:
    """Which of the devices named so have a program of ours that is not one to keep. Raises BpfError.

    ``there``: what :func:`edged.xdp.rtnetlink.everywhere` has just said; None: it is asked.
    """
    if not binding.available():
        return []
    patterns = list(patterns)
    found = rtnetlink.everywhere() if there is None else there
    strange = [now for now in found.values() if not keep(now.program) and matches(now.name, patterns)]
    with contextlib.closing(Ours(None, notes)) as ours:
        return [now.name for now in strange if ours.has(now.program)]


def _layouts(bpffs: Path) -> list[Path]:
    try:
        return [path for path in (bpffs / FOLDER).iterdir() if path.name.isdigit()]
    except OSError:
        return []


def _clear(pins: Path) -> None:
    for path in list(pins.iterdir()):
        path.unlink()
    pins.rmdir()
