"""Messages that arrived and are not acknowledged yet, bounded in bytes.

MQTT 5 bounds them by our Receive Maximum, which counts messages: 64 of the largest would be hundreds of megabytes. Some
brokers do not keep to it besides (mosquitto 2.0.11, once a queue has built up, sends all it has), and MQTT 3.1.1 has no
such thing. So ``HELD_BYTES`` are kept, or one message of any size. Then the inbox is *overrun*: from there on nothing
is kept, so that the order holds, and when what was kept has been taken, :class:`~edged.mqtt.message.Overrun` asks for a
new connection, on which the broker sends the rest again. To stop reading instead would not do: the broker's word that
it took our answers, without which nothing is acknowledged, stands behind what is not read.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable

from edged.mqtt.message import Delivery, Overrun, Relieved

HELD_BYTES = 64 << 20
GATHER_BYTES = 8 << 20
"""Of payload, in one call of ``take``: what is carried out together is in memory several times over."""
MESSAGE_BYTES = 2048  # what a message costs in memory beside its payload


class Inbox:
    """``put`` never blocks and never raises; one task may ``wait`` and ``take``. ``held`` is bytes not yet released."""

    def __init__(self) -> None:
        self.held = 0
        self._overrun = self._relieved = False
        self._waiting: deque[Delivery] = deque()
        self._wake = asyncio.Event()

    def put(self, delivery: Delivery) -> None:
        """Keep the message, or drop it when the inbox is overrun."""
        size = _size(delivery)
        if self._overrun or (self.held and self.held + size > HELD_BYTES):
            self._overrun = True
            return
        self.held += size
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
                raise Overrun("the broker sent more than is kept in memory")
            self._wake.clear()
            await self._wake.wait()

    def take(self, limit: int) -> list[Delivery]:
        """Up to ``limit`` messages and ``GATHER_BYTES``, or one, oldest first; they stay counted until released."""
        taken: list[Delivery] = []
        size = 0
        while self._waiting and len(taken) < limit:
            size += len(self._waiting[0].inbound.payload)
            if taken and size > GATHER_BYTES:
                break
            taken.append(self._waiting.popleft())
        return taken

    def release(self, deliveries: Iterable[Delivery]) -> None:
        """These were acknowledged."""
        self.held -= sum(map(_size, deliveries))


def _size(delivery: Delivery) -> int:
    return len(delivery.inbound.payload) + MESSAGE_BYTES
