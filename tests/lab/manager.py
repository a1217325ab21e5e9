"""Billing, as the gateway sees it: a management client that publishes commands over MQTT and waits for the answers."""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from tests.lab.netns import Namespace

Json = dict[str, Any]


@dataclass(frozen=True)
class Received:
    """One message of the gateway: its topic, its JSON document, its correlation data, when it came (monotonic)."""

    topic: str
    document: Json
    correlation: bytes
    at: float


@dataclass(frozen=True)
class Ack:
    """The answer to a batch. ``ms`` runs from publish to the answer's arrival, ``at`` is that arrival (monotonic)."""

    document: Json
    ms: float
    at: float

    @property
    def duplicate(self) -> bool:
        """Whether the gateway had this batch before."""
        return bool(self.document.get("duplicate"))

    @property
    def statuses(self) -> list[str]:
        """The status of each listed command, in order."""
        return [str(result["status"]) for result in self.document.get("results", [])]

    @property
    def codes(self) -> list[str]:
        """The rejection codes, of the commands or of the whole payload."""
        listed = [str(result["code"]) for result in self.document.get("results", []) if result.get("code")]
        error = self.document.get("error")
        return listed + ([str(error["code"])] if isinstance(error, dict) else [])

    def count(self, status: str) -> int:
        """How many commands of the batch ended so, from the summary."""
        return int(self.document.get("summary", {}).get(status, 0))


class NoAnswer(AssertionError):
    """The gateway did not answer in time."""


