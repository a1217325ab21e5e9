"""A run to be recorded: ``python -m tests.torture.recorded DATABASE_FOLDER SAID SEED BATCHES PRAGMAS OPTIONS``.

Each answer is written to the file SAID as soon as it may leave the machine, and behind each group how far the run is.
"""

from __future__ import annotations

import json
import os
import random
import sys
from pathlib import Path
from typing import Any
from unittest import mock

from edged import replacement
from tests.torture.faults import sqlite
from tests.torture.mortal import Mortal
from tests.torture.postbox import Postbox
from tests.torture.steps import Settle, Tick
from tests.torture.stream import Stream
from tests.unit.core import START


def run(
    folder: Path, said: Path, seed: int, batches: int, pragmas: dict[str, str | int], options: dict[str, Any]
) -> None:
    """Serve a stream, with some restarts, and say each answer."""
    rng = random.Random(f"recorded {seed}")
    stream = Stream(seed, START, **options)
    box = Postbox(stream, rng)
    core = Mortal(folder)
    voice = os.open(said, os.O_WRONLY | os.O_CREAT, 0o600)

    def say(document: dict[str, Any]) -> None:
        os.write(voice, json.dumps(document).encode())

    with sqlite(None, pragmas), mock.patch.object(replacement, "STEP", 7):
        core.start()
        while len(stream.steps) < batches:
            step = box.take(rng.choice((1, 1, 2, 4, 9)))
            if step is None:
                return
            if isinstance(step, Tick | Settle):
                core.pause(step)
                box.passed()
            else:
                for answer in core.serve(step):
                    say({"answer": answer})
            say({"done": box.position})
            core.walk(rng.choice((0, 0, 1, 1, 2, 9)))
            if rng.random() < 0.03:
                core.restart()
        core.store.close()


if __name__ == "__main__":
    folder, said, seed, batches, pragmas, options = sys.argv[1:]
    run(Path(folder), Path(said), int(seed), int(batches), json.loads(pragmas), json.loads(options))
