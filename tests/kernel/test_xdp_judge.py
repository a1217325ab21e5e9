"""What XDP says to the first bytes of a connection is what the redirector says."""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Iterator

import pytest

from edged.domain.entry import Entry
from edged.domain.levels import Level
from edged.portal.head import Verdict, judge
from edged.xdp.layout import Settings
from tests.kernel.accelerator import Accelerator, texts
from tests.kernel.segments import ACK, BAD, FOUND, FOUND_NO_BODY, ISN, KEY4, PSH, Line, Segment
from tests.lab.netns import unique_tag
from tests.lab.topology import SUBSCRIBER_INTERFACE, Network

LIMIT = 8192
NO_HTTP = (
    b"GET /\r\n\r\n",
    b"GET / HTTP/2.0\r\n\r\n",
    b"GET  / HTTP/1.1\r\n\r\n",
    b"GET /  HTTP/1.1\r\n\r\n",
    b"GET / HTTP/1.1 \r\n\r\n",
    b"GET / HTTP/1.x\r\n\r\n",
    b"GET / HTTP/1.1\rx",
    b"GET / http/1.1\r\n\r\n",
    b"GET /\x7f HTTP/1.1\r\n\r\n",
    b"SSH-2.0-OpenSSH_9.2\r\n",
    b"HELO mail.example.org\r\n",
    b"\r\0\0",
    b"x" * 33,
    b"\r\n\r\r\n",
)
MAY_BE_HTTP = (
    *(b"GET /a HTTP/1.1\r\n\r\n"[:size] for size in range(1, 20)),
    b"x" * 32,
    b"\r\n",
    b"\r",
    b"\n\nHEAD / HTTP/1.0\n\n",
    b"CONNECT example.org:443 HTTP/1.1\r\n\r\n",
    b"GET http://example.org/caf\xc3\xa9 HTTP/1.1\r\nHost: x\r\n\r\n",
    *(b"GET /" + b"x" * size + b" HTTP/1.1\r\n\r\n" for size in (*range(15, 35), 1300)),
    *(b"\r\n" * size + b"HEAD / HTTP/1.1\r\n\r\n" for size in (1, 9, 16, 60)),
)


@pytest.fixture(scope="module")
def line() -> Iterator[Line]:
    network = Network.named(unique_tag())
    network.create()
    try:
        network.gateway.ip("route add default via 198.51.100.10")
        xdp = Accelerator(network.gateway, settings=Settings(texts(), rate=10**6, burst=10**6))
        xdp.put([KEY4], Entry(Level.WALLED))
        xdp.pretend(SUBSCRIBER_INTERFACE)
        yield Line(xdp)
        xdp.close()
    finally:
        network.delete()


def deserved(data: bytes) -> set[bytes]:
    """What XDP may say: the redirector's word; where that would wait, any 302, because XDP cannot."""
    verdict = judge(data, LIMIT)
    return {
        Verdict.BAD: {BAD},
        Verdict.FOUND: {FOUND},
        Verdict.FOUND_NO_BODY: {FOUND_NO_BODY},
        Verdict.MORE: {FOUND, FOUND_NO_BODY},
    }[verdict]


def test_a_request_line_is_judged_as_by_the_redirector(line: Line) -> None:
    base = line.opened()
    for bad, all_data in ((True, NO_HTTP), (False, MAY_BE_HTTP)):
        for data in all_data:
            found = line.answered(Segment(ACK | PSH, ISN + 1, base, data)).data
            assert found in deserved(data), data
            assert (found == BAD) is bad, data


@pytest.mark.parametrize("seed", [int(n) for n in os.environ.get("EDGED_TEST_SEEDS", "1").split()])
def test_thousands_of_beginnings_whole_and_broken(line: Line, seed: int) -> None:
    draw, base, told = random.Random(seed), line.opened(), Counter[bytes]()
    bytes_that_matter = b"\r\n \t\0/.1H:(\x7f\xe9"
    for _ in range(4000):
        data = bytearray(draw.choice((*NO_HTTP, *MAY_BE_HTTP)))
        for _ in range(draw.randrange(3)):
            at = draw.randrange(len(data) + 1)
            data[at : at + draw.randrange(2)] = bytes(draw.choices(bytes_that_matter, k=draw.randrange(3)))
        if not data:
            continue
        found = line.answered(Segment(ACK | PSH, ISN + 1, base, bytes(data))).data
        assert found in deserved(bytes(data)), bytes(data)
        told[found] += 1
    assert min(told[FOUND], told[FOUND_NO_BODY], told[BAD]) > 50, told
