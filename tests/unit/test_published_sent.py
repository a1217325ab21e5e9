"""Whatever the core and the desk really say is valid by the published schemas, and nothing in it goes unmentioned."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import zlib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest

from edged import answers, desk, envelope, gathering, intake, pipeline, snapshot
from edged.answers import Answer
from edged.client import lanes
from edged.config.models import BrakeSection, MqttSection, PolicySection
from edged.config.security import SecuritySection
from edged.desk import Desk
from edged.domain import brake, command, digest, garden_list, onset, promise, region
from edged.domain.brake import Limits
from edged.domain.model import Policy
from edged.intake import Incoming
from edged.keeper import Keeper
from edged.mqtt import inbox, packet, worker
from edged.mqtt.message import Inbound, Outbound
from edged.mqtt.topics import Topics
from edged.nft.routing import Steering
from edged.published import notices
from edged.published.examples import EXAMPLES
from edged.published.words import CODES
from edged.succession import Succession
from edged.vigil import Vigil
from tests.published import faults, kind, validator
from tests.unit.core import Core

HOUR = 3_600_000
PROTOCOL = (Path(__file__).parents[2] / "docs" / "protocol.md").read_text("utf-8")
TOPICS = Topics("gw1", ("all",))
SIGNING = {"unsigned", "bad_signature", "wrong_audience", "from_the_future", "not_authorized"}
"""Codes of the envelope, which test_envelope.py and test_forgery.py bring about."""
UNUSED = {"capacity"}
ELSEWHERE = {"brake.closed"}
"""Events of other tests here."""


@pytest.fixture
def core(tmp_path: Path) -> Iterator[Core]:
    made = Core(tmp_path)
    yield made
    made.store.close()


def block(sub: str = "C-1", reason: str = "debt", **more: Any) -> dict[str, Any]:
    return {"op": "block", "sub": sub, "reason": reason, **more}


def bind(sub: str = "C-1", *addresses: str) -> dict[str, Any]:
    return {"op": "bind", "sub": sub, "addresses": list(addresses)}


def trust(sub: str = "C-1", **more: Any) -> dict[str, Any]:
    return {"op": "trust", "sub": sub, **({"hours": 2} | more)}


def defer(sub: str, kind: str = "agreement", **more: Any) -> dict[str, Any]:
    return {"op": "defer", "sub": sub, "kind": kind, **({"until": "2026-09-21T16:00:00Z"} | more)}


EVERYTHING: list[Any] = [
    bind("C-1", "100.64.0.10", "2001:db8:0:100::/56"),
    bind("C-1", "100.64.0.10", "2001:db8:0:100::/56"),
    block("C-1", invoices=["F-1", {"id": "F-2", "due": "2026-01-01"}], deadline="2026-09-21T15:30:00Z", page="p"),
    trust("C-1", channel="app", ref="T-1"),
    trust("C-1"),
    {"op": "query", "sub": "C-1"},
    trust("C-1", hours=3),
    {"op": "untrust", "sub": "C-1"},
    trust("C-1"),
    block("C-2", "debt_partial", rate=512, invoices=["A"], notified_at="2026-09-01T00:00:00Z"),
    block("C-2", "notice", invoices=["B"]),
    trust("C-2", invoices=["A"]),
    {"op": "query", "sub": "C-2"},
    bind("C-2", "100.64.0.10"),
    block("C-3", not_before="2027-01-01T00:00:00Z"),
    block("C-3", not_before="2027-01-01T00:00:00Z"),
    block("C-8", not_before="2026-09-21T15:00:00Z"),
    block("C-4", notified_at="2026-09-20T00:00:00Z"),
    {"op": "unblock", "sub": "C-4", "reason": "debt*"},
    block("C-9", "notice"),
    block("C-5", "operator", level="blocked"),
    trust("C-5"),
    trust("C-2", hours=900),
    block("C-6", rev=4),
    block("C-6", rev=3),
    {"op": "query", "address": "100.64.0.10"},
    {"op": "query", "address": "100.64.99.99"},
    {"op": "digest"},
    {"op": "garden", "name": "g", "domains": ["bank.example"]},
    {"op": "paid", "sub": "C-2"},
    {"op": "forget", "sub": "C-6"},
    {"op": "explode"},
    {"op": "defer", "sub": "C-1"},
    bind("C-7", "100.64.0.70") | {"area": "north"},
    {"op": "outage", "id": "O-1", "area": "north", "eta": "2026-09-21T18:00:00Z", "ref": "N-1"},
    block("C-7"),
    {"op": "moratorium", "area": "*", "until": "2026-09-22T00:00:00Z"},
    {"op": "moratorium", "area": "*", "until": "2026-09-22T00:00:00Z"},
    block("C-7", "debt_partial"),
    block("C-7", "notice", override={"author": "ana", "motive": "m"}),
    block("C-7", "fraud"),
    block("C-7", "pause", deadline="2026-09-21T15:30:00Z"),
    defer("C-7", ref="D-1"),
    defer("C-7", "dispute", until="2026-12-01T00:00:00Z", up_to="notice", invoices=["X"]),
    defer("C-7", "dispute", until="2026-12-01T00:00:00Z", up_to="notice", invoices=["X"]),
    defer("C-7", "hardship", until="2020-01-01T00:00:00Z"),
    trust("C-7"),
    {"op": "query", "sub": "C-7"},
    {"op": "undefer", "sub": "C-7", "kind": "dispute"},
    {"op": "end_outage", "id": "O-1"},
    {"op": "end_moratorium", "area": "*"},
    {"op": "end_moratorium", "area": "*"},
    {"op": "calendar", "area": "north", "dates": ["2026-09-22"], "version": "1"},
    block("C-7", "preventive"),
    {"op": "unblock", "sub": "C-7", "reason": "preventive"},
    {"op": "block", "sub": "C-1"},
    bind("C-1", "nonsense"),
    bind("C-1", "192.0.2.7"),
    5,
]


def test_answers(core: Core) -> None:
    seen: set[str] = set()
    for part in (EVERYTHING, [*EVERYTHING, *(block(f"D-{n}") for n in range(60))]):
        document = core.send(*part)
        seen |= {r["status"] for r in document["results"]} | {r.get("code", "") for r in document["results"]}
        assert answer_faults(document) == []
        assert answer_faults(core.send(name=document["id"])) == [], "and once more, as a duplicate"
    for payload in (b"garbage", b"[]", json.dumps(block("X")).encode(), b'{"v":2,"id":"b","commands":[]}'):
        assert answer_faults(core.process(payload).answers[0].document) == []
    late = core.send(block("X"), expires="2020-01-01T00:00:00Z")
    seen |= {r.get("code", "") for r in late["results"]}
    assert answer_faults(late) == []
    assert {"applied", "unchanged", "deferred", "rejected"} <= seen
    missing = CODES.keys() - seen - SIGNING - UNUSED - {"notice_too_short", "brake"}
    assert not missing


def test_codes_of_other_policies(tmp_path: Path) -> None:
    core = Core(tmp_path, Policy(require_notice=True, min_days_overdue=4))
    document = core.send(block(), block("C-1", "notice", invoices=[{"id": "F", "due": "2026-09-20"}]), trust())
    assert [r.get("code") for r in document["results"]] == ["notice_too_short", None, "trust_not_applicable"]
    assert answer_faults(document) == []
    core.store.close()


def answer_faults(document: dict[str, Any]) -> list[str]:
    """As the desk finishes it."""
    finished = Desk._finished(Answer(document), 1_790_000_000_001, 0.0031)
    return faults(kind(document), json.loads(finished))


def test_snapshots(core: Core) -> None:
    core.send(*(bind(f"C-{n}", f"100.64.1.{n}") for n in range(80)))
    chunk = core.chunk([bind("C-1", "100.64.0.1"), block(), 5, block("C-2", "operator")], 1, 2)
    assert answer_faults(chunk) == []
    assert answer_faults(core.chunk([block("C-2")], 2, 3)) == [], "parts differ: refused as a whole"
    assert answer_faults(core.chunk([block("C-2"), bind("C-3", "nonsense")], 2, 2)) == []
    whole = core.sync([*(bind(f"C-{n}", f"100.64.1.{n}") for n in range(80)), 5, block("C-9", "operator")], name="s2")
    assert whole["summary"]["rejected"] == 2
    assert faults("snapshot-acknowledgement", whole) == []
    again = core.chunk([], 1, 1, "s2")
    assert again["duplicate"]
    assert answer_faults(again) == []


def test_what_the_brake_holds(core: Core) -> None:
    core.settings = replace(core.settings, limits=Limits(True, most=1))
    core.restart()
    assert answer_faults(core.send(block("C-1"), bind("C-2", "100.64.0.2"))) == []
    held = core.send(block("C-2"), block("C-3"))
    assert [r["status"] for r in held["results"]] == ["held", "held"]
    assert held["summary"]["held"] == 2
    assert answer_faults(held) == []
    told = core.send({"op": "query", "sub": "C-2"})
    assert told["results"][0]["record"]["held"] == ["debt"]
    assert answer_faults(told) == []
    void = core.send({"op": "paid", "sub": "C-2"})
    assert answer_faults(void) == []
    assert [e["event"] for e in core.events()] == ["brake.closed"]
    assert event_faults(core) == []


def test_a_snapshot_that_is_held(core: Core) -> None:
    core.settings = replace(core.settings, limits=Limits(True))
    core.restart()
    core.send(*(bind(f"C-{n}", f"100.64.1.{n}") for n in range(80)))
    held = core.chunk([bind("C-1", "100.64.0.1")], 1, 1)
    assert held["held"]
    assert answer_faults(held) == []
    assert event_faults(core) == []
    assert core.upkeep.drop_held() == 1
    (dropped,) = [e for e in core.events() if "event" not in e]
    assert dropped["id"] == "s1"
    assert dropped["results"][0]["code"] == "brake"
    assert answer_faults(dropped) == []


def event_faults(core: Core) -> list[str]:
    """Of all that waits to be told, as the desk finishes it."""
    head = {"v": 1, "gateway": "gw1", "id": 1}
    return [f for e in core.events() if "event" in e for f in faults("event", head | e)]


def test_gaps(core: Core) -> None:
    document = core.send(block(), issuer="erp", epoch="e", seq=7)
    assert document["gap"] == {"expected": 1, "got": 7}
    assert answer_faults(document) == []


# -- the desk --------------------------------------------------------------------------------------------------------


class Straight(Steering):
    """Routes that are always there."""

    def ensure(self) -> list[str]:
        return []


class Listening:
    """A session that takes whatever is published."""

    connected, last_error = "broker:1883", None

    def __init__(self) -> None:
        self.taken: list[Outbound] = []

    async def publish(self, *messages: Outbound) -> bool:
        self.taken += messages
        return True


@asynccontextmanager
async def at_work(core: Core) -> AsyncIterator[tuple[Desk, Keeper, Listening]]:
    keeper = Keeper(core.pipeline, core.store, core.enforcer, Straight(1, 1, 1), core.observer, watch=None)
    spokesman = Desk(keeper, TOPICS, core.observer, broker_urls=[], stop=never)
    session = Listening()
    spokesman.session = session  # type: ignore[assignment]
    jobs = [keeper.run_sync(), Succession(keeper).run()]
    tasks = [asyncio.create_task(job) for job in jobs]
    try:
        async with asyncio.timeout(20):
            await keeper.in_sync.wait()
            yield spokesman, keeper, session
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        keeper.close()


async def never(_mode: str) -> list[str]:
    return []


async def test_what_the_desk_publishes(core: Core) -> None:
    core.pipeline.gathering.begin()
    async with at_work(core) as (spokesman, keeper, session):
        empty = await spokesman.greet()
        numbered = {"v": 1, "id": "b1", "issuer": "erp", "epoch": "e", "seq": 3, "commands": EVERYTHING}
        chunk = {"v": 1, "sync": "s", "part": 2, "parts": 3, "issuer": "erp", "commands": [block()]}
        payloads = [json.dumps(x).encode() for x in (numbered, numbered, chunk)]
        inbound = [
            Inbound(topic, payload, "edged/v1/client/erp/ack", b"7", 0.0)
            for topic, payload in zip((TOPICS.command, TOPICS.command, TOPICS.sync), payloads, strict=True)
        ]
        sent = await spokesman.handle(inbound)
        for answer in sent:
            document = json.loads(answer.payload)
            assert faults(kind(document), document) == []
        assert [kind(json.loads(a.payload)) for a in sent][2] == "chunk-acknowledgement"
        core.now += 2 * HOUR
        await keeper.do(core.upkeep.expire)
        await keeper.do(core.upkeep.ask)
        await keeper.do(lambda: core.upkeep.request_trust("C-9", "page", alone=False))
        await keeper.do(lambda: core.upkeep.request_trust("C-9", "page", alone=True))
        assert [x async for x in spokesman.handlers()["release-brake"]({})] == [
            {"result": {"applied": 0, "refused": 0}}
        ]
        await Vigil(keeper)._tell("the table")
        await spokesman._empty_outbox()
        events = [json.loads(m.payload) for m in session.taken]
        for event in events:
            assert faults("event", event) == []
        told = {e["event"] for e in events}
        assert told == {str(k.__struct_config__.tag) for k in get_args(notices.Event)} - ELSEWHERE
        for state in (*empty, *(await spokesman.greet()), spokesman.will()):
            assert state.retain
            assert faults("state", json.loads(state.payload)) == []
        assert json.loads(state.payload)["online"] is False


async def test_the_last_answer_to_a_snapshot(core: Core) -> None:
    async with at_work(core) as (spokesman, keeper, session):
        chunk = {"v": 1, "sync": "s", "part": 1, "parts": 1, "commands": [bind("C-1", "100.64.0.1"), block(), 5]}
        await keeper.process([Incoming(json.dumps(chunk).encode(), "gw/gw1/sync")])
        while not session.taken:
            keeper.told.clear()
            await spokesman._empty_outbox()
            if not session.taken:
                await keeper.told.wait()
        (answer,) = session.taken
        assert answer.topic == TOPICS.ack
        assert faults("snapshot-acknowledgement", json.loads(answer.payload)) == []


@pytest.mark.parametrize("name", ["acknowledgement", "drift", "online"])
def test_the_schemas_are_open_for_what_later_versions_add_and_the_tests_are_not(name: str) -> None:
    of = {"drift": "event", "online": "state"}.get(name, name)
    more = {**EXAMPLES[name], "new": 5}
    assert validator(of).is_valid(more)
    assert faults(of, more)


def test_the_numbers_in_the_text() -> None:
    assert (gathering.ASK_MS, gathering.GIVE_UP_MS, gathering.MOST_ASKED) == (30_000, HOUR, 100)
    assert (gathering.FEWEST_SHARE, gathering.FEWEST_JUDGED) == (0.5, 10)
    assert (answers.FULL_RESULTS, snapshot.MOST_RESULTS) == (50, 50)
    assert pipeline.KEEP_IDS_MS == 30 * 24 * HOUR
    assert (command.MOST_COMMANDS, command.MOST_PARTS, garden_list.WIDEST_GARDEN) == (5000, 100_000, {4: 8, 6: 16})
    mqtt, security = MqttSection(), SecuritySection()
    assert (mqtt.max_payload, mqtt.receive_maximum) == (4 << 20, 64)
    assert (inbox.HELD_BYTES, intake.LARGEST_GROUP) == (64 << 20, 1 << 20)
    assert (worker.GATHER, lanes.WINDOW, packet.SESSION_EXPIRY) == (64, 64, 7 * 24 * HOUR / 1000)
    assert (security.max_ahead_minutes, security.max_age_hours) == (5, 24)
    assert (desk.STATE_PAUSE, desk.STATE_EVERY, envelope.MOST_HEADER) == (1.0, 60.0, 1024)
    policy = PolicySection()
    assert (policy.trust_max_hours, policy.trust_per_invoice, policy.trust_per_30_days) == (168, 1, 0)
    assert (policy.min_days_overdue, policy.notice_days, policy.business_hours) == (4, 15, "08:00-18:00")
    assert (policy.preventive_days, policy.debt_days) == (30, 60)
    assert (region.LOOK_MS, onset.CLOCK_MS, brake.FEWEST) == (900_000, 60_000, 50)
    assert promise._CLAIMED_MS == {"card": 72 * HOUR, "pix": HOUR}
    assert promise._CLAIMED_BUSINESS_DAYS == {"bank": 2, "lottery": 2, "debit": 2, "collection": 4}
    braking = BrakeSection()
    assert (braking.max_new_restrictions, braking.window_seconds, braking.max_share) == (500, 60, 0.2)


# -- the digest, worked out ------------------------------------------------------------------------------------------

FACTS = [
    ("C-1001", "a\x1fC-1001\x1f100.64.0.10", 73, "4633f876fba93ff4"),
    ("C-1001", "a\x1fC-1001\x1f2001:db8:0:100::/56", 73, "fe92ce9326ce0a8f"),
    ("C-1001", "r\x1fC-1001\x1fdebt\x1f3\x1f0\x1fF-77\x1fF-78", 73, "59cf3d3c931febfd"),
    ("João", "a\x1fJoão\x1f100.64.0.11", 90, "49ede74dd8a6d781"),
    ("João", "r\x1fJoão\x1fdebt_partial\x1f2\x1f512", 90, "62e9807f9517f3a6"),
]
SHARDS = {73: "9e960446b5973680", 90: "acd767cd6dbecb27"}
WHOLE = "4b6d6c14235601a7"


def test_the_worked_sums_with_nothing_but_the_standard_library() -> None:
    shards: dict[int, int] = {}
    for sub, line, at, told in FACTS:
        number = hashlib.sha256(line.encode()).digest()[:8]
        assert number.hex() == told
        assert zlib.crc32(sub.encode()) % 256 == at
        shards[at] = (shards.get(at, 0) + int.from_bytes(number, "big")) % 2**64
        assert f"| {at} | `{told}` |" in PROTOCOL
    assert {at: f"{n:016x}" for at, n in shards.items()} == SHARDS
    assert f"{sum(shards.values()) % 2**64:016x}" == WHOLE
    assert all(f"`{text}`" in PROTOCOL for text in (*SHARDS.values(), WHOLE))


def test_a_gateway_has_the_worked_sums(core: Core) -> None:
    core.send(
        bind("C-1001", "100.64.0.10", "2001:DB8:0:100::/56"),
        block("C-1001", invoices=["F-78", {"id": "F-77", "due": "2026-11-05"}]),
        bind("João", "100.64.0.11"),
        block("João", "debt_partial", rate=512),
    )
    (result,) = core.send({"op": "digest"})["results"]
    record = result["record"]
    assert record["hash"] == WHOLE == core.store.totals.hash
    assert {n: text for n, text in enumerate(record["shards"]) if text != "0" * 16} == SHARDS
    assert len(record["shards"]) == digest.SHARDS


def test_the_python_in_the_text_works() -> None:
    block = re.search(r"((?: {4}.*\n|\n)*? {4}def binding(?: {4}.*\n|.*\n)*?)\nTwo subscribers", PROTOCOL)
    assert block
    code = block[1][block[1].index("    import hashlib") :]
    names: dict[str, Any] = {}
    exec("\n".join(line.removeprefix("    ") for line in code.splitlines()), names)  # noqa: S102 - our own text
    assert names["shard"]("João") == 90
    assert f"{names['binding']('C-1001', '100.64.0.10'):016x}" == FACTS[0][3]
    assert f"{names['reason']('C-1001', 'debt', 3, 0, ['F-78', 'F-77']):016x}" == FACTS[2][3]
