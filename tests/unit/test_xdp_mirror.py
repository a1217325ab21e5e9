"""The mirror: told what the sets hold, refused here and there, and never the sets' trouble."""

from __future__ import annotations

import contextlib
import errno
import random
from collections.abc import Mapping
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from edged.domain.entry import Entry
from edged.domain.levels import Level
from edged.errors import EdgedError
from edged.nft.garden import Opening
from edged.plan import Copy, Owned
from edged.xdp import layout
from edged.xdp.layout import Answers, Held, Settings
from edged.xdp.mirror import SCARCE, Mirror
from tests.refusing_maps import RefusingMaps, Said, from_maps, from_sets
from tests.unit.core import Core

SETTINGS = Settings(Answers(b"found", b"found", b"bad"))
KEY = b"\x04\x64\x40\x00\x0a"
PREFIX = b"\x38" + bytes.fromhex("20010db8010001000000000000000000")


class Followed(Core):
    """A core whose enforcer is followed. ``steady`` goes with the clock; ``stopped`` counts."""

    def __init__(self, directory: Path) -> None:
        self.maps = RefusingMaps()
        self.heard: list[EdgedError | None] = []
        self.stopped = 0
        super().__init__(directory)

    def start(self) -> None:
        self.mirror = Mirror(
            self.maps, SETTINGS, stop=self._stop, heard=self.heard.append, steady=lambda: self.now * 1_000_000
        )
        super().start()

    def _stop(self) -> None:
        self.stopped += 1

    def refill(self) -> None:
        self.enforcer.follower = self.mirror
        super().refill()

    def follow(self) -> None:
        for _ in self.enforcer.follow(self.store, lambda: self.now):
            pass

    def in_maps(self) -> Said:
        return from_maps(self.maps, self.now)

    def mirrored(self) -> bool:
        """Whether the maps say what the sets say."""
        return self.in_maps() == from_sets(self)


def block(sub: str, **more: Any) -> dict[str, Any]:
    return {"op": "block", "sub": sub, "reason": "debt", **more}


def cut(sub: str) -> dict[str, Any]:
    return {"op": "block", "sub": sub, "reason": "abuse", "level": "blocked"}


def slow(sub: str) -> dict[str, Any]:
    return block(sub, level="reduced", rate=512)


@pytest.fixture
def core(tmp_path: Path) -> Followed:
    return Followed(tmp_path)


def test_a_block_a_promise_and_a_payment_reach_the_maps(core: Followed) -> None:
    core.send({"op": "bind", "sub": "C-1", "addresses": ["100.64.0.10", "2001:db8:100:100::/56"]}, block("C-1"))
    assert core.in_maps() == {KEY: (3, 0, 0), PREFIX: (3, 0, 0)}
    core.send({"op": "trust", "sub": "C-1", "hours": 1})
    assert core.in_maps() == dict.fromkeys((KEY, PREFIX), (3, 0, core.now + 3600000))
    assert core.mirror.truth(KEY) == Copy(3, 0, 3_600_000)
    core.wait(3_600_000)
    assert core.in_maps() == {KEY: (3, 0, 0), PREFIX: (3, 0, 0)}
    core.send(cut("C-1"))
    assert core.in_maps()[KEY] == (4, 0, 0)
    core.send({"op": "unblock", "sub": "C-1", "reason": "abuse"}, {"op": "paid", "sub": "C-1"})
    assert core.in_maps() == {}
    assert core.mirror.truth(KEY) is None
    assert core.stopped == 0


def test_a_promise_that_leaves_somebody_walled_is_none_for_the_sets_and_none_here() -> None:
    from edged.xdp.mirror import held

    assert held(Owned(1, Entry(4, 0, 3, 2000)), 1000, 5) == Held(4)
    assert held(Owned(1, Entry(4, 0, 2, 2000)), 1000, 5) == Held(4, 2, 5 + 1_000_000_000)


def test_a_refill_reaches_them_all_and_only_the_switch_shows_it(core: Followed) -> None:
    core.send(*(block(f"100.64.1.{n}") for n in range(40)))
    core.send(*(cut(f"100.64.1.{n}") for n in range(10)))
    core.send(*(slow(f"100.64.1.{n}") for n in range(20, 30)))
    assert core.mirrored()
    before = core.maps.live
    steps = core.enforcer.refill(core.store, lambda: core.now)
    next(steps)
    core.send(block("100.64.2.1"), {"op": "paid", "sub": "100.64.1.39"})
    assert core.maps.live is before
    assert core.mirrored()
    for _ in steps:
        pass
    assert core.maps.live is not before
    assert core.mirrored()
    assert len(core.in_maps()) == 40
    assert core.maps.leaked == 0


