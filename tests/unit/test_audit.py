"""The audit trail: what is recorded, that every meddling is found, and that who is forgotten is really gone from it."""

from __future__ import annotations

import asyncio
import hashlib
import json
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edged import config, trail
from edged.cli import main
from edged.cli.audit import line
from edged.desk import Desk
from edged.domain import audit
from edged.domain.audit import Decision, Finding, Verification
from edged.domain.model import Deferral, Promise, Reason, Subscriber
from edged.errors import EdgedError, StoreError
from edged.store.rows import Write
from edged.store.store import Store
from edged.vigil import DAY_MS, Vigil
from tests.unit.test_cli import Daemon

NOW = 1_790_000_000_000
NAME = "Contract-of-Somebody"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(tmp_path)
    made.open()
    yield made
    made.close()


def block(sub: str | None, at: int = NOW, **more: Any) -> Decision:
    after = Subscriber(sub or "", reasons={"debt": Reason(3, at, at)}, since=at)
    return Decision(at, "block", sub, "erp", "b1", "debt", after=after, **more)


def forgetting(sub: str, at: int = NOW, **more: Any) -> Decision:
    return Decision(at, "forget", sub, "erp", "b2", **more)


def put(store: Store, *decisions: Decision, now: int = NOW) -> None:
    store.commit(Write(audit=list(decisions)), now)


def verified(store: Store, noted: bytes | None = None, step: int = 3) -> tuple[Finding | None, Verification]:
    v = Verification(store.audit_ends()[0], noted)
    while (found := store.audit_verify(v, step)) is True:
        pass
    return found or None, v


def everything(store: Store) -> list[dict[str, Any]]:
    return [part["row"] for parts in trail.decisions(store, None, 0, None) for part in parts if "row" in part]


def forget_all(store: Store, step: int = 1000) -> None:
    while store.audit_forget(step):
        pass


def on_disk(directory: Path, text: str) -> list[str]:
    """The files that hold a text."""
    return [f.name for f in directory.iterdir() if text.encode() in f.read_bytes()]


# -- what is kept ----------------------------------------------------------------------------------------------------


def test_a_decision_is_read_back_as_it_was_made(store: Store) -> None:
    before = Subscriber("C-1", promise=Promise("promise", 1, NOW + 5000), level=2)
    after = Subscriber(
        "C-1",
        reasons={"fraud": Reason(3, NOW, NOW - 1000), "debt": Reason(3, NOW, NOW + 1000, pending=True)},
        deferrals={"hardship": Deferral(NOW, NOW + 9)},
    )
    made = Decision(
        NOW, "block", "C-1", "erp", "01JD", "fraud", "T-1", "deferred", "", "calendar", ("ana", "m"), before, after
    )
    put(store, made, Decision(NOW + 1, "moratorium", about="north", status="rejected", code="not_authorized"))
    assert everything(store) == [
        {
            "id": 1,
            "at": "2026-09-21T14:13:20Z",
            "issuer": "erp",
            "batch": "01JD",
            "sub": "C-1",
            "op": "block",
            "about": "fraud",
            "ref": "T-1",
            "status": "deferred",
            "code": None,
            "why": "calendar",
            "override": {"author": "ana", "motive": "m"},
            "before": {
                "level": "reduced",
                "reasons": {},
                "promise_until": "2026-09-21T14:13:25Z",
                "deferrals": [],
            },
            "after": {
                "level": "walled",
                "reasons": {"fraud": "2026-09-21T14:13:19Z", "debt": "pending"},
                "promise_until": None,
                "deferrals": ["hardship"],
            },
        },
        {
            "id": 2,
            "at": "2026-09-21T14:13:20.001Z",
            **dict.fromkeys(("issuer", "batch", "sub", "ref", "why", "override", "before", "after")),
            "op": "moratorium",
            "about": "north",
            "status": "rejected",
            "code": "not_authorized",
        },
    ]


def test_the_level_after_is_worked_out_where_the_value_does_not_say_it_yet() -> None:
    def level(after: Subscriber) -> str:
        return str(audit.told(1, 0, "C", audit.content(Decision(NOW, "x", after=after)).decode())["after"]["level"])

    owing = {"debt": Reason(3, 1, 1)}
    assert level(Subscriber("C", reasons=owing)) == "walled"
    assert level(Subscriber("C", reasons={"debt": Reason(3, 1, 1, pending=True)})) == "open"
    assert level(Subscriber("C", level=3)) == "open"
    assert level(Subscriber("C", reasons=owing, promise=Promise("promise", 1, NOW + 1))) == "open"
    assert level(Subscriber("C", reasons=owing, promise=Promise("promise", 1, NOW))) == "walled"
    assert level(Subscriber("C", reasons=owing, deferrals={"dispute": Deferral(1, NOW + 1, up_to=2)})) == "reduced"


