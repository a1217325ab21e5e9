"""A flood of SYNs from restricted subscribers, and what it leaves of forwarding for open ones.

One core, with XDP in front and without. The kernel injects packets into the receive path of the subscribers' device,
as a network card's driver would, all in our own system call, so our CPU time is what they cost: datagrams of open
subscribers, which are forwarded, and mixed with them, packet by packet, a share of SYNs. Different shares give points
of a curve: so many SYNs and so many forwarded datagrams in the same CPU second. The line is what one SYN costs. The
flood comes

* from a thousand infected subscribers (each beyond its rate: most SYNs are dropped), with XDP;
* from a million at once (none beyond its rate: every SYN is answered), with XDP;
* from nowhere anybody looks: dropped before it is even looked at. That is what making the packets costs here, and what
  no program could better; a real card's driver has a cost of its own instead;
* from the same thousand and million through the rules to our redirector's socket, as without XDP.

Subscribers are a million walled ones, in the maps and in the nft sets alike; the rules are in force in each case. The
far ends of both cables drop what arrives. Figures are shares of the forwarding without any flood, in the same mode; the
bar is for XDP's share through that of dropping at once. A flood of the infected has gone on for a while when it counts:
what they may send at once is used up.
"""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from edged.nft.routing import Steering
from edged.xdp import libbpf

from . import ours, people, redirect
from .accelerated import DATAGRAM, DROP, PASS, SYN, Crowd, Gateway, templates
from .common import BenchError, Row, cores, inside, median, namespaces, need, pinned, result, say, sh, write_in
from .forward import _sent

BAR = 0.9
MEMBERS = 1 << 20
SHARES = (0.0, 0.1, 0.3, 0.5, 0.7, 0.85, 0.95)
"""Of the packets, that are the flood's."""
FLOODS = (100_000, 200_000, 500_000, 1_000_000)
PACKETS = 60_000
RATE, BURST = 100, 200
"""Connections a second of an address, and at once: the program's defaults."""
CHART = Path(__file__).with_name("flood.png")
DROPPED = ("drop", 20)
WAYS = {
    DROPPED: "dropped at once",
    ("xdp", 10): "XDP, a thousand infected",
    ("xdp", 20): "XDP, a million",
    ("rules", 10): "rules and socket, a thousand infected",
    ("rules", 20): "rules and socket, a million",
}
Way = tuple[str, int]
Point = tuple[float, float]
"""SYNs, and datagrams forwarded, in one CPU second."""


def run(budget: float = 60.0) -> dict[str, Any]:
    """Rounds over all ways and floods until ``budget`` seconds are over; at least one."""
    need("ip", "nft", "clang", "taskset")
    end = time.monotonic() + budget
    os.setpriority(os.PRIO_PROCESS, 0, -20)  # children inherit it
    core = cores()[-1]
    with namespaces("s", "i", "g") as ns, tempfile.TemporaryDirectory(prefix="edged-bench-") as name:
        room = Path(name)
        room.chmod(0o755)
        gateway, crowd, ifindex = _wire(ns)
        with (
            ours.enforced(ns["g"], "sub", people.addresses(0, MEMBERS)),
            redirect._portal(ns["g"], room, core),  # noqa: SLF001 (the bench of redirects' own)
            inside(ns["g"]),
            pinned(core),
        ):
            say(f"ready: {MEMBERS:,} walled, in maps and sets")
            found: dict[tuple[Way, float], list[Point]] = {}
            took = 0.0
            while not found or time.monotonic() + took < end:
                began = time.monotonic()
                for way in WAYS:
                    for share in SHARES:
                        found.setdefault((way, share), []).append(_mixed(ns, crowd, ifindex, way, share))
                took = time.monotonic() - began
        counted = gateway.maps.counters()
        gateway.close()
    say(f"XDP did {', '.join(f'{n:,} {action}' for action, n in counted.items() if n)}")
    return _report(found)


def _wire(ns: dict[str, str]) -> tuple[Gateway, Crowd, int]:
    space = ns["g"]
    gateway = Gateway(MEMBERS, rate=RATE, burst=BURST)
    for number, (role, local) in enumerate((("s", "sub"), ("i", "net"))):
        sh("ip", "-n", space, "link", "add", "name", local, "type", "veth", "peer", "name", "far", "netns", ns[role])
        sh("ip", "-n", space, "link", "set", "dev", local, "up")
        sh("ip", "-n", ns[role], "link", "set", "dev", "far", "up")
        sh("ip", "-n", space, "addr", "add", f"10.0.{number}.1/24", "dev", local)
        sh("ip", "-n", space, "neigh", "add", f"10.0.{number}.2", "lladdr", "02:00:00:00:00:02", "dev", local)
    sh("ip", "-n", space, "route", "add", "default", "via", "10.0.1.2")
    sh("ip", "-n", space, "route", "add", "100.96.0.0/11", "via", "10.0.0.2")
    for key, value in (("ip_forward", "1"), ("conf/all/rp_filter", "0"), ("conf/sub/rp_filter", "0")):
        write_in(space, f"/proc/sys/net/ipv4/{key}", value)
    with inside(space):
        Steering(0x10000, 8880, 8880).ensure()
    ifindex, mac = gateway.link(space, "sub")
    crowd = Crowd(templates(mac, b"\x02\0\0\0\0\x02"))
    crowd.under_test(gateway.maps.program)
    for role in ("s", "i"):
        with inside(ns[role]):
            far = int(sh("ip", "netns", "exec", ns[role], "cat", "/sys/class/net/far/ifindex"))
            libbpf.attach(far, crowd.sink, libbpf.NATIVE)
    return gateway, crowd, ifindex


