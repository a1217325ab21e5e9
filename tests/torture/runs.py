"""The runs of ``make torture``: many databases, each with a seed of its own, one to a processor at a time."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, as_completed

from tests.torture import cuts, daemon_log, daemons, fuzz_http, kills, rules
from tests.torture.report import Report

FULL = {
    "kills": 10_000,
    "cuts": 1_000,
    "daemons": 200,
    "rules": 300_000,
    "year": 10_000,
    "http": 1_000_000,
    "forgery": 1_000_000,
    "payments": 1_000_000,
}
EACH = {
    "kills": kills.EPISODE,
    "cuts": 50,
    "daemons": daemons.EPISODE,
    "rules": rules.EPISODE,
    "year": rules.SUBSCRIBERS,
    "http": fuzz_http.EPISODE,
}
"""How many of each kind share one seed, and but for the rules one database."""


def one_of_kills(seed: int, n: int) -> Report:
    return kills.Episode(seed, n, snapshots=bool(seed % 2)).run()


def one_of_cuts(seed: int, n: int) -> Report:
    recording = daemon_log.record(seed) if seed % 4 == 3 else cuts.record(seed, snapshots=bool(seed % 2))
    return cuts.cut(recording, n)


def one_of_daemons(seed: int, n: int) -> Report:
    with daemons.Daemons(seed, n, signed=bool(seed % 4)) as running:
        return running.run()


KINDS: dict[str, Callable[[int, int], Report]] = {
    "kills": one_of_kills,
    "cuts": one_of_cuts,
    "daemons": one_of_daemons,
    "rules": rules.lives,
    "year": rules.year,
    "http": fuzz_http.fuzz,
}


def pieces(total: int, each: int) -> Iterator[int]:
    """``total`` in pieces of ``each`` and a rest."""
    while total > 0:
        yield min(total, each)
        total -= each


def run(kind: str, total: int, seed: int, workers: int) -> Report:
    """All of one kind, each piece with a seed of its own."""
    whole, began = Report(), time.monotonic()
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        jobs: dict[Future[Report], int] = {}
        for i, n in enumerate(pieces(total, EACH[kind])):
            jobs[pool.submit(KINDS[kind], seed + i, n)] = seed + i
        for job in as_completed(jobs):
            try:
                whole.add(job.result())
            except Exception as e:  # noqa: BLE001  one that breaks off is a finding, and the others go on
                whole.violations.append(f"{kind}, seed {jobs[job]}: {type(e).__name__}: {e}")
            told = f"{kind}: {whole.where.total()} of {total}, {len(whole.violations)} violations"
            print(f"{told}, {time.monotonic() - began:.0f} s", flush=True)
    return whole
