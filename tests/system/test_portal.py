"""A real portal behind real tproxy rules, asked by curl and by hostile clients from a subscriber's namespace.

The core's end of its socket runs here, in a thread, so that a test can say who is who and take the core away.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from edged.config import Config, load
from edged.domain.standing import Standing
from edged.observer import Silent
from edged.portal.link import PortalLink
from tests.fake_core import FakeCore
from tests.lab.netns import Namespace, alive, end_processes, unique_tag

T = TypeVar("T")

SITE4, SITE6 = "203.0.113.80", "2001:db8:f::80"
SUBSCRIBER4, SUBSCRIBER6 = "100.64.0.2", "2001:db8:64::2"
PAGE = "http://100.64.0.1:8081/"
RULES = """
table inet edged {
  chain prerouting {
    type filter hook prerouting priority mangle
    iifname "subs0" meta nfproto ipv4 ip daddr != 100.64.0.1 tcp dport 80 \\
      meta mark set meta mark or 0x10000 tproxy ip to 127.0.0.1:8880 accept
    iifname "subs0" meta nfproto ipv6 ip6 daddr != 2001:db8:64::1 tcp dport 80 \\
      meta mark set meta mark or 0x10000 tproxy ip6 to [::1]:8880 accept
  }
}
"""
CONFIG = f"""
gateway = "t"
state_dir = "{{room}}"
run_dir = "{{room}}"
[network]
subscriber_interfaces = ["subs0"]
[portal]
url = "{PAGE}"
site_listen = "{{site}}"
workers = 2
header_timeout = 2.0
max_connections_per_address = 16
provider = {{{{ name = "Provedor Exemplo", phone = "0800 000 0000", customer_area = "https://cliente.example.net/" }}}}
"""
GET = b"GET /some/path HTTP/1.1\r\nHost: www.example.net\r\n\r\n"


def until(condition: Callable[[], bool], what: str, seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            pytest.fail(f"not within {seconds:.0f} s: {what}")
        time.sleep(0.02)


class Core(FakeCore, Silent):
    """The core as the portal sees it. ``people`` says who is who."""

    def __init__(self, cfg: Config) -> None:
        super().__init__()
        self.requests: dict[tuple[str, str], int] = {}
        self._cfg = cfg
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="core")
        self._link: PortalLink | None = None

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()
        self._loop.close()

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    def begin(self) -> None:
        """To be called in the gateway's namespace: the sockets are made where the thread is."""
        self._thread.start()

    def end(self) -> None:
        if not self._thread.is_alive():  # it never began
            self._loop.close()
            return
        self.stop()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def start(self) -> None:
        self._link = PortalLink(self._cfg, self, self)
        self._do(self._link.start())

    def stop(self) -> None:
        if self._link is not None:
            self._do(self._link.close())
            self._link = None

    @property
    def up(self) -> bool:
        return self._link is not None and self._link.up

    def portal_requests(self, kind: str, code: str, n: int) -> None:
        self.requests[kind, code] = self.requests.get((kind, code), 0) + n


