"""The store: what survives, what is counted, what is refused, and that it is the refill's source."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from edged import plan
from edged.domain.entry import Entry
from edged.domain.model import Fact, Invoice, Promise, Reason, Subscriber
from edged.errors import StoreError
from edged.plan import Owned
from edged.store import schema
from edged.store.bitmap import addresses, changed, count, nets_of
from edged.store.rows import Event, Known, Mark, Row, Stored, Write, read_facts
from edged.store.store import Store
from tests.worlds import turns, v4, v6


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(tmp_path)
    made.open()
    yield made
    made.close()


FULL = Subscriber(
    "C-1",
    rev=7,
    reasons={"debt": Reason(3, 5, 6, (Invoice("F", "2026-01-01"),), 64, "p", 9, 4, "T", "erp")},
    promise=Promise("promise", 5, 9, ("F",), "app", "T", "erp"),
    breached=True,
    notified=8,
    level=3,
    since=5,
)


def test_what_is_written_is_read_back_by_name_by_number_and_after_a_restart(store: Store) -> None:
    number = store.new_id()
    keys, entry, mark = (v4(1), v6(1)), Entry(3, 64, 1, 9, 8), Mark(3, 41)
    write = Write(
        fresh=[Row(number, FULL, 9, keys, entry, mark)],
        owners=dict.fromkeys(keys, number),
        facts={number: {"F": Fact(True, 2)}},
        levels=[0, 0, 0, 1, 0],
        promises=1,
        shards={255: -1, 0: 5},
        rest=-2,
    )
    store.commit(write, 5)
    for _ in range(2):
        known = store.load(["C-1", "C-2"])["C-1"]
        assert known == Known(number, FULL, keys, entry, Stored(FULL, keys, entry), known.history)
        assert read_facts(known.history) == {"F": Fact(True, 2)}
        assert store.marks([number]) == {number: mark}
        assert store.load_ids([number, 99]) == {"C-1": known}
        assert store.owners([v4(1), v4(2)]) == {v4(1): number}
        assert (store.totals.levels, store.totals.promises) == ((0, 0, 0, 1, 0), 1)
        assert store.totals.hash == f"{2}".rjust(16, "0")
        assert store.totals.digests()[255] == "f" * 16
        assert store.new_id() > number
        store.close()
        store.open()


def test_many_are_loaded_in_bulk(store: Store) -> None:
    subs = [store.new_id() for n in range(1300)]
    rows = [Row(i, Subscriber(f"S{n}"), 0, (v4(i),)) for n, i in enumerate(subs)]
    store.commit(Write(fresh=rows, owners={v4(i): i for i in subs}), 0)
    assert len(store.load(f"S{n}" for n in range(2000))) == 1300
    assert len(store.load_ids(subs)) == len(store.owners(v4(i) for i in subs)) == 1300


def test_due_moments_come_in_order(store: Store) -> None:
    ids = [store.new_id() for _ in range(4)]
    rows = [Row(i, Subscriber(f"S{i}"), due) for i, due in zip(ids, (30, 0, 10, 20), strict=True)]
    store.commit(Write(fresh=rows), 0)
    assert store.next_due() == 10
    assert store.due(20) == [ids[2], ids[3]]
    assert store.due(9) == []
    assert store.due(99, limit=1) == [ids[2]]


def test_a_refused_commit_leaves_nothing_behind(store: Store) -> None:
    first, second = store.new_id(), store.new_id()
    store.commit(Write(fresh=[Row(first, Subscriber("A", level=3))], levels=[0, 0, 0, 1, 0]), 0)
    taken = Write(fresh=[Row(second, Subscriber("A", level=1))], owners={v4(1): second}, levels=[0, 1, 0, 0, 0])
    with pytest.raises(StoreError, match="nothing was changed"):  # the name is taken
        store.commit(taken, 0)
    assert store.totals.levels == (0, 0, 0, 1, 0)
    assert store.owners([v4(1)]) == {}
    store.heartbeat(5)
    assert store.note("heartbeat") == "5"


def test_a_full_disk_is_a_store_error_and_passes(store: Store) -> None:
    store.commit(Write(fresh=[Row(store.new_id(), Subscriber("A"))], levels=[1, 0, 0, 0, 0]), 0)
    (pages,) = store.db.execute("PRAGMA page_count").fetchone()
    store.db.execute(f"PRAGMA max_page_count = {pages}")
    big = Write(fresh=[Row(store.new_id(), Subscriber("x" * 100_000))], levels=[1, 0, 0, 0, 0])
    with pytest.raises(StoreError, match="full"):
        store.commit(big, 0)
    assert StoreError.transient
    store.db.execute("PRAGMA max_page_count = 1000000")
    store.commit(big, 0)
    assert sum(store.totals.levels) == 2


def test_a_file_that_is_no_database_names_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "edged.db").write_bytes(b"not a database at all" * 100)
    with pytest.raises(StoreError, match="check state_dir"):
        Store(tmp_path).open()


def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "edged.db") as db:
        db.execute("PRAGMA user_version = 999")
    db.close()
    with pytest.raises(StoreError, match="999 is newer"):
        Store(tmp_path).open()


def test_a_migration_that_fails_leaves_the_old_schema(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path)
    store.open()
    store.close()
    bad = (*schema.MIGRATIONS, ("CREATE TABLE half (x)", "CREATE TABLE half (x)"))
    monkeypatch.setattr("edged.store.database.MIGRATIONS", bad)
    with pytest.raises(StoreError):
        store.open()
    monkeypatch.undo()
    store.open()
    tables = {t for (t,) in store.db.execute("SELECT name FROM sqlite_master")}
    assert "half" not in tables
    store.close()


def test_a_store_that_is_not_open_says_so(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with pytest.raises(StoreError, match="not open"):
        store.next_due()
    store.close()


def test_it_is_durable_by_its_settings(store: Store) -> None:
    assert store.db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert store.db.execute("PRAGMA synchronous").fetchone() == (2,)


def test_events_wait_in_order_until_they_are_taken(store: Store) -> None:
    a, b, c = Event({"event": "a"}), Event({"event": "b"}), Event({"sync": "x"}, "edged/v1/client/erp", b"\0")
    store.commit(Write(events=[a, b]), 0)
    store.commit(Write(events=[c]), 0)
    rows = store.events(2)
    assert [e for _, e in rows] == [a, b]
    store.forget_events(rows[-1][0])
    assert [e for _, e in store.events()] == [c]


def test_purge_takes_old_answers_and_too_many_events(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edged.store.store.MOST_EVENTS", 3)
    store.commit(Write(answers={("erp", "b"): {}}, events=[Event({"n": n}) for n in range(5)]), 100)
    store.commit(Write(answers={("noc", "b"): {}}), 200)
    store.purge(150)
    assert set(store.answers([("erp", "b"), ("noc", "b")])) == {("noc", "b")}
    assert [e.document["n"] for _, e in store.events()] == [2, 3, 4]


# -- the source of a refill ------------------------------------------------------------------------------------------


def walked(store: Store, limit: int) -> list[bytes]:
    out: list[bytes] = []
    after = b""
    while run := store.restricted(after, limit):
        width = 4 if run.tag == 4 else 16
        keys = [bytes([run.tag]) + run.keys[i : i + width] for i in range(0, len(run.keys), width)]
        assert keys == sorted(keys)
        assert after < keys[0]
        assert not out or out[-1] < keys[0]
        assert keys[-1] <= run.last
        out += keys
        after = run.last
    return out


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("limit", [1, 7, 1000])
def test_a_refill_reads_exactly_what_is_restricted_whatever_was_written_before(
    store: Store, seed: int, limit: int
) -> None:
    rng = random.Random(seed)
    space = [v4(n) for n in range(600)] + [v6(n) for n in range(60)] + [v6(n, 64) for n in range(60)]
    entries = [
        Entry(),
        Entry(3),
        Entry(3),
        Entry(1),
        Entry(2, rate=64),
        Entry(3, until=9),
        Entry(4),
        Entry(1, notified=5),
    ]
    desired: dict[bytes, Owned] = {}
    for _ in range(12):
        gone = set(rng.sample(sorted(desired), len(desired) // 4))
        new = {k: Owned(rng.randint(1, 9), rng.choice(entries)) for k in rng.sample(space, 120) if k not in gone}
        after = {k: o for k, o in desired.items() if k not in gone} | new
        store.commit(Write(entries=turns(desired, after)), 0)
        desired = after
    restricted = sorted(k for k, o in desired.items() if o.entry.level)
    assert walked(store, limit) == restricted
    special = [(k, o) for k, o in sorted(desired.items()) if len(plan.elements(k, o)) > 1]
    assert list(store.special(b"", 10_000)) == special
    assert list(store.special(special[3][0], 5)) == special[4:9]
    counts = store.counts()
    for tag in (4, 56, 64):
        assert counts[plan.RESTRICTED, tag] == sum(k[0] == tag for k in restricted)
        assert counts[plan.WAIVED, tag] == sum(k[0] == tag for k, _ in special)
    assert set(store.sample(50)) <= set(restricted)
    assert len(store.sample(50)) > 20


def test_an_empty_store_is_an_empty_source(store: Store) -> None:
    assert store.restricted(b"", 10) is None
    assert list(store.special(b"", 10)) == []
    assert store.counts() == {}
    assert store.sample(5) == []


def test_forgetting_a_subscriber_clears_its_bits_too(store: Store) -> None:
    number = store.new_id()
    entry = Entry(3)
    owned = Owned(number, entry)
    row = Row(number, Subscriber("A"), 0, (v4(1),), entry)
    store.commit(Write(fresh=[row], owners={v4(1): number}, entries={v4(1): (None, owned)}), 0)
    store.commit(Write(removed=[number], forgotten={"A"}, owners={v4(1): 0}, entries={v4(1): (owned, None)}), 0)
    assert store.restricted(b"", 10) is None
    assert store.load(["A"]) == {}


def test_bitmaps() -> None:
    keys = {v4(n): True for n in (0, 7, 8, 255, 256)}
    nets = sorted(nets_of(keys))
    assert nets == [0x644000, 0x644001]
    maps = changed({}, keys)
    assert [count(maps[n]) for n in nets] == [4, 1]
    assert addresses([(n, maps[n]) for n in nets]) == b"".join(k[1:] for k in sorted(keys))
    assert changed(maps, keys) == {}
    assert changed(maps, {v4(256): False, v4(9): False}) == {0x644001: bytes(32)}
