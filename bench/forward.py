"""Forwarding of open subscribers while a million others are restricted: packets/s on one core.

Four gateways stand side by side between the same two neighbours: one without any table, one with ours, one with
the usual ipset + iptables redirect (hence connection tracking), and one with ours where nobody is restricted: what
that costs is hooks and rules, the rest is a lookup among a million whose memory is cold. All forward 64-byte UDP of
65536 open subscribers to a neighbour that drops it as early as it can. They take turns, and ratios are those of
neighbouring rounds.

* *over a cable*: a sender on the first core, and receive steering (RPS) that puts all work of the gateway on the last;
  packets per second that this core was not idle.
* *stack alone*: the kernel itself injects the packets, up and down, on one core that does nothing else; packets per
  CPU second. Nothing is cheaper than this bare path (no driver, no cold packet), so every nanosecond of a table
  weighs most here.
"""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from typing import Any

from . import ours, people, rivals
from .common import MILLION, BenchError, Row, cores, median, namespaces, need, pinned, result, say, sh, write_in
from .traffic import Blaster, Injector

BURST = 1 << 14
"""Packets of a round on the stack alone."""
ROUND = 0.2
"""Seconds of a round over a cable."""
KINDS = ("bare", "ours", "usual", "empty")
WAYS = {"up": ("sub", "net"), "down": ("net", "sub")}
CABLE = "cable"
Rates = dict[tuple[str, str], list[float]]


def run(budget: float = 45.0, members: int = MILLION) -> dict[str, Any]:
    """Measure for about ``budget`` seconds, preparation included, with ``members`` restricted subscribers."""
    need("ip", "nft", "ipset", "iptables")
    if len(cores()) < 2:
        raise BenchError("forward needs two cores: one sends, one forwards")
    end = time.monotonic() + budget
    with namespaces("s", "i", *KINDS) as ns, tempfile.TemporaryDirectory(prefix="edged-bench-") as room:
        injectors = _wire(ns)
        restricted = people.addresses(0, members)
        member_file = Path(room) / "members.ipset"
        rivals.ipset_file(member_file, "blocked", restricted)
        tables = rivals.usual_gateway(ns["usual"], "sub", member_file)
        nobody = people.addresses(0, 0)
        with ours.enforced(ns["ours"], "sub", restricted), ours.enforced(ns["empty"], "sub", nobody):
            say(f"ready: {members:,} restricted, usual way by {tables}")
            now = time.monotonic()
            with pinned(cores()[-1]):
                rates = _stack_rounds(ns, injectors, now + (end - now) / 2)
            with pinned(cores()[0]):
                rates |= _cable_rounds(ns, end - 1.5)
        for injector in injectors.values():
            injector.close()
    return _report(rates, members, iptables=tables)


def _wire(ns: dict[str, str]) -> dict[tuple[str, str], Injector]:
    """Cables, addresses and routes of the three gateways; a packet source for each direction of each."""
    injectors = {}
    for number, kind in enumerate(KINDS):
        gateway = ns[kind]
        for role, local, net in (("s", "sub", f"10.{number}.0"), ("i", "net", f"10.{number}.1")):
            far = f"{local}{number}"
            cable = ("type", "veth", "peer", "name", far, "netns", ns[role])
            sh("ip", "-n", gateway, "link", "add", "name", local, *cable)
            sh("ip", "-n", gateway, "link", "set", "dev", local, "up")
            sh("ip", "-n", ns[role], "link", "set", "dev", far, "up")
            sh("ip", "-n", gateway, "addr", "add", f"{net}.1/24", "dev", local)
            sh("ip", "-n", gateway, "neigh", "add", f"{net}.2", "lladdr", "02:00:00:00:00:02", "dev", local)
        sh("ip", "-n", gateway, "route", "add", "203.0.113.0/24", "via", f"10.{number}.1.2")
        sh("ip", "-n", gateway, "route", "add", "100.96.0.0/11", "via", f"10.{number}.0.2")
        for key, value in (("ip_forward", "1"), ("conf/all/rp_filter", "0"), ("conf/sub/rp_filter", "0")):
            write_in(gateway, f"/proc/sys/net/ipv4/{key}", value)
        for way, (device, _) in WAYS.items():
            injectors[kind, way] = Injector(gateway, device, _mac(gateway, device), down=way == "down")
    for role, local in (("s", "sub"), ("i", "net")):
        devices = ", ".join(f"{local}{number}" for number in range(len(KINDS)))
        sink = f"chain c {{ type filter hook ingress devices = {{ {devices} }} priority 0; policy drop; }}"
        sh("ip", "netns", "exec", ns[role], "nft", "-f", "-", text=f"table netdev sink {{ {sink}\n }}\n")
    return injectors


