"""The keeper over a kernel that refuses: retried, reported, never swallowed; no answer before it is in force."""

from __future__ import annotations

import asyncio
import errno
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edged.errors import StoreError
from edged.intake import Incoming, groups
from edged.keeper import Keeper
from edged.nft.routing import Steering
from edged.snapshot import Walk
from edged.succession import Succession
from edged.vigil import Vigil
from tests.unit.core import Core

BLOCK = Incoming(json.dumps({"op": "block", "sub": "100.64.0.10", "reason": "debt"}).encode())
KEY = b"\x04\x64\x40\x00\x0a"


class Straight(Steering):
    """Routes that are always there."""

    def ensure(self) -> list[str]:
        return []


@asynccontextmanager
async def keeping(core: Core) -> AsyncIterator[Keeper]:
    keeper = Keeper(
        core.pipeline,
        core.store,
        core.enforcer,
        Straight(1, 1, 1),
        core.observer,
        watch=None,
    )
    task = asyncio.create_task(keeper.run_sync())
    try:
        async with asyncio.timeout(20):
            yield keeper
    finally:
        task.cancel()
        await asyncio.wait([task])
        keeper.close()


@pytest.fixture
def core(tmp_path: Path) -> Core:
    return Core(tmp_path)


@pytest.mark.parametrize("number", [errno.EBUSY, errno.ENOBUFS, errno.EPERM, errno.ENOENT, errno.EINVAL])
async def test_a_refused_change_is_answered_only_once_it_is_in_force(core: Core, number: int) -> None:
    async with keeping(core) as keeper:
        await keeper.in_sync.wait()
        core.kernel.failures = [number, number, 0, number]  # the change, a refill's begin, and a later step of the next
        outcome = await keeper.process([BLOCK])
        assert outcome.answers[0].document["summary"]["applied"] == 1
        assert core.enforcer.truth(KEY) == {"restricted": 0}
        assert core.enforcer.synced
        assert keeper.in_sync.is_set()
        assert core.kernel.failures == []
    name = errno.errorcode[number]
    assert name in core.observer.kernel_errors
    assert any(e["where"] == "kernel" and name in e["text"] for e in keeper.errors)


async def test_a_command_before_the_first_refill_is_no_error_and_asks_for_no_second_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Core, "refill", lambda _: None)
    core = Core(tmp_path)
    free = asyncio.Event()

    class Slow(Keeper):
        async def _refill(self) -> None:
            await free.wait()
            await super()._refill()

    keeper = Slow(core.pipeline, core.store, core.enforcer, Straight(1, 1, 1), core.observer, watch=None)
    task = asyncio.create_task(keeper.run_sync())
    try:
        async with asyncio.timeout(20):
            waiting = asyncio.create_task(keeper.process([BLOCK]))
            await keeper.changed.wait()
            assert not waiting.done()
            free.set()
            await waiting
            assert core.enforcer.truth(KEY) == {"restricted": 0}
            assert not keeper._wanted.is_set()
        assert (list(keeper.errors), keeper.resyncs) == ([], 1)
        core.kernel.failures = [errno.EBUSY]
        await keeper.process([Incoming(BLOCK.payload.replace(b"0.10", b"0.11"))])
        assert "EBUSY" in keeper.errors[-1]["text"]
        assert keeper.resyncs == 2
    finally:
        task.cancel()
        await asyncio.wait([task])
        keeper.close()


async def test_an_answer_waits_as_long_as_the_kernel_refuses(core: Core) -> None:
    async with keeping(core) as keeper:
        await keeper.in_sync.wait()
        core.kernel.failures = [errno.EPERM] * 5
        waiting = asyncio.create_task(keeper.process([BLOCK]))
        while core.kernel.failures:
            assert not waiting.done()
            await asyncio.sleep(0.005)
        await waiting
        assert core.enforcer.truth(KEY) == {"restricted": 0}


