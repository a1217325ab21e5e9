"""The time edged decides by: Unix milliseconds that nobody's setting of the system clock moves by a leap.

 1. While it runs, our count goes on with CLOCK_BOOTTIME, which nobody can set and which goes on through a suspend.
 2. The system clock is *in line* while it is within STEP_NS of our count. Then it is followed at once.
 3. Following never leads back: the clock holds still until the system clock has caught up. That goes for a restart too,
    from the last moment the store knows of.
 4. A larger difference is a *leap*. It is refused: our count goes on, good for promises and releases, but no debt block
    begins until the system clock is back in line, which heals by itself, or until a human adopts it.
 5. A moment is *plausible* when it is not before EARLIEST_NS and, if the store knows of a last moment, not before that
    (but for STEP_NS) and not more than AHEAD_NS after it.
 6. A start from a plausible system clock takes its time. Any other counts on from the last moment known, and no debt
    block begins: our count is *lost*.
 7. Our count is *proven* once the kernel calls a plausible system clock synchronised, or a human adopts it. Until then
    a leap is followed in the very look that hears the kernel say so: what was wrong was the time before. It is how a
    gateway heals whose battery died. Once proven, only a human makes us leap.
 8. Where synchronisation is not required, a lost count takes any plausible time, whatever the kernel says.
 9. Where it is required, debt blocks begin only while the kernel calls the system clock synchronised; not to know
    counts as no. A human's word stands in for the kernel's until the kernel next calls it synchronised.
10. Only adoption (4) and healing (7, 8) make a leap, and only a leap may lead back.

A process that ends forgets that it refused a leap: the next start judges by 5 and 6 alone.
"""

from __future__ import annotations

import ctypes
import enum
import threading
import time
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from edged.errors import EdgedError

P = ParamSpec("P")
T = TypeVar("T")

_SECOND = 1_000_000_000
_DAY = 86_400 * _SECOND
STEP_NS = 300 * _SECOND
"""How far the system clock may lie from our count and still be followed: slewing, small steps, a leap second."""
AHEAD_NS = 400 * _DAY
"""How long a gateway may have been off: a year on the shelf, and some."""
EARLIEST_NS = 1_577_836_800 * _SECOND
"""2020: clocks without a battery begin in 1970, or when their firmware was made; edged is younger."""
ASK_NS = _SECOND
"""The kernel is asked at most once in this time of CLOCK_BOOTTIME."""

_STA_UNSYNC = 0x40
_TIME_ERROR = 5
_libc = ctypes.CDLL(None, use_errno=True)


