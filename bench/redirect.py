"""Redirects on new connections a second: our portal behind tproxy beside nginx ``return 302`` behind an nft redirect.

One gateway, one subscriber, a cable between them. The gateway's half (receiving, nft, connection tracking where the
redirect needs it, TCP, the one process that answers) runs on one core, the subscriber's half on another: veth would
process a packet on the core of whoever sent it, so the subscriber would do most of the gateway's work and be what is
measured; receive packet steering (RPS) puts it where a real cable puts it. Each request is a connection of its own.

The two take turns in short slices; a ratio is taken of neighbours, and the median of the ratios is the result.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edged.config import Config, load
from edged.domain.standing import Standing
from edged.observer import Silent
from edged.portal.link import PortalLink

from .common import BenchError, Row, cores, inside, median, namespaces, need, result, say, sh, stop, write_in

BAR = 1.3
SLICE = 2.0
CONNECTIONS = 100
OURS, NGINX = "203.0.113.80", "203.0.113.81"
"""Addresses that no namespace has: the rules catch what goes there."""
_CONFIG = """
gateway = "bench"
state_dir = "{room}"
run_dir = "{room}"
[network]
subscriber_interfaces = ["sub"]
[portal]
url = "http://100.64.0.1:8081/"
workers = 1
"""
_RULES = f"""
table inet edged {{
  set restricted4 {{
    type ipv4_addr
    size 65536
    elements = {{ 100.64.0.2 }}
  }}
  chain prerouting {{
    type filter hook prerouting priority mangle
    iifname "sub" ip daddr {OURS} ip saddr @restricted4 tcp dport 80 \\
      meta mark set meta mark or 0x10000 tproxy ip to 127.0.0.1:8880 accept
  }}
}}
"""
_RIVAL_RULES = f"""
table inet usual {{
  set restricted4 {{
    type ipv4_addr
    size 65536
    elements = {{ 100.64.0.2 }}
  }}
  chain prerouting {{
    type nat hook prerouting priority dstnat
    iifname "sub" ip daddr {NGINX} ip saddr @restricted4 tcp dport 80 redirect to :8082
  }}
}}
"""
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


def run(budget: float = 42.0) -> dict[str, Any]:
    """Measure for about ``budget`` seconds, preparation included; at least three rounds."""
    need("ip", "nft", "nginx", "wrk", "taskset")
    end = time.monotonic() + budget
    here = cores()
    if len(here) < 2:
        raise BenchError("one core for the gateway and one for the subscriber are needed")
    gateway_core, subscriber_core = here[0], here[-1]
    with namespaces("g", "s") as ns, tempfile.TemporaryDirectory(prefix="edged-bench-") as name:
        room = Path(name)
        room.chmod(0o755)  # the portal gives up root and must still reach its socket
        _wire(ns, gateway_core, subscriber_core)
        with _portal(ns["g"], room, gateway_core), _nginx(ns["g"], room, gateway_core):
            for address in (OURS, NGINX):
                _await_redirect(ns["s"], address)
            say("ready: both answer 302")
            rates: dict[str, list[float]] = {OURS: [], NGINX: []}
            while len(rates[NGINX]) < 3 or time.monotonic() + 2 * SLICE + 1 < end:
                turn = (OURS, NGINX) if len(rates[OURS]) % 2 == 0 else (NGINX, OURS)
                for address in turn:
                    rates[address].append(_wrk(ns["s"], address, subscriber_core))
    for number, (ours, rival) in enumerate(zip(rates[OURS], rates[NGINX], strict=True), 1):
        say(f"round {number}: ours {ours:,.0f}/s, nginx {rival:,.0f}/s, ratio {ours / rival:.2f}")
    return _report(rates[OURS], rates[NGINX])


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


def _wire(ns: dict[str, str], gateway_core: int, subscriber_core: int) -> None:
    gateway, subscriber = ns["g"], ns["s"]
    sh("ip", "-n", gateway, "link", "add", "sub", "type", "veth", "peer", "name", "up", "netns", subscriber)
    for name, device, address in ((gateway, "sub", "100.64.0.1/24"), (subscriber, "up", "100.64.0.2/24")):
        sh("ip", "-n", name, "addr", "add", address, "dev", device)
        sh("ip", "-n", name, "link", "set", "dev", device, "up")
    sh("ip", "-n", subscriber, "route", "add", "default", "via", "100.64.0.1")
    sh("ip", "-n", gateway, "rule", "add", "fwmark", "0x10000/0x10000", "lookup", "8880", "priority", "8880")
    sh("ip", "-n", gateway, "route", "add", "local", "default", "dev", "lo", "table", "8880")
    for name, device, core in ((gateway, "sub", gateway_core), (subscriber, "up", subscriber_core)):
        write_in(name, f"/sys/class/net/{device}/queues/rx-0/rps_cpus", f"{1 << core:x}")
    write_in(subscriber, "/proc/sys/net/ipv4/ip_local_port_range", "1024 65535")
    for rules in (_RULES, _RIVAL_RULES):
        sh("ip", "netns", "exec", gateway, "nft", "-f", "-", text=rules)


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
    async def who(_address: str) -> Standing:
        return Standing(3, "debt", 0)

    async def shown(_address: str) -> None:
        return None

    link = PortalLink(cfg, who, shown, Silent())
    await link.start()
    ready.set()
    await asyncio.to_thread(done.wait)
    await link.close()


@contextlib.contextmanager
def _nginx(namespace: str, room: Path, core: int) -> Iterator[None]:
    file = room / "nginx.conf"
    file.write_text(_NGINX.format(room=room))
    with _process(namespace, core, ["nginx", "-p", str(room), "-c", str(file)], room / "nginx.out"):
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


def _await_redirect(namespace: str, address: str) -> None:
    end = time.monotonic() + 20
    said: object = "nothing"
    while time.monotonic() < end:
        try:
            with inside(namespace):
                connection = http.client.HTTPConnection(address, timeout=2)
                connection.request("GET", "/")
            said = connection.getresponse().status
            connection.close()
            if said == 302:
                return
        except (OSError, http.client.HTTPException) as error:
            said = error
        time.sleep(0.05)
    raise BenchError(f"{address} does not answer with 302 but: {said}")


def _wrk(namespace: str, address: str, core: int) -> float:
    """Whole requests a second, each on a new connection."""
    load_by = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{SLICE:.0f}s", "-H", "Connection: close", f"http://{address}/"]
    said = sh("ip", "netns", "exec", namespace, "taskset", "-c", str(core), *load_by)
    rate = re.search(r"Requests/sec:\s+([0-9.]+)", said)
    if rate is None or "Non-2xx" in said or "Socket errors" in said:
        raise BenchError(f"{address} did not answer every request well:\n{said}")
    return float(rate[1])
