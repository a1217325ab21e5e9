"""What random kills and random lives have found once, each in its shortest form."""

from __future__ import annotations

import functools
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from edged.intake import Incoming, groups
from edged.store.store import Store
from tests.reference import walk
from tests.reference.pair import Step
from tests.reference.providers import pair
from tests.torture.faults import Faults, Killed, sqlite
from tests.unit.core import Core


@pytest.fixture
def core(tmp_path: Path) -> Iterator[Core]:
    made = Core(tmp_path)
    yield made
    made.store.close()


def test_a_first_start_may_be_killed_at_any_statement(tmp_path: Path) -> None:
    faults = Faults(lambda: None)
    with sqlite(faults):
        store = Store(tmp_path / "counted")
        store.open()
        faults.revive()
        for n in range(1, faults.passed.total(), 7):
            faults.arm("anywhere", n)
            with pytest.raises((Killed, sqlite3.Error)):
                Store(tmp_path / str(n)).open()
            faults.revive()
            store = Store(tmp_path / str(n))
            store.open()
            assert store.note("last_batch") == ""
            faults.revive()


def chunk(sync: str, part: int, parts: int, *commands: str) -> Incoming:
    body = f'{{"v":1,"sync":"{sync}","part":{part},"parts":{parts},"commands":[{",".join(commands)}]}}'
    return Incoming(body.encode(), "gw/gw1/sync")


def block(sub: str, reason: str) -> str:
    return f'{{"op":"block","sub":"{sub}","reason":"{reason}"}}'


@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize("displaces", [False, True])
def test_a_command_in_one_group_with_the_last_chunk_is_newer_than_the_snapshot(
    core: Core, restart: bool, displaces: bool
) -> None:
    if displaces:
        core.pipeline.process([chunk("s0", 1, 2)])
    command = Incoming(f'{{"v":1,"id":"b","commands":[{block("C-1", "debt")}]}}'.encode())
    for group in groups([chunk("s1", 1, 1, block("C-1", "notice")), command]):
        core.pipeline.process(group)
    if restart:
        core.restart()
    core.carry_out()
    assert core.level("C-1") == "walled"


AUTHOR = {"author": "a", "motive": "m"}
DAY = 86_400_000
LIVES: dict[str, tuple[str, int, list[Step]]] = {  # whose rules, when it begins, what happens
    "under an override, what waits for a moratorium puts no deadline off": ("no guard, generous", 10_688_000_224, [
        ("send", [{"op": "bind", "sub": "B", "addresses": ["100.64.0.3"], "area": "north"}]),
        ("send", [{"op": "block", "sub": "B", "reason": "debt"}]),
        ("wait", 3 * DAY),
        ("send", [{"op": "defer", "sub": "B", "kind": "agreement", "until": 1_080_000}]),
        ("send", [{"op": "block", "sub": "B", "reason": "notice", "invoices": ["F-6", "F-8"], "override": AUTHOR}]),
        ("send", [{"op": "moratorium", "area": "north", "until": 9 * DAY + 1}]),
        ("send", [{"op": "block", "sub": "B", "reason": "notice", "invoices": ["F-7"], "deadline": DAY}]),
        ("wait", 46_800_000),
        ("due", 1),
        ("send", [{"op": "block", "sub": "B", "reason": "notice", "override": AUTHOR}]),
        ("send", [{"op": "defer", "sub": "B", "kind": "hardship", "until": 60_001}]),
        ("wait", 18_000_001),
    ]),
    "what stands behind a debt has had the promise that runs for all": ("the installed file", 16_966_717_463, [
        ("send", [{"op": "paid", "sub": "B", "invoices": ["F-3"]}]),
        ("send", [{"op": "block", "sub": "B", "reason": "debt"}]),
        ("send", [{"op": "trust", "sub": "B"}]),
        ("send", [{"op": "block", "sub": "B", "reason": "debt", "invoices": [("F-6", 10), "F-5"], "override": AUTHOR,
                   "level": "notice"}]),
        ("send", [{"op": "block", "sub": "B", "reason": "debt", "notified_at": 0}]),
        ("send", [{"op": "block", "sub": "B", "reason": "debt", "invoices": [("F-3", 40)], "level": "notice"}]),
        ("send", [{"op": "block", "sub": "B", "reason": "debt_partial", "invoices": ["F-6", "F-5"]}]),
        ("send", [{"op": "trust", "sub": "B", "invoices": ["F-6"]}]),
    ]),
}  # fmt: skip


@pytest.mark.parametrize("life", LIVES)
def test_a_life_beside_the_naive_model(life: str) -> None:
    provider, begin, steps = LIVES[life]
    assert walk.live(functools.partial(pair, provider), begin, steps).fault == ""
