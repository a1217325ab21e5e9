"""Both ends of the socket between core and portal, in one loop, without privileges."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import stat
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from edged.config import Config, MqttSection, NetworkSection, PortalSection, SecuritySection
from edged.domain.standing import NOBODY, Standing
from edged.errors import EdgedError
from edged.observer import Silent
from edged.portal import wire
from edged.portal.client import LONG_PATIENCE, CoreClient, connect
from edged.portal.inquiry import PATIENCE
from edged.portal.link import PortalLink
from tests.fake_core import TICKET, FakeCore


def config(run_dir: Path) -> Config:
    return Config(
        gateway="t",
        run_dir=run_dir,
        state_dir=run_dir,
        network=NetworkSection(subscriber_interfaces=["eth1"]),
        mqtt=MqttSection(),
        security=SecuritySection(),
        portal=PortalSection(url="http://aviso.example.net/"),
    )


class Counting(Silent):
    def __init__(self) -> None:
        self.requests: list[tuple[str, str, int]] = []
        self.seconds: list[tuple[float, int]] = []

    def portal_requests(self, kind: str, code: str, n: int) -> None:
        self.requests.append((kind, code, n))

    def portal_seconds(self, seconds: float, n: int) -> None:
        self.seconds.append((seconds, n))


class Desk(FakeCore):
    """The core behind the link."""

    def __init__(self, run_dir: Path) -> None:
        super().__init__()
        self.cfg = config(run_dir)
        self.observer = Counting()
        self.people = {"100.64.0.10": Standing(3, "debt", 7)}
        self.codes = {"100.64.0.10": b"123456"}
        self.tokens = {b"a.b.c"}
        self.payment = {"amount": "123.45"}
        self.before = self.fail
        self.link = self.fresh()

    def fresh(self) -> PortalLink:
        return PortalLink(self.cfg, self, self.observer)

    def fail(self, address: str) -> None:
        if address == "192.0.2.66":
            raise EdgedError("the database is away")

    @property
    def path(self) -> Path:
        return self.cfg.run_dir / wire.SOCKET_NAME


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110  neither end has an event for it
            await asyncio.sleep(0.01)


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    one = Desk(tmp_path)
    await one.link.start()
    yield one
    one.awake.set()
    await one.link.close()


@pytest.fixture
async def client(desk: Desk) -> AsyncIterator[CoreClient]:
    one = CoreClient(desk.path, 2)
    task = asyncio.create_task(one.run())
    await until(lambda: one.connected and desk.link.up)
    yield one
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_who_and_shown_and_sums(desk: Desk, client: CoreClient) -> None:
    assert await client.who("100.64.0.10") == Standing(3, "debt", 7)
    assert await client.who("::ffff:100.64.0.10") == Standing(3, "debt", 7)
    assert await client.who("2001:db8::5") == Standing(0, "", 0)
    assert await client.who("not an address") is None
    assert client.shown("2001:db8::5", pressed=True)
    assert client.report([wire.Stats("redirect", 302, 5, 0.25, 5), wire.Stats("refused", 0, 2)]) == []
    await until(lambda: len(desk.observer.requests) == 2)
    assert desk.observer.requests == [("redirect", "302", 5), ("refused", "closed", 2)]
    assert desk.observer.seconds == [(0.25, 5)]
    await until(lambda: desk.shown == ["2001:db8::5"])


async def test_promise_code_token_and_bill(desk: Desk, client: CoreClient) -> None:
    assert await client.ask("100.64.0.10") == "requested"
    assert await client.ask("2001:db8::5") == "not_applicable"
    assert await client.ask("nonsense") is None
    assert await client.prove("100.64.0.10", "123456") == ("ok", TICKET)
    assert (await client.prove("100.64.0.10", "123457") or ("",))[0] == "wrong"
    assert (await client.prove("100.64.0.11", "123456") or ("",))[0] == "none"
    assert (await client.prove("100.64.0.10", "é" * 17) or ("",))[0] == "wrong"
    assert await client.token("2001:db8::5", "a.b.c") == ("ok", TICKET)
    assert (await client.token("2001:db8::5", "a.b.ç") or ("",))[0] == "dead"
    assert (await client.token("100.64.0.10", "x" * 2049) or ("",))[0] == "stale"
    assert await client.token("nonsense", "a.b.c") is None
    now = time.monotonic() * 1000  # each says until when somebody waits for it: what comes to its turn later is dropped
    assert len(desk.untils) == 8
    assert all(now < until <= now + LONG_PATIENCE * 1000 for until in desk.untils)
    assert await client.bill(TICKET) == {"amount": "123.45"}
    assert await client.bill(bytes(16)) == await client.bill(b"short") == {}
    await desk.link.close()
    await until(lambda: not client.connected)
    assert await client.ask("100.64.0.10") is None
    assert await client.prove("100.64.0.10", "123456") is await client.token("2001:db8::5", "a.b.c") is None
    assert await client.bill(TICKET) is None


async def test_who_watches_is_told_once_for_each_address_and_worker(desk: Desk, client: CoreClient) -> None:
    with client.watch("100.64.0.10") as one, client.watch("100.64.0.10") as two, client.watch("2001:db8::5") as other:
        await until(lambda: desk.watched == {"100.64.0.10", "2001:db8::5"})
        desk.link.changed(["100.64.0.10", "100.64.0.99"])
        async with asyncio.timeout(10):
            await one.wait()
            await two.wait()
        assert not other.is_set()
    await until(lambda: not desk.watched)
    with client.watch("not an address") as never:
        assert not never.is_set()


async def test_who_watches_learns_that_the_core_was_away(desk: Desk, client: CoreClient) -> None:
    with client.watch("100.64.0.10") as event:
        await until(lambda: bool(desk.watched))
        await desk.link.close()
        assert not desk.watched
        desk.link = desk.fresh()
        await desk.link.start()
        async with asyncio.timeout(10):
            await event.wait()
        await until(lambda: bool(desk.watched))
        event.clear()
        desk.link.changed(["100.64.0.10"])
        async with asyncio.timeout(10):
            await event.wait()


CROWD = [f"100.64.{n >> 8}.{n & 255}" for n in range(900)]
"""More than a socket holds records, and than questions may be open."""


async def test_a_batch_for_a_crowd_is_told_to_all_of_it_and_all_may_ask(desk: Desk, client: CoreClient) -> None:
    with contextlib.ExitStack() as stack:
        events = [stack.enter_context(client.watch(address)) for address in CROWD]
        await until(lambda: len(desk.watched) == len(CROWD))
        desk.link.changed(CROWD)
        async with asyncio.timeout(10):
            await asyncio.gather(*(event.wait() for event in events))
        for event in events:
            event.clear()
        await desk.link.close()
        desk.link = desk.fresh()
        await desk.link.start()
        await until(lambda: len(desk.watched) == len(CROWD))
        desk.link.changed(CROWD)
        async with asyncio.timeout(10):
            await asyncio.gather(*(event.wait() for event in events))
    await until(lambda: not desk.watched)


async def test_more_questions_than_may_be_open_wait_for_their_turn(
    desk: Desk, client: CoreClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edged.portal.inquiry.PATIENCE", 20.0)
    assert await asyncio.gather(*(client.who(address) for address in CROWD)) == [
        desk.people.get(address, NOBODY) for address in CROWD
    ]
    monkeypatch.setattr("edged.portal.inquiry.MOST_WAITING", 100)
    desk.awake.clear()
    asked = [asyncio.create_task(client.who(address)) for address in CROWD[:101]]
    done, waiting = await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
    assert done == {asked[-1]}
    assert await asked[-1] is None
    desk.awake.set()
    assert None not in await asyncio.gather(*waiting)


async def test_a_worker_that_reads_late_gets_all_that_waited(desk: Desk) -> None:
    loop = asyncio.get_running_loop()
    with connect(desk.path) as sock:
        await loop.sock_sendall(sock, wire.encode(wire.Hello(1, need=False)))
        for address in CROWD:
            await loop.sock_sendall(sock, wire.encode(wire.Watch(wire.pack_address(address), on=True)))
        await until(lambda: len(desk.watched) == len(CROWD))
        for _ in range(3):
            desk.link.changed(CROWD)  # what waits for an address does so once
        await loop.sock_sendall(sock, wire.encode(wire.Who(7, (wire.pack_address("100.64.0.10"),))))
        told: list[bytes] = []
        async with asyncio.timeout(10):
            while isinstance(record := wire.decode(await loop.sock_recv(sock, wire.ROOM)), wire.Changed):
                told.append(record.address)
        assert record == wire.People(7, (Standing(3, "debt", 7),))
        assert {wire.address_text(address) for address in told} == set(CROWD)
        assert len(told) < 2 * len(CROWD)


async def test_a_worker_that_goes_is_watched_for_no_longer(desk: Desk) -> None:
    with connect(desk.path) as sock:
        sock.send(wire.encode(wire.Hello(1, need=False)))
        for _ in range(2):
            sock.send(wire.encode(wire.Watch(wire.pack_address("100.64.0.10"), on=True)))
        sock.send(wire.encode(wire.Watch(wire.pack_address("100.64.0.11"), on=False)))
        await until(lambda: desk.watched == {"100.64.0.10"})
    await until(lambda: not desk.watched)


async def test_who_is_watched_is_bounded_on_both_sides(
    desk: Desk, client: CoreClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edged.portal.client.MOST_WATCHED", 1)
    with client.watch("100.64.0.10") as first, client.watch("100.64.0.11") as second, client.watch("100.64.0.10"):
        await until(lambda: desk.watched == {"100.64.0.10"})
        desk.link.changed(["100.64.0.10", "100.64.0.11"])
        async with asyncio.timeout(10):
            await first.wait()
        assert not second.is_set()
    await until(lambda: not desk.watched)
    monkeypatch.setattr("edged.portal.talk.MOST_WATCHED", 1)
    with connect(desk.path) as sock:
        sock.send(wire.encode(wire.Hello(1, need=False)))
        for address in ("100.64.0.10", "100.64.0.11"):
            sock.send(wire.encode(wire.Watch(wire.pack_address(address), on=True)))
        sock.send(wire.encode(wire.Shown(wire.pack_address("100.64.0.99"), pressed=True)))  # read behind the others
        await until(lambda: desk.shown == ["100.64.0.99"])
        assert desk.watched == {"100.64.0.10"}


async def test_a_worker_that_does_not_read_is_not_left_with_old_texts(desk: Desk, client: CoreClient) -> None:
    loop = asyncio.get_running_loop()
    with connect(desk.path) as sock:
        sock.setblocking(False)
        sock.send(wire.encode(wire.Hello(1, need=False)))
        await until(lambda: len(desk.link._talks) == 2)
        for n in range(2000):
            desk.link.texts("debt", {"text": f"{n} " + "x" * 1000})
            await asyncio.sleep(0)
            if len(desk.link._talks) == 1:
                break
        async with asyncio.timeout(10):
            while await loop.sock_recv(sock, wire.ROOM):
                pass
    await until(lambda: len(desk.link._talks) == 1)
    await until(lambda: client.texts["debt"]["text"].startswith(f"{n} "))


async def test_texts_come_at_the_start_and_at_each_change(desk: Desk) -> None:
    desk.set_texts["debt"] = {"title": "Fale conosco"}
    client = CoreClient(desk.path, 2)
    task = asyncio.create_task(client.run())
    await until(lambda: client.texts == {"debt": {"title": "Fale conosco"}})
    desk.set_texts["notice"] = {"title.en": "A reminder"}
    desk.link.texts("notice", desk.set_texts["notice"])
    await until(lambda: client.texts == desk.set_texts)
    desk.link.texts("debt", {})
    await until(lambda: list(client.texts) == ["notice"])
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_core_that_fails_or_is_slow_costs_a_page_its_text_only(desk: Desk, client: CoreClient) -> None:
    assert await client.who("192.0.2.66") is None
    desk.awake.clear()
    began = asyncio.get_running_loop().time()
    assert await asyncio.gather(*(client.who("100.64.0.10") for _ in range(300))) == [None] * 300
    assert asyncio.get_running_loop().time() - began < PATIENCE + 2
    desk.awake.set()
    await until(lambda: desk.link.up)
    assert await client.who("100.64.0.10") == Standing(3, "debt", 7)


async def test_a_late_answer_is_not_taken_for_another_question(desk: Desk, client: CoreClient) -> None:
    desk.awake.clear()
    assert await client.who("100.64.0.10") is None
    desk.awake.set()
    assert await client.who("2001:db8::5") == Standing(0, "", 0)


async def test_the_client_comes_back_after_a_restart_of_the_core(desk: Desk, client: CoreClient) -> None:
    await desk.link.close()
    await until(lambda: not client.connected)
    assert not desk.link.up
    assert await client.who("100.64.0.10") is None
    assert not client.shown("100.64.0.10", pressed=True)
    kept = [wire.Stats("redirect", 302, 1)]
    assert client.report(kept) == kept
    desk.link = desk.fresh()
    await desk.link.start()
    await until(lambda: client.connected and desk.link.up)
    assert await client.who("100.64.0.10") == Standing(3, "debt", 7)


async def test_only_the_portals_account_may_connect(desk: Desk) -> None:
    assert stat.S_IMODE(desk.path.stat().st_mode) == 0o660


@pytest.mark.parametrize(
    "first",
    [b"\xff" * 30, wire.encode(wire.Who(1, (b"\0" * 16,))), wire.encode(wire.Hello(1, need=False, version=1))],
    ids=["noise", "no hello", "another version"],
)
async def test_a_stranger_is_shown_out_and_the_others_stay(
    desk: Desk, client: CoreClient, first: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    loop = asyncio.get_running_loop()
    with connect(desk.path) as sock:
        sock.setblocking(False)
        sock.send(first)
        assert await asyncio.wait_for(loop.sock_recv(sock, 100), 10) == b""
    assert "portal" in caplog.text
    assert await client.who("100.64.0.10") == Standing(3, "debt", 7)


async def test_records_of_the_core_are_not_taken_from_a_portal(desk: Desk) -> None:
    with connect(desk.path) as sock:
        sock.setblocking(False)
        sock.send(wire.encode(wire.Hello(1, need=False)))
        sock.send(wire.encode(wire.People(1, (Standing(0, "", 0),))))
        assert await asyncio.wait_for(asyncio.get_running_loop().sock_recv(sock, 100), 10) == b""
    await until(lambda: not desk.link.up)


async def test_a_portal_that_never_reads_costs_nothing(desk: Desk, client: CoreClient) -> None:
    with connect(desk.path) as sock:
        sock.setblocking(False)
        sock.send(wire.encode(wire.Hello(1, need=False)))
        sent = 0
        for _ in range(5000):
            try:
                sock.send(wire.encode(wire.Who(sent, (wire.pack_address("100.64.0.10"),))))
                sent += 1
            except BlockingIOError:
                await asyncio.sleep(0)
        assert sent
        assert await client.who("100.64.0.10") == Standing(3, "debt", 7)


async def test_a_leftover_socket_is_replaced(desk: Desk) -> None:
    await desk.link.close()
    stale = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    stale.bind(str(desk.path))
    stale.close()  # as kill -9 leaves it
    desk.link = desk.fresh()
    await desk.link.start()
    connect(desk.path).close()


async def test_a_place_that_cannot_hold_a_socket_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    desk = Desk(tmp_path / "file")
    with pytest.raises(EdgedError, match="run_dir"):
        await desk.link.start()
