"""Several brokers: over and back, whatever fails; nothing lost, nothing twice, nothing out of order."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edged.mqtt import link, rounds, trouble
from edged.mqtt.message import Outbound
from tests.bridged import bridged, saved, two_brokers
from tests.broker import Broker
from tests.gateway import TOPICS, Gateway
from tests.mqtt_settings import Settings
from tests.proxy import PUBLISH, Act, Meddle, Proxy, cut_every, leave
from tests.stream import Stream, retained_states


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trouble, "FIRST_DELAY", 0.05)
    monkeypatch.setattr(trouble, "LAST_DELAY", 0.4)
    monkeypatch.setattr(rounds, "RETURN_SECONDS", 0.5)
    monkeypatch.setattr(rounds, "FIRST_LOOK_SECONDS", 0.1)
    monkeypatch.setattr(rounds, "LOOK_SECONDS", 0.4)
    monkeypatch.setattr(rounds, "MARK_SECONDS", 10.0)
    monkeypatch.setattr(rounds, "MARK_AGAIN_SECONDS", 0.1)


@pytest.fixture
def brokers(tmp_path: Path) -> Iterator[tuple[Broker, Broker]]:
    with two_brokers(tmp_path) as pair:
        yield pair


async def until(condition: Callable[[], object], what: str, seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds} s: {what}"
        await asyncio.sleep(0.01)


def at(broker: Broker) -> str:
    return f"127.0.0.1:{broker.port}"


def names(erp: Stream) -> list[str]:
    return [erp.name(number) for number in range(1, erp.sent + 1)]


def check(gateway: Gateway, erp: Stream) -> None:
    """The history: every batch once and in order, each answer says so, the end is the last batch's."""
    assert gateway.first == names(erp)
    moves = [(e["from"], e["to"]) for _, e in sorted(gateway.events.items()) if e["event"] == "address.moved"]
    assert moves == [(f"S{n}", f"S{n + 1}") for n in range(1, erp.sent)]
    for name in names(erp):
        for answer in erp.answers["gw1"][name]:
            assert answer["summary"]["applied"] == 2, answer
            assert "gap" not in answer
    assert gateway.core.pipeline.questions.why("100.64.9.9")["sub"] == f"S{erp.sent}"
    assert gateway.core.agrees()


async def told(gateway: Gateway, erp: Stream) -> None:
    await until(lambda: len(gateway.events) >= erp.sent - 1 or gateway.first != names(erp), "all events")


@pytest.mark.parametrize("erp_at", [0, 1], ids=["the sender at the first", "the sender at the second"])
async def test_a_stream_over_two_bridged_brokers_of_which_each_is_killed_once(
    tmp_path: Path, brokers: tuple[Broker, Broker], erp_at: int
) -> None:
    first, second = brokers
    urls = [first.url, second.url]
    async with (
        Gateway(tmp_path / "gw1", Settings(urls, keepalive=2)) as gateway,
        Stream(Settings(urls[erp_at:] + urls[:erp_at], keepalive=2)) as erp,
    ):
        await until(lambda: gateway.broker == at(first), "the preferred broker")
        # A bridge whose session is forgotten would miss what comes before it is back.
        await until(lambda: saved(first, "edged-gw1", f"{socket.gethostname()}.pair"), "sessions on the first's disk")
        await until(lambda: saved(second, "edged-gw1"), "a session on the second's disk")
        await erp.send(20)

        stream = asyncio.create_task(erp.send(60))
        await until(lambda: len(gateway.first) > 30, "the stream to flow")
        first.kill()
        await until(lambda: gateway.broker == at(second), "over to the second")
        await stream

        stream = asyncio.create_task(erp.send(60))
        await asyncio.to_thread(first.start)
        await until(lambda: gateway.broker == at(first), "back at the first")
        await stream
        await until(lambda: bridged(first, second), "the bridge")

        stream = asyncio.create_task(erp.send(60))
        await until(lambda: len(gateway.first) > 160, "the stream to flow")
        second.kill()  # not in use by the gateway
        await asyncio.to_thread(second.start)
        await stream
        await told(gateway, erp)
        check(gateway, erp)
        assert gateway.broker == at(first)


async def test_what_comes_to_the_other_broker_before_the_gateway_does_is_kept_there(
    tmp_path: Path, brokers: tuple[Broker, Broker]
) -> None:
    first, second = brokers
    async with (
        Proxy(second.port) as way,
        Gateway(tmp_path / "gw1", Settings([first.url, way.url], keepalive=2)) as gateway,
        Stream(Settings([second.url])) as erp,
    ):
        await until(lambda: gateway.broker == at(first), "the preferred broker")
        await until(lambda: "Received SUBSCRIBE from edged-gw1" in second.log, "a session at the other one")
        await until(lambda: not way.open, "the look to end")
        way.stall()
        first.kill()
        stream = asyncio.create_task(erp.send(8))
        await until(lambda: erp.sent == 8, "all to be sent before the gateway can ask for them")
        way.resume()
        await stream
        await told(gateway, erp)
        check(gateway, erp)


