"""Power cuts: the write log of a real run, cut anywhere, and what edged makes of the files that are left."""

from __future__ import annotations

import json
import os
import random
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tests.torture import writelog
from tests.torture.disk import Disk
from tests.torture.history import History, check
from tests.torture.mortal import Mortal, ram
from tests.torture.postbox import Postbox
from tests.torture.report import Report
from tests.torture.steps import Settle, Step, Tick
from tests.torture.stream import Stream
from tests.torture.writelog import Op, Said, Sync
from tests.unit.core import START

BATCHES = 70
MORE = 10
"""Steps that are sent only after the power came back."""
CHECKPOINTS = (10, 40, 150, 4000)
"""Pages of the log behind which SQLite writes it back; edged's own value is the last one."""


@dataclass
class Heard:
    """What left the gateway before the power went."""

    answers: list[dict[str, Any]]
    events: dict[int, dict[str, Any]]
    """Published, and perhaps gone from the store, by number."""
    done: int
    """Steps that will not come again."""


@dataclass
class Recording:
    """What one run wrote, and what was sent to it."""

    seed: int
    start: int
    """Unix ms of its clock's first moment."""
    steps: Sequence[Step]
    ops: list[Op]
    heard: Callable[[Sequence[Said]], Heard]
    """What the sender understands of what was said."""
    later: int = 0
    """Unix ms of a moment behind the run, where its clock was the machine's."""


def record(seed: int, *, batches: int = BATCHES, snapshots: bool = False, **pragmas: str | int) -> Recording:
    """A run of its own process under strace. ``pragmas`` overrule those of the store."""
    options = json.dumps({"snapshots": snapshots, "ghosts": not snapshots})
    folder = ram()
    overruled = {"wal_autocheckpoint": CHECKPOINTS[seed % len(CHECKPOINTS)], **pragmas}
    try:
        log, database, said = folder / "log", folder / "db", folder / "said"
        program = [sys.executable, "-m", "tests.torture.recorded", str(database), str(said), str(seed), str(batches)]
        writelog.record([*program, json.dumps(overruled), options], log)
        ops = writelog.read(log, str(database), str(said))
    finally:
        shutil.rmtree(folder)
    done = _heard([op for op in ops if isinstance(op, Said)]).done
    return Recording(seed, START, Stream(seed, START, **json.loads(options)).take(done + MORE), ops, _heard)


def _heard(said: Sequence[Said]) -> Heard:
    told = [json.loads(s.data) for s in said]
    return Heard([t["answer"] for t in told if "answer" in t], {}, max((t.get("done", 0) for t in told), default=0))


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
        heard = recording.heard(disk.said)
        found = judge(recording, disk.cut(rng), heard, rng)
        report.answers += len(heard.answers)
        report.violations += [f"cuts, seed {recording.seed}, behind operation {point}: {v}" for v in found]
    return report


def judge(recording: Recording, files: dict[str, bytes], heard: Heard, rng: random.Random) -> list[str]:
    """What is wrong with edged on these files, after this was heard of it."""
    start, steps = recording.start, recording.steps
    folder = ram()
    core = Mortal(folder / "db")

    def history(answers: list[dict[str, Any]], *, complete: bool) -> History:
        numbered = {**heard.events, **core.numbered()}
        events = [numbered[n] for n in sorted(numbered)]
        return History(start, steps, answers, events, core.records(), core.digest(), complete)

    try:
        core.directory.mkdir()
        for name, content in files.items():
            (core.directory / name).write_bytes(content)
        if rng.random() < 0.3:
            (core.directory / "edged.db-shm").write_bytes(os.urandom(32768))  # of no meaning to anybody
        core.now = max([start, recording.later, *(s.now for s in steps[: heard.done] if isinstance(s, Tick))])
        core.start()
        core.finish_snapshot()
        answers = list(heard.answers)
        found = check(history(answers, complete=False))
        if not found:
            answers += _again(core, steps, max(heard.done - rng.choice((0, 0, 1, 3)), 0), rng)
            found = check(history(answers, complete=True))
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
        if isinstance(step, Tick | Settle):
            core.pause(step)
        else:
            for answer in core.serve(step):
                box.answer(answer)
            box.flush()
    core.finish_snapshot()
    return box.heard
