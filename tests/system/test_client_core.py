"""The sender's side against a whole gateway in this process: what one says and the other understands."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from edged.client import Held, Sender, resync, snapshots
from edged.client.outbox import Outbox
from edged.domain.brake import Limits
from edged.mqtt import trouble
from tests.broker import Broker
from tests.gateway import Gateway
from tests.mqtt_settings import Settings


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trouble, "FIRST_DELAY", 0.05)
    monkeypatch.setattr(resync, "FIRST_PAUSE", 0.1)
    monkeypatch.setattr(snapshots, "PART_COMMANDS", 200)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with Broker(tmp_path / "broker", log_type="error") as running:
        yield running


@pytest.fixture
async def gateway(broker: Broker, tmp_path: Path) -> AsyncIterator[Gateway]:
    async with Gateway(tmp_path / "gateway", Settings([broker.url])) as running:
        yield running


class Erp:
    """A table: subscriber -> (address, open invoices), and what a change of it is."""

    def __init__(self, count: int) -> None:
        self.owing: dict[str, list[str]] = {f"C-{n}": [f"F-{n}"] if n % 4 == 0 else [] for n in range(count)}

    def bind(self, sub: str) -> dict[str, Any]:
        n = int(sub[2:])
        return {"op": "bind", "sub": sub, "addresses": [f"100.64.{n >> 8}.{n & 255}", f"2001:db8:0:{n:x}::/64"]}

    def block(self, sub: str) -> dict[str, Any]:
        return {"op": "block", "sub": sub, "reason": "debt", "invoices": self.owing[sub]}

    def table(self, _gateway: str = "") -> Iterator[dict[str, Any]]:
        for sub, invoices in self.owing.items():
            yield self.bind(sub)
            if invoices:
                yield self.block(sub)


async def test_what_the_gateway_missed_is_what_the_sender_repairs(
    broker: Broker, gateway: Gateway, tmp_path: Path
) -> None:
    erp = Erp(600)
    async with Sender("erp", brokers=[broker.url], outbox=tmp_path / "out", table=erp.table) as sender:
        answers = await (await sender.send("gw1", erp.table())).answers()
        assert all(a.ok for a in answers), answers
        await _greeted(sender)
        assert await sender.compare("gw1", erp.table()) == []
        erp.owing["C-1"] = ["F-1b"]
        erp.owing["C-4"] = []
        del erp.owing["C-9"]
        differing = await sender.compare("gw1", erp.table())
        assert 1 <= len(differing) <= 3
        answer = await sender.repair("gw1")
        assert answer is not None
        assert answer.ok, answer.document
        assert await sender.compare("gw1", erp.table()) == []
        assert await level(gateway, "C-1") == "walled"
        assert await level(gateway, "C-4") == "open"


async def test_a_gap_ends_in_the_same_state(broker: Broker, gateway: Gateway, tmp_path: Path) -> None:
    erp = Erp(600)
    async with Sender("erp", brokers=[broker.url], outbox=tmp_path / "out", batch=100, table=erp.table) as sender:
        await (await sender.send("gw1", erp.table())).answers()
        await _greeted(sender)
        # Three changes are in the table, and the middle one is lost for good.
        for sub in ("C-1", "C-2", "C-3"):
            erp.owing[sub] = ["F-new"]
        await (await sender.send("gw1", [erp.block("C-1")])).answers()
        await sender._post.do(_skip, "gw/gw1/cmd")
        await (await sender.send("gw1", [erp.block("C-3")])).answers()
        async with asyncio.timeout(60):
            while await level(gateway, "C-2") != "walled":  # noqa: ASYNC110 - the gateway tells nobody here
                await asyncio.sleep(0.05)
            while sender._resync._serving:  # noqa: ASYNC110 - nor does the sender
                await asyncio.sleep(0.05)
        assert await sender.compare("gw1", erp.table()) == []
        assert (await (await sender.send("gw1", [erp.block("C-3")])).answers())[0].refusal is None


async def level(gateway: Gateway, sub: str) -> str:
    return await gateway.keeper.do(gateway.core.level, sub)


async def _greeted(sender: Sender) -> None:
    """The snapshot that a new outbox sends to whom it meets is in force."""
    async with asyncio.timeout(60):
        while await sender._post.do(Outbox.wanted):  # noqa: ASYNC110 - the outbox tells nobody
            await asyncio.sleep(0.02)


def _skip(box: Any, topic: str) -> None:
    """A number that was given and whose batch is gone."""
    box._db.execute("UPDATE stream SET seq = seq + 1 WHERE topic = ?", (topic,))


async def test_a_wrong_export_is_held_and_the_sender_says_so(broker: Broker, tmp_path: Path) -> None:
    limits = Limits(enabled=True, most=1000)
    async with (
        Gateway(tmp_path / "gateway", Settings([broker.url]), limits) as gateway,
        Sender("erp", brokers=[broker.url], outbox=tmp_path / "out") as sender,
    ):
        assert (await sender.snapshot("gw1", Erp(600).table(), timeout=60)).ok
        for table in (Erp(10).table(), iter(())):
            with pytest.raises(Held, match="600 are known"):
                await sender.snapshot("gw1", table, timeout=60)
            await gateway.keeper.drop_held()
        assert await sender.compare("gw1", Erp(600).table()) == []
        with pytest.raises(Held):
            await sender.snapshot("gw1", Erp(100).table(), timeout=60)
        await gateway.keeper.release_brake()
        async with asyncio.timeout(60):
            while await sender.compare("gw1", Erp(100).table()):  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.02)
