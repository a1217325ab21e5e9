"""Complete redirects a second on one core: XDP beside nginx and beside our own redirector, in the same run.

Three gateways, each with a cable to subscribers; all that a gateway does happens on one core, the subscribers' half on
another. nginx and our redirector have the crowd of ``bench redirect``. XDP has a crowd that is itself an XDP program at
the other end of the cable (xdp_crowd.bpf.c, ``surf``): no process could keep up. It remembers nothing: of each answer
it makes the client's next packet (SYN, request, FIN), checks that the answer is a whole 302, and begins anew as one of
a million restricted subscribers drawn at random. Real veth devices in native mode; each end's receive path is a kernel
thread of its own (threaded NAPI), pinned as the gateways' and crowds' cores are.

Everything runs at the highest priority, as on a gateway with nothing else to do. A slice of each in turns; the result
is the median ratio of neighbours. A rate is one of the time that the gateway's core worked: beside XDP it idles for a
quarter, because the crowd's core cannot ask faster, and now and then another virtual machine has it. The rates of the
clock are told, too. CPU is that of the gateway's thread.
"""

from __future__ import annotations

import contextlib
import os
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from edged.xdp import libbpf
from edged.xdp.attach import hardware

from . import redirect, surfers
from .accelerated import SYN, Crowd, Gateway, templates
from .common import BenchError, Row, cores, inside, median, namespaces, need, pinned, result, say, sh, write_in
from .pace import cpu, unused

BAR = 10.0
MEMBERS = 1 << 20
UNDER_WAY = 200
"""Connections at a time; a veth's ring holds 256 packets."""
SLICE = 0.8
XDP = "xdp"


def run(budget: float = 50.0) -> dict[str, Any]:
    """Measure for about ``budget`` seconds, preparation included; at least three rounds."""
    need("ip", "nft", "nginx", "taskset", "clang")
    end = time.monotonic() + budget
    os.setpriority(os.PRIO_PROCESS, 0, -20)  # children inherit it
    here = cores()
    if len(here) < 2:
        raise BenchError("one core for the gateway and one for the subscribers are needed")
    core, away = here[0], here[-1]
    rates: dict[str, list[Rate]] = {redirect.OURS: [], redirect.NGINX: [], XDP: []}
    busy: list[float] = []
    with namespaces("s", redirect.OURS, redirect.NGINX, XDP, "x") as ns, tempfile.TemporaryDirectory(
        prefix="edged-bench-"
    ) as name:  # fmt: skip
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
            while len(rates[XDP]) < 3 or time.monotonic() + 3 * SLICE + 1 < end:
                for kind in (redirect.OURS, redirect.NGINX):
                    rates[kind].append(_visit(crowds[kind], kind, core))
                rate, cpu = fast.visit(SLICE, core)
                rates[XDP].append(rate)
                busy.append(cpu)
        for crowd in crowds.values():
            crowd.close()
    for n, (x, o, r) in enumerate(zip(rates[XDP], rates[redirect.OURS], rates[redirect.NGINX], strict=True), 1):
        say(f"round {n}: XDP {x}, our redirector {o}, nginx {r}; {x.worked / r.worked:.1f} times nginx")
    return _report(rates, busy)


class Rate(NamedTuple):
    """Redirects a second of the core's work, and of the clock."""

    worked: float
    clock: float

    def __str__(self) -> str:
        return f"{self.worked:,.0f} ({self.clock:,.0f}) a second worked (passed)"


@contextlib.contextmanager
def _counting(core: int) -> Iterator[Callable[[int], Rate]]:
    """What comes back makes a rate of the redirects since the block began."""
    began, before = time.monotonic(), unused(core)

    def rate(redirects: int) -> Rate:
        took = time.monotonic() - began
        return Rate(redirects / max(took - (unused(core) - before), 0.01), redirects / took)

    yield rate


def _visit(crowd: surfers.Crowd, kind: str, core: int) -> Rate:
    with _counting(core) as rate:
        visit = crowd.visit(SLICE)
        found = rate(visit.found)
    if visit.failed > visit.found // 100:
        raise BenchError(f"{kind}: {visit.failed} connections without a 302, {visit.found} with one")
    return found


class Fast:
    """The gateway with XDP and the crowd at the other end of its cable."""

    def __init__(self, space: str, crowd: Crowd, gateway: Gateway, frames: socket.socket, thread: int) -> None:
        self._space, self._crowd, self._gateway = space, crowd, gateway
        self._frames, self._thread = frames, thread

    def visit(self, seconds: float, core: int) -> tuple[Rate, float]:
        """Redirects a second, and CPU seconds of the gateway's thread for each."""
        self._crowd.plan(SYN, stop=False)
        before, _ = self._crowd.redirects()
        for frame in self._beginnings():
            self._frames.send(frame)
        end, spent = time.monotonic() + seconds, cpu(self._thread)
        good, bad = self._crowd.redirects()
        with _counting(core) as rate:
            while time.monotonic() < end:
                time.sleep(0.02)
            now, worse = self._crowd.redirects()
            found, spent = rate(now - good), cpu(self._thread) - spent
        self._crowd.plan(SYN, stop=True)
        if now - before < UNDER_WAY or worse > bad:
            raise BenchError(f"XDP: {now - before} redirects, {worse - bad} answers that were none")
        last = now
        while (now := self._crowd.redirects()[0]) != last:  # the last ones are seen through
            last = now
            time.sleep(0.02)
        return found, spent / max(now - good, 1)

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


def _report(rates: dict[str, list[Rate]], busy: list[float]) -> dict[str, Any]:
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
        cpu_us_a_redirect=round(median(busy) * 1e6, 2),
        rounds=len(rates[XDP]),
    )