def _mac(namespace: str, device: str) -> bytes:
    text = sh("ip", "netns", "exec", namespace, "cat", f"/sys/class/net/{device}/address")
    return bytes.fromhex(text.strip().replace(":", ""))


def _sent(namespace: str, device: str) -> int:
    """Packets that left ``device`` of this gateway so far."""
    return int(sh("ip", "netns", "exec", namespace, "cat", f"/sys/class/net/{device}/statistics/tx_packets"))


def _stack_rounds(ns: dict[str, str], injectors: dict[tuple[str, str], Injector], end: float) -> Rates:
    """Take turns until ``end``: packets per CPU second of each kind and direction. Every packet must come through."""
    rates: Rates = {key: [] for key in injectors}
    for (kind, way), injector in injectors.items():  # caches are warm and connections known from here on
        before = _sent(ns[kind], WAYS[way][1])
        injector.burst(4 * BURST)
        passed = _sent(ns[kind], WAYS[way][1]) - before
        if passed < 4 * BURST:
            raise BenchError(f"{kind}: only {passed} of {4 * BURST} packets of open subscribers got {way}stream")
    order = list(injectors)
    while time.monotonic() < end or not rates[order[0]]:
        order.append(order.pop(0))  # nobody is always first
        for key in order:
            burst = injectors[key].burst(BURST)
            rates[key].append(burst.packets / burst.cpu)
    return rates


def _cable_rounds(ns: dict[str, str], end: float) -> Rates:
    """Take turns until ``end``: packets per busy second of the forwarding core, upstream."""
    core = cores()[-1]
    rates: Rates = {(kind, CABLE): [] for kind in KINDS}
    blasters = {}
    for number, kind in enumerate(KINDS):
        write_in(ns[kind], "/sys/class/net/sub/queues/rx-0/rps_cpus", f"{1 << core:x}")
        blasters[kind] = Blaster(ns["s"], f"sub{number}", _mac(ns[kind], "sub"))
        blasters[kind].blast(ROUND)
    order = list(KINDS)
    while time.monotonic() < end or not rates[KINDS[0], CABLE]:
        order.append(order.pop(0))
        for kind in order:
            sent, idle, start = _sent(ns[kind], "net"), _idle(core), time.monotonic()
            blasters[kind].blast(ROUND)
            busy = time.monotonic() - start - (_idle(core) - idle)
            rates[kind, CABLE].append((_sent(ns[kind], "net") - sent) / max(busy, ROUND / 10))
    for blaster in blasters.values():
        blaster.close()
    return rates


def _idle(core: int) -> float:
    """Seconds this core has been idle since the start of the machine."""
    for line in Path("/proc/stat").read_text().splitlines():
        if line.startswith(f"cpu{core} "):
            return int(line.split()[4]) / os.sysconf("SC_CLK_TCK")
    raise BenchError(f"/proc/stat does not know core {core}")


def _report(rates: Rates, members: int, **extra: Any) -> dict[str, Any]:
    rows = []
    to_bare: dict[str, dict[str, float]] = {"ours": {}, "usual": {}, "empty": {}}
    nanoseconds = {}
    for way, words in ((CABLE, "over a cable"), ("up", "upstream, stack alone"), ("down", "downstream, stack alone")):
        for kind, share in to_bare.items():
            pairs = zip(rates[kind, way], rates["bare", way], strict=True)
            share[way] = median([mine / bare for mine, bare in pairs])
        pps = {kind: median(rates[kind, way]) for kind in KINDS}
        costs = zip(rates["ours", way], rates["bare", way], strict=True)
        nanoseconds[way] = round(median([1e9 / mine - 1e9 / bare for mine, bare in costs]))
        title = f"forwarding {words}, {members:,} restricted"
        keep = to_bare["ours"][way]
        rows.append(Row(title, pps["ours"], pps["bare"], "packets/s", "no table", keep, "≥ 0.9", keep >= 0.9))
        ahead = median([a / b for a, b in zip(rates["ours", way], rates["usual", way], strict=True)])
        name = "ipset + iptables redirect"
        rows.append(Row(title, pps["ours"], pps["usual"], "packets/s", name, ahead, "> 1", ahead > 1))
    return result(
        "forward",
        to_bare["ours"][CABLE],
        rows,
        ours_to_bare={way: round(value, 3) for way, value in to_bare["ours"].items()},
        nobody_restricted_to_bare={way: round(value, 3) for way, value in to_bare["empty"].items()},
        usual_to_bare={way: round(value, 3) for way, value in to_bare["usual"].items()},
        ours_costs_ns_a_packet=nanoseconds,
        rounds={way: len(rates["bare", way]) for way in (CABLE, *WAYS)},
        **extra,
    )
