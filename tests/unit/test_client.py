"""The sender's side without a broker: what is written, what is kept, what goes out next."""

from __future__ import annotations

import json
import random
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from edged.client import lanes as lanes_module
from edged.client.beyond import beyond, lacking
from edged.client.digests import Sums, shard_of
from edged.client.documents import Answer, Group, Head, Packer, batch, chunk, completed, each, pack, read
from edged.client.lanes import Lanes
from edged.client.outbox import KEEP_MS, Outbox
from edged.client.post import Identity, channel, read_key
from edged.client.schema import Snapshot
from edged.domain import batch as contract
from edged.domain.address import Addressing
from edged.envelope import generate
from edged.errors import ConfigError, EdgedError
from edged.mqtt.topics import response_topic
from tests.unit.core import Core

NOW = 1_790_000_000_000
TOPIC = "gw/gw1/cmd"


# ------------------------------------------------------------------------------------------------ documents


def test_a_batch_is_what_the_gateway_reads() -> None:
    body = batch(Head("erp", ("gw1",), NOW, NOW + 1000, "2026-11", 7), "b1", b'[{"op":"paid","sub":"C-1"}]')
    found = contract.read_payload(body, 1 << 20)
    assert isinstance(found, contract.Batch)
    assert (found.id, found.issuer, found.audience, found.epoch, found.seq) == ("b1", "erp", ["gw1"], "2026-11", 7)
    assert found.moment(found.expires) == NOW + 1000
    bare = contract.read_payload(batch(Head(), "b2", b'[{"op":"paid","sub":"C-1"}]'), 1 << 20)
    assert isinstance(bare, contract.Batch)
    assert (bare.issuer, bare.ts, bare.seq) == (None, None, None)


def test_a_chunk_is_what_the_gateway_reads() -> None:
    found = contract.read_payload(chunk(Head(None, (), 0, 0, "e", 3), "s1", 2, 5, b"[]", [0, 255]), 1 << 20)
    assert isinstance(found, contract.Chunk)
    assert (found.sync, found.part, found.parts, found.shards, found.seq) == ("s1", 2, 5, [0, 255], 3)
    whole = contract.read_payload(chunk(Head(), "s1", 1, 1, b"[]", None), 1 << 20)
    assert isinstance(whole, contract.Chunk)
    assert whole.shards is None


def test_a_batch_of_the_callers_keeps_what_it_says() -> None:
    given = {"id": "mine", "ts": "2026-01-01T00:00:00Z", "commands": []}
    document = json.loads(completed(Head("erp", ("gw1",), NOW, NOW + 1), given))
    assert document["ts"] == "2026-01-01T00:00:00Z"
    assert document["aud"] == ["gw1"]
    with pytest.raises(EdgedError, match="cannot be written"):
        completed(Head(), {"commands": [object()]})


def test_commands_are_packed_in_order_by_number_and_size() -> None:
    commands = [{"op": "paid", "sub": f"C-{n}"} for n in range(25)]
    arrays = [json.loads(a) for a in pack(commands, 10)]
    assert [len(a) for a in arrays] == [10, 10, 5]
    assert [c for a in arrays for c in a] == commands
    packer = Packer(1000, most_bytes=200)
    sizes = [len(a) for c in commands if (a := packer.add(c))]
    assert len(sizes) == 3
    assert max(sizes) <= 200 + 2
    assert pack([], 10) == []


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_what_is_no_number_is_refused(number: float) -> None:
    with pytest.raises(EdgedError, match="NaN"):
        pack([{"op": "trust", "sub": "C-1", "hours": number}], 10)
    with pytest.raises(EdgedError, match="NaN"):
        completed(Head(), {"commands": [{"op": "trust", "hours": number}]})
    assert pack([{"op": "trust", "hours": None}], 10) == [b'[{"op":"trust","hours":null}]']


@pytest.mark.parametrize("command", [{"sub": "C-1"}, {"op": 7}, {"op": "paid", "sub": object()}, {"op": "x" * 2**21}])
def test_what_is_no_command_is_refused_before_it_is_taken(command: dict[str, Any]) -> None:
    with pytest.raises(EdgedError):
        pack([command], 10)


async def test_a_table_may_be_iterated_either_way() -> None:
    async def later() -> Any:
        for n in range(3):
            yield {"op": "paid", "sub": str(n)}

    assert [c["sub"] async for c in each(later())] == ["0", "1", "2"]
    assert len([c async for c in each({"op": "paid"} for _ in range(1200))]) == 1200


