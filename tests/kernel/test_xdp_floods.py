"""What the XDP program remembers of floods: what it is good for, and what it must never be taken for."""

from __future__ import annotations

import time
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest

from edged.domain.entry import Entry
from edged.domain.levels import Level
from edged.nft.garden import Opening
from edged.xdp import layout, libbpf
from edged.xdp.layout import Frames, Held, Settings
from tests.kernel.accelerator import Accelerator, texts
from tests.kernel.segments import DROP, FREE, ISN, KEY4, KEY6, MSS, OTHER, PASS, RST, SYN, Line, Segment
from tests.lab.topology import BANK4, DEBTOR, GATEWAY4, NEIGHBOUR, SUBSCRIBER_INTERFACE, Network
from tests.worlds import until

HELLO = Segment(SYN, options=MSS)


@pytest.fixture
def flooder(line: Line) -> Line:
    """Far beyond its rate, with one packet due a second; its debt and where it sends to are remembered."""
    line.xdp.maps.set_settings(Settings(texts(), rate=1, burst=4))
    for _ in range(20):
        line.send(HELLO)
    assert line.send(HELLO) == DROP
    return line


def test_each_packet_of_a_flood_is_counted_once(flooder: Line) -> None:
    before = flooder.xdp.counted()
    assert before["syn_ack"] + before["drop_rate"] == 21
    fates = [flooder.send(HELLO) for _ in range(50)]
    after = flooder.xdp.counted()
    assert after["drop_rate"] - before["drop_rate"] == fates.count(DROP)
    assert sum(after.values()) - sum(before.values()) == 50


def test_what_is_remembered_of_a_flood_ends_with_what_it_was_for(flooder: Line) -> None:
    """No moment in which somebody released, a new garden or a new rate is not felt."""
    xdp, key = flooder.xdp, KEY4 if flooder.family == 4 else KEY6
    free = FREE[flooder.family]
    xdp.put([OTHER], Entry(Level.BLOCKED))
    assert flooder.send(HELLO) == DROP, "what is said of somebody else releases nobody"
    xdp.gardens({"garden": [Opening(ip_network(free))]})
    assert flooder.send(HELLO) == PASS
    xdp.gardens({})
    assert flooder.send(HELLO) == DROP
    xdp.put([key], Entry(Level.OPEN))
    assert flooder.send(HELLO) == PASS
    xdp.put([key], Entry(Level.WALLED))
    assert isinstance(flooder.send(HELLO), Segment)
    while flooder.send(HELLO) != DROP:
        pass
    xdp.maps.set_settings(Settings(texts(), rate=10**6, burst=10**7))
    assert isinstance(flooder.send(HELLO), Segment)


def test_what_user_space_changes_must_be_told(flooder: Line) -> None:
    """What is remembered is really gone by: a change behind the maps' back is not felt, the next one is."""
    maps, key = flooder.xdp.maps, KEY4 if flooder.family == 4 else KEY6
    assert maps.live is not None
    assert libbpf.delete(maps.live.fds[flooder.family], layout.key(key))
    assert flooder.send(HELLO) == DROP
    flooder.xdp.put([OTHER], Entry(Level.BLOCKED))
    assert flooder.send(HELLO) == PASS


def test_a_flood_takes_nothing_but_its_own_packets(flooder: Line) -> None:
    """Not the gateway's servers, no neighbour's page, no frame that is for somebody else."""
    gateway = {4: GATEWAY4, 6: "fe80::1"}[flooder.family]
    assert replace(flooder, target=gateway).send(HELLO) == PASS
    neighbour = replace(flooder, family=4, source=NEIGHBOUR.v4, target=FREE[4])
    assert isinstance(neighbour.send(HELLO), Segment)
    assert flooder.send(Segment(RST, ISN)) == PASS
    frame = flooder.frame(HELLO)
    assert flooder.xdp.run(frame).verdict == DROP
    assert flooder.xdp.run(b"\x02\0\0\0\0\x77" + frame[6:]).verdict == PASS
    flooder.xdp.pretend(SUBSCRIBER_INTERFACE, Frames.VLAN)
    assert flooder.xdp.run(frame).verdict == PASS


def twin(address: str) -> str:
    """The IPv6 address that begins with the four bytes of an IPv4 one and has no others."""
    return str(IPv6Address(int(IPv4Address(address)) << 96))


@pytest.mark.parametrize("near", [4, 6])
@pytest.mark.parametrize("garden", [True, False], ids=["garden", "gateway"])
def test_what_is_far_in_one_family_is_not_far_in_the_other(
    xdp: Accelerator, network: Network, near: int, garden: bool
) -> None:
    """Nor from the twin of the address that it was far from."""
    four = FREE[4] if near == 6 else BANK4 if garden else GATEWAY4
    lines = {4: Line(xdp, target=four), 6: Line(xdp, 6, source=twin(DEBTOR.v4), target=twin(four))}
    xdp.put([b"\x38" + ip_address(twin(DEBTOR.v4)).packed], Entry(Level.WALLED))
    if garden:
        xdp.gardens({"garden": [Opening(ip_network(lines[near].target))]})
    elif near == 6:
        network.gateway.ip(f"addr add {twin(four)}/128 dev lo nodad")
    try:
        for _ in range(3):
            assert isinstance(lines[10 - near].send(HELLO), Segment)
            assert lines[near].send(HELLO) == PASS
    finally:
        if not garden and near == 6:
            network.gateway.ip(f"addr del {twin(four)}/128 dev lo")


