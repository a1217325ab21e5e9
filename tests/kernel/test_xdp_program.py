"""The program by itself: one connection, packet by packet, and all that clients and networks do to it."""

from __future__ import annotations

import socket
import time
from dataclasses import replace
from ipaddress import ip_network

import pytest

from edged.domain.entry import Entry
from edged.domain.levels import Level
from edged.nft.garden import Opening
from edged.xdp import layout
from edged.xdp.layout import Held, Settings
from tests.kernel.accelerator import URL, Accelerator, texts
from tests.kernel.segments import (
    ACK,
    BAD,
    DROP,
    FIN,
    FOUND,
    FOUND_NO_BODY,
    GET,
    ISN,
    KEY4,
    KEY6,
    MSS,
    PASS,
    PSH,
    RST,
    SYN,
    TX,
    Line,
    Segment,
)
from tests.lab.topology import BANK4, DEBTOR, GATEWAY4, NEIGHBOUR, SUBSCRIBER_INTERFACE
from tests.worlds import until


def test_a_connection_from_beginning_to_end(line: Line) -> None:
    hello = line.answered(Segment(SYN, options=MSS + b"\x01\x03\x03\x07"))
    assert (hello.flags, hello.ack, hello.options[:2]) == (SYN | ACK, ISN + 1, b"\x02\x04")
    base = (hello.seq + 1) % 2**32
    assert line.send(Segment(ACK, ISN + 1, base)) == DROP
    answer = line.answered(Segment(ACK | PSH, ISN + 1, base, GET))
    end = ISN + 1 + len(GET)
    assert answer == Segment(ACK | PSH | FIN, base, end, FOUND, answer.window)
    last = base + len(FOUND) + 1
    assert line.send(Segment(ACK, end, last)) == DROP
    assert line.answered(Segment(ACK | FIN, end, last)) == Segment(ACK, last % 2**32, end + 1, b"", answer.window)
    assert line.xdp.counted() == {"syn_ack": 1, "redirect": 1, "ack": 1, "drop_ack": 2}


def test_repeated_packets_get_the_same_answer(line: Line) -> None:
    packets = [Segment(SYN, options=MSS)]
    base = line.opened()
    packets.append(Segment(ACK | PSH, ISN + 1, base, GET))
    packets.append(Segment(ACK | FIN, ISN + 1 + len(GET), base + len(FOUND) + 1))
    for packet in packets:
        first = line.answered(packet)
        assert [line.send(packet) for _ in range(3)] == [first] * 3


@pytest.mark.parametrize(
    ("data", "answer", "action"),
    [
        (GET, FOUND, "redirect"),
        (b"HEAD / HTTP/1.1\r\n\r\n", FOUND_NO_BODY, "redirect"),
        (b"POST /pay HTTP/1.1\r\nContent-Length: 9\r\n\r\n", FOUND, "redirect_early"),
        (b"GET /long HTTP/1.1\r\nCookie: " + b"x" * 900, FOUND, "redirect_early"),
        (b"OPTIONS * HTTP/1.1\r\n\r\n", FOUND, "redirect_early"),
        (b"PROPFIND / HTTP/1.1\r\n\r\n", FOUND, "redirect_early"),
        (b"\r\nGET / HTTP/1.1\r\n\r\n", FOUND, "redirect"),
        (b"G", FOUND, "redirect_early"),
        (b"HEA", FOUND, "redirect_early"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", BAD, "refused"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", BAD, "refused"),
        (b"\0", BAD, "refused"),
        (b" GET / HTTP/1.1\r\n\r\n", BAD, "refused"),
        (b"SSH-2.0(x) OpenSSH\r\n", BAD, "refused"),
        (b"b\xc3\xa9 / HTTP/1.1\r\n\r\n", BAD, "refused"),
    ],
)
def test_what_the_first_bytes_deserve(line: Line, data: bytes, answer: bytes, action: str) -> None:
    """The socket path's answers; early, because nothing may be kept: more of it is acknowledged and thrown away."""
    base = line.opened()
    found = line.answered(Segment(ACK | PSH, ISN + 1, base, data))
    assert (found.data, found.ack) == (answer, ISN + 1 + len(data))
    assert line.xdp.counted()[action] == 1
    more = Segment(ACK | PSH, ISN + 1 + len(data), base + len(answer) + 1, b"more of it")
    assert line.answered(more) == Segment(ACK, more.ack % 2**32, more.seq + 10, b"", found.window)