def test_the_chain_is_as_documented(store: Store) -> None:
    put(store, block("C-1"), block(None))
    put(store, block("C-3"), now=NOW + 7)
    hashed = bytes(32)
    for first, last, at, found in store.db.execute("SELECT * FROM audit_link ORDER BY first").fetchall():
        digests = b""
        for salt, digest, sub, text in store.db.execute(
            "SELECT salt, digest, sub, content FROM audit WHERE id BETWEEN ? AND ? ORDER BY id", (first, last)
        ):
            assert len(salt) == 16
            assert digest == hashlib.blake2b(salt + text.encode() + (sub or "").encode(), digest_size=16).digest()
            digests += digest
        hashed = hashlib.sha256(b"".join([hashed, *(n.to_bytes(8) for n in (first, last, at)), digests])).digest()
        assert found == hashed
    assert store.audit_ends()[1] == audit.Head(3, NOW + 7, hashed)
    salts = [s for (s,) in store.db.execute("SELECT DISTINCT salt FROM audit")]
    assert len(salts) == 3


def test_an_empty_trail_is_whole_and_commits_without_decisions_leave_no_link(store: Store) -> None:
    assert verified(store)[0] is None
    store.commit(Write(), NOW)
    assert store.db.execute("SELECT count(*) FROM audit_link").fetchone() == (0,)
    assert everything(store) == []


def test_a_commit_that_fails_leaves_no_decision(store: Store) -> None:
    put(store, block("C-1"))
    with pytest.raises(StoreError):
        store.commit(Write(audit=[block("C-2")], removed=[cast("int", [])]), NOW)
    found, v = verified(store)
    assert (found, v.decisions, v.links) == (None, 1, 1)


# -- meddling --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("meddling", "where", "what"),
    [
        ("UPDATE audit SET content = replace(content, 'applied', 'refused') WHERE id = 5", 5, "changed"),
        ("UPDATE audit SET content = 'nonsense' WHERE id = 5", 5, "changed"),
        ("UPDATE audit SET sub = 'C-9' WHERE id = 5", 5, "changed"),
        ("UPDATE audit SET sub = NULL WHERE id = 5", 5, "changed"),
        ("UPDATE audit SET content = NULL WHERE id = 5", 5, "changed"),
        ("UPDATE audit SET salt = zeroblob(16) WHERE id = 5", 5, "changed"),
        ("UPDATE audit SET salt = NULL WHERE id = 5", 5, "changed"),
        ("UPDATE audit SET digest = zeroblob(16) WHERE id = 5", 5, "changed"),
        ("UPDATE audit SET salt = NULL, sub = NULL, content = NULL, digest = zeroblob(16) WHERE id = 5", 4, "link"),
        ("UPDATE audit SET salt = NULL, sub = NULL, content = NULL WHERE id = 8", 8, "emptied"),
        ("DELETE FROM audit WHERE id = 5", 5, "removed"),
        ("DELETE FROM audit WHERE id = 9", 9, "removed"),
        ("DELETE FROM audit WHERE id > 3", 4, "removed"),
        ("DELETE FROM audit", 1, "removed"),
        ("INSERT INTO audit SELECT 10, salt, digest, sub, content FROM audit WHERE id = 1", 10, "no link"),
        ("INSERT INTO audit SELECT -1, salt, digest, sub, content FROM audit WHERE id = 1", -1, "no link"),
        ("UPDATE audit SET id = 99 WHERE id = 9", 9, "removed"),
        ("UPDATE audit_link SET at = at - 1 WHERE first = 4", 4, "link"),
        ("UPDATE audit_link SET hash = zeroblob(32) WHERE first = 4", 4, "link"),
        ("UPDATE audit_link SET last = 5 WHERE first = 4", 4, "link"),
        ("UPDATE audit_link SET last = 3 WHERE first = 4", 4, "link"),
        ("UPDATE audit_link SET last = 1 << 60 WHERE first = 7", 10, "removed"),
        ("UPDATE audit_link SET first = 5 WHERE first = 4", 4, "link"),
        ("DELETE FROM audit_link WHERE first = 4", 4, "link"),
        ("DELETE FROM audit_link WHERE first = 1", 1, "link"),
        ("DELETE FROM audit_link WHERE first = 7", 7, "no link"),
        ("DELETE FROM audit_link", 1, "no link"),
        ("INSERT INTO audit_link VALUES (2, 3, 0, zeroblob(32))", 4, "link"),
        ("INSERT INTO audit_link VALUES (10, 10, 0, zeroblob(32))", 10, "removed"),
        ("INSERT INTO audit_link VALUES (10, 9, 0, zeroblob(32))", 10, "link"),
        ("INSERT OR REPLACE INTO note VALUES ('audit_anchor', '[3, 0, \"00\"]')", 4, "link"),
    ],
)
def test_meddling_is_found(store: Store, meddling: str, where: int, what: str) -> None:
    for i in range(3):
        put(store, *(block(f"C-{n}") for n in range(3)), now=NOW + i)
    assert verified(store)[0] is None
    assert store.db.execute(meddling).rowcount
    for step in (1, 100):
        found, _ = verified(store, step=step)
        assert found is not None
        assert (found.id, what in found.what) == (where, True)
    everything(store)  # it still shows what there is


