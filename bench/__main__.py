"""``python -m bench`` runs every bench and writes RESULTS.md and results.png; ``python -m bench NAME`` runs one.

One bench takes less than a minute, one that has commands by the million less than three. It prints as its last line
one JSON object with at least ``bench`` and ``ratio``. Exit status 1 when a bench could not be run.

``python -m bench.soak CHANGES`` is not among them: it takes minutes (see there).
"""

from __future__ import annotations

import argparse
import importlib
import json
import signal
import subprocess
import sys
import time
from typing import Any

from . import report
from .common import BenchError, say

NAMES = (
    *("load", "change", "forward", "redirect", "probe", "throughput", "snapshot", "restart", "fleet", "backlog"),
    *("decide", "page", "xdp_load", "xdp_packet", "xdp_redirect", "flood"),
)


def one(name: str) -> int:
    """Run one bench in this process."""
    start = time.monotonic()
    try:
        found: dict[str, Any] = importlib.import_module(f"bench.{name}").run()
    except (BenchError, RuntimeError, AssertionError, OSError) as error:  # the lab speaks in the latter three
        print(f"{name}: {error}", file=sys.stderr)
        return 1
    found["seconds"] = round(time.monotonic() - start, 1)
    for line in report.lines(found):
        say(line)
    print(json.dumps(found, ensure_ascii=False), flush=True)
    return 0


def everything(names: list[str]) -> int:
    """Run each bench in a process of its own, so that none inherits another's memory, and write the results."""
    results, failed = [], []
    for name in names:
        say(f"--- {name}")
        done = subprocess.run([sys.executable, "-m", "bench", name], stdout=subprocess.PIPE, text=True, check=False)
        print(done.stdout, end="", flush=True)
        if done.returncode:
            failed.append(name)
        else:
            results.append(json.loads(done.stdout.splitlines()[-1]))
    if results:
        report.write(results)
        say(f"written: {report.TABLE} and {report.CHART}")
    for name in failed:
        print(f"{name}: could not be measured", file=sys.stderr)
    return 1 if failed else 0


def main() -> int:
    """Entry point; see the module's text."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="edged beside its rivals, on real packets")
    parser.add_argument("name", nargs="?", choices=NAMES, help="one bench; all of them without it")
    wanted = parser.parse_args().name
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that namespaces are removed
    return one(wanted) if wanted else everything(list(NAMES))


if __name__ == "__main__":
    raise SystemExit(main())