def test_a_client_that_has_not_seen_the_answer_gets_it_with_whatever_it_sends(line: Line) -> None:
    """Or a lost answer would never be sent again, because its request is acknowledged by then."""
    base = line.opened()
    first = line.answered(Segment(ACK | PSH, ISN + 1, base, b"HEAD / HTTP/1.1\r\nCookie: x"))
    assert first.data == FOUND_NO_BODY
    rest = Segment(ACK | PSH, first.ack, base, b"yz\r\n\r\n")
    assert line.answered(rest) == replace(first, ack=first.ack + 6)
    fin = Segment(ACK | FIN, first.ack + 6, base)
    assert line.answered(fin) == replace(first, ack=first.ack + 7)
    assert line.xdp.counted()["repeat"] == 2


def test_a_request_that_closes_at_once(line: Line) -> None:
    base = line.opened()
    answer = line.answered(Segment(ACK | PSH | FIN, ISN + 1, base, GET))
    assert (answer.data, answer.ack) == (FOUND, ISN + 2 + len(GET))


def test_a_client_that_only_opens_and_closes(line: Line) -> None:
    base = line.opened()
    answer = line.answered(Segment(ACK | FIN, ISN + 1, base))
    assert (answer.flags, answer.seq, answer.ack) == (ACK | FIN, base % 2**32, ISN + 2)
    assert line.send(Segment(ACK, ISN + 2, base + 1)) == DROP


@pytest.mark.parametrize("old", [b"", b"\0"], ids=["no byte", "one byte"])
@pytest.mark.parametrize("size", [536, 1300, 1452, 8940])
def test_a_keepalive_probe_of_an_idle_connection_is_answered(line: Line, old: bytes, size: int) -> None:
    """Browsers open connections before they need them; a reset would be the first thing they hear there."""
    base = line.answered(Segment(SYN, options=b"\x02\x04" + size.to_bytes(2))).seq + 1
    assert line.send(Segment(ACK, ISN + 1, base)) == DROP
    alive = line.answered(Segment(ACK, ISN, base, old))
    assert (alive.flags, alive.seq, alive.ack, alive.data) == (ACK, base % 2**32, ISN + 1, b"")
    assert not isinstance(line.send(Segment(ACK, ISN - 1, base, old)), Segment)
    assert not isinstance(replace(line, port=50001).send(Segment(ACK, ISN, base, old)), Segment)
    assert line.answered(Segment(ACK | PSH, ISN + 1, base, GET)).data == FOUND


@pytest.mark.parametrize("source", ["ffffffffffff", "01005e0000fb", "333300000001", "000000000000", "the gateway's"])
def test_nothing_is_sent_to_who_cannot_be_a_sender(line: Line, source: str) -> None:
    """An answer goes where its frame came from: one with a group's source would reach every customer of the segment."""
    mac = line.xdp.pretend(SUBSCRIBER_INTERFACE)
    sender = mac if source == "the gateway's" else bytes.fromhex(source)
    base = line.opened()
    for s in (Segment(SYN, options=MSS), Segment(ACK | PSH, ISN + 1, base, GET)):
        frame = line.frame(s)
        assert line.xdp.run(frame[:6] + sender + frame[12:]).verdict == PASS
        assert line.xdp.run(frame).verdict == TX


def test_what_overtakes_its_request_is_sent_again(line: Line) -> None:
    base = line.opened()
    late = Segment(ACK | PSH, ISN + 1, base, GET)
    assert line.send(Segment(ACK | FIN, ISN + 1 + len(GET), base)) == DROP
    assert line.send(Segment(ACK | PSH, ISN + 1 + len(GET), base, b"more")) == DROP
    assert line.answered(late).data == FOUND
    assert line.xdp.counted()["drop_early"] == 2


def test_what_belongs_to_nobody_is_for_the_rules(line: Line) -> None:
    """A connection from before the block must hear its reset, which only the rules' socket sends."""
    for flags, data in ((ACK, b""), (ACK | PSH, GET), (ACK | FIN, b""), (RST, b""), (RST | ACK, b""), (SYN | ACK, b"")):
        assert line.send(Segment(flags, ISN, 77, data)) == PASS
    assert line.send(Segment(0, ISN)) == PASS
    assert line.send(Segment(SYN | FIN, ISN)) == PASS


