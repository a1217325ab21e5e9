"""By what the XDP program knows again who floods: nobody else is ever taken for him.

Debts last a minute here, and entries and settings change behind the maps' back, so that nothing is forgotten meanwhile.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator
from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest

from edged.domain.levels import Level
from edged.nft.garden import Opening
from edged.xdp import libbpf
from edged.xdp.layout import Frames, Settings
from tests.kernel.accelerator import Accelerator, map_of, texts
from tests.kernel.segments import DROP, FREE, KEY4, KEY6, MSS, PASS, SYN, TX, Line, Segment
from tests.lab.netns import Namespace
from tests.lab.topology import BANK6, DEBTOR, SUBSCRIBER_INTERFACE, Network

HELLO = Segment(SYN, options=MSS)
MINUTE = 60_000_000_000
SEEDS = (1, 2**63 + 1, 0x9E3779B97F4A7C15, 0x0123456789ABCDEF)
LINES, LINE = 16384, struct.Struct("=8Q")
"""Of the map `traces`: a debt and three ways, each sealed and held."""


@pytest.fixture
def flooder(line: Line) -> Line:
    """One who has nothing due for a minute; that and his way are remembered."""
    line.xdp.tune(cost=MINUTE, burst=0)
    assert isinstance(line.send(HELLO), Segment)
    assert line.send(HELLO) == DROP
    return line


def key_of(line: Line) -> bytes:
    return KEY4 if line.family == 4 else KEY6


def tagged(frame: bytes, *vlans: int) -> bytes:
    return frame[:12] + b"".join(b"\x81\0" + vlan.to_bytes(2) for vlan in vlans) + frame[12:]


def in_session(frame: bytes) -> bytes:
    """The same packet in PPPoE."""
    inside = b"\0\x21" if frame[12:14] == b"\x08\0" else b"\0\x57"
    return frame[:12] + struct.pack("!HBBHH", 0x8864, 0x11, 0, 1, len(frame) - 12) + inside + frame[14:]


def test_a_debt_is_of_one_vlan_one_kind_of_frame_and_one_device(line: Line) -> None:
    """The same addresses elsewhere are somebody else's, or no subscriber's at all."""
    xdp, plain = line.xdp, line.frame(HELLO)
    session = in_session(plain)
    xdp.pretend(SUBSCRIBER_INTERFACE, Frames.ALL & ~(Frames.QINQ | Frames.PPPOE), [7, 9])
    xdp.tune(cost=MINUTE, burst=0)
    flood = tagged(plain, 7)
    assert [xdp.run(flood).verdict for _ in range(2)] == [TX, DROP]
    for strange in (tagged(plain, 8), tagged(plain, 7, 7), tagged(plain, 0), session):
        assert xdp.run(strange).verdict == PASS
    assert xdp.run(flood, "up0").verdict == PASS
    for allowed in (tagged(plain, 9), tagged(session, 7), plain):
        xdp.restore(key_of(line), Level.WALLED)
        assert xdp.run(allowed).verdict == TX
    xdp.restore(key_of(line), Level.WALLED)
    assert xdp.run(flood).verdict == DROP, "all the while its debt stood"


def test_a_mark_has_the_secret_seed_in_it(flooder: Line) -> None:
    xdp = flooder.xdp
    for seed, known in ((SEEDS[0], False), (SEEDS[1], False), (SEEDS[0], True), (SEEDS[1], True)):
        xdp.tune(seed=seed)
        xdp.restore(key_of(flooder), Level.WALLED)
        assert (flooder.send(HELLO) == DROP) is known


# -- torn pairs -------------------------------------------------------------------------------------------------------


class Trace:
    """The one cache line in which something is remembered."""

    def __init__(self, xdp: Accelerator) -> None:
        self._fd = map_of(xdp.maps.program, "traces")
        found = {n: self._read(n) for n in range(LINES)}
        ((self.at, self.pairs),) = ((n, pairs) for n, pairs in found.items() if any(pairs))

    def _read(self, at: int) -> list[int]:
        return list(LINE.unpack(libbpf.lookup(self._fd, struct.pack("=I", at), LINE.size) or bytes(LINE.size)))

    def write(self, pairs: list[int]) -> None:
        libbpf.update(self._fd, struct.pack("=I", self.at), LINE.pack(*pairs))

    def close(self) -> None:
        os.close(self._fd)


@pytest.fixture
def trace(flooder: Line) -> Iterator[Trace]:
    """Of a flooder who would pass if nothing were remembered."""
    flooder.xdp.restore(key_of(flooder), Level.OPEN)
    found = Trace(flooder.xdp)
    yield found
    found.close()


HOUR = 3_600_000_000_000 << 3
"""Further in what is held: behind three bits that are a level."""


def sip(seed: int, use: int, *words: int) -> int:
    """SipHash-1-3 of whole words by the book (Aumasson and Bernstein 2012, 2.1 to 2.4), their number left out."""
    mask = 2**64 - 1
    said = b"somepseudorandomlygeneratedbytes"
    a, b, c, d = (
        key ^ int.from_bytes(said[n : n + 8]) for key, n in zip((seed, use) * 2, range(0, 32, 8), strict=True)
    )

    def turned(word: int, bits: int) -> int:
        return (word << bits | word >> (64 - bits)) & mask

    def mix() -> None:
        nonlocal a, b, c, d
        a, c = (a + b) & mask, (c + d) & mask
        b, d, a = turned(b, 13) ^ a, turned(d, 16) ^ c, turned(a, 32)
        c, a = (c + b) & mask, (a + d) & mask
        b, d, c = turned(b, 17) ^ c, turned(d, 21) ^ a, turned(c, 32)

    for word in words:
        d ^= word
        mix()
        a ^= word
    c ^= 0xFF
    for _ in range(3):
        mix()
    return a ^ b ^ c ^ d


@pytest.mark.parametrize("narrow", [False, True])
def test_what_is_made_of_an_ipv6_address_is_a_siphash(xdp: Accelerator, narrow: bool) -> None:
    """Of anything simpler somebody can choose what collides: mixing twice took ten thousand tries."""
    seed, line = SEEDS[3], Line(xdp, 6, source=DEBTOR.v6, target=FREE[6])
    xdp.maps.set_settings(Settings(texts(), (128, 64, 56) if narrow else (64, 56)))
    xdp.tune(seed=seed, cost=MINUTE, burst=0)
    assert [isinstance(line.send(HELLO), Segment), line.send(HELLO)] == [True, DROP]
    trace = Trace(xdp)
    trace.close()
    (prefix, station), target = words(DEBTOR.v6), words(FREE[6])
    assert trace.at == sip(seed, 1, prefix, station if narrow else 0) % LINES
    sender, *ways = (a ^ b for a, b in zip(trace.pairs[::2], trace.pairs[1::2], strict=True))
    assert sip(seed, 2, sender, station, *target) in ways


def test_half_a_new_debt_is_nobodys(flooder: Line, trace: Trace) -> None:
    """One processor writes the two words of a note while another reads them."""
    assert flooder.send(HELLO) == DROP
    sealed, held, *ways = trace.pairs
    for torn in ([sealed, held + HOUR], [sealed ^ held ^ (held + HOUR), held]):
        trace.write([*torn, *ways])
        assert flooder.send(HELLO) == PASS
    trace.write([sealed ^ held ^ (held + HOUR), held + HOUR, *ways])
    assert flooder.send(HELLO) == DROP, "both new words: remembered an hour longer"


def test_half_a_new_way_is_nobodys(
    flooder: Line, trace: Trace, network: Network, request: pytest.FixtureRequest
) -> None:
    """Where it is not known to be far, the kernel is asked, for whom the destination is at home by now."""
    at = next(n for n in (2, 4, 6) if trace.pairs[n])
    before, behind, (sealed, held) = trace.pairs[:at], trace.pairs[at + 2 :], trace.pairs[at : at + 2]
    at_home(network.gateway, FREE[flooder.family], request)
    trace.write([*before, sealed, held + HOUR, *behind])
    assert flooder.send(HELLO) == PASS
    trace.write([*before, sealed ^ held ^ (held + HOUR), held + HOUR, *behind])
    assert flooder.send(HELLO) == DROP, "both new words"


def at_home(gateway: Namespace, address: str, request: pytest.FixtureRequest) -> None:
    gateway.ip(f"route add local {address} dev lo")
    request.addfinalizer(lambda: gateway.ip(f"route del local {address} dev lo"))


# -- chosen addresses -------------------------------------------------------------------------------------------------

M = 2**64
Chooser = Callable[[int, int, int], int]
"""Of two words of the victim's and the attacker's first: his second, with which his two are as good as the victim's."""