def _mixed(ns: dict[str, str], crowd: Crowd, ifindex: int, way: Way, share: float) -> Point:
    mode, bits = way
    call, fate = mode == "xdp", DROP if way == DROPPED else PASS
    if call and bits == 10 and share:
        crowd.flood(0, bits=bits, call=call)
        crowd.plan(SYN, first=0, bits=bits)
        crowd.burst(4 * BURST << bits, ifindex, SYN)
    crowd.plan(DATAGRAM, first=MEMBERS, bits=16, call=call, otherwise=PASS)
    crowd.flood(share, bits=bits, call=call, otherwise=fate)
    before, began = _sent(ns["g"], "net"), time.thread_time()
    crowd.burst(PACKETS, ifindex, DATAGRAM)
    spent = time.thread_time() - began
    forwarded = _sent(ns["g"], "net") - before
    if abs(forwarded - PACKETS * (1 - share)) > 0.05 * PACKETS:
        raise BenchError(f"{WAYS[way]}: {forwarded} of {PACKETS * (1 - share):.0f} datagrams were forwarded")
    return share * PACKETS / spent, forwarded / spent


def _costs(found: dict[tuple[Way, float], list[Point]], way: Way) -> float:
    """CPU seconds of one SYN, median: what the mixtures made mostly of them leave beside their datagrams."""
    told = []
    for share in SHARES[-2:]:
        for (syns, mine), (_, alone) in zip(found[way, share], found[way, 0.0], strict=True):
            told.append((1 - mine / alone) / syns)
    return median(told)


def _report(found: dict[tuple[Way, float], list[Point]]) -> dict[str, Any]:
    costs = {way: _costs(found, way) for way in WAYS}
    kept = {way: [max(0.0, 1 - flood * costs[way]) for flood in FLOODS] for way in WAYS}
    for way, words in WAYS.items():
        shares = ", ".join(f"{f // 1000}k {k:.2f}" for f, k in zip(FLOODS, kept[way], strict=True))
        say(f"{words}: {costs[way] * 1e9:.0f} ns a SYN; keeps {shares}")
    _chart(found, costs)
    rows = []
    for bits, who in ((10, "a thousand infected"), (20, "a million")):
        for flood in (200_000, 1_000_000):
            at = FLOODS.index(flood)
            mine, theirs, best = kept["xdp", bits][at], kept["rules", bits][at], kept[DROPPED][at]
            through = mine / max(best, 0.01)
            bar = f"≥ {BAR} of dropping at once" if bits == 10 else ""
            name = f"rules and socket; dropping at once {best:.2f}"
            rows.append(
                Row(f"forwarding kept beside {flood:,} SYN/s from {who}", mine, theirs, "", name,
                    mine / max(theirs, 0.01), bar, through >= BAR if bar else None)
            )  # fmt: skip
    return result(
        "flood",
        rows[1].ratio,
        rows,
        value=round(kept["xdp", 10][-1] / max(kept[DROPPED][-1], 0.01), 3),
        kept={f"{mode} {1 << bits}": [round(k, 3) for k in kept[mode, bits]] for mode, bits in WAYS},
        floods=list(FLOODS),
        ns_a_syn={f"{mode} {1 << bits}": round(costs[mode, bits] * 1e9) for mode, bits in WAYS},
        forwarded_per_cpu_s=round(median([p[1] for p in found[("xdp", 10), 0.0]])),
        rounds=len(found[DROPPED, 0.0]),
    )


def _chart(found: dict[tuple[Way, float], list[Point]], costs: dict[Way, float]) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axis = plt.subplots(figsize=(8, 4.5), layout="constrained")
    for (mode, bits), words in WAYS.items():
        colour = {"xdp": "#2a7f4f", "rules": "#b3402e", "drop": "#5b6b7b"}[mode]
        shape = "-" if bits == 10 else "--"
        floods = np.linspace(0, 1_200_000, 200)
        kept = np.maximum(0, 1 - floods * costs[mode, bits])
        axis.plot(floods / 1000, kept, shape, color=colour, label=words)
        alone = median([p[1] for p in found[(mode, bits), 0.0]])
        dots = [
            (median([p[0] for p in found[(mode, bits), s]]), median([p[1] for p in found[(mode, bits), s]]))
            for s in SHARES
        ]
        axis.plot([x / 1000 for x, _ in dots], [y / alone for _, y in dots], "o", color=colour, markersize=3)
    axis.axhline(BAR, color="grey", linewidth=0.8)
    axis.set_xlabel("flood from restricted subscribers, thousand SYN/s on the one core")
    axis.set_ylabel("forwarding of open subscribers, share kept")
    axis.set_ylim(0, 1.05)
    axis.set_xlim(0, 1200)
    axis.legend(fontsize=8)
    axis.set_title("What a SYN flood leaves of forwarding, on one saturated core", fontsize=10)
    figure.savefig(CHART, dpi=110)
    plt.close(figure)
