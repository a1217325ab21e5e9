"""The lab with the XDP program in front, and what packets meet there beside what the sets hold."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from edged import plan
from edged.nft import sets
from edged.nft.sets import SetSpec
from edged.nft.socket import KernelBackend
from edged.xdp import layout, libbpf
from edged.xdp.layout import Held
from tests.lab.lab import Lab

Meets = Mapping[bytes, tuple[int, int, float]]
"""Key of plan.py -> level, level while a promise runs, CLOCK_MONOTONIC seconds of its end (0: no promise)."""
CLASSES = (plan.V4_TAG, 64, 56)
_LEVELS = {plan.BLOCKED: 4, plan.REDUCED: 2, plan.NOTICE: 1}
_LIFTS = {plan.WAIVED: 0, plan.WAIVED_NOTICE: 1, plan.WAIVED_REDUCED: 2}


def accelerated(mode: str) -> Lab:
    """A lab whose daemon will run XDP in this mode: native, generic, auto or off."""
    return Lab(env={"EDGED_XDP__MODE": mode})


def wait_fast(lab: Lab, mode: str) -> None:
    """Until the program answers in this mode."""
    lab.wait_until(
        lambda: bool(lab.edged_json("status")["xdp"]["mode"] == mode), f"no XDP: {lab.edged_json('status')['xdp']}", 20
    )


def answered(lab: Lab) -> float:
    """Redirects that the program has given."""
    return lab.metrics().get('edged_xdp_packets_total{action="redirect"}', 0.0)


def pins(lab: Lab) -> Path:
    """Where the maps of this layout are pinned."""
    return lab.bpffs / "edged" / str(layout.VERSION)


def in_maps(folder: Path) -> Meets:
    """What packets meet, read through the pins in ``folder``."""
    (live,) = _opened(folder / "live")
    with contextlib.closing(live):
        slot = int.from_bytes((libbpf.lookup(live.fd, bytes(4), 4) or bytes(4)), "little")
    found: dict[bytes, tuple[int, int, float]] = {}
    for family, size in ((4, 4), (6, layout.KEY6.itemsize)):
        for table in _opened(folder / f"restricted{family}-{slot}"):
            with contextlib.closing(table):
                for key, held in table.entries(size):
                    tagged = b"\x04" + key if family == 4 else key[:1] + key[4:]
                    found[tagged] = held.level, held.lift, held.until / 1e9
    return found


class _Table:
    def __init__(self, fd: int) -> None:
        self.fd = fd

    def entries(self, size: int) -> Iterator[tuple[bytes, Held]]:
        key = libbpf.next_key(self.fd, None, size)
        while key is not None:
            value = libbpf.lookup(self.fd, key, layout.ENTRY.itemsize)
            assert value is not None, "the map changes while it is read"
            yield key, layout.held(value)
            key = libbpf.next_key(self.fd, key, size)

    def close(self) -> None:
        libbpf.close_all([self.fd])


def _opened(path: Path) -> list[_Table]:
    fd = libbpf.pinned(path)
    return [] if fd is None else [_Table(fd)]


def in_sets(backend: KernelBackend) -> Meets:
    """The same, read from the sets that the rules look at."""
    number = max(int(name.rpartition("_g")[2]) for name in backend.sets() if "_g" in name)
    found: dict[bytes, tuple[int, int, float]] = {}
    for tag in CLASSES:
        specs = {role: sets.element_set(role, tag, number) for role in plan.ROLES}
        for packed in backend.dump(specs[plan.RESTRICTED]):
            level = next((x for role, x in _LEVELS.items() if backend.holds(specs[role], packed) is not None), 3)
            found[bytes([tag]) + packed] = level, *_waived(backend, specs, packed)
    return found


def _waived(backend: KernelBackend, specs: Mapping[str, SetSpec], packed: bytes) -> tuple[int, float]:
    for role, lift in _LIFTS.items():
        left = backend.holds(specs[role], packed)
        if left is not None:
            return lift, time.monotonic() + left / 1000
    return 0, 0.0


def differences(maps: Meets, of_sets: Meets) -> list[str]:
    """What the two say differently; moments within half a second are the same, and one that has passed is none."""
    now = time.monotonic()

    def told(found: tuple[int, int, float] | None) -> tuple[int, int, float] | None:
        return found if found is None or found[2] > now else (found[0], 0, 0.0)

    out = []
    for key in maps.keys() | of_sets.keys():
        one, other = told(maps.get(key)), told(of_sets.get(key))
        if one is None or other is None or one[:2] != other[:2] or abs(one[2] - other[2]) > 0.5:
            out.append(f"{key.hex()}: maps {one}, sets {other}")
    return out
