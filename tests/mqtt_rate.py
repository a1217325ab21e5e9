"""How many QoS 1 messages a second the session takes: ``python -m tests.mqtt_rate [MESSAGES [BYTES]]``.

A real mosquitto on loopback, mosquitto_pub as billing, mosquitto_sub counting the answers, and a handler that does
nothing but answer each message: the time holds receiving, answering and acknowledging. ``live_per_s`` begins with the
first publication to a connected session; ``queued_per_s`` with a session that connects to a broker that holds all the
messages for it. Prints one JSON object.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

from edged.mqtt.session import Inbound, Outbound, Session
from edged.mqtt.topics import Topics
from edged.observer import Silent
from tests.broker import Broker, wait_until
from tests.mqtt_settings import Settings

TOPICS = Topics("gw1")


class Sink:
    """A session that answers at once."""

    def __init__(self, broker: Broker) -> None:
        self.taken = self.calls = 0
        self._connected = asyncio.Event()
        self.session = Session(
            Settings([broker.url]),
            client_id=TOPICS.client_id,
            subscriptions=TOPICS.subscriptions,
            will=Outbound(TOPICS.state, b"{}", retain=True),
            on_connect=self._on_connect,
            handle=self._handle,
            observer=Silent(),
        )

    async def _on_connect(self) -> Sequence[Outbound]:
        self._connected.set()
        return [Outbound(TOPICS.state, b"{}", retain=True)]

    async def _handle(self, messages: Sequence[Inbound]) -> Sequence[Outbound]:
        self.taken += len(messages)
        self.calls += 1
        return [Outbound(TOPICS.ack, b'{"v":1,"id":"01JD8W"}') for _ in messages]

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.session.run())
        try:
            await self._connected.wait()
            yield
        finally:
            task.cancel()
            await asyncio.wait((task,))


@contextlib.contextmanager
def counting(broker: Broker, answers: int) -> Iterator[subprocess.Popen[bytes]]:
    """mosquitto_sub, subscribed, which ends by itself after so many answers."""
    command = ["mosquitto_sub", "-p", str(broker.port), "-q", "1", "-t", TOPICS.ack, "-C", str(answers)]
    before = broker.log.count(TOPICS.ack)
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        wait_until(lambda: broker.log.count(TOPICS.ack) > before, "mosquitto_sub to subscribe")
        yield process
        process.kill()


def publishing(broker: Broker, lines: Path) -> subprocess.Popen[bytes]:
    command = ["mosquitto_pub", "-p", str(broker.port), "-q", "1", "-t", TOPICS.command, "-l"]
    with lines.open("rb") as source:
        return subprocess.Popen(command, stdin=source)


async def measure(broker: Broker, lines: Path, messages: int, *, live: bool) -> tuple[float, float]:
    """Messages a second, and how many came in one call of handle on average."""
    sink = Sink(broker)
    with counting(broker, messages) as answers:
        if not live:
            assert await asyncio.to_thread(publishing(broker, lines).wait) == 0
        began = time.perf_counter()
        async with sink.running():
            publisher = publishing(broker, lines) if live else None
            await asyncio.to_thread(answers.wait)
            seconds = time.perf_counter() - began
            if publisher is not None:
                await asyncio.to_thread(publisher.wait)
    return messages / seconds, sink.taken / sink.calls


async def main(messages: int, size: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        lines = Path(folder) / "lines"
        lines.write_bytes((b"x" * size + b"\n") * messages)
        with Broker(Path(folder) / "broker", log_type="subscribe") as broker:
            live, live_batch = await measure(broker, lines, messages, live=True)
            queued, queued_batch = await measure(broker, lines, messages, live=False)
    result = {
        "messages": messages,
        "bytes": size,
        "live_per_s": round(live),
        "live_messages_a_call": round(live_batch, 1),
        "queued_per_s": round(queued),
        "queued_messages_a_call": round(queued_batch, 1),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    count, *rest = [int(argument) for argument in sys.argv[1:]] or [5000]
    asyncio.run(main(count, *(rest or [300])))