def result(**fields: Any) -> dict[str, Any]:
    return {"i": 0, "sub": None, "status": "rejected", **fields}


def test_answers_say_what_was_refused() -> None:
    fine = Answer("gw1", "b", {"summary": {"applied": 3, "rejected": 0}, "results": []})
    assert fine.ok
    one = Answer("gw1", "b", {"summary": {"rejected": 1}, "results": [result(sub="C-7", code="stale")]})
    assert not one.ok
    assert one.refusal is None, "a stale rev of one subscriber is no stale batch"
    assert [r["sub"] for r in one.rejected] == ["C-7"]
    whole = Answer("gw1", "b", {"results": [result(code="stale")]})
    assert whole.refusal == "stale"
    assert Answer("gw1", "b", {"results": [result(code="unknown_op")]}).refusal is None
    assert Answer("gw1", "b", {"results": [result(code="malformed", part=3)]}).refusal is None
    among = {"summary": {"applied": 999, "rejected": 1}, "results": [result(code="malformed")]}
    assert Answer("gw1", "b", among).refusal is None
    assert Answer("gw1", "b", {"results": [{"record": {"a": 1}}]}).record == {"a": 1}
    for nonsense in ({}, {"results": 5}, {"results": [5, None]}, {"summary": "x", "error": "y"}):
        answer = Answer("gw1", "b", nonsense)
        assert (answer.ok, answer.refusal, answer.record) == (True, None, None)


def test_only_objects_are_read() -> None:
    assert read(b'{"a":1}') == {"a": 1}
    for payload in (b"", b"[]", b"\xff\xfe", b"7", b"[" * 100_000, b'{"a":'):
        assert read(payload) is None


# ------------------------------------------------------------------------------------------------ names and keys


def test_names_keys_and_topics(tmp_path: Path) -> None:
    identity = Identity.make("erp", None, None, 60)
    assert response_topic(identity.answers) == "edged/v1/client/erp/ack", "the gateway would answer elsewhere"
    assert identity.seal(b"x") == b"x"
    assert identity.head("gw1", "e", 5) == Head(None, (), 0, 0, "e", 5)
    signed = Identity.make("erp", "erp", generate(), 60)
    assert signed.seal(b"{}").count(b".") == 2
    head = signed.head("gw1")
    assert (head.audience, head.expires - head.ts) == (("gw1",), 60_000)
    assert channel("gw1") == "gw/gw1/cmd"
    assert channel(Group("pop1")) == "group/pop1/cmd"
    for bad in ("", "a/b", "#"):
        with pytest.raises(ConfigError):
            channel(bad)
        with pytest.raises(ConfigError):
            Identity.make(bad, None, None, 60)
    with pytest.raises(ConfigError, match="without issuer"):
        Identity.make("erp", None, generate(), 60)
    (tmp_path / "key").write_text("no key")
    with pytest.raises(ConfigError, match="keygen"):
        read_key(tmp_path / "key")
    with pytest.raises(ConfigError, match="No such file"):
        read_key(tmp_path / "none")


# ------------------------------------------------------------------------------------------------ outbox


def reserve(box: Outbox, *names: str, waiting: tuple[str, ...] = ("gw1",), topic: str = TOPIC) -> set[str]:
    """One call for each name; the names that were answered before."""
    calls = [(n, f'["{n}"]'.encode()) for n in names]
    return {n for n, body in calls if not box.reserve(topic, [(n, body)], waiting, NOW, "e1", body).open}


def pending(box: Outbox, topic: str = TOPIC) -> list[tuple[str, int, str]]:
    return [(r.epoch, r.seq, r.id) for r in box.pending(topic, 0, 100, 100)]


def test_numbers_rise_by_one_for_each_stream_and_survive(tmp_path: Path) -> None:
    box = Outbox(tmp_path / "out", NOW)
    reserve(box, "a", "b")
    reserve(box, "x", topic="group/all/cmd")
    box.close()
    box = Outbox(tmp_path / "out", NOW)
    box.reserve(TOPIC, [("c", b"[]")], ["gw1"], NOW, "another epoch is not begun")
    assert pending(box) == [("e1", 1, "a"), ("e1", 2, "b"), ("e1", 3, "c")]
    assert pending(box, "group/all/cmd") == [("e1", 1, "x")]
    assert box.position(TOPIC) == ("e1", 3)
    assert set(box.open_topics()) == {TOPIC, "group/all/cmd"}
    box.close()


