"""The sender's side against real brokers and a gateway that speaks the protocol."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edged import envelope
from edged.client import Answer, Brokers, Group, Sender, Unanswered, courier, lanes, resync, snapshots
from edged.client.outbox import Outbox
from edged.errors import ConfigError, EdgedError
from edged.mqtt import trouble
from tests.broker import Broker, Peer
from tests.fake_gateway import FakeGateway
from tests.system.test_mqtt_session import proxy

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trouble, "FIRST_DELAY", 0.05)
    monkeypatch.setattr(trouble, "LAST_DELAY", 0.4)
    monkeypatch.setattr(resync, "FIRST_PAUSE", 0.1)
    monkeypatch.setattr(snapshots, "SETTLE", 0.5)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with Broker(tmp_path / "broker", log_type="error") as running:
        yield running


async def until(condition: Callable[[], object], what: str, seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds} s: {what}"
        await asyncio.sleep(0.01)


def blocks(first: int, last: int) -> list[dict[str, Any]]:
    return [{"op": "block", "sub": f"C-{n}", "reason": "debt", "invoices": [f"F-{n}"]} for n in range(first, last + 1)]


def subs(gateway: FakeGateway) -> list[str]:
    return [c["sub"] for c in gateway.commands]


# ------------------------------------------------------------------------------------------------ batches


async def test_commands_arrive_numbered_in_order_and_are_answered(broker: Broker, tmp_path: Path) -> None:
    async with (
        FakeGateway("gw1", [broker.url]) as gateway,
        Sender("erp", brokers=[broker.url], outbox=tmp_path / "out", batch=10) as sender,
    ):
        gateway.bad["C-7"] = "trust_spent"
        first = await sender.send("gw1", blocks(1, 25))
        second = await sender.send("gw1", blocks(26, 30))
        answers = await first.answers()
        assert [a.id for a in answers] == list(first.ids)
        assert len(first.ids) == 3
        assert [a.ok for a in answers] == [False, True, True]
        assert [(r["sub"], r["code"]) for r in answers[0].rejected] == [("C-7", "trust_spent")]
        await second.answers()
        assert gateway.numbers == [1, 2, 3, 4]
        assert subs(gateway) == [f"C-{n}" for n in range(1, 31)]
        assert not gateway.gaps
        assert sender.connected == f"127.0.0.1:{broker.port}"


async def test_a_group_is_answered_by_each_gateway(broker: Broker, tmp_path: Path) -> None:
    both = Group("pop1", ["gw1", "gw2"])
    async with Sender("erp", brokers=[broker.url], outbox=tmp_path / "out") as sender:
        async with FakeGateway("gw1", [broker.url], groups=["pop1"]), FakeGateway("gw2", [broker.url], groups=["pop1"]):
            sent = await sender.send(both, blocks(1, 3))
            assert [a.gateway for a in await sent.answers()] == ["gw1", "gw2"]
        async with FakeGateway("gw2", [broker.url], groups=["pop1"]):
            sent = await sender.send(both, blocks(4, 4))
            with pytest.raises(Unanswered, match="gw1") as caught:
                await sent.answers(timeout=0.5)
            assert [a.gateway for a in caught.value.answers] == ["gw2"]
            unknown = await sender.send(Group("pop1"), blocks(5, 5))
            assert [a.gateway for a in await unknown.answers(timeout=0.5)] == ["gw2"]
        async with FakeGateway("gw1", [broker.url], groups=["pop1"]) as late:
            assert [a.gateway for a in await sent.answers()] == ["gw1", "gw2"]
            await until(lambda: len(late.applied) == 2, "what it missed")


async def test_a_sender_that_was_away_gets_the_answers_it_missed(broker: Broker, tmp_path: Path) -> None:
    heard: list[Answer] = []
    async with Sender("erp", brokers=[broker.url], outbox=tmp_path / "out") as sender:
        async with FakeGateway("gw1", [broker.url]):  # so that the broker knows the gateway's session
            await (await sender.send("gw1", blocks(1, 2))).answers()
        sent = await sender.send("gw1", blocks(3, 3))
        await until(lambda: sender._courier._lanes._lanes["gw/gw1/cmd"].cursor == 2, "the broker to take it")
    async with FakeGateway("gw1", [broker.url]) as gateway:
        await until(lambda: len(gateway.applied) == 1, "the command")
    async with Sender("erp", brokers=[broker.url], outbox=tmp_path / "out", on_answer=heard.append):
        await until(lambda: heard, "the answer")
    assert [a.id for a in heard] == list(sent.ids)


async def test_the_same_id_is_sent_once(broker: Broker, tmp_path: Path) -> None:
    async with (
        FakeGateway("gw1", [broker.url]) as gateway,
        Sender("erp", brokers=[broker.url], outbox=tmp_path / "out", batch=2) as sender,
    ):
        first = await sender.send("gw1", blocks(1, 3), id="run 7")
        assert first.ids == ("run 7", "run 7.2")
        again = await sender.send("gw1", blocks(1, 3), id="run 7")
        await first.answers()
        await again.answers()
        del first, again
        assert await (await sender.send("gw1", blocks(1, 3), id="run 7")).answers() == []
        await (await sender.send("gw1", blocks(4, 4))).answers()
        assert gateway.numbers == [1, 2, 3]
        assert not gateway.duplicates
        for bad in ("x" * 57, "", " x"):
            with pytest.raises(EdgedError, match="at most 56"):
                await sender.send("gw1", blocks(1, 1), id=bad)


async def test_an_id_of_other_commands_or_another_gateway(broker: Broker, tmp_path: Path) -> None:
    async with (
        FakeGateway("gw1", [broker.url]) as one,
        FakeGateway("gw2", [broker.url]) as two,
        Sender("erp", brokers=[broker.url], outbox=tmp_path / "out", batch=2) as sender,
    ):
        first = await sender.send("gw1", blocks(1, 3), id="ticket-1")
        with pytest.raises(EdgedError, match="'ticket-1' was sent to gw1 with other commands"):
            await sender.send("gw1", blocks(4, 4), id="ticket-1")
        other = await sender.send("gw2", blocks(5, 6), id="ticket-1")
        assert [(a.gateway, a.id) for a in await first.answers()] == [("gw1", "ticket-1"), ("gw1", "ticket-1.2")]
        assert [(a.gateway, a.id) for a in await other.answers()] == [("gw2", "ticket-1")]
        assert (subs(one), subs(two)) == (["C-1", "C-2", "C-3"], ["C-5", "C-6"])
        turned = [dict(reversed(c.items())) for c in blocks(1, 3)]
        assert (await sender.send("gw1", turned, id="ticket-1")).ids == first.ids
        with pytest.raises(EdgedError, match="'ticket-1' was sent to gw"):
            await sender.send(Group("pop1"), blocks(1, 3), id="ticket-1")


async def test_two_senders_do_not_share_an_outbox(broker: Broker, tmp_path: Path) -> None:
    async with Sender("erp", brokers=[broker.url], outbox=tmp_path / "out"):
        with pytest.raises(ConfigError, match="another sender uses it"):
            async with Sender("other", brokers=[broker.url], outbox=tmp_path / "out"):
                pass


async def test_commands_to_a_gateway_that_is_away_wait_in_the_outbox(
    broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(courier, "WINDOW", 5)
    async with Sender("erp", brokers=[broker.url], outbox=tmp_path / "out", batch=1) as sender:
        async with FakeGateway("gw1", [broker.url]):
            await (await sender.send("gw1", blocks(1, 1))).answers()
        sent = await sender.send("gw1", blocks(2, 40))
        lane = sender._courier._lanes._lanes["gw/gw1/cmd"]
        await until(lambda: lane.cursor == 6 and not lane.dirty, "the window to be full")
        async with FakeGateway("gw1", [broker.url]) as gateway:
            gateway._last["", "gw/gw1/cmd"] = (await epoch(sender), 1)
            await sent.answers()
            assert gateway.numbers == list(range(2, 41))


async def epoch(sender: Sender) -> str:
    return (await sender._post.do(Outbox.position, "gw/gw1/cmd"))[0]


# ------------------------------------------------------------------------------------------------ brokers


async def test_a_broker_that_dies_with_everything_in_it_loses_nothing(tmp_path: Path) -> None:
    first, second = (Broker(tmp_path / name, log_type="error") for name in ("first", "second"))
    first.start()
    second.start()
    urls = [first.url, second.url]
    try:
        async with (
            FakeGateway("gw1", urls) as gateway,
            Sender("erp", brokers=Brokers(urls), outbox=tmp_path / "out", batch=5) as sender,
        ):
            await (await sender.send("gw1", blocks(1, 5))).answers()
            # The first takes what follows, and is gone before anybody hears of it.
            await gateway.stop()
            sent = await sender.send("gw1", blocks(6, 100))
            lane = sender._courier._lanes._lanes["gw/gw1/cmd"]
            await until(lambda: lane.cursor == 20, "the first to take it")
            first.kill()
            first.forget()
            await gateway.start()
            await sent.answers()
            assert gateway.numbers == list(range(1, 21))
            assert subs(gateway) == [f"C-{n}" for n in range(1, 101)]
            assert not gateway.gaps
    finally:
        first.stop()
        second.stop()


async def test_a_broker_that_lost_its_memory_is_told_again(
    broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lanes, "FIRST_PATIENCE", 0.5)
    async with (
        FakeGateway("gw1", [broker.url]) as gateway,
        Sender("erp", brokers=[broker.url], outbox=tmp_path / "out") as sender,
    ):
        lost: list[int] = []

        def lose(_topic: str, document: dict[str, Any]) -> bool:
            lost.append(document["seq"])
            return len(lost) <= 2

        gateway.lose = lose
        await (await sender.send("gw1", blocks(1, 1))).answers()
        assert lost == [1, 1, 1]
        assert gateway.numbers == [1]


async def test_a_broker_that_only_speaks_311_needs_the_gateways_own_ack_topic(broker: Broker, tmp_path: Path) -> None:
    async with proxy(broker, refuse_version_5=True) as port:
        url = f"mqtt://127.0.0.1:{port}"
        async with (
            FakeGateway("gw1", [url]) as gateway,
            Sender("erp", brokers=[url], outbox=tmp_path / "out", batch=2, legacy=True) as sender,
        ):
            sent = await sender.send("gw1", blocks(1, 5))
            assert len(await sent.answers()) == 3
            assert (await sender.snapshot("gw1", rows(10))).ok
            assert gateway.numbers == [1, 2, 3]


# ------------------------------------------------------------------------------------------------ crashes


@pytest.mark.parametrize("where", ["reserved", "publishing", "published", "heard", "anywhere"])
async def test_a_killed_sender_never_uses_a_number_twice_nor_leaves_one_out(
    broker: Broker, tmp_path: Path, where: str
) -> None:
    async with FakeGateway("gw1", [broker.url]) as gateway:
        handed: list[int] = []
        for _ in range(8):
            life = await asyncio.to_thread(one_life, broker, tmp_path, where)
            handed += life
            if where != "anywhere" and len(gateway.applied) > 30:
                break
        await asyncio.to_thread(one_life, broker, tmp_path, "never")
        assert not gateway.gaps
        assert gateway.numbers == list(range(1, len(gateway.applied) + 1))
        ids = [batch["id"] for batch in gateway.applied]
        assert len(set(ids)) == len(ids)
        # What send() returned for is there, each once and in order; only a send() that was cut off may or may not be.
        got = [int(c["sub"].removeprefix("C-")) for c in gateway.commands]
        assert set(handed) <= set(got)
        assert got == sorted(set(got))


def one_life(broker: Broker, tmp_path: Path, where: str) -> list[int]:
    """Run a sender until it is killed at ``where`` or has no more to say; what it was sure of."""
    command = [sys.executable, "-m", "tests.sender_process", str(broker.port), str(tmp_path / "out"), where]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, timeout=60, env=os.environ)
    assert done.returncode in {0, -signal.SIGKILL}
    return [int(line) for line in done.stdout.split()]


async def test_an_outbox_from_a_backup_begins_a_new_numbering(broker: Broker, tmp_path: Path) -> None:
    async with FakeGateway("gw1", [broker.url]) as gateway:
        async with Sender("erp", brokers=[broker.url], outbox=tmp_path / "out", batch=1) as sender:
            await (await sender.send("gw1", blocks(1, 3))).answers()
        shutil.copy(tmp_path / "out", tmp_path / "backup")
        async with Sender("erp", brokers=[broker.url], outbox=tmp_path / "out", batch=1) as sender:
            await (await sender.send("gw1", blocks(4, 9))).answers()
        async with Sender("erp", brokers=[broker.url], outbox=tmp_path / "backup", batch=1) as sender:
            sent = await sender.send("gw1", blocks(10, 15))
            await sent.answers()
        assert subs(gateway) == [f"C-{n}" for n in range(1, 16)]
        assert gateway.numbers == [*range(1, 10), *range(1, 7)]
        assert not gateway.gaps


# ------------------------------------------------------------------------------------------------ signatures


async def test_signed_batches_and_what_is_refused_until_somebody_puts_it_right(
    broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lanes, "FIRST_PATIENCE", 0.3)
    ours, theirs = envelope.generate(), envelope.generate()
    (tmp_path / "key").write_text(envelope.private_text(ours))
    wrong, right = (
        envelope.Issuer("erp", (envelope.read_public(envelope.public_text(key)),), frozenset({"billing"}))
        for key in (theirs, ours)
    )
    async with Sender(
        "erp", brokers=[broker.url], outbox=tmp_path / "out", issuer="erp", key=tmp_path / "key"
    ) as sender:
        async with FakeGateway("gw1", [broker.url], issuers=[wrong]) as gateway:
            sent = await sender.send("gw1", blocks(1, 2))
            assert [a.refusal for a in await sent.answers()] == ["bad_signature"]
            assert not gateway.applied
        async with FakeGateway("gw1", [broker.url], issuers=[right]) as gateway:
            await until(lambda: gateway.applied, "the same batch, once the key is known")
            assert gateway.applied[0]["id"] == sent.ids[0]
            assert gateway.applied[0]["aud"] == ["gw1"]
            assert gateway.numbers == [1]


async def test_what_expired_on_its_way_is_stamped_anew(
    broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lanes, "FIRST_PATIENCE", 0.3)
    key = envelope.generate()
    issuer = envelope.Issuer("erp", (key,), frozenset({"billing"}))
    async with (
        Sender("erp", brokers=[broker.url], outbox=tmp_path / "out", issuer="erp", key=key, batch=1) as sender,
        FakeGateway("gw1", [broker.url], issuers=[issuer]) as gateway,
    ):
        gateway.now = lambda: round((time.time() + (90_000 if len(gateway.refused) < 3 else 0)) * 1000)
        await sender.send("gw1", blocks(1, 3))
        await until(lambda: len(gateway.applied) == 3, "all of them")
        assert set(gateway.refused) == {"expired"}
        assert gateway.numbers == [1, 2, 3]


# ------------------------------------------------------------------------------------------------ snapshots


def rows(count: int, area: int = 0) -> Iterator[dict[str, Any]]:
    for n in range(count):
        yield {"op": "bind", "sub": f"C-{n}", "addresses": [f"100.{64 + area}.{n >> 8}.{n & 255}"]}
        if n % 10 == 0:
            yield {
                "op": "block",
                "sub": f"C-{n}",
                "reason": "debt",
                "invoices": [{"id": f"F-{n}", "due": "2026-01-05"}],
            }


async def test_a_snapshot_goes_out_in_parts_and_missing_ones_again(broker: Broker, tmp_path: Path) -> None:
    async with (
        FakeGateway("gw1", [broker.url]) as gateway,
        Sender("erp", brokers=[broker.url], outbox=tmp_path / "out") as sender,
    ):
        await (await sender.send("gw1", blocks(1, 1))).answers()
        dropped: set[int] = set()

        def lose(topic: str, document: dict[str, Any]) -> bool:
            if topic.endswith("sync") and document["part"] in {2, 5} and document["part"] not in dropped:
                dropped.add(document["part"])
                return True
            return False

        gateway.lose = lose
        task = asyncio.create_task(sender.snapshot("gw1", rows(30_000)))
        await until(lambda: dropped == {2, 5} and len(next(iter(gateway._parts.values()))) >= 3, "the rest")
        sync = next(iter(gateway._parts))
        await gateway.event("sync.missing", sync=sync, missing=[2, 5])
        answer = await task
        assert answer.ok
        assert answer.document["counts"]["subscribers"] == 33_000
        assert gateway.snapshots == [list(rows(30_000))]
        assert gateway._last["", "gw/gw1/cmd"][1] == 1


async def test_a_gap_is_healed_by_a_snapshot_also_over_a_restart(broker: Broker, tmp_path: Path) -> None:
    reads: list[str] = []

    def table(gateway: str) -> Iterator[dict[str, Any]]:
        reads.append(gateway)
        if len(reads) == 1:
            raise OSError("the ERP's database is being restarted")
        return rows(100)

    async with FakeGateway("gw1", [broker.url]) as gateway:
        gateway.lose = lambda topic, document: topic.endswith("cmd") and document.get("seq") == 2
        async with Sender("erp", brokers=[broker.url], outbox=tmp_path / "out", batch=1, table=table) as sender:
            await sender.send("gw1", blocks(1, 3))
            await until(lambda: reads, "the wish for a snapshot")
        assert gateway.gaps == [(2, 3)]
        heard: list[Answer] = []
        lanes_patience = lanes.FIRST_PATIENCE
        async with Sender(
            "erp", brokers=[broker.url], outbox=tmp_path / "out", batch=1, table=table, on_answer=heard.append
        ) as sender:
            await until(lambda: gateway.snapshots, "the snapshot")
            await until(lambda: not sender._resync._serving, "the wish to be fulfilled")
            gateway.lose = lambda _topic, _document: False
            sender._courier._lanes.connected("elsewhere")  # batch 2 comes late, and is told so
            sender._courier._wake.set()
            await until(lambda: heard, "its answer")
        # One is enough; where batch 2 came again before the snapshot was answered, another was asked for.
        assert all(snapshot == list(rows(100)) for snapshot in gateway.snapshots)
        assert [a.refusal for a in heard] == ["stale"]
        assert lanes_patience == lanes.FIRST_PATIENCE


async def test_a_lost_outbox_is_made_good_by_a_snapshot(broker: Broker, tmp_path: Path) -> None:
    def table(_: str) -> Iterator[dict[str, Any]]:
        return rows(20)

    async with FakeGateway("gw1", [broker.url], groups=["pop1"]) as gateway:
        gateway.lose = lambda _topic, _document: True
        async with Sender("erp", brokers=[broker.url], outbox=tmp_path / "out", table=table) as sender:
            await sender.send("gw1", blocks(1, 3))
        gateway.lose = lambda _topic, _document: False
        async with Sender("erp", brokers=[broker.url], outbox=tmp_path / "new", table=table) as sender:
            await (await sender.send(Group("pop1", ["gw1"]), blocks(4, 4))).answers()
            await until(lambda: gateway.snapshots, "the snapshot")
            await until(lambda: not sender._resync._serving, "its answer")
            await (await sender.send("gw1", blocks(5, 5))).answers()
        async with Sender("erp", brokers=[broker.url], outbox=tmp_path / "new", table=table) as sender:
            await (await sender.send("gw1", blocks(6, 6))).answers()
            assert not await sender._post.do(Outbox.wanted)
        assert gateway.snapshots == [list(rows(20))]


async def test_what_no_snapshot_carries_is_sent_again_to_who_missed_it(broker: Broker, tmp_path: Path) -> None:
    garden = {"op": "garden", "name": "banks", "domains": ["bank.example"]}
    async with (
        FakeGateway("gw1", [broker.url], groups=["pop1"]) as one,
        FakeGateway("gw2", [broker.url], groups=["pop1"]) as two,
        Sender("erp", brokers=[broker.url], outbox=tmp_path / "out", table=lambda _: rows(5)) as sender,
    ):
        two.lose = lambda topic, document: topic == "group/pop1/cmd" and document.get("seq") == 1
        everybody = Group("pop1", ["gw1"])  # gw2 is not expected, so nobody waits for it
        await (await sender.send(everybody, [garden])).answers()
        await sender.send(everybody, blocks(1, 1))
        await until(lambda: two.gaps, "the gap")
        await until(lambda: garden in two.commands, "the garden")
        await until(lambda: two.snapshots, "the snapshot")
        assert one.commands == [garden, *blocks(1, 1)]


async def test_an_epoch_of_a_slow_clock_is_put_above_the_gateways(
    broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(courier, "new_epoch", lambda: "1970-01-01T00:00:00Z")
    monkeypatch.setattr("edged.client.sender.new_epoch", lambda: "1970-01-01T00:00:00Z")
    gateway = FakeGateway("gw1", [broker.url])
    gateway._last["", "gw/gw1/cmd"] = ("2026-11-21T12:00:00Z", 41)
    async with gateway, Sender("erp", brokers=[broker.url], outbox=tmp_path / "out", batch=1) as sender:
        assert all(a.ok for a in await (await sender.send("gw1", blocks(1, 3))).answers())
        assert gateway._last["", "gw/gw1/cmd"] == ("2026-11-21T12:00:00Z'", 3)
        assert subs(gateway) == ["C-1", "C-2", "C-3"]


async def test_a_snapshot_cut_off_by_a_crash_goes_on(broker: Broker, tmp_path: Path) -> None:
    async with Sender("erp", brokers=[broker.url], outbox=tmp_path / "out") as sender:
        async with FakeGateway("gw1", [broker.url]):
            await (await sender.send("gw1", blocks(1, 1))).answers()
        with pytest.raises(Unanswered, match="gw1"):
            await sender.snapshot("gw1", rows(12_000), timeout=0.5)
    async with (
        FakeGateway("gw1", [broker.url]) as gateway,
        Sender("erp", brokers=[broker.url], outbox=tmp_path / "out") as sender,
    ):
        await until(lambda: gateway.snapshots, "the snapshot")
        assert gateway.snapshots[0] == list(rows(12_000))
        async with asyncio.timeout(30):
            while await sender._post.do(Outbox.snapshots):  # noqa: ASYNC110 - the outbox tells nobody
                await asyncio.sleep(0.02)


async def test_only_what_differs_is_sent_again(broker: Broker, tmp_path: Path) -> None:
    truth = list(rows(2000))
    async with (
        FakeGateway("gw1", [broker.url]) as gateway,
        Sender("erp", brokers=[broker.url], outbox=tmp_path / "out", table=lambda _: truth) as sender,
    ):
        gateway.table = list(truth)
        assert await sender.compare("gw1", truth) == []
        assert await sender.repair("gw1") is None
        gateway.table = [c for c in truth if c["sub"] not in {"C-5", "C-10"}]
        differing = await sender.compare("gw1", truth)
        assert 1 <= len(differing) <= 2
        answer = await sender.repair("gw1")
        assert answer is not None
        assert gateway.shards == [differing]
        assert {"C-5", "C-10"} <= {c["sub"] for c in gateway.snapshots[0]}
        assert len(gateway.snapshots[0]) < 60


# ------------------------------------------------------------------------------------------------ questions


async def test_a_question_needs_no_outbox_and_leaves_nothing_at_the_broker(tmp_path: Path) -> None:
    with Broker(tmp_path / "broker") as broker:
        async with Sender("support", brokers=[broker.url]) as sender:
            async with FakeGateway("gw1", [broker.url]) as gateway:
                (answer,) = await sender.ask("gw1", {"op": "digest"})
                assert len(answer.record["shards"]) == 256
                assert "seq" not in gateway.applied[0]
            with pytest.raises(Unanswered, match="gw1"):
                await sender.ask("gw1", {"op": "digest"}, timeout=0.3)
        assert "edged-client-support (p5, c1" in broker.log
    async with Sender("support", brokers=["mqtt://127.0.0.1:1"]) as sender:
        with pytest.raises(EdgedError, match="no broker took the message"):
            await sender.ask("gw1", {"op": "digest"}, timeout=0.3)


async def test_nonsense_on_the_answer_topic_is_passed_over(broker: Broker, tmp_path: Path) -> None:
    async with (
        FakeGateway("gw1", [broker.url]),
        Sender("erp", brokers=[broker.url], outbox=tmp_path / "out") as sender,
    ):
        await until(lambda: sender.connected, "connected")
        with Peer(broker.port) as peer:
            stray = b'{"id":"x","gateway":"gw1","sync":5}'
            for payload in (b"", b"[1]", b"\xff", b"{}", b'{"id":7}', stray, b"[" * 9000):
                peer.publish("edged/v1/client/erp/ack", payload)
                peer.publish("edged/v1/gw/gw1/event", payload)
            peer.publish("edged/v1/gw/gw1/event", json.dumps({"event": "sync.missing", "missing": "all"}))
            peer.publish("edged/v1/gw/gw1/event", json.dumps({"event": "resync.wanted", "issuer": "somebody"}))
        await (await sender.send("gw1", blocks(1, 1))).answers()
        assert sender.last_error is None
