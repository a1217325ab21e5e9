"""Real packets and traced ones decide alike: allow and deny pairs for every level, family and direction.

A row of the table is what an engineer would say about a subscriber of that level; the kernel and the tracer over the
fake must both say the same. ``EDGED_TEST_XDP=generic`` (or native) plays all of it with XDP in front of the rules;
test_xdp_pairs.py plays what is quick of it in every run.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from ipaddress import ip_network

import pytest

from edged import plan
from edged.domain.entry import Entry
from edged.domain.levels import Level
from edged.nft.garden import Opening
from edged.nft.tracer import ICMP, ICMPV6, TCP, UDP, Packet
from tests import worlds
from tests.kernel.gateway import LOCAL_PORT, RULES, Gateway, gateway
from tests.lab.services import ECHO_PORT, family_of
from tests.lab.topology import BANK4, BANK6, DEBTOR, GATEWAY4, GATEWAY6, NEIGHBOUR, SUBSCRIBER_INTERFACE, WWW4, WWW6
from tests.worlds import DictSource, attached, refill, until

HOUR = 3_600_000
FATES = {"pass": "open", "portal": "portal", "reset": "reset", "prohibited": "icmp", "drop": "silent"}

GARDENS = {
    "garden": [Opening(ip_network(BANK4)), Opening(ip_network(BANK6))],
    "open": [Opening(ip_network(n), 6, 6, ECHO_PORT, ECHO_PORT) for n in (WWW4, WWW6)],
}


@pytest.fixture(scope="module")
def gw() -> Iterator[Gateway]:
    with gateway(os.environ.get("EDGED_TEST_XDP", "off")) as made:
        made.open_gardens(GARDENS)
        yield made


@dataclass(frozen=True)
class Family:
    """What stands on each side in one family."""

    www: str
    bank: str
    gateway: str
    source: str
    other: str


FAMILIES = {
    "IPv4": Family(WWW4, BANK4, GATEWAY4, DEBTOR.v4, NEIGHBOUR.v4),
    "IPv6": Family(WWW6, BANK6, GATEWAY6, DEBTOR.v6, NEIGHBOUR.v6),
    "IPv6, last of the /56": Family(WWW6, BANK6, GATEWAY6, DEBTOR.other_v6, NEIGHBOUR.v6),
}


def host(address: str) -> str:
    return f"[{address}]" if ":" in address else address


@dataclass(frozen=True)
class Probe:
    """One thing a subscriber (or somebody far away) tries: for real, and as a packet."""

    real: Callable[[Gateway, Family], str]
    packet: Callable[[Family], Packet]


def up(target: Callable[[Family], str], protocol: int, port: int, *, local: bool = False) -> Probe:
    def real(gw: Gateway, f: Family) -> str:
        if protocol == TCP and port == 80:
            answer = gw.device.http(f"http://{host(target(f))}/", source=f.source)
            return "portal" if answer.status == 302 else answer.outcome
        how = gw.device.tcp if protocol == TCP else gw.device.udp
        return how(target(f), port, source=f.source).outcome

    def packet(f: Family) -> Packet:
        return Packet(f.source, target(f), protocol, dport=port, iif=SUBSCRIBER_INTERFACE, oif="up0", local=local)

    return Probe(real, packet)


def down(source: Callable[[Family], str], protocol: int, port: int) -> Probe:
    def real(gw: Gateway, f: Family) -> str:
        if protocol == TCP:
            return gw.connection_down(source(f), f.source)
        return gw.datagram_down(source(f), port, f.source)

    def packet(f: Family) -> Packet:
        return Packet(source(f), f.source, protocol, sport=port, dport=40000, iif="up0", oif=SUBSCRIBER_INTERFACE)

    return Probe(real, packet)


PROBES = {
    "http": up(lambda f: f.www, TCP, 80),
    "https": up(lambda f: f.www, TCP, 443),
    "quic": up(lambda f: f.www, UDP, 443),
    "bank http": up(lambda f: f.bank, TCP, 80),
    "bank https": up(lambda f: f.bank, TCP, 443),
    "bank quic": up(lambda f: f.bank, UDP, 443),
    "always open": up(lambda f: f.www, TCP, ECHO_PORT),
    "gateway": up(lambda f: f.gateway, TCP, LOCAL_PORT, local=True),
    "udp from afar": down(lambda f: f.www, UDP, 5000),
    "udp from the bank": down(lambda f: f.bank, UDP, 5000),
    "tcp from afar": down(lambda f: f.www, TCP, 5001),
    "tcp from the bank": down(lambda f: f.bank, TCP, 5001),
}

ALL_OPEN = dict.fromkeys(PROBES, "open")
WALLED = ALL_OPEN | {
    "http": "portal", "https": "reset", "quic": "icmp", "udp from afar": "silent", "tcp from afar": "reset",
}  # fmt: skip
BLOCKED = WALLED | {
    "bank http": "portal", "bank https": "reset", "bank quic": "icmp",
    "udp from the bank": "silent", "tcp from the bank": "reset",
}  # fmt: skip

FAR = worlds.clock() + HOUR
LEVELS: dict[str, tuple[Entry, dict[str, str]]] = {
    "open": (Entry(), ALL_OPEN),
    "notice": (Entry(Level.NOTICE), ALL_OPEN | {"http": "portal", "bank http": "portal"}),
    "notice, seen": (Entry(Level.NOTICE, notified=FAR), ALL_OPEN),
    "reduced": (Entry(Level.REDUCED, rate=1024), ALL_OPEN),
    "walled": (Entry(Level.WALLED), WALLED),
    "blocked": (Entry(Level.BLOCKED), BLOCKED),
    "walled, promised open": (Entry(Level.WALLED, until=FAR), ALL_OPEN),
    "walled, promised reduced": (Entry(Level.WALLED, rate=1024, lift=Level.REDUCED, until=FAR), ALL_OPEN),
    "walled, promised notice": (
        Entry(Level.WALLED, lift=Level.NOTICE, until=FAR),
        ALL_OPEN | {"http": "portal", "bank http": "portal"},
    ),
    "blocked, promised open": (Entry(Level.BLOCKED, until=FAR), ALL_OPEN),
    "reduced, promised open": (Entry(Level.REDUCED, rate=64, until=FAR), ALL_OPEN),
}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("level", LEVELS)
def test_kernel_and_tracer_say_what_the_table_says(gw: Gateway, level: str, family: str) -> None:
    entry, expected = LEVELS[level]
    f = FAMILIES[family]
    gw.put(entry)
    tracer = gw.tracer()
    said = {name: FATES[tracer.trace(probe.packet(f)).fate] for name, probe in PROBES.items()}
    assert said == expected
    assert {name: probe.real(gw, f) for name, probe in PROBES.items()} == expected


@pytest.mark.parametrize("family", FAMILIES)
def test_the_neighbour_is_never_touched(gw: Gateway, family: str) -> None:
    f = FAMILIES[family]
    gw.put(Entry(Level.BLOCKED))
    for address in (f.www, f.bank):
        assert gw.stranger.http(f"http://{host(address)}/").status == 200
        assert gw.stranger.udp(address, 443).outcome == "open"
        assert gw.datagram_down(address, 5002, f.other) == "open"
    packet = Packet(f.other, f.www, TCP, dport=80, iif=SUBSCRIBER_INTERFACE)
    assert gw.tracer().trace(packet).fate == "pass"
    assert gw.tracer().trace(packet).counters == ()


@pytest.mark.parametrize("level", [Level.WALLED, Level.BLOCKED, Level.NOTICE])
def test_without_a_portal_nothing_hangs(gw: Gateway, level: Level) -> None:
    """Its socket gone, http is refused as everything else, and a mere notice stops nobody."""
    gw.put(Entry(level))
    expected = "open" if level == Level.NOTICE else "reset"
    gw.portal.close()
    try:
        for f in FAMILIES.values():
            probe = PROBES["http"]
            assert probe.real(gw, f) == expected
            assert FATES[gw.tracer(portal_up=False).trace(probe.packet(f)).fate] == expected
    finally:
        gw.start_portal()


@pytest.mark.parametrize("level", [Level.WALLED, Level.BLOCKED])
def test_the_link_itself_goes_on(gw: Gateway, level: Level) -> None:
    """Neighbour discovery, ARP, multicast and pings to the gateway, with nothing remembered from before."""
    gw.put(Entry(level))
    for space in (gw.network.subscriber, gw.network.gateway):
        space.run("ip", "neigh", "flush", "all")
        space.run("ip", "-6", "neigh", "flush", "all")
    for f in FAMILIES.values():
        assert gw.device.tcp(f.gateway, LOCAL_PORT, source=f.source).outcome == "open"
        gw.network.subscriber.run("ping", "-c", "1", "-W", "3", "-I", f.source, f.gateway)
    gw.network.subscriber.run("ping", "-c", "1", "-W", "3", "-I", f"{DEBTOR.v6}", "ff02::1%wan0", check=False)
    tracer = gw.tracer()
    for target, protocol, kind in (
        ("ff02::1:ff00:1", ICMPV6, 135),
        ("fe80::1", ICMPV6, 136),
        ("ff02::2", ICMPV6, 133),
        ("ff02::fb", UDP, 0),
    ):
        packet = Packet(DEBTOR.v6, target, protocol, icmp_type=kind, dport=5353, iif=SUBSCRIBER_INTERFACE, local=True)
        assert tracer.trace(packet).fate == "pass"
    assert tracer.trace(Packet(DEBTOR.v4, "224.0.0.251", UDP, dport=5353, iif=SUBSCRIBER_INTERFACE)).fate == "pass"


@pytest.mark.parametrize("family", FAMILIES)
def test_a_ping_abroad_is_refused_at_once(gw: Gateway, family: str) -> None:
    f = FAMILIES[family]
    gw.put(Entry(Level.WALLED))
    done = gw.network.subscriber.run("ping", "-c", "1", "-W", "5", "-I", f.source, f.www, check=False)
    assert done.returncode == 1
    assert "filtered" in done.stdout.lower() or "prohibited" in done.stdout.lower()
    gw.network.subscriber.run("ping", "-c", "1", "-W", "5", "-I", f.source, f.bank)
    protocol = ICMPV6 if ":" in f.www else ICMP
    packet = Packet(f.source, f.www, protocol, sport=0, dport=0, icmp_type=8, iif=SUBSCRIBER_INTERFACE)
    assert gw.tracer().trace(packet).fate == "prohibited"


@pytest.mark.parametrize(
    ("protocol", "source", "kind", "fate"),
    [
        (ICMP, "192.0.2.1", 3, "pass"),  # a router on the way to the garden: fragmentation needed
        (ICMP, "192.0.2.1", 11, "pass"),
        (ICMP, "192.0.2.1", 8, "drop"),
        (ICMPV6, "2001:db8:9::1", 2, "pass"),  # packet too big
        (ICMPV6, "2001:db8:9::1", 129, "drop"),
    ],
)
def test_path_mtu_messages_reach_a_walled_subscriber(
    gw: Gateway, protocol: int, source: str, kind: int, fate: str
) -> None:
    gw.put(Entry(Level.WALLED))
    target = DEBTOR.v4 if protocol == ICMP else DEBTOR.v6
    packet = Packet(source, target, protocol, icmp_type=kind, sport=0, dport=0, iif="up0", oif=SUBSCRIBER_INTERFACE)
    assert gw.tracer().trace(packet).fate == fate


# -- connections that were there before ------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["IPv4", "IPv6"])
@pytest.mark.parametrize("active", [True, False], ids=["talking", "listening"])
@pytest.mark.parametrize("level", [Level.WALLED, Level.BLOCKED])
def test_an_old_connection_dies(gw: Gateway, level: Level, active: bool, family: str) -> None:
    gw.put(Entry())
    gw.open_gardens({})
    try:
        flow = gw.device.flow(FAMILIES[family].www, active=active)
        innocent = gw.stranger.flow(FAMILIES[family].www, active=active)
        gw.put(Entry(level))
        moment = time.monotonic()
        died = flow.died_after(moment, quiet=0.3)
        assert died is not None
        assert died < 1.0
        assert innocent.wait_for_data(2.0)
        if active:
            until(lambda: flow.ended == "reset")
        flow.close()
        innocent.close()
    finally:
        gw.open_gardens(GARDENS)


@pytest.mark.parametrize("family", ["IPv4", "IPv6"])
@pytest.mark.parametrize("entry", [Entry(Level.NOTICE), Entry(Level.REDUCED, rate=1024)], ids=["notice", "reduced"])
def test_a_mild_level_breaks_no_connection(gw: Gateway, entry: Entry, family: str) -> None:
    gw.put(Entry())
    flow = gw.device.flow(FAMILIES[family].www, active=True)
    gw.put(entry)
    assert flow.wait_for_data(2.0)
    assert flow.ended is None
    flow.close()


@pytest.mark.parametrize("family", ["IPv4", "IPv6"])
def test_a_notice_catches_beginnings_only_and_what_it_caught_goes_on(gw: Gateway, family: str) -> None:
    f = FAMILIES[family]

    def connected() -> socket.socket:
        sock = gw.network.subscriber.socket(family_of(f.www), socket.SOCK_STREAM)
        sock.settimeout(3)
        sock.bind((f.source, 0))
        sock.connect((f.www, 80))
        return sock

    def asked(sock: socket.socket) -> bytes:
        with sock:
            sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            return sock.recv(64)

    gw.put(Entry())
    before = connected()
    gw.put(Entry(Level.NOTICE))
    caught = connected()
    assert b" 200 " in asked(before)
    gw.put(Entry(Level.NOTICE, notified=FAR))
    assert b" 302 " in asked(caught)
    assert b" 200 " in asked(connected())
    old = Packet(f.source, f.www, TCP, dport=80, syn=False, iif=SUBSCRIBER_INTERFACE)
    assert gw.tracer().trace(old).fate == "pass"
    known = Packet(f.source, f.www, TCP, dport=80, syn=False, iif=SUBSCRIBER_INTERFACE, known=True)
    assert gw.tracer().trace(known).fate == "portal"


def test_the_operators_mark_bits_survive(gw: Gateway) -> None:
    gw.put(Entry(Level.WALLED))
    packet = Packet(DEBTOR.v4, WWW4, TCP, dport=80, iif=SUBSCRIBER_INTERFACE, mark=0xAB)
    assert gw.tracer().trace(packet).mark == 0x100AB


# -- counters and rates ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("level", ["notice", "walled", "blocked", "walled, promised open", "reduced"])
def test_the_kernel_counts_what_the_tracer_says(gw: Gateway, level: str) -> None:
    gw.put(LEVELS[level][0])
    f = FAMILIES["IPv4"]
    for name in ("https", "quic", "bank quic", "udp from afar"):
        expected = set(gw.tracer().trace(PROBES[name].packet(f)).counters)
        before = dict(gw.backend.counters())
        PROBES[name].real(gw, f)
        moved = {n for n, (packets, _) in gw.backend.counters().items() if packets > before[n][0]}
        assert expected <= moved


def flood(sender: socket.socket, target: tuple[str, int], *, seconds: float, every: float) -> tuple[int, float]:
    """Datagrams of 1000 bytes at an even pace: (how many, seconds it really took)."""
    start, sent = time.monotonic(), 0
    while (now := time.monotonic() - start) < seconds:
        if now >= sent * every:
            sender.sendto(bytes(1000), target)
            sent += 1
        else:
            time.sleep(0.0005)
    return sent, time.monotonic() - start


@pytest.mark.parametrize("direction", ["up", "down"])
def test_a_reduced_subscriber_gets_its_rate_over_both_families_together(gw: Gateway, direction: str) -> None:
    rate = 512
    gw.put(Entry(Level.OPEN))
    gw.put(Entry(Level.REDUCED, rate=rate))
    inside, outside = gw.network.subscriber, gw.network.internet
    total = 0.0
    passed0, police0 = gw.counted(f"reduced_{direction}_pass")[1], gw.counted(f"reduced_{direction}_police")[0]
    for here, there in ((DEBTOR.v4, WWW4), (DEBTOR.v6, WWW6)):
        space, source, target = (inside, here, there) if direction == "up" else (outside, there, here)
        with space.socket(family_of(here), socket.SOCK_DGRAM) as sender:
            sender.bind((source, 0))
            _, took = flood(sender, (target, 9), seconds=1.2, every=0.003)  # about 2.7 Mbit/s
            total += took
    passed = gw.counted(f"reduced_{direction}_pass")[1] - passed0
    allowed = rate * 125 * (total + 1)  # the rate, and a bucket of one second
    assert gw.counted(f"reduced_{direction}_police")[0] > police0
    assert 0.9 * allowed < passed < 1.1 * allowed


def test_the_garden_is_not_slowed(gw: Gateway) -> None:
    gw.put(Entry(Level.OPEN))
    gw.put(Entry(Level.REDUCED, rate=64))
    before = gw.counted("reduced_up_police")[0], gw.counted("reduced_up_garden")[0]
    with gw.network.subscriber.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.bind((DEBTOR.v4, 0))
        sent, _ = flood(sender, (BANK4, 9), seconds=0.5, every=0.003)
    assert gw.counted("reduced_up_police")[0] == before[0]
    assert gw.counted("reduced_up_garden")[0] - before[1] >= sent
    packet = PROBES["bank quic"].packet(FAMILIES["IPv4"])
    assert gw.tracer(over_rate=True).trace(packet).fate == "pass"
    assert gw.tracer(over_rate=True).trace(PROBES["quic"].packet(FAMILIES["IPv4"])).fate == "drop"


# -- with nobody running ---------------------------------------------------------------------------------------------


def test_a_promise_ends_and_a_block_stands_with_nobody_running() -> None:
    with gateway() as gw:
        gw.put(Entry(Level.WALLED, until=worlds.clock() + 1500))
        gw.backend.close()
        assert gw.device.http(f"http://{WWW4}/").status == 200
        until(lambda: gw.device.http(f"http://{WWW4}/").status == 302)
        assert gw.device.tcp(WWW6, 443).outcome == "reset"
        assert gw.stranger.http(f"http://{WWW4}/").status == 200
        with attached(gw.network.gateway) as second:
            gw.backend = second
            after = {k: plan.Owned(1, Entry(Level.BLOCKED)) for k in gw.addresses()}
            refill(type(gw.kernel)(second, RULES), DictSource(after))
            assert gw.device.tcp(BANK4, 443).outcome == "reset"


def test_no_packet_is_wrongly_passed_or_refused_while_generations_switch(gw: Gateway) -> None:
    """The blocked one gets nothing through, the open one loses nothing, over many refills."""
    gw.put(Entry(Level.BLOCKED))
    source = DictSource(dict(gw.state) | {worlds.v4(10_000 + n): plan.Owned(n, Entry(3)) for n in range(5000)})
    with (
        gw.network.subscriber.socket(socket.AF_INET, socket.SOCK_DGRAM) as bad,
        gw.network.subscriber.socket(socket.AF_INET, socket.SOCK_DGRAM) as good,
        gw.network.internet.socket(socket.AF_INET, socket.SOCK_DGRAM) as sink,
    ):
        bad.bind((DEBTOR.v4, 0))
        good.bind((NEIGHBOUR.v4, 0))
        sink.bind((WWW4, 6000))
        sink.setblocking(False)
        sent, seen = 0, {DEBTOR.v4: 0, NEIGHBOUR.v4: 0}

        def collected() -> int:
            while True:
                try:
                    _, (address, _) = sink.recvfrom(64)
                except BlockingIOError:
                    return seen[NEIGHBOUR.v4]
                seen[address] += 1

        for _ in range(4):
            for _ in gw.kernel.refill(source, worlds.clock):
                for _ in range(20):
                    good.sendto(b"x", (WWW4, 6000))
                    with contextlib.suppress(OSError):  # the ICMP refusal of the one before
                        bad.sendto(b"x", (WWW4, 6000))
                    sent += 1
                collected()
        until(lambda: collected() == sent, seconds=5)
        assert seen == {DEBTOR.v4: 0, NEIGHBOUR.v4: sent}
    refill(gw.kernel, DictSource(gw.state))
