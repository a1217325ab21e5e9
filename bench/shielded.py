"""Floods that no process could make, for the stage of :mod:`bench.stage`, and that stage with XDP in front.

A flood of restricted subscribers' SYNs is put into the receive path of the subscribers' device by the kernel itself
(BPF_PROG_TEST_RUN, live frames) on the gateway's core, where everything else of the gateway is, too, as a network
card's driver would. What making them costs there, a driver's own work would cost instead. With XDP in front (native, as
``auto`` finds it where the driver can) the receive path of either device is a kernel thread of its own on that core.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any, Self

from edged.xdp import libbpf, rtnetlink
from edged.xdp.attach import hardware
from tests.lab import topology
from tests.lab.programs import Attentive

from .accelerated import PASS, SYN, Crowd, templates
from .common import BenchError, inside
from .stage import ATTACKERS, Stage
from .surfers import ADDRESSES
from .xdp_redirect import threaded

BITS = (ADDRESSES - 1).bit_length()
LEAST = 0.9
PAUSE = 0.004
"""Seconds between two bursts, at least: who makes them must not have the core meanwhile."""
BATCH = 64
"""Frames that the kernel makes in one go, as many as a driver's poll."""


class Shielded(Stage):
    """The gateway with XDP on both of its subscribers' devices."""

    def __init__(self) -> None:
        super().__init__("native")

    def __enter__(self) -> Self:
        super().__enter__()
        try:
            gateway, near = self.lab.network.gateway, self.lab.network.subscriber
            attentive = Attentive(self.honest, "eth0")
            self._closing.callback(attentive.close)
            for space, device, core in (
                (gateway, "subs0", self.gateway_core),
                (gateway, "subs1", self.gateway_core),
                (near, "wan0", self.crowd_core),
                (self.honest, "eth0", self.crowd_core),
            ):
                threaded(space.name, device, core)
            self.lab.wait_until(self._on_both, "XDP is not on both devices", 20)
        except BaseException:
            self._closing.close()
            raise
        return self

    def _on_both(self) -> bool:
        found = self.lab.edged_json("status")["xdp"]["interfaces"]
        return {name for name, mode in found.items() if mode == "native"} >= {"subs0", "subs1"}


def syns(stage: Stage, rate: int) -> Callable[[float], dict[str, Any]]:
    """So many a second from 4,096 restricted subscribers, in the receive path of ``subs0``.

    A core that falls behind by more than a second loses what it had to do before. The answers are counted on their
    cable: an attack that is not answered is none.
    """

    def attack(seconds: float) -> dict[str, Any]:
        os.sched_setaffinity(0, {stage.gateway_core})  # this thread alone, as an interrupt would
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
        gateway = stage.lab.network.gateway
        with inside(gateway.name), _crowd(stage) as (crowd, ifindex), stage.unheard():
            before, began, sent, lost = _heard(stage), time.monotonic(), 0, 0
            while (now := time.monotonic() - began) < seconds:
                due = int(now * rate) - sent
                burst = min(due, rate // 10) // BATCH * BATCH
                if burst < rate * PAUSE:
                    time.sleep(PAUSE)
                    continue
                crowd.burst(burst, ifindex, SYN)
                lost += max(0, due - rate)
                sent += burst + max(0, due - rate)
            sent, answers = sent - lost, _heard(stage) - before
        if answers < LEAST * sent:
            raise BenchError(f"of {sent} SYNs only {answers} were answered: that is no attack")
        if stage.xdp != "off" and sent < LEAST * rate * seconds:
            raise BenchError(f"only {sent / seconds:,.0f} of {rate:,} SYNs a second could be made")
        return {"syn_per_s": round(sent / seconds), "answers_per_s": round(answers / seconds)}

    return attack


def _heard(stage: Stage) -> int:
    path = "/sys/class/net/wan0/statistics/rx_packets"
    return int(stage.lab.network.subscriber.run("cat", path).stdout)


@contextlib.contextmanager
def _crowd(stage: Stage) -> Iterator[tuple[Crowd, int]]:
    """To be used in the gateway's namespace: the subscribers, and the device's index."""
    ifindex = socket.if_nametoindex("subs0")
    theirs = stage.lab.network.subscriber.call(hardware, "wan0")[1]
    crowd = Crowd(templates(hardware("subs0")[1], theirs, topology.WWW4), base=int(ATTACKERS[0]))
    number = rtnetlink.attached(ifindex).program
    program = libbpf.program(number) if number else None
    if number and program is None:
        raise BenchError("the program is gone")
    crowd.plan(SYN, bits=BITS, call=program is not None, otherwise=PASS)
    if program is not None:
        crowd.under_test(program)
    try:
        yield crowd, ifindex
    finally:
        if program is not None:
            libbpf.close_all([program])