def test_answers_empty_it_and_ids_are_remembered_for_thirty_days(tmp_path: Path) -> None:
    box = Outbox(tmp_path / "out", NOW)
    everybody = "group/all/cmd"
    reserve(box, "a", waiting=("gw1", "gw2"), topic=everybody)
    box.answered([("a", "gw3"), ("none", "gw1"), ("a", "gw1"), ("a", "gw1")], NOW)
    row = box.find("a", "gw2")
    assert row is not None
    assert row.waiting == ("gw2",)
    assert row.commands == b'["a"]'
    box.answered([("a", "gw2")], NOW)
    assert box.find("a", "gw2") is None
    assert reserve(box, "a", "b", topic=everybody) == {"a"}
    assert pending(box, everybody) == [("e1", 2, "b")]
    box.close()
    box = Outbox(tmp_path / "out", NOW + KEEP_MS - 1)
    assert reserve(box, "a", topic=everybody) == {"a"}
    box.close()
    box = Outbox(tmp_path / "out", NOW + KEEP_MS + 1)
    assert reserve(box, "a", topic=everybody) == set()
    assert pending(box, everybody)[-1] == ("e1", 3, "a")
    box.close()


def test_an_id_is_one_call_to_one_destination() -> None:
    box = Outbox(None, NOW)
    first = box.reserve(TOPIC, [("t", b"[1]"), ("t.2", b"[2]")], ["gw1"], NOW, "e1", b"one")
    assert first.open == {"t": ("gw1",), "t.2": ("gw1",)}
    undivided = box.reserve(TOPIC, [("t", b"[1,2]")], ["gw1"], NOW, "e1", b"one")
    assert undivided == first, "the same commands in other batches"
    for name in ("t", "t.2"):
        with pytest.raises(EdgedError, match=f"'{name}' was sent to gw1 with other commands"):
            box.reserve(TOPIC, [(name, b"[3]")], ["gw1"], NOW, "e1", b"two")
    other = box.reserve("gw/gw2/cmd", [("t", b"[3]")], ["gw2"], NOW, "e1", b"two")
    assert other.open == {"t": ("gw2",)}
    with pytest.raises(EdgedError, match="'t' was sent to gw1, which group all may overlap"):
        box.reserve("group/all/cmd", [("t", b"[1]")], [], NOW, "e1", b"one")
    box.answered([("t", "gw2")], NOW)
    assert [r.id for r in box.pending("gw/gw2/cmd", 0, 9, 9)] == []
    assert pending(box) == [("e1", 1, "t"), ("e1", 2, "t.2")]
    box.answered([("t", "gw1")], NOW)
    again = box.reserve(TOPIC, [("t", b"[1]"), ("t.2", b"[2]")], ["gw1"], NOW, "e1", b"one")
    assert (again.ids, again.open) == (("t", "t.2"), {"t.2": ("gw1",)})
    with pytest.raises(EdgedError, match="other commands"):
        box.reserve(TOPIC, [("t", b"[9]")], ["gw1"], NOW, "e1", b"nine")
    box.close()


def test_an_outbox_of_the_version_before_is_taken_over(tmp_path: Path) -> None:
    db = sqlite3.connect(tmp_path / "out", isolation_level=None)
    db.executescript(
        """
        CREATE TABLE stream (
          topic TEXT PRIMARY KEY, epoch TEXT NOT NULL, seq INTEGER NOT NULL, covered INTEGER NOT NULL) STRICT;
        CREATE TABLE batch (
          topic TEXT NOT NULL, seq INTEGER NOT NULL, id TEXT NOT NULL UNIQUE, waiting TEXT NOT NULL,
          commands BLOB NOT NULL, made INTEGER NOT NULL, done INTEGER NOT NULL DEFAULT 0) STRICT;
        CREATE UNIQUE INDEX batch_open ON batch (topic, seq) WHERE done = 0;
        CREATE INDEX batch_seq ON batch (topic, seq);
        CREATE INDEX batch_done ON batch (done) WHERE done > 0;
        CREATE TABLE snapshot (gateway TEXT PRIMARY KEY, sync TEXT NOT NULL, parts INTEGER NOT NULL,
          epoch TEXT NOT NULL, seq INTEGER NOT NULL, shards TEXT NOT NULL) STRICT;
        CREATE TABLE part (gateway TEXT NOT NULL, part INTEGER NOT NULL, commands BLOB NOT NULL) STRICT;
        CREATE UNIQUE INDEX part_key ON part (gateway, part);
        CREATE TABLE wanted (gateway TEXT PRIMARY KEY, times INTEGER NOT NULL DEFAULT 1) STRICT;
        PRAGMA user_version = 1;
        """
    )
    db.execute("INSERT INTO stream VALUES ('gw/gw1/cmd', 'e1', 2, 0)")
    db.execute("INSERT INTO batch VALUES ('gw/gw1/cmd', 1, 'a', '[\"gw1\"]', x'', ?, ?)", (NOW, NOW))
    db.execute("INSERT INTO batch VALUES ('gw/gw1/cmd', 2, 'b', '[\"gw1\"]', x'5b5d', ?, 0)", (NOW,))
    db.close()
    box = Outbox(tmp_path / "out", NOW)
    assert reserve(box, "a", "b", "c") == {"a"}
    assert pending(box) == [("e1", 2, "b"), ("e1", 3, "c")]
    box.close()


