"""The laws of edged/clock.py. No test looks at this machine's own clocks, but for the one that asks its kernel."""

from __future__ import annotations

import itertools
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edged import clock as module
from edged.clock import AHEAD_NS, ASK_NS, EARLIEST_NS, STEP_NS, Clock, kernel_synced

SECOND = 1_000_000_000
MINUTE, HOUR, DAY = 60 * SECOND, 3600 * SECOND, 86_400 * SECOND
YEARS = 3653 * DAY
T0 = 1_795_000_000 * SECOND
LAST = T0 // 1_000_000
"""What the store knows of in most tests: the very moment of the start."""


class World:
    """A machine: a clock on the wall that can be set, one that cannot, a kernel that says whether NTP has spoken."""

    def __init__(self, wall: int = T0, synced: bool | None = True) -> None:
        self.wall, self.steady, self.synced = wall, 5 * HOUR, synced
        self.asked: list[tuple[int, bool | None]] = []

    def ask(self) -> bool | None:
        self.asked.append((self.steady, self.synced))
        return self.synced

    def clock(self, *, required: bool = True, last: int = LAST) -> Clock:
        return Clock(required=required, last=last, wall=lambda: self.wall, steady=lambda: self.steady, synced=self.ask)

    def go(self, ns: int, *, slew: int = 0) -> None:
        self.steady += ns
        self.wall += ns + slew


def ms(ns: int) -> int:
    return ns // 1_000_000


# -- while it runs ---------------------------------------------------------------------------------------------


def test_it_goes_with_the_system_clock() -> None:
    world = World()
    clock = world.clock()
    assert (clock(), clock.trusted, clock.why) == (LAST, True, "")
    world.go(HOUR, slew=-7 * SECOND)
    assert clock() == ms(world.wall)
    world.go(8 * HOUR)  # a night's suspend: CLOCK_BOOTTIME counts it
    assert (clock(), clock.trusted) == (ms(world.wall), True)


def test_a_small_step_forward_is_followed_and_one_back_makes_it_hold_still() -> None:
    world = World()
    clock = world.clock()
    world.wall += 4 * MINUTE
    assert (clock(), clock.trusted) == (ms(T0 + 4 * MINUTE), True)
    world.wall -= 3 * MINUTE
    assert (clock(), clock.trusted) == (ms(T0 + 4 * MINUTE), True)
    world.go(2 * MINUTE)
    assert clock() == ms(T0 + 4 * MINUTE)
    world.go(2 * MINUTE)
    assert clock() == ms(T0 + 5 * MINUTE)


@pytest.mark.parametrize("leap", [YEARS, -YEARS, HOUR, -HOUR, STEP_NS + 1, -STEP_NS - 1])
@pytest.mark.parametrize("required", [True, False])
@pytest.mark.parametrize("last", [0, LAST])
def test_a_leap_of_a_synchronised_clock_is_refused_until_it_is_back_in_line(
    leap: int, required: bool, last: int
) -> None:
    world = World()
    clock = world.clock(required=required, last=last)
    world.wall += leap
    assert clock() == LAST
    assert not clock.trusted
    assert "leapt forward" in clock.why if leap > 0 else "leapt back" in clock.why
    assert "edged adopt-clock" in clock.why
    world.go(DAY)
    assert clock() == ms(T0 + DAY)
    assert not clock.trusted
    world.wall -= leap
    assert (clock(), clock.trusted, clock.why) == (ms(T0 + DAY), True, "")


@pytest.mark.parametrize("leap", [YEARS, -YEARS, HOUR, -HOUR])
def test_a_human_may_adopt_a_leap(leap: int) -> None:
    world = World()
    clock = world.clock()
    clock()
    world.wall += leap
    clock.adopt()
    assert (clock(), clock.trusted, clock.why) == (ms(T0 + leap), True, "")
    world.wall -= leap
    assert (clock(), clock.trusted) == (ms(T0 + leap), False)


def test_a_leap_of_a_clock_that_lost_its_synchronisation_later_is_refused_all_the_same() -> None:
    world = World()
    clock = world.clock()
    world.synced = False
    world.go(DAY)
    clock()
    world.wall += HOUR
    world.synced = True
    world.go(MINUTE)
    assert (clock(), clock.trusted) == (ms(T0 + DAY + MINUTE), False)