class Stage:
    """A gateway, a subscriber, the core here and the portal as a process."""

    site_listen = "100.64.0.1:8081"

    def __init__(self) -> None:
        tag = unique_tag()
        self.gateway = Namespace(f"{tag}-pgw")
        self.subscriber = Namespace(f"{tag}-psub")
        self.room = Path(tempfile.mkdtemp(prefix=f"{tag}-"))
        self.room.chmod(0o755)  # the portal gives up root and must still reach its socket
        self.file = self.room / "edged.toml"
        self.file.write_text(CONFIG.format(room=self.room, site=self.site_listen))
        self.log = self.room / "portal.log"
        self.core = Core(load(self.file))
        self.notices = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notices.bind(str(self.room / "notify"))
        self.notices.setblocking(False)
        self.portal: subprocess.Popen[bytes] | None = None

    def build(self) -> None:
        self.gateway.create()
        self.subscriber.create()
        self.gateway.ip(
            f"link add subs0 type veth peer name eth0 netns {self.subscriber.name}",
            "addr add 100.64.0.1/24 dev subs0",
            "addr add 2001:db8:64::1/64 dev subs0 nodad",
            "link set subs0 up",
            "rule add fwmark 0x10000/0x10000 lookup 8880 priority 8880",
            "route add local default dev lo table 8880",
            "route add local ::/0 dev lo table 8880",
        )
        self.gateway.run("ip", "-6", *"rule add fwmark 0x10000/0x10000 lookup 8880 priority 8880".split())
        self.subscriber.ip(
            f"addr add {SUBSCRIBER4}/24 dev eth0",
            f"addr add {SUBSCRIBER6}/64 dev eth0 nodad",
            "link set eth0 up",
            "route add default via 100.64.0.1",
            "route add ::/0 via 2001:db8:64::1",
        )
        self.gateway.run("nft", "-f", "-", stdin=RULES)
        self.gateway.call(self.core.begin)
        self.core.start()
        self.start_portal()

    def forget_notices(self) -> None:
        while select.select([self.notices], [], [], 0)[0]:
            self.notices.recv(4096)

    def start_portal(self, **stdin: Any) -> None:
        self.forget_notices()
        with self.log.open("ab") as out:
            self.portal = subprocess.Popen(
                [*self.gateway.prefix(), sys.executable, "-m", "edged", "portal", "--config", str(self.file)],
                stdin=stdin.get("stdin", subprocess.DEVNULL),
                stdout=out,
                stderr=out,
                env={**os.environ, "NOTIFY_SOCKET": str(self.room / "notify")},
            )
        self.await_notice("READY=1")
        until(lambda: self.core.up, "no worker came to the core")

    def await_notice(self, text: str, seconds: float = 30.0) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if select.select([self.notices], [], [], 0.2)[0] and self.notices.recv(4096).decode() == text:
                return
            assert self.portal is not None
            if self.portal.poll() is not None:
                pytest.fail(f"the portal ended with {self.portal.returncode}:\n{self.log.read_text()[-3000:]}")
        pytest.fail(f"no {text} within {seconds:.0f} s:\n{self.log.read_text()[-3000:]}")

    def stop_portal(self) -> int:
        assert self.portal is not None
        self.portal.terminate()
        try:
            return self.portal.wait(15)
        finally:
            self.portal.kill()
            self.portal.wait(10)

    def workers(self) -> list[int]:
        assert self.portal is not None
        text = Path(f"/proc/{self.portal.pid}/task/{self.portal.pid}/children").read_text()
        return [int(pid) for pid in text.split()]

    def close(self) -> None:
        if self.portal is not None:
            self.stop_portal()
        self.core.end()
        self.notices.close()
        self.gateway.delete()
        self.subscriber.delete()
        shutil.rmtree(self.room, ignore_errors=True)

    # -- the subscriber -----------------------------------------------------------------------------------------------

    def curl(self, url: str, *options: str) -> str:
        return self.subscriber.run("curl", "-sS", "-i", "-m", "10", *options, url).stdout

    def connect(self, site: str = SITE4, port: int = 80, who: str = "") -> socket.socket:
        sock = self.subscriber.socket(socket.AF_INET6 if ":" in site else socket.AF_INET, socket.SOCK_STREAM)
        sock.settimeout(15)
        if who:
            sock.bind((who, 0))
        sock.connect((site, port))
        return sock

    def ask(self, *pieces: bytes, site: str = SITE4, port: int = 80) -> bytes:
        with self.connect(site, port) as sock:
            for piece in pieces:
                sock.sendall(piece)
            return read_all(sock)


def read_all(sock: socket.socket) -> bytes:
    """Until the end; a reset that lost nothing we waited for is an end too."""
    got = b""
    with contextlib.suppress(ConnectionResetError):
        while data := sock.recv(65536):
            got += data
    return got


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    if os.geteuid() != 0:
        pytest.skip("needs root")
    one = Stage()
    try:
        one.build()
        yield one
    finally:
        one.close()


@pytest.fixture(autouse=True)
def _everybody_owes(stage: Stage) -> None:
    stage.core.people.update({a: Standing(3, "debt", 0) for a in (SUBSCRIBER4, SUBSCRIBER6)})
    stage.core.shown.clear()
    stage.core.mute = False


@pytest.mark.parametrize("site", [f"http://{SITE4}/some/path?q=1", f"http://[{SITE6}]/some/path?q=1"])
def test_http_of_both_families_gets_the_redirect(stage: Stage, site: str) -> None:
    answer = stage.curl(site)
    assert answer.startswith("HTTP/1.1 302 Found\r\n" if "\r" in answer else "HTTP/1.1 302 Found\n")
    assert f"Location: {PAGE}\n" in answer.replace("\r", "")
    assert "Cache-Control: no-store\n" in answer.replace("\r", "")
    assert "some/path" not in answer


def test_a_browser_that_follows_lands_on_the_page_in_its_language(stage: Stage) -> None:
    portuguese = stage.curl(f"http://{SITE4}/", "-L")
    english = stage.curl(f"http://{SITE4}/", "-L", "-H", "Accept-Language: en-GB,en;q=0.9")
    assert '<html lang="pt-BR">' in portuguese
    assert "suspenso" in portuguese
    assert '<html lang="en">' in english
    assert "suspended" in english
    for answer in (portuguese, english):
        assert "Provedor Exemplo" in answer
        assert "cache-control: no-store" in answer.lower().rpartition("http/1.1 200")[2]
        assert "content-security-policy: default-src 'none'" in answer
        assert "set-cookie" not in answer.lower()


