"""Redirects on new connections a second: our portal behind tproxy beside nginx ``return 302`` behind an nft redirect.

Two gateways, each with a cable to the same crowd of subscribers: one with our tproxy rule and the real portal (one
worker), one with a redirect, which brings connection tracking along, and nginx (one process). Everything a gateway does
(receiving, nft, tracking, TCP, the process that answers) happens on one core, the crowd's half on another: veth would
process a packet on the core of whoever sent it, so the crowd would do most of the gateway's work and be what is
measured; receive packet steering (RPS) puts it where a real cable puts it. Each request is a connection of its own.

The two take turns in short slices; a ratio is taken of neighbours, and the median of the ratios is the result.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edged.config import Config, load
from edged.observer import Silent
from edged.portal.link import PortalLink
from edged.portal.worker import BEHIND
from tests.fake_core import FakeCore

from .common import (
    BenchError,
    Row,
    come_first,
    cores,
    inside,
    median,
    namespaces,
    need,
    pinned,
    result,
    say,
    sh,
    stop,
    write_in,
)
from .surfers import ADDRESSES, FIRST, Crowd

BAR = 1.3
SLICE = 0.8
SERVER = "203.0.113.80"
"""An address that no namespace has: the rules catch what goes there."""
OURS, NGINX = "ours", "usual"
_CONFIG = """
gateway = "bench"
state_dir = "{room}"
run_dir = "{room}"
[network]
subscriber_interfaces = ["sub"]
[xdp]
mode = "off"
[portal]
url = "http://100.64.0.1:8081/"
workers = 1
"""
_RULES = {
    OURS: """
table inet edged {
  set restricted4 { type ipv4_addr; size 65536; }
  chain prerouting {
    type filter hook prerouting priority mangle;
    iifname "sub" ip saddr @restricted4 tcp dport 80 \\
      meta mark set meta mark or 0x10000 tproxy ip to 127.0.0.1:8880 accept;
  }
}
""",
    NGINX: """