def test_a_sleep_between_its_two_readings_is_no_leap_to_follow() -> None:
    world, naps = World(synced=False), [0]

    def wall() -> int:
        world.go(naps.pop() if naps else 0)
        return world.wall

    clock = Clock(required=True, last=LAST, wall=wall, steady=lambda: world.steady, synced=world.ask)
    world.synced = True
    world.go(ASK_NS)
    naps.append(HOUR)
    assert clock() == ms(T0 + ASK_NS + HOUR)
    assert (clock(), clock.trusted) == (ms(T0 + ASK_NS + HOUR), True)


# -- synchronisation -------------------------------------------------------------------------------------------


def test_nothing_begins_on_an_unsynchronised_clock() -> None:
    world = World(synced=False)
    clock = world.clock()
    assert not clock.trusted
    assert "chrony" in clock.why
    assert "policy.require_synced_clock = false" in clock.why
    world.synced = True
    world.go(ASK_NS)
    assert (clock.trusted, clock.why) == (True, "")
    world.synced = False
    world.go(ASK_NS)
    assert not clock.trusted
    assert clock() == ms(world.wall)


def test_where_the_kernel_does_not_say_it_is_no_and_why_names_the_remedy() -> None:
    clock = World(synced=None).clock()
    assert not clock.trusted
    assert "adjtimex" in clock.why
    assert "policy.require_synced_clock = false" in clock.why


@pytest.mark.parametrize("synced", [False, None])
def test_where_it_is_not_required_it_is_not_missed(synced: bool | None) -> None:
    world = World(synced=synced)
    clock = world.clock(required=False)
    assert (clock.trusted, clock.why) == (True, "")
    world.wall += YEARS
    assert (clock(), clock.trusted) == (LAST, False)


def test_a_humans_word_stands_in_for_the_kernels_until_that_has_spoken() -> None:
    world = World(synced=False)
    clock = world.clock()
    clock.adopt()
    assert clock.trusted
    world.go(DAY)
    assert clock.trusted
    world.synced = True
    world.go(ASK_NS)
    assert clock.trusted
    world.synced = False
    world.go(ASK_NS)
    assert not clock.trusted


def test_the_kernel_is_asked_once_a_second() -> None:
    world = World()
    clock = world.clock()
    for _ in range(50):
        clock()
        assert clock.trusted
        world.go(SECOND // 10)
    assert len(world.asked) == 5


# -- the start -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wall", "taken"),
    [
        (T0 + HOUR, True),
        (T0 + AHEAD_NS, True),
        (T0 + AHEAD_NS + 1, False),
        (T0 - STEP_NS, True),
        (T0 - STEP_NS - 1, False),
        (T0 + YEARS, False),
        (T0 - YEARS, False),
        (0, False),
    ],
)
def test_a_start_takes_a_plausible_time_and_else_counts_on_from_the_last_known(wall: int, taken: bool) -> None:
    world = World(wall)
    clock = world.clock()
    assert clock() == max(ms(wall), LAST) if taken else LAST
    assert clock.trusted is taken
    assert bool(clock.why) is not taken
    world.go(HOUR)
    assert clock() == ms(wall + HOUR) if taken else ms(T0 + HOUR)


def test_a_restart_holds_still_where_the_clock_was_set_back_a_little() -> None:
    world = World(T0 - 2 * MINUTE)
    clock = world.clock()
    assert clock() == LAST
    world.go(MINUTE)
    assert clock() == LAST
    world.go(2 * MINUTE)
    assert clock() == ms(T0 + MINUTE)


@pytest.mark.parametrize("last", [0, LAST, ms(3 * DAY)])
def test_a_gateway_whose_battery_died_heals_when_ntp_has_set_it(last: int) -> None:
    world = World(HOUR, synced=False)
    clock = world.clock(last=last)
    assert clock() == (LAST if last == LAST else ms(HOUR))
    assert not clock.trusted
    world.go(3 * MINUTE)
    world.wall = T0 + 2 * DAY  # NTP sets it; the kernel has not been told yet
    assert clock() == (LAST if last == LAST else ms(HOUR)) + ms(3 * MINUTE)
    assert "not synchronised yet" in clock.why
    world.synced = True
    world.go(ASK_NS)
    assert (clock(), clock.trusted, clock.why) == (ms(world.wall), True, "")
    world.wall += YEARS
    assert not clock.trusted


