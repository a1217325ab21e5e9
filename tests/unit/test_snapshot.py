"""Snapshots over the fake kernel: replaced in one step, what is newer kept, what is not billing's left alone."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edged.consequences import changes
from edged.domain.digest import SHARDS, shard
from edged.domain.model import Policy
from edged.store.rows import Known, Write
from edged.store.totals import Totals
from tests.unit.core import Core

HOUR = 3_600_000


@pytest.fixture
def core(tmp_path: Path) -> Iterator[Core]:
    made = Core(tmp_path)
    yield made
    made.store.close()


def bind(n: int, *more: str) -> dict[str, Any]:
    return {"op": "bind", "sub": f"C-{n}", "addresses": [f"100.64.{n >> 8}.{n & 255}", *more]}


def block(n: int, reason: str = "debt", *invoices: str, **more: Any) -> dict[str, Any]:
    return {"op": "block", "sub": f"C-{n}", "reason": reason, "invoices": list(invoices), **more}


def restricted(core: Core) -> set[bytes]:
    return core.in_kernel()["restricted4"]


def key(n: int) -> bytes:
    return b"\x64\x40" + bytes([n >> 8, n & 255])


def stored(core: Core) -> list[tuple[int, str]]:
    """Number and name of every subscriber there is."""
    return core.store.db.execute("SELECT id, sub FROM subscriber ORDER BY id").fetchall()


def true_digest(core: Core) -> Totals:
    """The totals worked out from every stored subscriber anew."""
    write = Write()
    found = core.store.load(name for _, name in stored(core)).values()
    changes(write, [Known(k.id, k.sub, k.keys, k.entry) for k in found], core.now, Policy())
    return Totals().plus(write)


def test_parts_in_any_order_and_repeated_are_carried_out_once_all_are_in(core: Core) -> None:
    parts = {1: [bind(1), block(1)], 2: [bind(2)], 3: [bind(3), block(3, "debt_partial", rate=512)]}
    missing = [core.chunk(parts[p], p, 3)["missing"] for p in (3, 1, 3, 1)]
    assert missing == [2, 1, 1, 1]
    assert core.pipeline.gathering.ready is None
    assert core.store.totals.levels == (0, 0, 0, 0, 0)
    last = core.chunk(parts[2], 2, 3)
    assert (last["id"], last["part"], last["missing"]) == ("s1", 2, 0)
    core.carry_out()
    answer = core.answered("s1")
    assert answer["counts"] == {"subscribers": 3, "added": 3, "changed": 0, "removed": 0, "kept": 0}
    assert answer["summary"]["applied"] == 5
    assert (core.level("C-1"), core.level("C-2"), core.level("C-3")) == ("walled", "open", "reduced")
    assert restricted(core) == {key(1), key(3)}
    assert answer["hash"] == core.store.totals.hash
    assert core.agrees()


def test_what_it_does_not_name_is_open_and_unbound(core: Core) -> None:
    core.send(bind(1), block(1), bind(2), block(2), {"op": "trust", "sub": "C-2", "hours": 2})
    answer = core.sync([bind(1), block(1, "notice")])
    assert core.level("C-1") == "notice"
    assert core.pipeline.questions.why("C-2")["addresses"] == []
    assert core.level("C-2") == "open"
    assert answer["counts"]["removed"] == 1
    assert [e["outcome"] for e in core.events() if e.get("event") == "trust.ended"] == ["released"]
    assert core.agrees()
    core.send({"op": "block", "sub": "C-2", "reason": "debt"})
    assert core.status({"op": "trust", "sub": "C-2", "hours": 2}) == ["trust_spent"], "a promise used is used for ever"


def test_the_same_again_changes_nothing(core: Core) -> None:
    parts = [[bind(n), block(n, "debt", f"F-{n}")] for n in range(1, 9)]
    core.sync(*parts)
    before = core.store.totals, core.in_kernel(), core.pipeline.questions.why("C-3")
    core.now += HOUR
    answer = core.sync(*parts, name="s2")
    assert answer["counts"] == {"subscribers": 8, "added": 0, "changed": 0, "removed": 0, "kept": 0}
    assert (core.store.totals, core.in_kernel(), core.pipeline.questions.why("C-3")) == before
    again = core.chunk(parts[0], 1, 8, name="s2")
    assert again["duplicate"]
    assert again["counts"] == answer["counts"]
    assert core.pipeline.gathering.ready is None


def test_reasons_that_are_no_debts_promises_and_payments_outlive_it(core: Core) -> None:
    core.send(bind(1), block(1, "operator"), bind(2), block(2, "debt", "F-2"), bind(3), block(3, "debt", "F-3"))
    core.send({"op": "trust", "sub": "C-2", "hours": 5}, {"op": "paid", "sub": "C-3", "invoices": ["F-3"]})
    answer = core.sync([bind(1), bind(2), block(2, "debt", "F-2"), bind(3), block(3, "debt", "F-3")])
    assert core.level("C-1") == "walled"
    assert core.pipeline.questions.why("C-2")["promise"]["running"]
    assert core.level("C-2") == "open"
    assert core.level("C-3") == "open", "paid before, so its old debt does not come back"
    assert answer["summary"]["unchanged"] >= 4
    assert core.agrees()


def test_a_promise_in_it_is_granted_once(core: Core) -> None:
    promise = {"op": "trust", "sub": "C-1", "until": "2026-09-22T00:00:00Z"}
    parts = [promise, bind(1), block(1, "debt", "F-1")]  # also when it stands before its block
    assert core.sync(parts)["summary"]["rejected"] == 0
    assert core.sync(parts, name="s2")["summary"]["rejected"] == 0
    assert core.pipeline.questions.why("C-1")["reasons"][0]["invoices"][0]["promises_spent"] == 1


def test_what_a_newer_batch_said_is_kept(core: Core) -> None:
    def numbered(seq: int, *commands: Any) -> None:
        payload = {"v": 1, "id": f"n{seq}", "issuer": "erp", "epoch": "e", "seq": seq, "commands": list(commands)}
        core.post(payload, "gw/gw1/cmd")

    numbered(1, bind(1), block(1), bind(2), block(2))
    numbered(2, {"op": "paid", "sub": "C-2"})
    snapshot = [bind(1), block(1), bind(2), block(2)]  # made before batch 2
    answer = core.sync(snapshot, issuer="erp", epoch="e", seq=1)
    assert answer["counts"]["kept"] == 1
    assert (core.level("C-1"), core.level("C-2")) == ("walled", "open")
    answer = core.sync([bind(1)], name="s2", issuer="erp", epoch="e", seq=2)
    assert answer["counts"]["kept"] == 0
    assert core.level("C-1") == "open"


def test_a_lower_rev_is_stale_and_leaves_the_subscriber_alone(core: Core) -> None:
    core.send({**bind(1), "rev": 7}, {"op": "unblock", "sub": "C-1", "reason": "debt", "rev": 8})
    answer = core.sync([{**bind(1, "100.64.9.9"), "rev": 7}, block(1, rev=7)])
    assert [r["code"] for r in answer["results"]] == ["stale", "stale"]
    assert core.level("C-1") == "open"
    assert [a["address"] for a in core.pipeline.questions.why("C-1")["addresses"]] == ["100.64.0.1"]


def test_only_the_shards_it_names_are_replaced(core: Core) -> None:
    everybody = range(1, 60)
    core.send(*(c for n in everybody for c in (bind(n), block(n))))
    mine = {shard(f"C-{n}") for n in range(1, 20)}
    chosen = [n for n in everybody if shard(f"C-{n}") in mine]
    left = [n for n in everybody if n not in chosen]
    answer = core.sync([bind(n) for n in chosen], shards=sorted(mine))
    assert restricted(core) == {key(n) for n in left}
    assert answer["counts"]["subscribers"] == len(chosen)
    foreign = core.sync([bind(n) for n in chosen] + [bind(left[0])], name="s2", shards=sorted(mine))
    assert [r["code"] for r in foreign["results"]] == ["malformed"]
    assert core.agrees()


def test_addresses_may_change_hands_all_at_once(core: Core) -> None:
    wide, inside = "2001:db8:0:100::/56", "2001:db8:0:1ff::/64"
    core.send(*(c for n in range(1, 9) for c in (bind(n), block(n))), {"op": "bind", "sub": "V", "addresses": [wide]})
    swapped = [{"op": "bind", "sub": f"C-{n}", "addresses": [f"100.64.0.{9 - n}"]} for n in range(1, 9)]
    answer = core.sync(
        [*swapped, block(1), {"op": "bind", "sub": "W", "addresses": [inside]}],
        [{"op": "bind", "sub": "V", "addresses": ["2001:db8:0:200::/56"]}],
    )
    assert answer["summary"]["rejected"] == 0
    assert restricted(core) == {key(8)}
    assert [a["address"] for a in core.pipeline.questions.why(inside)["addresses"]] == [inside]
    assert not [e for e in core.events() if e.get("event") == "address.moved"]
    assert core.agrees()


def test_refused_commands_are_told_and_spare_their_subscriber(core: Core) -> None:
    core.send(bind(1), block(1))
    answer = core.sync([
        bind(1), {"op": "block", "sub": "C-1", "reason": "debt", "rate": 64},
        {"op": "paid", "sub": "C-2"}, block(3, "operator"), {"op": "dance"}, bind(4, "not an address"), bind(5),
    ])  # fmt: skip
    assert {(r["i"], r["code"]) for r in answer["results"]} == {
        (1, "malformed"), (2, "malformed"), (3, "malformed"), (4, "unknown_op"), (5, "bad_address"),
    }  # fmt: skip
    assert answer["summary"]["rejected"] == 5
    assert core.level("C-1") == "walled", "what could not be judged stays as it was"


def test_chunks_that_contradict_each_other_are_refused(core: Core) -> None:
    core.chunk([bind(1)], 1, 3)
    changes_of: list[tuple[int, dict[str, Any]]] = [(4, {}), (3, {"shards": [1]}), (3, {"epoch": "e", "seq": 4})]
    for parts, head in changes_of:
        answer = core.chunk([bind(2)], 2, parts, **head)
        assert answer["results"][0]["code"] == "malformed"
    assert core.chunk([bind(2)], 2, 3)["missing"] == 1


def test_missing_parts_are_asked_for_and_a_newer_snapshot_displaces(core: Core) -> None:
    core.chunk([bind(1)], 2, 4)
    core.now += 29_000
    assert not core.upkeep.ask()
    core.now += 1_000
    assert core.upkeep.ask()
    assert not core.upkeep.ask()
    (event,) = core.events()
    assert (event["event"], event["sync"], event["missing"]) == ("sync.missing", "s1", [1, 3, 4])
    core.chunk([bind(1)], 1, 2, name="s2")
    late = core.chunk([bind(1)], 1, 4)
    assert late["results"][0]["code"] == "stale"
    assert [s.sync for s in core.store.snapshots()] == ["s2"]
    core.chunk([bind(1)], 2, 2, name="s2")
    core.carry_out()
    assert core.store.snapshots() == []
    core.chunk([bind(1)], 1, 2, name="s3")
    core.now += HOUR + 1
    core.upkeep.ask()
    assert core.store.snapshots() == []
    assert core.store.db.execute("SELECT count(*) FROM chunk").fetchone() == (0,)


def test_commands_beside_it_reach_the_old_sets_and_are_in_the_new_ones(core: Core) -> None:
    core.send(*(c for n in range(1, 700) for c in (bind(n), block(n))))
    core.send({"op": "bind", "sub": "V", "addresses": ["100.64.99.1"]})
    core.chunk([c for n in range(1, 700) for c in ([bind(n)] if n % 2 else [bind(n), block(n)])], 1, 1)
    steps = core.begin_snapshot()
    for _ in range(2):
        next(steps)
    assert restricted(core) == {key(n) for n in range(1, 700)}, "the kernel is not touched before the end"
    core.send({"op": "paid", "sub": "C-2"}, block(699, "operator"), {"op": "block", "sub": "V", "reason": "operator"})
    core.send({"op": "paid", "sub": "C-1"})  # freed by the snapshot already, in the kernel not yet
    assert restricted(core) == {key(n) for n in range(3, 700)}
    core.end_snapshot(steps)
    assert core.level("C-699") == "walled"
    assert core.level("C-2") == "open", "whatever comes after the last chunk is newer than the snapshot"
    assert core.level("V") == "walled"
    assert core.pipeline.questions.why("V")["addresses"] == [], "the command met what the snapshot had left of it"
    assert restricted(core) == {key(n) for n in range(4, 700, 2)} | {key(699)}
    assert core.agrees()


def test_elements_are_counted_right_from_the_switch_on(core: Core) -> None:
    core.send(bind(1), bind(2))
    core.chunk([bind(1), bind(2)], 1, 1)
    steps = core.begin_snapshot()
    core.send(block(1, "operator"))
    for _ in steps:
        pass
    core.refill()
    core.send({"op": "unblock", "sub": "C-1", "reason": "operator"}, block(2, "operator"))  # before its answer
    core.send({"op": "unblock", "sub": "C-2", "reason": "operator"})
    core.replacement.finish()
    assert core.enforcer.set_counts()["restricted4"] == 0
    assert not core.enforcer.loose
    assert core.agrees()


@pytest.mark.parametrize("at", range(4))
def test_a_daemon_that_dies_in_the_middle_begins_again(core: Core, at: int) -> None:
    core.send(*(c for n in range(1, 500) for c in (bind(n), block(n))))
    core.chunk([bind(n) for n in range(1, 500)], 1, 2)
    core.restart()
    core.chunk([bind(n) for n in range(500, 600)], 2, 2)
    steps = core.begin_snapshot()
    for _ in range(at):
        next(steps)
    core.restart()
    core.carry_out()
    assert core.answered("s1")["counts"]["subscribers"] == 599
    assert core.store.totals.levels == (599, 0, 0, 0, 0)
    assert core.store.totals == true_digest(core)
    assert core.agrees()


def test_the_digest_says_what_differs(core: Core, tmp_path: Path) -> None:
    other = Core(tmp_path / "other")
    rng = random.Random(5)
    for n in range(1, 300):
        core.send(bind(n), *([block(n, "debt", f"F-{n}")] if n % 3 else []))
    ids = list(range(1, 300))
    rng.shuffle(ids)
    other.sync([c for n in ids for c in ([bind(n), block(n, "debt", f"F-{n}")] if n % 3 else [bind(n)])])
    assert core.store.totals.hash == other.store.totals.hash
    core.send({"op": "paid", "sub": "C-1"}, block(3, "operator"))
    (mine,), (theirs,) = core.send({"op": "digest"})["results"], other.send({"op": "digest"})["results"]
    differing = [i for i in range(SHARDS) if mine["record"]["shards"][i] != theirs["record"]["shards"][i]]
    assert differing == [shard("C-1")], "the operator's block is not billing's to send again"
    assert mine["record"]["hash"] == core.store.totals.hash != other.store.totals.hash
    core.send({"op": "unblock", "sub": "C-3", "reason": "operator"})
    same = [n for n in ids if shard(f"C-{n}") == shard("C-1")]
    debts = [block(n, "debt", f"F-{n}") for n in same if n % 3 and n != 1]
    other.sync([*(bind(n) for n in same), *debts], name="s2", shards=[shard("C-1")])
    assert core.store.totals.hash == other.store.totals.hash
    assert core.store.totals == true_digest(core)
    other.store.close()


def test_it_comes_back_after_a_restart_and_its_answer_waits(core: Core) -> None:
    core.sync([bind(1), block(1)])
    core.restart()
    assert core.answered("s1")["summary"]["applied"] == 2
    assert core.store.totals.levels == (0, 0, 0, 1, 0)


def test_who_is_left_out_and_has_nothing_goes_without_being_forgotten(core: Core) -> None:
    first = core.send({"op": "bind", "sub": "A", "addresses": ["100.64.0.1"]}, name="a")
    second = core.send({"op": "bind", "sub": "B", "addresses": ["100.64.0.1"]}, name="b")
    core.sync([{"op": "bind", "sub": "D", "addresses": ["100.64.0.1"]}])
    assert stored(core) == [(3, "D")]
    assert [(e["from"], e["to"]) for e in core.events() if e.get("event") == "address.moved"] == [("A", "B")]
    assert core.send({"op": "digest"}, name="a") == {**first, "duplicate": True}
    assert core.send({"op": "digest"}, name="b") == {**second, "duplicate": True}
    assert core.store.totals == true_digest(core)


def test_an_answer_to_a_command_beside_it_is_true_at_the_end(core: Core) -> None:
    """What a sceptic found: commands that met half of a snapshot, or the state before it, and were lost."""
    everybody = range(1, 600)
    core.send(*(bind(n) for n in everybody), block(501), block(502), block(503, "debt", "F-1"), block(504))
    binds = [bind(n) for n in everybody]
    debts = [block(1), block(501), block(502), block(503, "debt", "F-1"), block(504)]
    core.chunk(binds, 1, 2)
    core.chunk(debts, 2, 2)
    before = core.in_kernel()
    core.send({"op": "query", "sub": "C-501"})
    assert core.in_kernel() == before, "a question opens nobody"
    steps = core.begin_snapshot()
    next(steps)
    assert core.status({"op": "paid", "sub": "C-1"}) == ["applied"], "the snapshot says that it owes"
    assert core.status({"op": "unblock", "sub": "C-502", "reason": "debt"}) == ["applied"]
    assert core.status({"op": "trust", "sub": "C-503", "hours": 2}) == ["applied"]
    assert core.status({"op": "bind", "sub": "C-504", "addresses": ["100.64.77.1"], "replace": False}) == ["applied"]
    core.send({"op": "query", "sub": "C-501"})
    assert restricted(core) >= {key(501), key(504), b"\x64\x40\x4d\x01"}
    core.end_snapshot(steps)
    levels = [core.level(f"C-{n}") for n in (1, 501, 502, 503, 504)]
    assert levels == ["open", "walled", "open", "open", "walled"]
    assert restricted(core) == {key(501), key(503), key(504), b"\x64\x40\x4d\x01"}
    assert core.agrees()


def test_a_subscriber_in_two_chunks_is_one_change(core: Core) -> None:
    core.send(bind(1), block(1, "debt", "F-1"), {"op": "trust", "sub": "C-1", "hours": 2})
    core.sync([bind(1)], [block(1, "debt", "F-1")], [bind(1, "100.64.9.9")])
    why = core.pipeline.questions.why("C-1")
    assert why["promise"]["running"]
    assert [a["address"] for a in why["addresses"]] == ["100.64.0.1", "100.64.9.9"]
    core.send({"op": "untrust", "sub": "C-1"})
    core.sync([bind(1)], [block(1, "debt", "F-1", not_before="2030-01-01T00:00:00Z")], name="s2")
    assert core.level("C-1") == "walled", "what is in force is not put off by sending it again"


def test_a_command_that_cannot_be_read_spares_whom_it_names(core: Core) -> None:
    core.send(*(c for n in range(1, 101) for c in (bind(n), block(n))))
    spoilt = [{**c, "x": 1} for n in range(1, 101) for c in (bind(n), block(n))]
    answer = core.sync(spoilt)
    assert answer["summary"]["rejected"] == 200
    assert answer["counts"]["removed"] == 0
    assert core.store.totals.levels[3] == 100
    answer = core.sync(
        [bind(n) for n in range(2, 101)] + [{"op": "unblock", "sub": "C-1", "reason": "debt"}], name="s2"
    )
    assert core.level("C-1") == "walled"
    assert core.store.totals.levels[3] == 1


@pytest.mark.parametrize("at", range(7))
def test_commands_and_deaths_beside_it_end_as_if_it_had_been_at_once(core: Core, tmp_path: Path, at: int) -> None:
    """The snapshot in steps, with commands in between and a death, against the snapshot first and the commands then."""
    other = Core(tmp_path / "other")
    rng = random.Random(at)

    def anything(n: int) -> dict[str, Any]:
        sub, invoice = {"sub": f"C-{n}"}, f"F-{rng.randrange(9)}"
        return rng.choice([
            bind(n, f"100.64.{rng.randrange(40, 50)}.{rng.randrange(9)}"), block(n, "debt", invoice),
            block(n, "notice"), block(n, "operator"), {"op": "paid", **sub}, {"op": "unbind", **sub},
            {"op": "unblock", **sub, "reason": "debt*"}, {"op": "trust", **sub, "hours": 3},
        ])  # fmt: skip

    start = [bind(n) for n in range(1, 500)] + [anything(rng.randrange(1, 700)) for _ in range(600)]
    debts = [
        block(n, rng.choice(["debt", "notice"]), f"F-{rng.randrange(9)}") for n in rng.sample(range(100, 900), 400)
    ]
    trusts = [{"op": "trust", "sub": c["sub"], "hours": 3} for c in rng.sample(debts, 50)]
    spots = rng.sample([a << 8 | b for a in range(40, 50) for b in range(9)], 90)  # where commands bind, too
    binds = [bind(n, f"100.64.{s >> 8}.{s & 255}") for n, s in zip(range(200, 290), spots, strict=True)]
    parts = [[bind(n) for n in range(290, 600)], debts[:200], binds, debts[200:] + trusts]
    groups = [[anything(rng.randrange(1, 900)) for _ in range(30)] for _ in range(8)]
    for made in (core, other):
        made.send(*start)
        for i, part in enumerate(parts, 1):
            made.chunk(part, i, len(parts))
    other.carry_out()
    steps = core.begin_snapshot()
    answers: list[list[Any]] = [[], []]
    for i, group in enumerate(groups):
        if i >= at and next(steps, core) is core:
            steps = iter(())
        if i == at + 2:
            core.restart()
            steps = core.begin_snapshot()
        for made, told in ((core, answers[0]), (other, answers[1])):
            told.append([(r["status"], r.get("code")) for r in made.send(*group)["results"]])
    core.end_snapshot(steps)
    assert answers[0] == answers[1]
    assert core.store.totals == other.store.totals == true_digest(core)
    assert core.in_kernel() == other.in_kernel()
    assert core.agrees()
    other.store.close()
