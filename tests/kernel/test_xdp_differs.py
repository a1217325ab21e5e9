"""XDP and the rules decide alike, for thousands of packets, whole ones and broken ones.

The rules' word is what the kernel's own counters say when the real packet comes in over the cable. What XDP does not
pass it must have right: only what the rules send to the portal may be answered. And what is a plain beginning of a
connection that the rules send there must be answered, or the test would prove nothing.

The kernel here may lack VLANs and PPPoE: there the same IP packet is asked about both ways, in its frame for XDP and in
plain Ethernet for the rules.
"""

from __future__ import annotations

import random
import socket
from collections.abc import Iterator
from ipaddress import ip_network

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption_RR
from scapy.layers.inet6 import IPv6, IPv6ExtHdrDestOpt, IPv6ExtHdrFragment, IPv6ExtHdrHopByHop
from scapy.layers.l2 import Dot1AD, Dot1Q, Ether
from scapy.layers.ppp import PPP, PPPoE
from scapy.packet import Packet, Raw

from edged.domain.address import Addressing
from edged.domain.entry import Entry
from edged.domain.levels import Level
from edged.nft.garden import Opening
from edged.plan import Owned
from edged.xdp.layout import Frames, Settings
from edged.xdp.libbpf import Ran
from tests import worlds
from tests.kernel.accelerator import Accelerator, texts
from tests.kernel.gateway import RULES, Gateway, gateway
from tests.lab.topology import BANK4, BANK6, GATEWAY4, GATEWAY6, SUBSCRIBER_INTERFACE, UPLINK4, WWW4, WWW6
from tests.worlds import DictSource, refill

PASS, TX = 2, 3
PACKETS = 2000
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
TO4 = (WWW4, "192.0.2.1", "192.0.2.7", "192.0.2.200", BANK4, GATEWAY4, UPLINK4, "100.64.0.255", "224.0.0.251", "127.0.0.1")
TO6 = (WWW6, "2001:db8:e::1", "2001:db8:e:1::1", "2001:db8:9::9", BANK6, GATEWAY6, "fe80::1", "ff02::1", "2001:db8:100::2")


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

    def __init__(self, gw: Gateway) -> None:
        self._gw = gw
        self._socket = gw.network.subscriber.call(socket.socket, socket.AF_PACKET, socket.SOCK_RAW)
        self._socket.bind(("wan0", 0))
        # what the gateway's own addresses send at us is nobody's business here
        self._before = self._counters()

    def _counters(self) -> dict[str, int]:
        return {name: packets for name, (packets, _) in self._gw.backend.counters().items()}

    def decide(self, frame: bytes) -> str:
        self._socket.send(frame.ljust(60, b"\0"))  # a veth's far end has it before this returns
        now = self._counters()
        moved = {name for name, n in now.items() if n != self._before[name] and "_up_" in name}
        self._before = now
        if any(name.endswith("_up_portal") for name in moved):
            return "notice" if "notice_up_portal" in moved else "portal"
        return "other" if moved else "nothing"

    def close(self) -> None:
        self._socket.close()


def made_packet(draw: random.Random) -> tuple[Packet, bool]:
    """An IP packet of a subscriber, and whether it is a whole, plain SYN to port 80."""
    six = draw.random() < 0.4
    n = draw.choice([*ENTRIES, 1, 1, 2, 2])
    if six:
        ip: Packet = IPv6(src=f"2001:db8:100:{n + 1:x}{draw.choice(['00', 'ff', '07'])}::10", dst=draw.choice(TO6))
    else:
        ip = IP(src=f"100.64.0.{20 + n}", dst=draw.choice(TO4), id=draw.randrange(65536))
    kind = draw.random()
    ports = {"sport": draw.randrange(1024, 65536), "dport": draw.choice([80, 80, 80, 443, 8080])}
    if kind < 0.5:
        options = draw.choice([[], [("MSS", 1460)], [("MSS", 1400), ("SAckOK", b""), ("WScale", 7)], [("MSS", 100)]])
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


WRAPPINGS = (
    lambda ends: ends,
    lambda ends: ends / Dot1Q(vlan=7, prio=3),
    lambda ends: ends / Dot1AD(vlan=7) / Dot1Q(vlan=99),
    lambda ends: ends / PPPoE(sessionid=5),
    lambda ends: ends / Dot1Q(vlan=7) / PPPoE(sessionid=6),
    lambda ends: ends / Dot1AD(vlan=7) / Dot1Q(vlan=8) / PPPoE(sessionid=6),
)


