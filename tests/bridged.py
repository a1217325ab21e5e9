"""Two real mosquittos that pass everything below ``edged/`` on to each other, QoS 1, their queues on disk."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.broker import Broker, free_port, wait_until


def bridge_lines(name: str, address: str, port: int) -> tuple[str, ...]:
    """mosquitto.conf of the one that makes the connection; the other needs none. One connection serves both ways."""
    return (
        "allow_anonymous true",
        f"connection {name}",
        f"address {address}:{port}",
        "topic edged/# both 1",
        "cleansession false",
        "bridge_protocol_version mqttv311",  # as MQTT 5 mosquitto 2.0.11 has no session kept at the other end
        "restart_timeout 1",
        "keepalive_interval 5",
        "notifications false",
    )


@contextlib.contextmanager
def two_brokers(folder: Path, *, prefix: Sequence[str] = ()) -> Iterator[tuple[Broker, Broker]]:
    """Started, and connected to each other."""
    first = Broker(folder / "first", prefix=prefix)
    lines = bridge_lines("pair", "127.0.0.1", first.port)
    second = Broker(folder / "second", port=free_port(), prefix=prefix, extra=lines)
    try:
        first.start()
        second.start()
        wait_until(lambda: bridged(first, second), "the bridge")
        yield first, second
    finally:
        second.stop()
        first.stop()


def bridged(first: Broker, second: Broker) -> bool:
    """Whether the connection between them is made: each log begins with its broker's last start."""
    return ".pair\n" in first.log and "Received SUBACK" in second.log


def saved(broker: Broker, *clients: str) -> bool:
    """Whether the broker has written the sessions of these clients to disk, so that a kill leaves them known."""
    log = broker.log
    last = log.rfind("Saving in-memory database")
    return all(0 <= log.rfind(f"SUBSCRIBE from {client}") < last for client in clients)
