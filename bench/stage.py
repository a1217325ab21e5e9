"""Where hostile subscribers meet the gateway: a lab with thousands of them on one core and an honest client.

A real gateway (``edged run`` with broker, rules and portal, all on one core) and two namespaces of subscribers: one
with thousands of hostile ones on the other core, one with the honest. Commands are published all the time.
"""

from __future__ import annotations

import contextlib
import dataclasses
import ipaddress
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

from tests.lab import fast, topology
from tests.lab.netns import Namespace, unique_tag

from .common import BenchError, come_first, cores, median, percentile, pinned
from .surfers import Crowd

EVERYBODY = "100.64.16.0/20"
ATTACKERS = ipaddress.IPv4Network(EVERYBODY)
_SLOW_FROM = "100.64.16.0/24"
"""256 addresses with some 40 connections each: below what one may have."""
_HONEST = "100.64.128.64/26"
REDIRECT, PAGE = (topology.WWW4, 80), (topology.GATEWAY4, topology.SITE_PORT)
_VICTIM = "C-honest-0"


@dataclasses.dataclass
class Phase:
    """What happened while one attack, or none (``what`` is empty), went on. Times in ms."""

    what: str
    xdp: str
    visits: dict[str, list[float]]
    commands: list[float]
    memory: int
    attack: dict[str, Any]

    @property
    def p99(self) -> float:
        """Of the honest client's redirects and pages; one that failed counts with the time until it did."""
        return percentile([ms for kind in self.visits.values() for ms in kind], 0.99)

    @property
    def failed(self) -> int:
        return len(self.visits["failed"])

    def __str__(self) -> str:
        return (self.what or "quiet") + ("" if self.xdp == "off" else ", XDP in front")

    def line(self) -> str:
        figures = " ".join(f"{k} {percentile(v, 0.99):.1f}" for k, v in self.visits.items() if v)
        visits = sum(map(len, self.visits.values()))
        return (
            f"{self}: {visits} visits, p99 {self.p99:.1f} ms ({figures}), {self.failed} failed; "
            f"{len(self.commands)} commands, median {median(self.commands):.1f} ms, "
            f"p95 {percentile(self.commands, 0.95):.1f} ms; portal {self.memory / 2**20:.0f} MiB; {self.attack}"
        )