def test_what_cannot_be_read_is_shown_as_damaged(store: Store) -> None:
    put(store, block("C-1"), block("C-2"))
    store.db.execute("UPDATE audit SET content = 'nonsense' WHERE id = 1")
    store.db.execute("UPDATE audit SET content = NULL, salt = NULL, sub = NULL WHERE id = 2")
    store.db.execute("UPDATE audit_link SET at = 1 << 62")
    assert [row.get("damaged") for row in everything(store)] == [True, True]
    assert "DAMAGED" in line(everything(store)[0])


def test_a_tail_cut_off_is_found_by_a_head_noted_elsewhere(store: Store) -> None:
    heads = [store.audit_ends()[1].hash]
    for i in range(3):
        put(store, block(f"C-{i}"))
        heads.append(store.audit_ends()[1].hash)
    assert [verified(store, h)[1].met for h in heads] == [True] * 4
    store.db.execute("DELETE FROM audit WHERE id = 3")
    store.db.execute("DELETE FROM audit_link WHERE first = 3")
    found, _ = verified(store)
    assert found is None  # by itself it cannot be seen ...
    assert [verified(store, h)[1].met for h in heads] == [True, True, True, False]  # ... and so it can


# -- forgetting ------------------------------------------------------------------------------------------------------


def test_who_is_forgotten_leaves_stubs_in_a_chain_that_is_whole(store: Store, tmp_path: Path) -> None:
    for i in range(40):
        put(store, block(f"C-{i}"), block(NAME, code=NAME * (i % 5)), now=NOW + i)
    assert on_disk(tmp_path, NAME)
    # The forgetting, a refused one, what came before it in the same commit, and what comes after it.
    put(store, block(NAME), forgetting(NAME, ref="T-9"), forgetting(NAME, status="rejected", why=f"no {NAME!r}"))
    forget_all(store, 7)
    assert on_disk(tmp_path, NAME) == []
    found, v = verified(store)
    assert (found, v.decisions, v.forgotten) == (None, 83, 41)
    rows = everything(store)
    assert [row["at"] for row in rows if row.get("forgotten")][-1] == "2026-09-21T14:13:20Z"
    assert len([row for row in rows if str(row.get("sub")).startswith("C-")]) == 40
    assert [(r["op"], r["sub"], r["status"], r["ref"]) for r in rows[-2:]] == [
        ("forget", None, "applied", "T-9"),
        ("forget", None, "rejected", None),
    ]
    put(store, block(NAME))
    forget_all(store)
    assert everything(store)[-1]["sub"] == NAME  # somebody new
    assert verified(store)[0] is None


def test_an_address_is_forgotten_however_it_is_written(store: Store, tmp_path: Path) -> None:
    put(store, block("2001:db8:0:ab00::/56"), block("2001:DB8:0:AB00::/56"), block("2001:db8:0:ac00::/56"))
    put(store, forgetting("2001:db8:0:AB00::/56"))
    forget_all(store)
    assert [row.get("forgotten", False) for row in everything(store)] == [True, True, False, False]
    assert not on_disk(tmp_path, "ab00") + on_disk(tmp_path, "AB00")


