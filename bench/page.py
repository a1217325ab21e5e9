"""The notice page: redirects beside nginx, pages a second of a core, and an honest client among hostile ones.

Three parts, each on parts of its own. Redirects are :mod:`bench.redirect`'s, and the hostile ones
:mod:`bench.hostile`'s, both in a short form. Pages are asked for by hundreds of restricted subscribers at once through
the whole way: request, question to the core over its socket, its answer from the database, page. How many a core can
serve is told by what the portal's worker has used of it, since clients, core and broker share the machine's two.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from . import hostile, redirect
from .common import BenchError, Row, median, result, say
from .pace import cpu

BAR = 2_000
SECONDS, ROUNDS = 3.0, 3


def run(budget: float = 150.0) -> dict[str, Any]:
    """Measure for about ``budget`` seconds."""
    began = time.monotonic()
    first = redirect.run(30.0)
    rates = _pages()
    seconds = max(2.0, (budget - (time.monotonic() - began) - 30) / 2.5 / 9)
    phases = hostile.measure(min(seconds, 5.0))
    attacked = [p for p in phases if p.name != "quiet"]
    rows = [
        *(Row(**row) for row in first["rows"]),
        *(
            Row(what, rate, float(BAR), "/s", "the bar", rate / BAR, f"≥ {BAR}", rate >= BAR)
            for what, rate in rates.items()
        ),
        *hostile.rows(phases),
    ]
    return result(
        "page",
        first["ratio"],
        rows,
        **{key: first[key] for key in ("ours_per_s", "nginx_per_s", "rounds")},
        pages_per_s={what.rpartition(", ")[2]: round(rate) for what, rate in rates.items()},
        honest_p99_ms={p.name: round(p.p99, 1) for p in attacked},
        command_median_ms={p.name: round(median(p.commands), 1) for p in attacked},
    )


def _pages() -> dict[str, float]:
    """Pages a second of a core, by how they were asked for."""
    found: dict[str, list[float]] = {}
    with hostile.Stage() as stage:
        worker = _worker(stage)
        for _ in range(ROUNDS):
            for kind, what in (("visits", "new connections"), ("pages", "connections kept")):
                before = cpu(worker)
                told = stage.crowd(kind, hostile.PAGE, 192)(SECONDS)
                used = cpu(worker) - before
                if not told.get("answers") or used <= 0:
                    raise BenchError(f"no page came: {told}")
                rate = told["answers"] / used
                say(f"{what}: {told['answers'] / SECONDS:,.0f} pages/s with {used / SECONDS:.0%} of a core")
                found.setdefault(f"pages a second of the worker's core, {what}", []).append(rate)
    return {what: median(rates) for what, rates in found.items()}


def _worker(stage: hostile.Stage) -> int:
    """The process that answers: the portal's only child."""
    for pid in stage.portal():
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        if children:
            return int(children[0])
    raise BenchError("the portal has no worker")
