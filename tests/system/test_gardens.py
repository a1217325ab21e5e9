"""Garden names against a real name server: resolved, followed when they move, shown while they have no address."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import dns.asyncresolver
import pytest

from edged import gardens
from edged.gardens import Gardens
from edged.nft.garden import Opening
from tests.broker import free_port, wait_until

BANK = {"networks": [], "domains": ["bank.example"], "ports": [{"protocols": [6], "first": 443, "last": 443}]}


def free_port_of_both() -> int:
    """A port of 127.0.0.1 on which nobody listens at the moment, neither with UDP nor with TCP."""
    while True:
        port = free_port()
        with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.bind(("127.0.0.1", port))
            return port


class NameServer:
    """dnsmasq on loopback with a hosts file that can be changed."""

    def __init__(self, directory: Path) -> None:
        self._hosts = directory / "hosts"
        self._log = directory / "dnsmasq.log"
        self.port = free_port_of_both()
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, *lines: str) -> None:
        self.say(*lines)
        argv = ["dnsmasq", "--no-daemon", "--no-resolv", "--conf-file=/dev/null", f"--port={self.port}", "--user=root"]
        argv += ["--listen-address=127.0.0.1", "--bind-interfaces", "--no-hosts", f"--addn-hosts={self._hosts}"]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen([*argv, "--local=/example/", "--pid-file="], stderr=log)
        wait_until(self._listens, f"dnsmasq on port {self.port}")

    def _listens(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self._log.read_text()
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
            return True
        return False

    def say(self, *lines: str) -> None:
        self._hosts.write_text("".join(f"{line}\n" for line in lines))
        if self._process:
            self._process.send_signal(signal.SIGHUP)

    def stop(self) -> None:
        if self._process:
            self._process.terminate()
            self._process.wait(10)


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[NameServer]:
    made = NameServer(tmp_path)
    resolver = dns.asyncresolver.Resolver(configure=False)
    resolver.nameservers, resolver.port = ["127.0.0.1"], made.port
    monkeypatch.setattr(dns.asyncresolver, "default_resolver", resolver)
    monkeypatch.setattr(gardens, "SHORTEST", 0.05)
    monkeypatch.setattr(gardens, "LONGEST", 0.2)
    try:
        yield made
    finally:
        made.stop()


async def until(found: Gardens, *wanted: Opening, garden: str = "garden") -> None:
    async with asyncio.timeout(60):
        while not set(wanted) <= set(found.openings()[garden]):  # noqa: ASYNC110  a name server tells nobody
            await asyncio.sleep(0.02)


def opening(address: str, port: int | None = None) -> Opening:
    network = ipaddress.ip_network(address)
    return Opening(network) if port is None else Opening(network, 6, 6, port, port)


async def test_names_are_resolved_and_followed(server: NameServer) -> None:
    told: list[float] = []

    async def changed() -> None:
        told.append(time.monotonic())

    found = Gardens(["192.0.2.53/32"], ["voip.example"], "http://page.example/", changed)
    found.put({"banks": BANK})
    server.start("198.51.100.80 bank.example", "2001:db8:f::80 bank.example", "192.0.2.7 voip.example")
    task = asyncio.create_task(found.run())
    try:
        await until(found, opening("198.51.100.80", 443), opening("2001:db8:f::80", 443))
        await until(found, opening("192.0.2.53"), opening("192.0.2.7"), garden="open")
        assert found.unresolved() == ["page.example"]
        async with asyncio.timeout(60):
            while not told:  # noqa: ASYNC110  what is found shows a moment before it is told
                await asyncio.sleep(0.02)
        # A name that moves: the new address opens, the old one stays for those whose resolver still gives it out.
        server.say("198.51.100.81 bank.example", "192.0.2.7 voip.example", "192.0.2.8 page.example")
        await until(found, opening("198.51.100.81", 443), opening("198.51.100.80", 443))
        await until(found, opening("192.0.2.8"), garden="open")
        assert found.unresolved() == []
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_a_name_server_that_is_away_is_asked_again(server: NameServer) -> None:
    async def changed() -> None: ...

    found = Gardens([], ["bank.example"], "http://192.0.2.9/", changed)
    task = asyncio.create_task(found.run())
    try:
        await asyncio.sleep(0)
        assert found.unresolved() == ["bank.example"]
        server.start("198.51.100.80 bank.example")
        await until(found, opening("198.51.100.80"), opening("192.0.2.9"), garden="open")
    finally:
        task.cancel()
        await asyncio.wait([task])
