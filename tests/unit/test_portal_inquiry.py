"""Who is who, asked for many at a time: what goes together, what is shared, and what becomes of no answer."""

from __future__ import annotations

import asyncio

import pytest

from edged.domain.standing import Standing
from edged.portal import inquiry, wire
from edged.portal.inquiry import UNDER_WAY, Inquiry


class Core:
    """Notes the packets; the test answers them."""

    def __init__(self) -> None:
        self.packets: list[wire.Who] = []
        self.dropped: list[wire.Who] = []
        self.inquiry = Inquiry(lambda _, packet: self.packets.append(packet), self.dropped.append)

    def ask(self, *addresses: bytes) -> list[asyncio.Task[Standing | None]]:
        return [asyncio.create_task(self.inquiry.who(address)) for address in addresses]

    async def packet(self, number: int) -> wire.Who:
        async with asyncio.timeout(10):
            while len(self.packets) <= number:  # noqa: ASYNC110  nobody is told
                await asyncio.sleep(0)
        return self.packets[number]

    def answer(self, packet: wire.Who) -> None:
        """Each gets a standing that tells its address."""
        self.inquiry.answered(wire.People(packet.request, tuple(_of(a) for a in packet.addresses)))


def _of(address: bytes) -> Standing:
    return Standing(3, "debt", int.from_bytes(address))


def people(first: int, count: int) -> list[bytes]:
    return [n.to_bytes(16) for n in range(first, first + count)]


async def test_what_a_turn_wants_to_know_goes_into_one_packet_and_each_gets_his_own() -> None:
    core = Core()
    asked = core.ask(*people(1, 20))
    core.answer(await core.packet(0))
    assert await asyncio.gather(*asked) == [_of(a) for a in people(1, 20)]
    assert len(core.packets) == 1


async def test_what_comes_meanwhile_waits_and_then_goes_together() -> None:
    core = Core()
    asked = core.ask(*people(1, wire.MOST_ASKED * UNDER_WAY))
    await core.packet(UNDER_WAY - 1)
    for n in range(10):  # one in each turn
        asked += core.ask(*people(1000 + n, 1))
        await asyncio.sleep(0)
    assert len(core.packets) == UNDER_WAY
    core.answer(core.packets[0])
    assert (await core.packet(UNDER_WAY)).addresses == tuple(people(1000, 10))
    for packet in core.packets[1:]:
        core.answer(packet)
    assert None not in await asyncio.gather(*asked)


async def test_an_answer_is_shared_by_who_waited_and_kept_for_nobody() -> None:
    core = Core()
    asked = core.ask(*people(1, 1) * 3)
    core.answer(await core.packet(0))
    assert await asyncio.gather(*asked) == [_of(people(1, 1)[0])] * 3
    (later,) = core.ask(*people(1, 1))
    packet = await core.packet(1)
    core.inquiry.answered(wire.People(packet.request, (Standing(0, "", 0),)))
    assert await later == Standing(0, "", 0)


async def test_who_asks_while_a_packet_is_under_way_is_not_told_what_it_brings() -> None:
    """The question may have been answered before what the second one has to be told."""
    core = Core()
    (first,) = core.ask(*people(1, 1))
    before = await core.packet(0)
    (second,) = core.ask(*people(1, 1))
    after = await core.packet(1)
    core.inquiry.answered(wire.People(before.request, (Standing(3, "debt", 0),)))
    core.inquiry.answered(wire.People(after.request, (Standing(0, "", 0),)))
    assert ((await first) or _of(b"")).level == 3
    assert ((await second) or _of(b"")).level == 0


async def test_without_an_answer_nobody_waits_for_ever_and_the_next_are_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(inquiry, "PATIENCE", 0.05)
    core = Core()
    asked = core.ask(*people(1, wire.MOST_ASKED * UNDER_WAY + 5))
    assert set(await asyncio.gather(*asked)) == {None}
    assert core.dropped == core.packets[: len(core.dropped)]
    assert len(core.packets) == UNDER_WAY  # the five had left by then
    (later,) = core.ask(*people(9, 1))
    core.inquiry.answered(wire.People(core.packets[0].request, (Standing(3, "debt", 1),) * wire.MOST_ASKED))  # too late
    core.answer(await core.packet(UNDER_WAY))
    assert await later == _of(people(9, 1)[0])


async def test_who_leaves_costs_the_others_nothing() -> None:
    core = Core()
    leaves, stays = core.ask(*people(1, 2))
    packet = await core.packet(0)
    leaves.cancel()
    await asyncio.sleep(0)
    core.answer(packet)
    assert await stays == _of(people(2, 1)[0])


async def test_one_more_than_may_wait_is_answered_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inquiry, "MOST_WAITING", 3)
    core = Core()
    asked = core.ask(*people(1, 4))
    assert await asked[3] is None
    core.answer(await core.packet(0))
    assert None not in await asyncio.gather(*asked[:3])


async def test_an_answer_that_does_not_fit_its_question_is_taken_for_nobodys() -> None:
    core = Core()
    asked = core.ask(*people(1, 2))
    packet = await core.packet(0)
    with pytest.raises(wire.WireError, match="another question"):
        core.inquiry.answered(wire.People(packet.request, (Standing(0, "", 0),)))
    assert await asyncio.gather(*asked) == [None, None]


async def test_the_end_of_the_connection_ends_all_waiting() -> None:
    core = Core()
    asked = core.ask(*people(1, wire.MOST_ASKED * UNDER_WAY + 5))
    await core.packet(UNDER_WAY - 1)
    core.inquiry.close()
    assert set(await asyncio.gather(*asked)) == {None}
