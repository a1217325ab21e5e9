"""``make mutants``: would the tests notice? See docs/mutants.md, also for how to repeat one run or one mutant."""

from __future__ import annotations

import argparse
import gc
import json
import os
import random
import tomllib
from collections import Counter
from concurrent.futures import Executor, ProcessPoolExecutor
from itertools import repeat
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from tests.mutants.made import Made, Mutant, mutants
from tests.mutants.trial import KILLED, STILLBORN, SURVIVED, TIMEOUT, Trial, trial, warm_up

ROOT = Path(__file__).parents[2]
RESULT = ROOT / ".stamp" / "mutants.json"
FEWEST = 10
"""Mutants of each module in a sample, where it has so many."""
PATIENCE = 3.0
"""A mutant may use the processor so many times as long as a test file without it, and five seconds."""


def chosen(found: list[Made], most: int, seed: int) -> list[Made]:
    """All of them, or about ``most``, from each module its share and never fewer than ten."""
    if not most or len(found) <= most:
        return found
    picked: list[Made] = []
    for module in sorted({m.mutant.module for m in found}):
        own = [m for m in found if m.mutant.module == module]
        size = min(len(own), max(FEWEST, round(most * len(own) / len(found))))
        picked += random.Random(f"{seed}{module}").sample(own, size)
    return picked


def show(outcomes: list[dict[str, Any]], of: Counter[str]) -> None:
    """The table and the survivors."""
    print("\n| module | mutants | tried | killed | survived | rate |\n|---|---:|---:|---:|---:|---:|")
    for module in [*sorted({o["module"] for o in outcomes}), ""]:
        own = [o["outcome"] for o in outcomes if module in {"", o["module"]} and o["outcome"] != STILLBORN]
        dead = sum(o in {KILLED, TIMEOUT} for o in own)
        total = of[module] if module else of.total()
        rate = f"{dead / len(own):.1%}" if own else "–"
        print(f"| {module or 'all'} | {total} | {len(own)} | {dead} | {len(own) - dead} | {rate} |")
    counts = Counter(o["outcome"] for o in outcomes)
    print(f"\n{counts[TIMEOUT]} killed by running out of time; {counts[STILLBORN]} left out, as nobody can import them")
    for o in outcomes:
        if o["outcome"] == SURVIVED:
            print(f"\n{o['module']}:{o['line']} {o['operator']} {o['occurrence']}\n- {o['before']}\n+ {o['after']}")


def main() -> int:
    """Returns the exit status: 0 when enough were killed."""
    parser = argparse.ArgumentParser(prog="make mutants", description="Changes the domain and runs its tests.")
    parser.add_argument("--most", type=int, default=450, help="a sample of about so many; 0: all")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--module", action="append", help="this module alone (may be given several times)")
    parser.add_argument("--result", type=Path, default=RESULT, help="where the outcomes are kept (JSON)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="so many at once")
    parser.add_argument("--again", action="store_true", help="only what survived the last run; adds to its result")
    wanted = parser.parse_args()
    rules = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["edged-mutants"]
    os.chdir(ROOT)
    warm_up()
    files = {p.stem: p for p in (ROOT / "edged" / "domain").glob("*.py") if p.stem != "__init__"}
    if files.keys() != rules["tests"].keys():
        odd = ", ".join(sorted(files.keys() ^ rules["tests"].keys()))
        raise SystemExit(
            f"{odd}: each module of edged/domain needs its tests in pyproject.toml, [tool.edged-mutants.tests]"
        )
    sources = {m: files[m].read_text() for m in wanted.module or rules["tests"]}
    with ProcessPoolExecutor(wanted.jobs, get_context("fork")) as workers:
        found = [m for some in workers.map(_made, sources.items(), repeat(rules["operators"])) for m in some]
    of = Counter(m.mutant.module for m in found)
    kept: list[dict[str, Any]] = []
    if wanted.again:
        last = json.loads(wanted.result.read_text())
        kept = [o for o in last if o["outcome"] != SURVIVED]
        names = {Mutant(o["module"], o["operator"], o["occurrence"]) for o in last if o["outcome"] == SURVIVED}
        found = [m for m in found if m.mutant in names]
    else:
        found = chosen(found, wanted.most, wanted.seed)
    print(f"{len(found)} of {of.total()} mutants, seed {wanted.seed}", flush=True)
    with ProcessPoolExecutor(wanted.jobs, get_context("fork")) as workers:
        outcomes = kept + _all_tried(sorted(found, key=lambda m: (m.mutant.module, m.line)), rules["tests"], workers)
    wanted.result.parent.mkdir(parents=True, exist_ok=True)
    wanted.result.write_text(json.dumps(outcomes, indent=1))
    show(outcomes, of)
    lived = sum(o["outcome"] == SURVIVED for o in outcomes)
    return int(lived > (1 - rules["wanted"]) * sum(o["outcome"] != STILLBORN for o in outcomes))


def _made(module: tuple[str, str], operators: str) -> list[Made]:
    gc.disable()  # trees by the thousand, and no cycle among them that lives
    return list(mutants(*module, operators))


def _all_tried(found: list[Made], tests: dict[str, list[str]], workers: Executor) -> list[dict[str, Any]]:
    pairs = [(module, test) for module in sorted({m.mutant.module for m in found}) for test in tests[module]]
    limits: dict[str, list[tuple[str, float]]] = {}
    for (module, test), limit in zip(pairs, workers.map(_limit, pairs), strict=True):
        limits.setdefault(module, []).append((f"tests/unit/{test}.py", limit))
    out: list[dict[str, Any]] = []
    for m, ended in zip(found, workers.map(_tried, found, [limits[m.mutant.module] for m in found]), strict=True):
        told = {**m.mutant._asdict(), "line": m.line, "before": m.before, "after": m.after}
        out.append({**told, "outcome": ended.outcome, "seconds": round(ended.seconds, 1)})
        print(f"{ended.outcome:9} {ended.seconds:5.1f} s  {m.mutant.module}:{m.line}  {m.after}", flush=True)
    return out


def _limit(pair: tuple[str, str]) -> float:
    module, test = pair
    base = trial(f"edged.domain.{module}", None, f"tests/unit/{test}.py", 120)
    if base.outcome != SURVIVED:
        raise RuntimeError(f"{module}: {test} does not pass as it is")
    return PATIENCE * base.seconds + 5


def _tried(made: Made, limits: list[tuple[str, float]]) -> Trial:
    ended, seconds = Trial(SURVIVED, 0.0), 0.0
    for test, limit in limits:  # one after the other: most die in the first
        ended = trial(f"edged.domain.{made.mutant.module}", made.source, test, limit)
        seconds += ended.seconds
        if ended.outcome != SURVIVED:
            break
    return ended._replace(seconds=seconds)


if __name__ == "__main__":
    raise SystemExit(main())
