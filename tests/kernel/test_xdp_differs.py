"""XDP and the rules decide alike, for thousands of packets, whole ones and broken ones.

The rules' word is what the kernel's own counters say when the real packet comes in over the cable. What XDP does not
pass it must have right: only what the rules send to the portal may be answered. And what is a plain beginning of a
connection that the rules send there must be answered, or the test would prove nothing.

The kernel here may lack VLANs and PPPoE: there the same IP packet is asked about both ways, in its frame for XDP and in
plain Ethernet for the rules.
"""

from __future__ import annotations

import os
import random
import socket
import struct
from collections.abc import Iterator
from ipaddress import ip_network
from typing import Any

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption_RR
from scapy.layers.inet6 import IPv6, IPv6ExtHdrDestOpt, IPv6ExtHdrFragment, IPv6ExtHdrHopByHop
from scapy.packet import Packet, Raw

from edged.domain.address import Addressing
from edged.domain.entry import Entry
from edged.domain.levels import Level
from edged.nft.garden import Opening
from edged.plan import Owned
from edged.xdp.layout import Frames, Settings
from tests import worlds
from tests.kernel.accelerator import Accelerator, texts
from tests.kernel.gateway import RULES, Gateway, gateway
from tests.kernel.segments import PASS, TX, words
from tests.lab.topology import BANK4, BANK6, GATEWAY4, GATEWAY6, SUBSCRIBER_INTERFACE, UPLINK4, WWW4, WWW6
from tests.worlds import DictSource, refill

PACKETS, BROKEN = 250, 7
"""Whole packets of one seed, and how often each is broken."""
FAR = worlds.clock() + 3_600_000
ENTRIES = {
    0: Entry(),
    1: Entry(Level.WALLED),
    2: Entry(Level.BLOCKED),
    3: Entry(Level.NOTICE),
    4: Entry(Level.REDUCED, rate=64),
    5: Entry(Level.WALLED, until=FAR),
    6: Entry(Level.BLOCKED, lift=Level.NOTICE, until=FAR),
    7: Entry(Level.WALLED, rate=64, lift=Level.REDUCED, until=FAR),
    8: Entry(Level.WALLED, until=worlds.clock() - 1000),
}
"""By the last number of the address, IPv4 and IPv6."""
GARDENS = {
    "garden": [Opening(ip_network(BANK4)), Opening(ip_network(BANK6)), Opening(ip_network("192.0.2.128/25"))],
    "open": [
        Opening(ip_network("192.0.2.7/32"), 6, 6, 443, 443),
        Opening(ip_network("2001:db8:e::/48")),
        Opening(ip_network("2001:db8:e:1::/64"), 17, 17, 53, 53),
    ],
}
TO4 = (
    WWW4,
    "192.0.2.1",
    "192.0.2.7",
    "192.0.2.200",
    BANK4,
    GATEWAY4,
    UPLINK4,
    "100.64.0.255",
    "224.0.0.251",
    "127.0.0.1",
)
FREE4, FREE6 = ("192.0.2.1", "203.0.113.9") * 4, ("2001:db8:9::9", "2001:db8:100::2") * 4
TO6 = (
    WWW6,
    "2001:db8:e::1",
    "2001:db8:e:1::1",
    "2001:db8:9::9",
    BANK6,
    GATEWAY6,
    "fe80::1",
    "ff02::1",
    "2001:db8:100::2",
)


@pytest.fixture(scope="module")
def gw() -> Iterator[Gateway]:
    with gateway() as made:
        made.network.gateway.ip("route add default via 198.51.100.10", "route add ::/0 via 2001:db8:f::10")
        made.open_gardens(GARDENS)
        addressing = Addressing(RULES.prefix_lengths)
        state = {
            key: Owned(n + 1, entry)
            for n, entry in ENTRIES.items()
            if entry.level
            for address in (f"100.64.0.{20 + n}", f"2001:db8:100:{n + 1:x}00::/56")
            for key in addressing.keys(address)
        }
        # a narrower prefix inside a walled one, with another level: the first length of the rules decides
        state[b"\x40" + socket.inet_pton(socket.AF_INET6, "2001:db8:100:207::")] = Owned(90, Entry(Level.NOTICE))
        refill(made.kernel, DictSource(state))
        made.state = state
        yield made


@pytest.fixture(scope="module")
def xdp(gw: Gateway) -> Iterator[Accelerator]:
    made = Accelerator(gw.network.gateway, settings=Settings(texts(), rate=10**6, burst=10**6))
    made.gardens(GARDENS)
    for key, owned in gw.state.items():
        made.put([key], owned.entry)
    yield made
    made.close()