def test_what_no_snapshot_carries_can_be_said_again() -> None:
    def batch(*commands: dict[str, Any]) -> bytes:
        return json.dumps(commands).encode()

    def operator(op: str, sub: str) -> dict[str, Any]:
        return {"op": op, "sub": sub, "reason": "operator"}

    debt = {"op": "block", "sub": "C-1", "reason": "debt"}
    box = Outbox(None, NOW)
    bodies = [
        batch(debt, {"op": "garden", "name": "banks", "networks": []}, operator("block", "C-2")),
        batch({"op": "forget", "sub": "C-3"}, operator("block", "C-4"), {"op": "paid", "sub": "C-1"}),
        batch({"op": "garden", "name": "banks", "networks": ["192.0.2.0/24"]}, debt),
        batch(debt),
        batch({"op": "forget", "sub": "C-4"}),
    ]
    for n, body in enumerate(bodies):
        box.reserve("group/all/cmd", [(f"b{n}", body)], [], NOW, "e1")
        box.settle([("group/all/cmd", f"b{n}")], NOW)

    def lacking(first: int, last: int, epoch: str = "e1", gateway: str = "gw1") -> Any:
        return json.loads(box.lacking(gateway, "group/all/cmd", epoch, first, last) or b"[]")

    assert lacking(1, 2) == [operator("block", "C-2"), {"op": "forget", "sub": "C-3"}]
    assert lacking(3, 4) == [{"op": "garden", "name": "banks", "networks": ["192.0.2.0/24"]}]
    assert lacking(4, 4) == lacking(1, 9, "e0") == []
    box.reserve(TOPIC, [("x", batch(operator("unblock", "C-2")))], ["gw1"], NOW, "e1")
    assert lacking(1, 1) == []
    assert lacking(1, 1, gateway="gw2") == [operator("block", "C-2")]
    box.close()


def test_the_last_word_on_areas_and_deferrals_is_said_again() -> None:
    def defer(sub: str, kind: str, until: str) -> dict[str, Any]:
        return {"op": "defer", "sub": sub, "kind": kind, "until": until}

    undefer_all = {"op": "undefer", "sub": "C-1"}
    ended = {"op": "undefer", "sub": "C-2", "kind": "dispute"}
    renewed = defer("C-1", "hardship", "2027-03-01T00:00:00Z")
    outage = {"op": "outage", "id": "O-1", "area": "north"}
    calendar = {"op": "calendar", "area": "north", "dates": ["2026-12-08"], "version": "2"}
    batches: list[list[Any]] = [
        [defer("C-1", "agreement", "2027-01-01T00:00:00Z"), defer("C-2", "dispute", "2027-01-01T00:00:00Z")],
        [{"op": "moratorium", "area": "*", "until": "2027-01-01T00:00:00Z"}, outage, {"op": "trust", "sub": "C-1"}],
        [{"op": "calendar", "area": "north", "dates": [], "version": "1"}, calendar, undefer_all],
        [{"op": "end_moratorium", "area": "*"}, ended, renewed],
    ]
    arrays = [beyond(json.dumps(commands).encode()) for commands in batches]
    assert [len(json.loads(array)) for array in arrays] == [2, 2, 3, 3]

    def again(*missing: int) -> Any:
        return json.loads(lacking((n in missing, array) for n, array in enumerate(arrays)) or b"[]")

    assert again(0) == []
    assert again(1) == [outage]
    assert again(0, 1, 2) == [outage, calendar, undefer_all, renewed]
    assert again(2) == [calendar, undefer_all, renewed], "it would be ended with the others"
    assert again(3) == [batches[3][0], ended, renewed]
    assert beyond(b'[{"op":"trust","sub":"C-1"},{"op":"block","sub":"C-1","reason":"debt"}]') == b""


