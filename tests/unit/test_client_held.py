"""A snapshot that a gateway's brake holds: the caller is told at once, the sender waits and forgets nothing."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from edged.cli import central
from edged.client import Answer, Held, Sender, Unanswered, resync, snapshots
from edged.client.outbox import Outbox
from edged.client.post import Identity
from edged.client.resync import Resync
from edged.client.snapshots import Snapshots
from edged.errors import EdgedError

WHY = "it names 3 subscribers and 900 are known here"
TABLE = [{"op": "bind", "sub": "C-1", "addresses": []}]


class Gateway:
    """A post at whose other end gateways confirm each part; those in ``holding`` hold the snapshot."""

    broker = "broker:1883"
    identity = Identity("erp")

    def __init__(self) -> None:
        self.outbox = Outbox(None, 0)
        self.holding: set[str] = set()
        self.mute: set[str] = set()
        self.heard: list[tuple[str, dict[str, Any]]] = []
        self.snapshots: Snapshots | None = None

    async def do(self, method: Callable[..., Any], *args: Any, **options: Any) -> Any:
        await asyncio.sleep(0)
        return method(self.outbox, *args, **options)

    async def publish(self, messages: Sequence[tuple[str, bytes, bytes]]) -> bool:
        for topic, body, _ in messages:
            gateway, part = topic.split("/")[3], json.loads(body)
            self.heard.append((gateway, part))
            if gateway not in self.mute:
                asyncio.get_running_loop().call_soon(self.confirm, gateway, part)
        return True

    def confirm(self, gateway: str, part: dict[str, Any]) -> None:
        missing = part["parts"] - part["part"]
        held = {"held": WHY} if not missing and gateway in self.holding else {}
        numbers = {"part": part["part"], "parts": part["parts"], "missing": missing, "sync": part["sync"]}
        self.say(gateway, part["sync"], {"summary": {}, "results": [], **numbers, **held})
        if not missing and not held:
            self.end(gateway)

    def end(self, gateway: str, code: str = "") -> None:
        """The answer to the whole."""
        sync = next(part["sync"] for name, part in reversed(self.heard) if name == gateway)
        refused = [{"i": 0, "sub": None, "status": "rejected", "code": code, "detail": "dropped"}] if code else []
        self.say(gateway, sync, {"results": refused, **({} if code else {"counts": {}, "sync": sync})})

    def say(self, gateway: str, sync: str, document: dict[str, Any]) -> None:
        assert self.snapshots
        self.snapshots.hear(Answer(gateway, sync, {"id": sync, **document}), None)


@pytest.fixture
def gateway() -> Gateway:
    made = Gateway()
    made.holding.add("gw1")
    made.snapshots = Snapshots(made, numbered=False)  # type: ignore[arg-type]
    return made


@asynccontextmanager
async def sending(gateway: Gateway) -> AsyncIterator[Sender]:
    """A sender whose messages end up there."""
    sender = Sender("erp")
    sender._snapshots = gateway.snapshots  # type: ignore[assignment]
    try:
        yield sender
    finally:
        for task in sender._tasks:
            task.cancel()
        if sender._tasks:
            await asyncio.wait(sender._tasks)


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - what is waited for tells nobody
            await asyncio.sleep(0)


async def test_the_caller_is_told_and_the_outbox_keeps_it(gateway: Gateway, caplog: pytest.LogCaptureFixture) -> None:
    async with sending(gateway) as sender:
        with pytest.raises(Held) as caught:
            await sender.snapshot("gw1", TABLE)
        assert isinstance(caught.value, Unanswered)
        assert (caught.value.gateway, caught.value.why) == ("gw1", WHY)
        assert "release-brake" in str(caught.value)
        assert len(gateway.outbox.snapshots()) == 1
        assert len(gateway.heard) == 1
        gateway.end("gw1")
        await until(lambda: not gateway.outbox.snapshots())
    told = [r.message for r in caplog.records if r.levelno == logging.WARNING]
    assert told == [
        f"gw1 holds the snapshot until somebody there looked: {WHY}",
        "gw1: the snapshot that was held is carried out",
    ]


async def test_it_is_waited_for_without_a_limit_and_told_once(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Now and then the gateway is asked again: its last answer may have been lost."""
    monkeypatch.setattr(snapshots, "HELD", 0.01)
    monkeypatch.setattr(snapshots, "FIRST_PATIENCE", 0.01)
    monkeypatch.setattr(snapshots, "LAST_PATIENCE", 0.01)
    assert gateway.snapshots
    reasons: list[str] = []
    task = asyncio.create_task(gateway.snapshots.send("gw1", TABLE, None, when_held=reasons.append))
    await until(lambda: len(gateway.heard) > 5)
    assert not task.done()
    assert reasons == [WHY]
    assert sum("holds the snapshot" in r.message for r in caplog.records) == 1
    gateway.holding.clear()
    assert (await task).ok


