"""What a packet costs the XDP program with a million restricted: no device, no stack.

The packet of an open subscriber is always the same one (warm); beginnings and requests come from subscribers drawn at
random out of the million, so the maps are met cold. A program of the bench writes each packet and hands it on; what it
costs by itself is measured in turns and taken off.
"""

from __future__ import annotations

import time
from typing import Any

from edged.xdp import libbpf

from .accelerated import ASK, DATAGRAM, DROP, SYN, Crowd, Gateway, templates
from .common import Row, cores, inside, median, namespaces, need, pinned, result, say, sh, write_in

WANTED = 100.0
MEMBERS = 1 << 20


def run(budget: float = 40.0) -> dict[str, Any]:
    """Rounds of all figures until ``budget`` seconds are over; at least three."""
    need("ip", "clang")
    end = time.monotonic() + budget
    found: dict[str, list[float]] = {}
    with namespaces("g") as ns, pinned(cores()[0]):
        sh("ip", "-n", ns["g"], "link", "add", "name", "sub", "type", "veth", "peer", "name", "far")
        for device in ("sub", "far", "lo"):
            sh("ip", "-n", ns["g"], "link", "set", "dev", device, "up")
        sh("ip", "-n", ns["g"], "addr", "add", "10.0.0.1/24", "dev", "sub")
        sh("ip", "-n", ns["g"], "route", "add", "default", "via", "10.0.0.2")
        write_in(ns["g"], "/proc/sys/net/ipv4/ip_forward", "1")
        gateway = Gateway(MEMBERS)
        ifindex, mac = gateway.link(ns["g"], "sub")
        crowd = Crowd(templates(mac, b"\x02\0\0\0\0\x01"))
        crowd.under_test(gateway.maps.program)
        crowd.claim(gateway.maps._seed)  # noqa: SLF001 (no station of this bench hears the SYN-ACKs)
        say(f"ready: {MEMBERS:,} restricted, loaded in {gateway.load_seconds:.2f} s")
        with inside(ns["g"]):
            while len(found.get("open", [])) < 3 or time.monotonic() + 4 < end:
                _round(crowd, gateway, ifindex, found)
        counted = gateway.maps.counters()
        gateway.close()
    for action in ("syn_ack", "redirect", "pass_open"):
        if counted[action] < 1_000_000:
            raise RuntimeError(f"only {counted[action]} packets ended as {action}: the figures mean nothing")
    return _report(found, gateway.load_seconds)


def _round(crowd: Crowd, gateway: Gateway, ifindex: int, found: dict[str, list[float]]) -> None:
    program = gateway.maps.program
    for word, kind, first in (("open", SYN, MEMBERS), ("datagram", DATAGRAM, MEMBERS)):
        crowd.plan(kind, first=first, bits=0, call=False, otherwise=2)
        one = libbpf.run(crowd.generate, crowd.frames[kind], ifindex=ifindex).data
        found.setdefault(word, []).append(float(libbpf.run(program, one, repeat=2_000_000, ifindex=ifindex).ns))
    for word, kind, first in (("syn", SYN, 0), ("request", ASK, 0), ("stranger", SYN, MEMBERS)):
        bits = 19 if word == "stranger" else 20
        with_it = crowd.mean(kind, ifindex, first=first, bits=bits, call=True)
        without = crowd.mean(kind, ifindex, first=first, bits=bits, call=False, otherwise=DROP)
        found.setdefault(word, []).append(with_it - without)


def _report(found: dict[str, list[float]], load: float) -> dict[str, Any]:
    rows = []
    for word, what, bar in (
        ("open", "an open subscriber's HTTP, warm", WANTED),
        ("datagram", "an open subscriber's datagram, warm", WANTED),
        ("stranger", "an open subscriber's HTTP, one of half a million", 0.0),
        ("syn", "SYN of one of a million", 0.0),
        ("request", "request of one of a million", 0.0),
    ):
        ns = median(found[word])
        say(f"{what}: {ns:.0f} ns ({min(found[word]):.0f} to {max(found[word]):.0f})")
        rows.append(
            Row(
                what,
                ns,
                WANTED,
                "ns",
                "100 ns",
                WANTED / ns,
                f"≤ {bar:.0f} ns" if bar else "",
                ns <= bar if bar else None,
            )
        )
    ns = median(found["open"])
    return result(
        "xdp_packet", WANTED / ns, rows, value=ns,
        ns={word: [round(x) for x in values] for word, values in found.items()},
        load_seconds=round(load, 2),
    )  # fmt: skip
