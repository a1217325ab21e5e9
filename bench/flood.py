"""A flood of SYNs from restricted subscribers, and what it leaves of forwarding for open ones.

One core, with XDP in front and without. The kernel injects packets into the receive path of the subscribers' device,
as a network card's driver would, all in our own system call, so our CPU time is what they cost: datagrams of open
subscribers, which are forwarded, and mixed with them, packet by packet, a share of SYNs. Different shares give points
of a curve: so many SYNs and so many forwarded datagrams in the same CPU second. The line is what one SYN costs. The
flood comes

* from a thousand infected subscribers, with XDP. Each is answered as often as its rate allows, a hundred a second,
  and dropped beyond: what either costs is measured by itself, with rates that nobody or everybody keeps, and put
  together for each flood. (Measured in one, the share of answers would hang on who else uses the machine meanwhile.)
* from the same thousand, each SYN to another address: nothing that is remembered of destinations helps;
* from a million at once (none beyond its rate: every SYN is answered), with XDP;
* to a program that drops whatever comes without a look. That is what making the packets and entering a program cost
  here, and what none could better; a real card's driver has a cost of its own instead;
* from the same thousand and million through the rules to our redirector's socket, as without XDP.

Subscribers are a million walled ones, in the maps and in the nft sets alike; the rules are in force in each case. The
far ends of both cables drop what arrives. Figures are shares of the forwarding without any flood, in the same mode. The
bar is for XDP's share through that of dropping at once: of a million SYNs a second at the whole machine, each core with
its part, as the queues of a card spread flood and forwarding (reckoned from what one core takes), and where one core
that forwards as well has all of them, as with a card of one queue. The last row has the flood on another core than
forwarding.
"""

from __future__ import annotations

import os
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from edged.nft.routing import Steering
from edged.xdp import layout, libbpf

from . import ours, people, redirect
from .accelerated import DATAGRAM, NOBODY_ASKED, PASS, SINK, SYN, TESTED, Crowd, Gateway, templates
from .common import BenchError, Row, cores, inside, median, namespaces, need, pinned, result, say, sh, write_in
from .forward import _sent

BAR = 0.9
MEMBERS = 1 << 20
SHARES = (0.0, 0.3, 0.7, 0.95)
"""Of the packets, that are the flood's."""
FLOODS = (100_000, 200_000, 500_000, 1_000_000)
PACKETS, WARM = 60_000, 15_000
"""Of a measurement, and of what goes before it: all ways meet the same caches."""
RATE, BURST = 100, 200
"""Connections a second of an address, and at once: the program's defaults."""
NOBODY, EVERYBODY = (1, 1), (10**6, 10**9)
"""The same, so that no SYN of a flood is within its rate, and so that each is."""
AHEAD = 60
"""Seconds for which those beyond their rate have used it up before: longer than a round takes."""
EVERYWHERE = 0x00FFFFFF
CHART = Path(__file__).with_name("flood.png")
DROPPED, BEYOND, WITHIN, SCANNED = ("drop", 20), ("beyond", 10), ("within", 10), ("scan", 10)
INFECTED = ("xdp", 10)
WAYS = {
    DROPPED: "dropped at once",
    BEYOND: "XDP, a thousand infected, dropped",
    WITHIN: "XDP, a thousand infected, answered",
    SCANNED: "XDP, a thousand infected that scan, dropped",
    ("xdp", 20): "XDP, a million, answered",
    ("rules", 10): "rules and socket, a thousand infected",
    ("rules", 20): "rules and socket, a million",
}
RATES = {BEYOND: NOBODY, SCANNED: NOBODY, WITHIN: EVERYBODY, ("xdp", 20): EVERYBODY}
LINES = {
    DROPPED: "dropped at once",
    INFECTED: "XDP, a thousand infected",
    SCANNED: "XDP, a thousand infected that scan",
    ("xdp", 20): "XDP, a million",
    ("rules", 10): "rules and socket, a thousand infected",
    ("rules", 20): "rules and socket, a million",
}
"""What is told and drawn; the infected are put together of those beyond and within their rate."""
Way = tuple[str, int]
Point = tuple[float, float]
"""SYNs, and datagrams forwarded, in one CPU second."""