async def test_a_store_that_refuses_holds_the_command_until_it_takes_it(
    core: Core, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit, refusals = core.store.commit, iter([StoreError("disk full")] * 2)

    def refuse(*args: object) -> None:
        for e in refusals:
            raise e
        commit(*args)  # type: ignore[arg-type]

    async with keeping(core) as keeper:
        await keeper.in_sync.wait()
        monkeypatch.setattr(core.store, "commit", refuse)
        outcome = await keeper.process([BLOCK])
    assert outcome.enforced
    assert [e["text"] for e in keeper.errors] == ["disk full"]


async def test_a_payload_that_meets_a_fault_of_ours_is_refused_alone(
    core: Core, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = core.pipeline.process

    def faulty(payloads: Sequence[Incoming]) -> object:
        if Incoming(b"poison") in payloads:
            raise ZeroDivisionError
        return process(payloads)

    async with keeping(core) as keeper:
        await keeper.in_sync.wait()
        monkeypatch.setattr(core.pipeline, "process", faulty)
        outcome = await keeper.process([BLOCK, Incoming(b"poison"), BLOCK])
    assert [a.document["results"][0]["status"] for a in outcome.answers] == ["applied", "rejected", "unchanged"]
    assert keeper.errors[-1]["where"] == "pipeline"


async def test_what_somebody_took_out_of_the_kernel_is_missed_and_put_back(core: Core) -> None:
    async with keeping(core) as keeper:
        await keeper.in_sync.wait()
        await keeper.process([BLOCK])
        assert core.kernel.state is not None
        core.kernel.state.sets.clear()
        before = keeper.resyncs
        await Vigil(keeper)._read_back()
        await keeper.synced_after(before)
        assert core.enforcer.truth(KEY) == {"restricted": 0}
    assert [e["event"] for e in core.events()] == ["drift"]


async def test_what_a_snapshot_has_written_and_the_kernel_has_not_yet_is_no_drift(core: Core) -> None:
    async with keeping(core) as keeper:
        await keeper.in_sync.wait()
        bound = {"op": "bind", "sub": "C-1", "addresses": ["100.64.0.10"]}
        core.chunk([bound, {"op": "block", "sub": "C-1", "reason": "debt"}], 1, 1)
        for _ in core.begin_snapshot():
            pass
        assert core.enforcer.truth(KEY) == {}
        await Vigil(keeper)._read_back()
        assert keeper.in_sync.is_set()
    assert core.events() == []


def chunk(part: int, parts: int, *commands: object) -> Incoming:
    document = {"v": 1, "sync": "s1", "part": part, "parts": parts, "commands": commands}
    return Incoming(json.dumps(document).encode())


async def until_answered(core: Core, keeper: Keeper) -> dict[str, Any]:
    while True:
        await keeper.told.wait()
        keeper.told.clear()
        if found := [e for e in core.events() if "counts" in e]:
            return found[0]


@asynccontextmanager
async def replacing(core: Core) -> AsyncIterator[Keeper]:
    async with keeping(core) as keeper:
        task = asyncio.create_task(Succession(keeper).run())
        await keeper.in_sync.wait()
        try:
            yield keeper
        finally:
            task.cancel()
            await asyncio.wait([task])


async def test_a_snapshot_is_answered_once_the_kernel_has_it(core: Core) -> None:
    async with replacing(core) as keeper:
        core.kernel.failures = [0, errno.EBUSY]
        bind = {"op": "bind", "sub": "C-1", "addresses": ["100.64.0.10"]}
        first = await keeper.process([chunk(2, 2, {"op": "block", "sub": "C-1", "reason": "debt"})])
        assert first.answers[0].document["missing"] == 1
        await keeper.process([chunk(1, 2, bind)])
        answer = await until_answered(core, keeper)
        assert answer["counts"]["subscribers"] == 1
        assert core.enforcer.truth(KEY) == {"restricted": 0}
        assert not core.enforcer.loose
        assert core.pipeline.gathering.ready is None


async def test_a_snapshot_that_meets_a_fault_of_ours_is_given_up(core: Core, monkeypatch: pytest.MonkeyPatch) -> None:
    async with replacing(core) as keeper:
        monkeypatch.setattr(Walk, "_put", lambda *_, **__: 1 / 0)
        await keeper.process([chunk(1, 1, {"op": "block", "sub": "C-1", "reason": "debt"})])
        answer = await until_answered(core, keeper)
        assert answer["summary"]["rejected"] == 1
        assert [e["where"] for e in keeper.errors] == ["snapshot"]
        monkeypatch.undo()
        await keeper.process([BLOCK])
        assert core.enforcer.truth(KEY) == {"restricted": 0}


async def test_a_snapshot_waits_for_a_store_that_refuses(core: Core, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edged.keeper.LAST_PAUSE", 0.05)
    commit, refusals = core.store.commit, iter([None, StoreError("disk full"), None, StoreError("disk full")])

    def refusing(*args: object, **options: object) -> None:
        if refusal := next(refusals, None):
            raise refusal
        commit(*args, **options)  # type: ignore[arg-type]

    async with replacing(core) as keeper:
        monkeypatch.setattr(core.store, "commit", refusing)
        await keeper.process([chunk(1, 1, {"op": "block", "sub": "100.64.0.10", "reason": "debt"})])
        answer = await until_answered(core, keeper)
        assert answer["summary"]["rejected"] == 0
        assert core.enforcer.truth(KEY) == {"restricted": 0}
        assert [e["text"] for e in keeper.errors] == ["disk full"]


async def test_no_refill_shows_half_a_snapshot(core: Core, monkeypatch: pytest.MonkeyPatch) -> None:
    async with replacing(core) as keeper:
        await keeper.process([BLOCK])
        resyncs, seen = keeper.resyncs, []
        put = Walk._put

        def watched(self: Walk, *args: Any, **options: Any) -> None:
            keeper.want("growth")
            seen.append(keeper.resyncs)
            put(self, *args, **options)

        monkeypatch.setattr(Walk, "_put", watched)
        monkeypatch.setattr("edged.replacement.STEP", 1)
        blocks = [{"op": "block", "sub": f"100.64.1.{n}", "reason": "debt"} for n in range(1, 9)]
        await keeper.process([chunk(1, 1, *blocks)])
        await until_answered(core, keeper)
        assert seen == [resyncs] * len(blocks)
        assert core.enforcer.truth(KEY) == {}


@given(st.lists(st.integers(0, 9)), st.integers(1, 12))
def test_groups_keep_order_and_are_small(sizes: list[int], most: int) -> None:
    payloads = [Incoming(bytes(n), str(i)) for i, n in enumerate(sizes)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("edged.intake.LARGEST_GROUP", most)
        found = list(groups(payloads))
    assert [p for group in found for p in group] == payloads
    assert all(len(group) == 1 or sum(len(p.payload) for p in group) <= most for group in found)
    assert all(found)


@pytest.mark.parametrize("frozen", [False, True])
def test_a_look_that_comes_behind_a_stop_brings_no_rule_back(frozen: bool) -> None:
    made: Any = SimpleNamespace(
        frozen=frozen, steering=SimpleNamespace(ensure=lambda: ["rule"]), pipeline=SimpleNamespace(clock=lambda: 0)
    )
    assert Vigil(made)._steer() == ([] if frozen else ["rule"])
