"""The accelerator beside the keeper: what fails in the maps is noted, mended, and waited for by nobody."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest

from edged import accelerator
from edged.accelerator import Accelerator
from edged.domain.levels import Level
from edged.intake import Incoming
from edged.keeper import Keeper
from edged.vigil import Vigil
from edged.xdp.engine import Wanted
from edged.xdp.layout import Answers, Held, Settings
from edged.xdp.mirror import Mirror
from tests.refusing_maps import RefusingMaps
from tests.unit.core import Core
from tests.unit.test_keeper import BLOCK, KEY, Straight

TRUST = Incoming(BLOCK.payload.replace(b'"block"', b'"trust"').replace(b'"reason": "debt"', b'"hours": 2'))
SETTINGS = Settings(Answers(b"found", b"found", b"bad"))


class Fast:
    """A keeper with an accelerator whose engine has the fake maps and no device."""

    def __init__(self, core: Core) -> None:
        self.core = core
        self.maps = RefusingMaps()
        self.keeper = Keeper(core.pipeline, core.store, core.enforcer, Straight(1, 1, 1), core.observer, watch=None)
        self.accelerator = Accelerator(self.keeper, Wanted("auto", ("eth9",), (), core.directory, SETTINGS))
        engine = self.accelerator.engine
        self.mirror = engine.mirror = Mirror(
            self.maps, SETTINGS, stop=engine._stop, heard=engine._heard, steady=lambda: core.now * 1_000_000
        )
        core.enforcer.follower = self.mirror

    async def until(self, condition: Callable[[], object]) -> None:
        while not condition():  # noqa: ASYNC110  nobody tells the test
            await asyncio.sleep(0.005)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accelerator, "PULSE_SECONDS", 0.05)


@asynccontextmanager
async def fast(folder: Path) -> AsyncIterator[Fast]:
    made = Fast(Core(folder))
    tasks = [asyncio.create_task(job) for job in (made.keeper.run_sync(), made.accelerator.run())]
    try:
        async with asyncio.timeout(20):
            await made.keeper.in_sync.wait()
            await made.until(lambda: made.mirror.true)
            yield made
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        made.mirror.close()
        made.keeper.close()


async def test_a_refusal_of_the_maps_is_noted_and_mended_and_no_answer_waits(tmp_path: Path) -> None:
    async with fast(tmp_path) as f:
        f.maps.failures = [("write", errno.ENOMEM), ("begin", errno.ENOMEM)]
        resyncs = f.keeper.resyncs
        outcome = await f.keeper.process([BLOCK])
        assert outcome.enforced
        assert f.keeper.in_sync.is_set()
        await f.until(lambda: f.mirror.true and not f.maps.failures)
        assert f.mirror.truth(KEY) is not None
        assert [e["text"] for e in f.keeper.errors if e["where"] == "xdp"] == ["write: ENOMEM", "begin: ENOMEM"]
        assert f.keeper.resyncs == resyncs


async def test_what_the_maps_lost_is_missed(tmp_path: Path) -> None:
    async with fast(tmp_path) as f:
        await f.keeper.process([BLOCK])
        fills = f.mirror.fills
        await f.keeper.do(f.maps.live.held[4].clear)  # type: ignore[union-attr]
        await f.until(lambda: f.mirror.fills > fills)
        assert f.mirror.truth(KEY) is not None
        assert any("do not hold what the sets hold" in e["text"] for e in f.keeper.errors)


async def test_an_entry_too_many_and_a_promise_too_few_are_missed(tmp_path: Path) -> None:
    async with fast(tmp_path) as f:
        await f.keeper.process([BLOCK])
        stranger = bytes([100, 64, 9, 9])
        fills = f.mirror.fills
        await f.keeper.do(f.maps.live.held[4].update, {stranger: Held(Level.WALLED)})  # type: ignore[union-attr]
        await f.until(lambda: f.mirror.fills > fills)
        assert f.mirror.truth(b"\x04" + stranger) is None
        await f.keeper.process([TRUST])
        promised = f.mirror.truth(KEY)

        def filled_since(fills: int) -> bool:
            return f.mirror.fills > fills

        assert promised is not None
        assert promised.left
        for wrong in (Held(promised.level), Held(promised.level, Level.NOTICE, 1 << 62)):
            fills = f.mirror.fills
            await f.keeper.do(f.maps.live.held[4].update, {KEY[1:]: wrong})  # type: ignore[union-attr]
            await f.until(partial(filled_since, fills))
            mended = f.mirror.truth(KEY)
            assert mended is not None
            assert mended.lift == promised.lift
            assert abs(mended.left - promised.left) < 5000
        fills = f.mirror.fills
        for _ in range(20):
            await f.keeper.do(f.accelerator._compare)
        assert f.mirror.fills == fills, "what is right is left alone"


async def test_a_clock_that_was_set_neither_parts_maps_and_sets_nor_stops_the_program(tmp_path: Path) -> None:
    """Nobody's timeouts know of it: what is told by the clock of before and what is told by the new one differ."""
    async with fast(tmp_path) as f:
        f.core.kernel._clock = lambda steady=f.core.now: steady  # type: ignore[misc]
        f.mirror._steady = lambda steady=f.core.now: steady * 1_000_000  # type: ignore[misc]
        vigil = Vigil(f.keeper, steady=f.mirror._steady)
        await f.keeper.process([BLOCK])
        await f.keeper.process([TRUST])
        left = f.core.enforcer.truth(KEY)["waived"]
        for step in (60_000, 300_000, 1000):
            f.core.now += step
            resyncs, fills = f.keeper.resyncs, f.mirror.fills
            vigil._follow_clock()
            await f.keeper.synced_after(resyncs)
            await f.until(lambda fills=fills: f.mirror.fills > fills)  # type: ignore[misc]
            left -= step
            assert f.core.enforcer.truth(KEY)["waived"] == left
            assert not await f.keeper.do(f.accelerator._compare)
        resyncs = f.keeper.resyncs
        f.core.now += 400
        vigil._follow_clock()
        f.core.now -= 5400
        vigil._follow_clock()  # set back: it stands
        f.core.now -= 5000
        vigil._follow_clock()
        assert f.keeper.resyncs == resyncs
        assert not f.keeper._wanted.is_set()
        vigil._follow_clock()  # it goes again
        await f.keeper.synced_after(resyncs)
        assert f.core.enforcer.truth(KEY)["waived"] == left + 10_000
        assert [e for e in f.keeper.errors if e["where"] == "xdp"] == []


