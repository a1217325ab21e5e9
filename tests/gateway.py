"""A whole gateway in this process: real store, pipeline, keeper, desk and MQTT session over the fake kernel.

What it handled is written down as it happens, so that a test can ask whether anything was lost, twice, or out of order.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from edged.desk import Desk
from edged.domain.brake import Limits
from edged.keeper import Keeper
from edged.mqtt.endpoint import MqttSettings
from edged.mqtt.message import Inbound, Outbound
from edged.mqtt.session import Session
from edged.mqtt.topics import Topics
from edged.nft.routing import Steering
from edged.succession import Succession
from tests.unit.core import Core

TOPICS = Topics("gw1", ("all",))


class _Straight(Steering):
    """Routes that are always there."""

    def ensure(self) -> list[str]:
        return []


class Gateway:
    """``handled`` holds the id of each answer as it was decided, and whether it was a duplicate, in order.

    ``events`` by number are those that left the outbox: a broker that is killed may lose what it has taken, and then
    the sender knows less than happened.
    """

    def __init__(self, folder: Path, settings: MqttSettings, limits: Limits | None = None) -> None:
        folder.mkdir(exist_ok=True)
        self.core = Core(folder, limits=limits)
        self.handled: list[tuple[str, bool]] = []
        self.events: dict[int, dict[str, Any]] = {}
        self.keeper = Keeper(
            self.core.pipeline,
            self.core.store,
            self.core.enforcer,
            _Straight(1, 1, 1),
            self.core.observer,
            watch=None,
        )
        self.desk = Desk(
            self.keeper, TOPICS, self.core.observer, broker_urls=list(settings.brokers), stop=self._never_stopped
        )
        self.session = self.desk.session = Session(
            settings,
            client_id=TOPICS.client_id,
            subscriptions=TOPICS.subscriptions,
            will=self.desk.will(),
            on_connect=self.desk.greet,
            handle=self._handle,
            observer=self.core.observer,
        )
        self._publish = self.session.publish
        setattr(self.session, "publish", self._noted)  # noqa: B010 - mypy would not have it otherwise
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def first(self) -> list[str]:
        """Ids in the order in which they were carried out."""
        return [name for name, duplicate in self.handled if not duplicate]

    @property
    def broker(self) -> str | None:
        """``host:port`` of the broker in use."""
        return self.session.connected

    async def _handle(self, messages: Sequence[Inbound]) -> list[Outbound]:
        answers = await self.desk.handle(messages)
        for answer in answers:
            document: dict[str, Any] = json.loads(answer.payload)
            self.handled.append((str(document["id"]), bool(document.get("duplicate"))))
        return answers

    async def _noted(self, *messages: Outbound) -> bool:
        taken = await self._publish(*messages)
        for message in messages:
            if taken and message.topic == TOPICS.event:
                document: dict[str, Any] = json.loads(message.payload)
                self.events[document["id"]] = document
        return taken

    async def _never_stopped(self, _mode: str) -> list[str]:
        return []

    async def __aenter__(self) -> Self:
        jobs = [
            self.keeper.run_sync(),
            self.keeper.run_timers(),
            Succession(self.keeper).run(),
            self.desk.run_state(),
            self.desk.run_events(),
            self.session.run(),
        ]
        self._tasks = [asyncio.create_task(job) for job in jobs]
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in reversed(self._tasks):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        self.keeper.close()
        self.core.store.close()