@pytest.mark.parametrize("shift", [3 * HOUR, -3 * HOUR])
def test_a_plausible_but_wrong_start_heals_too(shift: int) -> None:
    """A hardware clock that runs in local time."""
    world = World(T0 + DAY + shift, synced=False)
    clock = world.clock()
    assert (clock(), clock.trusted) == (ms(T0 + DAY + shift), False)
    world.go(MINUTE)
    world.wall -= shift
    world.synced = True
    assert (clock(), clock.trusted) == (ms(T0 + DAY + MINUTE), True)


@pytest.mark.parametrize("leap", [YEARS, -YEARS])
def test_an_unproven_count_does_not_follow_the_kernel_to_an_implausible_time(leap: int) -> None:
    world = World(synced=False)
    clock = world.clock()
    world.go(MINUTE)
    world.wall += leap
    world.synced = True
    assert (clock(), clock.trusted) == (ms(T0 + MINUTE), False)


def test_a_lost_count_without_synchronisation_takes_a_plausible_time_where_that_is_not_required() -> None:
    world = World(0, synced=None)
    clock = world.clock(required=False)
    assert (clock(), clock.trusted) == (LAST, False)
    world.go(MINUTE)
    world.wall = T0 + DAY
    assert (clock(), clock.trusted) == (ms(T0 + DAY), True)
    world.wall += HOUR
    assert (clock(), clock.trusted) == (ms(T0 + DAY), False)


def test_a_word_of_the_kernels_from_before_the_leap_says_nothing_of_it() -> None:
    world = World(0)
    clock = world.clock()
    world.wall, world.synced = T0 + DAY, False
    assert (clock(), clock.trusted) == (LAST, False)
    world.go(ASK_NS)
    assert (clock(), clock.trusted) == (ms(T0 + ASK_NS), False)


def test_a_lost_count_that_comes_into_line_is_found() -> None:
    world = World(0, synced=False)
    clock = world.clock()
    world.go(HOUR)
    world.wall = T0 + HOUR + MINUTE
    assert clock() == ms(T0 + HOUR + MINUTE)
    assert "run chrony" in clock.why
    world.synced = True
    world.go(ASK_NS)
    assert clock.trusted


@pytest.mark.parametrize(
    ("wall", "words"),
    [
        (T0 + YEARS, "3653 days ahead of the last moment known"),
        (T0 - 3 * HOUR, "3 hours behind the last moment known"),
        (T0 - 10 * MINUTE, "10 minutes behind the last moment known"),
    ],
)
def test_why_says_how_far_it_is_off_and_does_not_change_by_the_second(wall: int, words: str) -> None:
    world = World(wall)
    clock = world.clock()
    first = clock.why
    assert words in first
    assert "edged adopt-clock" in first
    world.go(MINUTE + 7)
    assert clock.why == first


def test_a_store_that_ran_ahead_is_forgiven_when_the_synchronised_clock_has_passed_it() -> None:
    world = World(T0 - 3 * HOUR)
    clock = world.clock()
    world.go(2 * HOUR)
    assert (clock(), clock.trusted) == (ms(T0 + 2 * HOUR), False)
    world.go(HOUR)
    assert (clock(), clock.trusted) == (ms(T0), True)


# -- whatever happens ------------------------------------------------------------------------------------------

STEPS = st.one_of(
    st.tuples(st.just("go"), st.integers(0, 2 * DAY)),
    st.tuples(st.just("go"), st.integers(0, 3 * SECOND)),
    st.tuples(st.just("slew"), st.integers(-STEP_NS, STEP_NS)),
    st.tuples(st.just("set"), st.sampled_from([YEARS, -YEARS, HOUR, -HOUR, DAY, -DAY, STEP_NS + 1, -STEP_NS - 1])),
    st.tuples(st.just("set"), st.integers(-YEARS, YEARS)),
    st.tuples(st.just("right"), st.just(0)),  # NTP sets it to the true time
    st.tuples(st.sampled_from(["synced", "unsynced", "unknown"]), st.just(0)),
    st.tuples(st.just("adopt"), st.just(0)),
)


