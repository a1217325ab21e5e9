"""Real clients over a real cable, XDP in front of the rules: they get the page, and nothing that was there breaks."""

from __future__ import annotations

import contextlib
import http.client
import re
import socket
import struct
import threading
import time
from collections.abc import Iterator

import pytest

from edged.domain.entry import Entry
from edged.domain.levels import Level
from edged.xdp.attach import Attacher
from edged.xdp.kernel import KernelMaps
from tests.kernel.accelerator import URL, texts
from tests.kernel.gateway import Gateway, gateway
from tests.lab.services import family_of
from tests.lab.topology import DEBTOR, GATEWAY4, SUBSCRIBER_INTERFACE, WWW4, WWW6
from tests.worlds import until

FOUND, FOUND_NO_BODY, BAD = texts()
GET = b"GET / HTTP/1.1\r\nHost: example.net\r\n\r\n"
ENDS = {WWW4: DEBTOR.v4, WWW6: DEBTOR.v6}


@pytest.fixture(scope="module", params=["native", "generic"])
def gw(request: pytest.FixtureRequest) -> Iterator[Gateway]:
    with gateway(request.param) as made:
        made.put(Entry(Level.WALLED))
        yield made


@pytest.fixture(params=[WWW4, WWW6], ids=["IPv4", "IPv6"])
def www(request: pytest.FixtureRequest) -> str:
    address: str = request.param
    return address


def host(address: str) -> str:
    return f"[{address}]" if ":" in address else address


def connected(gw: Gateway, www: str) -> socket.socket:
    sock = gw.network.subscriber.socket(family_of(www), socket.SOCK_STREAM)
    sock.settimeout(5)
    sock.bind((ENDS[www], 0))
    sock.connect((www, 80))
    return sock


def redirected(data: bytes) -> bool:
    """The whole answer; a veth pair may have no room for its body behind a request this small."""
    return data in {FOUND, texts().short}


def all_of(sock: socket.socket) -> bytes:
    out = b""
    while data := sock.recv(4096):
        out += data
    return out


def counted(gw: Gateway) -> dict[str, int]:
    assert gw.xdp is not None
    return gw.xdp.counted()


def test_curl_wget_and_pythons_own_client(gw: Gateway, www: str) -> None:
    inside, url, source = gw.network.subscriber, f"http://{host(www)}/some/page?x=1", ENDS[www]
    before = counted(gw).get("redirect", 0)
    said = inside.run("curl", "-sgi", "-m", "5", "--interface", source, url).stdout
    assert said.encode().replace(b"\n", b"\r\n", FOUND_NO_BODY.count(b"\r\n")).replace(b"\r\r", b"\r") == FOUND
    head = inside.run("curl", "-sgI", "-m", "5", "--interface", source, url)
    assert f"Location: {URL}" in head.stdout
    wget = inside.run(
        "wget", "-S", "-O-", "-T5", "-t1", "--max-redirect=0", f"--bind-address={source}", url, check=False
    )
    assert re.search(r"302 Found", wget.stderr)
    answer = gw.device.http(url, source=source)
    assert (answer.status, answer.location, answer.body.encode()) == (302, URL, FOUND.partition(b"\r\n\r\n")[2])
    until(lambda: counted(gw).get("redirect", 0) == before + 4)


def test_a_form_is_sent_elsewhere_too(gw: Gateway, www: str) -> None:
    with connected(gw, www) as sock:
        client = http.client.HTTPConnection(www)
        client.sock = sock
        client.request("POST", "/form", body=b"a=1&" * 5000)
        assert client.getresponse().status == 302


def test_a_request_in_pieces(gw: Gateway, www: str) -> None:
    with connected(gw, www) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in GET[:12]:
            sock.sendall(bytes([byte]))
            time.sleep(0.002)
        assert redirected(all_of(sock))


def test_a_request_longer_than_a_segment(gw: Gateway, www: str) -> None:
    with connected(gw, www) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nCookie: " + b"x" * 9000 + b"\r\n\r\n")
        assert redirected(all_of(sock))


def test_a_client_that_closes_its_half_first(gw: Gateway, www: str) -> None:
    with connected(gw, www) as sock:
        sock.sendall(GET)
        sock.shutdown(socket.SHUT_WR)
        assert redirected(all_of(sock))


def test_a_second_request_on_the_same_connection_hurts_nobody(gw: Gateway, www: str) -> None:
    with connected(gw, www) as sock:
        sock.sendall(GET)
        assert redirected(all_of(sock))
        sock.sendall(GET)
        assert sock.recv(64) == b""


