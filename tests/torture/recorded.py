"""A run to be recorded: ``python -m tests.torture.recorded DATABASE_FOLDER SAID SEED BATCHES PRAGMAS``.

Each answer is written to the file SAID as soon as it may leave the machine, and behind each group how far the run is.
"""

from __future__ import annotations

import json
import os
import random
import sys
from pathlib import Path
from typing import Any

from tests.torture.faults import sqlite
from tests.torture.mortal import Mortal
from tests.torture.postbox import Postbox
from tests.torture.stream import Stream, Tick
from tests.unit.core import START


def run(folder: Path, said: Path, seed: int, batches: int, pragmas: dict[str, str | int]) -> None:
    """Serve a stream, with some restarts, and say each answer."""
    rng = random.Random(f"recorded {seed}")
    stream = Stream(seed, START)
    box = Postbox(stream, rng)
    core = Mortal(folder)
    voice = os.open(said, os.O_WRONLY | os.O_CREAT, 0o600)

    def say(document: dict[str, Any]) -> None:
        os.write(voice, json.dumps(document).encode())

    with sqlite(None, pragmas):
        core.start()
        while len(stream.steps) < batches:
            step = box.take(rng.choice((1, 1, 2, 4, 9)))
            if step is None:
                return
            if isinstance(step, Tick):
                core.tick(step.now)
                box.tick_done()
            else:
                for answer in core.serve(step):
                    say({"answer": answer})
            say({"done": box.position})
            if rng.random() < 0.03:
                core.restart()
        core.store.close()


if __name__ == "__main__":
    run(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]), json.loads(sys.argv[5]))
