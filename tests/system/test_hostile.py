"""Hostile subscribers against the real portal behind real tproxy rules, and an honest one in a namespace of its own.

Nothing here depends on how fast the machine is: the honest client must get every answer, places and memory stay within
their bounds, nothing is logged, and afterwards nothing is left. How long it waits is for `python -m bench page` to say.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest

from edged.domain.standing import Standing
from tests.floods import EVIL, NOISE
from tests.lab.netns import Namespace
from tests.system.test_portal import PAGE, SITE4, Stage, read_all, until

HOSTILE, HONEST = "100.64.16.0/26", "100.64.128.8/29"
REDIRECT, SITE = f"{SITE4}:80", "100.64.0.1:8081"
PLACES = 400
"""portal.max_connections here: half of it for the redirector, half for the page; of each, half to a worker."""


class Besieged(Stage):
    """The stage with crowds of hostile subscribers, and an honest one behind a cable of its own."""

    site_listen = "[::]:8081"  # both families: everybody is who they are all the same

    def __init__(self) -> None:
        super().__init__()
        text = self.file.read_text().replace("[portal]", f"[portal]\nmax_connections = {PLACES}")
        self.file.write_text(text.replace('["subs0"]', '["subs0", "subs1"]'))
        self.honest = Namespace(self.subscriber.name.replace("-psub", "-phon"))

    def build(self) -> None:
        super().build()
        self.honest.create()
        self.gateway.ip(
            f"link add subs1 type veth peer name eth0 netns {self.honest.name}",
            "addr add 100.64.128.1/24 dev subs1",
            "link set subs1 up",
            f"route add {HOSTILE} via 100.64.0.2",
        )
        self.subscriber.ip(f"route add local {HOSTILE} dev lo")
        self.honest.ip(
            *(f"addr add 100.64.128.{n}/24 dev eth0" for n in range(8, 16)),
            "link set eth0 up",
            "route add default via 100.64.128.1",
        )
        rule = "meta nfproto ipv4 ip daddr != 100.64.0.1 tcp dport 80 meta mark set meta mark or 0x10000"
        self.gateway.run(
            *"nft add rule inet edged prerouting iifname subs1".split(),
            *rule.split(),
            *"tproxy ip to 127.0.0.1:8880 accept".split(),
        )

    def close(self) -> None:
        super().close()
        self.honest.delete()

    def start(self, space: Namespace, kind: str, to: str, seconds: float, *options: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "tests.floods", kind, "--to", to, "--seconds", str(seconds), *options]
        return subprocess.Popen([*space.prefix(), *command], stdout=subprocess.PIPE, text=True)

    def memory(self) -> int:
        """Resident KiB of the workers."""
        return sum(
            int(line.split()[1])
            for pid in self.workers()
            for line in Path(f"/proc/{pid}/status").read_text().splitlines()
            if line.startswith("VmRSS:")
        )

    def descriptors(self) -> int:
        return sum(len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in self.workers())


@pytest.fixture(scope="module")
def besieged() -> Iterator[Besieged]:
    if os.geteuid() != 0:
        pytest.skip("needs root")
    one = Besieged()
    try:
        one.build()
        everybody = [f"100.64.16.{n}" for n in range(64)] + [f"100.64.128.{n}" for n in range(8, 16)]
        one.core.people.update({a: Standing(3, "debt", 0) for a in everybody})
        yield one
    finally:
        one.close()


PACE = ("--ramp", "250")
"""Connections begun a second: above, how long a place is kept would hang on how fast this machine is."""
ATTACKS = {
    "slow": [("slow", REDIRECT, 600), ("slow", SITE, 600)],
    "silent and deaf": [("silent", REDIRECT, 300), ("silent", SITE, 300), ("deaf", SITE, 300)],
    "floods": [("visits", REDIRECT, 100), ("pages", SITE, 100)],
    "noise": [("noise", REDIRECT, 60), ("noise", SITE, 60)],
}


@pytest.mark.parametrize("name", ATTACKS)
def test_an_honest_client_is_served_beside_hostile_ones(besieged: Besieged, name: str) -> None:
    idle, logged = besieged.descriptors(), besieged.log.stat().st_size
    with ExitStack() as stack:
        hostile = []
        for kind, to, count in ATTACKS[name]:
            one = besieged.start(besieged.subscriber, kind, to, 3.0, "--sources", HOSTILE, "--count", str(count), *PACE)
            hostile.append(stack.enter_context(one))
        honest = stack.enter_context(
            besieged.start(besieged.honest, "honest", REDIRECT, 1.5, "--page", SITE, "--sources", HONEST)
        )
        until(lambda: besieged.descriptors() > idle + 8, "nobody came")
        visits: dict[str, Any] = json.loads(honest.communicate(timeout=60)[0])
        most, memory = besieged.descriptors() - idle, besieged.memory()
        told = [json.loads(one.communicate(timeout=60)[0]) for one in hostile]
    assert visits["failed"] == []
    assert all(len(visits[kind]) >= 3 for kind in ("whole", "split", "page")), visits
    assert all(one["opened"] > 50 for one in told), told
    assert sum(one.get("echoed", 0) for one in told) == 0
    assert most <= PLACES + 200  # and those that are just being accepted
    assert memory < 400 * 1024
    until(lambda: besieged.descriptors() <= idle + 8, "places were not given back")
    assert besieged.log.read_bytes()[logged:] == b""


def test_a_neighbour_takes_no_streams_of_others(besieged: Besieged) -> None:
    """The site listens on ``[::]`` here."""
    host, _, port = SITE.partition(":")
    ask = b"GET /live HTTP/1.1\r\nHost: " + SITE.encode() + b"\r\n\r\n"
    with ExitStack() as stack:

        def asked(space: Namespace, address: str) -> bytes:
            one = stack.enter_context(space.socket(socket.AF_INET, socket.SOCK_STREAM))
            one.settimeout(15)
            one.bind((address, 0))
            one.connect((host, int(port)))
            with suppress(ConnectionError):
                one.sendall(ask)
                return one.recv(65536)[:12]
            return b""

        taken = [asked(besieged.subscriber, "100.64.16.7") == b"HTTP/1.1 200" for _ in range(40)]
        assert 8 <= sum(taken) <= 16, "eight places in each of two workers"
        answers = [asked(besieged.honest, "100.64.128.8") for _ in range(8)]
    assert answers == [b"HTTP/1.1 200"] * 8


@pytest.mark.parametrize("site", [REDIRECT, SITE])
def test_nothing_a_client_sends_gets_into_where_it_is_led(besieged: Besieged, site: str) -> None:
    host, _, port = site.partition(":")
    for n, sent in enumerate(NOISE):  # each from somebody else: who is refused too often is not answered any more
        with besieged.connect(host, int(port), f"100.64.16.{n}") as sock, suppress(ConnectionError):
            sock.sendall(sent)
            sock.shutdown(socket.SHUT_WR)
            answer = read_all(sock)
            assert EVIL not in answer
            head = answer.partition(b"\r\n\r\n")[0]
            led = [line for line in head.split(b"\r\n") if line.lower().startswith(b"location:")]
            assert led in ([], [f"Location: {PAGE}".encode()]), sent[:80]
