"""A snapshot beside what is newer than it: nothing acknowledged is undone, nobody is restricted for somebody else."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edged import replacement
from edged.errors import StoreError
from tests.unit.core import Core

CMD, SYNC = "gw/gw1/cmd", "gw/gw1/sync"
_ids = itertools.count()


def bind(sub: str, *addresses: str) -> dict[str, Any]:
    return {"op": "bind", "sub": sub, "addresses": list(addresses)}


def debt(sub: str, *invoices: str) -> dict[str, Any]:
    return {"op": "block", "sub": sub, "reason": "debt", "invoices": list(invoices)}


def send(core: Core, *commands: Any, issuer: str = "erp", **head: Any) -> list[str]:
    document = {"v": 1, "id": f"x{next(_ids)}", "issuer": issuer, "commands": list(commands), **head}
    return [r.get("code") or r["status"] for r in core.post(document, CMD)["results"]]


def chunk(core: Core, commands: list[Any], part: int = 1, parts: int = 1, name: str = "s1", **head: Any) -> None:
    document = {"v": 1, "sync": name, "issuer": "erp", "part": part, "parts": parts, "commands": commands, **head}
    core.post(document, SYNC)


def why(core: Core, target: str) -> dict[str, Any]:
    return core.pipeline.questions.why(target)


def held(core: Core, sub: str) -> list[str]:
    return [a["address"] for a in why(core, sub)["addresses"]]


NINE = [bind(f"C-{i}", f"100.64.1.{i}") for i in range(1, 10)]
WALLED = [x for i in range(1, 10) for x in (bind(f"C-{i}", f"100.64.1.{i}"), debt(f"C-{i}", "F"))]


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replacement, "STEP", 1)


@pytest.fixture
def core(tmp_path: Path) -> Iterator[Core]:
    made = Core(tmp_path)
    yield made
    made.store.close()


@pytest.fixture
def nine(core: Core) -> Core:
    assert send(core, *NINE, epoch="e", seq=1) == ["applied"] * 9
    return core


def walking(core: Core) -> Iterator[None]:
    steps = core.begin_snapshot()
    next(steps)
    return steps


def test_an_address_that_a_newer_command_gave_stays(core: Core) -> None:
    send(core, bind("X", "100.64.1.1"), bind("Z", "100.64.1.2"), epoch="e", seq=1)
    chunk(core, [bind("X", "100.64.1.1")], 1, 2, epoch="e", seq=1)
    assert send(core, bind("X", "100.64.1.1", "100.64.1.9"), epoch="e", seq=2) == ["applied"]
    chunk(core, [bind("Z", "100.64.1.2", "100.64.1.9"), debt("Z", "F")], 2, 2, epoch="e", seq=1)
    core.carry_out()
    assert (why(core, "100.64.1.9")["sub"], why(core, "100.64.1.9")["level"]) == ("X", "open")
    assert held(core, "Z") == ["100.64.1.2"]
    assert core.agrees()


@pytest.mark.parametrize("numbered", [True, False])
def test_who_was_forgotten_between_the_chunks_stays_forgotten(core: Core, numbered: bool) -> None:
    send(core, bind("X", "100.64.1.1"), bind("Z", "100.64.1.2"), epoch="e", seq=1)
    chunk(core, [bind("X", "100.64.1.1"), debt("X", "F")], 1, 2, epoch="e", seq=1)
    head: dict[str, Any] = {"epoch": "e", "seq": 2} if numbered else {}
    send(core, {"op": "forget", "sub": "X"}, **head)
    chunk(core, [bind("Z", "100.64.1.2")], 2, 2, epoch="e", seq=1)
    core.carry_out()
    assert core.status({"op": "query", "sub": "X"}) == ["unknown_subscriber"]
    while core.store.tidy(100):
        pass
    assert not list(core.store.db.execute("SELECT * FROM named"))


def test_a_snapshot_that_completes_beside_another_waits_its_turn(nine: Core) -> None:
    chunk(nine, [NINE[0]], 1, 2, "sA", issuer="other")
    chunk(nine, WALLED, name="sB")
    steps = walking(nine)
    chunk(nine, NINE[1:], 2, 2, "sA", issuer="other")
    assert nine.pipeline.walk().staged.sync == "sB"  # type: ignore[union-attr]
    assert send(nine, debt("C-8", "G"), {"op": "paid", "sub": "C-9", "invoices": ["F"]}) == ["applied"] * 2
    nine.end_snapshot(steps)
    assert nine.answered("sB")["counts"]["subscribers"] == 9
    assert (nine.level("C-8"), nine.level("C-9")) == ("walled", "open")
    nine.carry_out()
    assert [nine.level(f"C-{i}") for i in range(1, 10)] == ["open"] * 7 + ["walled", "open"], "what was commanded stays"
    assert nine.agrees()


def test_commands_while_a_second_snapshot_waits_are_newer_than_it(nine: Core) -> None:
    chunk(nine, WALLED)
    steps = walking(nine)
    chunk(nine, WALLED, name="s2", issuer="other")
    asked = {"op": "unblock", "sub": "C-9", "reason": "debt"}, bind("NEW", "100.64.1.8"), {"op": "forget", "sub": "C-7"}
    assert send(nine, *asked, issuer="third") == ["applied"] * 3
    nine.restart()
    nine.carry_out()
    del steps
    assert nine.level("C-9") == "open"
    assert why(nine, "100.64.1.8")["sub"] == "NEW"
    assert nine.status({"op": "query", "sub": "C-7"}) == ["unknown_subscriber"]
    assert nine.agrees()


def test_a_batch_that_the_snapshot_includes_is_stale_from_its_last_chunk_on(nine: Core) -> None:
    chunk(nine, NINE, epoch="e", seq=4)
    steps = walking(nine)
    assert send(nine, debt("C-5", "F"), epoch="e", seq=2) == ["stale"]
    nine.end_snapshot(steps)
    assert send(nine, {"op": "paid", "sub": "C-5"}, epoch="e", seq=3) == ["stale"]
    assert (nine.level("C-5"), send(nine, debt("C-5", "G"), epoch="e", seq=5)) == ("open", ["applied"])


def test_a_prefix_that_holds_what_a_command_gave_away_since_is_refused(core: Core) -> None:
    send(core, bind("A", "100.64.1.1"), bind("X", "100.64.1.2"), bind("Y", "100.64.1.3"))
    wide = bind("Y", "100.64.1.3", "2001:db8:0:100::/56")
    chunk(core, [bind("A", "100.64.1.1"), bind("X", "100.64.1.2"), wide])
    steps = walking(core)
    assert send(core, bind("X", "100.64.1.2", "2001:db8:0:101::/64")) == ["applied"]
    core.end_snapshot(steps)
    assert held(core, "X") == ["100.64.1.2", "2001:db8:0:101::/64"]
    assert [r["code"] for r in core.answered("s1")["results"]] == ["bad_address"]


def test_a_command_may_bind_inside_a_prefix_that_the_snapshot_takes_away(core: Core) -> None:
    send(core, bind("A", "100.64.1.1"), bind("X", "100.64.1.2"), bind("Y", "100.64.1.3", "2001:db8:0:100::/56"))
    chunk(core, [bind("A", "100.64.1.1"), bind("X", "100.64.1.2"), bind("Y", "100.64.1.3")])
    steps = walking(core)
    assert send(core, bind("X", "100.64.1.2", "2001:db8:0:101::/64")) == ["applied"]
    core.end_snapshot(steps)
    assert held(core, "X") == ["100.64.1.2", "2001:db8:0:101::/64"]
    assert held(core, "Y") == ["100.64.1.3"]
    assert core.agrees()


@pytest.mark.parametrize("size", [1, 200])
def test_page_borders_decide_nothing(core: Core, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setattr(replacement, "STEP", size)
    walled = bind("Y", "2001:db8:0:100::/56"), debt("Y", "F")
    send(core, *walled)
    chunk(core, [*walled, bind("Z", "2001:db8:0:101::/64")])
    core.carry_out()
    assert (held(core, "Y"), core.level("Y")) == (["2001:db8:0:100::/56"], "walled")
    assert [r["code"] for r in core.answered("s1")["results"]] == ["bad_address"]
    assert core.agrees()


def test_a_literal_address_takes_itself_from_whose_turn_is_to_come(core: Core) -> None:
    send(core, bind("Y", "100.64.1.3", "100.64.1.4"))
    chunk(core, [debt("100.64.1.3", "F"), bind("Y", "100.64.1.4")])
    core.carry_out()
    assert core.answered("s1")["results"] == []
    assert (why(core, "100.64.1.3")["sub"], core.level("100.64.1.3")) == ("100.64.1.3", "walled")
    assert core.agrees()


@pytest.mark.parametrize("snapshot", [True, False])
def test_a_literal_address_that_was_bound_away_and_back_is_restricted(core: Core, snapshot: bool) -> None:
    send(core, debt("100.64.1.3", "F"), bind("Y", "100.64.1.3"))
    assert send(core, debt("100.64.1.3", "F")) == ["bad_address"]
    send(core, {"op": "unbind", "sub": "Y"})
    if snapshot:
        core.sync([debt("100.64.1.3", "G"), bind("Y", "100.64.1.4")])
    else:
        assert send(core, debt("100.64.1.3", "G")) == ["applied"]
    assert (held(core, "100.64.1.3"), core.level("100.64.1.3")) == (["100.64.1.3"], "walled")
    assert any(core.in_kernel().values())
    assert core.agrees()


def test_a_promise_whose_debt_the_snapshot_lacks_ends_released(nine: Core) -> None:
    send(nine, debt("C-9", "F"), {"op": "trust", "sub": "C-9", "hours": 1})
    chunk(nine, NINE)
    steps = walking(nine)
    nine.wait(3_700_000)
    nine.end_snapshot(steps)
    assert [e["outcome"] for e in nine.events() if e.get("event") == "trust.ended"] == ["released"]
    assert send(nine, debt("C-9", "G"), {"op": "trust", "sub": "C-9", "hours": 1}) == ["applied"] * 2


def test_a_commit_that_fails_beside_it_begins_the_walk_anew_where_it_is(
    nine: Core, monkeypatch: pytest.MonkeyPatch
) -> None:
    chunk(nine, WALLED)
    steps = walking(nine)

    def full(*_: Any, **__: Any) -> None:
        raise StoreError("disk full")

    with monkeypatch.context() as m:
        m.setattr(nine.store, "commit", full)
        with pytest.raises(StoreError):
            send(nine, {"op": "unblock", "sub": "C-9", "reason": "debt"})
    assert send(nine, {"op": "unblock", "sub": "C-9", "reason": "debt"}) == ["applied"]
    with pytest.raises(StoreError, match="goes on"):
        for _ in steps:
            pass
    nine.carry_out()
    assert nine.answered("s1")["counts"]["subscribers"] == 9
    assert (nine.level("C-9"), nine.level("C-8")) == ("open", "walled")
    assert nine.agrees()