def factor(which: int) -> int:
    """Of the sums that marks once were."""
    return (0x9E3779B97F4A7C15 + which * 0xD1342543DE82EF94) % M


def weighted(first: int, second: int) -> Chooser:
    def choose(one: int, other: int, mine: int) -> int:
        return (factor(first) * (one - mine) + factor(second) * other) * pow(factor(second), -1, M) % M

    return choose


CHOSEN: dict[str, Chooser] = {
    "old address": weighted(1, 2),
    "old destination": weighted(6, 8),
    "sum": lambda one, other, mine: (one + other - mine) % M,
    "xor": lambda one, other, mine: one ^ other ^ mine,
}


def words(address: str) -> tuple[int, int]:
    packed = ip_address(address).packed
    return int.from_bytes(packed[:8], "little"), int.from_bytes(packed[8:], "little")


def with_rest(address: str, rest: int) -> str:
    return str(ip_address(ip_address(address).packed[:8] + rest.to_bytes(8, "little")))


@pytest.mark.parametrize("chosen", CHOSEN)
def test_nobody_can_choose_an_address_with_anothers_mark(xdp: Accelerator, chosen: str) -> None:
    """The victim is in no map: nothing of his may ever be dropped."""
    victim = Line(xdp, 6, source="2001:db8:200::10")
    source = with_rest(DEBTOR.v6, CHOSEN[chosen](*words(victim.source), words(DEBTOR.v6)[0]))
    attacker = replace(victim, source=source)
    xdp.maps.set_settings(Settings(texts(), (128, 64, 56)))
    for seed in SEEDS:
        xdp.tune(seed=seed, cost=MINUTE, burst=0)
        attacker.send(HELLO)
        assert attacker.send(HELLO) == DROP
        assert victim.send(HELLO) == PASS


@pytest.mark.parametrize("chosen", CHOSEN)
def test_nobody_can_choose_a_destination_with_the_mark_of_anothers_garden(xdp: Accelerator, chosen: str) -> None:
    """All of a /64 share a debt, but not where they send to."""
    attacker = Line(xdp, 6)
    victim = replace(attacker, source=str(ip_address(DEBTOR.v6) + 1), target=BANK6)
    rest = CHOSEN[chosen](words(victim.source)[1], words(BANK6)[1], words(DEBTOR.v6)[1])
    attacker = replace(attacker, target=with_rest(BANK6, rest))
    xdp.gardens({"garden": [Opening(ip_network(BANK6))]})
    for seed in SEEDS:
        xdp.tune(seed=seed, cost=MINUTE, burst=0)
        attacker.send(HELLO)
        assert attacker.send(HELLO) == DROP
        assert victim.send(HELLO) == PASS
