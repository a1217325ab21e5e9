"""The redirector on a real TCP socket of loopback: what a client gets, and when it is cut."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from edged.config import Config, NetworkSection, PortalSection
from edged.portal import refusals
from edged.portal.redirector import DRAIN_BYTES, SWEEP_SECONDS, Limits, Redirector, holder, prepare
from edged.portal.tally import Tally
from edged.portal.worker import Worker

GET = b"GET /some/path HTTP/1.1\r\nHost: example.net\r\n\r\n"
LIMITS = Limits(head=2048, seconds=0.6, connections=8, per_address=4)


class Bench:
    """A redirector at work, and clients."""

    def __init__(self, limits: Limits) -> None:
        self.tally = Tally()
        self.redirector = Redirector("http://aviso.example.net/", limits, self.tally)
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.clients: list[asyncio.StreamWriter] = []

    async def connect(self, *pieces: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection(*self.listener.getsockname())
        self.clients.append(writer)
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        return reader, writer

    async def ask(self, *pieces: bytes) -> bytes:
        reader, _ = await self.connect(*pieces)
        return await asyncio.wait_for(reader.read(), 10)

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not condition():  # noqa: ASYNC110  the redirector tells nobody
                await asyncio.sleep(0.01)


@pytest.fixture
async def bench(request: pytest.FixtureRequest) -> AsyncIterator[Bench]:
    one = Bench(getattr(request, "param", LIMITS))
    prepare(one.listener)
    one.redirector.open(one.listener)

    async def sweep() -> None:
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            one.redirector.sweep()

    task = asyncio.create_task(sweep())
    yield one
    task.cancel()
    for writer in one.clients:
        writer.transport.abort()
    one.redirector.close()
    one.listener.close()


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1]) if answer else 0


async def test_one_segment_gets_the_redirect_and_a_clean_end(bench: Bench) -> None:
    answer = await bench.ask(GET)
    assert answer.startswith(b"HTTP/1.1 302 Found\r\nLocation: http://aviso.example.net/\r\n")
    assert bench.redirector.waiting == 0
    assert bench.tally.count("redirect", 302) == 1


async def test_nothing_of_the_request_comes_back(bench: Bench) -> None:
    answer = await bench.ask(b"GET /xyzzy?plugh=1 HTTP/1.1\r\nHost: plugh.example\r\nReferer: xyzzy\r\n\r\n")
    assert b"xyzzy" not in answer
    assert b"plugh" not in answer


@pytest.mark.parametrize("bench", [Limits(2048, 5.0, 500, 500)], indirect=True)
async def test_many_at_once(bench: Bench) -> None:
    answers = await asyncio.gather(*(bench.ask(GET) for _ in range(200)))
    assert {status(a) for a in answers} == {302}
    assert bench.tally.count("redirect", 302) == 200


async def test_a_head_in_pieces(bench: Bench) -> None:
    reader, writer = await bench.connect(GET[:10])
    await bench.until(lambda: bench.redirector.waiting == 1)
    writer.write(GET[10:])
    assert status(await asyncio.wait_for(reader.read(), 10)) == 302
    await bench.until(lambda: bench.redirector.waiting == 0)


async def test_a_client_that_is_not_done_sending_still_reads_its_answer(bench: Bench) -> None:
    body = b"x" * 30_000
    head = b"POST /form HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body)
    reader, writer = await bench.connect(head)
    await bench.until(lambda: bench.tally.count("redirect", 302) == 1)
    writer.write(body)  # arrives after the answer was sent: a reset would destroy it
    await writer.drain()
    assert status(await asyncio.wait_for(reader.read(), 10)) == 302


async def test_head_request_gets_no_body(bench: Bench) -> None:
    answer = await bench.ask(b"HEAD / HTTP/1.1\r\n\r\n")
    assert status(answer) == 302
    assert answer.endswith(b"\r\n\r\n")


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 500, 400),
        (b"GET /\r\n", 400),
        (b"\0" * 100, 400),
        (b"CONNECT a.example:443 HTTP/1.1\r\n\r\n", 302),
        (b"GET http://a.example/ HTTP/1.1\r\n\r\n", 302),
        (GET * 3, 302),
        (b"GET / HTTP/1.1\r\nCookie: " + b"a" * 3000 + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\nCookie: " + b"a" * 60_000, 431),
    ],
)
async def test_odd_requests_have_a_defined_answer(bench: Bench, sent: bytes, expected: int) -> None:
    assert status(await bench.ask(sent)) == expected


async def test_a_slow_head_is_cut_whatever_trickles_in(bench: Bench) -> None:
    began = time.monotonic()
    reader, writer = await bench.connect(GET[:5])

    async def trickle() -> None:
        for byte in GET[5:-2]:
            writer.write(bytes([byte]))
            await asyncio.sleep(0.1)

    task = asyncio.create_task(trickle())
    answer = await asyncio.wait_for(reader.read(), 10)
    took = time.monotonic() - began
    task.cancel()
    assert status(answer) == 408
    assert took >= LIMITS.seconds
    assert bench.tally.count("refused", 408) == 1


async def test_a_silent_client_is_cut_without_a_word(bench: Bench) -> None:
    reader, _ = await bench.connect()
    assert await asyncio.wait_for(reader.read(), 20) == b""
    assert bench.redirector.waiting == 0


async def test_a_client_that_leaves_is_forgotten(bench: Bench) -> None:
    _, writer = await bench.connect(GET[:10])
    await bench.until(lambda: bench.redirector.waiting == 1)
    writer.close()
    await bench.until(lambda: bench.redirector.waiting == 0)
    assert bench.tally.count("refused", 0) == 1


async def test_one_address_holds_only_its_share_and_is_still_served(bench: Bench) -> None:
    for _ in range(LIMITS.per_address):
        await bench.connect(GET[:10])
    await bench.until(lambda: bench.redirector.waiting == LIMITS.per_address)
    with contextmanager(_reset_or_end)() as ended:
        ended.append(await bench.ask(GET[:10]))
    assert bench.redirector.waiting == LIMITS.per_address
    assert status(await bench.ask(GET)) == 302  # what needs no place is not refused


def _reset_or_end() -> Iterator[list[bytes]]:
    """A connection that is closed with something unread may be reset; both are a refusal."""
    got: list[bytes] = []
    try:
        yield got
    except ConnectionResetError:
        return
    assert got == [b""]


@pytest.mark.parametrize("bench", [Limits(2048, 5.0, 3, 100)], indirect=True)
async def test_all_together_hold_only_what_is_allowed_and_the_oldest_makes_room(bench: Bench) -> None:
    first, _ = await bench.connect(GET[:10])
    await bench.until(lambda: bench.redirector.waiting == 1)
    for _ in range(2):
        await bench.connect(GET[:10])
    await bench.until(lambda: bench.redirector.waiting == 3)
    reader, writer = await bench.connect(GET[:10])
    with contextmanager(_reset_or_end)() as ended:
        ended.append(await asyncio.wait_for(first.read(), 10))
    assert bench.redirector.waiting == 3
    writer.write(GET[10:])
    assert status(await asyncio.wait_for(reader.read(), 10)) == 302


async def test_a_client_that_never_stops_sending_is_dropped(bench: Bench) -> None:
    _, writer = await bench.connect(b"POST / HTTP/1.1\r\n\r\n")
    await bench.until(lambda: bench.redirector.waiting == 1)

    async def flood() -> None:
        while True:
            writer.write(b"x" * DRAIN_BYTES)
            await writer.drain()

    with pytest.raises(ConnectionError):
        await flood()
    await bench.until(lambda: bench.redirector.waiting == 0)


async def test_when_descriptors_run_out_it_pauses_and_goes_on(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    class Empty:
        """A listener whose accept fails as the kernel's does when there are no descriptors."""

        failures = 0

        def __init__(self, real: socket.socket) -> None:
            self._real = real

        def __getattr__(self, name: str) -> object:
            return getattr(self._real, name)

        def _accept(self) -> object:
            if Empty.failures < 2:
                Empty.failures += 1
                raise OSError(24, "Too many open files")
            return self._real._accept()  # type: ignore[attr-defined]

    second = socket.create_server(("127.0.0.1", 0))
    prepare(second)
    bench.redirector.open(Empty(second))  # type: ignore[arg-type]
    reader, writer = await asyncio.open_connection(*second.getsockname())
    bench.clients.append(writer)
    writer.write(GET)
    assert status(await asyncio.wait_for(reader.read(), 10)) == 302
    assert Empty.failures == 2
    bench.redirector.close()
    second.close()


