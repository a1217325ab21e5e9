"""One change with a million present: from the publish to the first packet of the subscriber that is refused.

The real daemon, broker and gateway. A subscriber that is open sends datagrams without a pause from the moment its
``block`` is published; the kernel's ICMP refusal ends the loop, and the refused packet's own moment counts. Beside it,
in turns: a bare QoS 1 round trip through the same broker with the same payload, and ``nft add element`` as a process
into a set of the same million. The sender has the first core, daemon, broker and nft the last.
"""

from __future__ import annotations

import json
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.lab import WWW4, Lab
from tests.lab.lab import GATEWAY

from . import people, rivals, state
from .common import (
    MILLION,
    BenchError,
    Row,
    cores,
    inside,
    median,
    namespaces,
    need,
    percentile,
    pinned,
    result,
    say,
    sh,
)
from .mqtt import Wire

CHANGES = 600
SINK = 9999
COMMANDS, ANSWERS, LOOP = f"edged/v1/gw/{GATEWAY}/cmd", f"edged/v1/gw/{GATEWAY}/ack", "bench/loop"


def run(budget: float = 45.0, members: int = MILLION) -> dict[str, Any]:
    """Up to ``CHANGES`` changes, as many as fit into ``budget`` seconds with all preparation."""
    need("ip", "nft", "mosquitto")
    end = time.monotonic() + budget
    ahead = people.texts(people.addresses(members, CHANGES))
    with pinned(cores()[-1]):
        lab = Lab()
        lab.__enter__()
    try:
        with namespaces("nft") as ns, tempfile.TemporaryDirectory(prefix="edged-bench-") as room:
            _settle_in(lab)
            with state.filling(lab.state_dir, members):
                file = Path(room) / "members.nft"
                rivals.nft_file(file, people.addresses(0, members))
                sh("ip", "netns", "exec", ns["nft"], "nft", "-f", str(file))
            with pinned(cores()[-1]):
                took = lab.start_daemon()
            say(f"ready: daemon online with {members:,} restricted subscribers after {took:.1f} s")
            return _measure(lab, ns["nft"], ahead, end, members)
    finally:
        lab.close()


def _settle_in(lab: Lab) -> None:
    """The subscriber namespace speaks for every address of the benches; the gateway knows the way back."""
    net = lab.network
    net.subscriber.ip("route add local 100.96.0.0/11 dev lo")
    net.gateway.ip("route add 100.96.0.0/11 via 100.64.0.10 dev subs0")
    net.gateway.sysctl(net__ipv4__conf__all__rp_filter=0, net__ipv4__conf__subs0__rp_filter=0)
    lab.state_dir.mkdir(exist_ok=True)


def _measure(lab: Lab, rival: str, ahead: list[str], end: float, members: int) -> dict[str, Any]:
    refused: list[float] = []
    answered: list[float] = []
    trips: list[float] = []
    commands: list[float] = []
    port = lab.broker.port
    lab.manager.close()  # its thread would share our core
    space = lab.network.gateway
    billing, ear = Wire(space, port, "bench-billing"), Wire(space, port, "bench-ear", ANSWERS)
    loop = Wire(space, port, "bench-loop", LOOP)
    sink = lab.network.internet.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        sink.bind((WWW4, SINK))
        with pinned(cores()[0]):
            for address in ahead:
                payload = json.dumps({"op": "block", "sub": address, "reason": "debt"}).encode()
                sent, gone = _until_refused(lab, billing, address, payload)
                refused.append(gone - sent)
                at, document = ear.receive()
                answered.append(at - sent)
                _check(json.loads(document))
                start = billing.publish(LOOP, payload)
                trips.append(loop.receive()[0] - start)
                commands.append(_add_by_process(rival, address))
                if time.monotonic() > end:
                    break
    finally:
        for wire in (billing, ear, loop):
            wire.close()
        sink.close()
    say(f"{len(refused)} changes")
    return _report(members, refused, answered, trips, commands)


def _until_refused(lab: Lab, billing: Wire, address: str, payload: bytes) -> tuple[float, float]:
    """(moment of the publish, moment of the first packet that was refused)."""
    probe = lab.network.subscriber.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with probe:
        probe.bind((address, 0))
        probe.connect((WWW4, SINK))
        for _ in range(3):  # open it is, and the way is known
            probe.send(b"open?")
        sent = last = billing.publish(COMMANDS, payload)
        limit = sent + 10
        while last < limit:
            now = time.monotonic()
            try:
                probe.send(b"still open?")
            except OSError:
                return sent, last  # the kernel tells with the next packet that the one before was refused
            last = now
    raise BenchError(f"a subscriber was still open 10 s after its block; the daemon's log:\n{lab.daemon_log()}")


def _check(ack: dict[str, Any]) -> None:
    if ack.get("summary", {}).get("applied") != 1:
        raise BenchError(f"a block was not applied: {ack}")


def _add_by_process(namespace: str, address: str) -> float:
    with inside(namespace):
        start = time.monotonic()
        argv = ["taskset", "-c", str(cores()[-1]), "nft", "add", "element", "inet", "rival", "restricted4"]
        subprocess.run([*argv, f"{{ {address} }}"], check=True)
        return time.monotonic() - start


def _report(
    members: int, refused: list[float], answered: list[float], trips: list[float], commands: list[float]
) -> dict[str, Any]:
    title = f"publish to packet refused, {members:,} present"
    rows = []
    ratios = {}
    for name, rival in (("bare QoS 1 round trip", trips), ("nft add element", commands)):
        for word, pick in (("median", median), ("p99", lambda values: percentile(values, 0.99))):
            mine, theirs = pick(refused) * 1e3, pick(rival) * 1e3
            ratios[name, word] = theirs / mine
            rows.append(Row(f"{title}, {word}", mine, theirs, "ms", name, theirs / mine))
    return result(
        "change",
        ratios["nft add element", "median"],
        rows,
        changes=len(refused),
        ratio_to_round_trip=round(1 / ratios["bare QoS 1 round trip", "median"], 3),
        ms={
            name: [round(median(values) * 1e3, 3), round(percentile(values, 0.99) * 1e3, 3)]
            for name, values in (("refused", refused), ("ack", answered), ("qos1", trips), ("nft", commands))
        },
    )