def test_noise_is_refused(gw: Gateway, www: str) -> None:
    with connected(gw, www) as sock:
        sock.sendall(b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03")
        assert all_of(sock) == BAD


def test_a_client_with_hardly_any_window_gets_all_of_it(gw: Gateway, www: str) -> None:
    sock = gw.network.subscriber.socket(family_of(www), socket.SOCK_STREAM)
    with sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)  # the kernel's least: some 2 kB
        sock.settimeout(5)
        sock.bind((ENDS[www], 0))
        sock.connect((www, 80))
        sock.sendall(GET)
        assert redirected(all_of(sock))


def test_a_client_that_says_nothing_costs_nothing_and_is_answered_when_it_does(gw: Gateway, www: str) -> None:
    with connected(gw, www) as sock:
        time.sleep(0.3)  # what is idle for a while here must still be known by its cookie alone
        sock.sendall(GET)
        assert redirected(all_of(sock))
    with connected(gw, www) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 0, 0))


def test_a_server_of_the_gateways_own_is_reached(gw: Gateway) -> None:
    with gw.network.gateway.socket(socket.AF_INET, socket.SOCK_STREAM) as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind((GATEWAY4, 80))
        server.listen(1)
        server.settimeout(5)
        with gw.network.subscriber.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
            sock.settimeout(5)
            sock.bind((DEBTOR.v4, 0))
            sock.connect((GATEWAY4, 80))
            taken, _ = server.accept()
            with taken:
                taken.sendall(b"our own")
            assert all_of(sock) == b"our own"


def test_a_connection_of_the_sockets_goes_on_when_xdp_comes(gw: Gateway, www: str) -> None:
    assert gw.xdp is not None
    gw.xdp.detach(SUBSCRIBER_INTERFACE)
    before = connected(gw, www)
    found = gw.xdp.attach(SUBSCRIBER_INTERFACE, gw.mode)
    assert found.mode == gw.mode
    with before, connected(gw, www) as after:
        after.sendall(GET)
        assert redirected(all_of(after))
        before.sendall(GET)
        assert b"Location: http://portal/\r\n" in all_of(before)


def test_a_connection_from_before_the_block_is_reset(gw: Gateway, www: str) -> None:
    gw.put(Entry())
    try:
        old = connected(gw, www)
        gw.put(Entry(Level.WALLED))
        with old:
            old.sendall(GET)
            with pytest.raises(ConnectionResetError):
                old.recv(64)
    finally:
        gw.put(Entry(Level.WALLED))


@contextlib.contextmanager
def scanning(gw: Gateway, rate: int) -> Iterator[None]:
    """SYNs to port 80 of everybody from the subscriber's own address, ``rate`` a second: what a virus does."""
    ended, here = threading.Event(), socket.inet_aton(DEBTOR.v4)
    raw = gw.network.subscriber.call(socket.socket, socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)

    def scan() -> None:
        began, sent = time.monotonic(), 0
        while not ended.wait(0.002):
            for _ in range(int((time.monotonic() - began) * rate) - sent):
                sent += 1
                there = f"198.51.100.{100 + sent % 100}"
                ip = struct.pack("!BBHHHBBH", 0x45, 0, 44, 0, 0, 64, 6, 0) + here + socket.inet_aton(there)
                tcp = struct.pack("!HHIIBBHHHI", 1024 + sent % 60000, 80, sent, 0, 0x60, 2, 64240, 0, 0, 0x020405B4)
                raw.sendto(ip + tcp, (there, 0))

    thread = threading.Thread(target=scan)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        raw.close()


def test_a_scan_from_a_customers_own_address_leaves_him_the_page(gw: Gateway) -> None:
    """Its SYNs and his compete for the rate; a connection that stands has its request answered at once."""

    def dropped() -> int:
        return counted(gw).get("drop_rate", 0)

    def page() -> bool:
        with contextlib.suppress(OSError):
            return gw.device.http(f"http://{WWW4}/", source=DEBTOR.v4, timeout=2).status == 302
        return False

    before = dropped()
    with contextlib.ExitStack() as stack:
        standing = [stack.enter_context(connected(gw, WWW4)) for _ in range(6)]
        stack.enter_context(scanning(gw, 2000))
        until(lambda: dropped() > before + 200)
        for sock in standing:
            sock.sendall(GET)
            assert redirected(all_of(sock))
    before = dropped()
    with scanning(gw, 300):
        until(lambda: dropped() > before)
        for _ in range(3):
            until(page, seconds=30)


def test_another_program_takes_over_without_a_gap(gw: Gateway, www: str) -> None:
    """What a start does that has lost the old one's pins: its program in the place of ours, over maps of its own."""
    assert gw.xdp is not None
    maps = KernelMaps.open(None)
    newer = Attacher(maps)
    try:
        taken = gw.network.gateway.call(newer.attach, SUBSCRIBER_INTERFACE, gw.mode)
        assert (taken.mode, taken.why) == (gw.mode, "")
        assert gw.device.http(f"http://{host(www)}/").status == 302  # its maps are empty: the sockets answer
    finally:
        newer.close()
        maps.close()