class Rules:
    """Sends a packet over the cable and says what the rules did with it: portal, other, or nothing at all."""

    def __init__(self, gw: Gateway, mac: bytes) -> None:
        self._gw = gw
        self._socket = gw.network.subscriber.call(socket.socket, socket.AF_PACKET, socket.SOCK_RAW)
        self._socket.bind(("wan0", 0))
        last = IP(src="100.64.0.23", dst=WWW4) / UDP(sport=9, dport=9)
        self._last = mac + b"\x02\0\0\0\0\x01\x08\0" + bytes(last)
        self._before = self._counters()

    def _counters(self) -> dict[str, int]:
        return {name: packets for name, (packets, _) in self._gw.backend.counters().items() if "_up_" in name}

    def decide(self, frame: bytes) -> str:
        for data in (frame, self._last):  # once the second is counted, the first has been dealt with
            self._socket.send(data.ljust(60, b"\0"))
        before, now = self._before, self._before
        while now["notice_up_pass"] == before["notice_up_pass"]:
            now = self._counters()
        self._before = now
        moved = {name for name, n in now.items() if n != before[name]}
        if moved & {"walled_up_portal", "blocked_up_portal"}:
            return "portal"
        return "other" if moved - {"notice_up_pass"} else "nothing"

    def close(self) -> None:
        self._socket.close()