def test_restart_goes_on_with_what_is_there_until_the_switch(core: Followed) -> None:
    core.send(block("100.64.0.10"))
    before = core.maps.live
    core.maps.generations.clear()
    core.restart()
    assert core.maps.live is not before
    assert (core.mirror.true, core.mirror.fills) == (True, 1)
    assert core.mirrored()


@pytest.mark.parametrize("method", ["begin", "write", "delete", "switch", "set_gardens", "discard"])
def test_a_refusal_of_the_maps_stops_the_program_and_harms_no_set(core: Followed, method: str) -> None:
    core.send(block("100.64.0.10"))
    core.maps.failures = [(method, errno.ENOMEM)]
    core.heard.clear()
    if method in {"write", "delete"}:
        order = block("100.64.0.11") if method == "write" else {"op": "paid", "sub": "100.64.0.10"}
        assert core.status(order) == ["applied"]
        assert core.enforcer.synced
    elif method == "discard":
        next(core.enforcer.refill(core.store, lambda: core.now))
        core.refill()  # the one before it was given up
    else:
        core.enforcer.set_gardens({"open": [Opening(ip_network("198.51.100.0/24"))], "garden": []})
        core.refill()
        assert core.enforcer.synced
    assert core.maps.failures == []
    assert core.stopped == 1
    assert "ENOMEM" in str(core.heard[0])
    if method in {"write", "delete", "begin", "switch"}:
        assert not core.mirror.true
        assert core.mirror.wanted
        assert "ENOMEM" in core.mirror.error
    core.follow()
    assert core.mirror.true
    assert (core.mirror.wanted, core.mirror.error) == (False, "")
    assert core.heard[-1] is None
    assert core.mirrored()
    assert core.maps.leaked == (method == "discard")


def test_larger_maps_are_wanted_before_these_are_full(core: Followed) -> None:
    core.mirror._room[4] = SCARCE + 2
    seen = []
    for crowd in ((1,), (2, 3)):
        core.send(*(block(f"100.64.1.{n}") for n in crowd))
        seen.append((core.mirror.wanted, core.mirror.true))
    assert seen == [(False, True), (True, True)]
    assert core.stopped == 0
    core.follow()
    assert core.mirror._room[4] > SCARCE + 2
    assert core.mirrored()


def test_maps_that_are_full_are_filled_anew_larger(core: Followed) -> None:
    core.maps.live.sizes = (3, 3)  # type: ignore[union-attr]
    core.send(*(block(f"100.64.1.{n}") for n in range(5)))
    assert core.stopped == 1
    core.follow()
    assert core.mirrored()
    assert len(core.in_maps()) == 5


