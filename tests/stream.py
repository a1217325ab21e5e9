"""An ERP that never gives up: numbered batches, several under way, each sent again until it is answered.

Batch number ``n`` binds one and the same address to subscriber ``S<n>`` and blocks it. Each binding takes the address
from the one before, which is an event: batches lost, carried out twice or out of order show in the chain of events and
in the last owner.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any, Self

from edged.mqtt.endpoint import MqttSettings
from edged.mqtt.message import Inbound, Outbound
from edged.mqtt.session import Session
from edged.observer import Silent
from tests.gateway import TOPICS

ADDRESS = "100.64.9.9"
WINDOW = 8
AGAIN_SECONDS = 0.5


class Stream:
    """``answers`` by id, all of them; ``events`` by number, so that an event told twice is one."""

    def __init__(self, settings: MqttSettings, *, answered_by: Sequence[str] = ("gw1",), topic: str = "") -> None:
        self.answers: dict[str, dict[str, list[dict[str, Any]]]] = {name: {} for name in answered_by}
        self.events: dict[int, dict[str, Any]] = {}
        self.states: list[dict[str, Any]] = []
        self.sent = 0
        self._anew = False
        self._topic = topic or TOPICS.command
        self._progress = asyncio.Event()
        self.session = Session(
            settings,
            client_id="erp",
            subscriptions=[f"edged/v1/gw/+/{channel}" for channel in ("ack", "event", "state")],
            will=None,
            on_connect=self._connected,
            handle=self._handle,
            observer=Silent(),
        )
        self._task: asyncio.Task[None] | None = None

    @staticmethod
    def name(number: int) -> str:
        return f"b{number}"

    @property
    def unanswered(self) -> list[int]:
        """Numbers that one of the gateways has not answered."""
        return [n for n in range(1, self.sent + 1) if any(self.name(n) not in got for got in self.answers.values())]

    async def send(self, count: int) -> None:
        """Send ``count`` more batches; return when every gateway has answered each."""
        last = self.sent + count
        async with asyncio.timeout(60):
            while self.sent < last or self.unanswered:
                await self._more(last)
                self._progress.clear()
                try:
                    async with asyncio.timeout(AGAIN_SECONDS):
                        await self._progress.wait()
                except TimeoutError:
                    self._anew = True

    async def _more(self, last: int) -> None:
        """Publish what may go out now; to a broker that is new to us first what the last one took."""
        while True:
            if self._anew:
                self._anew = False
                numbers = self.unanswered
            elif self.sent < last and len(self.unanswered) < WINDOW:
                self.sent += 1
                numbers = [self.sent]
            else:
                return
            for number in numbers:
                if not await self._publish(number):
                    self._anew = True
                    return

    async def _publish(self, number: int) -> bool:
        commands = [
            {"op": "bind", "sub": f"S{number}", "addresses": [ADDRESS]},
            {"op": "block", "sub": f"S{number}", "reason": "debt", "invoices": [f"F-{number}"]},
        ]
        batch = {"v": 1, "id": self.name(number), "issuer": "erp", "epoch": "1", "seq": number, "commands": commands}
        return await self.session.publish(Outbound(self._topic, json.dumps(batch).encode()))

    async def _connected(self) -> Sequence[Outbound]:
        self._anew = True
        self._progress.set()
        return []

    async def _handle(self, messages: Sequence[Inbound]) -> Sequence[Outbound]:
        for message in messages:
            document = json.loads(message.payload)
            _, _, _, gateway, channel = message.topic.split("/")
            if channel == "ack":
                self.answers[gateway].setdefault(document["id"], []).append(document)
                self._progress.set()
            elif channel == "event":
                self.events[document["id"]] = document
            else:
                self.states.append(document)
        return []

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self.session.run())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.wait((self._task,))


async def retained_states(settings: MqttSettings, count: int) -> dict[str, dict[str, Any]]:
    """The retained state document of each gateway at the first broker of ``settings``, once there are ``count``."""
    found: dict[str, dict[str, Any]] = {}
    enough = asyncio.Event()

    async def handle(messages: Sequence[Inbound]) -> Sequence[Outbound]:
        for message in messages:
            document = json.loads(message.payload)
            found[document["gateway"]] = document
        if len(found) >= count:
            enough.set()
        return []

    async def nothing() -> Sequence[Outbound]:
        return []

    reader = Session(
        settings,
        client_id="reader",
        subscriptions=["edged/v1/gw/+/state"],
        will=None,
        on_connect=nothing,
        handle=handle,
        observer=Silent(),
        keep=False,
        retained=True,
    )
    task = asyncio.create_task(reader.run())
    try:
        async with asyncio.timeout(20):
            await enough.wait()
    finally:
        task.cancel()
        await asyncio.wait((task,))
    return found
