"""The notice page: redirects beside nginx, pages a second of a core, and an honest client among hostile ones.

Three parts, each on parts of its own. Redirects are :mod:`bench.redirect`'s, and the hostile ones
:mod:`bench.hostile`'s, both in a short form. Pages are asked for by hundreds of restricted subscribers at once through
the whole way: request, question to the core over its socket, its answer from the database, page; 4,096 subscribers take
turns. How many a core can serve is told by the CPU time they took, since clients and broker share the machine's two:
once by that of the portal's worker and the core together, as on a gateway with one processor, where the bar holds too,
and once by the worker's alone, as where each has a processor of its own.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

from . import hostile, redirect
from .common import BenchError, Row, median, result, say
from .pace import cpu
from .stage import EVERYBODY, PAGE, Stage

BAR = 2_000
SECONDS, ROUNDS = 3.0, 3


def run(budget: float = 150.0) -> dict[str, Any]:
    """Measure for about ``budget`` seconds."""
    began = time.monotonic()
    first = redirect.run(30.0)
    rates = _pages()
    seconds = max(2.0, (budget - (time.monotonic() - began) - 30) / 2.5 / 10)
    phases = hostile.measure(min(seconds, 5.0))
    attacked = [p for p in phases if p.attack]
    rows = [
        *(Row(**row) for row in first["rows"]),
        *(
            Row(
                f"pages a second of a core, {what}",
                rate,
                float(BAR),
                "/s",
                "the bar",
                rate / BAR,
                f"≥ {BAR}",
                rate >= BAR,
            )
            for what, rate in rates.items()
        ),
        *hostile.rows(phases),
    ]
    return result(
        "page",
        first["ratio"],
        rows,
        **{key: first[key] for key in ("ours_per_s", "nginx_per_s", "rounds")},
        pages_per_s={what: round(rate) for what, rate in rates.items()},
        honest_p99_ms={str(p): round(p.p99, 1) for p in attacked},
        command_median_ms={str(p): round(median(p.commands), 1) for p in attacked},
    )


def _pages() -> dict[str, float]:
    """Pages a second of a core, by how they were asked for."""
    found: dict[str, list[float]] = {}
    with Stage() as stage:
        worker, core, size = _worker(stage), stage.core, len(_page(stage))
        for _ in range(ROUNDS):
            for kind, what in (("visits", "new connections"), ("pages", "connections kept")):
                before = cpu(worker), cpu(core)
                told = stage.crowd(kind, PAGE, 192, EVERYBODY)(SECONDS)
                ours, cores = cpu(worker) - before[0], cpu(core) - before[1]
                pages = told.get("answers", 0)
                if not pages or ours <= 0:
                    raise BenchError(f"no page came: {told}")
                if {told["shortest"], told["longest"]} != {size}:
                    raise BenchError(f"not everybody got his own page, of {size} bytes: {told}")
                say(
                    f"{what}: {pages / SECONDS:,.0f} pages/s with {(ours + cores) / SECONDS:.0%} of a core; "
                    f"a page takes {ours / pages * 1e6:.0f} µs in the portal, {cores / pages * 1e6:.0f} µs in the core"
                )
                found.setdefault(f"{what}, with the core's share", []).append(pages / (ours + cores))
                found.setdefault(f"{what}, the portal alone", []).append(pages / ours)
    return {what: median(rates) for what, rates in found.items()}


def _page(stage: Stage) -> bytes:
    """The page that all of them have to get: not the one that is shown when the core does not answer in time."""
    fetch = f"import urllib.request as u; print(u.urlopen('http://{PAGE[0]}:{PAGE[1]}/').read().hex())"
    body = bytes.fromhex(stage.honest.run(sys.executable, "-c", fetch).stdout)
    if b"operator-" not in body:
        raise BenchError(f"not the page of who is blocked by the operator: {body[:2000]!r}")
    return body


def _worker(stage: Stage) -> int:
    """The process that answers: the portal's only child."""
    for pid in stage.portal():
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        if children:
            return int(children[0])
    raise BenchError("the portal has no worker")
