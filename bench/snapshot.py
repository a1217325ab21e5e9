"""A snapshot of a million subscribers from the broker to the kernel, and what a single command beside it has to wait.

Signed chunks as ``edged.client`` makes them, so large and so many unanswered at a time, into an empty daemon: a binding
for everybody and a debt for every second one. The time runs from the first publish to the final answer. Then the same
again with one subscriber in a hundred changed. Beside both, in the same run: the bare kernel load of as many restricted
addresses. All chunks are signed before. Broker and senders have the first core, the daemon and the bare load the last.
"""

from __future__ import annotations

import contextlib
import json
import time
from typing import Any, NamedTuple

import numpy as np

from edged.client.snapshots import IN_FLIGHT, PART_COMMANDS
from edged.domain import digest

from . import people, state
from .bare import load
from .common import MILLION, BenchError, Row, median, need, percentile, pinned, result, say
from .guest import BLOCKED, GUEST, GUEST_ADDRESS, Guest
from .pace import calibrate
from .rig import ANSWERS, CHUNKS, Rig

CHUNK, WINDOW = PART_COMMANDS, IN_FLIGHT
IDLE = 200
"""Commands in each measurement of the idle time."""
LONGEST = 240.0
"""Seconds after which a snapshot is given up."""
WANTED, MOST_MB = 10, 250


class Sent(NamedTuple):
    """Moments of a snapshot."""

    began: float
    gathered: float
    """All chunks are in."""
    ended: float
    answer: dict[str, Any]

    @property
    def seconds(self) -> float:
        return self.ended - self.began


def run(members: int = MILLION) -> dict[str, Any]:
    """One snapshot, one resync; about two minutes."""
    need("ip", "nft", "mosquitto")
    texts = people.texts(np.sort(people.addresses(0, members)))
    with Rig() as rig:
        rig.start()
        with pinned(rig.home):
            return _measure(rig, texts)


