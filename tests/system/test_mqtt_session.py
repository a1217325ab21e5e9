"""The MQTT session against a real mosquitto: nothing lost, nothing acknowledged early, always back."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path
from typing import Self

import pytest

from edged.mqtt import inbox as inbox_module
from edged.mqtt import trouble
from edged.mqtt.session import Inbound, Outbound, Session
from edged.mqtt.topics import Topics
from edged.observer import Silent
from tests.broker import Broker, Peer, wait_until
from tests.mqtt_settings import Settings

ROOT = Path(__file__).parents[2]
TOPICS = Topics("gw1", ("all",))
ONLINE, OFFLINE = b'{"online":true}', b'{"online":false}'


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trouble, "FIRST_DELAY", 0.05)
    monkeypatch.setattr(trouble, "LAST_DELAY", 0.4)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with Broker(tmp_path / "broker") as running:
        yield running


async def until(condition: Callable[[], object], what: str, seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds} s: {what}"
        await asyncio.sleep(0.01)


class Seen(Silent):
    def __init__(self) -> None:
        self.links: list[tuple[str, bool]] = []

    def mqtt_connected(self, broker: str, value: bool) -> None:
        self.links.append((broker, value))


class Rig:
    """A session in this process whose handler can be held or made to fail."""

    def __init__(self, settings: Settings, subscriptions: Sequence[str] = TOPICS.subscriptions) -> None:
        self.batches: list[list[Inbound]] = []
        self.free = asyncio.Event()
        self.free.set()
        self.fail: Callable[[Inbound], bool] = lambda _message: False
        self.inside = self.most_inside = 0
        self.seen = Seen()
        self.session = Session(
            settings,
            client_id=TOPICS.client_id,
            subscriptions=subscriptions,
            will=Outbound(TOPICS.state, OFFLINE, retain=True),
            on_connect=self._on_connect,
            handle=self._handle,
            observer=self.seen,
        )
        self._task: asyncio.Task[None] | None = None

    @property
    def got(self) -> list[Inbound]:
        return [message for batch in self.batches for message in batch]

    async def _on_connect(self) -> Sequence[Outbound]:
        return [Outbound(TOPICS.state, ONLINE, retain=True)]

    async def _handle(self, messages: Sequence[Inbound]) -> Sequence[Outbound]:
        self.inside += 1
        self.most_inside = max(self.most_inside, self.inside)
        try:
            self.batches.append(list(messages))
            await self.free.wait()
            for message in messages:
                if self.fail(message):
                    raise KeyError("C-7 must not be logged")
            return [
                Outbound(message.response_topic or TOPICS.ack, message.payload[:100], correlation=message.correlation)
                for message in messages
            ]
        finally:
            self.inside -= 1

    def start(self) -> None:
        self._task = asyncio.create_task(self.session.run())

    async def connected(self) -> None:
        await until(lambda: self.session.connected, f"connected; last error: {self.session.last_error}")

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    async def __aenter__(self) -> Self:
        self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.free.set()
        await self.stop()


@pytest.fixture
async def erp(broker: Broker) -> AsyncIterator[Peer]:
    peer = Peer(broker.port, TOPICS.ack, TOPICS.event, TOPICS.state, "edged/v1/erp/answers")
    await asyncio.to_thread(peer.__enter__)
    yield peer
    await asyncio.to_thread(peer.__exit__)


@contextlib.contextmanager
def process(broker: Broker, mode: str) -> Iterator[subprocess.Popen[str]]:
    """A session in a process of its own, SIGKILLed at the end."""
    command = [sys.executable, "-m", "tests.session_process", str(broker.port), mode]
    started = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, env=os.environ)
    assert started.stdout is not None
    try:
        yield started
    finally:
        started.kill()
        started.wait()
        started.stdout.close()


@contextlib.asynccontextmanager
async def proxy(
    behind: Broker, *, refuse_version_5: bool = False, after_subscribing: bytes = b""
) -> AsyncIterator[int]:
    """A port in front of a broker that behaves like one of another kind.

    It refuses MQTT 5 as a 3.1.1 broker must, or sends ``after_subscribing`` behind the SUBACK and hangs up.
    """

    async def pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, last: bytes = b"") -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
                if last and data[0] == 0x90:  # SUBACK
                    writer.write(last)
                    break
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\0\4MQTT") + await reader.readexactly(1)
        except asyncio.IncompleteReadError:  # gave up before it began
            writer.close()
            return
        if refuse_version_5 and head[-1] == 5:
            writer.write(b"\x20\x02\x00\x01")  # CONNACK: unacceptable protocol version
            writer.close()
            return
        down, up = await asyncio.open_connection("127.0.0.1", behind.port)
        up.write(head)
        await asyncio.gather(pipe(reader, up), pipe(down, writer, after_subscribing))

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


# ------------------------------------------------------------------------------------------------ acknowledgement


async def test_puback_follows_the_commit_and_the_answer(broker: Broker, erp: Peer) -> None:
    async with Rig(Settings([broker.url])) as rig:
        rig.free.clear()
        await rig.connected()
        erp.publish(TOPICS.command, b"one", wait=False)
        await until(lambda: rig.inside, "the handler to run")
        # A round trip behind it shows that a PUBACK, had it been sent, would be in the broker's log.
        assert await rig.session.publish(Outbound(TOPICS.event, b"round trip"))
        assert "Received PUBACK from edged-gw1" not in await settled_log(broker)
        rig.free.set()
        await until(lambda: "Received PUBACK from edged-gw1" in broker.log, "the PUBACK")
        log = broker.log
        assert log.index(f"'{TOPICS.ack}'") < log.index("Received PUBACK from edged-gw1")
        assert await asyncio.to_thread(erp.wait_for, TOPICS.ack) == [b"one"]


async def settled_log(broker: Broker) -> str:
    await until(lambda: TOPICS.event in broker.log, "the round trip in the broker's log")
    return broker.log


def test_killed_before_the_commit_everything_comes_again_right_behind_connack(broker: Broker) -> None:
    payloads = [b"%d" % number for number in range(200)]
    with Peer(broker.port, TOPICS.ack) as erp:
        with process(broker, "hold") as first:
            wait_until(lambda: f"'{TOPICS.state}'" in broker.log, "the session to subscribe")
            for payload in payloads:
                erp.publish(TOPICS.command, payload, wait=False)
            assert first.stdout is not None
            assert first.stdout.readline().strip() == payloads[0].hex()
        # The second gets the messages in the same breath as CONNACK and dies without having handled one.
        with process(broker, "hold") as second:
            assert second.stdout is not None
            assert second.stdout.readline().strip() == payloads[0].hex()
        assert "Received PUBACK from edged-gw1" not in broker.log
        with process(broker, "echo"):
            answers = erp.wait_for(TOPICS.ack, len(payloads))
    assert answers == payloads


def test_a_killed_gateway_is_reported_offline_by_its_last_will(broker: Broker) -> None:
    with Peer(broker.port, TOPICS.state) as erp:
        with process(broker, "echo"):
            assert erp.wait_for(TOPICS.state) == [ONLINE]
        assert erp.wait_for(TOPICS.state, 2) == [ONLINE, OFFLINE]


async def test_a_graceful_stop_says_offline_itself_after_finishing_what_it_had_in_hand(
    broker: Broker, erp: Peer
) -> None:
    async with Rig(Settings([broker.url])) as rig:
        rig.free.clear()
        await rig.connected()
        erp.publish(TOPICS.command, b"in hand", wait=False)
        await until(lambda: rig.inside, "the handler to run")
        asyncio.get_running_loop().call_later(0.2, rig.free.set)
        await rig.stop()
        assert rig.session.connected is None
        assert not await rig.session.publish(Outbound(TOPICS.event, b"too late"))
    assert await asyncio.to_thread(erp.wait_for, TOPICS.ack) == [b"in hand"]
    assert await asyncio.to_thread(erp.wait_for, TOPICS.state, 2) == [ONLINE, OFFLINE]
    await until(lambda: "Received DISCONNECT from edged-gw1" in broker.log, "the goodbye")
    assert erp.payloads(TOPICS.state) == [ONLINE, OFFLINE], "the will was sent as well"
    assert rig.seen.links == [(f"127.0.0.1:{broker.port}", True), (f"127.0.0.1:{broker.port}", False)]


async def test_waiting_messages_are_gathered_in_order_and_receive_maximum_holds_the_rest_back(
    broker: Broker, erp: Peer
) -> None:
    async with Rig(Settings([broker.url], receive_maximum=50)) as rig:
        rig.free.clear()
        await rig.connected()
        payloads = [b"%d" % number for number in range(500)]
        for payload in payloads[:-1]:
            erp.publish(TOPICS.command, payload, wait=False)
        await asyncio.to_thread(erp.publish, TOPICS.command, payloads[-1])
        assert await rig.session.publish(Outbound(TOPICS.event, b"round trip"))
        assert (await settled_log(broker)).count("Sending PUBLISH to edged-gw1") == 50
        rig.free.set()
        assert await asyncio.to_thread(erp.wait_for, TOPICS.ack, 500) == payloads
        assert [message.payload for message in rig.got] == payloads
        sizes = [len(batch) for batch in rig.batches]
        assert max(sizes) <= 64
        assert len(sizes) < 250, "messages were not gathered"
        assert rig.most_inside == 1


async def test_a_broker_that_ignores_receive_maximum_costs_a_reconnect_not_memory_nor_messages(
    broker: Broker, erp: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    # mosquitto 2.0.11 does ignore it once it has a queue; a broker that does not passes as well.
    bound = 100 * 2048
    monkeypatch.setattr(inbox_module, "HELD_BYTES", bound)
    most = 0
    async with Rig(Settings([broker.url], receive_maximum=10)) as rig:
        rig.free.clear()
        await rig.connected()
        payloads = [b"%d" % number for number in range(1000)]
        for payload in payloads[:-1]:
            erp.publish(TOPICS.command, payload, wait=False)
        await asyncio.to_thread(erp.publish, TOPICS.command, payloads[-1])
        rig.free.set()

        def done() -> bool:
            nonlocal most
            most = max(most, rig.session._link.inbox.held if rig.session._link else 0)
            return len(erp.payloads(TOPICS.ack)) >= len(payloads)

        await until(done, "all answers")
        assert erp.payloads(TOPICS.ack) == payloads
        assert most <= bound
        assert OFFLINE not in erp.payloads(TOPICS.state)
        assert rig.session.last_error is None


async def test_large_messages_are_bounded_by_their_bytes(
    broker: Broker, erp: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inbox_module, "HELD_BYTES", 4 << 20)
    monkeypatch.setattr(inbox_module, "GATHER_BYTES", 1 << 20)
    most = 0
    async with Rig(Settings([broker.url])) as rig:
        await rig.connected()
        rig.free.clear()
        heads = [(b"%03d" % number).ljust(100, b".") for number in range(40)]
        for head in heads:
            await asyncio.to_thread(erp.publish, TOPICS.command, head.ljust(300 << 10))
        rig.free.set()

        def done() -> bool:
            nonlocal most
            most = max(most, rig.session._link.inbox.held if rig.session._link else 0)
            return len(erp.payloads(TOPICS.ack)) >= len(heads)

        await until(done, "all answers")
        assert erp.payloads(TOPICS.ack) == heads
        assert most <= 4 << 20
        assert max(sum(len(message.payload) for message in batch) for batch in rig.batches) <= 1 << 20
        assert rig.session.last_error is None


# ------------------------------------------------------------------------------------------------ connections


async def test_a_broker_that_is_down_at_start_is_waited_for(tmp_path: Path) -> None:
    broker = Broker(tmp_path / "broker")
    async with Rig(Settings([broker.url])) as rig:
        await until(lambda: rig.session.last_error, "an error")
        assert f"127.0.0.1:{broker.port}: cannot connect" in (rig.session.last_error or "")
        assert "refused" in (rig.session.last_error or "")
        assert not await rig.session.publish(Outbound(TOPICS.event, b"nobody"))
        await asyncio.to_thread(broker.start)
        try:
            await rig.connected()
            assert rig.session.connected == f"127.0.0.1:{broker.port}"
        finally:
            await rig.stop()
            broker.stop()


@pytest.mark.parametrize("forgets", [False, True], ids=["keeps the session", "lost the session"])
async def test_after_a_restart_of_the_broker_commands_flow_again(broker: Broker, erp: Peer, forgets: bool) -> None:
    async with Rig(Settings([broker.url])) as rig:
        await rig.connected()
        await asyncio.to_thread(erp.publish, TOPICS.command, b"before")
        await asyncio.to_thread(erp.wait_for, TOPICS.ack)
        broker.kill()
        await until(lambda: rig.session.connected is None, "the loss to be noticed")
        if forgets:
            broker.forget()
        await asyncio.to_thread(broker.start)
        await rig.connected()
        await until(lambda: erp.payloads(TOPICS.state).count(ONLINE) >= 2, "the state to be published again")
        await asyncio.to_thread(erp.publish, TOPICS.command, b"after")
        assert (await asyncio.to_thread(erp.wait_for, TOPICS.ack, 2))[-1] == b"after"
        assert [value for _, value in rig.seen.links[:3]] == [True, False, True]


async def test_a_connection_lost_while_handling_is_made_good_by_redelivery(broker: Broker, erp: Peer) -> None:
    async with Rig(Settings([broker.url])) as rig:
        rig.free.clear()
        await rig.connected()
        await asyncio.to_thread(erp.publish, TOPICS.command, b"slow")
        await until(lambda: rig.inside, "the handler to run")
        await asyncio.to_thread(broker.restart)
        await rig.connected()  # although the handler still runs
        await until(lambda: len(rig.seen.links) >= 3, "the second connection")
        await until(lambda: erp.subscribed >= 2, "the peer's second connection")
        assert rig.inside == 1
        rig.free.set()
        assert await asyncio.to_thread(erp.wait_for, TOPICS.ack) == [b"slow"]
        assert [message.payload for message in rig.got] == [b"slow", b"slow"]
        assert rig.most_inside == 1


async def test_brokers_are_tried_in_order_and_the_preferred_one_is_returned_to(tmp_path: Path) -> None:
    first, second = Broker(tmp_path / "first"), Broker(tmp_path / "second")
    second.start()
    try:
        async with Rig(Settings([first.url, second.url])) as rig:
            await rig.connected()
            assert rig.session.connected == f"127.0.0.1:{second.port}"
            assert f"127.0.0.1:{first.port}: cannot connect" in (rig.session.last_error or "")
            await asyncio.to_thread(first.start)
            await asyncio.to_thread(second.restart)
            await until(lambda: rig.session.connected == f"127.0.0.1:{first.port}", "the preferred broker")
    finally:
        first.stop()
        second.stop()


async def test_two_clients_of_one_id_slow_down_and_are_told_why(broker: Broker) -> None:
    # mosquitto 2.0 hangs up on the one it throws out without a word.
    async with Rig(Settings([broker.url])) as rig, Rig(Settings([broker.url])) as twin:
        for each in (rig, twin):
            await until(lambda each=each: "the client id edged-gw1" in (each.session.last_error or ""), "the hint")  # type: ignore[misc]
            assert each.session._trouble.failures >= 2


async def test_a_session_taken_over_is_named(broker: Broker) -> None:
    # Session taken over, as MQTT 5 wants it said.
    taken_over = b"\xe0\x02\x8e\x00"
    async with proxy(broker, after_subscribing=taken_over) as port, Rig(Settings([f"mqtt://127.0.0.1:{port}"])) as rig:
        await until(lambda: rig.session.last_error, "an error")
        assert "another client took over the session" in (rig.session.last_error or "")


async def test_a_broker_that_accepts_and_says_nothing_does_not_hang_a_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        async with Rig(Settings([f"mqtt://127.0.0.1:{silent.getsockname()[1]}"])) as rig:
            accepted = await asyncio.to_thread(silent.accept)
            began = time.monotonic()
            await rig.stop()
            assert time.monotonic() - began < 5
            accepted[0].close()


# ------------------------------------------------------------------------------------------------ MQTT 5 and 3.1.1


async def test_response_topic_and_correlation_data_are_passed_on_if_they_are_ours(broker: Broker, erp: Peer) -> None:
    async with Rig(Settings([broker.url])) as rig:
        await rig.connected()
        erp.publish(TOPICS.command, b"1", response_topic="edged/v1/erp/answers", correlation=b"\0\xff", wait=False)
        erp.publish(TOPICS.command, b"2", response_topic="elsewhere/answers", correlation=b"two", wait=False)
        await asyncio.to_thread(erp.wait_for, TOPICS.ack)
        await asyncio.to_thread(erp.wait_for, "edged/v1/erp/answers")
        assert [(m.response_topic, m.correlation) for m in rig.got] == [
            ("edged/v1/erp/answers", b"\0\xff"),
            (None, b"two"),
        ]
        answers = {bytes(m.payload): m for m in erp.messages if m.topic != TOPICS.state}
        assert answers[b"1"].topic == "edged/v1/erp/answers"
        assert getattr(answers[b"1"].properties, "CorrelationData", None) == b"\0\xff"
        assert answers[b"2"].topic == TOPICS.ack


async def test_a_broker_without_mqtt_5_is_spoken_to_in_3_1_1(broker: Broker, erp: Peer) -> None:
    await asyncio.to_thread(erp.publish, "edged/v1/group/all/cmd", b"retained", retain=True)
    async with proxy(broker, refuse_version_5=True) as port, Rig(Settings([f"mqtt://127.0.0.1:{port}"])) as rig:
        await rig.connected()
        await asyncio.to_thread(
            erp.publish, TOPICS.command, b"plain", response_topic="edged/v1/erp/answers", correlation=b"x"
        )
        assert await asyncio.to_thread(erp.wait_for, TOPICS.ack) == [b"plain"]
        assert [(m.payload, m.response_topic, m.correlation) for m in rig.got] == [(b"plain", None, None)]
        await until(lambda: not rig.session._worker.busy, "the acknowledgement")
        await rig.stop()
        # The session survives: what comes meanwhile is delivered on the next connection.
        await asyncio.to_thread(erp.publish, TOPICS.command, b"meanwhile")
        rig.start()
        assert await asyncio.to_thread(erp.wait_for, TOPICS.ack, 2) == [b"plain", b"meanwhile"]


async def test_a_retained_command_is_not_replayed_on_connecting(broker: Broker, erp: Peer) -> None:
    await asyncio.to_thread(erp.publish, TOPICS.command, b"old", retain=True)
    async with Rig(Settings([broker.url])) as rig:
        await rig.connected()
        await asyncio.to_thread(erp.publish, TOPICS.command, b"new", retain=True)
        assert await asyncio.to_thread(erp.wait_for, TOPICS.ack) == [b"new"]
        assert [m.payload for m in rig.got] == [b"new"]


async def test_what_an_earlier_configuration_subscribed_to_is_given_back_unread(broker: Broker, erp: Peer) -> None:
    old = Rig(Settings([broker.url]), subscriptions=[*TOPICS.subscriptions, "edged/v1/group/left/cmd"])
    async with old:
        await old.connected()
    await asyncio.to_thread(erp.publish, "edged/v1/group/left/cmd", b"not ours")
    async with Rig(Settings([broker.url])) as rig:
        await rig.connected()
        await until(lambda: "Received UNSUBSCRIBE from edged-gw1" in broker.log, "the end of the subscription")
        await asyncio.to_thread(erp.publish, "edged/v1/group/left/cmd", b"not ours either")
        await asyncio.to_thread(erp.publish, TOPICS.command, b"ours")
        assert await asyncio.to_thread(erp.wait_for, TOPICS.ack) == [b"ours"]
        assert [message.payload for message in rig.got] == [b"ours"]


# ---------------------------------------------------------------------------------------------- TLS, passwords, rights


def run(*command: str, folder: Path | None = None) -> None:
    subprocess.run(command, cwd=folder, check=True, capture_output=True)


@pytest.fixture
def certificates(tmp_path: Path) -> Path:
    folder = tmp_path / "tls"
    folder.mkdir()
    new = ("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2")
    for name in ("ca", "other"):
        run("openssl", *new, "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.pem", folder=folder)
    for name, subject in (("server", "/CN=localhost"), ("client", "/CN=gw1")):
        signed = ("-CA", "ca.pem", "-CAkey", "ca.key", "-addext", "basicConstraints=critical,CA:FALSE")
        names = ("-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1")
        files = ("-keyout", f"{name}.key", "-out", f"{name}.pem")
        run("openssl", *new, "-subj", subject, *files, *signed, *names, folder=folder)
    return folder


# paho leaves the socket of a failed handshake to the garbage collector, which closes it and says so.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_tls_with_certificates_of_both_sides(tmp_path: Path, certificates: Path) -> None:
    listener = (
        f"cafile {certificates}/ca.pem",
        f"certfile {certificates}/server.pem",
        f"keyfile {certificates}/server.key",
        "require_certificate true",
    )
    ca, cert, key = (certificates / name for name in ("ca.pem", "client.pem", "client.key"))
    with Broker(tmp_path / "broker", listener=listener) as broker:
        url = f"mqtts://127.0.0.1:{broker.port}"
        async with Rig(Settings([url], ca_file=ca, cert_file=cert, key_file=key)) as rig:
            await rig.connected()
            big = b"x" * 300_000
            assert await rig.session.publish(*[Outbound(TOPICS.command, big) for _ in range(20)])
            await until(lambda: len(rig.got) == 20, "20 messages over TLS")
            assert all(message.payload == big for message in rig.got)
        async with Rig(Settings([url], ca_file=certificates / "other.pem", cert_file=cert, key_file=key)) as rig:
            await until(lambda: rig.session.last_error, "an error")
            assert "CERTIFICATE_VERIFY_FAILED" in (rig.session.last_error or "")
        async with Rig(Settings([url], ca_file=certificates / "missing.pem")) as rig:
            await until(lambda: rig.session.last_error, "an error")
            assert "mqtt.ca_file" in (rig.session.last_error or "")
    gc.collect()


async def test_username_and_password_file_read_anew_at_each_attempt(tmp_path: Path) -> None:
    passwords, secret = tmp_path / "passwords", tmp_path / "secret"
    run("mosquitto_passwd", "-c", "-b", str(passwords), "gw1", "segredo")
    secret.write_text("wrong\n")
    with Broker(tmp_path / "broker", extra=("allow_anonymous false", f"password_file {passwords}")) as broker:
        async with Rig(Settings([broker.url], username="gw1", password_file=secret)) as rig:
            await until(lambda: rig.session.last_error, "an error")
            assert "the broker refused the connection: not authorized" in (rig.session.last_error or "")
            secret.write_text("segredo\n")
            await rig.connected()


async def test_what_the_broker_refuses_is_named(tmp_path: Path) -> None:
    rights = tmp_path / "acl"
    rights.write_text(f"topic readwrite {TOPICS.command}\ntopic write {TOPICS.state}\n")
    rights.chmod(0o600)
    with Broker(tmp_path / "broker", extra=("allow_anonymous true", f"acl_file {rights}")) as broker:
        async with Rig(Settings([broker.url])) as rig:
            await rig.connected()
            # mosquitto 2.0.11 hangs up afterwards, others do not.
            await rig.session.publish(Outbound(TOPICS.ack, b"not allowed"))
            await until(
                lambda: "refused one of our messages: not authorized" in (rig.session.last_error or ""), "the refusal"
            )


# ------------------------------------------------------------------------------------------------ bad input


async def test_huge_and_binary_payloads_reach_the_pipeline(broker: Broker, erp: Peer) -> None:
    huge, garbage = os.urandom(1000) * 10_000, bytes(range(256))
    async with Rig(Settings([broker.url])) as rig:
        await rig.connected()
        for payload in (huge, garbage, b"", b"next"):
            erp.publish(TOPICS.command, payload, wait=False)
        await until(lambda: len(rig.got) == 4, "all four")
        assert [message.payload for message in rig.got] == [huge, garbage, b"", b"next"]
        assert await asyncio.to_thread(erp.wait_for, TOPICS.ack, 4)


async def test_an_answer_the_broker_cannot_take_is_dropped_and_named(tmp_path: Path) -> None:
    with Broker(tmp_path / "broker", extra=("allow_anonymous true", "max_packet_size 10000")) as broker:
        async with Rig(Settings([broker.url])) as rig:
            await rig.connected()
            assert await rig.session.publish(Outbound(TOPICS.event, b"x" * 20_000), Outbound(TOPICS.event, b"y"))
            assert "20000 bytes was dropped" in (rig.session.last_error or "")
            assert rig.session.connected


async def test_a_handler_that_raises_is_logged_once_and_its_messages_come_again(
    broker: Broker, erp: Peer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with Rig(Settings([broker.url])) as rig:
        rig.fail = lambda message: message.payload == b"bad"
        await rig.connected()
        for payload in (b"good", b"bad", b"after"):
            erp.publish(TOPICS.command, payload, wait=False)
        began = time.monotonic()
        await until(lambda: [m.payload for m in rig.got].count(b"bad") >= 5, "five tries")
        # 0.05 + 0.1 + 0.2 + 0.4 s, of which at least half is waited, lie between five tries.
        assert time.monotonic() - began > 0.3
        assert await asyncio.to_thread(erp.wait_for, TOPICS.ack) == [b"good"], "a bad one stops what came before it"
        assert "could not be handled and will come again: KeyError at Rig._handle" in (rig.session.last_error or "")
        assert "C-7" not in caplog.text
        assert caplog.text.count("could not be handled") == 1
        rig.fail = lambda _message: False
        await until(lambda: rig.got[-1].payload == b"after", "the rest")
        assert (await asyncio.to_thread(erp.wait_for, TOPICS.ack, 3))[-2:] == [b"bad", b"after"]
