"""The brake (domain.md §5): what it holds, what passes, what a human does; over restarts and beside newer commands."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edged.domain.brake import FEWEST, Limits
from tests.unit.core import Core

MANY = Limits(enabled=True, most=10, window=60_000, share=0.2)


def block(n: int, reason: str = "debt", **more: Any) -> dict[str, Any]:
    return {"op": "block", "sub": f"C-{n}", "reason": reason, **more}


def bind(n: int) -> dict[str, Any]:
    return {"op": "bind", "sub": f"C-{n}", "addresses": [f"100.64.{n >> 8}.{n & 255}"]}


@pytest.fixture
def core(tmp_path: Path) -> Iterator[Core]:
    made = Core(tmp_path, limits=MANY)
    made.send(*(bind(n) for n in range(200)))
    yield made
    made.store.close()


def levels(core: Core) -> int:
    return sum(core.store.totals.levels[1:])


def names(core: Core) -> list[str]:
    return [e["event"] for e in core.events()]


def close(core: Core) -> None:
    """Ten pass, the rest is held."""
    answer = core.send(*(block(n) for n in range(15)))
    assert (answer["summary"]["applied"], answer["summary"]["held"]) == (10, 5)
    assert {r["code"] for r in answer["results"] if r["status"] == "held"} == {"brake"}


def test_more_than_the_limit_in_the_window_is_held_and_told_once(core: Core) -> None:
    close(core)
    assert (levels(core), core.pipeline.held, names(core).count("brake.closed")) == (10, 5, 1)
    assert core.pipeline.questions.why("C-12")["held"] == ["debt"]
    core.now += 3_600_000
    assert core.status(block(20)) == ["brake"], "closed stays closed until somebody looked"
    assert names(core).count("brake.closed") == 1


def test_what_a_window_ago_was_counted_no_longer_counts(core: Core) -> None:
    for turn in range(3):
        assert core.status(*(block(10 * turn + n) for n in range(10))) == ["applied"] * 10
        core.now += MANY.window
    assert not core.pipeline.held


def test_releases_and_second_reasons_always_pass(core: Core) -> None:
    close(core)
    assert (
        core.status({"op": "paid", "sub": "C-1"}, {"op": "unblock", "sub": "C-2", "reason": "debt"}) == ["applied"] * 2
    )
    assert core.status(block(3, "operator")) == ["applied"], "who is restricted already is not newly restricted"
    assert core.status(block(30, "notice")) == ["applied"], "a reminder takes nothing away"
    assert core.status(bind(300)) == ["applied"]


def test_what_waits_counts_too(core: Core) -> None:
    later = "2026-10-30T12:00:00Z"
    found = core.status(*(block(n, not_before=later) for n in range(12)))
    assert found == ["deferred"] * 10 + ["brake"] * 2


def test_a_release_carries_out_in_order_and_opens(core: Core) -> None:
    close(core)
    assert core.upkeep.release_brake() == (5, 0, True)
    assert core.upkeep.release_brake()[0] == 0
    assert (levels(core), core.pipeline.held) == (15, 0)
    assert core.agrees()
    assert core.status(block(20)) == ["applied"]


def test_a_drop_forgets_and_opens(core: Core) -> None:
    close(core)
    assert core.upkeep.drop_held() == 5
    assert (levels(core), core.pipeline.held) == (10, 0)
    assert core.status(block(12)) == ["applied"]


def test_it_counts_and_holds_over_a_restart(core: Core) -> None:
    core.status(*(block(n) for n in range(8)))
    core.restart()
    assert core.status(*(block(n) for n in range(10, 14))) == ["applied", "applied", "brake", "brake"]
    core.restart()
    assert core.pipeline.held
    assert core.upkeep.release_brake()[0] == 2
    assert levels(core) == 12


@pytest.mark.parametrize(
    ("later", "after"),
    [
        ({"op": "unblock", "sub": "C-12", "reason": "debt"}, "open"),
        ({"op": "unblock", "sub": "C-12", "reason": "debt*"}, "open"),
        ({"op": "paid", "sub": "C-12"}, "open"),
        ({"op": "paid", "sub": "C-12", "invoices": ["F-12"]}, "open"),
        ({"op": "unblock", "sub": "C-12", "reason": "notice"}, "walled"),
        ({"op": "paid", "sub": "C-12", "invoices": ["F-13"]}, "walled"),
        (block(12, invoices=["F-14"]), "walled"),
    ],
)
def test_a_later_command_makes_void_what_it_would_undo(core: Core, later: dict[str, Any], after: str) -> None:
    core.send(*(block(n, invoices=[f"F-{n}"]) for n in range(15)))
    core.status(later)
    while core.upkeep.release_brake()[0]:
        pass
    assert core.level("C-12") == after
    assert core.agrees()


def test_who_is_forgotten_is_not_held_either(core: Core) -> None:
    core.send({**bind(300), "sub": "FORGET-ME"})
    close(core)
    core.status({**block(0), "sub": "FORGET-ME"})
    core.status({"op": "forget", "sub": "FORGET-ME"})
    core.tidy_audit()
    assert core.upkeep.release_brake()[0] == 5
    assert b"FORGET-ME" not in b"".join(f.read_bytes() for f in core.directory.iterdir())


def test_the_share_is_judged_above_fifty(tmp_path: Path) -> None:
    core = Core(tmp_path, limits=Limits(enabled=True, most=10_000, window=60_000, share=0.2))
    core.send(*(bind(n) for n in range(200)))
    core.send(*(block(n) for n in range(FEWEST + 1)))
    assert core.store.totals.levels[3] == FEWEST
    assert core.pipeline.brake.held == 1
    core.store.close()


def test_switched_off_it_holds_nothing(tmp_path: Path) -> None:
    core = Core(tmp_path)
    core.send(*(bind(n) for n in range(100)), *(block(n) for n in range(100)))
    assert levels(core) == 100
    core.store.close()


# -- snapshots ------------------------------------------------------------------------------------------------------


def test_a_first_snapshot_into_an_empty_store_passes(tmp_path: Path) -> None:
    core = Core(tmp_path, limits=MANY)
    core.sync([x for n in range(100) for x in (bind(n), block(n))])
    assert levels(core) == 100
    core.store.close()


@pytest.mark.parametrize("few", [[], [bind(1)]])
def test_a_snapshot_too_small_to_be_true_is_held_and_released(core: Core, few: list[Any]) -> None:
    before = core.store.totals
    answer = core.chunk(few, 1, 1)
    assert "200 are known" in answer["held"]
    assert core.pipeline.gathering.ready is None
    assert (core.store.totals, core.pipeline.held, names(core)[-1]) == (before, 1, "brake.closed")
    core.restart()
    assert core.pipeline.held
    core.upkeep.release_brake()
    core.carry_out()
    assert core.answered("s1")["counts"]["removed"] == 200 - len(few)
    assert sum(core.store.totals.levels) == len(few)


def test_a_held_snapshot_is_dropped_and_its_sender_told(core: Core) -> None:
    core.chunk([], 1, 1)
    assert core.upkeep.drop_held() == 1
    told = next(e for e in core.events() if e.get("id") == "s1")
    assert told["results"][0]["code"] == "brake"
    assert core.chunk([], 1, 1)["duplicate"] is True
    assert (core.store.snapshots(), core.pipeline.held) == ([], 0)


def test_a_newer_snapshot_takes_the_place_of_a_held_one(core: Core) -> None:
    core.chunk([], 1, 1)
    core.sync([bind(n) for n in range(150)], name="s2")
    assert (sum(core.store.totals.levels), core.pipeline.held) == (150, 0)


def test_a_snapshot_that_restricts_too_many_is_held(core: Core) -> None:
    everybody = [bind(n) for n in range(200)]
    assert "new restrictions" in core.chunk([*everybody, *(block(n) for n in range(11))], 1, 1)["held"]
    core.sync([*everybody, *(block(n) for n in range(10))], name="s2")
    assert levels(core) == 10
    assert "new restrictions" in core.chunk([*everybody, *(block(n) for n in range(12))], 1, 1, name="s3")["held"]
    core.now += MANY.window
    core.sync([*everybody, *(block(n) for n in range(12))], name="s4")
    assert levels(core) == 12, "ten were restricted already"


def test_parts_count_a_subscriber_once(core: Core) -> None:
    few = [bind(n) for n in range(10)]
    for part in range(1, 20):
        core.chunk(few, part, 20)
    assert "names 10 subscribers" in core.chunk(few, 20, 20)["held"]


def test_what_is_commanded_while_a_snapshot_is_held_is_newer(core: Core) -> None:
    core.chunk([bind(1), bind(2), bind(3)], 1, 1)
    core.status(block(1), bind(2), block(100, "operator"))
    core.status({**bind(3), "addresses": ["100.64.99.3"]})
    core.upkeep.release_brake()
    core.carry_out()
    assert [core.level(f"C-{n}") for n in (1, 2, 100)] == ["walled", "open", "walled"]
    assert core.pipeline.questions.why("100.64.99.3")["sub"] == "C-3"
    assert sum(core.store.totals.levels) == 4
    assert core.agrees()


def test_a_part_more_about_somebody_counts_once(core: Core) -> None:
    people = [bind(n) for n in range(200)]
    core.chunk([*people, *(block(n) for n in range(6))], 1, 2)
    core.chunk([block(n, "debt_partial") for n in range(6)], 2, 2)
    core.carry_out()
    assert levels(core) == 6


def test_snapshots_count_in_the_window_and_see_it(core: Core) -> None:
    people = [bind(n) for n in range(200)]
    core.sync([*people, *(block(n) for n in range(8))])
    assert core.status(*(block(n) for n in range(8, 12))) == ["applied", "applied", "brake", "brake"]


@pytest.mark.parametrize(
    "before",
    [
        [{"op": "defer", "sub": "C-{}", "kind": "hardship", "until": "2027-01-01T00:00:00Z"}],
        [{"op": "block", "sub": "C-{}", "reason": "notice"}],
    ],
)
def test_who_only_waits_for_something_is_not_taken_for_restricted(core: Core, before: list[dict[str, str]]) -> None:
    for n in range(20):
        core.send(*({**c, "sub": f"C-{n}"} for c in before))
    people = [bind(n) for n in range(200)]
    told = core.chunk([*people, *(block(n, ref="notice") for n in range(20))], 1, 1)
    assert "new restrictions" in told["held"]


def test_empty_shards_are_held(core: Core) -> None:
    told = core.chunk([], 1, 1, shards=list(range(8)))
    assert "names 0 subscribers" in told["held"]


def test_while_a_snapshot_is_held_commands_are_too(core: Core) -> None:
    core.chunk([], 1, 1)
    assert core.status(block(1)) == ["brake"]


def test_a_snapshot_makes_void_what_the_brake_holds(core: Core) -> None:
    close(core)
    core.now += MANY.window
    core.sync([*(bind(n) for n in range(200)), *(block(n) for n in range(10))])
    assert core.pipeline.held == 0
    assert core.level("C-12") == "open"


def test_a_refused_command_leaves_what_is_held(core: Core) -> None:
    close(core)
    assert core.status(block(12, level="blocked")) == ["malformed"]
    assert core.pipeline.held == 5
    core.status({**bind(13), "rev": 9}, {"op": "unblock", "sub": "C-13", "reason": "debt", "rev": 1})
    assert core.pipeline.held == 5


def test_a_held_preventive_block_ends_with_documents_alone(core: Core) -> None:
    core.send(*(block(n, "preventive") for n in range(12)))
    asked = {"op": "unblock", "sub": "C-11", "reason": "preventive"}
    assert core.status(asked) == ["unchanged"]
    assert core.status({**asked, "cause": "documents_ok"}) == ["applied"]
    assert core.pipeline.held == 1


def test_after_a_release_nothing_from_before_counts_over_a_restart_either(core: Core) -> None:
    close(core)
    while core.upkeep.release_brake()[0]:
        pass
    core.restart()
    assert core.status(block(20)) == ["applied"]


def test_what_is_held_is_listed(core: Core) -> None:
    close(core)
    rows = [row for rows in core.pipeline.questions.listing(None, None) for row in rows]
    assert sorted(r["sub"] for r in rows if r["level"] == "held") == [f"C-{n}" for n in range(10, 15)]


def test_who_was_only_held_is_forgotten_in_answers_too(core: Core) -> None:
    close(core)
    assert core.status({**block(0), "sub": "FORGET-ME"}) == ["brake"]
    assert core.status({"op": "forget", "sub": "FORGET-ME"}) == ["applied"]
    core.tidy_audit()
    assert b"FORGET-ME" not in b"".join(f.read_bytes() for f in core.directory.iterdir())


def test_a_held_snapshot_forgets_too(core: Core) -> None:
    core.send({**bind(300), "sub": "FORGET-ME"})
    core.chunk([{**bind(300), "sub": "FORGET-ME"}], 1, 1)
    core.status({"op": "query", "address": "100.64.1.44"})
    core.status({"op": "forget", "sub": "FORGET-ME"})
    core.tidy_audit()
    assert b"FORGET-ME" not in b"".join(f.read_bytes() for f in core.directory.iterdir())