table inet edged {
  set restricted4 { type ipv4_addr; size 65536; }
  chain prerouting {
    type nat hook prerouting priority dstnat;
    iifname "sub" ip saddr @restricted4 tcp dport 80 redirect to :8082;
  }
}
""",
}
_NGINX = """
daemon off;
master_process off;
pid {room}/nginx.pid;
error_log {room}/nginx.log;
events {{ worker_connections 16384; multi_accept on; }}
http {{
  access_log off;
  keepalive_timeout 0;
  server_tokens off;
  client_body_temp_path {room}/body; proxy_temp_path {room}/proxy; fastcgi_temp_path {room}/fastcgi;
  uwsgi_temp_path {room}/uwsgi; scgi_temp_path {room}/scgi;
  server {{ listen 8082 backlog=4096; location / {{ return 302 http://100.64.0.1:8081/; }} }}
}}
"""


def run(budget: float = 40.0) -> dict[str, Any]:
    """Measure for about ``budget`` seconds, preparation included; at least three rounds."""
    need("ip", "nft", "nginx", "taskset")
    end = time.monotonic() + budget
    here = cores()
    if len(here) < 2:
        raise BenchError("one core for the gateway and one for the subscribers are needed")
    gateway_core, crowd_core = here[0], here[-1]
    with (
        contextlib.ExitStack() as undo,
        namespaces("s", OURS, NGINX) as ns,
        tempfile.TemporaryDirectory(prefix="edged-bench-") as name,
    ):
        undo.callback(come_first())
        room = Path(name)
        room.chmod(0o755)  # the portal gives up root and must still reach its socket
        crowds = {kind: _wire(ns, kind, number, gateway_core, crowd_core) for number, kind in enumerate((OURS, NGINX))}
        rates: dict[str, list[float]] = {OURS: [], NGINX: []}
        with (
            _portal(ns[OURS], room, gateway_core),
            _nginx(ns[NGINX], room, gateway_core),
            pinned(crowd_core),
        ):
            for crowd in crowds.values():
                _await_redirect(crowd)
            say("ready: both answer 302")
            while len(rates[NGINX]) < 3 or time.monotonic() + 2 * SLICE + 1 < end:
                for kind in (OURS, NGINX) if len(rates[OURS]) % 2 == 0 else (NGINX, OURS):
                    rates[kind].append(_visit(crowds[kind], kind))
        for crowd in crowds.values():
            crowd.close()
    for number, (ours, rival) in enumerate(zip(rates[OURS], rates[NGINX], strict=True), 1):
        say(f"round {number}: ours {ours:,.0f}/s, nginx {rival:,.0f}/s, ratio {ours / rival:.2f}")
    return _report(rates[OURS], rates[NGINX])


def _visit(crowd: Crowd, kind: str) -> float:
    visit = crowd.visit(SLICE)
    if visit.failed > visit.found // 100:
        raise BenchError(f"{kind}: {visit.failed} connections without a 302, {visit.found} with one")
    return visit.rate


def _report(ours: list[float], rival: list[float]) -> dict[str, Any]:
    ratio = median([a / b for a, b in zip(ours, rival, strict=True)])
    row = Row(
        what="redirects on new connections",
        ours=median(ours),
        rival=median(rival),
        unit="/s",
        rival_name="nginx return 302 behind an nft redirect",
        ratio=ratio,
        bar=f"≥ {BAR}",
        met=ratio >= BAR,
    )
    return result(
        "redirect", ratio, [row], ours_per_s=round(median(ours)), nginx_per_s=round(median(rival)), rounds=len(ours)
    )


def _wire(ns: dict[str, str], kind: str, number: int, gateway_core: int, crowd_core: int) -> Crowd:
    """Cable, addresses, routes, rules and core of one gateway; the crowd at the other end of the cable."""
    gateway, subscribers, far = ns[kind], ns["s"], f"up{number}"
    own, mac = f"02:00:00:00:01:0{number}", f"02:00:00:00:02:0{number}"
    peer = ("peer", "name", far, "address", own, "netns", subscribers)
    sh("ip", "-n", gateway, "link", "add", "name", "sub", "address", mac, "type", "veth", *peer)
    sh("ip", "-n", gateway, "link", "set", "dev", "sub", "up")
    sh("ip", "-n", subscribers, "link", "set", "dev", far, "up")
    sh("ip", "-n", gateway, "addr", "add", "10.0.0.1/24", "dev", "sub")
    sh("ip", "-n", gateway, "neigh", "add", "10.0.0.2", "lladdr", own, "dev", "sub")
    sh("ip", "-n", gateway, "route", "add", "100.64.0.0/16", "via", "10.0.0.2")
    sh("ip", "-n", gateway, "rule", "add", "fwmark", "0x10000/0x10000", "lookup", "8880", "priority", "8880")
    sh("ip", "-n", gateway, "route", "add", "local", "default", "dev", "lo", "table", "8880")
    for path in ("all", "sub"):
        write_in(gateway, f"/proc/sys/net/ipv4/conf/{path}/rp_filter", "0")
    sh("ip", "netns", "exec", gateway, "nft", "-f", "-", text=_RULES[kind])
    people = ", ".join(str(ipaddress.IPv4Address(FIRST + n)) for n in range(ADDRESSES))
    sh("ip", "netns", "exec", gateway, "nft", "-f", "-", text=f"add element inet edged restricted4 {{ {people} }}\n")
    for name, device, core in ((gateway, "sub", gateway_core), (subscribers, far, crowd_core)):
        write_in(name, f"/sys/class/net/{device}/queues/rx-0/rps_cpus", f"{1 << core:x}")
    sink = f"chain {far} {{ type filter hook ingress device {far} priority 0; policy drop; }}"
    sh("ip", "netns", "exec", subscribers, "nft", "-f", "-", text=f"table netdev sink {{ {sink}\n }}\n")
    return Crowd(subscribers, far, bytes.fromhex(mac.replace(":", "")), bytes.fromhex(own.replace(":", "")), SERVER)


@contextlib.contextmanager
def _portal(namespace: str, room: Path, core: int) -> Iterator[None]:
    """The real portal as a process of its own; the core's end of its socket in a thread here."""
    file = room / "edged.toml"
    file.write_text(_CONFIG.format(room=room))
    cfg = load(file)
    ready, done = threading.Event(), threading.Event()

    def serve() -> None:
        with inside(namespace):
            asyncio.run(_link(cfg, ready, done))

    thread = threading.Thread(target=serve, name="portal-link")
    thread.start()
    try:
        if not ready.wait(10):
            raise BenchError("the core's end of the portal socket did not start")
        command = [sys.executable, "-m", "edged", "portal", "--config", str(file)]
        with _process(namespace, core, command, room / "portal.log"):
            yield
    finally:
        done.set()
        thread.join()


async def _link(cfg: Config, ready: threading.Event, done: threading.Event) -> None:
    link = PortalLink(cfg, FakeCore(), Silent())
    await link.start()
    ready.set()
    await asyncio.to_thread(done.wait)
    await link.close()


@contextlib.contextmanager
def _nginx(namespace: str, room: Path, core: int) -> Iterator[None]:
    file = room / "nginx.conf"
    file.write_text(_NGINX.format(room=room))
    # as nice as our worker makes itself: on a machine that others use too, that would else be what is compared
    command = ["nice", "-n", str(BEHIND), "nginx", "-p", str(room), "-c", str(file)]
    with _process(namespace, core, command, room / "nginx.out"):
        yield


@contextlib.contextmanager
def _process(namespace: str, core: int, command: list[str], log: Path) -> Iterator[None]:
    with log.open("wb") as out:
        child = subprocess.Popen(
            ["ip", "netns", "exec", namespace, "taskset", "-c", str(core), *command],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
        )
    try:
        yield
    finally:
        stop(child)


def _await_redirect(crowd: Crowd) -> None:
    end = time.monotonic() + 20
    while time.monotonic() < end:
        if crowd.visit(0.01).found:
            return
    raise BenchError("no answer with 302 within 20 s")
