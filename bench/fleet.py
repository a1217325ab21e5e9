"""One broker and as many gateways as this machine carries: what a session, a message and a group batch cost.

Thousands of light clients (bench/light.py) on one mosquitto over loopback without TLS. The broker's processor time is
what is promised, not its rate: the clients share the machine with it. ``python -m bench.sizes`` turns the costs into
brokers for 10, 1,000 and 100,000 gateways; docs/scale.md shows the result.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from edged.mqtt.topics import Topics
from tests.broker import Broker

from .common import BenchError, median, need, percentile, say
from .light import Light, raise_limit

SESSIONS = 8000
ROUNDS = 5
STATE = b'{"v":1,"gateway":"gw1","online":true' + b" " * 560 + b"}"
ANSWER = b'{"v":1,"id":"01JD8W' + b" " * 280 + b'"}'
SMALL, LARGE = 600, 24_000
"""Bytes of a group batch: one signed command, and about a hundred."""
_AT_ONCE = 256
_TICK = os.sysconf("SC_CLK_TCK")


def run() -> dict[str, Any]:
    """About 30 seconds. ``value`` is the messages a second that one core of the broker carries."""
    need("mosquitto")
    files = raise_limit(2 * SESSIONS + 512)
    count = min(SESSIONS, files - 512)
    with tempfile.TemporaryDirectory(prefix="edged-fleet-") as folder:
        extra = ("allow_anonymous true", "max_queued_messages 0")
        with Broker(Path(folder) / "broker", log_type="error", extra=extra) as broker:
            return asyncio.run(_measure(broker, count))


class _Cost:
    """Processor seconds of a process between entering and leaving, and the time that passed."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self.cpu = self.seconds = 0.0

    def _now(self) -> float:
        fields = Path(f"/proc/{self._pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICK

    def __enter__(self) -> Self:
        self._cpu, self._began = self._now(), time.monotonic()
        return self

    def __exit__(self, *_: object) -> None:
        self.cpu, self.seconds = self._now() - self._cpu, time.monotonic() - self._began


def _rss(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    return 0


async def _connect(broker: Broker, client: Light, slots: asyncio.Semaphore) -> None:
    async with slots:
        await asyncio.get_running_loop().create_connection(lambda: client, broker.address, broker.port)
        await client.ready


async def _idle(clients: Sequence[Light], seconds: float = 60.0) -> None:
    async with asyncio.timeout(seconds):
        for client in clients:
            await client.idle.wait()


async def _measure(broker: Broker, count: int) -> dict[str, Any]:
    came: list[float] = []
    all_came, answers = asyncio.Event(), asyncio.Event()
    answered = 0

    def heard(_client: Light, _topic: str, at: float) -> None:
        came.append(at)
        if len(came) >= count:
            all_came.set()

    def heard_answer(_client: Light, _topic: str, _at: float) -> None:
        nonlocal answered
        answered += 1
        if answered >= count:
            answers.set()

    cost = _Cost(broker.pid)
    before = _rss(broker.pid)
    topics = [Topics(f"gw{number}", ("all",)) for number in range(count)]
    fleet = [Light(t.client_id, t.subscriptions, t.state, heard) for t in topics]
    billing = Light("billing", ("edged/v1/gw/+/ack",), "", heard_answer)
    slots = asyncio.Semaphore(_AT_ONCE)
    try:
        with cost:
            await asyncio.gather(*(_connect(broker, client, slots) for client in fleet))
        await _connect(broker, billing, slots)
        connect_us, connects = cost.cpu / count * 1e6, count / cost.seconds
        session = (_rss(broker.pid) - before) / count
        say(f"{count} sessions in {cost.seconds:.1f} s, {session / 1024:.1f} KiB and {connect_us:.0f} µs each")

        with cost:
            for _ in range(ROUNDS):
                for client, topic in zip(fleet, topics, strict=True):
                    client.publish(topic.state, STATE, retain=True)
                await _idle(fleet)
        state_us, rate = cost.cpu / count / ROUNDS * 1e6, count * ROUNDS / cost.seconds
        share = cost.cpu / cost.seconds
        retained = (_rss(broker.pid) - before) / count
        say(f"{rate:.0f} state documents/s at {share:.0%} of a core, {state_us:.0f} µs each")

        with cost:
            for client in fleet:
                client.ping()
            await _idle(fleet)
        ping_us = cost.cpu / count * 1e6

        spread: dict[int, list[float]] = {}
        fan_us: dict[int, float] = {}
        for size in (SMALL, LARGE):
            spread[size] = []
            with cost:
                for _ in range(ROUNDS):
                    came.clear()
                    all_came.clear()
                    began = time.monotonic()
                    billing.publish("edged/v1/group/all/cmd", b"x" * size)
                    async with asyncio.timeout(60):
                        await all_came.wait()
                    spread[size] += [median(came) - began, percentile(came, 0.99) - began, max(came) - began]
            fan_us[size] = cost.cpu / count / ROUNDS * 1e6
            middle, late, last = (median(spread[size][n::3]) for n in range(3))
            half, most, every = round(middle * 1e3), round(late * 1e3), round(last * 1e3)
            say(f"a group batch of {size} bytes: half after {half} ms, 99 % after {most}, all after {every}")

        for client, topic in zip(fleet, topics, strict=True):
            client.answer = (topic.ack, ANSWER)
        came.clear()
        with cost:
            billing.publish("edged/v1/group/all/cmd", b"x" * SMALL)
            async with asyncio.timeout(60):
                await answers.wait()
        round_us, round_s = cost.cpu / count * 1e6, cost.seconds
        peak = _rss(broker.pid)
    except TimeoutError:
        raise BenchError("the broker did not finish within 60 s; on a busy machine try again") from None
    finally:
        for client in (*fleet, billing):
            client.close()
    value = 1e6 / state_us
    rows = [
        {"what": what, "ours": figure, "unit": unit, "ratio": figure / base}
        for what, figure, unit, base in (
            ("state documents a second that one core carries", value, "1/s", value),
            ("memory of a session", session / 1024, "KiB", session / 1024),
            (f"a group batch of {SMALL} bytes to all {count}, last", median(spread[SMALL][2::3]) * 1e3, "ms", 1e3),
            (f"a group batch of {LARGE} bytes to all {count}, last", median(spread[LARGE][2::3]) * 1e3, "ms", 1e3),
            (f"group batch to all {count} and every answer back", round_s * 1e3, "ms", 1e3),
        )
    ]
    return {
        "bench": "fleet",
        "value": round(value),
        "ratio": round(share, 3),
        "rows": rows,
        "sessions": count,
        "connects_per_s": round(connects),
        "connect_us": round(connect_us),
        "session_bytes": round(session),
        "session_with_state_bytes": round(retained),
        "publish_us": round(state_us, 1),
        "publishes_per_s": round(rate),
        "bytes_per_s": round(rate * (len(STATE) + 40)),
        "ping_us": round(ping_us, 1),
        "deliver_us": {size: round(us, 1) for size, us in fan_us.items()},
        "deliver_and_answer_us": round(round_us, 1),
        "broker_core_share": round(share, 3),
        "broker_peak_bytes": peak,
    }
