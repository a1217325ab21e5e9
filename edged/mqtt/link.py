"""One connection to one broker: aiomqtt, with paho's manual acknowledgement under it.

aiomqtt 2 acknowledges a message when it queues it, so a crash would lose it. paho, which it drives, can leave the
acknowledgement to us (``manual_ack``), and its public callbacks let us take messages before aiomqtt's queue sees
them: nothing is converted twice and nothing can be dropped by a full queue. See docs/decisions/0004-mqtt-client.md;
every private name that is used stands in this module and in client.py.

A Link lives for one connection and is never reused: a message id means nothing on the next one.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any, TypeVar

import aiomqtt
from paho.mqtt.client import MQTTMessage
from paho.mqtt.reasoncodes import ReasonCode

from edged.mqtt import packet
from edged.mqtt.client import Client
from edged.mqtt.endpoint import Endpoint, MqttSettings, password, tls_context
from edged.mqtt.explain import explain
from edged.mqtt.inbox import Inbox
from edged.mqtt.message import Delivery, LinkLost, Outbound, VersionRefused

log = logging.getLogger(__name__)

ANSWER_SECONDS = 10.0  # a broker that takes longer to answer CONNECT, SUBSCRIBE or PUBLISH is treated as gone
_GOODBYE_SECONDS = 2.0
_DIAL_SECONDS = 5.0  # paho's connect timeout for TCP and again for TLS
_IN_FLIGHT = 64  # of our own publications, if the broker allows as many
_ECHOES = 16  # of what we say on the will's topic: before MQTT 5 a broker sends it back to us

T = TypeVar("T")


class Link:
    """``open`` once, then ``subscribe``, ``publish``, ``take`` and ``ack``; at the end ``close`` or ``abort``.

    Every method that waits raises :class:`LinkLost` as soon as the connection is gone; ``lost`` then holds the reason.
    ``complain`` is told what the broker refused without closing the connection. ``keep``: the broker keeps the session
    while we are away. ``retained``: retained messages are wanted, too. ``look``: our will stays with the broker in use.
    ``echo`` is a topic of our own on which we hear ourselves. ``contradicted`` is called when somebody else's word for
    ours arrives on the topic of our will: the will itself, while we are connected, or what we said elsewhere long ago
    and a bridge brings only now, over what we have said here since.
    """

    def __init__(
        self,
        broker: Endpoint,
        cfg: MqttSettings,
        *,
        client_id: str,
        topics: Sequence[str],
        will: Outbound | None,
        echo: str = "",
        version5: bool,
        keep: bool = True,
        retained: bool = False,
        look: bool = False,
        complain: Callable[[str], None],
        contradicted: Callable[[], None] = lambda: None,
    ) -> None:
        self.lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._broker, self._cfg = broker, cfg
        self._topics, self._will = tuple(topics), will
        self._said = b""
        self._echoes: deque[bytes] = deque(maxlen=_ECHOES)
        self.echo = echo
        self._version5 = version5
        self._retained = retained
        self._complain, self._contradicted = complain, contradicted
        self.inbox = Inbox()
        self._slots = asyncio.Semaphore(_IN_FLIGHT)
        self._largest: int | None = None  # bytes of a packet the broker takes
        self._version_refused = False
        options: dict[str, Any] = (
            {
                "protocol": aiomqtt.ProtocolVersion.V5,
                "clean_start": not keep,
                "properties": packet.connect_properties(cfg, keep=keep),
            }
            if version5
            else {"protocol": aiomqtt.ProtocolVersion.V311, "clean_session": not keep}
        )
        self._client = Client(
            broker.host,
            broker.port,
            identifier=client_id,
            username=cfg.username or None,
            password=password(cfg),
            will=aiomqtt.Will(will.topic, will.payload, qos=1, retain=will.retain) if will and not look else None,
            keepalive=cfg.keepalive,
            timeout=ANSWER_SECONDS,
            tls_context=tls_context(cfg) if broker.tls else None,
            **options,
        )
        self._client.pending_calls_threshold = _IN_FLIGHT
        paho = self._paho = self._client._client  # noqa: SLF001
        # Before connecting: a broker redelivers right behind its CONNACK, and paho would acknowledge that at once.
        paho.manual_ack_set(True)
        # paho would queue what is above its own limit, and our PUBACK could overtake the answer. _slots limits instead.
        paho.max_inflight_messages_set(0)
        paho.connect_timeout = _DIAL_SECONDS
        paho.on_message = self._on_message
        self._theirs = {name: getattr(paho, name) for name in ("on_connect", "on_disconnect", "on_publish")}
        paho.on_connect, paho.on_disconnect, paho.on_publish = self._on_connect, self._on_disconnect, self._on_publish

    async def open(self) -> None:
        """Connect and log in. Raises :class:`VersionRefused` or :class:`LinkLost`; nothing is left open then."""
        entering = asyncio.create_task(self._client.__aenter__(), name="mqtt-connect")
        entering.add_done_callback(lambda done: done.cancelled() or done.exception())  # seen, whoever comes first
        try:
            await self.wait(entering)
            entering.result()
        except BaseException as exc:
            if isinstance(exc, aiomqtt.MqttError):
                fault = self._client.fault
                self._lose(f"cannot connect: {explain(fault, self._broker, self._cfg) if fault else self._silent(exc)}")
            # The thread that connects cannot be interrupted: let it end, or its socket would be left behind.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(2 * _DIAL_SECONDS):
                    await self._client.dialled.wait()
            entering.cancel()
            self.abort()
            if isinstance(exc, aiomqtt.MqttError | LinkLost):
                raise (VersionRefused if self._version_refused else LinkLost)(self.lost.result()) from None
            raise
        sock = self._paho.socket()
        if isinstance(sock, socket.socket):
            # An answer is small and somebody waits for it: Nagle would hold it until the last one was acknowledged.
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # A read error that paho raises instead of reporting ends here.
        self._client._disconnected.add_done_callback(self._on_failure)  # noqa: SLF001

    async def subscribe(self) -> list[str]:
        """Subscribe with QoS 1, without old retained messages. Returns the topics that the broker refused."""
        topics = [*self._topics, *([self.echo] if self.echo else [])]
        wanted: Any = [packet.subscription(t, version5=self._version5, retained=self._retained) for t in topics]
        if self._will is not None:  # that we may not read it is no fault: the state is published every minute as well
            wanted.append(packet.others(self._will.topic, version5=self._version5))
        codes = await self._until(self._client.subscribe(wanted))
        return [topic for topic, code in zip(self._topics, codes, strict=False) if packet.failed(code)]

    async def take(self, limit: int) -> list[Delivery]:
        """Wait for a message, then return all that are waiting, oldest first, at most ``limit``.

        Raises :class:`~edged.mqtt.message.Overrun` when the rest can only be had on a new connection.
        """
        taken: list[Delivery] = []
        while not taken:
            await self.arrived()
            taken = self.inbox.take(limit)
        return taken

    async def arrived(self) -> None:
        """Wait until :meth:`take` would find something or has something to raise."""
        self.check()  # what is left of a lost connection comes again on the next
        await self.inbox.wait()
        self.check()

    def ack(self, deliveries: Sequence[Delivery]) -> None:
        """Queue the PUBACK of each, behind everything published so far."""
        for delivery in deliveries:
            self._paho.ack(delivery.mid, delivery.qos)
        self.inbox.release(deliveries)

    async def publish(self, messages: Iterable[Outbound]) -> None:
        """Publish in order and wait until the broker has taken every one."""
        await self._until(self._send_all(messages))

    async def answer(self, pairs: Sequence[tuple[Delivery, Outbound | None]]) -> None:
        """Publish in order; acknowledge each message, in order, as soon as the broker has taken its answer.

        A connection that breaks again and again in the middle thus still gets ahead.
        """
        sending = [asyncio.create_task(self._send(answer)) if answer else None for _, answer in pairs]
        try:
            for (delivery, _), sent in zip(pairs, sending, strict=True):
                if sent is not None:
                    await self._until(sent)
                self.ack((delivery,))
        finally:
            for sent in filter(None, sending):
                sent.cancel()

    async def close(self) -> None:
        """Say goodbye, so that the broker does not publish the Last Will."""
        sock = self._paho.socket()
        # paho closes its socket right behind the goodbye. With messages still unread in it, TCP would reset the
        # connection, and the broker lose our last acknowledgements: a second handle keeps it open until it hung up.
        spare = socket.socket(fileno=os.dup(sock.fileno())) if isinstance(sock, socket.socket) else None
        try:
            with contextlib.suppress(LinkLost):  # that it is lost then is what was asked for
                await self._until(self._client.__aexit__(None, None, None))
            if spare is not None:
                async with asyncio.timeout(_GOODBYE_SECONDS):
                    while await asyncio.get_running_loop().sock_recv(spare, 1 << 16):
                        pass
        except (OSError, TimeoutError) as exc:
            log.debug("goodbye: %s", exc)
        finally:
            if spare is not None:
                spare.close()
            self.abort()

    def abort(self) -> None:
        """Close the socket at once. Harmless when it is closed already."""
        self._paho._sock_close()  # noqa: SLF001
        self._lose("closed")

    async def wait(self, work: asyncio.Future[Any]) -> None:
        """Wait until ``work`` is done. It is not cancelled when this raises :class:`LinkLost` or is cancelled."""
        await asyncio.wait((work, self.lost), return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            self.check()

    async def _until(self, work: Coroutine[Any, Any, T] | asyncio.Task[T]) -> T:
        # aiomqtt would wait for its timeout when the connection is lost meanwhile.
        task = work if isinstance(work, asyncio.Task) else asyncio.create_task(work)
        try:
            await self.wait(task)
            return task.result()
        except aiomqtt.MqttError as exc:
            self._lose(f"the broker does not answer: {exc}")
            raise LinkLost(self.lost.result()) from None
        finally:
            task.cancel()

    async def _send_all(self, messages: Iterable[Outbound]) -> None:
        await asyncio.gather(*(self._send(message) for message in messages))

    async def _send(self, message: Outbound) -> None:
        if self._largest is not None and len(message.payload) + len(message.topic) + 1024 > self._largest:
            # Sent, it would end the connection; not acknowledged, its cause would come again, for ever.
            self._complain(f"a message of {len(message.payload)} bytes was dropped: the broker takes {self._largest}")
            return
        properties = packet.publish_properties(message) if self._version5 else None
        if self._will is not None and message.topic == self._will.topic:
            self._said = message.payload
            if not self._version5:
                self._echoes.append(self._said)
        async with self._slots:
            await self._client.publish(message.topic, message.payload, 1, message.retain, properties)

    def _silent(self, exc: aiomqtt.MqttError) -> str:
        if "timed out" in str(exc):
            return f"it accepted the connection and said nothing for {ANSWER_SECONDS:.0f} s: is that an MQTT port?"
        return str(exc)

    def check(self) -> None:
        """Raise :class:`LinkLost` when the connection is gone."""
        if self.lost.done():
            raise LinkLost(self.lost.result())

    def _lose(self, reason: str) -> None:
        if not self.lost.done():
            self.lost.set_result(reason)
        self.inbox.wake()

    # Called by paho inside the event loop.

    def _on_message(self, _client: Any, _userdata: Any, message: MQTTMessage) -> None:
        if self._will is not None and message.topic == self._will.topic:
            self._paho.ack(message.mid, message.qos)
            if not message.retain and not self._echoed(bytes(message.payload)) and message.payload != self._said:
                self._contradicted()
        elif message.topic != self.echo and not packet.matches(self._topics, message.topic):
            # The broker keeps what an earlier configuration subscribed to: a group that this gateway has left.
            log.info("a message on %s was ignored: that topic is no longer ours", message.topic)
            self._paho.ack(message.mid, message.qos)
            self._paho.unsubscribe(message.topic)
        elif message.retain and not self._retained:
            # Only 3.1.1 cannot ask to be spared. A retained command would come again at every reconnect.
            log.warning("a retained message on a command topic was ignored: commands must not be retained")
            self._paho.ack(message.mid, message.qos)
        else:
            self.inbox.put(packet.delivery(message))

    def _echoed(self, payload: bytes) -> bool:
        """Whether it is what we said ourselves; once each, for a bridge that comes back brings our older words, too."""
        if payload not in self._echoes:
            return False
        while self._echoes.popleft() != payload:
            pass
        return True

    def _on_connect(self, client: Any, userdata: Any, flags: Any, code: ReasonCode, properties: Any) -> None:
        self._slots = asyncio.Semaphore(min(_IN_FLIGHT, getattr(properties, "ReceiveMaximum", _IN_FLIGHT)))
        self._largest = getattr(properties, "MaximumPacketSize", None)
        if packet.failed(code):
            self._version_refused = code.value == packet.UNSUPPORTED_VERSION
            self._lose(f"the broker refused the connection: {packet.words(code)}")
        self._theirs["on_connect"](client, userdata, flags, code, properties)

    def _on_disconnect(self, client: Any, userdata: Any, flags: Any, code: ReasonCode, properties: Any) -> None:
        self._theirs["on_disconnect"](client, userdata, flags, code, properties)
        if code.value == packet.TAKEN_OVER:
            self._lose("another client took over the session with our client id: do two gateways share a name?")
        elif flags.is_disconnect_packet_from_server:
            self._lose(f"the broker closed the connection: {packet.words(code)}")
        else:
            fault = self._client.fault
            self._lose(f"connection lost: {explain(fault, self._broker, self._cfg)}" if fault else "connection lost")

    def _on_publish(self, client: Any, userdata: Any, mid: int, code: ReasonCode, properties: Any) -> None:
        if packet.failed(code):
            self._complain(f"the broker refused one of our messages: {packet.words(code)}")
        self._theirs["on_publish"](client, userdata, mid, code, properties)

    def _on_failure(self, disconnected: asyncio.Future[None]) -> None:
        if not disconnected.cancelled():
            self._lose(f"connection lost: {disconnected.exception()}")