def test_who_is_known_to_the_trail_alone_is_forgotten_too(store: Store, tmp_path: Path) -> None:
    put(store, block(NAME), block("C-1"))
    put(store, forgetting(NAME, status="rejected", code="not_authorized"))
    forget_all(store)
    assert on_disk(tmp_path, NAME)
    put(store, forgetting(NAME, status="rejected", code="unknown_subscriber"))
    forget_all(store)
    assert not on_disk(tmp_path, NAME)
    assert verified(store)[0] is None


def test_a_name_longer_than_any_is_cut_off(store: Store) -> None:
    put(store, block("x" * 1000, status="rejected", code="malformed"))
    assert everything(store)[0]["sub"] == "x" * 128


def test_a_forgetting_nobody_recorded_is_recorded(store: Store) -> None:
    put(store, block(NAME))
    store.commit(Write(forgotten={NAME}), NOW)
    forget_all(store)
    assert [row.get("op") for row in everything(store)] == [None, "forget"]
    assert verified(store)[0] is None


def test_forgetting_goes_on_after_a_restart(store: Store, tmp_path: Path) -> None:
    for _ in range(10):
        put(store, block(NAME), block("C-1"))
    put(store, forgetting(NAME))
    assert store.audit_forget(6)
    store.close()
    store.open()
    assert [r.get("forgotten", False) for r in everything(store)[:8]] == [True, False] * 3 + [False, False]
    forget_all(store, 6)
    assert not on_disk(tmp_path, NAME)
    assert verified(store)[1].forgotten == 10


def test_forgetting_goes_on_after_a_death(store: Store, tmp_path: Path, tmp_path_factory: Any) -> None:
    for _ in range(10):
        put(store, block(NAME), block("C-1"))
    put(store, forgetting(NAME))
    left = True
    for i in range(6):
        if i == 5:  # nothing left but the log of earlier pages
            store.db.execute("PRAGMA wal_autocheckpoint=0")
        assert left
        dead = tmp_path_factory.mktemp("dead")
        for file in tmp_path.iterdir():
            shutil.copy(file, dead)
        other = Store(dead)
        other.open()
        forget_all(other, 4)
        assert not on_disk(dead, NAME)
        assert verified(other)[1].forgotten == 10
        other.close()
        left = store.audit_forget(4)


def test_walks_meet_and_each_name_is_gone(store: Store) -> None:
    for i in range(30):
        put(store, block(f"C-{i % 5}"))
    put(store, forgetting("C-1"))
    assert store.audit_forget(10)
    put(store, forgetting("C-2"), forgetting("C-3"))
    assert store.audit_forget(4)
    steps = 0
    while store.audit_forget(10):
        steps += 1
    assert steps <= 4  # from 4 to 10, and then together
    assert {row["sub"] for row in everything(store) if row.get("op") == "block"} == {"C-0", "C-4"}
    put(store, block("C-2"), forgetting("C-2"), block("C-2"))
    forget_all(store)
    assert [row.get("sub") for row in everything(store)[-2:]] == [None, "C-2"]


# -- retention -------------------------------------------------------------------------------------------------------


def purge_all(store: Store, before: int, step: int = 3) -> None:
    while store.audit_purge(before, step):
        pass


def test_what_is_too_old_goes_by_whole_commits_and_the_rest_verifies(store: Store) -> None:
    for i in range(10):
        put(store, block(f"C-{i}"), block(f"D-{i}"), now=NOW + i)
    head = store.audit_ends()[1]
    purge_all(store, NOW + 4)
    assert [row["id"] for row in everything(store)] == list(range(9, 21))
    found, v = verified(store, head.hash)
    assert (found, v.decisions, v.met) == (None, 12, True)
    purge_all(store, NOW + 100)
    assert (everything(store), store.audit_ends()) == ([], (head, head))
    put(store, block("C-1"))
    assert [row["id"] for row in everything(store)] == [21]
    assert verified(store, head.hash)[0] is None
    store.db.execute("INSERT INTO audit SELECT 3, salt, digest, sub, content FROM audit")
    assert (verified(store)[0] or Finding(0, "")).id == 3


def test_a_clock_that_was_behind_does_not_purge_what_comes_before_it(store: Store) -> None:
    put(store, block("C-1"), now=NOW)
    put(store, block("C-2"), now=5)
    purge_all(store, NOW)
    assert len(everything(store)) == 2


