"""The MQTT session: always connected to one of the brokers, or trying to be.

It returns to the preferred broker when that is back, and keeps a session at the others: see rounds.py.

Laws:

1. A message is acknowledged (PUBACK) only after ``handle`` returned, which means committed and enforced, and after
   the broker took its answer. Whatever breaks earlier, the broker sends the message again and the batch id makes
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
from functools import partial

from edged.errors import EdgedError
from edged.mqtt.endpoint import Endpoint, MqttSettings
from edged.mqtt.link import Link
from edged.mqtt.message import Inbound, LinkLost, Outbound, Overrun, Relieved, VersionRefused
from edged.mqtt.rounds import Rounds
from edged.mqtt.trouble import HandlerFault, Trouble
from edged.mqtt.worker import Worker
from edged.observer import Observer

__all__ = ["Inbound", "Outbound", "Session"]

log = logging.getLogger(__name__)

STEADY_SECONDS = 60.0  # longer than the longest back-off, else two clients of one id would never slow down
REPEAT_SECONDS = 1.0
STOP_SECONDS = 5.0  # for a batch in hand and the goodbye


class Session:
    """One MQTT client id on a list of brokers, in order of preference.

    ``on_connect`` gives what to publish right after (re)subscribing, such as the retained state. ``handle`` gets all
    waiting messages, at most 64 and 8 MiB, and returns the answers once everything is committed and enforced. ``will``
    is published by the broker when the daemon vanishes and by the session itself when it is stopped. ``keep`` and
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
        self._observer = observer
        self._keep, self._retained = keep, retained
        self._link: Link | None = None
        self._broker: str | None = None
        self._trouble = Trouble(client_id)
        self._worker = Worker(handle, self._trouble)
        self._echo = f"{will.topic.rpartition('/')[0]}/echo" if will and keep and len(self._brokers) > 1 else ""
        self._rounds = Rounds(self._brokers, self._reach, self._worker, self._trouble, look=bool(self._echo))
        self._again: asyncio.Task[None] | None = None
        self._doubted = False

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
            if self._rounds.ready is not None:
                self._rounds.ready[1].abort()
            await _ended(self._again)
            await self._worker.abandon(STOP_SECONDS)

    async def _visit(self, broker: Endpoint, link: Link | None = None) -> bool:
        """Use one broker as long as it lasts, then the one that it was left for. False when it never came to work."""
        self._trouble.complaint = None
        steady: asyncio.TimerHandle | None = None
        rounds: asyncio.Task[None] | None = None
        try:
            link = link or await self._reach(broker)
            self._up(link, broker)
            steady = asyncio.get_running_loop().call_later(STEADY_SECONDS, self._trouble.settled)
            await self._greet(link)
            rounds = asyncio.create_task(self._rounds.run(broker, link), name="mqtt-rounds")
            await self._serve(link, broker)
        except asyncio.CancelledError:
            await _ended(rounds)
            if link is not None:
                await self._farewell(link)
            raise
        except Exception as exc:  # noqa: BLE001 - law 3
            if self._rounds.away and isinstance(exc, LinkLost):
                self._rounds.shared()
            else:
                self._trouble.failed(str(broker), exc, worked=steady is not None)
        finally:
            if steady is not None:
                steady.cancel()
            await _ended(rounds)
            if link is not None:
                link.abort()
                self._down(broker)
        ready, self._rounds.ready = self._rounds.ready, None
        if ready is not None:
            log.info("%s is back: going on there", ready[0])
            return await self._visit(*ready)
        return steady is not None

    async def _reach(self, broker: Endpoint, look: bool = False) -> Link:
        """Connect and subscribe. ``look``: to see what it kept, without a will and without speaking up."""
        complain = partial(log.debug, "%s: %s") if look else self._trouble.complain
        new = partial(
            Link,
            broker,
            self._cfg,
            client_id=self._client_id,
            topics=self._subscriptions,
            will=self._will,
            look=look,
            echo=self._echo,
            keep=self._keep,
            retained=self._retained,
            complain=partial(complain, str(broker)),
            contradicted=(lambda: None) if look else self._contradicted,
        )
        try:
            link = new(version5=True)
            await link.open()
        except VersionRefused:
            log.info("%s does not speak MQTT 5, trying 3.1.1", broker)
            link = new(version5=False)
            await link.open()
        try:
            if refused := await link.subscribe():
                text = f"the broker refuses to let us read {', '.join(refused)}"
                if len(refused) == len(self._subscriptions):
                    raise LinkLost(text)
                complain(str(broker), text)  # some commands are better than none
        except BaseException:
            link.abort()
            raise
        return link

    def _contradicted(self) -> None:
        """A broker we left without a goodbye has published our will after all: say again that we are here.

        Or a bridge has brought what we said at another broker, and what is retained here is older than we are.
        """
        self._doubted = True
        if self._link is not None and (self._again is None or self._again.done()):
            self._again = asyncio.create_task(self._repeat(self._link), name="mqtt-again")

    async def _repeat(self, link: Link) -> None:
        with contextlib.suppress(LinkLost, HandlerFault):
            while self._doubted:
                self._doubted = False
                await self._greet(link)
                await asyncio.sleep(REPEAT_SECONDS)  # two gateways of one name must not shout each other down

    async def _greet(self, link: Link) -> None:
        try:
            messages = await self._on_connect()
        except Exception as exc:
            raise HandlerFault(exc) from exc
        await link.publish(messages)

    async def _serve(self, link: Link, broker: Endpoint) -> None:
        """Until the connection is lost, or for another one left with a goodbye."""
        try:
            while True:
                await link.arrived()
                await self._worker.work(link)
        except Overrun as exc:  # no trouble: all that was kept has been handled, the rest comes again
            log.info("%s: %s, connecting anew", broker, exc)
            self._trouble.failures = 0
        except Relieved:
            pass
        await link.close()

    async def _farewell(self, link: Link) -> None:
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await self._worker.finish(link)
                await link.publish([self._will] if self._will else [])
                await link.close()
        except (TimeoutError, EdgedError) as exc:
            log.warning(
                "stopped without a goodbye, the broker will publish the last will: %s", str(exc) or "no time left"
            )

    def _up(self, link: Link, broker: Endpoint) -> None:
        self._link, self._broker = link, str(broker)
        link.lost.add_done_callback(lambda _: self._down(broker) if self._link is link else None)
        self._observer.mqtt_connected(str(broker), value=True)
        log.info("connected to %s", broker)

    def _down(self, broker: Endpoint) -> None:
        if self._broker is not None:
            self._observer.mqtt_connected(str(broker), value=False)
        self._link = self._broker = None


async def _ended(task: asyncio.Task[None] | None) -> None:
    """Cancel and wait."""
    if task is not None:
        task.cancel()
        await asyncio.wait((task,))