def test_a_fault_of_ours_is_caught_too(core: Followed, monkeypatch: pytest.MonkeyPatch) -> None:
    def fault(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(core.maps, "write", fault)
    assert core.status(block("100.64.0.10")) == ["applied"]
    assert core.enforcer.truth(KEY) == {"restricted": 0}
    assert "ZeroDivisionError" in str(core.heard[-1])


def test_a_change_that_the_kernel_refuses_does_not_reach_the_maps(core: Followed) -> None:
    core.kernel.failures = [errno.EBUSY]
    core.send(block("100.64.0.10"))
    assert core.in_maps() == {}
    core.refill()
    assert core.mirrored()
    assert core.in_maps() == {KEY: (3, 0, 0)}


def test_a_refill_that_fails_gives_its_maps_back(core: Followed) -> None:
    core.send(block("100.64.0.10"))
    core.kernel.failures = [0, errno.ENOMEM]
    with pytest.raises(EdgedError):
        core.refill()
    assert core.maps.leaked == 0
    assert core.mirrored()
    assert core.mirror.true


def test_filling_the_maps_alone_makes_way_for_a_refill(core: Followed) -> None:
    core.send(block("100.64.0.10"))
    alone = core.enforcer.follow(core.store, lambda: core.now)
    next(alone)
    refill = core.enforcer.refill(core.store, lambda: core.now)
    next(refill)
    assert list(alone) == []
    fills = core.mirror.fills
    for _ in refill:
        pass
    assert core.mirror.fills == fills + 1
    assert core.mirrored()
    assert core.maps.leaked == 0


def test_filling_the_maps_alone_takes_changes_along(core: Followed) -> None:
    core.send(*(block(f"100.64.1.{n}") for n in range(5)))
    alone = core.enforcer.follow(core.store, lambda: core.now)
    next(alone)
    core.send(block("100.64.2.1"), {"op": "paid", "sub": "100.64.1.1"}, cut("100.64.1.2"))
    for _ in alone:
        pass
    assert core.mirrored()
    assert len(core.in_maps()) == 5


def test_a_snapshot_shows_in_the_maps_when_it_shows_in_the_sets(core: Followed) -> None:
    core.send({"op": "bind", "sub": "C-1", "addresses": ["100.64.0.10"]}, block("C-1"))
    bound = [{"op": "bind", "sub": f"C-{n}", "addresses": [f"100.64.0.{n + 9}"]} for n in (1, 2, 3)]
    core.chunk([*bound, block("C-2"), slow("C-3")], 1, 1)
    steps = core.begin_snapshot()
    for _ in steps:
        assert core.in_maps() == {KEY: (3, 0, 0)}
    assert list(core.enforcer.follow(core.store, lambda: core.now)) == [], "the store is ahead of the sets"
    core.send({"op": "paid", "sub": "C-2"}, block("C-1"))
    assert core.mirrored()
    core.end_snapshot(steps)
    assert core.mirrored()
    assert set(core.in_maps().values()) == {(3, 0, 0), (2, 0, 0)}


def test_gardens_reach_the_maps_once(core: Followed) -> None:
    openings = {"open": [Opening(ip_network("198.51.100.0/24"), 6, 6, 443, 443)], "garden": []}
    core.enforcer.set_gardens(openings)
    assert core.maps.gardens == {"open": [ip_network("198.51.100.0/24")], "garden": []}
    core.maps.failures = [("set_gardens", errno.ENOMEM)]
    core.enforcer.set_gardens(openings)
    assert core.stopped == 0


ORDERS: Mapping[str, Any] = {
    "block": block,
    "cut": cut,
    "slow": slow,
    "remind": lambda s: {"op": "block", "sub": s, "reason": "notice"},
    "clear": lambda s: {"op": "unblock", "sub": s, "reason": "abuse"},
    "paid": lambda s: {"op": "paid", "sub": s},
    "trust": lambda s: {"op": "trust", "sub": s, "hours": 1},
    "dispute": lambda s: {"op": "defer", "sub": s, "kind": "dispute", "until": "2026-12-24T12:00:00Z"},
}


@pytest.mark.parametrize("seed", range(4))
def test_after_any_walk_the_maps_say_what_the_sets_say(core: Followed, seed: int) -> None:
    rng = random.Random(seed)
    people = [f"C-{n}" for n in range(12)]
    core.send(*(bound(n, n) for n in range(12)))
    for _ in range(90):
        chance = rng.random()
        if chance < 0.06:
            core.kernel.failures = []
            core.restart()
        elif chance < 0.12:
            core.kernel.failures = [errno.EBUSY]
        elif chance < 0.2:
            core.maps.failures = [(rng.choice(["write", "delete", "begin", "switch"]), errno.ENOMEM)]
        elif chance < 0.3:
            core.wait(rng.choice([1, 1_800_000, 7_200_000]))
        elif chance < 0.36:
            steps = core.enforcer.refill(core.store, lambda: core.now)
            with contextlib.suppress(EdgedError):
                for _ in range(rng.randint(0, 6)):
                    next(steps, None)
                    core.send(ORDERS[rng.choice(list(ORDERS))](rng.choice(people)))
            steps.close()  # a daemon would not leave one half done; the next one begins anew all the same
        elif chance < 0.42:
            core.send(bound(rng.randrange(12), rng.randrange(12)))
        core.send(*(ORDERS[rng.choice(list(ORDERS))](rng.choice(people)) for _ in range(rng.randint(1, 4))))
        if not core.enforcer.synced:
            core.kernel.failures = []
            core.refill()
        if core.mirror.wanted:
            core.maps.failures = []
            core.follow()
        assert core.mirror.true
        assert core.mirrored()
    assert len(core.in_maps()) > 0


def bound(person: int, address: int) -> dict[str, Any]:
    return {
        "op": "bind",
        "sub": f"C-{person}",
        "addresses": [f"100.64.0.{address}", f"2001:db8:100:{address:x}00::/56", f"2001:db8:200:{address:x}::/64"],
    }


def test_levels_are_those_of_the_header() -> None:
    assert (Level.WALLED, Level.BLOCKED) == (3, 4)
    assert layout.VERSION == 3