async def test_while_it_is_held_work_needs_no_patience(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that says nothing is sent its parts again and again meanwhile."""
    for name in ("WORK", "FIRST_PATIENCE", "LAST_PATIENCE"):
        monkeypatch.setattr(snapshots, name, 0.01)
    assert gateway.snapshots
    held: list[str] = []
    task = asyncio.create_task(gateway.snapshots.send("gw1", TABLE, None, when_held=held.append))
    await until(lambda: held)
    before = len(gateway.heard)
    gateway.mute.add("gw2")
    other = asyncio.create_task(gateway.snapshots.send("gw2", TABLE, None))
    await until(lambda: len(gateway.heard) > before + 5)
    assert {name for name, _ in gateway.heard[before + 1 :]} == {"gw2"}
    gateway.end("gw1", "brake")
    gateway.end("gw2")
    assert [(await x).refusal for x in (task, other)] == ["brake", None]


async def test_dropped_it_is_refused(gateway: Gateway) -> None:
    async with sending(gateway) as sender:
        with pytest.raises(Held):
            await sender.snapshot("gw1", TABLE)
        gateway.end("gw1", "brake")
        await until(lambda: not gateway.outbox.snapshots())


async def test_the_other_gateways_get_theirs_meanwhile(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resync, "FIRST_PAUSE", 0.0)
    names = [f"gw{n}" for n in range(resync.AT_ONCE + 3)]
    gateway.holding |= set(names[:-1])
    tasks: list[asyncio.Task[None]] = []
    assert gateway.snapshots
    serving = Resync(
        gateway,  # type: ignore[arg-type]
        gateway.snapshots,
        lambda _: TABLE,
        lambda work: tasks.append(asyncio.create_task(work)),
    )
    await serving.want(names)
    await until(lambda: list(gateway.outbox.wanted()) == names[:-1])
    assert {name for name, _ in gateway.heard} == set(names)
    for name in names[:-1]:
        gateway.end(name, "brake" if name == "gw0" else "")
    await until(lambda: not gateway.outbox.wanted())
    await asyncio.gather(*tasks)
    assert len(gateway.heard) == len(names), "what somebody dropped is not sent again by itself"


async def test_publish_says_it_in_words(gateway: Gateway, tmp_path: Any) -> None:
    (tmp_path / "table").write_text(json.dumps(TABLE[0]))
    async with sending(gateway) as sender:

        async def enter() -> Sender:
            return sender

        class Open:
            __aenter__ = staticmethod(enter)

            async def __aexit__(self, *_: object) -> None: ...

        say = central._Printer(json_output=False)
        opened: Any = Open()
        opened.snapshot = sender.snapshot
        with pytest.raises(EdgedError, match=rf"gw1 holds the snapshot: {WHY}; look at it there.*Do not send it again"):
            await central._snapshot(opened, "gw1", tmp_path / "table", 30, say)


def test_held_commands_are_no_refusals() -> None:
    result = {"i": 0, "sub": "C-1", "status": "held", "code": "brake", "detail": WHY}
    answer = Answer("gw1", "b", {"summary": {"held": 1, "rejected": 0}, "results": [result]})
    assert (answer.held, answer.ok, answer.rejected, answer.refusal) == ([result], True, [], None)