def test_nobody_known_is_waited_for_until_settled() -> None:
    box = Outbox(None, NOW)
    reserve(box, "a", waiting=())
    box.answered([("a", "gw1")], NOW)
    assert box.find("a", "gw1")
    box.settle([(TOPIC, "a")], NOW)
    assert not box.open_topics()
    box.close()


def test_the_window_holds_back_what_is_too_many() -> None:
    box = Outbox(None, NOW)
    reserve(box, *(f"b{n}" for n in range(1, 21)))
    assert [r.seq for r in box.pending(TOPIC, 0, 8, 5)] == [1, 2, 3, 4, 5]
    assert [r.seq for r in box.pending(TOPIC, 5, 8, 5)] == [6, 7, 8]
    assert box.pending(TOPIC, 8, 8, 5) == []
    box.answered([("b2", "gw1")], NOW)
    assert [r.seq for r in box.pending(TOPIC, 8, 8, 5)] == [9]
    box.close()


def test_too_late_and_a_new_numbering() -> None:
    box = Outbox(None, NOW)
    reserve(box, "a", "b", "c", "d")
    rows = {r.id: r for r in box.pending(TOPIC, 0, 9, 9)}
    assert not box.overtaken(rows["a"])
    assert box.waiting(TOPIC, 1)
    assert not box.waiting(TOPIC, 0)
    box.answered([("b", "gw1")], NOW)
    assert box.overtaken(rows["a"]) == "later"
    assert not box.overtaken(rows["c"])
    box.renumber(TOPIC, "e0", "")
    assert pending(box) == [("e1'", 1, "a"), ("e1'", 2, "c"), ("e1'", 3, "d")], "an epoch must be higher than the last"
    assert not box.overtaken(box.pending(TOPIC, 0, 9, 9)[0])
    reserve(box, "e")
    assert pending(box)[-1] == ("e1'", 4, "e")
    box.renumber(TOPIC, "e2", "")
    assert pending(box)[0] == ("e2", 1, "a")
    box.renumber(TOPIC, "e3", "e7")
    assert pending(box)[0] == ("e7'", 1, "a"), "the gateway has begun that one already"
    assert reserve(box, "b") == {"b"}
    box.close()


def test_snapshots_count_when_complete_and_cover_what_came_before(tmp_path: Path) -> None:
    box = Outbox(tmp_path / "out", NOW)
    reserve(box, "a", "b")
    for gateway in ("gw1", "gw2"):
        box.begin_snapshot(gateway)
        box.add_part(gateway, 1, b"[1]")
        box.add_part(gateway, 2, b"[2]")
    whole = Snapshot("gw1", "s", 2, "e1", 1, (3, 4))
    box.end_snapshot(whole)
    box.close()
    box = Outbox(tmp_path / "out", NOW)
    assert box.snapshots() == [whole]
    assert (box.part("gw1", 2), box.part("gw2", 2), box.part("gw1", 3)) == (b"[2]", b"", b"")
    assert not box.covers(TOPIC, "e1", 1)
    box.finish_snapshot(whole, TOPIC, accepted=True)
    assert box.covers(TOPIC, "e1", 1)
    assert not box.covers(TOPIC, "e1", 2)
    assert not box.covers(TOPIC, "e0", 1)
    assert [box.overtaken(r) for r in box.pending(TOPIC, 0, 9, 9)] == ["snapshot", ""]
    assert box.snapshots() == []
    assert box.part("gw1", 1) == b""
    box.close()


def test_a_wish_stays_until_it_is_granted(tmp_path: Path) -> None:
    box = Outbox(tmp_path / "out", NOW)
    box.want(["gw1", "gw2"])
    times = box.wanted()["gw1"]
    box.want(["gw1"])
    box.grant("gw1", times)
    box.grant("gw2", 1)
    assert box.wanted() == {"gw1": 2}, "the second wish came while the first was being fulfilled"
    box.close()
    box = Outbox(tmp_path / "out", NOW)
    box.grant("gw1", 2)
    assert box.wanted() == {}
    box.close()


