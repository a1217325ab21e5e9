"""What random kills have found once, each in its shortest form."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from edged.intake import Incoming
from edged.keeper import groups
from edged.store.store import Store
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