class Stage:
    """The lab with thousands of restricted subscribers more, and a namespace with honest ones.

    ``xdp``: the mode in which the program is in front (``off``: it is not).
    """

    def __init__(self, xdp: str = "off") -> None:
        self.xdp = xdp
        self._closing = contextlib.ExitStack()
        self.gateway_core, self.crowd_core = cores()[0], cores()[-1]
        self.honest = Namespace(f"{unique_tag()}-honest")

    def __enter__(self) -> Self:
        self._closing.callback(come_first())
        try:
            self.lab = self._closing.enter_context(fast.accelerated(self.xdp))
            self._closing.callback(self.honest.delete)
            self._wire()
            with pinned(self.gateway_core):
                self.lab.start_daemon()
                assert self.lab.daemon is not None  # noqa: S101
            for pid in (self.lab.daemon.pid, self.lab.broker.pid):
                come_first(pid)
            os.sched_setaffinity(self.lab.broker.pid, {self.gateway_core})
            self._restrict()
            fast.wait_fast(self.lab, self.xdp)
        except BaseException:
            self._closing.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.close()

    def _wire(self) -> None:
        network = self.lab.network
        self.honest.create()
        network.gateway.ip(
            f"link add subs1 type veth peer name eth0 netns {self.honest.name}",
            "addr add 100.64.128.1/24 dev subs1",
            "link set subs1 up",
            f"route add {ATTACKERS} via {topology.DEBTOR.v4}",
        )
        self.honest.ip(
            *(f"addr add {a}/24 dev eth0" for a in ipaddress.IPv4Network(_HONEST)),
            "link set eth0 up",
            "route add default via 100.64.128.1",
        )
        network.subscriber.ip(f"route add local {ATTACKERS} dev lo")
        network.subscriber.sysctl(net__ipv4__ip_local_port_range="1024 65535", net__ipv4__tcp_tw_reuse=1)
        for space, device, core in (
            (network.gateway, "subs0", self.gateway_core),
            (network.gateway, "subs1", self.gateway_core),
            (network.subscriber, "wan0", self.crowd_core),
            (self.honest, "eth0", self.crowd_core),
        ):
            path = f"/sys/class/net/{device}/queues/rx-0/rps_cpus"
            space.run("sh", "-c", f"printf %x {1 << core} > {path}")

    def _restrict(self) -> None:
        """Everybody owes, and the kernel knows."""
        people = [(f"C-honest-{n}", a) for n, a in enumerate(ipaddress.IPv4Network(_HONEST))]
        people += [(f"C-hostile-{n}", a) for n, a in enumerate(ATTACKERS)]
        for at in range(0, len(people), 500):
            commands: list[dict[str, Any]] = []
            for sub, address in people[at : at + 500]:
                commands += [
                    {"op": "bind", "sub": sub, "addresses": [str(address)]},
                    {"op": "block", "sub": sub, "reason": "operator"},
                ]
            self.lab.publish(*commands, timeout=60)

    # -- a phase ------------------------------------------------------------------------------------------------------

    @property
    def core(self) -> int:
        """The process that has store and kernel."""
        assert self.lab.daemon is not None  # noqa: S101
        return self.lab.daemon.pid

    def portal(self) -> list[int]:
        """The portal's processes."""
        found = []
        for pid in self.lab.network.gateway.pids():
            with contextlib.suppress(OSError):
                if b"\0portal\0" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    found.append(pid)
        return found

    def portal_memory(self) -> int:
        """Resident bytes of all the portal's processes."""
        pages = sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in self.portal())
        return pages * os.sysconf("SC_PAGE_SIZE")

    def phase(self, what: str, seconds: float, attack: Callable[[float], dict[str, Any]] | None = None) -> Phase:
        """Honest visits and commands for ``seconds``, once the attack has built up."""
        found: dict[str, Any] = {}
        hostile = threading.Thread(target=lambda: found.update(attack(seconds + 2.0) if attack else {}))
        commands: list[float] = []
        stop = threading.Event()
        giving = threading.Thread(target=self._command, args=(stop, commands))
        hostile.start()
        if attack is not None:
            time.sleep(1.5)  # what builds up is the attack itself, which has no end to wait for
        giving.start()
        visits = self.flood(
            self.honest, "honest", REDIRECT, seconds, "--page", f"{PAGE[0]}:{PAGE[1]}", "--sources", _HONEST
        )
        memory = self.portal_memory()
        stop.set()
        giving.join()
        hostile.join()
        if attack is not None and not found:
            raise BenchError(f"{what}: the attack failed, and what was measured beside it means nothing")
        return Phase(what, self.xdp, visits, commands, memory, found)

    def _command(self, stop: threading.Event, took: list[float]) -> None:
        with contextlib.suppress(PermissionError):
            os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))  # this thread alone
        for n in range(100_000):
            if stop.is_set():
                return
            kind = "block" if n % 2 else "unblock"
            ack = self.lab.publish({"op": kind, "sub": _VICTIM, "reason": "notice"}, timeout=30)
            took.append(ack.ms)
            stop.wait(0.03)

    def flood(self, space: Namespace, kind: str, to: tuple[str, int], seconds: float, *options: str) -> dict[str, Any]:
        """Run one kind of :mod:`tests.floods` to its end, on the subscribers' core."""
        command = [sys.executable, "-m", "tests.floods", kind, "--to", f"{to[0]}:{to[1]}", "--seconds", str(seconds)]
        # the hostile are many machines, which have nothing to do with what the honest one waits for here
        behind = [] if kind == "honest" else ["nice", "-n", "5"]
        done = subprocess.run(
            [*space.prefix(), "taskset", "-c", str(self.crowd_core), *behind, *command, *options],
            capture_output=True,
            text=True,
            check=False,
            timeout=seconds + 60,
        )
        if done.returncode:
            raise BenchError(f"{kind}: {done.stderr.strip()[-800:]}")
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    # -- attacks ------------------------------------------------------------------------------------------------------

    def crowd(
        self, kind: str, to: tuple[str, int], count: int, sources: str = _SLOW_FROM
    ) -> Callable[[float], dict[str, Any]]:
        """So many hostile connections of one kind at a time."""
        return lambda seconds: self.flood(
            self.lab.network.subscriber, kind, to, seconds, "--count", str(count), "--sources", sources
        )

    def visits(self, seconds: float) -> dict[str, Any]:
        """Whole visits without a TCP stack: as many as a core can make."""
        os.sched_setaffinity(0, {self.crowd_core})  # this thread alone
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 5)
        with self._raw() as crowd:
            visit = crowd.visit(seconds)
            return {"visits_per_s": round(visit.rate), "failed": visit.failed}

    @contextlib.contextmanager
    def _raw(self) -> Iterator[Crowd]:
        space, gateway = self.lab.network.subscriber, self.lab.network.gateway
        theirs, ours = (
            bytes.fromhex(where.run("cat", f"/sys/class/net/{device}/address").stdout.strip().replace(":", ""))
            for where, device in ((gateway, "subs0"), (space, "wan0"))
        )
        crowd = Crowd(space.name, "wan0", theirs, ours, topology.WWW4, first=int(ATTACKERS[0]))
        with self.unheard(), contextlib.closing(crowd):
            yield crowd

    @contextlib.contextmanager
    def unheard(self) -> Iterator[None]:
        """The attackers' own stack does not answer for them."""
        space = self.lab.network.subscriber
        space.run("nft", "-f", "-", stdin=f"table netdev sink {{ chain c {{ type filter hook ingress device wan0 "
                  f"priority 0; ip daddr {ATTACKERS} drop; }}; }}\n")  # fmt: skip
        try:
            yield
        finally:
            space.run("nft", "delete", "table", "netdev", "sink")