def test_no_window_no_answer_until_there_is_one(line: Line) -> None:
    base = line.opened()
    request = Segment(ACK | PSH, ISN + 1, base, GET, window=0)
    assert line.send(request) == DROP
    assert line.send(replace(request, window=len(FOUND) - 1)) == DROP
    assert line.send(Segment(ACK, ISN + 1 + len(GET), base)) == DROP  # its window opens
    assert line.answered(replace(request, window=len(FOUND))).data == FOUND


def test_a_cookie_is_good_for_its_own_connection_only(line: Line) -> None:
    base = line.opened()
    request = Segment(ACK | PSH, ISN + 1, base, GET)
    untouched = replace(line, source=NEIGHBOUR.v4 if line.family == 4 else DEBTOR.other_v6)
    for stranger in (
        replace(line, port=50001),
        untouched,
        replace(line, target={4: "192.0.2.2", 6: "2001:db8:9::8"}[line.family]),
    ):
        assert stranger.send(request) in {PASS, DROP}
    assert line.send(replace(request, ack=base + 100)) in {PASS, DROP}
    assert line.send(replace(request, seq=ISN + 100)) in {PASS, DROP}
    assert "redirect" not in line.xdp.counted()


@pytest.mark.parametrize("noted", [False, True], ids=["cookie alone", "answered"])
def test_a_cookie_is_good_for_the_station_that_heard_it_only(line: Line, noted: bool) -> None:
    """Or whoever hears it has answers sent to a neighbour that never asked, five times as many bytes as he sends."""
    base = line.opened()
    request = Segment(ACK | PSH, ISN + 1, base, GET)
    if noted:
        line.answered(request)
    end = Segment(ACK | FIN, ISN + 1 + len(GET), base + len(FOUND) + 1)
    for s in (request, Segment(ACK | FIN, ISN + 1, base), Segment(ACK, ISN, base), replace(request, seq=ISN + 9), end):
        frame = line.frame(s)
        others = [
            frame[:6] + bytes.fromhex(mac) + frame[12:] for mac in ("0200000000aa", "020000000000", "040000000001")
        ]
        others.append(frame[:12] + b"\x81\0\0\x07" + frame[12:])
        assert {line.xdp.run(other).verdict for other in others * 10} <= {DROP, PASS}
    assert line.answered(request).data == FOUND
    assert line.answered(end).flags == ACK


def test_who_takes_only_tiny_segments_is_for_the_sockets(xdp: Accelerator) -> None:
    """The kernel's cookie remembers no segment below 536 bytes, IPv6's none below 1220."""
    long = texts("http://100.64.0.1:8081/" + "x" * 180)
    assert 536 < len(long.found) < layout.ANSWER
    xdp.maps.set_settings(Settings(long))
    line = Line(xdp)
    assert line.send(Segment(SYN, options=b"\x02\x04\x02\x00")) == PASS
    assert line.send(Segment(SYN)) == PASS  # no option: 536 (RFC 9293)
    base = line.opened()
    assert line.answered(Segment(ACK, ISN + 1, base, GET)).data == long.found


def test_a_flood_of_one_address_is_slowed_to_its_rate_and_hurts_nobody_else(xdp: Accelerator) -> None:
    xdp.maps.set_settings(Settings(texts(), rate=20, burst=5))
    line = Line(xdp)
    fates = [line.send(Segment(SYN, options=MSS)) for _ in range(12)]
    assert all(isinstance(f, Segment) for f in fates[:5])
    assert fates.count(DROP) >= 5
    assert isinstance(replace(line, source=NEIGHBOUR.v4).send(Segment(SYN, options=MSS)), Segment)
    assert replace(line, target=GATEWAY4).send(Segment(SYN, options=MSS)) == PASS, (
        "the gateway's own servers know better"
    )
    until(lambda: isinstance(line.send(Segment(SYN, options=MSS)), Segment), seconds=2)