async def test_the_queue_at_the_other_broker_is_emptied_again_and_again(
    tmp_path: Path, brokers: tuple[Broker, Broker]
) -> None:
    first, second = brokers
    async with (
        Gateway(tmp_path / "gw1", Settings([first.url, second.url])) as gateway,
        Stream(Settings([first.url])) as erp,
    ):
        await until(lambda: "Received SUBSCRIBE from edged-gw1" in second.log, "a session at the other one")
        await erp.send(30)
        await until(lambda: sum(duplicate for _, duplicate in gateway.handled) >= 30, "all of them a second time")
        await until(lambda: second.log.count("Received PUBACK from edged-gw1") >= 30, "acknowledged there as well")
        assert gateway.broker == at(first)
        assert gateway.session.last_error is None
        await told(gateway, erp)
        check(gateway, erp)


async def test_a_dead_broker_that_is_not_in_use_is_named(tmp_path: Path, brokers: tuple[Broker, Broker]) -> None:
    first, second = brokers
    await asyncio.to_thread(second.stop)
    async with Gateway(tmp_path / "gw1", Settings([first.url, second.url])) as gateway:
        await until(lambda: f"{at(second)}: cannot connect" in (gateway.session.last_error or ""), "the error")
        assert gateway.broker == at(first)
        await asyncio.to_thread(second.start)
        await until(lambda: gateway.session.last_error is None, "the error to go")


async def test_brokers_that_do_not_pass_on_to_each_other_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rounds, "MARK_SECONDS", 0.3)
    with Broker(tmp_path / "first") as first, Broker(tmp_path / "second") as second:
        async with Gateway(tmp_path / "gw1", Settings([first.url, second.url])) as gateway:
            await until(lambda: "are the brokers bridged" in (gateway.session.last_error or ""), "the hint")
            assert gateway.broker == at(first)
            assert at(second) in (gateway.session.last_error or "")


async def test_a_will_that_comes_late_does_not_leave_the_gateway_offline(
    tmp_path: Path, brokers: tuple[Broker, Broker]
) -> None:
    first, second = brokers
    async with (
        Proxy(first.port) as way,
        Gateway(tmp_path / "gw1", Settings([way.url, second.url], keepalive=1)) as gateway,
        Stream(Settings([second.url])) as erp,
    ):
        await until(lambda: gateway.broker == f"127.0.0.1:{way.port}", "the preferred broker")
        await until(lambda: any(state["online"] for state in erp.states), "its state")
        way.stall()  # both ends live on, and neither hears the other
        await until(lambda: gateway.broker == at(second), "the stall to be noticed")
        await until(lambda: any(not state["online"] for state in erp.states), "the will of the first broker")
        await until(lambda: erp.states[-1]["online"], "the gateway to contradict it")
        assert gateway.broker == at(second)


async def test_an_old_state_that_a_bridge_brings_late_does_not_stay(
    tmp_path: Path, brokers: tuple[Broker, Broker]
) -> None:
    first, second = brokers
    async with (
        Gateway(tmp_path / "gw1", Settings([first.url, second.url])) as gateway,
        Stream(Settings([second.url])) as erp,
    ):
        await until(lambda: gateway.broker == at(first), "the preferred broker")
        await until(lambda: any(state.get("in_sync") for state in erp.states), "its state")
        true = erp.states[-1]["hash"]
        old = {**erp.states[-1], "hash": "f" * 16, "at": "2026-01-01T00:00:00Z"}
        assert await erp.session.publish(Outbound(TOPICS.state, json.dumps(old).encode(), retain=True))
        await until(lambda: any(s["hash"] == "f" * 16 for s in erp.states), "the old one to be there")
        await until(lambda: erp.states[-1]["hash"] == true, "the gateway to contradict it")
        both = [(await retained_states(Settings([b.url]), 1))["gw1"]["hash"] for b in (first, second)]
        assert both == [true, true]


async def test_brokers_of_a_cluster_have_one_session_and_nobody_fights_over_it(tmp_path: Path) -> None:
    with Broker(tmp_path / "cluster") as broker:
        async with (
            Proxy(broker.port) as one,
            Proxy(broker.port) as two,
            Gateway(tmp_path / "gw1", Settings([one.url, two.url])) as gateway,
            Stream(Settings([broker.url])) as erp,
        ):
            await until(lambda: two.did["connection"], "a look at the other node")
            await erp.send(30)
            await until(lambda: gateway.broker == f"127.0.0.1:{one.port}", "the preferred node")
            before = one.did["connection"], two.did["connection"]
            await erp.send(30)
            # Several times the pause after which the other node would have been looked in on again.
            stream = erp.send(1)
            await asyncio.gather(stream, asyncio.sleep(3 * rounds.LOOK_SECONDS))
            assert (one.did["connection"], two.did["connection"]) == before
            assert "another client" not in (gateway.session.last_error or "")
            await told(gateway, erp)
            check(gateway, erp)