def run(budget: float = 60.0) -> dict[str, Any]:
    """Rounds over all ways and floods until ``budget`` seconds are over; at least one."""
    need("ip", "nft", "clang", "taskset")
    if len(cores()) < 2:
        raise BenchError("flood needs two cores: in its last row one is flooded, one forwards")
    end = time.monotonic() + budget
    os.setpriority(os.PRIO_PROCESS, 0, -20)  # children inherit it
    first, core = cores()[0], cores()[-1]
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
            took, order = 0.0, list(WAYS)
            while not found or time.monotonic() + took < end:
                began = time.monotonic()
                order.append(order.pop(0))  # nobody is always first
                for share in SHARES:
                    for way in order:
                        found.setdefault((way, share), []).append(_mixed(ns, crowd, gateway, ifindex, way, share))
                took = time.monotonic() - began
            beside = _beside(gateway, crowd, ifindex, first)
        counted = gateway.maps.counters()
        gateway.close()
    say(f"XDP did {', '.join(f'{n:,} {action}' for action, n in counted.items() if n)}")
    return _report(found, beside)


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


def _mixed(ns: dict[str, str], crowd: Crowd, gateway: Gateway, ifindex: int, way: Way, share: float) -> Point:
    _, bits = way
    call, asked = way in RATES, SINK if way == DROPPED else TESTED if way in RATES else NOBODY_ASKED
    spread = EVERYWHERE if way == SCANNED else 0
    rate, burst = RATES.get(way, NOBODY)
    if call:
        gateway.maps.set_settings(layout.Settings(gateway.texts, rate=rate, burst=burst))
    if way in {BEYOND, SCANNED} and share:
        crowd.flood(1, bits=bits, call=TESTED, spread=spread)
        _use_up(gateway, crowd, ifindex, bits)
    crowd.plan(DATAGRAM, first=MEMBERS, bits=16, call=call, otherwise=PASS)
    crowd.flood(share, bits=bits, call=asked, otherwise=PASS, spread=spread)
    counted = gateway.maps.counters()
    before = _sent(ns["g"], "net")
    crowd.burst(WARM, ifindex, DATAGRAM)
    began = time.thread_time()
    crowd.burst(PACKETS, ifindex, DATAGRAM)
    spent = time.thread_time() - began
    forwarded = (_sent(ns["g"], "net") - before) * PACKETS / (PACKETS + WARM)
    if abs(forwarded - PACKETS * (1 - share)) > 0.05 * PACKETS:
        raise BenchError(f"{WAYS[way]}: {forwarded:.0f} of {PACKETS * (1 - share):.0f} datagrams were forwarded")
    after = gateway.maps.counters()
    for rates, action in ((NOBODY, "drop_rate"), (EVERYBODY, "syn_ack")):
        if share > 0.5 and RATES.get(way) == rates and after[action] - counted[action] < 0.9 * PACKETS * share:
            raise BenchError(f"{WAYS[way]}: only {after[action] - counted[action]} {action} of {PACKETS * share:.0f}")
    return share * PACKETS / spent, forwarded / spent


def _use_up(gateway: Gateway, crowd: Crowd, ifindex: int, bits: int) -> None:
    """Let those who flood be beyond their rate for as long as they are looked at."""
    rate, burst = NOBODY
    for at_once, times in ((AHEAD, 2 * AHEAD), (burst, 8)):
        gateway.maps.set_settings(layout.Settings(gateway.texts, rate=rate, burst=at_once))
        crowd.burst(times << bits, ifindex, SYN)


class Beside(NamedTuple):
    """What a core keeps while another is flooded by the infected as fast as can be: shares, and their SYNs a second."""

    forwarding: float
    dropping: float
    flood: float


