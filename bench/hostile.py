"""Hostile subscribers beside an honest one: what it waits for its redirect and its page, and what a command takes.

A real gateway (``edged run`` with broker, rules and portal, all on one core) and two namespaces of subscribers: one
with thousands of hostile ones on the other core, one with the honest. Quiet and attack take turns in the same run;
commands are published all the time. Nothing is compared with a rival: the bars are the issue's.

``python -m bench.hostile SECONDS`` lets each attack last so long; ``python -m bench page`` has a short form.
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

from tests.lab import topology
from tests.lab.lab import Lab
from tests.lab.netns import Namespace, unique_tag

from .common import BenchError, Row, come_first, cores, median, need, percentile, pinned, say
from .surfers import ADDRESSES, Crowd

BAR_MS = 100.0
SLOWED = 1.5
"""Quiet phases of one run differ by a third among themselves."""
SLOW = 10_000
EVERYBODY = "100.64.16.0/20"
_ATTACKERS = ipaddress.IPv4Network(EVERYBODY)
_SLOW_FROM = "100.64.16.0/24"
"""256 addresses with some 40 connections each: below what one may have."""
_HONEST = "100.64.128.64/26"
REDIRECT, PAGE = (topology.WWW4, 80), (topology.GATEWAY4, topology.SITE_PORT)
_VICTIM = "C-honest-0"


@dataclasses.dataclass
class Phase:
    """What happened while one attack, or none, went on. Times in ms."""

    name: str
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

    def line(self) -> str:
        figures = " ".join(f"{k} {percentile(v, 0.99):.1f}" for k, v in self.visits.items() if v)
        visits = sum(map(len, self.visits.values()))
        return (
            f"{self.name}: {visits} visits, p99 {self.p99:.1f} ms ({figures}), {self.failed} failed; "
            f"{len(self.commands)} commands, median {median(self.commands):.1f} ms, "
            f"p95 {percentile(self.commands, 0.95):.1f} ms; portal {self.memory / 2**20:.0f} MiB; {self.attack}"
        )


class Stage:
    """The lab with thousands of restricted subscribers more, and a namespace with honest ones."""

    def __init__(self) -> None:
        self._closing = contextlib.ExitStack()
        self.gateway_core, self.crowd_core = cores()[0], cores()[-1]
        self.honest = Namespace(f"{unique_tag()}-honest")

    def __enter__(self) -> Self:
        self._closing.callback(come_first())
        try:
            self.lab = self._closing.enter_context(Lab())
            self._closing.callback(self.honest.delete)
            self._wire()
            with pinned(self.gateway_core):
                self.lab.start_daemon()
                assert self.lab.daemon is not None  # noqa: S101
            for pid in (self.lab.daemon.pid, self.lab.broker.pid):
                come_first(pid)
            os.sched_setaffinity(self.lab.broker.pid, {self.gateway_core})
            self._restrict()
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
            f"route add {_ATTACKERS} via {topology.DEBTOR.v4}",
        )
        self.honest.ip(
            *(f"addr add {a}/24 dev eth0" for a in ipaddress.IPv4Network(_HONEST)),
            "link set eth0 up",
            "route add default via 100.64.128.1",
        )
        network.subscriber.ip(f"route add local {_ATTACKERS} dev lo")
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
        people += [(f"C-hostile-{n}", a) for n, a in enumerate(_ATTACKERS)]
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

    def phase(self, name: str, seconds: float, attack: Callable[[float], dict[str, Any]] | None = None) -> Phase:
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
        return Phase(name, visits, commands, memory, found)

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

    def packets(self, *, whole: bool) -> Callable[[float], dict[str, Any]]:
        """SYNs alone, or whole visits, without a TCP stack: as many as a core can make."""

        def attack(seconds: float) -> dict[str, Any]:
            os.sched_setaffinity(0, {self.crowd_core})  # this thread alone
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 5)
            with self._raw() as crowd:
                if whole:
                    visit = crowd.visit(seconds)
                    return {"visits_per_s": round(visit.rate), "failed": visit.failed}
                return {"syn_per_s": round(crowd.begin_only(seconds) / seconds)}

        return attack

    @contextlib.contextmanager
    def _raw(self) -> Iterator[Crowd]:
        space, gateway = self.lab.network.subscriber, self.lab.network.gateway
        theirs, ours = (
            bytes.fromhex(where.run("cat", f"/sys/class/net/{device}/address").stdout.strip().replace(":", ""))
            for where, device in ((gateway, "subs0"), (space, "wan0"))
        )
        # our own stack must not answer for them
        space.run("nft", "-f", "-", stdin=f"table netdev sink {{ chain c {{ type filter hook ingress device wan0 "
                  f"priority 0; ip daddr {_ATTACKERS} drop; }}; }}\n")  # fmt: skip
        crowd = Crowd(space.name, "wan0", theirs, ours, topology.WWW4, first=int(_ATTACKERS[0]))
        try:
            yield crowd
        finally:
            crowd.close()
            space.run("nft", "delete", "table", "netdev", "sink")


def measure(seconds: float, slow: int = SLOW) -> list[Phase]:
    """Every attack for ``seconds``, quiet before, between and behind."""
    need("ip", "nft", "mosquitto", "taskset")
    if len(cores()) < 2:
        raise BenchError("one core for the gateway and one for the subscribers are needed")
    assert _ATTACKERS.num_addresses == ADDRESSES  # noqa: S101
    phases: list[Phase] = []
    with Stage() as stage:
        attacks = {
            f"{slow} slow clients at the redirector": stage.crowd("slow", REDIRECT, slow),
            f"{slow} silent clients at the redirector": stage.crowd("silent", REDIRECT, slow),
            f"{slow} slow clients at the page": stage.crowd("slow", PAGE, slow),
            "2000 that read no page": stage.crowd("deaf", PAGE, 2_000),
            "flood of SYNs": stage.packets(whole=False),
            "flood of redirects": stage.packets(whole=True),
            "flood of pages": stage.crowd("pages", PAGE, 256),
            "noise at the redirector": stage.crowd("noise", REDIRECT, 200),
            "noise at the page": stage.crowd("noise", PAGE, 200),
        }
        stage.phase("warming up", 1.0)
        for name, attack in attacks.items():
            for phase in (stage.phase("quiet", seconds / 2), stage.phase(name, seconds, attack)):
                say(phase.line())
                phases.append(phase)
        log = stage.lab.daemon_log(1000)
    if "Traceback" in log:
        raise BenchError(f"an exception was logged:\n{log[-2000:]}")
    return phases


def rows(phases: list[Phase]) -> list[Row]:
    """The honest client's wait, the command path's beside quiet, and memory: each at its worst."""
    attacked = [p for p in phases if p.name != "quiet"]
    quiet = [p for p in phases if p.name == "quiet"]
    worst = max(attacked, key=lambda p: p.p99)
    calm = percentile([ms for p in quiet for kind in p.visits.values() for ms in kind], 0.99)
    before = median([ms for p in quiet for ms in p.commands])
    slowest = max(attacked, key=lambda p: median(p.commands))
    slowed = median(slowest.commands) / before
    return [
        Row(
            f"honest client's p99 beside hostile ones, worst ({worst.name})",
            worst.p99, calm, "ms", "nobody hostile", worst.p99 / calm, f"≤ {BAR_MS:g} ms, none failed",
            worst.p99 <= BAR_MS and not any(p.failed for p in attacked),
        ),
        Row(
            f"a command's median time beside hostile ones, worst ({slowest.name}), as a multiple",
            median(slowest.commands), before, "ms", "nobody hostile", slowed, f"≤ {SLOWED:g}", slowed <= SLOWED,
        ),
        Row(
            "portal's memory beside hostile ones, worst, as a multiple",
            max(p.memory for p in attacked) / 2**20, quiet[0].memory / 2**20, "MiB", "before",
            max(p.memory for p in attacked) / quiet[0].memory,
        ),
    ]  # fmt: skip


def main() -> int:
    """Entry point of the longer run."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 10.0
    found = rows(measure(seconds))
    for row in found:
        print(f"{row.what}: {row.ours:.1f} {row.unit}, {row.rival_name}: {row.rival:.1f}; {row.bar}")
    print(json.dumps({"bench": "hostile", "value": round(found[0].ours, 1), "rows": [vars(r) for r in found]}))
    return 0 if found[0].met else 1


if __name__ == "__main__":
    raise SystemExit(main())
