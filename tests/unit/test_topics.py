"""Topics of the contract, and where a sender may have its answer sent."""

from __future__ import annotations

from pathlib import Path

import pytest

from edged.errors import ConfigError
from edged.mqtt.endpoint import Endpoint, password, tls_context
from edged.mqtt.topics import Topics, response_topic
from tests.mqtt_settings import Settings


def test_topics_are_those_of_the_contract() -> None:
    topics = Topics("gw1", ("all", "pop-sul"))
    assert topics.command == "edged/v1/gw/gw1/cmd"
    assert topics.subscriptions == (
        "edged/v1/gw/gw1/cmd",
        "edged/v1/gw/gw1/sync",
        "edged/v1/group/all/cmd",
        "edged/v1/group/pop-sul/cmd",
    )
    assert (topics.ack, topics.event, topics.state) == (
        "edged/v1/gw/gw1/ack",
        "edged/v1/gw/gw1/event",
        "edged/v1/gw/gw1/state",
    )
    assert topics.client_id == "edged-gw1"


def test_a_group_named_twice_is_subscribed_once() -> None:
    assert len(Topics("gw1", ("all", "all")).subscriptions) == 3


def test_a_source_is_the_channel_part_of_a_topic_and_never_empty() -> None:
    topics = Topics("gw1", ("all",))
    assert [topics.source(topic) for topic in topics.subscriptions] == ["gw/gw1/cmd", "gw/gw1/sync", "group/all/cmd"]
    assert topics.source("elsewhere") == "elsewhere"
    assert topics.source("") == topics.source("edged/v1/") == "?"


@pytest.mark.parametrize("name", ["", "a/b", "+", "gw#", "a\0b", "a\nb", "\ud800"])
def test_a_name_that_is_not_one_topic_level_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="gateway = "):
        Topics(name)
    with pytest.raises(ConfigError, match="groups = "):
        Topics("gw1", (name,))


@pytest.mark.parametrize(
    "topic",
    [
        "edged/v1/erp/answers",
        "edged/v1/gw/gw1/ack",
        "edged/v1/erp/cmd",
        "edged/v1/respostas/ação",
    ],
)
def test_response_topics_that_are_used(topic: str) -> None:
    assert response_topic(topic) == topic


@pytest.mark.parametrize(
    "topic",
    [
        None,
        "",
        "edged/v1/",
        "edged/v1",
        "edged/v2/erp",
        "other/edged/v1/erp",
        "$SYS/broker",
        "EDGED/v1/erp",
        "edged/v1/+/answers",
        "edged/v1/erp/#",
        "edged/v1/erp\0",
        "edged/v1/" + "ç" * 40_000,
        "edged/v1/gw/gw2/cmd",
        "edged/v1/group/all/cmd",
        "edged/v1/gw/gw2/state",
        "edged/v1/gw/gw2/sync",
        "edged/v1/gw/gw2/event",
    ],
)
def test_response_topics_that_are_not_used(topic: str | None) -> None:
    assert response_topic(topic) is None


@pytest.mark.parametrize(
    ("url", "endpoint", "text"),
    [
        ("mqtt://127.0.0.1:1884", Endpoint("127.0.0.1", 1884, tls=False), "127.0.0.1:1884"),
        ("mqtt://broker", Endpoint("broker", 1883, tls=False), "broker:1883"),
        ("mqtts://broker/", Endpoint("broker", 8883, tls=True), "broker:8883"),
        ("mqtts://[2001:db8::1]:99", Endpoint("2001:db8::1", 99, tls=True), "[2001:db8::1]:99"),
    ],
)
def test_broker_addresses(url: str, endpoint: Endpoint, text: str) -> None:
    assert Endpoint.parse(url) == endpoint
    assert str(endpoint) == text


@pytest.mark.parametrize(
    "url", ["broker:1883", "http://broker", "mqtt://", "mqtt://b:99999", "mqtt://b/path", "mqtt://[::1"]
)
def test_a_broker_address_that_cannot_be_read_is_named(url: str) -> None:
    with pytest.raises(ConfigError, match=r"mqtt\.brokers"):
        Endpoint.parse(url)


def test_a_password_in_a_broker_address_is_refused_and_not_repeated() -> None:
    with pytest.raises(ConfigError, match="password_file") as caught:
        Endpoint.parse("mqtt://erp:hunter2@broker")
    assert "hunter2" not in str(caught.value)


def test_a_password_is_the_first_line_of_its_file(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_bytes("segredo ç \r\nsecond line\n".encode())
    assert password(Settings([], password_file=file)) == "segredo ç "
    assert password(Settings([])) is None
    with pytest.raises(ConfigError, match=r"mqtt\.password_file"):
        password(Settings([], password_file=file.with_name("missing")))


def test_a_missing_certificate_names_its_key(tmp_path: Path) -> None:
    missing = tmp_path / "missing.pem"
    with pytest.raises(ConfigError, match=r"mqtt\.ca_file"):
        tls_context(Settings([], ca_file=missing))
    with pytest.raises(ConfigError, match=r"mqtt\.cert_file"):
        tls_context(Settings([], cert_file=missing))
