"""What an earlier start left in the kernel: programs that are attached, and pins. Works without loading anything.

Needed where nobody keeps the maps true any more: ``edged stop --open``, ``xdp.mode = "off"``, a program that cannot be
loaded, pins of another layout, pins that are gone. What is ours says :mod:`edged.xdp.ours`; a program is detached
before its pin goes, and pins of another network namespace stay: what is attached there cannot be seen from here.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Iterable
from pathlib import Path

from edged.xdp import libbpf
from edged.xdp.interfaces import matches
from edged.xdp.ours import Ours, elsewhere

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
    if but is None and (layouts or libbpf.available()):
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
    for index, name in socket.if_nameindex():
        now = libbpf.attached(index)
        if now.program and not keep(now.program) and ours.has(now.program):
            libbpf.detach(index, _FLAGS[now.mode], ours.fd(now.program))
            gone.append(f"XDP program on {name}")
    return gone


def left(
    patterns: Iterable[str], notes: Path | None = None, keep: Callable[[int], bool] = lambda _: False
) -> list[str]:
    """Which of the devices named so have a program of ours that is not one to keep. Raises BpfError."""
    if not libbpf.available():
        return []
    patterns = list(patterns)
    found = []
    with contextlib.closing(Ours(None, notes)) as ours:
        for index, name in socket.if_nameindex():
            if matches(name, patterns) and not name.startswith("ppp"):  # those have none: no Ethernet frames
                now = libbpf.attached(index)
                if not keep(now.program) and ours.has(now.program):
                    found.append(name)
    return found


def _layouts(bpffs: Path) -> list[Path]:
    try:
        return [path for path in (bpffs / FOLDER).iterdir() if path.name.isdigit()]
    except OSError:
        return []


def _clear(pins: Path) -> None:
    for path in list(pins.iterdir()):
        path.unlink()
    pins.rmdir()