@pytest.mark.parametrize("beyond", [False, True], ids=["within", "beyond"])
def test_what_is_far_from_one_address_may_be_near_another(
    line: Line, network: Network, beyond: bool, request: pytest.FixtureRequest
) -> None:
    """Policy routing goes by the source; an address in debt must pass where its own rule leads."""
    neighbour = {4: NEIGHBOUR.v4, 6: str(ip_address(DEBTOR.v6) + 1)}[line.family]
    other = replace(line, source=neighbour)

    def rules(verb: str) -> None:
        network.gateway.run("ip", f"-{line.family}", "rule", verb, "from", neighbour, "lookup", "77")

    rules("add")
    request.addfinalizer(lambda: rules("del"))
    if beyond:
        line.xdp.maps.set_settings(Settings(texts(), rate=1, burst=4))
        until(lambda: other.send(HELLO) == DROP, seconds=2)
    route = f"local {FREE[line.family]} dev lo table 77"
    network.gateway.ip(f"route add {route}")
    request.addfinalizer(lambda: network.gateway.ip(f"route del {route}"))
    until(lambda: other.send(HELLO) == PASS, seconds=2)
    for _ in range(5):
        assert line.send(HELLO) != PASS
        assert other.send(HELLO) == PASS


def test_a_broken_packet_of_a_flood_is_for_the_rules(flooder: Line) -> None:
    ip, frame = 14, bytearray(flooder.frame(HELLO))
    tcp = ip + (20 if flooder.family == 4 else 40)
    broken = [frame[: tcp + 12] + b"\x10" + frame[tcp + 13 :], frame[: tcp + 12] + b"\xf0" + frame[tcp + 13 :]]
    if flooder.family == 4:
        broken += [frame[:ip] + b"\x46" + frame[ip + 1 :], frame[: ip + 6] + b"\x20" + frame[ip + 7 :]]
    assert [flooder.xdp.run(bytes(b)).verdict for b in broken] == [PASS] * len(broken)


def test_a_flood_goes_by_its_own_levels_gardens(xdp: Accelerator) -> None:
    """What is far for a blocked subscriber may be in the garden of a walled one."""
    xdp.maps.set_settings(Settings(texts(), rate=1, burst=4))
    xdp.put([KEY4], Entry(Level.BLOCKED))
    xdp.gardens({"garden": [Opening(ip_network(BANK4))]})
    bank, free = Line(xdp, target=BANK4), Line(xdp, source=NEIGHBOUR.v4)
    assert [bank.send(HELLO) for _ in range(20)][-1] == DROP
    assert [free.send(HELLO) for _ in range(20)][-1] == DROP
    assert replace(free, target=BANK4).send(HELLO) == PASS
    assert bank.send(HELLO) == DROP


def test_a_promise_that_ends_during_a_flood_changes_it(xdp: Accelerator) -> None:
    xdp.maps.set_settings(Settings(texts(), rate=1, burst=4))
    xdp.gardens({"garden": [Opening(ip_network(BANK4))]})
    end = time.time_ns() // 1_000_000 + 300
    xdp.put([KEY4], Entry(Level.BLOCKED, lift=Level.WALLED, until=end))
    free, bank = Line(xdp), Line(xdp, target=BANK4)
    assert [free.send(HELLO) for _ in range(20)][-1] == DROP
    assert bank.send(HELLO) == PASS
    until(lambda: bank.send(HELLO) == DROP, seconds=2)
    assert time.time_ns() // 1_000_000 >= end


def test_a_debt_ends_with_the_promise_that_it_is_of(line: Line) -> None:
    """Who is mild once it has ended does not wait until his next packet would have been due, a minute later."""
    xdp, key = line.xdp, KEY4 if line.family == 4 else KEY6
    xdp.tune(cost=60_000_000_000, burst=0)
    end = time.monotonic_ns() + 2_000_000_000
    promise = layout.values([Held(Level.OPEN, Level.WALLED, end)])
    assert xdp.maps.live is not None
    xdp.maps.write(xdp.maps.live, line.family, layout.keys(key[0], key[1:]), promise)
    assert isinstance(line.send(HELLO), Segment)
    assert line.send(HELLO) == DROP
    until(lambda: line.send(HELLO) == PASS, seconds=10)
    assert time.monotonic_ns() >= end


def test_all_addresses_of_a_prefix_are_one_flood(xdp: Accelerator) -> None:
    for narrow in (False, True):
        lengths = (128, 64, 56) if narrow else (64, 56)
        xdp.maps.set_settings(Settings(texts(), lengths, rate=1, burst=4))
        xdp.put([KEY6], Entry(Level.WALLED))
        base = ip_address(DEBTOR.v6)
        lines = [Line(xdp, 6, source=str(base + n)) for n in range(30)]
        assert [line.send(HELLO) for line in lines][-1] == DROP
        if narrow:
            xdp.put([b"\x80" + (base + 7).packed], Entry(Level.WALLED))
            assert isinstance(lines[7].send(HELLO), Segment)
            assert lines[8].send(HELLO) == DROP
