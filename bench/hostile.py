"""Hostile subscribers beside an honest one: what it waits for its redirect and its page, and what a command takes.

On the stage of :mod:`bench.stage`, quiet and attack take turns in the same run. Nothing is compared with a rival: the
bars are the issue's. A flood of SYNs comes twice: with XDP in front, as a gateway has it whose driver can
(:mod:`bench.shielded`), which the bars are for, and through the rules to the redirector's socket.

``python -m bench.hostile SECONDS`` lets each attack last so long; ``python -m bench page`` has a short form.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .common import BenchError, Row, cores, median, need, percentile, say
from .shielded import Shielded, syns
from .stage import ATTACKERS, PAGE, REDIRECT, Phase, Stage
from .surfers import ADDRESSES

BAR_MS = 100.0
SLOWED = 1.5
"""Quiet phases of one run differ by a third among themselves."""
SLOW = 10_000
SYNS = 200_000
"""A second; a process at the other end of a cable makes some 150,000 here."""
FLOOD = "flood of SYNs"


def measure(seconds: float, slow: int = SLOW) -> list[Phase]:
    """Every attack for ``seconds``, quiet before, between and behind."""
    need("ip", "nft", "mosquitto", "taskset", "clang")
    if len(cores()) < 2:
        raise BenchError("one core for the gateway and one for the subscribers are needed")
    assert ATTACKERS.num_addresses == ADDRESSES  # noqa: S101
    phases: list[Phase] = []
    with Stage() as stage:
        attacks = {
            f"{slow} slow clients at the redirector": stage.crowd("slow", REDIRECT, slow),
            f"{slow} silent clients at the redirector": stage.crowd("silent", REDIRECT, slow),
            f"{slow} slow clients at the page": stage.crowd("slow", PAGE, slow),
            "2000 that read no page": stage.crowd("deaf", PAGE, 2_000),
            FLOOD: syns(stage, SYNS),
            "flood of redirects": stage.visits,
            "flood of pages": stage.crowd("pages", PAGE, 256),
            "noise at the redirector": stage.crowd("noise", REDIRECT, 200),
            "noise at the page": stage.crowd("noise", PAGE, 200),
        }
        phases += _in_turns(stage, attacks, seconds)
    with Shielded() as stage:
        phases += _in_turns(stage, {FLOOD: syns(stage, SYNS)}, seconds)
    return phases


def _in_turns(stage: Stage, attacks: Mapping[str, Callable[[float], dict[str, Any]]], seconds: float) -> list[Phase]:
    phases: list[Phase] = []
    stage.phase("warming up", 1.0)
    for name, attack in attacks.items():
        for phase in (stage.phase("", seconds / 2), stage.phase(name, seconds, attack)):
            say(phase.line())
            phases.append(phase)
    log = stage.lab.daemon_log(1000)
    if "Traceback" in log:
        raise BenchError(f"an exception was logged:\n{log[-2000:]}")
    return phases


def rows(phases: Sequence[Phase]) -> list[Row]:
    """The honest client's wait, the command path's beside quiet, and memory: each at its worst.

    The flood of SYNs counts where XDP is in front; without it, it has rows of its own.
    """
    bare = next(p for p in phases if p.attack and p.what == FLOOD and p.xdp == "off")
    attacked = [p for p in phases if p.attack and p is not bare]
    worst = max(attacked, key=lambda p: p.p99)
    slowest = max(attacked, key=lambda p: _slowed(p, phases))
    came = f"{bare.attack['syn_per_s']:,} of {SYNS:,} SYN/s that came through, without XDP"
    largest, before = max(attacked, key=lambda p: p.memory), phases[0]
    return [
        _wait(f"honest client's p99 beside hostile ones, worst ({worst})", worst, phases,
              f"≤ {BAR_MS:g} ms, none failed", worst.p99 <= BAR_MS and not any(p.failed for p in attacked)),
        _command(f"a command's median time beside hostile ones, worst ({slowest}), as a multiple", slowest, phases,
                 f"≤ {SLOWED:g}", _slowed(slowest, phases) <= SLOWED),
        _wait(f"honest client's p99 beside {came}", bare, phases),
        _command(f"a command's median time beside {came}, as a multiple", bare, phases),
        Row(
            "portal's memory beside hostile ones, worst, as a multiple",
            largest.memory / 2**20, before.memory / 2**20, "MiB", "before", largest.memory / before.memory,
        ),
    ]  # fmt: skip


def _quiet(phase: Phase, phases: Sequence[Phase]) -> list[Phase]:
    return [p for p in phases if not p.attack and p.xdp == phase.xdp]


def _slowed(phase: Phase, phases: Sequence[Phase]) -> float:
    return median(phase.commands) / median([ms for p in _quiet(phase, phases) for ms in p.commands])


def _wait(what: str, phase: Phase, phases: Sequence[Phase], bar: str = "", met: bool | None = None) -> Row:
    calm = percentile([ms for p in _quiet(phase, phases) for kind in p.visits.values() for ms in kind], 0.99)
    return Row(what, phase.p99, calm, "ms", "nobody hostile", phase.p99 / calm, bar, met)


def _command(what: str, phase: Phase, phases: Sequence[Phase], bar: str = "", met: bool | None = None) -> Row:
    slowed = _slowed(phase, phases)
    mine = median(phase.commands)
    return Row(what, mine, mine / slowed, "ms", "nobody hostile", slowed, bar, met)


def main() -> int:
    """Entry point of the longer run."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 10.0
    found = rows(measure(seconds))
    for row in found:
        print(f"{row.what}: {row.ours:.1f} {row.unit}, {row.rival_name}: {row.rival:.1f}; {row.bar}")
    print(json.dumps({"bench": "hostile", "value": round(found[0].ours, 1), "rows": [vars(r) for r in found]}))
    return 0 if found[0].met else 1


if __name__ == "__main__":
    raise SystemExit(main())
