"""Numbered datagrams at a steady rate, and which arrived: shows every packet wrongly passed or lost.

The probes run in a process of their own, so that they share no interpreter with whoever gives the orders. They speak in
lines of JSON: ``ready`` when every flow that should pass does, then one list of moments in, one list of counts out.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import selectors
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from typing import Any, Self

from .common import BenchError, inside, stop

RATE = 1000
"""Packets a second of each flow."""
PORT = 7100
DRAIN = 0.5
"""Seconds that the last packets get to arrive."""
_SO_RCVBUFFORCE = 33
_HEAD = struct.Struct("!BI")


@dataclasses.dataclass(frozen=True)
class Probe:
    """One flow from ``source`` in namespace ``here`` to ``target`` in ``there``, and whether it should pass."""

    name: str
    here: str
    source: str
    there: str
    target: str
    passes: bool


class Probes:
    """Sends all probes from ``with`` on, until :meth:`count`."""

    def __init__(self, probes: Sequence[Probe]) -> None:
        self._probes = probes

    def __enter__(self) -> Self:
        argv = [sys.executable, "-m", "bench.flows", json.dumps([dataclasses.asdict(probe) for probe in self._probes])]
        self._child = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        try:
            if self._line() != "ready":
                raise BenchError("the probes of open subscribers do not arrive before anything was disturbed")
        except BaseException:
            stop(self._child)
            raise
        return self

    def __exit__(self, *_exc: object) -> None:
        stop(self._child)

    def count(self, moments: Sequence[float]) -> list[dict[str, int]]:
        """Stop, and say for each span between two moments how many packets of each flow met the wrong fate.

        Moments are ``time.monotonic()``; the key ``packets`` holds how many were sent in all in that span.
        """
        assert self._child.stdin is not None  # noqa: S101
        self._child.stdin.write(json.dumps(list(moments)) + "\n")
        self._child.stdin.flush()
        found: list[dict[str, int]] = self._line()
        return found

    def _line(self) -> Any:
        assert self._child.stdout is not None  # noqa: S101
        text = self._child.stdout.readline()
        if not text:
            raise BenchError("the probes broke off")
        return json.loads(text)


class _Traffic:
    """The other process: one thread sends, one counts."""

    def __init__(self, probes: Sequence[Probe]) -> None:
        self._probes = probes
        self._arrived: list[set[int]] = [set() for _ in probes]
        self._senders = [(_socket(p.here, p.source, 0), p.target) for p in probes]
        ends = {(p.there, p.target) for p in probes}
        self._receivers = [_socket(space, address, PORT) for space, address in ends]
        self._times: list[float] = []
        self._stop, self._done = threading.Event(), threading.Event()

    def run(self) -> None:
        threads = [threading.Thread(target=work, daemon=True) for work in (self._send, self._receive)]
        for thread in threads:
            thread.start()
        end = time.monotonic() + 5
        while not all(a for a, p in zip(self._arrived, self._probes, strict=True) if p.passes):
            if time.monotonic() > end:
                print(json.dumps("silent"), flush=True)
                return
            time.sleep(0.01)
        print(json.dumps("ready"), flush=True)
        line = sys.stdin.readline()
        self._stop.set()
        threads[0].join()
        time.sleep(DRAIN)
        self._done.set()
        threads[1].join()
        if line:
            print(json.dumps(self._verdict(json.loads(line))), flush=True)

    def _send(self) -> None:
        start, number = time.monotonic(), 0
        while not self._stop.is_set():
            ahead = start + number / RATE - time.monotonic()
            if ahead > 0:
                time.sleep(ahead)
            self._times.append(time.monotonic())
            for mark, (sock, target) in enumerate(self._senders):
                sock.sendto(_HEAD.pack(mark, number), (target, PORT))
            number += 1

    def _receive(self) -> None:
        with selectors.DefaultSelector() as selector:
            for sock in self._receivers:
                selector.register(sock.fileno(), selectors.EVENT_READ, sock)
            while not self._done.is_set():
                for key, _ in selector.select(0.05):
                    self._take(key.data)

    def _take(self, sock: socket.socket) -> None:
        while True:
            try:
                mark, number = _HEAD.unpack(sock.recv(64, socket.MSG_DONTWAIT))
            except BlockingIOError:
                return
            self._arrived[mark].add(number)

    def _verdict(self, moments: Sequence[float]) -> list[dict[str, int]]:
        out = []
        for first, last in itertools.pairwise(moments):
            numbers = {n for n, at in enumerate(self._times) if first <= at < last}
            found = {"packets": len(numbers) * len(self._probes)}
            for probe, arrived in zip(self._probes, self._arrived, strict=True):
                found[probe.name] = len(numbers - arrived if probe.passes else numbers & arrived)
            out.append(found)
        return out


def _socket(namespace: str, address: str, port: int) -> socket.socket:
    """A bound datagram socket; not connected, so that an ICMP refusal does not eat the next packet."""
    with inside(namespace):
        sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 16 << 20)
    sock.bind((address, port))
    return sock


if __name__ == "__main__":
    _Traffic([Probe(**fields) for fields in json.loads(sys.argv[1])]).run()
