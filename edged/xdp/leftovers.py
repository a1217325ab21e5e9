"""What an earlier start left in the kernel: programs that are attached, and pins. Works without loading anything.

Needed where nobody keeps the maps true any more: ``edged stop --open``, ``xdp.mode = "off"``, a program that cannot be
loaded, pins of another layout. A program is known as ours by its pin, so it is detached before its pin goes.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path

from edged.xdp import libbpf

FOLDER = "edged"
_FLAGS = {"native": libbpf.NATIVE, "generic": libbpf.GENERIC}


def remove(bpffs: Path, *, but: int | None = None) -> list[str]:
    """Detach and unpin everything of ours, but for layout ``but``; returns what was detached. Raises BpfError.

    Works in the network namespace of the calling thread. Where nothing was left nothing is asked of the kernel.
    """
    gone: list[str] = []
    for pins in _layouts(bpffs):
        if pins.name != str(but):
            gone += detach(pins)
            with contextlib.suppress(OSError):
                _clear(pins)
    return gone


def detach(pins: Path) -> list[str]:
    """Detach the programs pinned in one folder; returns from where. Raises BpfError."""
    programs: dict[int, int] = {}
    try:
        for path in sorted(pins.glob("program-*")):
            fd = libbpf.pinned(path)
            if fd is not None:
                programs[libbpf.program_id(fd)] = fd
        return list(_detached(programs)) if programs else []
    finally:
        libbpf.close_all(list(programs.values()))


def _detached(programs: dict[int, int]) -> Iterator[str]:
    for index, name in socket.if_nameindex():
        now = libbpf.attached(index)
        if now.program in programs:
            libbpf.detach(index, _FLAGS[now.mode], programs[now.program])
            yield f"XDP program on {name}"


def _layouts(bpffs: Path) -> list[Path]:
    try:
        return [path for path in (bpffs / FOLDER).iterdir() if path.name.isdigit()]
    except OSError:
        return []


def _clear(pins: Path) -> None:
    for path in list(pins.iterdir()):
        path.unlink()
    pins.rmdir()
