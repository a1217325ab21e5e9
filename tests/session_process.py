"""A process with nothing but an MQTT session, for tests that kill it: ``python -m tests.session_process PORT MODE``.

``echo`` answers each message on edged/v1/gw/gw1/ack with its own payload; ``hold`` never finishes handling.
Each payload that reaches the handler is printed as one line of hexadecimal digits.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence

from edged.mqtt.session import Inbound, Outbound, Session
from edged.mqtt.topics import Topics
from edged.observer import Silent
from tests.mqtt_settings import Settings

TOPICS = Topics("gw1", ("all",))


async def main(port: int, mode: str) -> None:
    async def handle(messages: Sequence[Inbound]) -> Sequence[Outbound]:
        for message in messages:
            print(message.payload.hex(), flush=True)
        if mode == "hold":
            await asyncio.Event().wait()
        return [Outbound(TOPICS.ack, message.payload) for message in messages]

    async def on_connect() -> Sequence[Outbound]:
        return [Outbound(TOPICS.state, b'{"online":true}', retain=True)]

    session = Session(
        Settings([f"mqtt://127.0.0.1:{port}"]),
        client_id=TOPICS.client_id,
        subscriptions=TOPICS.subscriptions,
        will=Outbound(TOPICS.state, b'{"online":false}', retain=True),
        on_connect=on_connect,
        handle=handle,
        observer=Silent(),
    )
    await session.run()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2]))