@pytest.mark.parametrize(
    ("standing", "words"),
    [
        (Standing(0, "", 0), "You are online"),
        (Standing(1, "notice", 0), "A reminder"),
        (Standing(2, "debt_partial", 0), "reduced speed"),
        (Standing(3, "operator", 0), "please get in touch"),
        (Standing(4, "debt", 0), "please get in touch"),
    ],
    ids=repr,
)
def test_the_page_is_that_of_the_visitors_standing(stage: Stage, standing: Standing, words: str) -> None:
    stage.core.people[SUBSCRIBER4] = standing
    page = stage.curl(PAGE, "-H", "Accept-Language: en")
    assert words in page
    assert stage.core.shown == []
    stage.curl(f"{PAGE}dismiss", "-d", "")  # a form that no page of ours holds
    assert stage.core.shown == []
    if standing.level == 1:
        found = re.search(r'name="nonce" value="([^"]+)"', page)
        assert found
        stage.curl(f"{PAGE}dismiss", "--data-urlencode", f"nonce={found[1]}")
        until(lambda: stage.core.shown == [SUBSCRIBER4], "the reminder was not told as seen")
    else:
        assert stage.core.shown == []


def test_a_silent_core_makes_a_general_page_not_an_error(stage: Stage) -> None:
    stage.core.mute = True
    began = time.monotonic()
    answer = stage.curl(PAGE, "-H", "Accept-Language: en")
    assert answer.startswith("HTTP/1.1 200")
    assert "About your connection" in answer
    assert time.monotonic() - began < 5


def test_a_header_cannot_choose_the_address(stage: Stage) -> None:
    stage.core.people["192.0.2.1"] = Standing(0, "", 0)
    answer = stage.curl(PAGE, "-H", "Accept-Language: en", "-H", "X-Forwarded-For: 192.0.2.1")
    assert "suspended" in answer


@pytest.mark.parametrize("site", [SITE4, SITE6])
@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"GET / HTTP/1.1\r\nCookie: " + b"a" * 3000 + b"\r\n\r\n", 431),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 500, 400),
        (b"POST / HTTP/1.1\r\nContent-Length: 10\r\n\r\n" + b"x" * 10, 302),
        (b"CONNECT a.example:443 HTTP/1.1\r\n\r\n", 302),
        (GET * 2, 302),
    ],
    ids=["large", "http2", "tls", "post", "connect", "pipelined"],
)
def test_odd_requests_have_a_defined_answer(stage: Stage, site: str, sent: bytes, status: int) -> None:
    assert stage.ask(sent, site=site).startswith(b"HTTP/1.1 %d " % status)


@pytest.mark.parametrize("first", [GET[:7], b""], ids=["half a head", "silence"])
@pytest.mark.parametrize(("site", "port"), [(SITE4, 80), ("100.64.0.1", 8081)], ids=["redirector", "page"])
def test_a_slow_client_is_cut(stage: Stage, site: str, port: int, first: bytes) -> None:
    began = time.monotonic()
    with stage.connect(site, port) as sock:
        sock.sendall(first)
        answer = read_all(sock)
    took = time.monotonic() - began
    assert answer == b"" or answer.startswith(b"HTTP/1.1 408 ")
    # configured: 2 s. A silent one is not even accepted in its first second (TCP_DEFER_ACCEPT).
    assert 1.0 < took < 10.0


def test_one_address_has_its_share_of_places_and_others_have_theirs(stage: Stage) -> None:
    with contextlib.ExitStack() as held:
        for _ in range(64):  # 16 places, 8 in each of two workers
            held.enter_context(stage.connect()).sendall(GET[:7])
        refused = stage.core.requests.get(("refused", "closed"), 0)
        until(lambda: stage.core.requests.get(("refused", "closed"), 0) > refused or refused > 0, "nobody was refused")
        assert stage.ask(GET, site=SITE6).startswith(b"HTTP/1.1 302 ")
        assert stage.ask(GET).startswith(b"HTTP/1.1 302 ")  # a whole request needs no place
    until(lambda: stage.core.requests.get(("refused", "closed"), 0) >= 48, "48 of 64 are one too many each")


def test_sums_reach_the_core(stage: Stage) -> None:
    before = dict(stage.core.requests)
    for _ in range(3):
        stage.ask(GET)
    stage.curl(PAGE)
    for key, n in ((("redirect", "302"), 3), (("page", "200"), 1)):
        until(lambda key=key, n=n: stage.core.requests.get(key, 0) >= before.get(key, 0) + n, f"{n} of {key}")  # type: ignore[misc]


