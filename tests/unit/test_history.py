"""The judge of tests/torture: a true history passes, and each kind of planted fault is found by its name."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import pytest

from edged.domain.model import rfc3339
from tests.torture.history import History, check, took_effect
from tests.torture.model import World
from tests.torture.steps import HAND, MARK, SUBSCRIBERS, WITNESS, Command, Sent, Step
from tests.torture.stream import Stream

START = 1_790_000_000_000
UNTIL = rfc3339(START + 3_600_000)
NAMES = (*SUBSCRIBERS, HAND)


def record(world: World, name: str) -> dict[str, Any] | None:
    """A subscriber of the model as ``query`` would tell of it."""
    state = world.state(name)
    if state is None:
        return None
    promise = state["promise"]
    running = {"until": rfc3339(promise[0]), "invoices": promise[1] or None} if promise else None
    return {
        "level": state["level"],
        "rev": state["rev"],
        "reasons": [
            {"reason": n, "ref": ref, "invoices": [{"id": i, "promises_spent": k} for i, k in invoices]}
            for n, (ref, invoices) in state["reasons"].items()
        ],
        "promise": {"running": running, "breached": state["breached"]},
        "addresses": [{"address": a, "kernel": {"sets": sets}} for a, sets in state["addresses"].items()],
    }


def told(steps: Sequence[Step], world: World, *, complete: bool = True) -> History:
    """What would be seen of a gateway that ended as ``world``, and answered all steps as ``world`` did."""
    sent = dict.fromkeys(s.name for s in steps if isinstance(s, Sent))
    answers = [{"id": n, "duplicate": False, **world.answers[n]} for n in sent if n in world.answers]
    records = {n: record(world, n) for n in NAMES}
    return History(START, steps, answers, world.events, records, world.digest(), complete=complete)


def kinds(history: History) -> set[str]:
    return {v.kind for v in check(history)}


def again(sent: Sent) -> Sent:
    """The same batch to a gateway that does not remember its id."""
    return sent._replace(name=f"{sent.name}-again", seq=0)


@pytest.fixture(params=range(5))
def steps(request: pytest.FixtureRequest) -> list[Step]:
    return Stream(request.param, START, ghosts=False).take(60)


def picked(steps: Sequence[Step], n: int = 20) -> tuple[int, Sent]:
    """A batch in the middle, and where it is first."""
    batch = next(s for s in steps if isinstance(s, Sent) and s.number == n)
    return steps.index(batch), batch


def test_a_true_history_passes(steps: list[Step]) -> None:
    assert not check(told(steps, World(START).steps(steps)))


def test_a_lost_command_is_found(steps: list[Step]) -> None:
    _, batch = picked(steps)
    truth = World(START).steps(steps)
    happened = told(steps, World(START).steps([s for s in steps if s != batch]))
    happened.answers.append({"id": batch.name, "duplicate": False, **truth.answers[batch.name]})
    assert "lost" in kinds(happened)


def test_a_command_applied_twice_is_found(steps: list[Step]) -> None:
    at, batch = picked(steps)
    for distance in (1, 2, 9):
        twice = [*steps[: at + distance], again(batch), *steps[at + distance :]]
        assert "twice" in kinds(told(steps, World(START).steps(twice)))


def test_a_command_out_of_order_is_found(steps: list[Step]) -> None:
    at, batch = picked(steps)
    late = [s for s in steps if s != batch]
    late.insert(at + 2, batch._replace(seq=0))  # or its number would have it refused
    assert "order" in kinds(told(steps, World(START).steps(late)))


def test_a_batch_by_halves_is_found(steps: list[Step]) -> None:
    at, batch = picked(steps)
    middle = len(batch.commands) // 2
    first, second = (batch._replace(commands=c) for c in (batch.commands[:middle], batch.commands[middle:]))
    assert "lost" in kinds(told(steps, World(START).steps([first if s == batch else s for s in steps])))
    assert "halves" in kinds(told(steps, World(START).steps([second if s == batch else s for s in steps])))
    crashed = World(START).steps([*steps[:at], first])
    assert "halves" in kinds(told(steps, crashed, complete=False))


def test_an_answer_that_is_not_the_models_is_found(steps: list[Step]) -> None:
    history = told(steps, World(START).steps(steps))
    answer = copy.deepcopy(history.answers[10])
    answer["results"][0]["status"] = "unchanged"
    history.answers[10] = answer
    assert kinds(history) == {"answer"}


def test_two_first_answers_are_found(steps: list[Step]) -> None:
    history = told(steps, World(START).steps(steps))
    history.answers.append(history.answers[3])
    assert kinds(history) == {"twice"}
    history.answers[-1] = {**history.answers[3], "duplicate": True}
    assert not check(history)


def test_a_batch_never_answered_is_found(steps: list[Step]) -> None:
    history = told(steps, World(START).steps(steps))
    del history.answers[7]
    assert kinds(history) == {"answer"}


def test_a_state_that_differs_is_found(steps: list[Step]) -> None:
    history = told(steps, World(START).steps(steps))
    found = history.records["C-1"]
    assert found
    history.records = {**history.records, "C-1": {**found, "level": "blocked"}}
    assert kinds(history) == {"state"}


def test_a_lost_event_is_found(steps: list[Step]) -> None:
    history = told(steps, World(START).steps(steps))
    ends = [e for e in history.events if e["event"] == "trust.ended"]
    if not ends:
        pytest.skip("no promise ended in this life")
    history.events = [e for e in history.events if e is not ends[0]]
    assert kinds(history) == {"events"}


# -- what the ledger does not show: the same faults, seen from what the commands do ----------------------------------


def sent(*batches: tuple[Command, ...]) -> list[Step]:
    """Batches with the witness around them."""
    first, last = ({"op": "bind", "sub": s, "addresses": [WITNESS]} for s in (HAND, MARK))
    return [Sent(n, f"b-{n}", (first, *middle, {**last, "sub": f"{MARK}{n}"})) for n, middle in enumerate(batches)]


BLOCK: Command = {"op": "block", "sub": "C-1", "reason": "debt", "invoices": ["F-1"], "ref": "T-1", "rev": 1}
TRUST: Command = {"op": "trust", "sub": "C-1", "until": UNTIL, "rev": 2}
END: Command = {"op": "untrust", "sub": "C-1", "rev": 3}


def without_ledger(steps: list[Step], happened: list[Step]) -> set[str]:
    """What is found where the ledger says that all is well."""
    history = told(steps, World(START).steps(happened))
    others = [e for e in history.events if e.get("address") != WITNESS]
    ledger = [e for e in World(START).steps(steps).events if e.get("address") == WITNESS]
    history.events = [*ledger, *others]
    truth = World(START).steps(steps)
    history.answers = [{"id": n, "duplicate": False, **a} for n, a in truth.answers.items()]
    return kinds(history)


def test_a_lost_command_shows_in_the_state() -> None:
    steps = sent((BLOCK,), (TRUST,))
    assert without_ledger(steps, steps[:1]) == {"state"}


def test_a_promise_given_twice_shows_in_what_it_spent() -> None:
    """Behind its end it would be refused, were it not for a gateway that forgot the first time altogether."""
    steps = sent((BLOCK,), (TRUST,), (END,))
    assert isinstance(steps[1], Sent)
    world = World(START).steps(steps)
    world.step(again(steps[1]))
    assert world.answers["b-1-again"]["results"][1]["code"] == "stale"  # rev holds it off, and without rev ...
    bare = steps[1]._replace(commands=tuple({k: v for k, v in c.items() if k != "rev"} for c in steps[1].commands))
    world.step(bare._replace(name="bare"))
    assert world.answers["bare"]["results"][1]["code"] == "trust_spent"
    world.subs["C-1"].spent["F-1"] = 2
    history = told(steps, world)
    history.events = World(START).steps(steps).events
    assert kinds(history) == {"state"}


def test_an_unblock_before_its_block_shows_in_the_state_and_with_rev_in_the_answer() -> None:
    block: Command = {"op": "block", "sub": "C-1", "reason": "operator", "ref": "T-1"}
    unblock: Command = {"op": "unblock", "sub": "C-1", "reason": "operator"}
    known: Command = {"op": "bind", "sub": "C-1", "addresses": []}
    bare = sent((known,), (block,), (unblock,))
    assert without_ledger(bare, [bare[0], bare[2], bare[1]]) == {"state"}
    numbered = sent((known,), ({**block, "rev": 1},), ({**unblock, "rev": 2},))
    happened = told(numbered, World(START).steps([numbered[0], numbered[2], numbered[1]]))
    assert kinds(happened) == {"answer", "order"}


# -- behind a crash ------------------------------------------------------------------------------------------------


def test_any_prefix_passes_behind_a_crash(steps: list[Step]) -> None:
    for n in range(len(steps)):
        world = World(START).steps(steps[:n])
        assert not check(told(steps, world, complete=False)), n


def test_a_prefix_without_what_was_answered_is_found(steps: list[Step]) -> None:
    at, _ = picked(steps)
    history = told(steps, World(START).steps(steps[: at + 1]), complete=False)
    left = World(START).steps(steps[:at])
    history.events, history.records = left.events, {n: record(left, n) for n in NAMES}
    assert kinds(history) == {"lost"}


def test_a_hole_behind_a_crash_is_found(steps: list[Step]) -> None:
    at, batch = picked(steps)
    world = World(START).steps([s for s in steps[: at + 5] if s != batch])
    assert "order" in kinds(told(steps, world, complete=False))


def test_the_ledger_reads_the_numbers() -> None:
    steps = sent((BLOCK,), (TRUST,), (END,))
    assert took_effect(World(START).steps(steps).events) == [0, 1, 2]