def _beside(gateway: Gateway, crowd: Crowd, ifindex: int, first: int) -> Beside:
    other = Crowd(crowd.frames)
    other.under_test(gateway.maps.program)
    other.plan(SYN, first=0, bits=10)
    crowd.flood(0, bits=10, call=TESTED)
    crowd.plan(SYN, first=0, bits=10)
    _use_up(gateway, crowd, ifindex, 10)
    dropping, _ = _kept_beside(crowd, other, ifindex, SYN, first)
    gateway.maps.set_settings(layout.Settings(gateway.texts, rate=RATE, burst=BURST))
    other.burst(2 * BURST << 10, ifindex, SYN)  # from now on by their rate
    crowd.plan(DATAGRAM, first=MEMBERS, bits=16, call=True, otherwise=PASS)
    forwarding, flood = _kept_beside(crowd, other, ifindex, DATAGRAM, first)
    say(
        f"{flood:,.0f} SYN/s on another core: forwarding keeps {forwarding:.2f}, dropping the same flood {dropping:.2f}"
    )
    return Beside(forwarding, dropping, flood)


def _kept_beside(crowd: Crowd, other: Crowd, ifindex: int, kind: int, first: int) -> tuple[float, float]:
    floods: list[float] = []

    def flood(stop: threading.Event) -> None:  # a new thread is in the namespace of the one that starts it
        with pinned(first):
            began, sent = time.monotonic(), 0
            while not stop.is_set():
                other.burst(8 * PACKETS, ifindex, SYN)
                sent += 8 * PACKETS
            floods.append(sent / (time.monotonic() - began))

    def rate() -> float:
        began = time.thread_time()
        crowd.burst(4 * PACKETS, ifindex, kind)
        return 4 * PACKETS / (time.thread_time() - began)

    shares = []
    for _ in range(5):
        alone, stop = rate(), threading.Event()
        thread = threading.Thread(target=flood, args=(stop,))
        thread.start()
        try:
            shares.append(rate() / alone)
        finally:
            stop.set()
            thread.join()
    return median(shares), median(floods)


def _costs(found: dict[tuple[Way, float], list[Point]], way: Way) -> float:
    """CPU seconds of one SYN, median: what the mixture made mostly of them leaves beside its datagrams."""
    pairs = zip(found[way, SHARES[-1]], found[way, 0.0], strict=True)
    return median([(1 - mine / alone) / syns for (syns, mine), (_, alone) in pairs])


def _kept(costs: dict[Way, float], line: Way, flood: float, spread: int = 1) -> float:
    """Share of forwarding that a core keeps which has ``flood`` of ``spread`` times as many SYNs a second."""
    beyond = BEYOND if line == INFECTED else line
    answered = min(flood, (RATE << 10) / spread) if line in {INFECTED, SCANNED} else 0.0
    return max(0.0, 1 - answered * costs[WITHIN] - (flood - answered) * costs[beyond])


def _machine(found: dict[Way, float], dropping: float) -> tuple[Row, float]:
    """The whole machine, each core with its part of flood and forwarding; and the share of dropping at once.

    Reckoned from what a SYN costs one core alone, and ``dropping``: what is left of that while another is flooded, too.
    """
    n, flood = len(cores()), FLOODS[-1]
    costs = found | {way: found[way] / min(1.0, dropping) for way in (BEYOND, WITHIN)}
    mine, best, theirs = (_kept(costs, line, flood / n, n) for line in (INFECTED, DROPPED, ("rules", INFECTED[1])))
    through = mine / max(best, 0.01)
    row = Row(
        f"forwarding kept by each of {n} cores with its part of {flood:,} SYN/s from a thousand infected (reckoned)",
        mine, theirs, "", f"rules and socket; dropping at once {best:.2f}", mine / max(theirs, 0.01),
        f"≥ {BAR} of dropping at once", through >= BAR,
    )  # fmt: skip
    return row, through