async def test_a_preferred_broker_that_does_not_last_is_given_longer_each_time(
    tmp_path: Path, brokers: tuple[Broker, Broker]
) -> None:
    first, second = brokers
    async with (
        Proxy(first.port) as way,
        Gateway(tmp_path / "gw1", Settings([way.url, second.url])) as gateway,
    ):
        for patience in (0.5, 1.0, 2.0):
            await until(lambda: gateway.broker == f"127.0.0.1:{way.port}", "the preferred broker")
            way.meddle = lambda *_: Act.CUT
            way.cut()
            await until(lambda: gateway.broker == at(second), "over to the second")
            way.meddle = leave
            await until(lambda: gateway.broker == f"127.0.0.1:{way.port}", "back at the first")
            assert gateway.session._rounds._patience == patience


# ------------------------------------------------------------------------------------------ what cannot be reached


async def test_a_name_without_an_address_is_named_and_the_next_broker_used(
    tmp_path: Path, brokers: tuple[Broker, Broker], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = socket.getaddrinfo

    def resolve(host: Any, *rest: Any, **more: Any) -> Any:
        if host == "mqtt.example.net":
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return real(host, *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    async with Gateway(tmp_path / "gw1", Settings(["mqtt://mqtt.example.net", brokers[1].url])) as gateway:
        await until(lambda: gateway.broker == at(brokers[1]), "the next broker")
        error = gateway.session.last_error or ""
        assert "mqtt.example.net:1883: cannot connect: the name 'mqtt.example.net' has no address" in error
        assert "mqtt.brokers" in error


async def test_a_broker_that_accepts_and_says_nothing_is_left_for_the_next(
    tmp_path: Path, brokers: tuple[Broker, Broker], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link, "ANSWER_SECONDS", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        async with Gateway(tmp_path / "gw1", Settings([f"mqtt://127.0.0.1:{port}", brokers[1].url])) as gateway:
            await until(lambda: gateway.broker == at(brokers[1]), "the next broker")
            error = gateway.session.last_error or ""
            assert f"127.0.0.1:{port}: cannot connect: it accepted the connection and said nothing" in error


# ------------------------------------------------------------------------------------------------ a bad network


def twice(act: Act) -> Meddle:
    """Every third PUBLISH, in both directions."""
    seen = 0

    def meddle(_direction: str, kind: int, _packet: bytes) -> Act:
        nonlocal seen
        seen += kind == PUBLISH
        return act if kind == PUBLISH and seen % 3 == 0 else Act.PASS

    return meddle


@pytest.mark.parametrize(
    ("meddle", "done"),
    [
        (cut_every(40), "cut"),
        (cut_every(70, direction="down"), "cut"),
        (twice(Act.AGAIN), "AGAIN"),
        (twice(Act.COPY), "COPY"),
    ],
    ids=["cuts inside answers", "cuts inside commands", "sends again", "sends as another message"],
)
async def test_a_stream_through_a_network_that(tmp_path: Path, meddle: Meddle, done: str) -> None:
    with Broker(tmp_path / "broker") as broker:
        async with (
            Proxy(broker.port) as way,
            Gateway(tmp_path / "gw1", Settings([way.url])) as gateway,
            Stream(Settings([broker.url])) as erp,
        ):
            await until(lambda: gateway.broker, "the broker")
            way.meddle = meddle
            await erp.send(100)
            way.meddle = leave
            assert way.did[done] >= 2, way.did
            await told(gateway, erp)
            check(gateway, erp)
            await until(lambda: erp.events == gateway.events, "the sender to hear them all")


async def test_a_stream_through_a_network_that_stalls_and_delays(tmp_path: Path) -> None:
    with Broker(tmp_path / "broker") as broker:
        async with (
            Proxy(broker.port) as way,
            Gateway(tmp_path / "gw1", Settings([way.url], keepalive=1)) as gateway,
            Stream(Settings([broker.url])) as erp,
        ):
            await until(lambda: gateway.broker, "the broker")
            way.delay = 0.005
            stream = asyncio.create_task(erp.send(60))
            await until(lambda: len(gateway.first) > 20, "the stream to flow")
            way.stall()
            await until(lambda: gateway.broker is None, "the stall to be noticed")
            way.cut()
            way.resume()
            await stream
            assert way.did["stall"]
            await told(gateway, erp)
            check(gateway, erp)


async def test_two_bridged_brokers_behind_networks_that_cut_and_repeat(
    tmp_path: Path, brokers: tuple[Broker, Broker]
) -> None:
    first, second = brokers
    async with (
        Proxy(first.port) as one,
        Proxy(second.port) as two,
        Gateway(tmp_path / "gw1", Settings([one.url, two.url])) as gateway,
        Stream(Settings([second.url, first.url])) as erp,
    ):
        await until(lambda: gateway.broker, "a broker")
        one.meddle, two.meddle = cut_every(30), twice(Act.COPY)
        await erp.send(80)
        one.meddle = two.meddle = leave
        assert one.did["cut"]
        await told(gateway, erp)
        check(gateway, erp)