class Manager:
    """The client. ``open`` connects (and reconnects by itself for ever), ``close`` ends it."""

    def __init__(self, space: Namespace, gateway: str, port: int) -> None:
        self.gateway = gateway
        self._space = space
        self._port = port
        self._changed = threading.Condition()
        self._inbox: list[Received] = []
        self._ready = False
        self.opened = False
        self._client = paho.Client(
            CallbackAPIVersion.VERSION2, client_id=f"billing-{uuid.uuid4().hex[:8]}", protocol=paho.MQTTv5
        )
        self._client.reconnect_delay_set(1, 1)
        self._client.on_connect = self._on_connect
        self._client.on_subscribe = self._on_subscribe
        self._client.on_disconnect = self._on_disconnect
        self._client.on_message = self._on_message

    # -- life -------------------------------------------------------------------------------------------------------

    def open(self, timeout: float = 10.0) -> None:
        """Connect and subscribe to all that the gateway says. Raises NoAnswer when the broker does not take us."""

        def connect() -> None:
            self._client.connect("127.0.0.1", self._port, keepalive=30)
            self._client.loop_start()  # its thread is a child of the namespace's thread, and so lives there as well

        self._space.call(connect)
        self.opened = True
        self.wait_connected(timeout)

    def wait_connected(self, timeout: float = 10.0) -> None:
        """Wait until we are subscribed (again)."""
        self._wait(lambda: self._ready, timeout, "the management client is not connected")

    def close(self) -> None:
        """Disconnect."""
        self._client.disconnect()
        self._client.loop_stop()

    # -- speaking ---------------------------------------------------------------------------------------------------

    def publish(
        self, *commands: Json, batch: str | None = None, timeout: float = 10.0, group: str = "", **envelope: Any
    ) -> Ack:
        """Send one batch and wait for its ack by id. ``batch`` repeats an id; ``envelope`` adds keys beside ``v``."""
        identity = batch or uuid.uuid4().hex
        document = {"v": 1, "id": identity, "issuer": "billing", **envelope, "commands": list(commands)}
        sent, mark = self.send(json.dumps(document), group=group)
        return self._answer(lambda m: m.document.get("id") == identity, mark, sent, timeout, f"batch {identity}")

    def publish_raw(self, payload: bytes | str, *, timeout: float = 10.0) -> Ack:
        """Send any bytes and wait for the next ack whatever its id is: a payload that cannot be read has none."""
        sent, mark = self.send(payload)
        return self._answer(lambda _m: True, mark, sent, timeout, "a raw payload")

    def request(self, payload: bytes | str, *, timeout: float = 10.0) -> Ack:
        """Send with MQTT 5 Response Topic and Correlation Data, and wait for the answer that carries them back."""
        token = uuid.uuid4().bytes
        sent, mark = self.send(payload, respond_to="edged/v1/lab/answers", correlation=token)
        return self._answer(lambda m: m.correlation == token, mark, sent, timeout, "a request", "edged/v1/lab/answers")

    def send(
        self, payload: bytes | str, *, group: str = "", respond_to: str = "", correlation: bytes = b""
    ) -> tuple[float, int]:
        """Publish with QoS 1 and return when the broker has it, without waiting for the gateway.

        Returns the monotonic time just before sending, and a mark for what was received before (see :meth:`since`).
        """
        topic = f"edged/v1/group/{group}/cmd" if group else f"edged/v1/gw/{self.gateway}/cmd"
        properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
        if respond_to:
            properties.ResponseTopic = respond_to
            properties.CorrelationData = correlation
        with self._changed:
            mark = len(self._inbox)
        sent = time.monotonic()
        self._client.publish(topic, payload, qos=1, properties=properties).wait_for_publish(20)
        return sent, mark

    # -- hearing ----------------------------------------------------------------------------------------------------

    def since(self, mark: int, kind: str) -> list[Received]:
        """What came on the gateway's ``ack``, ``event`` or ``state`` topic since ``mark``."""
        with self._changed:
            return [m for m in self._inbox[mark:] if m.topic == f"edged/v1/gw/{self.gateway}/{kind}"]

    @property
    def mark(self) -> int:
        """Where the inbox stands now."""
        with self._changed:
            return len(self._inbox)

    @property
    def state(self) -> Json:
        """The newest state document, {} when there is none."""
        states = self.since(0, "state")
        return states[-1].document if states else {}

    def wait_state(self, wanted: Callable[[Json], bool], timeout: float = 15.0, what: str = "the state") -> Json:
        """Wait until the newest state document is as wanted, and return it."""
        self._wait(lambda: wanted(self._last_state()), timeout, what)
        return self.state

    def wait_event(self, wanted: Callable[[Json], bool], mark: int = 0, timeout: float = 10.0) -> Received:
        """Wait for an event, looking from ``mark`` on."""
        topic = f"edged/v1/gw/{self.gateway}/event"

        def find() -> Received | None:
            return next((m for m in self._inbox[mark:] if m.topic == topic and wanted(m.document)), None)

        self._wait(lambda: find() is not None, timeout, "an event did not come")
        with self._changed:
            found = find()
        assert found is not None
        return found

    def wait_answer(self, batch: str, mark: int, timeout: float = 10.0) -> Ack:
        """Wait for the ack of a batch sent earlier with :meth:`send`; ``ms`` counts from this call."""
        return self._answer(lambda m: m.document.get("id") == batch, mark, time.monotonic(), timeout, f"batch {batch}")

    # -- inside -----------------------------------------------------------------------------------------------------

    def _answer(
        self,
        wanted: Callable[[Received], bool],
        mark: int,
        sent: float,
        timeout: float,
        what: str,
        topic: str = "",
    ) -> Ack:
        place = topic or f"edged/v1/gw/{self.gateway}/ack"

        def find() -> Received | None:
            return next((m for m in self._inbox[mark:] if m.topic == place and wanted(m)), None)

        self._wait(lambda: find() is not None, timeout, f"no ack for {what}")
        with self._changed:
            found = find()
        assert found is not None
        return Ack(found.document, (found.at - sent) * 1000, found.at)

    def _last_state(self) -> Json:
        topic = f"edged/v1/gw/{self.gateway}/state"
        return next((m.document for m in reversed(self._inbox) if m.topic == topic), {})

    def _wait(self, condition: Callable[[], bool], timeout: float, what: str) -> None:
        with self._changed:
            if not self._changed.wait_for(condition, timeout):
                raise NoAnswer(f"{what} within {timeout:g} s")

    def _on_connect(
        self, client: paho.Client, _data: Any, _flags: Any, reason: ReasonCode, _properties: Properties | None
    ) -> None:
        if not reason.is_failure:
            kinds = ("ack", "event", "state")
            topics = [f"edged/v1/gw/{self.gateway}/{kind}" for kind in kinds] + ["edged/v1/lab/#"]
            client.subscribe([(topic, 1) for topic in topics])

    def _on_subscribe(self, *_args: Any) -> None:
        with self._changed:
            self._ready = True
            self._changed.notify_all()

    def _on_disconnect(self, *_args: Any) -> None:
        with self._changed:
            self._ready = False
            self._changed.notify_all()

    def _on_message(self, _client: paho.Client, _data: Any, message: paho.MQTTMessage) -> None:
        at = time.monotonic()
        document = json.loads(message.payload) if message.payload else {}
        correlation = getattr(message.properties, "CorrelationData", b"") if message.properties else b""
        with self._changed:
            self._inbox.append(Received(message.topic, document, correlation, at))
            self._changed.notify_all()


def from_now(seconds: float) -> tuple[str, float]:
    """A moment as RFC 3339 text with milliseconds and as ``time.monotonic()``, for ``until`` and to judge lateness."""
    moment = datetime.now(UTC) + timedelta(seconds=seconds)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"), time.monotonic() + seconds


def invoices(*ids: str, days_overdue: int = 10) -> Sequence[Json]:
    """Invoices due ``days_overdue`` days ago, old enough for a promise."""
    due = (datetime.now(UTC) - timedelta(days=days_overdue)).date().isoformat()
    return [{"id": identity, "due": due} for identity in ids]
