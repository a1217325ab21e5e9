"""How much memory a gateway needs to come back to a broker that holds hundreds of megabytes for it.

A whole core (store, pipeline, session; the fake kernel) in a process of its own connects once, so that the broker keeps
its session, and goes. Batches of 256 KiB are published until the queue holds ``BACKLOG`` bytes. Then it comes back and
works everything off, while its memory is watched. Debian 12's mosquitto sends all it has, whatever Receive Maximum
says, so this is the worst case that there is.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.broker import Broker, Peer
from tests.gateway import TOPICS, Gateway
from tests.mqtt_settings import Settings

from .common import MILLION, BenchError, need, peak_rss, say, stop

SIZE = 256 << 10
BACKLOG = 400 << 20


def run() -> dict[str, Any]:
    """About 20 seconds. ``value`` is the peak memory in MiB, ``ratio`` what of it the backlog cost, per its bytes."""
    need("mosquitto")
    count = BACKLOG // SIZE
    extra = ("allow_anonymous true", "autosave_interval 0", "max_queued_bytes 0")
    with tempfile.TemporaryDirectory(prefix="edged-backlog-") as folder:
        broker = Broker(Path(folder) / "broker", log_type="error", extra=extra)
        try:
            broker.start()
            with _core(broker, folder) as child:
                _line(child, "connected")
                idle = peak_rss(child.pid)
            _publish(broker, count)
            say(f"{BACKLOG >> 20} MiB in {count} batches wait at the broker; an idle core takes {idle >> 20} MiB")
            began = time.monotonic()
            with _core(broker, folder) as child:
                _line(child, f"handled {count}")
                seconds, peak = time.monotonic() - began, peak_rss(child.pid)
        finally:
            broker.kill()  # a stop would write the queue to disk
    rows = [
        {"what": f"peak memory over a backlog of {BACKLOG >> 20} MiB", "ours": peak / (1 << 20), "unit": "MiB",
         "ratio": peak / BACKLOG},
    ]  # fmt: skip
    return {
        "bench": "backlog",
        "value": round(peak / (1 << 20)),
        "ratio": round((peak - idle) / BACKLOG, 3),
        "rows": rows,
        "idle_MiB": idle >> 20,
        "backlog_MiB": BACKLOG >> 20,
        "batches": count,
        "MB_per_s": round(BACKLOG / seconds / MILLION, 1),
    }


def _publish(broker: Broker, count: int) -> None:
    with Peer(broker.port) as billing:
        for number in range(count):
            command = {"op": "block", "sub": f"100.64.{number >> 8}.{number & 255}", "reason": "debt"}
            batch = json.dumps({"v": 1, "id": f"b{number}", "commands": [command]})
            billing.publish(TOPICS.command, batch.ljust(SIZE), wait=number % 32 == 31 or number == count - 1)


@contextlib.contextmanager
def _core(broker: Broker, folder: str) -> Iterator[subprocess.Popen[str]]:
    argv = [sys.executable, "-m", "bench.backlog", broker.url, f"{folder}/core"]
    child = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
    try:
        yield child
    finally:
        stop(child)
        assert child.stdout is not None  # noqa: S101
        child.stdout.close()


def _line(child: subprocess.Popen[str], wanted: str) -> None:
    assert child.stdout is not None  # noqa: S101
    for line in child.stdout:
        if line.strip() == wanted:
            return
    raise BenchError(f"the core ended before it said {wanted!r}")


async def _child(url: str, folder: Path) -> None:
    """Say when connected, then after each batch how many were handled."""
    async with Gateway(folder, Settings([url])) as gateway:
        told, connected = 0, False
        while True:
            await asyncio.sleep(0.02)
            if gateway.broker and not connected:
                connected = True
                print("connected", flush=True)
            if len(gateway.first) != told:
                told = len(gateway.first)
                print(f"handled {told}", flush=True)


if __name__ == "__main__":
    asyncio.run(_child(sys.argv[1], Path(sys.argv[2])))
