"""How many QoS 1 messages a second the session takes: ``python -m tests.mqtt_rate [MESSAGES [BYTES]]``.

A real mosquitto on loopback holds the messages in the session's queue; the handler does nothing but answer each. The
time runs from connecting to the last answer at billing's client, so it holds receiving, answering and acknowledging.
The second figure has the messages published while the session runs. Prints one JSON object.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from edged.mqtt.session import Inbound, Outbound, Session
from edged.mqtt.topics import Topics
from edged.observer import Silent
from tests.broker import Broker, Peer
from tests.mqtt_settings import Settings

TOPICS = Topics("gw1")


def session(broker: Broker) -> Session:
    async def handle(messages: Sequence[Inbound]) -> Sequence[Outbound]:
        return [Outbound(TOPICS.ack, b'{"v":1,"id":"%d"}' % number) for number in range(len(messages))]

    async def on_connect() -> Sequence[Outbound]:
        return [Outbound(TOPICS.state, b"{}", retain=True)]

    return Session(
        Settings([broker.url]),
        client_id=TOPICS.client_id,
        subscriptions=TOPICS.subscriptions,
        will=Outbound(TOPICS.state, b"{}", retain=True),
        on_connect=on_connect,
        handle=handle,
        observer=Silent(),
    )


async def run_until(broker: Broker, peer: Peer, answers: int) -> float:
    began = time.perf_counter()
    running = asyncio.create_task(session(broker).run())
    await asyncio.to_thread(peer.wait_for, TOPICS.ack, answers, 120)
    seconds = time.perf_counter() - began
    running.cancel()
    await asyncio.wait((running,))
    return seconds


async def main(messages: int, size: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        quiet = ("allow_anonymous true", "log_type error", "max_queued_bytes 0")
        with Broker(Path(folder), extra=quiet) as broker, Peer(broker.port, TOPICS.ack, TOPICS.state) as peer:
            running = asyncio.create_task(session(broker).run())
            await asyncio.to_thread(peer.wait_for, TOPICS.state)
            live = time.perf_counter()
            for _ in range(messages):
                peer.publish(TOPICS.command, b"x" * size, wait=False)
            await asyncio.to_thread(peer.wait_for, TOPICS.ack, messages, 120)
            live = time.perf_counter() - live
            running.cancel()
            await asyncio.wait((running,))
            for _ in range(messages - 1):
                peer.publish(TOPICS.command, b"x" * size, wait=False)
            await asyncio.to_thread(peer.publish, TOPICS.command, b"x" * size)
            queued = await run_until(broker, peer, 2 * messages)
    rates = {"messages": messages, "bytes": size, "queued_per_s": messages / queued, "live_per_s": messages / live}
    print(json.dumps({key: round(value) for key, value in rates.items()}))


if __name__ == "__main__":
    count, *rest = [int(argument) for argument in sys.argv[1:]] or [5000]
    asyncio.run(main(count, *(rest or [300])))