def test_no_flood_of_syns_denies_a_proven_request(line: Line) -> None:
    """A customer's own virus, or a neighbour with a made-up source, uses up what unproven packets may; nothing else."""
    line.xdp.maps.set_settings(Settings(texts(), rate=1, burst=4))
    base = line.opened()
    scan = replace(line, port=6000)
    fates = [scan.send(Segment(SYN, options=MSS)) for _ in range(40)]
    assert fates[-1] == DROP
    assert line.answered(Segment(ACK | PSH, ISN + 1, base, GET)).data == FOUND
    assert line.answered(Segment(ACK | FIN, ISN + 1 + len(GET), base)).data == FOUND, "and so does its repetition"
    assert scan.send(Segment(SYN, options=MSS)) == DROP
    again = [line.send(Segment(ACK | PSH, ISN + 1, base, GET)) for _ in range(40)]
    assert again[0] != DROP
    assert again[-1] == DROP, "requests have a rate of their own"


def size_of(largest: int, before: bytes = b"") -> bytes:
    """TCP options that name the largest segment, behind others."""
    return before + b"\x02\x04" + largest.to_bytes(2)


@pytest.mark.parametrize("before", [b"\x01" * 4, b"\x01\x01\x08\x0a" + bytes(8)], ids=["padding", "timestamp"])
@pytest.mark.parametrize(
    ("family", "answer", "tiny", "silent"),
    [(4, 797, 536, PASS), (4, 256, 100, TX), (6, 797, 512, TX), (6, 797, 300, TX)],
)
def test_a_largest_segment_behind_other_options_is_believed(
    xdp: Accelerator, before: bytes, family: int, answer: int, tiny: int, silent: int
) -> None:
    """The kernel tells no size below the smallest that its cookies know: such a client is for the sockets."""
    long = texts(URL + "x" * (180 if answer > 256 else 0))
    assert len(long.found) == answer
    xdp.maps.set_settings(Settings(long))
    line = Line(xdp, family)
    for options in (size_of(tiny), size_of(tiny, before)):
        assert line.send(Segment(SYN, options=options)) == PASS
    for options in (size_of(1460), size_of(1460, before)):
        assert isinstance(line.send(Segment(SYN, options=options)), Segment)
    assert line.xdp.run(line.frame(Segment(SYN))).verdict == silent  # no option: 536, and 1220 for IPv6


@pytest.mark.parametrize("level", [Level.OPEN, Level.NOTICE, Level.REDUCED])
def test_mild_levels_pass(line: Line, level: Level) -> None:
    line.xdp.put([KEY4, KEY6], Entry(level))
    assert line.send(Segment(SYN, options=MSS)) == PASS


def test_a_promise_counts_and_ends_by_itself(line: Line) -> None:
    end = time.time_ns() // 1_000_000 + 150
    line.xdp.put([KEY4, KEY6], Entry(Level.BLOCKED, lift=Level.OPEN, until=end))
    assert line.send(Segment(SYN, options=MSS)) == PASS
    until(lambda: isinstance(line.send(Segment(SYN, options=MSS)), Segment), seconds=2)
    assert time.time_ns() // 1_000_000 >= end
    line.xdp.put([KEY4, KEY6], Entry(Level.BLOCKED, lift=Level.WALLED, until=end + 3_600_000))
    assert isinstance(line.send(Segment(SYN, options=MSS)), Segment)


def test_the_narrower_prefix_decides_as_in_the_rules(xdp: Accelerator) -> None:
    xdp.put([b"\x40" + socket.inet_pton(socket.AF_INET6, "2001:db8:100:a00::")], Entry(Level.NOTICE))
    assert Line(xdp, 6).send(Segment(SYN, options=MSS)) == PASS
    assert isinstance(Line(xdp, 6, source=DEBTOR.other_v6).send(Segment(SYN, options=MSS)), Segment)


def test_gardens_by_level(xdp: Accelerator) -> None:
    xdp.gardens({"garden": [Opening(ip_network(BANK4))], "open": [Opening(ip_network("192.0.2.0/24"))]})
    bank, always = Line(xdp, target=BANK4), Line(xdp, target="192.0.2.77")
    assert (bank.send(Segment(SYN, options=MSS)), always.send(Segment(SYN, options=MSS))) == (PASS, PASS)
    xdp.put([KEY4], Entry(Level.BLOCKED))
    assert isinstance(bank.send(Segment(SYN, options=MSS)), Segment)
    assert always.send(Segment(SYN, options=MSS)) == PASS
    xdp.gardens({})
    assert isinstance(always.send(Segment(SYN, options=MSS)), Segment)


