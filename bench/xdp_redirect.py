"""Complete redirects a second on one core: XDP beside nginx and beside our own redirector, in the same run.

Three gateways, each with a cable to subscribers; all that a gateway does happens on one core, the subscribers' half on
another. nginx and our redirector have the crowd of ``bench redirect``. XDP has a crowd that is itself an XDP program at
the other end of the cable (xdp_crowd.bpf.c, ``surf``): no process could keep up. It remembers nothing: of each answer
it makes the client's next packet (SYN, request, FIN), checks that the answer is a whole 302, and begins anew as one of
a million restricted subscribers drawn at random. Real veth devices in native mode; each end's receive path is a kernel
thread of its own (threaded NAPI), pinned as the gateways' and crowds' cores are.

Everything comes before other sessions of this machine. A slice of each in turns; the result is the median ratio of
neighbours; a round in which anybody else worked is not one. A rate is one of the time in which the gateway's core was
not idle, for all three: beside XDP it idles for a quarter of the time, because the crowd's core cannot ask faster.
Where the CPU time of XDP's thread is more, that counts. The rates of the clock are told, too.
"""

from __future__ import annotations

import contextlib
import os
import socket
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from edged.xdp import libbpf
from edged.xdp.attach import hardware

from . import redirect, surfers
from .accelerated import SYN, Crowd, Gateway, templates
from .common import (
    BenchError,
    Row,
    come_first,
    cores,
    inside,
    median,
    namespaces,
    need,
    pinned,
    result,
    say,
    sh,
    write_in,
)
from .pace import cpu, idle, strangers

BAR = 10.0
MEMBERS = 1 << 20
UNDER_WAY = 200
"""Connections at a time; a veth's ring holds 256 packets."""
SLICE = 0.8
QUIET = 0.03
"""Of a round's time, that others may work."""
XDP = "xdp"


def run(budget: float = 50.0) -> dict[str, Any]:
    """Measure for about ``budget`` seconds, preparation included; at least three rounds."""
    need("ip", "nft", "nginx", "taskset", "clang")
    end = time.monotonic() + budget
    here = cores()
    if len(here) < 2:
        raise BenchError("one core for the gateway and one for the subscribers are needed")
    core, away = here[0], here[-1]
    rates: dict[str, list[Rate]] = {redirect.OURS: [], redirect.NGINX: [], XDP: []}
    with (
        contextlib.ExitStack() as undo,
        namespaces("s", redirect.OURS, redirect.NGINX, XDP, "x") as ns,
        tempfile.TemporaryDirectory(prefix="edged-bench-") as name,
    ):
        undo.callback(come_first())
        room = Path(name)
        room.chmod(0o755)
        crowds = {
            kind: redirect._wire(ns, kind, number, core, away)  # noqa: SLF001 (its other half)
            for number, kind in enumerate((redirect.OURS, redirect.NGINX))
        }
        with (
            redirect._portal(ns[redirect.OURS], room, core),  # noqa: SLF001
            redirect._nginx(ns[redirect.NGINX], room, core),  # noqa: SLF001
            _xdp(ns, core, away) as fast,
            pinned(away),
        ):
            for crowd in crowds.values():
                redirect._await_redirect(crowd)  # noqa: SLF001
            say(f"ready: both answer 302; XDP has {MEMBERS:,} restricted")
            for _ in _rounds(rates[XDP], end):
                others = strangers()
                found = {kind: _visit(crowds[kind], kind, core) for kind in (redirect.OURS, redirect.NGINX)}
                found[XDP] = fast.visit(SLICE, core)
                if (spent := others()) > QUIET * 3 * SLICE:
                    say(f"a round less: others had {spent:.2f} s of CPU in it")
                    continue
                for kind, rate in found.items():
                    rates[kind].append(rate)
        for crowd in crowds.values():
            crowd.close()
    for n, (x, o, r) in enumerate(zip(rates[XDP], rates[redirect.OURS], rates[redirect.NGINX], strict=True), 1):
        say(f"round {n}: XDP {x}, our redirector {o}, nginx {r}; {x.worked / r.worked:.1f} times nginx")
    return _report(rates)


def _rounds(done: list[Rate], end: float) -> Iterator[None]:
    while len(done) < 3 or time.monotonic() + 3 * SLICE + 1 < end:
        if len(done) < 3 and time.monotonic() > end + 60:
            raise BenchError("others work on this machine all the time: what nginx would do alone cannot be told")
        yield


class Rate(NamedTuple):
    """Redirects a second of the gateway's work, and of the clock."""

    worked: float
    clock: float

    def __str__(self) -> str:
        return f"{self.worked:,.0f} ({self.clock:,.0f}) a second worked (passed)"


def _visit(crowd: surfers.Crowd, kind: str, core: int) -> Rate:
    began, before = time.monotonic(), idle(core)
    visit = crowd.visit(SLICE)
    took = time.monotonic() - began
    if visit.failed > visit.found // 100:
        raise BenchError(f"{kind}: {visit.failed} connections without a 302, {visit.found} with one")
    return Rate(visit.found / (took - min(idle(core) - before, took / 2)), visit.found / took)


