"""The MQTT session: always connected to one of the brokers, or trying to be.

Laws:

1. A message is acknowledged (PUBACK) only after ``handle`` returned, which means committed and enforced, and after
   the broker took the answers. Whatever breaks earlier, the broker sends the message again and the batch id makes
   the second time harmless.
2. ``handle`` is never called twice at the same time, nor cancelled because a connection was lost.
3. Nothing here ends the daemon: every failure is named in ``last_error``, logged once, and tried again after a
   back-off that returns to its start only when a connection has held for ``STEADY_SECONDS``. Two gateways of one name
   that throw each other out, or a handler that fails on the same message, therefore slow down instead of spinning.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial

from edged.errors import EdgedError
from edged.mqtt.endpoint import Endpoint, MqttSettings
from edged.mqtt.link import Link
from edged.mqtt.message import Delivery, Inbound, LinkLost, Outbound, Overrun, VersionRefused
from edged.mqtt.trouble import HandlerFault, Trouble
from edged.observer import Observer

__all__ = ["Inbound", "Outbound", "Session"]

log = logging.getLogger(__name__)

GATHER = 64  # messages in one call of handle, at most
STEADY_SECONDS = 60.0  # longer than the longest back-off, else two clients of one id would never slow down
STOP_SECONDS = 5.0  # for a batch in hand and the goodbye


@dataclass(frozen=True)
class _Job:
    """One call of ``handle`` and the connection on which its messages came."""

    link: Link
    batch: Sequence[Delivery]
    task: asyncio.Task[Sequence[Outbound]]


class Session:
    """One MQTT client id on a list of brokers, in order of preference.

    ``on_connect`` gives what to publish right after (re)subscribing, such as the retained state. ``handle`` gets all
    waiting messages, at most 64, and returns the answers once everything is committed and enforced. ``will`` is
    published by the broker when the daemon vanishes and by the session itself when it is stopped. ``keep`` and
    ``retained`` are those of :class:`~edged.mqtt.link.Link`: a console that only looks wants the opposite of a gateway.
    The constructor raises :class:`~edged.errors.ConfigError` for a broker address that cannot be read.
    """

    def __init__(
        self,
        cfg: MqttSettings,
        *,
        client_id: str,
        subscriptions: Sequence[str],
        will: Outbound | None,
        on_connect: Callable[[], Awaitable[Sequence[Outbound]]],
        handle: Callable[[Sequence[Inbound]], Awaitable[Sequence[Outbound]]],
        observer: Observer,
        keep: bool = True,
        retained: bool = False,
    ) -> None:
        self._cfg = cfg
        self._brokers = [Endpoint.parse(url) for url in cfg.brokers]
        self._client_id = client_id
        self._subscriptions = tuple(subscriptions)
        self._will = will
        self._on_connect = on_connect
        self._handle = handle
        self._observer = observer
        self._keep, self._retained = keep, retained
        self._link: Link | None = None
        self._broker: str | None = None
        self._job: _Job | None = None
        self._trouble = Trouble(client_id)

    @property
    def connected(self) -> str | None:
        """``host:port`` of the present broker, or ``None``."""
        return self._broker

    @property
    def last_error(self) -> str | None:
        """What went wrong lately, per broker, or what the present broker refuses; ``None`` when all is well."""
        complaint = self._trouble.complaint
        now = [f"{self._broker}: {complaint}"] if self._broker and complaint else []
        return "; ".join([*now, *self._trouble.errors]) or None

    async def publish(self, *messages: Outbound) -> bool:
        """Publish in order; true when the broker took them all, false when there is no connection or it was lost."""
        if self._link is None:
            return False
        try:
            await self._link.publish(messages)
        except LinkLost:
            return False
        return True

    async def run(self) -> None:
        """Keep the session up until cancelled; then finish the batch in hand, publish the will and say goodbye."""
        try:
            while True:
                for broker in self._brokers:
                    if await self._visit(broker):
                        break  # it had worked: begin again with the preferred one
                await asyncio.sleep(self._trouble.delay())
        finally:
            await self._abandon()

    async def _visit(self, broker: Endpoint) -> bool:
        """Use one broker as long as it lasts. False when it never came to work."""
        self._trouble.complaint = None
        link: Link | None = None
        steady: asyncio.TimerHandle | None = None
        try:
            link = await self._open(broker)
            await self._subscribe(link, broker)
            self._up(link, broker)
            steady = asyncio.get_running_loop().call_later(STEADY_SECONDS, self._trouble.settled)
            await self._greet(link)
            try:
                await self._serve(link)
            except Overrun as exc:  # no trouble: all that was kept has been handled, the rest comes again
                log.info("%s: %s, connecting anew", broker, exc)
                self._trouble.failures = 0
                await link.close()
        except asyncio.CancelledError:
            if link is not None:
                await self._farewell(link)
            raise
        except Exception as exc:  # noqa: BLE001 - law 3
            self._trouble.failed(str(broker), exc, worked=steady is not None)
        finally:
            if steady is not None:
                steady.cancel()
            if link is not None:
                link.abort()
                self._down(broker)
        return steady is not None

    async def _open(self, broker: Endpoint) -> Link:
        new = partial(
            Link,
            broker,
            self._cfg,
            client_id=self._client_id,
            will=self._will,
            keep=self._keep,
            retained=self._retained,
        )
        complain = partial(self._trouble.complain, str(broker))
        try:
            link = new(version5=True, complain=complain)
            await link.open()
        except VersionRefused:
            log.info("%s does not speak MQTT 5, trying 3.1.1", broker)
            link = new(version5=False, complain=complain)
            await link.open()
        return link

    async def _subscribe(self, link: Link, broker: Endpoint) -> None:
        if refused := await link.subscribe(self._subscriptions):
            text = f"the broker refuses to let us read {', '.join(refused)}"
            if len(refused) == len(self._subscriptions):
                raise LinkLost(text)
            self._trouble.complain(str(broker), text)  # some commands are better than none

    async def _greet(self, link: Link) -> None:
        try:
            messages = await self._on_connect()
        except Exception as exc:
            raise HandlerFault(exc) from exc
        await link.publish(messages)

    async def _serve(self, link: Link) -> None:
        if self._job is not None:
            # Begun on a connection that is gone. Its messages come again; the first call must end before the second.
            await link.wait(self._job.task)
            task, self._job = self._job.task, None
            task.result()
        while True:
            batch = await link.take(1 if self._trouble.careful else GATHER)
            call = self._call([delivery.inbound for delivery in batch])
            self._job = _Job(link, batch, asyncio.create_task(call, name="mqtt-handle"))
            await self._finish(self._job)

    async def _call(self, messages: Sequence[Inbound]) -> Sequence[Outbound]:
        try:
            return await self._handle(messages)
        except (Exception, asyncio.CancelledError) as exc:
            raise HandlerFault(exc) from exc

    async def _finish(self, job: _Job) -> None:
        """Law 1: decided, answered, acknowledged, in this order."""
        await job.link.wait(job.task)
        try:
            answers = job.task.result()
        except HandlerFault:
            self._job = None
            raise
        await job.link.publish(answers)
        job.link.ack(job.batch)
        self._job = None

    async def _farewell(self, link: Link) -> None:
        try:
            async with asyncio.timeout(STOP_SECONDS):
                if self._job is not None and self._job.link is link:
                    await self._finish(self._job)
                await link.publish([self._will] if self._will else [])
                await link.close()
        except (TimeoutError, EdgedError) as exc:
            log.warning(
                "stopped without a goodbye, the broker will publish the last will: %s", str(exc) or "no time left"
            )

    async def _abandon(self) -> None:
        """Let a call of ``handle`` that nobody waits for any more end, then end it."""
        if self._job is not None:
            await asyncio.wait((self._job.task,), timeout=STOP_SECONDS)
            self._job.task.cancel()
            with contextlib.suppress(asyncio.CancelledError, HandlerFault):
                await self._job.task

    def _up(self, link: Link, broker: Endpoint) -> None:
        self._link, self._broker = link, str(broker)
        link.lost.add_done_callback(lambda _: self._down(broker) if self._link is link else None)
        self._observer.mqtt_connected(str(broker), value=True)
        log.info("connected to %s", broker)

    def _down(self, broker: Endpoint) -> None:
        if self._broker is not None:
            self._observer.mqtt_connected(str(broker), value=False)
        self._link = self._broker = None
