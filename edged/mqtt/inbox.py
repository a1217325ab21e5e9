"""Messages that arrived and are not acknowledged yet, bounded.

MQTT 5 bounds them by our Receive Maximum. Some brokers do not keep to it (mosquitto 2.0.11, once a queue has built up,
sends all it has), and MQTT 3.1.1 has no such thing. So beyond the Receive Maximum only ``SPARE_BYTES`` more are kept.
Then the inbox is *overrun*: from there on nothing is kept, so that the order holds, and when what was kept has been
taken, :class:`~edged.mqtt.message.Overrun` asks for a new connection, on which the broker sends the rest again.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable

from edged.mqtt.message import Delivery, Overrun, Relieved

SPARE_BYTES = 64 << 20
MESSAGE_BYTES = 2048  # what a message costs in memory beside its payload


class Inbox:
    """``put`` never blocks and never raises; one task may ``wait`` and ``take``. ``held`` is bytes not yet released."""

    def __init__(self, receive_maximum: int) -> None:
        self.held = 0
        self._receive_maximum = receive_maximum
        self._unreleased = 0
        self._overrun = self._relieved = False
        self._waiting: deque[Delivery] = deque()
        self._wake = asyncio.Event()

    def put(self, delivery: Delivery) -> None:
        """Keep the message, or drop it when the inbox is overrun."""
        if self._overrun or (self._unreleased >= self._receive_maximum and self.held >= SPARE_BYTES):
            self._overrun = True
            return
        self._unreleased += 1
        self.held += _size(delivery)
        self._waiting.append(delivery)
        self._wake.set()

    def wake(self) -> None:
        """Let ``wait`` return although nothing came: the connection is gone."""
        self._wake.set()

    def relieve(self) -> None:
        """Let ``wait`` raise :class:`~edged.mqtt.message.Relieved` once all that came has been taken."""
        self._relieved = True
        self._wake.set()

    async def wait(self) -> None:
        """Return when a message waits or somebody called ``wake``."""
        if not self._waiting:
            if self._relieved:
                raise Relieved("another connection takes over")
            if self._overrun:
                raise Overrun("the broker sent more than our receive maximum allows")
            self._wake.clear()
            await self._wake.wait()

    def take(self, limit: int) -> list[Delivery]:
        """Up to ``limit`` messages, oldest first; they stay counted until released."""
        return [self._waiting.popleft() for _ in range(min(limit, len(self._waiting)))]

    def release(self, deliveries: Iterable[Delivery]) -> None:
        """These were acknowledged."""
        for delivery in deliveries:
            self._unreleased -= 1
            self.held -= _size(delivery)


def _size(delivery: Delivery) -> int:
    return len(delivery.inbound.payload) + MESSAGE_BYTES
