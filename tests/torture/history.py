"""The judge: from what was sent, what was answered and what is left, whether anything was lost, doubled or misplaced.

Pure. It replays the batches in the order they were sent through the naive model, and holds against it: the ledger of
the witness (see ``stream``), each answer heard, the events, and the state that is left.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from tests.torture.model import World
from tests.torture.steps import GHOST, HAND, MARK, WITNESS, Chunk, Sent, Step, number_of


class Violation(NamedTuple):
    """``kind``: lost, twice, order, halves, answer, events or state."""

    kind: str
    detail: str


@dataclass
class History:
    """One run. ``answers`` in the order in which they were heard, ``events`` in the order of their numbers."""

    start: int
    """Unix ms of the clock's first moment."""
    steps: Sequence[Step]
    answers: list[dict[str, Any]] = field(default_factory=list)
    events: Sequence[Mapping[str, Any]] = ()
    records: Mapping[str, Mapping[str, Any] | None] = field(default_factory=dict)
    """The subscribers looked at in the end, None for those that are not known."""
    digest: str = ""
    """The gateway's own of its state; empty where it was not asked."""
    complete: bool = True
    """Everything was delivered until it was answered. Else: the state behind a crash, before anything came again."""


def check(history: History) -> list[Violation]:
    """Everything that is wrong, the plainest first; empty when all is well."""
    found = list(_ledger(history))
    found += _answers(history)
    if not found:  # with a batch lost or doubled, everything behind it differs as well
        found += _rest(history)
    return found


# -- the ledger ---------------------------------------------------------------------------------------------------


def took_effect(events: Iterable[Mapping[str, Any]]) -> list[int]:
    """The numbers of the batches that took effect, in order, as often as they did."""
    out: list[int] = []
    for to in _moves(events):
        if to.startswith(MARK):
            out.append(number_of(to, out[-1] + 1 if out else 0))
    return out


def _moves(events: Iterable[Mapping[str, Any]]) -> list[str]:
    return [e["to"] for e in events if e.get("event") == "address.moved" and e["address"] == WITNESS]


def _ledger(history: History) -> Iterator[Violation]:
    moves = _moves(history.events)
    for n, to in enumerate(moves):  # out of the hand, and back into it
        if (to == HAND) == (n % 2 == 0):
            yield Violation("halves", f"move {n} of the witness is to {to}: a batch took effect by halves")
            break
    if moves and moves[-1] == HAND:
        yield Violation("halves", "the witness is left in the hand: the last batch took effect by halves")
    numbers = took_effect(history.events)
    for number, n in Counter(numbers).items():
        if n > 1:
            yield Violation("twice", f"batch {number} took effect {n} times")
    highest = -1
    for number in numbers:
        if number < highest:
            yield Violation("order", f"batch {number} took effect after batch {highest}")
        highest = max(highest, number)
    sent = {s.name: s.number for s in history.steps if isinstance(s, Sent) and s.number >= 0}
    answered = {sent[a["id"]] for a in history.answers if a.get("id") in sent}
    present = set(numbers)
    for number in sorted(answered - present):
        yield Violation("lost", f"batch {number} was answered and did not take effect")
    missing = set(sent.values()) - present - answered
    if history.complete:
        for number in sorted(missing):
            yield Violation("lost", f"batch {number} was delivered until the end and did not take effect")
    elif missing and min(missing) < highest:
        yield Violation("order", f"batch {highest} took effect and batch {min(missing)} did not")


# -- the answers --------------------------------------------------------------------------------------------------


def _answers(history: History) -> Iterator[Violation]:
    expected = World(history.start).steps(history.steps).answers
    syncs = {s.sync for s in history.steps if isinstance(s, Chunk)}
    refused = {s.name for s in history.steps if isinstance(s, Sent) and s.number < 0}  # and so each time anew
    first: Counter[str] = Counter()
    heard: set[str] = set()
    for answer in history.answers:
        name = answer.get("id")
        heard.add(str(name))
        if name in syncs and (answer.get("sync") == name or {r.get("code") for r in answer["results"]} == {"stale"}):
            continue  # the answer to a chunk, perhaps of a snapshot displaced since; that to the whole is an event
        if not isinstance(name, str) or name not in expected:
            yield Violation("answer", f"{name} was never sent, and is answered")
            continue
        first[name] += not answer["duplicate"] and name not in refused
        wanted, got = _comparable(expected[name], answer["duplicate"]), _comparable(answer, answer["duplicate"])
        if wanted != got:
            yield Violation("answer", f"{name}: {_difference(wanted, got)}")
    for name, n in first.items():
        if n > 1:
            yield Violation("twice", f"{name} was answered {n} times as if it had not been seen before")
    for name in [*expected, *sorted(syncs)] if history.complete else ():
        if name not in heard:
            yield Violation("answer", f"{name} was never answered")


