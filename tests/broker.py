"""A real mosquitto on loopback and a plain MQTT client, for tests and benches.

    with Broker(tmp_path) as broker, Peer(broker.port) as erp:
        erp.publish("edged/v1/gw/gw1/cmd", b"...")

The broker runs as the user that starts it, keeps its persistence in the given directory, and is only ever signalled
by the pid of the process started here.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Self

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

MOSQUITTO = shutil.which("mosquitto", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin") or "mosquitto"


def wait_until(condition: Callable[[], object], what: str, timeout: float = 30.0) -> None:
    """Return once ``condition()`` is true; after ``timeout`` seconds raise an AssertionError naming ``what``."""
    end = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"not within {timeout} s: {what}")
        time.sleep(0.005)


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Broker:
    """One mosquitto.

    ``folder`` (made if missing) receives configuration, log and persistence. ``extra`` holds further lines of
    mosquitto.conf, ``listener`` lines that belong to the listener (TLS). ``prefix`` is put before the command, such
    as ``("ip", "netns", "exec", NAME)``; with one, ``start`` cannot look at the port and waits for the log instead.
    ``log_type`` is mosquitto's: ``all`` shows every packet in ``log`` and costs time that a bench should not measure.
    """

    def __init__(
        self,
        folder: Path,
        *,
        port: int | None = None,
        address: str = "127.0.0.1",
        listener: Sequence[str] = (),
        extra: Sequence[str] = ("allow_anonymous true",),
        prefix: Sequence[str] = (),
        log_type: str = "all",
    ) -> None:
        self.folder = folder
        self.address = address
        self.port = port or free_port()
        self._listener = listener
        self._extra = extra
        self._prefix = prefix
        self._log_type = log_type
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """As in the configuration of edged."""
        return f"mqtt://{self.address}:{self.port}"

    @property
    def pid(self) -> int:
        """Of the running mosquitto."""
        assert self._process is not None
        return self._process.pid

    @property
    def log(self) -> str:
        """What mosquitto wrote since the last start."""
        return (self.folder / "mosquitto.log").read_text(errors="replace")

    def start(self) -> Self:
        """Start, and return when it accepts connections. The session store of an earlier run is read."""
        assert self._process is None
        self.folder.mkdir(parents=True, exist_ok=True)
        lines = (
            f"listener {self.port} {self.address}",
            *self._listener,
            "user root",  # started as root it would drop to a user who cannot write here; as another user it is ignored
            "persistence true",
            f"persistence_location {self.folder}/",
            "autosave_interval 1",
            "max_queued_messages 0",
            "max_inflight_messages 64",
            "set_tcp_nodelay true",
            f"log_type {self._log_type}",
            *self._extra,
        )
        config = self.folder / "mosquitto.conf"
        config.write_text("".join(f"{line}\n" for line in lines))
        with (self.folder / "mosquitto.log").open("wb") as out:
            command = [*self._prefix, MOSQUITTO, "-c", str(config)]
            self._process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT)
        wait_until(self._up, f"mosquitto on {self.address}:{self.port}\n{self.log}")
        return self

    def stop(self) -> None:
        """SIGTERM and wait: sessions and queues are written to disk. Harmless when it does not run."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL and wait: what was not saved is gone."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Stop and start on the same port, with all sessions."""
        self.stop()
        self.start()

    def forget(self) -> None:
        """Delete what was saved, while stopped: the next start knows no session and no retained message."""
        assert self._process is None
        (self.folder / "mosquitto.db").unlink(missing_ok=True)

    def _end(self, number: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(number)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _up(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, f"mosquitto ended\n{self.log}"
        if self._prefix:
            return " running" in self.log  # log_type information or all
        with contextlib.suppress(OSError), socket.create_connection((self.address, self.port), 1):
            return True
        return False

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()


class Peer:
    """A client like billing's: publishes with QoS 1 and collects what it subscribed to, in ``messages``."""

    def __init__(
        self,
        port: int,
        *subscriptions: str,
        client_id: str = "",
        address: str = "127.0.0.1",
        username: str | None = None,
        password: str | None = None,
    ) -> None:
        self.messages: list[mqtt.MQTTMessage] = []
        self._subscriptions = subscriptions
        self._address, self._port = address, port
        self.subscribed = 0  # times the broker has confirmed the subscriptions: once for each connection
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=client_id, protocol=mqtt.MQTTv5)
        self._client.max_inflight_messages_set(64)
        if username is not None:
            self._client.username_pw_set(username, password)
        self._client.on_connect = self._on_connect
        self._client.on_message = lambda _client, _userdata, message: self.messages.append(message)
        self._client.on_subscribe = self._on_subscribe

    def publish(
        self,
        topic: str,
        payload: bytes | str,
        *,
        response_topic: str | None = None,
        correlation: bytes | None = None,
        retain: bool = False,
        wait: bool = True,
    ) -> mqtt.MQTTMessageInfo:
        """Publish; with ``wait`` return when the broker has it."""
        properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
        if response_topic is not None:
            properties.ResponseTopic = response_topic
        if correlation is not None:
            properties.CorrelationData = correlation
        info = self._client.publish(topic, payload, qos=1, retain=retain, properties=properties)
        if wait:
            info.wait_for_publish(30)
        return info

    def payloads(self, topic: str) -> list[bytes]:
        """The payloads that arrived on ``topic`` so far, in order."""
        return [bytes(message.payload) for message in list(self.messages) if message.topic == topic]

    def wait_for(self, topic: str, count: int = 1, timeout: float = 30.0) -> list[bytes]:
        """The payloads of ``topic`` once there are ``count``."""
        wait_until(lambda: len(self.payloads(topic)) >= count, f"{count} messages on {topic}", timeout)
        return self.payloads(topic)

    def _on_connect(self, client: mqtt.Client, *_: object) -> None:
        # Anew at each connection: the broker may have been replaced.
        if self._subscriptions:
            client.subscribe([(topic, SubscribeOptions(qos=1)) for topic in self._subscriptions])

    def _on_subscribe(self, *_: object) -> None:
        self.subscribed += 1

    def __enter__(self) -> Self:
        self._client.reconnect_delay_set(1, 1)
        self._client.connect(self._address, self._port, clean_start=True)
        self._client.loop_start()
        if self._subscriptions:
            wait_until(lambda: self.subscribed, "SUBACK")
        return self

    def __exit__(self, *_: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()
