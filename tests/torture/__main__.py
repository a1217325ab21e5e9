"""``make torture``: the long run. See docs/torture.md, also for how to repeat one seed."""

from __future__ import annotations

import argparse
import datetime as dt
import os
import subprocess
import sys

from tests.torture.report import Report
from tests.torture.runs import EACH, FULL, KINDS, run

APART = {
    "forgery": "forged, replayed, foreign, expired, broken messages",
    "payments": "BR Codes, boleto lines and what nearly is one",
}
"""Kinds that are a program of their own: ``python -m tests.KIND NUMBER``."""


def summary(reports: dict[str, Report]) -> None:
    """What is said in the end."""
    words = {
        "kills": "random kills of the core in-process",
        "cuts": "power cuts",
        "daemons": "kills of real processes",
        "rules": "steps of lives under the business rules, beside a naive model",
        "year": "subscribers for a year under the business rules",
        "http": "requests that are no requests",
    }
    for kind, report in reports.items():
        print(f"\n{report.where.total():>9,} {words[kind]}")
        if kind == "http":
            print("          " + ", ".join(f"{name} {n}" for name, n in report.where.most_common()))
        if kind in {"rules", "year", "http"}:
            print(f"{report.batches:>9,} commands, {len(report.violations):,} violations")
            print("\n".join(report.violations[:5]))
            continue
        print(f"{report.batches:>9,} batches, {report.answers:,} answers, {report.repeated:,} of them given again")
        print("          at: " + ", ".join(f"{name} {n}" for name, n in report.where.most_common()))
        print(f"{len(report.violations):>9,} acknowledged commands lost, applied twice, out of order, or else amiss")
        for violation in report.violations[:20]:
            print(f"          {violation}")


def main() -> int:
    """Returns the exit status: 0 when nothing was found."""
    parser = argparse.ArgumentParser(prog="make torture", description="Kills, power cuts, forgeries, fuzz.")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the full numbers, such as 0.1")
    parser.add_argument("--only", choices=[*FULL], action="append", help="this kind (may be given several times)")
    parser.add_argument("--seed", type=int, default=dt.datetime.now(dt.UTC).toordinal() * 10_000)
    parser.add_argument("--one", action="store_true", help="no more than one database: to repeat the seed of a finding")
    chosen = parser.parse_args()
    kinds = chosen.only or [*FULL]
    print(f"seed {chosen.seed}, scale {chosen.scale:g}", flush=True)
    reports: dict[str, Report] = {}
    for kind in (k for k in KINDS if k in kinds):
        total = EACH[kind] if chosen.one else max(round(FULL[kind] * chosen.scale), 1)
        workers = 1 if kind == "daemons" else os.cpu_count() or 1
        reports[kind] = run(kind, total, chosen.seed, workers)
    summary(reports)
    forged = 0
    for kind, what in APART.items():
        if kind in kinds and not chosen.one:
            n = max(round(FULL[kind] * chosen.scale), 1)
            print(f"\n{what}: {n:,}", flush=True)
            forged |= subprocess.run([sys.executable, "-m", f"tests.{kind}", str(n)], check=False).returncode
    bad = sum(len(r.violations) for r in reports.values())
    print(f"\n{'all is well' if not bad and not forged else 'FOUND SOMETHING: see above'}")
    return bool(bad or forged)


if __name__ == "__main__":
    sys.exit(main())
