"""Power cuts: the write log of a real run, cut anywhere, and what edged makes of the files that are left."""

from __future__ import annotations

import json
import os
import random
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tests.torture import history, writelog
from tests.torture.disk import Disk
from tests.torture.history import History
from tests.torture.mortal import Mortal, ram
from tests.torture.postbox import Postbox
from tests.torture.report import Report
from tests.torture.stream import Step, Stream, Tick
from tests.torture.writelog import Op, Said, Sync
from tests.unit.core import START

BATCHES = 70
MORE = 10
"""Steps that are sent only after the power came back."""
CHECKPOINTS = (10, 40, 150, 4000)
"""Pages of the log behind which SQLite writes it back; edged's own value is the last one."""


@dataclass
class Recording:
    """What one run wrote, and what was sent to it."""

    seed: int
    steps: Sequence[Step]
    ops: list[Op]


def record(seed: int, *, batches: int = BATCHES, **pragmas: str | int) -> Recording:
    """A run of its own process under strace. ``pragmas`` overrule those of the store."""
    folder = ram()
    overruled = {"wal_autocheckpoint": CHECKPOINTS[seed % len(CHECKPOINTS)], **pragmas}
    try:
        log, database, said = folder / "log", folder / "db", folder / "said"
        program = [sys.executable, "-m", "tests.torture.recorded", str(database), str(said), str(seed), str(batches)]
        writelog.record([*program, json.dumps(overruled)], log)
        ops = writelog.read(log, str(database), str(said))
    finally:
        shutil.rmtree(folder)
    done = max(json.loads(op.data).get("done", 0) for op in ops if isinstance(op, Said))
    return Recording(seed, Stream(seed, START).take(done + MORE), ops)


def cut(recording: Recording, cuts: int, seed: int = 0) -> Report:
    """Cut a recording at ``cuts`` random points, half of them right before or behind a sync or an answer."""
    rng = random.Random(f"cuts {recording.seed} {seed}")
    ops = recording.ops
    borders = [i + k for i, op in enumerate(ops) if isinstance(op, Sync | Said) for k in (0, 1)]
    points = sorted(rng.choice(borders) if rng.random() < 0.5 else rng.randint(0, len(ops)) for _ in range(cuts))
    report, disk, at = Report(), Disk(), 0
    for point in points:
        for op in ops[at:point]:
            disk.feed(op)
        at = point
        report.where[type(ops[point]).__name__.lower() if point < len(ops) else "end"] += 1
        report.batches += len(recording.steps)
        told = [json.loads(data) for data in disk.said]
        found = judge(recording.steps, disk.cut(rng), told, rng)
        report.answers += sum("answer" in t for t in told)
        report.violations += [f"power cut, seed {recording.seed}, behind operation {point}: {v}" for v in found]
    return report


def judge(steps: Sequence[Step], files: dict[str, bytes], told: list[dict[str, Any]], rng: random.Random) -> list[str]:
    """What is wrong with edged on these files, after it had told this."""
    answers = [t["answer"] for t in told if "answer" in t]
    done = max((t["done"] for t in told if "done" in t), default=0)
    folder = ram()
    core = Mortal(folder / "db")
    try:
        core.directory.mkdir()
        for name, content in files.items():
            (core.directory / name).write_bytes(content)
        if rng.random() < 0.3:
            (core.directory / "edged.db-shm").write_bytes(os.urandom(32768))  # of no meaning to anybody
        core.now = max([START, *(s.now for s in steps[:done] if isinstance(s, Tick))])
        core.start()
        left = History(START, steps, answers, core.events(), core.records(), core.digest(), complete=False)
        found = history.check(left)
        if not found:
            answers = [*answers, *_again(core, steps, max(done - rng.choice((0, 0, 1, 3)), 0), rng)]
            end = History(START, steps, answers, core.events(), core.records(), core.digest())
            found = history.check(end)
        if not found and not core.agrees():
            return ["kernel: a refill in the end changed what was in force"]
        return [f"{v.kind}: {v.detail}" for v in found]
    except Exception as e:  # noqa: BLE001  whatever a damaged database leads to is a finding, not a fault of ours
        return [f"edged does not start or serve on what is left: {type(e).__name__}: {e}"]
    finally:
        core.store.close()
        shutil.rmtree(folder)


def _again(core: Mortal, steps: Sequence[Step], at: int, rng: random.Random) -> list[dict[str, Any]]:
    """Deliver what was not acknowledged, and everything behind it."""
    box = Postbox.of(steps, at, rng)
    while (step := box.take(rng.choice((1, 2, 4, 9)))) is not None:
        if isinstance(step, Tick):
            core.tick(step.now)
        else:
            for answer in core.serve(step):
                box.answer(answer)
            box.flush()
    return box.heard