def _comparable(answer: Mapping[str, Any], again: bool) -> dict[str, Any]:
    results = [(r["i"], r["sub"], r["status"], r.get("code")) for r in answer["results"]]
    # What was said of a forgotten subscriber is not said again.
    return {
        "gap": answer.get("gap"),
        "summary": {k: n for k, n in answer["summary"].items() if n},
        "results": [r for r in results if not again or not str(r[1]).startswith(GHOST)],
    }


def _difference(wanted: Any, got: Any) -> str:
    """Where two values differ, in one line."""
    if isinstance(wanted, dict) and isinstance(got, dict):
        keys = [k for k in {**wanted, **got} if wanted.get(k) != got.get(k)]
        return f"{keys[0]}: {_difference(wanted.get(keys[0]), got.get(keys[0]))}"
    if isinstance(wanted, list) and isinstance(got, list):
        n = next((i for i, (a, b) in enumerate(zip(wanted, got, strict=False)) if a != b), min(len(wanted), len(got)))
        return f"{n}: {_difference(*(x[n] if n < len(x) else 'nothing' for x in (wanted, got)))}"
    return f"{got!r:.300} instead of {wanted!r:.300}"


# -- events and state ---------------------------------------------------------------------------------------------


def _rest(history: History) -> Iterator[Violation]:
    """Behind a crash the clock may have been moved or not, when that was all that came behind the last batch."""
    problems: list[Violation] = []
    for world in _possible(history):
        problems = [*_snapshots(history, world), *_events(history, world), *_state(history, world)]
        if not problems:
            return
    yield from problems


def _possible(history: History) -> Iterator[World]:
    if history.complete:
        yield World(history.start).steps(history.steps)
        return
    left = set(took_effect(history.events))
    world = World(history.start)
    for step in history.steps:
        if isinstance(step, Sent) and step.number >= 0 and step.number not in left:
            break
        if not isinstance(step, Sent):
            yield world
        world.step(step)
    yield world


def _snapshots(history: History, world: World) -> Iterator[Violation]:
    """Each complete snapshot is answered once, with the digest of a state that there was while it was carried out."""
    finals: dict[str, list[str]] = {name: [] for name in world.snapshots}
    for e in history.events:
        if "counts" in e:
            finals.setdefault(e["sync"], []).append(e["hash"])
    for name, hashes in finals.items():
        if len(hashes) != 1:
            yield Violation("lost" if not hashes else "twice", f"snapshot {name} was finished {len(hashes)} times")
        elif hashes[0] not in world.snapshots.get(name, ()):
            yield Violation("state", f"snapshot {name} was finished in a state with the digest {hashes[0]}")


def _events(history: History, world: World) -> Iterator[Violation]:
    wanted, got = _by_subject(world.events), _by_subject(history.events)
    if wanted != got:
        yield Violation("events", f"events of {_difference(wanted, got)}")


def _by_subject(events: Iterable[Mapping[str, Any]]) -> dict[str, list[tuple[str, ...]]]:
    out: dict[str, list[tuple[str, ...]]] = {}
    for e in events:
        if e.get("event") not in {"address.moved", "trust.ended", "resync.wanted"}:
            continue
        told = tuple(str(e[k]) for k in ("event", "from", "to", "outcome", "epoch", "expected", "got") if k in e)
        subject = str(e.get("address") or e.get("sub") or (e.get("issuer"), e.get("stream")))
        if not any(t.startswith(GHOST) for t in (subject, *told)):
            out.setdefault(subject, []).append(told)
    return out


def _state(history: History, world: World) -> Iterator[Violation]:
    if history.digest and history.digest != world.digest():
        yield Violation("state", f"the digest is {history.digest} instead of {world.digest()}")
    for name, record in history.records.items():
        wanted, got = world.state(name), seen(record)
        if wanted != got:
            yield Violation("state", f"{name}: {_difference(wanted, got)}")


def seen(record: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """A record (as ``query`` gives it) as far as the model knows it."""
    if record is None:
        return None
    running = record["promise"]["running"]
    return {
        "level": record["level"],
        "rev": record["rev"],
        "reasons": {
            r["reason"]: (r["ref"], sorted((i["id"], i["promises_spent"]) for i in r["invoices"]))
            for r in record["reasons"]
        },
        "promise": (_milliseconds(running["until"]), sorted(running["invoices"] or ())) if running else None,
        "breached": record["promise"]["breached"],
        "addresses": {a["address"]: sorted((a["kernel"] or {}).get("sets", ["?"])) for a in record["addresses"]},
    }


def _milliseconds(text: str) -> int:
    return round(dt.datetime.fromisoformat(text).timestamp() * 1000)