class Fast:
    """The gateway with XDP and the crowd at the other end of its cable."""

    def __init__(self, space: str, crowd: Crowd, gateway: Gateway, frames: socket.socket, thread: int) -> None:
        self._space, self._crowd, self._gateway = space, crowd, gateway
        self._frames, self._thread = frames, thread

    def visit(self, seconds: float, core: int) -> Rate:
        """Redirects a second."""
        self._crowd.plan(SYN, stop=False)
        before, _ = self._crowd.redirects()
        for frame in self._beginnings():
            self._frames.send(frame)
        began, spent, before_idle = time.monotonic(), cpu(self._thread), idle(core)
        good, bad = self._crowd.redirects()
        while time.monotonic() < began + seconds:
            time.sleep(0.02)
        now, worse = self._crowd.redirects()
        took, spent, free = time.monotonic() - began, cpu(self._thread) - spent, idle(core) - before_idle
        made = now - good
        self._crowd.plan(SYN, stop=True)
        if now - before < UNDER_WAY or worse > bad:
            raise BenchError(f"XDP: {now - before} redirects, {worse - bad} answers that were none")
        last = now
        while (now := self._crowd.redirects()[0]) != last:  # the last ones are seen through
            last = now
            time.sleep(0.02)
        return Rate(made / max(spent, took - free), made / took)

    def _beginnings(self) -> list[bytes]:
        self._crowd.plan(SYN, call=False, otherwise=3)
        with inside(self._space):
            return [libbpf.run(self._crowd.generate, self._crowd.frames[SYN]).data for _ in range(UNDER_WAY)]


@contextlib.contextmanager
def _xdp(ns: dict[str, str], core: int, away: int) -> Iterator[Fast]:
    gateway_space, far_space = ns[XDP], ns["x"]
    one = ("numrxqueues", "1", "numtxqueues", "1")
    peer = ("peer", "name", "up", "netns", far_space, *one)
    sh("ip", "-n", gateway_space, "link", "add", "name", "sub", *one, "type", "veth", *peer)
    sh("ip", "-n", gateway_space, "addr", "add", "10.0.0.1/24", "dev", "sub")
    for space, device in ((gateway_space, "sub"), (far_space, "up")):
        sh("ip", "-n", space, "link", "set", "dev", device, "up")
    sh("ip", "-n", gateway_space, "route", "add", "default", "via", "10.0.0.2")
    write_in(gateway_space, "/proc/sys/net/ipv4/ip_forward", "1")
    gateway = Gateway(MEMBERS)
    gateway.attach(gateway_space, "sub")
    _, mac = gateway.link(gateway_space, "sub")
    with inside(far_space):
        ifindex = socket.if_nametoindex("up")
        crowd = Crowd(templates(mac, hardware("up")[1]))
        crowd.plan(SYN, stop=True)
        libbpf.attach(ifindex, crowd.surf, libbpf.NATIVE)
        frames = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        frames.bind(("up", 0))
    thread = threaded(gateway_space, "sub", core)
    threaded(far_space, "up", away)
    try:
        yield Fast(far_space, crowd, gateway, frames, thread)
    finally:
        crowd.plan(SYN, stop=True)
        frames.close()
        gateway.close()


def threaded(space: str, device: str, core: int) -> int:
    """Give a device's receive path a thread of its own on ``core``; its process id."""
    before = _threads(device)
    write_in(space, f"/sys/class/net/{device}/threaded", "1")
    made = _threads(device) - before
    if len(made) != 1:
        raise BenchError(f"{device}: {len(made)} receive threads instead of one")
    thread = made.pop()
    os.sched_setaffinity(thread, {core})
    os.sched_setscheduler(thread, os.SCHED_FIFO, os.sched_param(1))  # softirqs wait for no process either
    return thread


def _threads(device: str) -> set[int]:
    found = set()
    for path in Path("/proc").glob("[0-9]*/comm"):
        with contextlib.suppress(OSError):
            if path.read_text().startswith(f"napi/{device}-"):
                found.add(int(path.parent.name))
    return found


def _report(rates: dict[str, list[Rate]]) -> dict[str, Any]:
    def beside(rival: str) -> float:
        return median([a.worked / b.worked for a, b in zip(rates[XDP], rates[rival], strict=True)])

    def of(kind: str, which: str = "worked") -> float:
        return median([float(getattr(rate, which)) for rate in rates[kind]])

    rows = [
        Row("whole redirects with XDP, a second of one core", of(XDP), of(redirect.NGINX), "/s",
            "nginx return 302 behind an nft redirect", beside(redirect.NGINX), f"≥ {BAR:.0f}",
            beside(redirect.NGINX) >= BAR),
        Row("the same beside our sockets", of(XDP), of(redirect.OURS), "/s", "our redirector behind tproxy",
            beside(redirect.OURS)),
    ]  # fmt: skip
    return result(
        "xdp_redirect",
        beside(redirect.NGINX),
        rows,
        xdp_per_s=round(of(XDP)),
        ours_per_s=round(of(redirect.OURS)),
        nginx_per_s=round(of(redirect.NGINX)),
        per_s_of_the_clock={kind: round(of(kind, "clock")) for kind in rates},
        cpu_us_a_redirect={kind: round(1e6 / of(kind), 2) for kind in rates},
        rounds=len(rates[XDP]),
    )
