"""The benches' database is what the store would have made itself, and their changes do what they are taken for."""

from __future__ import annotations

import itertools
import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from bench import people, state
from bench.changes import Order, Table
from edged import plan
from edged.consequences import changes
from edged.domain.model import Policy
from edged.store.rows import Known, Write
from edged.store.store import Store
from tests.unit.core import START, Core

NOW = 1_795_000_000_123
MEMBERS = 700


def through_the_store(directory: Path, kind: str) -> None:
    store = Store(directory)
    store.open()
    write, found = Write(), []
    for number, address in enumerate(sorted(people.addresses(0, MEMBERS).tolist())):
        walled = kind == state.WALLED or number % 2 == 1
        sub = state.first(f"{number:07}", NOW, walled=walled, invoices=kind == state.HALF)
        found.append(Known(store.new_id(), sub, (bytes([plan.V4_TAG]) + address.to_bytes(4),)))
    changes(write, found, NOW, Policy())
    store.commit(write, NOW)
    store.close()


def everything(directory: Path) -> dict[str, list[Any]]:
    db = sqlite3.connect(directory / "edged.db")
    tables = [name for (name,) in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
    found = {table: sorted(db.execute(f"SELECT * FROM {table}").fetchall()) for table in tables}  # noqa: S608
    db.close()
    return found


@pytest.mark.parametrize("kind", [state.WALLED, state.HALF])
def test_the_quick_way_and_the_stores_own_way_make_the_same(tmp_path: Path, kind: str) -> None:
    through_the_store(tmp_path / "slow", kind)
    state.fill(tmp_path / "quick", people.addresses(0, MEMBERS), kind, NOW)
    slow, quick = everything(tmp_path / "slow"), everything(tmp_path / "quick")
    assert len(slow["subscriber"]) == MEMBERS
    assert quick == slow


def test_every_change_is_applied_and_the_digest_foretold(tmp_path: Path) -> None:
    state.fill(tmp_path, people.addresses(0, MEMBERS), state.HALF, START)
    core, table = Core(tmp_path), Table(MEMBERS)
    before = int(core.store.totals.hash, 16)
    for order in (Order.table(0, MEMBERS), Order.shuffled(0, MEMBERS, seed=1), Order.shuffled(100, 300, seed=2)):
        for numbers in itertools.islice(order.batches(100), len(order.numbers) // 100):
            answer = core.send(*json.loads(table.commands(numbers)))
            assert answer["summary"]["applied"] == 100
        assert int(core.store.totals.hash, 16) == table.digest(before)
        assert core.store.totals.levels[3] == len(core.in_kernel()["restricted4"]) == table.walled.sum()
    core.store.close()