@settings(deadline=None, max_examples=300)
@given(
    required=st.booleans(),
    last=st.sampled_from([0, LAST]),
    start=st.sampled_from([0, HOUR, -HOUR, YEARS, -YEARS, -T0]),
    synced=st.sampled_from([True, False, None]),
    steps=st.lists(STEPS, max_size=40),
)
def test_the_laws_hold_whatever_happens(
    required: bool, last: int, start: int, synced: bool | None, steps: list[tuple[str, int]]
) -> None:
    world = World(T0 + start, synced)
    began = world.steady
    clock = world.clock(required=required, last=last)
    value, then, healed, adopted = clock(), world.steady, 0, False
    assert value >= last or not last
    for name, amount in steps:
        asked = len(world.asked)
        match name:
            case "go":
                world.go(amount)
            case "slew":
                world.go(HOUR, slew=amount)
            case "set":
                world.wall += amount
            case "right":
                world.wall = T0 + world.steady - began
            case "adopt":
                clock.adopt()
                adopted, value, then = True, clock(), world.steady
            case _:
                world.synced = {"synced": True, "unsynced": False, "unknown": None}[name]
        before, value = value, clock()
        elapsed, then = world.steady - then, world.steady
        heard = [answer for _, answer in world.asked[asked:]]
        low, high = (last * 1_000_000 - STEP_NS, last * 1_000_000 + AHEAD_NS + then - began) if last else (0, 1 << 80)
        plausible = max(low, EARLIEST_NS) <= world.wall <= high
        if not before <= value <= before + ms(elapsed + STEP_NS) + 1:  # a leap: was it one that may be?
            healed += 1
            assert plausible, "law 5"
            assert heard, "law 7: the kernel was asked in that very look"
            assert heard == [True] or not required, "laws 7 and 8"
            assert not adopted, "law 7: once proven, only a human makes us leap"
            assert value == ms(world.wall)
        trusted, why = clock.trusted, clock.why
        assert trusted is (not why)
        if trusted:
            assert value >= ms(world.wall), "in line, or holding still"
            assert world.asked[-1][1] is True or adopted or not required, "law 9"
            assert adopted or world.wall >= EARLIEST_NS - len(steps) * STEP_NS, "law 6"
        assert clock() == value
    assert healed <= (1 if required else 2), "lost to taken, taken to proven"
    times = [moment for moment, _ in world.asked]
    assert all(b - a >= ASK_NS for a, b in itertools.pairwise(times))


@settings(deadline=None, max_examples=200)
@given(
    required=st.booleans(),
    synced=st.sampled_from([True, False, None]),
    leaps=st.lists(st.tuples(st.sampled_from([YEARS, -YEARS]), st.integers(0, DAY), st.booleans()), max_size=20),
)
def test_ten_years_never_move_it_nor_let_a_block_begin(
    required: bool, synced: bool | None, leaps: list[tuple[int, int, bool]]
) -> None:
    world = World(synced=synced)
    clock = world.clock(required=required)
    elapsed = away = 0
    for leap, passed, word in leaps:
        world.wall += leap
        away += leap
        world.synced = word
        world.go(passed)
        elapsed += passed
        assert clock() == ms(T0 + elapsed)
        if away:
            assert not clock.trusted


def test_threads_that_share_it_see_it_go_forward() -> None:
    world = World()
    clock = world.clock()
    wrong: list[int] = []

    def watch() -> None:
        before = 0
        for _ in range(2000):
            now = clock()
            if now < before:
                wrong.append(now)
            before = now

    threads = [threading.Thread(target=watch) for _ in range(3)]
    for thread in threads:
        thread.start()
    for n in range(2000):
        world.wall += MINUTE if n % 2 else -MINUTE
        world.go(SECOND)
    for thread in threads:
        thread.join()
    assert not wrong


# -- the kernel ------------------------------------------------------------------------------------------------


def test_this_machines_kernel_answers_or_does_not() -> None:
    assert kernel_synced() in {True, False, None}
    clock = Clock(required=False)
    assert clock() <= clock()


@pytest.mark.parametrize(
    ("state", "status", "answer"),
    [(0, 0, True), (0, 0x2001, True), (5, 0, False), (0, 0x40, False), (5, 0x40, False), (-1, 0, None)],
)
def test_what_the_kernels_answer_means(
    monkeypatch: pytest.MonkeyPatch, state: int, status: int, answer: bool | None
) -> None:
    class Libc:
        @staticmethod
        def adjtimex(reference: object) -> int:
            buffer = reference._obj  # type: ignore[attr-defined]
            assert buffer.modes == 0, "reads only"
            buffer.status = status
            return state

    monkeypatch.setattr(module, "_libc", Libc)
    assert kernel_synced() is answer