async def test_what_a_filling_of_the_maps_alone_does_not_mend_a_refill_of_the_sets_does(tmp_path: Path) -> None:
    async with fast(tmp_path) as f:
        f.core.kernel._clock = lambda steady=f.core.now: steady  # type: ignore[misc]
        f.mirror._steady = lambda steady=f.core.now: steady * 1_000_000  # type: ignore[misc]
        await f.keeper.process([BLOCK])
        await f.keeper.process([TRUST])
        resyncs = f.keeper.resyncs
        f.core.now += 60_000
        f.mirror.wanted = True  # as lost pins and growth do; nobody has seen the clock yet
        f.accelerator._heard.set()
        await f.keeper.synced_after(resyncs)
        await f.until(lambda: f.mirror.true)
        fills = f.mirror.fills
        for _ in range(20):
            assert not await f.keeper.do(f.accelerator._compare)
        assert f.mirror.fills == fills
        assert f.keeper.resyncs == resyncs + 1
        assert len([e for e in f.keeper.errors if e["where"] == "xdp"]) == 1


async def test_why_agrees_with_nothing_that_cannot_be_asked(tmp_path: Path) -> None:
    async with fast(tmp_path) as f:
        await f.keeper.process([BLOCK])

        async def agrees() -> object:
            found = await f.keeper.do(f.core.pipeline.questions.why, "100.64.0.10")
            return found["addresses"][0]["agrees"]

        assert await agrees() is True
        f.maps.failures = [("read", errno.EPERM)]
        assert await agrees() is False
        f.core.enforcer.overridden = lambda: True
        assert await agrees() is False


async def test_after_an_open_stop_nothing_is_filled_or_attached_any_more(tmp_path: Path) -> None:
    async with fast(tmp_path) as f:
        f.keeper.frozen = True
        f.maps.failures = [("write", errno.ENOMEM)]
        f.mirror.doubt(RuntimeError("late"))
        fills = f.mirror.fills
        await asyncio.wait([t for t in asyncio.all_tasks() if t.get_coro().__qualname__ == "Accelerator.run"])  # type: ignore[union-attr]
        assert f.mirror.fills == fills


async def test_without_a_program_there_is_nothing_to_do_and_that_is_said(tmp_path: Path) -> None:
    core = Core(tmp_path)
    keeper = Keeper(core.pipeline, core.store, core.enforcer, Straight(1, 1, 1), core.observer, watch=None)
    made = Accelerator(keeper, Wanted("off", ("eth9",), (), tmp_path, SETTINGS))
    try:
        await made.open()
        await made.run()
        assert core.enforcer.follower is None
        assert made.engine.state == "off"
        assert made.engine.told()["why"] == "xdp.mode is off"
        assert made.engine.counters() == {}
        assert list(keeper.errors) == []
    finally:
        keeper.close()