def made_packet(draw: random.Random) -> tuple[Packet, bool]:
    """An IP packet of a subscriber, and whether it is a whole, plain SYN to port 80."""
    six = draw.random() < 0.4
    n = draw.choice([*ENTRIES, *(1, 2, 8) * 3])
    if six:
        ip: Packet = IPv6(
            src=f"2001:db8:100:{n + 1:x}{draw.choice(['00', 'ff', '07'])}::10", dst=draw.choice((*TO6, *FREE6))
        )
    else:
        ip = IP(src=f"100.64.0.{20 + n}", dst=draw.choice((*TO4, *FREE4)), id=draw.randrange(65536))
    kind = draw.random()
    ports: dict[str, Any] = {"sport": draw.randrange(1024, 65536), "dport": draw.choice([80, 80, 80, 443, 8080])}
    if kind < 0.5:
        options: Any = draw.choice(
            [[], [("MSS", 1460)], [("MSS", 1400), ("SAckOK", b""), ("WScale", 7)], [("MSS", 100)]]
        )
        packet = ip / TCP(**ports, flags="S", seq=draw.getrandbits(32), options=options)
        # an answer must fit into one segment: those who take none so large are left to the sockets
        return packet, ports["dport"] == 80 and (not options or options[0][1] > 200)
    if kind < 0.75:
        flags = draw.choice(["A", "PA", "FA", "R", "RA", "SA", "", "F", "SF", "FPU", "SFPAU", "SR"])
        data = Raw(draw.choice([b"", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\x16\x03\x01", draw.randbytes(40)]))
        return ip / TCP(**ports, flags=flags, seq=draw.getrandbits(32), ack=draw.getrandbits(32)) / data, False
    if kind < 0.85:
        return ip / (UDP(**ports) / Raw(b"x" * 20) if draw.random() < 0.7 else ICMP()), False
    syn = TCP(**ports, flags="S")
    if six:
        header = draw.choice([IPv6ExtHdrHopByHop(), IPv6ExtHdrDestOpt(), IPv6ExtHdrFragment(offset=0, m=1)])
        return ip / header / syn, False
    odd = draw.choice(["options", "first", "later"])
    if odd == "options":
        ip.options = [IPOption_RR()]
        return ip / syn, False
    ip.flags, ip.frag = ("MF", 0) if odd == "first" else (0, 100)
    return ip / syn, False


def broken(draw: random.Random, packet: bytes) -> bytes:
    """The same with a few bytes of it wrong, or its end missing, or something behind it."""
    out = bytearray(packet)
    kind = draw.random()
    if kind < 0.6:
        for _ in range(draw.randrange(1, 4)):
            out[draw.randrange(len(out))] = draw.randrange(256)
    elif kind < 0.8:
        del out[draw.randrange(1, len(out)) :]
    else:
        out += draw.randbytes(draw.randrange(1, 30))
    return bytes(out)


def wrapped(draw: random.Random, ends: bytes, packet: bytes, *, six: bool) -> tuple[bytes, bytes]:
    """A frame with the packet in it, behind any tags, perhaps in a PPPoE session; and what is before the packet."""
    tags = draw.choice([b"", b"\x81\0\x60\x07", b"\x88\xa8\0\x07\x81\0\0\x63"])
    proto = b"\x86\xdd" if six else b"\x08\x00"
    if draw.random() < 0.5:
        session = struct.pack("!HBBHH", 0x8864, 0x11, 0, draw.randrange(1, 65535), len(packet) + 2)
        proto = session + (b"\x00\x57" if six else b"\x00\x21")
    head = ends + tags + proto
    return head, head + packet


@pytest.mark.parametrize("seed", [int(n) for n in os.environ.get("EDGED_TEST_SEEDS", "1").split()])
def test_what_xdp_answers_is_what_the_rules_send_to_the_portal(gw: Gateway, xdp: Accelerator, seed: int) -> None:
    draw = random.Random(seed)
    mac = xdp.pretend(SUBSCRIBER_INTERFACE)
    ends = mac + b"\x02\0\0\0\0\x01"
    rules = Rules(gw, mac)
    answered = beginnings = 0
    try:
        for _ in range(PACKETS):
            made, plain = made_packet(draw)
            six, whole = IPv6 in made, bytes(made)
            for packet in (whole, *(broken(draw, whole) for _ in range(BROKEN))):
                said = rules.decide(ends + (b"\x86\xdd" if six else b"\x08\x00") + packet)
                head, frame = wrapped(draw, ends, packet, six=six)
                ran = xdp.run(frame)
                if ran.verdict == PASS:
                    assert ran.data == frame.ljust(60, b"\0"), "what passes is untouched"
                else:
                    assert said == "portal", (ran.verdict, frame.hex())
                    answered += 1
                if ran.verdict == TX:
                    sound(head, ran.data, six=six)
                if packet is whole and plain and said == "portal" and not guarded(made):
                    assert ran.verdict == TX, frame.hex()
                    beginnings += 1
    finally:
        rules.close()
    assert beginnings > PACKETS / 20, "too few packets were worth an answer"
    assert answered >= beginnings


def guarded(packet: Packet) -> bool:
    """Whether it goes to a garden's network, which XDP leaves to the rules whatever the port."""
    to = packet.dst
    version = 6 if IPv6 in packet else 4
    members = (o.network for members in GARDENS.values() for o in members if o.network.version == version)
    return any(ip_network(to).subnet_of(network) for network in members)  # type: ignore[arg-type]


def sound(head: bytes, answer: bytes, *, six: bool) -> None:
    """An answer is in the same encapsulation with the ends exchanged, and its lengths and sums are right."""
    ip = answer[len(head) :]
    length = 40 + int.from_bytes(ip[4:6]) if six else int.from_bytes(ip[2:4])
    back = head[6:12] + head[:6] + head[12:]
    if b"\x88\x64\x11\0" in back[12:]:
        back = back[:-4] + (length + 2).to_bytes(2) + back[-2:]
    assert answer[: len(head)] == back
    assert len(answer) == max(60, len(head) + length)
    tcp = ip[40 if six else 20 : length]
    assert six or words(ip[:20]) == 0xFFFF
    ends = ip[8:40] if six else ip[12:20]
    assert words(ends + len(tcp).to_bytes(4) + b"\0\0\0\x06" + tcp) == 0xFFFF


def test_links_say_which_frames_are_subscribers(xdp: Accelerator) -> None:
    """Another VLAN, another encapsulation, another's hardware address, another interface: not for XDP."""
    syn = bytes(IP(src="100.64.0.21", dst="192.0.2.1") / TCP(dport=80, flags="S"))
    source, mac = b"\x02\0\0\0\0\x01", xdp.pretend(SUBSCRIBER_INTERFACE, Frames.VLAN, [7, 4095])
    session = struct.pack("!HBBHHH", 0x8864, 0x11, 0, 1, len(syn) + 2, 0x21)

    def verdict(between: bytes, to: bytes = mac) -> int:
        return int(xdp.run(to + source + between + syn).verdict)

    assert verdict(b"\x81\0\0\x07\x08\0") == TX
    assert verdict(b"\x81\0\x0f\xff\x08\0") == TX
    assert verdict(b"\x81\0\0\x08\x08\0") == PASS
    assert verdict(b"\x81\0\0\x07\x81\0\0\x07\x08\0") == PASS
    assert verdict(b"\x08\0") == PASS
    xdp.pretend(SUBSCRIBER_INTERFACE, Frames.PPPOE)
    assert verdict(b"\x08\0") == PASS
    assert verdict(session) == TX
    xdp.pretend(SUBSCRIBER_INTERFACE, Frames.PLAIN)
    assert verdict(session) == PASS
    assert verdict(b"\x08\0") == TX
    assert verdict(b"\x08\0", b"\x02\0\0\0\0\x99") == PASS
    assert verdict(b"\x08\0", b"\xff" * 6) == PASS
    xdp.maps.unlink(xdp._ifindex)
    assert verdict(b"\x08\0") == PASS