def wrapped(draw: random.Random, source: bytes, mac: bytes, six: bool, packet: bytes) -> bytes:
    """A frame with the packet in it, in any encapsulation."""
    proto, ppp = (0x86DD, 0x57) if six else (0x0800, 0x21)
    frame = draw.choice(WRAPPINGS)(Ether(src=source, dst=mac, type=proto))
    if PPPoE in frame:
        frame[PPPoE].len = len(packet) + 2
        return bytes(frame / PPP(proto=ppp)) + packet
    last = frame.lastlayer()
    last.type = proto
    return bytes(frame) + packet


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.timeout(240)
def test_what_xdp_answers_is_what_the_rules_send_to_the_portal(gw: Gateway, xdp: Accelerator, seed: int) -> None:
    draw = random.Random(seed)
    mac = xdp.pretend(SUBSCRIBER_INTERFACE)
    source = b"\x02\0\0\0\0\x01"
    rules = Rules(gw)
    answered = beginnings = 0
    try:
        for _ in range(PACKETS):
            made, plain = made_packet(draw)
            six, packet = IPv6 in made, bytes(made)
            if draw.random() < 0.3:
                packet, plain = broken(draw, packet), False
            said = rules.decide(mac + source + (b"\x86\xdd" if six else b"\x08\x00") + packet)
            frame = wrapped(draw, source, mac, six, packet)
            ran = xdp.run(frame)
            if ran.verdict != PASS:
                assert said == "portal", (ran.verdict, frame.hex())
                answered += 1
            if plain and said == "portal" and not guarded(made):
                assert ran.verdict == TX, frame.hex()
                beginnings += 1
            sound(frame, ran)
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


def sound(asked: bytes, ran: Ran) -> None:
    """An answer is a frame with right checksums in the same encapsulation; what passes is untouched."""
    if ran.verdict == PASS:
        assert ran.data == asked.ljust(60, b"\0")
    if ran.verdict != TX:
        return
    question, answer = Ether(asked), Ether(ran.data)
    assert (answer.src, answer.dst) == (question.dst, question.src)
    for layer in (Dot1AD, Dot1Q, PPPoE, PPP):
        assert (layer in answer) == (layer in question)
    if PPPoE in answer:
        assert answer[PPPoE].sessionid == question[PPPoE].sessionid
        assert answer[PPPoE].len == len(answer[PPP].payload) + 2 - len(padding(answer))
    for layer in (IP, TCP):
        if layer in answer:
            told = answer[layer].chksum
            anew = answer[layer].copy()
            del anew.chksum
            assert type(anew)(bytes(anew)).chksum == told or layer is TCP
    assert right_tcp_sum(answer)


def padding(frame: Packet) -> bytes:
    found = frame.getlayer("Padding")
    return bytes(found.load) if found is not None else b""


def right_tcp_sum(answer: Packet) -> bool:
    ip = answer[IP] if IP in answer else answer[IPv6]
    told = ip[TCP].chksum
    again = ip.copy()
    del again[TCP].chksum
    return bool(type(again)(bytes(again))[TCP].chksum == told)


def test_links_say_which_frames_are_subscribers(xdp: Accelerator) -> None:
    """Another VLAN, another encapsulation, another's hardware address, another interface: not for XDP."""
    syn = bytes(IP(src="100.64.0.21", dst=WWW4) / TCP(dport=80, flags="S"))
    source = b"\x02\0\0\0\0\x01"

    def verdict(frame: Packet) -> int:
        return xdp.run(bytes(frame) + syn).verdict

    mac = xdp.pretend(SUBSCRIBER_INTERFACE, Frames.VLAN, [7, 4095])
    plain = Ether(src=source, dst=mac, type=0x800)
    assert verdict(plain / Dot1Q(vlan=7, type=0x800)) == TX
    assert verdict(plain / Dot1Q(vlan=4095, type=0x800)) == TX
    assert verdict(plain / Dot1Q(vlan=8, type=0x800)) == PASS
    assert verdict(plain) == PASS
    assert verdict(plain / Dot1Q(vlan=7) / Dot1Q(vlan=7, type=0x800)) == PASS
    xdp.pretend(SUBSCRIBER_INTERFACE, Frames.PPPOE)
    session = plain / PPPoE(sessionid=1, len=len(syn) + 2) / PPP(proto=0x21)
    assert verdict(plain) == PASS
    assert verdict(session) == TX
    xdp.pretend(SUBSCRIBER_INTERFACE, Frames.PLAIN)
    assert verdict(session) == PASS
    assert verdict(plain) == TX
    assert verdict(Ether(src=source, dst="02:00:00:00:00:99", type=0x800)) == PASS
    assert verdict(Ether(src=source, dst="ff:ff:ff:ff:ff:ff", type=0x800)) == PASS
    xdp.maps.unlink(xdp._ifindex)
    assert verdict(plain) == PASS
