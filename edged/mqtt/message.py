"""What passes between the pipeline and the MQTT session: values, no client behind them."""

from __future__ import annotations

from dataclasses import dataclass

from edged.errors import EdgedError


@dataclass(frozen=True)
class Inbound:
    """A message that arrived.

    ``payload`` is what was sent, of any size the broker lets through and perhaps no text at all. ``response_topic``
    has passed :func:`edged.mqtt.topics.response_topic`. ``received`` is ``time.monotonic()`` seconds.
    """

    topic: str
    payload: bytes
    response_topic: str | None
    correlation: bytes | None
    received: float


@dataclass(frozen=True)
class Outbound:
    """A message to publish, always with QoS 1. The last two are left out towards a 3.1.1 broker."""

    topic: str
    payload: bytes
    retain: bool = False
    correlation: bytes | None = None
    response_topic: str | None = None


@dataclass(frozen=True)
class Delivery:
    """An :class:`Inbound` with what its acknowledgement needs; means nothing on another connection."""

    inbound: Inbound
    mid: int
    qos: int


class LinkLost(EdgedError):
    """There is no connection, or no longer. ``str()`` says why."""

    transient = True


class VersionRefused(LinkLost):
    """The broker does not speak MQTT 5."""


class Overrun(LinkLost):
    """The broker sent more than is kept in memory; what was not kept comes again on a new connection."""


class Relieved(LinkLost):
    """Another connection takes over from this one, on which everything that came has been handled."""