# -- whose place it is ------------------------------------------------------------------------------------------------


def test_who_shares_places_with_whom() -> None:
    def of(host: str) -> str | bytes:
        return holder((host, 4711, 0, 0), 64)

    assert of("::ffff:100.64.0.10") == of("100.64.0.10") != of("::ffff:198.51.100.7"), "a socket of both families"
    assert of("2001:db8:0:1::1") == of("2001:db8:0:1:ffff::2") != of("2001:db8:0:2::1")
    assert of("::1") != of("::ffff:0.0.0.1")
    assert of("fe80::1%eth0") == of("fe80::2")


@pytest.mark.parametrize(("bits", "same", "other"), [
    (64, "2001:db8:0:1:ffff::2", "2001:db8:0:2::1"), (65, "2001:db8:0:1:7fff::2", "2001:db8:0:1:8000::1"),
    (80, "2001:db8:0:1:0:1::", "2001:db8:0:1:1::"), (128, "2001:db8:0:1::1", "2001:db8:0:1::2"),
])  # fmt: skip
def test_a_household_is_as_long_as_the_longest_prefix(bits: int, same: str, other: str) -> None:
    assert holder(("2001:db8:0:1::1", 1), bits) == holder((same, 2), bits) != holder((other, 1), bits)
    assert holder(("::ffff:100.64.0.10", 1), bits) == holder(("100.64.0.10", 1), bits)
    config = Config(
        gateway="t",
        network=NetworkSection(subscriber_interfaces=["eth1"], ipv6_prefix_lengths=[56, bits]),
        portal=PortalSection(url="http://aviso.example.net/"),
    )
    worker = Worker(config, 1)
    assert worker._redirector._limits.household == worker._places.household == bits


