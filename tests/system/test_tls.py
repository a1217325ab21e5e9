"""TLS and passwords: the right ones connect; a wrong one is named with its remedy, and the next broker is used."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from edged.mqtt import link, rounds, trouble
from edged.mqtt.endpoint import MqttSettings
from edged.mqtt.message import Inbound, Outbound
from edged.mqtt.session import Session
from edged.observer import Silent
from tests.broker import Broker
from tests.certificates import Authority
from tests.mqtt_settings import Settings

# paho leaves the socket of a failed handshake to the garbage collector, which closes it and says so.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

PAST, LATER = "20200101000000Z", "20990101000000Z"


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(trouble, "FIRST_DELAY", 0.05)
    monkeypatch.setattr(trouble, "LAST_DELAY", 0.2)
    monkeypatch.setattr(link, "ANSWER_SECONDS", 1.0)
    monkeypatch.setattr(rounds, "RETURN_SECONDS", 0.4)
    monkeypatch.setattr(rounds, "MARK_SECONDS", 0.1)
    monkeypatch.setattr(rounds, "MARK_AGAIN_SECONDS", 0.1)
    yield
    gc.collect()


class Files:
    """What stands on the disks of gateway and brokers, and two brokers: one strict about TLS, one plain behind it."""

    def __init__(self, folder: Path) -> None:
        self.ours, self.other = Authority(folder / "tls"), Authority(folder / "other", "other")
        self.server, self.server_key = self.ours.issue("server")
        cert, key = self.ours.issue("gw1")
        secret, passwords = folder / "secret", folder / "passwords"
        secret.write_text("segredo\n")
        passwords.touch(mode=0o600)
        subprocess.run(["mosquitto_passwd", "-b", passwords, "gw1", "segredo"], check=True, capture_output=True)
        self.folder, self.secret, self._passwords = folder, secret, passwords
        self.good = Settings(
            [], username="gw1", password_file=secret, ca_file=self.ours.file, cert_file=cert, key_file=key, keepalive=5
        )

    def broker(self, server: Path | None = None, key: Path | None = None, *, ca: Path | None = None) -> Broker:
        listener = (
            f"cafile {ca or self.ours.file}",
            f"certfile {server or self.server}",
            f"keyfile {key or self.server_key}",
            "require_certificate true",
        )
        access = ("allow_anonymous false", f"password_file {self._passwords}")
        return Broker(self.folder / "strict", listener=listener, extra=access)

    def plain(self) -> Broker:
        return Broker(self.folder / "plain")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return Files(tmp_path_factory.mktemp("files"))


@pytest.fixture
def files(shared: Files, tmp_path: Path) -> Files:
    shared.folder = tmp_path
    return shared


@contextlib.asynccontextmanager
async def session(settings: MqttSettings) -> AsyncIterator[Session]:
    async def handle(messages: Sequence[Inbound]) -> Sequence[Outbound]:
        return [Outbound("edged/v1/gw/gw1/ack", message.payload) for message in messages]

    async def nothing() -> Sequence[Outbound]:
        return []

    made = Session(
        settings,
        client_id="edged-gw1",
        subscriptions=["edged/v1/gw/gw1/cmd"],
        will=Outbound("edged/v1/gw/gw1/state", b"{}", retain=True),
        on_connect=nothing,
        handle=handle,
        observer=Silent(),
    )
    task = asyncio.create_task(made.run())
    try:
        yield made
    finally:
        task.cancel()
        await asyncio.wait((task,))


async def until(condition: Callable[[], object], what: str, seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds} s: {what}"
        await asyncio.sleep(0.01)


def secure(broker: Broker) -> str:
    return f"mqtts://127.0.0.1:{broker.port}"


def at(broker: Broker) -> str:
    return f"127.0.0.1:{broker.port}"


async def refused(settings: Settings, broker: Broker, plain: Broker, *words: str, url: str = "") -> None:
    """The first broker is not used, ``last_error`` says why, the second is used."""
    async with session(replace(settings, brokers=[url or secure(broker), plain.url])) as gateway:
        await until(lambda: gateway.connected == at(plain), f"the next broker; {gateway.last_error}")
        for word in words:
            assert word in (gateway.last_error or ""), gateway.last_error


async def test_certificates_of_both_sides_and_a_password(files: Files) -> None:
    with files.broker() as broker:
        async with session(replace(files.good, brokers=[secure(broker)])) as gateway:
            await until(lambda: gateway.connected == at(broker), f"the broker; {gateway.last_error}")
            assert await gateway.publish(Outbound("edged/v1/gw/gw1/event", b"hello"))
            assert gateway.last_error is None


async def test_a_broker_of_another_authority(files: Files) -> None:
    with files.broker() as broker, files.plain() as plain:
        settings = replace(files.good, ca_file=files.other.file)
        words = "does not come from an authority in mqtt.ca_file", str(files.other.file), "CERTIFICATE_VERIFY_FAILED"
        await refused(settings, broker, plain, *words)


async def test_no_ca_file_where_the_system_does_not_know_the_authority(files: Files) -> None:
    with files.broker() as broker, files.plain() as plain:
        await refused(replace(files.good, ca_file=None), broker, plain, "the system's authorities; mqtt.ca_file may")


async def test_an_expired_certificate_of_the_broker(files: Files) -> None:
    old = files.ours.issue("old", begins=PAST, ends="20200201000000Z")
    with files.broker(*old) as broker, files.plain() as plain:
        await refused(files.good, broker, plain, "the broker's certificate", "has expired: renew it")


async def test_a_certificate_of_the_broker_that_is_not_valid_yet(files: Files) -> None:
    early = files.ours.issue("early", begins="20980101000000Z", ends=LATER)
    with files.broker(*early) as broker, files.plain() as plain:
        await refused(files.good, broker, plain, "not valid yet", "clock")


async def test_a_certificate_for_another_name(files: Files) -> None:
    elsewhere = files.ours.issue("elsewhere", names="DNS:mqtt.example.net")
    with files.broker(*elsewhere) as broker, files.plain() as plain:
        await refused(files.good, broker, plain, "is not for '127.0.0.1'", "mqtt.brokers")


async def test_no_client_certificate_where_one_is_wanted(files: Files) -> None:
    with files.broker() as broker, files.plain() as plain:
        settings = replace(files.good, cert_file=None, key_file=None)
        await refused(settings, broker, plain, "wants a client certificate: set mqtt.cert_file and mqtt.key_file")


async def test_an_expired_client_certificate(files: Files) -> None:
    cert, key = files.ours.issue("gone", begins=PAST, ends="20200201000000Z")
    with files.broker() as broker, files.plain() as plain:
        settings = replace(files.good, cert_file=cert, key_file=key)
        await refused(settings, broker, plain, f"refuses our certificate, mqtt.cert_file, {cert}: it has expired")


async def test_a_client_certificate_of_another_authority(files: Files) -> None:
    cert, key = files.other.issue("stranger")
    with files.broker() as broker, files.plain() as plain:
        settings = replace(files.good, cert_file=cert, key_file=key)
        await refused(settings, broker, plain, f"refuses our certificate, mqtt.cert_file, {cert}: ", "authority")


async def test_a_key_of_another_certificate(files: Files) -> None:
    _, key = files.ours.issue("another")
    with files.broker() as broker, files.plain() as plain:
        settings = replace(files.good, key_file=key)
        await refused(settings, broker, plain, "mqtt.cert_file/key_file", "mqtt.key_file does not belong to")


async def test_a_file_that_is_missing(files: Files) -> None:
    with files.broker() as broker, files.plain() as plain:
        missing = files.folder / "missing.pem"
        await refused(replace(files.good, cert_file=missing), broker, plain, "mqtt.cert_file", str(missing), "No such")


async def test_a_file_that_is_no_certificate(files: Files) -> None:
    with files.broker() as broker, files.plain() as plain:
        wrong = files.folder / "wrong.pem"
        wrong.write_text("not a certificate\n")
        await refused(replace(files.good, ca_file=wrong), broker, plain, "mqtt.ca_file", str(wrong), "no PEM file")


async def test_a_wrong_password(files: Files) -> None:
    wrong = files.folder / "wrong"
    wrong.write_text("errado\n")
    with files.broker() as broker, files.plain() as plain:
        await refused(replace(files.good, password_file=wrong), broker, plain, "refused the connection: not authorized")


async def test_tls_towards_a_port_without_it(files: Files) -> None:
    with Broker(files.folder / "bare") as broker, files.plain() as plain:
        await refused(files.good, broker, plain, "cannot connect", "mqtt:// ")


async def test_no_tls_towards_a_port_with_it(files: Files) -> None:
    with files.broker() as broker, files.plain() as plain:
        await refused(files.good, broker, plain, f"{at(broker)}: ", url=broker.url)


async def test_a_renewed_certificate_is_used_at_the_next_connection_without_a_restart(files: Files) -> None:
    cert, key = files.ours.issue("renewed", begins=PAST, ends="20200201000000Z")
    with files.broker() as broker, files.plain() as plain:
        settings = replace(files.good, cert_file=cert, key_file=key, brokers=[secure(broker), plain.url])
        async with session(settings) as gateway:
            await until(lambda: gateway.connected == at(plain), "the next broker")
            assert "it has expired; renew it" in (gateway.last_error or "")
            files.ours.issue("renewed")
            await until(lambda: gateway.connected == at(broker), f"back; {gateway.last_error}")