def test_a_flood_of_a_blocked_subscriber_is_dropped_where_that_is_wanted(xdp: Accelerator) -> None:
    """Within the rate it is refused by the rules, politely; beyond, it never reaches the stack."""
    wanted = Settings(texts(), rate=10, burst=5)
    udp = Line(xdp, proto=17, dport=53)

    def fates(line: Line) -> set[int | Segment]:
        return {line.send(Segment(0)) for _ in range(30)}

    xdp.maps.set_settings(wanted)
    xdp.put([KEY4], Entry(Level.BLOCKED))
    assert fates(udp) == {PASS}
    xdp.maps.set_settings(wanted._replace(drop_blocked=True))
    xdp.put([KEY4], Entry(Level.BLOCKED))
    xdp.gardens({"open": [Opening(ip_network("192.0.2.77/32"))]})
    assert fates(udp) == {PASS, DROP}
    assert fates(udp) == {DROP} or udp.xdp.counted()["drop_blocked_rate"] > 40
    for free in (GATEWAY4, "192.0.2.77", "224.0.0.251", "255.255.255.255"):
        assert fates(replace(udp, target=free)) == {PASS}
    xdp.put([KEY4], Entry(Level.WALLED))
    assert fates(udp) == {PASS}


def test_what_the_rules_would_not_refuse_costs_a_blocked_subscriber_nothing(xdp: Accelerator) -> None:
    """A video call to a garden, or a resolver on the gateway, leaves the notice page its rate."""
    xdp.maps.set_settings(Settings(texts(), rate=1, burst=4, drop_blocked=True))
    xdp.put([KEY4], Entry(Level.BLOCKED))
    xdp.gardens({"open": [Opening(ip_network("192.0.2.77/32"))]})
    udp = Line(xdp, proto=17, dport=53)
    for free in (GATEWAY4, "192.0.2.77"):
        assert {replace(udp, target=free).send(Segment(0)) for _ in range(30)} == {PASS}
    assert isinstance(Line(xdp).send(Segment(SYN, options=MSS)), Segment)


def test_no_flood_of_a_blocked_subscriber_takes_the_notice_page_away(xdp: Accelerator) -> None:
    """Half the burst is for HTTP alone."""
    xdp.maps.set_settings(Settings(texts(), rate=1, burst=8, drop_blocked=True))
    xdp.put([KEY4], Entry(Level.BLOCKED))
    udp, line = Line(xdp, proto=17, dport=53), Line(xdp)
    fates = [udp.send(Segment(0)) for _ in range(60)]
    assert fates[0] == PASS
    assert fates[-1] == DROP
    base = line.opened()
    assert line.answered(Segment(ACK | PSH, ISN + 1, base, GET)).data == FOUND
    assert udp.send(Segment(0)) == DROP


def test_generations_switch_whole(xdp: Accelerator) -> None:
    """Other people, other words, other gardens: from one packet to the next."""
    line, neighbour = Line(xdp), Line(xdp, source=NEIGHBOUR.v4)
    other = texts("http://other.example/")
    base = line.opened()
    following = xdp.maps.begin(10, 10)
    xdp.maps.write(following, 4, layout.keys(4, KEY4[1:]), layout.values([Held(Level.WALLED)]))
    assert isinstance(neighbour.send(Segment(SYN, options=MSS)), Segment)
    xdp.maps.switch(following, xdp.settings._replace(answers=other))
    assert neighbour.send(Segment(SYN, options=MSS)) == PASS
    assert line.answered(Segment(ACK | PSH, ISN + 1, base, GET)).data == other.found
    assert xdp.maps.everything(4) == {KEY4[1:]: Held(Level.WALLED)}
    assert xdp.maps.everything(6) == {}


def test_an_unproven_address_gets_one_packet_for_one_and_hardly_more_bytes(line: Line) -> None:
    """SYN floods from made-up sources: nothing to gain from us as an amplifier."""
    asked = line.frame(Segment(SYN))
    ran = line.xdp.run(asked)
    assert ran.verdict == TX
    assert len(ran.data) <= max(60, len(asked) + 4)