def test_a_household_is_no_wider_than_64() -> None:
    assert NetworkSection(subscriber_interfaces=["eth1"], ipv6_prefix_lengths=[48, 56]).household_bits == 64


@pytest.mark.parametrize(("bench", "shut"), [
    (LIMITS, True), (replace(LIMITS, household=128), False),
], indirect=["bench"])  # fmt: skip
async def test_what_one_subscriber_sends_shuts_out_no_other_of_the_same_64(
    bench: Bench, shut: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Told:
        """A listener whose clients come from where the test says."""

        where = "2001:db8:0:1::1"

        def __getattr__(self, name: str) -> object:
            return getattr(bench.listener, name)

        def _accept(self) -> object:
            fd, _ = bench.listener._accept()  # type: ignore[attr-defined]
            return fd, (Told.where, 4711, 0, 0)

    bench.redirector.close()
    bench.redirector.open(Told())  # type: ignore[arg-type]
    monkeypatch.setattr(bench.redirector._refusals, "_end", float("inf"))
    for _ in range(refusals.MOST):
        assert status(await bench.ask(b"noise\r\n")) == 400
    Told.where = "2001:db8:0:1::2"
    if shut:
        with pytest.raises(ConnectionResetError):
            await bench.ask(GET)
    else:
        assert status(await bench.ask(GET)) == 302


async def test_on_a_socket_of_both_families_ipv4_addresses_have_a_share_each() -> None:
    bench = Bench(LIMITS)
    bench.listener.close()
    bench.listener = socket.create_server(("::", 0), family=socket.AF_INET6, backlog=1024, dualstack_ipv6=True)
    prepare(bench.listener)
    bench.redirector.open(bench.listener)
    port = bench.listener.getsockname()[1]
    try:
        for who in ("127.0.0.1", "127.0.0.2"):
            for _ in range(LIMITS.per_address):
                _, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(who, 0))
                bench.clients.append(writer)
                writer.write(GET[:-2])
        async with asyncio.timeout(20):
            while bench.redirector.waiting < 2 * LIMITS.per_address:  # noqa: ASYNC110  nobody is told
                await asyncio.sleep(0.01)
        assert bench.redirector.waiting == 2 * LIMITS.per_address
    finally:
        for writer in bench.clients:
            writer.transport.abort()
        bench.redirector.close()
        bench.listener.close()


async def test_who_is_refused_again_and_again_waits_for_the_next_second_and_nobody_else(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench.redirector._refusals, "_end", float("inf"))
    for _ in range(refusals.MOST):
        assert status(await bench.ask(b"noise\r\n")) == 400
    with pytest.raises(ConnectionResetError):
        await bench.ask(GET)
    assert bench.tally.count("refused", 0) == 1
    reader, writer = await asyncio.open_connection(*bench.listener.getsockname(), local_addr=("127.0.0.2", 0))
    bench.clients.append(writer)
    writer.write(GET)
    assert status(await asyncio.wait_for(reader.read(), 10)) == 302
    monkeypatch.setattr(bench.redirector._refusals, "_end", 0.0)
    await bench.until(lambda: not bench.redirector._refusals.barred)
    assert status(await bench.ask(GET)) == 302