class _Timex(ctypes.Structure):
    """The beginning of ``struct timex``, and room for the rest of it."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        *((name, ctypes.c_long) for name in ("offset", "freq", "maxerror", "esterror")),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_char * 512),
    )


def kernel_synced() -> bool | None:
    """Whether the kernel calls the system clock synchronised; None where it does not say (adjtimex(2) is refused).

    The kernel takes it back by itself when the clock is set, and some nine hours after an NTP daemon's last word.
    """
    answer = _Timex(modes=0)  # 0: change nothing
    state = _libc.adjtimex(ctypes.byref(answer))
    if state < 0:
        return None
    return state != _TIME_ERROR and not answer.status & _STA_UNSYNC


def _boottime() -> int:
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


class _Count(enum.IntEnum):
    LOST = 0  # goes on from the last moment known (law 6)
    TAKEN = 1  # a plausible system clock's, which nobody has vouched for
    PROVEN = 2  # law 7


class Clock:
    """Unix milliseconds that nobody's setting of the system clock moves by a leap. Safe for several threads.

    ``required``: policy.require_synced_clock. ``last``: the last moment the store knows of (its heartbeat), Unix ms, 0
    for none. ``wall`` gives Unix ns, ``steady`` ns of CLOCK_BOOTTIME, ``synced`` what :func:`kernel_synced` does. Each
    use looks at the system clock, which is cheap.
    """

    def __init__(
        self,
        *,
        required: bool,
        last: int = 0,
        wall: Callable[[], int] = time.time_ns,
        steady: Callable[[], int] = _boottime,
        synced: Callable[[], bool | None] = kernel_synced,
    ) -> None:
        self._required = required
        self._wall, self._steady, self._synced = wall, steady, synced
        self._lock = threading.Lock()
        # What the store noted before 2020 was noted by a clock as lost as this one may be.
        self._last = last * 1_000_000 if last * 1_000_000 >= EARLIEST_NS else 0
        self._told = self._last // 1_000_000
        self._answer: bool | None = None
        self._human = False
        self._began = steady()
        self._asked = self._began - ASK_NS
        moment = wall()
        self._sound = self._plausible(moment, self._began)  # the system clock is plausible, when last looked at
        self._count = _Count.TAKEN if self._sound else _Count.LOST
        if self._count is _Count.LOST and self._last:
            moment = self._last
        self._offset = moment - self._began  # our count is the steady clock's and this
        self._gap = 0  # the system clock is ahead of our count by this, when last looked at
        with self._lock:
            self._look()

    def __call__(self) -> int:
        """Unix ms."""
        with self._lock:
            count = self._look() // 1_000_000
            self._told = max(self._told, count)  # as the look left it: a leap begins anew
            return self._told

    @property
    def trusted(self) -> bool:
        """Whether debt blocks may begin now."""
        with self._lock:
            self._look()
            return self._count is not _Count.LOST and not self._leapt() and self._vouched()

    @property
    def why(self) -> str:
        """Why it is not trusted and what to do, one sentence for status and log; empty while it is."""
        with self._lock:
            self._look()
            if self._count is _Count.LOST:
                return f"the system clock {self._strange()}: let NTP set it, or, if it is right, say edged adopt-clock"
            if self._leapt():
                way = "forward" if self._gap > 0 else "back"
                return (
                    f"the system clock leapt {way} by {_span(abs(self._gap))} and is not followed: put it right,"
                    " or, if it is right, say edged adopt-clock"
                )
            if self._vouched():
                return ""
            if self._answer is None:
                return (
                    "whether the system clock is synchronised cannot be known, the kernel refuses adjtimex: allow it"
                    " (in a unit: no ProtectClock=), or set policy.require_synced_clock = false"
                )
            return (
                "the system clock is not synchronised: run chrony (with rtcsync) or systemd-timesyncd, or set"
                " policy.require_synced_clock = false"
            )

    def adopt(self) -> None:
        """A human says that the system clock is right: take it over, leap or not."""
        with self._lock:
            self._look()
            self._take(_Count.PROVEN)
            self._human = True

    # -- everything below with the lock held -----------------------------------------------------------------

    def _look(self) -> int:
        """Compare the clocks, follow what may be followed. Returns our count, Unix ns."""
        now = self._compare()
        if self._leapt():
            # We may have been put to sleep for hours between the two readings.
            now = self._compare()
        moment = now + self._offset + self._gap
        # Only an answer younger than the reading says anything of it: setting the clock takes the kernel's word back.
        fresh = now - self._asked >= ASK_NS
        if fresh:
            self._asked, self._answer = now, self._synced()
            self._human = self._human and self._answer is not True
        self._sound = self._plausible(moment, now)
        if fresh and self._sound and self._count is not _Count.PROVEN:
            if self._answer:
                self._take(_Count.PROVEN)
            elif self._count is _Count.LOST and not (self._required and self._leapt()):
                self._take(_Count.TAKEN)
        if not self._leapt():
            self._take(self._count)
        return now + self._offset

    def _compare(self) -> int:
        """Read both clocks; returns the steady one's ns."""
        now = self._steady()
        self._gap = self._wall() - now - self._offset
        return now

    def _take(self, count: _Count) -> None:
        if self._leapt():
            self._told = 0
        self._count = count
        self._offset += self._gap
        self._gap = 0

    def _leapt(self) -> bool:
        return abs(self._gap) > STEP_NS

    def _vouched(self) -> bool:
        return not self._required or self._human or self._answer is True

    def _plausible(self, moment: int, now: int) -> bool:
        if moment < max(self._last - STEP_NS, EARLIEST_NS):
            return False
        return not self._last or moment <= self._last + AHEAD_NS + now - self._began

    def _strange(self) -> str:
        """What is wrong with the system clock of a lost count."""
        if self._sound:
            return "was set, but is not synchronised yet"
        if not self._last:
            return "shows a time before 2020"
        # Our count went on from the last moment known, and the system clock beside it.
        return f"is {_span(abs(self._gap))} {'ahead of' if self._gap > 0 else 'behind'} the last moment known here"


def _span(ns: int) -> str:
    """About how long, in words."""
    for name, unit in (("days", _DAY), ("hours", 3600 * _SECOND)):
        if ns >= 2 * unit:
            return f"{round(ns / unit)} {name}"
    return f"{round(ns / (60 * _SECOND))} minutes"


class Late(EdgedError):
    """Whoever asked waits no longer and was told that nothing is known of it: what was asked for must not happen."""


def in_time(until: int, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Do it now. Raises Late, with nothing done, when ``until`` (milliseconds of CLOCK_MONOTONIC) has passed.

    The clock is one for all processes of a machine, so that another one may say until when it waits.
    """
    if time.monotonic() * 1000 >= until:
        raise Late("asked for too long ago, and left undone")
    return work(*args, **kwargs)