def _report(found: dict[tuple[Way, float], list[Point]], beside: Beside) -> dict[str, Any]:
    costs = {way: _costs(found, way) for way in WAYS}
    kept = {line: [_kept(costs, line, flood) for flood in FLOODS] for line in LINES}
    for way, words in WAYS.items():
        say(f"{words}: {costs[way] * 1e9:.0f} ns a SYN")
    for line, words in LINES.items():
        say(f"{words}: keeps {', '.join(f'{f // 1000}k {k:.2f}' for f, k in zip(FLOODS, kept[line], strict=True))}")
    _chart(found, costs)
    rows = []
    for bits, who in ((10, "a thousand infected"), (20, "a million")):
        for flood in (200_000, 1_000_000):
            at = FLOODS.index(flood)
            mine, theirs, best = kept["xdp", bits][at], kept["rules", bits][at], kept[DROPPED][at]
            bar = f"≥ {BAR} of dropping at once" if bits == 10 else ""
            name = f"rules and socket; dropping at once {best:.2f}"
            rows.append(
                Row(f"forwarding kept by one core with all of {flood:,} SYN/s from {who}", mine, theirs, "", name,
                    mine / max(theirs, 0.01), bar, mine >= BAR * best if bar else None)
            )  # fmt: skip
    whole, through = _machine(costs, beside.dropping)
    rows.insert(0, whole)
    mine, theirs = kept[SCANNED][-1], kept["rules", 10][-1]
    rows.append(
        Row("the same, 1,000,000 SYN/s from a thousand that scan", mine, theirs, "", "rules and socket",
            mine / max(theirs, 0.01))
    )  # fmt: skip
    rows.append(
        Row("forwarding kept while another core has all it can make of such a flood", beside.forwarding, 1.0, "",
            f"no flood; {beside.flood:,.0f} SYN/s", beside.forwarding, f"≥ {BAR}", beside.forwarding >= BAR)
    )  # fmt: skip
    return result(
        "flood",
        whole.ratio,
        rows,
        value=round(through, 3),
        value_on_one_core=round(kept["xdp", 10][-1] / max(kept[DROPPED][-1], 0.01), 3),
        kept={f"{mode} {1 << bits}": [round(k, 3) for k in kept[mode, bits]] for mode, bits in LINES},
        floods=list(FLOODS),
        ns_a_syn={f"{mode} {1 << bits}": round(costs[mode, bits] * 1e9) for mode, bits in WAYS},
        forwarded_per_cpu_s=round(median([p[1] for p in found[BEYOND, 0.0]])),
        rounds=len(found[DROPPED, 0.0]),
    )


def _chart(found: dict[tuple[Way, float], list[Point]], costs: dict[Way, float]) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axis = plt.subplots(figsize=(8, 4.5), layout="constrained")
    floods = np.linspace(0, 1_200_000, 200)
    for (mode, bits), words in LINES.items():
        colour = {"xdp": "#2a7f4f", "scan": "#2a7f4f", "rules": "#b3402e", "drop": "#5b6b7b"}[mode]
        shape = ":" if mode == "scan" else "-" if bits == 10 else "--"
        kept = [_kept(costs, (mode, bits), flood) for flood in floods]
        axis.plot(floods / 1000, kept, shape, color=colour, label=words)
        if (mode, bits) not in WAYS or mode == "scan":
            continue  # of two kinds of SYNs
        alone = median([p[1] for p in found[(mode, bits), 0.0]])
        dots = [
            (median([p[0] for p in found[(mode, bits), s]]), median([p[1] for p in found[(mode, bits), s]]))
            for s in SHARES
        ]
        axis.plot([x / 1000 for x, _ in dots], [y / alone for _, y in dots], "o", color=colour, markersize=3)
    best = [BAR * _kept(costs, DROPPED, flood) for flood in floods]
    axis.plot(floods / 1000, best, color="grey", linewidth=0.8, label=f"{BAR} of dropping at once")
    axis.set_xlabel("flood from restricted subscribers, thousand SYN/s on the one core")
    axis.set_ylabel("forwarding of open subscribers, share kept")
    axis.set_ylim(0, 1.05)
    axis.set_xlim(0, 1200)
    axis.legend(fontsize=8)
    axis.set_title("What a SYN flood leaves of forwarding, on one saturated core", fontsize=10)
    figure.savefig(CHART, dpi=110)
    plt.close(figure)