def _measure(rig: Rig, texts: list[str]) -> dict[str, Any]:
    members = len(texts)
    bare = [load(members // 2, rig.away) for _ in range(2)]
    loops = [calibrate(rig.away)]
    chunks = _chunks(rig, "first", texts, set())
    say(f"ready: {len(chunks)} chunks, {sum(map(len, chunks)) >> 20} MiB")
    wire = rig.wire("bench-erp", ANSWERS, patience=LONGEST)
    with contextlib.closing(Guest(rig, LONGEST)) as guest:
        guest.times(IDLE)  # an empty daemon; not counted
        with guest.busy():
            told = _send(rig, wire, "first", chunks)
        beside = guest.taken
        idle = guest.times(IDLE)
        _check(rig, told, texts, set(), {"added": members, "changed": 0, "removed": 0})
        say(f"first: {told.seconds:.1f} s, of which {told.gathered - told.began:.1f} s until its chunks were in")
        loops.append(calibrate(rig.away))
        bare += [load(members // 2, rig.away) for _ in range(2)]
        # Two in two hundred: one who was open is walled, one who was walled is free.
        flipped = {n for at in range(0, members, 200) for n in (at, at + 1)}
        chunks = _chunks(rig, "second", texts, flipped)
        again = _send(rig, wire, "second", chunks)
        _check(rig, again, texts, flipped, {"added": 0, "changed": len(flipped), "removed": 0})
        idle += guest.times(IDLE)
    wire.close()
    say(f"again with 1 % changed: {again.seconds:.1f} s")
    loops.append(calibrate(rig.away))
    bare += [load(members // 2, rig.away) for _ in range(2)]
    return _report(rig, members, told, again, bare, beside, idle, loops)


def _chunks(rig: Rig, sync: str, texts: list[str], flipped: set[int]) -> list[bytes]:
    """A binding for everybody, a debt for the odd numbers, otherwise for the flipped; nobody in two chunks."""
    people = [[f'{{"op":"bind","sub":"{GUEST}","addresses":["{GUEST_ADDRESS}"]}}']]
    for n, text in enumerate(texts):
        sub = state.name(n)
        people.append([f'{{"op":"bind","sub":"{sub}","addresses":["{text}"]}}'])
        if (n % 2 == 1) != (n in flipped):
            owed = state.invoice(n, int(n in flipped))
            people[-1].append(f'{{"op":"block","sub":"{sub}","reason":"debt","invoices":["{owed}"]}}')
    arrays: list[list[str]] = [[]]
    for commands in people:
        if len(arrays[-1]) + len(commands) > CHUNK:
            arrays.append([])
        arrays[-1] += commands
    head = {"sync": sync, "parts": len(arrays)}
    return [rig.signed({**head, "part": i}, f"[{','.join(a)}]".encode()) for i, a in enumerate(arrays, 1)]


def _digest(members: int, flipped: set[int]) -> int:
    """The digest of the desired state as it must be in the end, the guest free."""
    walled = np.arange(members) % 2 == 1
    total = sum(state.totals_of(np.sort(people.addresses(0, members)), walled, invoices=True).shards)
    total += digest.binding(GUEST, GUEST_ADDRESS)
    for n in flipped:
        total += -state.debt_number(n, state.invoice(n, 0)) if n % 2 else state.debt_number(n, state.invoice(n, 1))
    return total % digest.MODULUS


def _send(rig: Rig, wire: Any, sync: str, chunks: list[bytes]) -> Sent:
    """Publish and await the final answer; ``wire`` hears the answers, those to other commands, too."""
    began, flying, at = time.monotonic(), 0, 0
    gathered = began
    missing = set(range(1, len(chunks) + 1))
    try:
        while True:
            while flying < WINDOW and at < len(chunks):
                wire.publish(CHUNKS, chunks[at])
                at, flying = at + 1, flying + 1
            moment, payload = wire.receive()
            if moment > began + LONGEST:
                raise TimeoutError
            found = json.loads(payload)
            if found.get("sync") != sync:
                if found.get("id") == sync or found.get("summary", {}).get("rejected"):
                    raise BenchError(f"a message was refused: {payload[:600].decode(errors='replace')}")
                continue
            if "part" in found:
                missing.discard(found["part"])
                flying, gathered = flying - 1, moment
            elif missing:
                raise BenchError(f"a final answer before all chunks were answered: {payload[:600]!r}")
            else:
                return Sent(began, gathered, moment, found)
    except TimeoutError:
        raise BenchError(f"no final answer within {LONGEST:g} s; the daemon's log:\n{rig.log()}") from None


def _check(rig: Rig, told: Sent, texts: list[str], flipped: set[int], counts: dict[str, int]) -> None:
    """The answer, the store, and the kernel say what the snapshot said."""
    document, members = told.answer, len(texts)
    wanted = _digest(members, flipped)
    known = {word: document["counts"][word] for word in counts}
    right = known == counts and not document["summary"]["rejected"] and not document["results"]
    # When the answer was written the guest may have been blocked; it is free by now.
    if not right or int(document["hash"], 16) not in (wanted, (wanted + BLOCKED) % digest.MODULUS):
        short = {word: document[word] for word in ("counts", "summary", "hash")} | {"results": document["results"][:3]}
        raise BenchError(f"expected {counts} and the digest {wanted:016x}, the final answer says {short}")
    if rig.digest() != wanted:
        raise BenchError("the digest of the desired state is not that of the snapshot")
    walled = members // 2
    rig.levels({"walled": walled, "open": members - walled + 1}, walled)
    some = [n for at in range(0, members, max(200, members // 50 // 200 * 200)) for n in range(at, at + 6)]
    restricted = [n for n in some if (n % 2 == 1) != (n in flipped)]
    rig.kernel([texts[n] for n in restricted], [texts[n] for n in some if n not in restricted])


def _report(
    rig: Rig,
    members: int,
    told: Sent,
    again: Sent,
    bare: list[float],
    beside: list[tuple[float, float]],
    idle: list[float],
    loops: list[float],
) -> dict[str, Any]:
    usual, peak = median(bare), rig.peak() / 1e6
    rows = [
        Row(f"snapshot of {members:,} subscribers, broker to kernel, as a multiple", told.seconds, usual, "s",
            "bare kernel load", told.seconds / usual),
        Row("the same again with 1 % changed, as a multiple", again.seconds, usual, "s", "bare kernel load",
            again.seconds / usual),
    ]  # fmt: skip
    phases = {
        "while its chunks come": [t for at, t in beside if at < told.gathered],
        "while it is carried out": [t for at, t in beside if told.gathered <= at < told.ended],
    }
    for phase, times in phases.items():
        if not times:
            raise BenchError(f"no command was answered {phase}")
        for word, pick in (("median", median), ("p99", lambda values: percentile(values, 0.99))):
            share = pick(times) / pick(idle)
            bar, met = (f"≤ {WANTED}", share <= WANTED) if word == "median" else ("", None)
            rows.append(
                Row(f"one command beside it, {phase}, {word}, as a multiple", pick(times) * 1e3, pick(idle) * 1e3,
                    "ms", "one command, idle", share, bar, met)
            )  # fmt: skip
    rows.append(
        Row("peak memory of the daemon", peak, MOST_MB, "MB", "the bar", MOST_MB / peak, f"≤ {MOST_MB} MB",
            peak <= MOST_MB)
    )  # fmt: skip
    return result(
        "snapshot",
        told.seconds / usual,
        rows,
        resync_ratio=round(again.seconds / usual, 2),
        seconds_in_all={"first": round(told.seconds, 2), "again": round(again.seconds, 2)},
        seconds_until_gathered={
            "first": round(told.gathered - told.began, 2), "again": round(again.gathered - again.began, 2)
        },
        bare_s=[round(x, 3) for x in bare],
        commands_beside={phase: len(times) for phase, times in phases.items()},
        slowest={f"{at - told.began:.1f} s": f"{t * 1e3:.0f} ms" for at, t in sorted(beside, key=lambda x: -x[1])[:5]},
        million_loops_per_s=[round(x, 2) for x in loops],
    )  # fmt: skip