def test_no_process_of_the_portal_has_anything_to_lose(stage: Stage) -> None:
    assert stage.portal is not None
    assert len(stage.workers()) == 2
    for pid in (stage.portal.pid, *stage.workers()):
        status = dict(
            line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":\t" in line
        )
        assert "0" not in status["Uid"].split()
        assert "0" not in status["Gid"].split()
        assert status["Groups"].split() == []
        for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
            assert int(status[name], 16) == 0, name
        assert status["NoNewPrivs"] == "1"


def test_nothing_about_a_visitor_is_logged(stage: Stage) -> None:
    stage.ask(b"GET /xyzzy HTTP/1.1\r\nHost: plugh.example\r\nReferer: http://thud.example/\r\n\r\n")
    stage.curl(f"{PAGE}xyzzy")
    text = stage.log.read_text()
    assert not [word for word in ("xyzzy", "plugh", "thud", SUBSCRIBER4, SUBSCRIBER6) if word in text]


def test_it_serves_on_while_the_core_restarts(stage: Stage) -> None:
    workers = stage.workers()
    stage.core.stop()
    try:
        assert stage.ask(GET).startswith(b"HTTP/1.1 302 ")
        assert "About your connection" in stage.curl(PAGE, "-H", "Accept-Language: en")
    finally:
        stage.core.start()
    until(
        lambda: (
            "suspended" in stage.curl(PAGE, "-H", "Accept-Language: en")
            and "suspended" in stage.curl(PAGE, "-H", "Accept-Language: en")
        ),
        "the workers did not come back to the core",
    )
    assert stage.workers() == workers


def test_a_dead_worker_is_replaced_and_its_connections_wait(stage: Stage) -> None:
    before = stage.workers()
    os.kill(before[0], signal.SIGKILL)
    for _ in range(20):
        assert stage.ask(GET).startswith(b"HTTP/1.1 302 ")
    until(lambda: len(stage.workers()) == 2 and before[0] not in stage.workers(), "no second worker")
    assert before[1] in stage.workers()


def test_the_watchdog_needs_every_worker_and_a_hung_one_is_replaced(stage: Stage) -> None:
    stage.forget_notices()
    stage.await_notice("WATCHDOG=1")
    hung = stage.workers()[0]
    os.kill(hung, signal.SIGSTOP)
    try:
        time_of_last = time.monotonic()
        while hung in stage.workers():
            if select.select([stage.notices], [], [], 0.2)[0] and stage.notices.recv(4096) == b"WATCHDOG=1":
                time_of_last = time.monotonic()
            assert time.monotonic() - time_of_last < 40, "a hung worker is left hanging"
        assert time.monotonic() - time_of_last > 5  # silent towards systemd all the while
    finally:
        end_processes([hung])
    stage.forget_notices()
    stage.await_notice("WATCHDOG=1")
    assert stage.ask(GET).startswith(b"HTTP/1.1 302 ")


def test_a_clean_stop_leaves_no_process_and_a_new_portal_gets_new_sockets(stage: Stage) -> None:
    workers = stage.workers()
    assert stage.stop_portal() == 0
    assert not [pid for pid in workers if alive(pid)]
    assert not re.search("Traceback", stage.log.read_text())
    until(lambda: not stage.core.up, "the core still believes in the portal")
    assert ":8880 " not in stage.gateway.run("ss", "-Hltn").stdout
    stage.start_portal()
    assert stage.ask(GET).startswith(b"HTTP/1.1 302 ")
    assert stage.ask(GET, site=SITE6).startswith(b"HTTP/1.1 302 ")


def test_a_killed_portal_takes_its_workers_along(stage: Stage) -> None:
    workers = stage.workers()
    assert stage.portal is not None
    stage.portal.kill()
    stage.portal.wait(10)
    until(lambda: not any(alive(pid) for pid in workers), "orphans")
    stage.start_portal()
    assert stage.ask(GET).startswith(b"HTTP/1.1 302 ")


def test_it_ends_with_whoever_holds_its_standard_input(stage: Stage) -> None:
    assert stage.stop_portal() == 0
    stage.start_portal(stdin=subprocess.PIPE)
    assert stage.ask(GET).startswith(b"HTTP/1.1 302 ")
    assert stage.portal is not None
    assert stage.portal.stdin is not None
    stage.portal.stdin.close()
    assert stage.portal.wait(15) == 0
    stage.start_portal()


def test_without_a_free_port_the_core_says_so_and_the_portal_waits_for_it(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    assert stage.stop_portal() == 0
    thief = stage.gateway.socket(socket.AF_INET, socket.SOCK_STREAM)
    with thief:
        thief.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        thief.bind(("127.0.0.1", 8880))
        thief.listen()
        waiting = threading.Thread(target=stage.start_portal)
        waiting.start()
        until(lambda: "portal.listen_port: 127.0.0.1 port 8880" in caplog.text, "no word of the core about the port")
    waiting.join(60)
    assert stage.ask(GET).startswith(b"HTTP/1.1 302 ")