def test_what_is_no_outbox_is_named(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("not a database, and longer than a header of one would be" * 20)
    with pytest.raises(ConfigError, match="text"):
        Outbox(tmp_path / "text", NOW)
    with pytest.raises(ConfigError, match="writable"):
        Outbox(tmp_path / "no" / "folder", NOW)
    with sqlite3.connect(tmp_path / "new") as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(ConfigError, match="newer edged"):
        Outbox(tmp_path / "new", NOW)


def test_a_full_disk_takes_nothing(tmp_path: Path) -> None:
    box = Outbox(tmp_path / "out", NOW)
    reserve(box, "a")
    box._db.execute("PRAGMA max_page_count = 1")
    with pytest.raises(EdgedError, match="nothing was taken"):
        box.reserve(TOPIC, [("big", b"x" * 1_000_000)], ["gw1"], NOW, "e1")
    box._db.execute("PRAGMA max_page_count = 100000")
    reserve(box, "b")
    assert pending(box) == [("e1", 1, "a"), ("e1", 2, "b")]
    box.close()


# ------------------------------------------------------------------------------------------------ lanes


def test_lanes_go_back_for_another_broker_and_for_lost_patience() -> None:
    lanes = Lanes()
    lanes.connected("a:1883")
    lanes.open([TOPIC], 0.0)
    (lane,) = lanes.due(0.0)
    lane.dirty = False
    lane.took(lane.turn, 5, 1.0)
    assert list(lanes.due(2.0)) == []
    lanes.connected("a:1883")
    assert lane.cursor == 5
    assert lane.dirty, "what it has not confirmed"
    lane.dirty = False
    lanes.connected("b:1883")
    assert lane.cursor == 0
    turn, lane.dirty = lane.turn, False
    lane.took(turn, 5, 10.0)
    first = lanes_module.FIRST_PATIENCE
    assert list(lanes.due(10.0 + first)) == []
    assert list(lanes.due(10.1 + first)) == [lane]
    assert (lane.cursor, lane.patience) == (0, 2 * first)
    lane.took(turn, 9, 50.0)
    assert lane.cursor == 0, "published before it went back"
    lanes.answered(TOPIC, 60.0)
    assert lane.patience == first
    lane.dirty = False
    lanes.drop(lane)
    assert not len(lanes)
    lanes.answered(TOPIC, 61.0)
    lanes.back(TOPIC)


# ------------------------------------------------------------------------------------------------ digests


@pytest.mark.parametrize("seed", range(20))
def test_the_senders_sums_are_the_gateways(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    core = Core(tmp_path)
    table: list[dict[str, Any]] = []
    free = iter(range(10_000))
    for n in range(60):
        sub = f"C-{n}" if rng.random() < 0.8 else f"100.66.0.{n}"
        if sub[0] == "C":
            v4 = f"100.64.{next(free)}.0/30" if rng.random() < 0.1 else f"100.65.0.{n}"
            v6 = rng.choice([f"2001:db8:0:{n:x}00::/56", f"2001:DB8:1:{n:x}::/64", f"2001:db8:2:{n:x}00::/55"][:2])
            table.append({"op": "bind", "sub": sub, "addresses": rng.choice([[v4], [v4, v6], [v6], [v4, v4]])})
        for reason in rng.sample(["debt", "debt_partial", "notice", "operator"], rng.randint(0, 2)):
            invoices: list[Any] = [f"F-{n}-{i}" for i in range(rng.randint(0, 3))]
            if invoices and rng.random() < 0.5:
                invoices[0] = {"id": invoices[0], "due": "2026-01-05"}
            more: dict[str, Any] = {"rate": 512} if reason == "debt_partial" and rng.random() < 0.5 else {}
            if reason == "debt" and rng.random() < 0.3:
                more = {"level": "reduced"}
            if sub[0] != "C" or rng.random() < 0.9:
                table.append({"op": "block", "sub": sub, "reason": reason, "invoices": invoices, **more})
    rng.shuffle(table)
    answer = core.send(*table)
    assert answer["summary"]["rejected"] == 0, answer["results"]
    sums = Sums(Addressing((64, 56)))
    for command in table:
        sums.add(command)
    assert sums.words() == core.store.totals.digests()
    assert all(0 <= shard_of(c) < 256 for c in table)
    core.store.close()
