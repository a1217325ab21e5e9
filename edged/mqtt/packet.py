"""paho's values to ours and back: properties, reason codes, messages."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from paho.mqtt.client import MQTTMessage, topic_matches_sub
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from edged.mqtt.endpoint import MqttSettings
from edged.mqtt.message import Delivery, Inbound, Outbound
from edged.mqtt.topics import response_topic

SESSION_EXPIRY = 7 * 86_400  # s, contract
UNSUPPORTED_VERSION, TAKEN_OVER = 0x84, 0x8E  # MQTT 5, 2.4 Reason Code

_OTHERS_ONLY = SubscribeOptions(qos=0, noLocal=True, retainHandling=SubscribeOptions.RETAIN_DO_NOT_SEND)
_NO_RETAINED = SubscribeOptions(qos=1, retainHandling=SubscribeOptions.RETAIN_DO_NOT_SEND)


def connect_properties(cfg: MqttSettings, *, keep: bool) -> Properties:
    """What CONNECT asks of a broker: ``keep`` the session, do not send more than we want to hold."""
    properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
    properties.SessionExpiryInterval = SESSION_EXPIRY if keep else 0
    properties.ReceiveMaximum = cfg.receive_maximum
    # A broker silently drops what is larger, so leave room for the pipeline to answer "too large".
    properties.MaximumPacketSize = max(4 * cfg.max_payload, 16 << 20)
    return properties


def publish_properties(message: Outbound) -> Properties | None:
    """Correlation Data and Response Topic, if there are any."""
    if message.correlation is None and message.response_topic is None:
        return None
    properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
    if message.correlation is not None:
        properties.CorrelationData = message.correlation
    if message.response_topic is not None:
        properties.ResponseTopic = message.response_topic
    return properties


def subscription(topic: str, *, version5: bool, retained: bool) -> Any:
    """``topic`` with QoS 1; without old retained messages unless wanted, where MQTT 5 allows to say so."""
    return (topic, _NO_RETAINED if version5 and not retained else 1)


def others(topic: str, *, version5: bool) -> Any:
    """``topic`` with QoS 0, so that nothing is kept for us, and where MQTT 5 allows it without what we publish."""
    return (topic, _OTHERS_ONLY if version5 else 0)


def matches(subscriptions: Sequence[str], topic: str) -> bool:
    """Whether a message on ``topic`` belongs to one of the subscriptions."""
    return topic in subscriptions or any(topic_matches_sub(each, topic) for each in subscriptions)


def delivery(message: MQTTMessage) -> Delivery:
    """A message as it arrived just now."""
    properties = message.properties  # None in 3.1.1
    inbound = Inbound(
        message.topic,
        bytes(message.payload),
        response_topic(getattr(properties, "ResponseTopic", None)),
        getattr(properties, "CorrelationData", None),
        time.monotonic(),
    )
    return Delivery(inbound, message.mid, message.qos)


def failed(code: object) -> bool:
    """Whether a broker's reason code is a refusal."""
    return isinstance(code, ReasonCode) and code.value >= 0x80


def words(code: ReasonCode) -> str:
    """The reason as MQTT 5 names it, to stand inside a sentence."""
    return str(code).lower()