def test_purging_and_forgetting_beside_each_other_and_a_verification(store: Store) -> None:
    for i in range(10):
        put(store, block(NAME), block("C-1"), now=NOW + i)
    put(store, forgetting(NAME), now=NOW + 20)
    v = Verification(store.audit_ends()[0])
    assert store.audit_verify(v, 2) is True
    assert store.audit_forget(3)
    purge_all(store, NOW + 5)
    while (found := store.audit_verify(v, 2)) is True:
        store.audit_forget(3)
    assert found is False
    forget_all(store)
    assert verified(store)[1].forgotten == 5


# -- asking ----------------------------------------------------------------------------------------------------------


def asked(store: Store, **request: Any) -> list[int]:
    steps = trail.decisions(store, *trail.wanted(request))
    return [part["row"]["id"] for parts in steps for part in parts if "row" in part]


def test_what_is_asked_for_is_what_is_shown(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trail, "WINDOW", 3)
    subs = [f"C-{n % 7}" for n in range(100)]
    for i in range(0, 100, 2):
        put(store, block(subs[i]), block(subs[i + 1]), now=NOW + i)
    purge_all(store, NOW + 10)
    ids = range(11, 101)
    assert asked(store) == list(ids)
    for since in (1, NOW - 1, NOW + 10, NOW + 11, NOW + 50, NOW + 98, NOW + 99):
        assert asked(store, since=since) == [i for i in ids if NOW + (i - 1) // 2 * 2 >= since]
    for limit in (1, 2, 5, 89, 90, 1000):
        assert asked(store, limit=limit) == list(ids)[-limit:]
        mine = [i for i in ids if subs[i - 1] == "C-3" and i > 51]
        assert asked(store, limit=limit, sub="C-3", since=NOW + 51) == mine[-limit:]
    assert asked(store, sub="nobody") == []
    for wrong in ({"sub": 1}, {"since": "x"}, {"limit": 0}, {"limit": "x"}):
        with pytest.raises(EdgedError):
            trail.wanted(wrong)
    with pytest.raises(EdgedError):
        trail.noted({"noted": "ab"})


class Keeping:
    """What desk and vigil need of a keeper."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.pipeline = SimpleNamespace(clock=lambda: NOW)
        self.alive = lambda: None

    async def do(self, work: Any, *args: Any) -> Any:
        return work(*args)


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("EDGED_RUN_DIR", raising=False)
    file = tmp_path / "edged.toml"
    file.write_text(
        f'gateway = "gw1"\nrun_dir = "{tmp_path}/run"\n[network]\nsubscriber_interfaces = ["eth1"]\n'
        '[portal]\nurl = "http://a/"\n'
    )
    monkeypatch.setenv("EDGED_CONFIG", str(file))
    return file


@pytest.fixture
def daemon(file: Path, store: Store) -> Iterator[Daemon]:
    desk = cast("Desk", SimpleNamespace(_keeper=Keeping(store)))

    class Answering(Daemon):
        async def _handle(self, request: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
            async for part in Desk._on_audit(desk, request):
                yield part

    made = Answering(file.parent / "run")
    made._server._handlers = {"audit": made._handle}
    with made:
        yield made


def test_the_command_line(daemon: Daemon, store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    def said(*words: str, status: int = 0) -> list[str]:
        assert main(["audit", *words]) == status
        return capsys.readouterr().out.splitlines()

    assert said() == []
    put(store, block("C-1", ref="T-1"), block("C-2\x1b"), now=NOW)
    later = "2026-09-21T15:00:00+00:00"
    put(
        store,
        Decision(NOW + 3_600_000, "unblock", "C-1", about="debt", before=block("C-1").after, after=Subscriber("C-1")),
        block("C-3", status="held", code="brake", override=("ana", "m")),
        now=NOW + 3_600_000,
    )
    rows = said()
    assert rows[0].split() == (
        "2026-09-21T14:13:20Z C-1 block debt applied nothing known -> walled (debt) by erp b1 ref T-1".split()
    )
    assert "\x1b" not in rows[1]
    assert "open (debt) -> open" in rows[2]
    assert rows[3].split()[-8:] == "by erp b1 override author ana motive m".split()
    assert [json.loads(x)["id"] for x in said("--json", "--since", later)] == [3, 4]
    assert [json.loads(x)["id"] for x in said("--json", "--limit", "1", "--sub", "C-1")] == [3]
    head = store.audit_ends()[1].hash.hex()
    assert said("--verify") == ["4 decisions, 2 links, whole", f"head {head}"]
    assert "is in it" in said("--noted", head)[1]
    assert "is NOT in it" in said("--noted", "ab" * 32, status=1)[1]
    assert json.loads("".join(said("--verify", "--json"))) == {
        "whole": True,
        "decisions": 4,
        "links": 2,
        "forgotten": 0,
        "head": head,
        "purged_until": None,
        "broken": None,
    }
    for wrong in (["--verify", "--sub", "C-1"], ["--since", "soon"], ["--limit", "0"], ["--noted", "x"]):
        assert main(["audit", *wrong]) == 2
    purge_all(store, NOW + 1)
    put(store, forgetting("C-3"), now=NOW + 3_600_000)
    forget_all(store)
    assert said("--verify")[:3] == [
        "3 decisions, 2 links, whole",
        "1 of them about somebody who was forgotten",
        "older ones, until 2026-09-21T14:13:20Z, were purged",
    ]
    assert said()[1] == "2026-09-21T15:13:20Z  (about somebody who was forgotten)"
    store.db.execute("UPDATE audit SET content = 'x' WHERE id = 3")
    assert said("--verify", status=1)[0] == "BROKEN at decision 3: this decision was changed"


# -- the daemon's part -----------------------------------------------------------------------------------------------


def test_the_vigil_purges_what_is_older_than_configured_unless_the_clock_is_in_doubt(store: Store) -> None:
    put(store, block("C-1"), now=NOW - 31 * DAY_MS)
    put(store, block("C-2"), now=NOW - 29 * DAY_MS)
    keeper = cast("Any", Keeping(store))
    for trusted, left in ((False, 2), (True, 1)):
        asyncio.run(Vigil(keeper, keep_audit_days=30, trusted=lambda t=trusted: t)._purge_audit())  # type: ignore[misc]
        assert len(everything(store)) == left
    put(store, forgetting("C-2"), now=NOW)
    asyncio.run(Vigil(keeper)._forget_in_audit())
    assert [row.get("forgotten", False) for row in everything(store)] == [True, False]


def test_five_years_are_kept_where_nothing_is_said(file: Path) -> None:
    assert config.load(file).audit.keep_days == 1825
    file.write_text(file.read_text() + "[audit]\nkeep_days = 29\n")
    with pytest.raises(EdgedError, match=r"audit\.keep_days"):
        config.load(file)


# -- random lives ----------------------------------------------------------------------------------------------------

names = st.sampled_from(["Aurora-1", "Benedita-2", "Caetana-3", "Dorotea-4"])
steps = st.lists(
    st.one_of(
        st.tuples(
            st.just("put"), st.lists(st.tuples(names, st.sampled_from([False, False, True])), min_size=1, max_size=12)
        ),
        st.tuples(st.just("walk"), st.integers(1, 20)),
        st.tuples(st.just("purge"), st.integers(0, 40)),
        st.tuples(st.just("restart"), st.just(0)),
    ),
    max_size=25,
)


@settings(max_examples=60, deadline=None)
@given(steps)
def test_random_lives(life: list[tuple[str, Any]]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        store = Store(Path(directory))
        store.open()
        model: list[tuple[int, str | None]] = []  # (moment, who it is about), gone names None
        for i, (what, value) in enumerate(life):
            if what == "put":
                made = []
                for name, gone in value:
                    made.append(forgetting(name) if gone else block(name, why="x" * (i * 37 % 500)))
                    if gone:
                        model = [(at, None if sub == name else sub) for at, sub in model]
                    model.append((i, None if gone else name))
                put(store, *made, now=NOW + i)
            elif what == "walk":
                store.audit_forget(value)
            elif what == "purge":
                purge_all(store, NOW + i - value)
                model = [(at, sub) for at, sub in model if at >= i - value]
            else:
                store.close()
                store.open()
            found, v = verified(store)
            assert (found, v.decisions) == (None, len(model))
        forget_all(store, 5)
        assert [row.get("sub") for row in everything(store)] == [sub for _, sub in model]
        assert verified(store)[0] is None
        last = {name: gone for what, value in life if what == "put" for name, gone in value}
        for name, gone in last.items():
            assert not gone or on_disk(Path(directory), name) == []
        store.close()
