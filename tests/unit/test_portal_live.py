"""News for open pages: a stream says what is in force at once, again when it changed, and its number is bounded."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from edged.domain.standing import NOBODY, Standing
from edged.portal import live, view
from tests.visitor import ADDRESS, Site

OWES = Standing(3, "debt", 0)


class Stream:
    """A browser's EventSource, as far as it goes."""

    def __init__(self, site: Site, address: str = ADDRESS) -> None:
        self._site, self._address = site, address
        self._pieces: asyncio.Queue[str] = asyncio.Queue()
        self._gone = asyncio.Event()
        self.status: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        async def receive() -> dict[str, Any]:
            await self._gone.wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                self.status.set_result(message["status"])
            elif message.get("body"):
                self._pieces.put_nowait(message["body"].decode())

        scope = self._site.scope("/live", "GET", self._address, {})
        await self._site.app({**scope, "asgi": {"version": "3.0", "spec_version": "2.3"}}, receive, send)

    async def word(self) -> str:
        """The next thing said that is no comment."""
        while True:
            piece = await asyncio.wait_for(self._pieces.get(), 10)
            if piece.startswith("data: "):
                return piece[6:].strip()

    async def comment(self) -> None:
        while not (await asyncio.wait_for(self._pieces.get(), 10)).startswith(":"):
            pass

    async def close(self) -> None:
        self._gone.set()
        await asyncio.wait_for(self._task, 10)


@pytest.fixture
def site() -> Site:
    return Site(OWES, streams=10)


async def test_a_stream_says_the_state_of_the_page_and_every_other(site: Site) -> None:
    stream = Stream(site)
    assert await stream.word() == view.state(OWES)
    assert f'data-state="{view.state(OWES)}"' in (await site.get()).text
    (event,) = site.core.events
    event.set()  # something changed, but nothing that a page shows
    await stream.comment()
    site.core.standing = NOBODY
    event.set()
    assert await stream.word() == view.state(NOBODY)
    await stream.close()
    assert site.core.events == []


async def test_what_nobody_told_is_asked_for(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "EVERY", 0.01)
    stream = Stream(site)
    await stream.word()
    site.core.standing = NOBODY
    assert await stream.word() == view.state(NOBODY)
    await stream.close()


async def test_a_core_that_is_away_changes_no_page(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "SOON", 0.01)
    stream = Stream(site)
    await stream.word()
    site.core.standing = None
    site.core.events[0].set()
    await stream.comment()
    assert (await site.get("/state")).status == 503
    site.core.standing = NOBODY
    assert await stream.word() == view.state(NOBODY)
    await stream.close()


async def test_a_stream_ends_and_the_browser_opens_another(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "LIFE", 0.05)
    monkeypatch.setattr(live, "EVERY", 0.01)
    stream = Stream(site)
    await asyncio.wait_for(stream._task, 10)
    assert site.core.events == []


async def test_streams_are_bounded_in_all_and_for_each_address(site: Site) -> None:
    one = [Stream(site) for _ in range(9)]
    assert [await stream.status for stream in one] == [200] * 8 + [503]
    others = [Stream(site, f"100.64.0.{n}") for n in (11, 12, 13)]
    assert [await stream.status for stream in others] == [200, 200, 503]
    for stream in [*one, *others]:
        await stream.close()
    again = Stream(site)
    assert await again.status == 200
    await again.close()


async def test_the_addresses_of_one_household_share_its_streams(site: Site) -> None:
    household = [Stream(site, f"2001:db8:0:1::{n}") for n in range(1, 10)]
    assert [await stream.status for stream in household] == [200] * 8 + [503]
    neighbour = Stream(site, "2001:db8:0:2::1")
    assert await neighbour.status == 200
    for stream in [*household, neighbour]:
        await stream.close()


async def test_neighbours_with_prefixes_of_their_own_in_one_64_share_nothing() -> None:
    site = Site(OWES, streams=20, lengths=(128, 64))
    loud = [Stream(site, "2001:db8:0:1::1") for _ in range(9)]
    assert [await stream.status for stream in loud] == [200] * 8 + [503]
    neighbour = Stream(site, "2001:db8:0:1::2")
    assert await neighbour.status == 200
    for stream in [*loud, neighbour]:
        await stream.close()


async def test_neighbours_on_a_socket_of_both_families_share_nothing(site: Site) -> None:
    neighbour = [Stream(site, "::ffff:198.51.100.7") for _ in range(9)]
    assert [await stream.status for stream in neighbour] == [200] * 8 + [503]
    debtor = Stream(site, "::ffff:100.64.0.10")
    assert await debtor.status == 200
    for stream in [*neighbour, debtor]:
        await stream.close()


async def test_streams_take_turns_to_ask(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "ASKING", 3)
    site = Site(OWES, streams=20)
    asking, most, who = 0, 0, site.core.who

    async def slow(address: str) -> Standing | None:
        nonlocal asking, most
        asking += 1
        most = max(most, asking)
        await asyncio.sleep(0.01)
        asking -= 1
        return await who(address)

    monkeypatch.setattr(site.core, "who", slow)
    streams = [Stream(site, f"100.64.0.{n}") for n in range(20)]
    for stream in streams:
        assert await stream.word() == view.state(OWES)
    site.core.standing = NOBODY
    for event in site.core.events:
        event.set()
    for stream in streams:
        assert await stream.word() == view.state(NOBODY)
        await stream.close()
    assert most == 3


async def test_who_asks_plainly_gets_the_same_word(site: Site) -> None:
    assert (await site.get("/state")).text == view.state(OWES)
    answer = await site.get("/poll")
    assert '<meta http-equiv="refresh" content="15; url=/poll">' in answer.text
    assert "suspended" in answer.text
    site.core.standing = NOBODY
    assert (await site.get("/poll")).where == "/"
