"""Numbered datagrams at a steady rate, and which arrived: shows every packet wrongly passed or lost."""

from __future__ import annotations

import selectors
import socket
import struct
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.lab.netns import Namespace

RATE = 1000
"""Packets a second of each flow."""
PORT = 7100
_SO_RCVBUFFORCE = 33
_HEAD = struct.Struct("!BI")


@dataclass
class Probe:
    """One flow from ``source`` in ``here`` to ``target`` in ``there``; ``passes`` says what should become of it."""

    name: str
    here: Namespace
    source: str
    there: Namespace
    target: str
    passes: bool
    arrived: set[int] = field(default_factory=set)
    """Numbers of the packets that came through."""


class Probes:
    """Sends all probes from one thread and counts in another, between ``start`` and ``stop``."""

    def __init__(self, probes: Sequence[Probe]) -> None:
        self.probes = probes
        self.sent = 0
        """Packets sent so far on each flow: the number the next one gets."""
        self._stop = threading.Event()
        self._done = threading.Event()
        self._senders = [(_socket(p.here, p.source, 0), p.target) for p in probes]
        ends = {(p.there.name, p.target): p.there for p in probes}
        self._receivers = [_socket(space, address, PORT) for (_, address), space in ends.items()]
        self._threads = [threading.Thread(target=run, daemon=True) for run in (self._send, self._receive)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self, drain: float = 0.5) -> None:
        """Stop sending, let the last packets arrive for ``drain`` seconds, close."""
        self._stop.set()
        self._threads[0].join()
        time.sleep(drain)
        self._done.set()
        self._threads[1].join()
        for sock in [*self._receivers, *(sock for sock, _ in self._senders)]:
            sock.close()

    def wait_for_all(self, timeout: float = 5.0) -> bool:
        """Whether every flow that should pass does so, within ``timeout`` seconds (addresses are resolved by then)."""
        end = time.monotonic() + timeout
        wanted = [p for p in self.probes if p.passes]
        while time.monotonic() < end:
            if all(p.arrived for p in wanted):
                return True
            time.sleep(0.01)
        return False

    def wrong(self, first: int, last: int) -> dict[str, int]:
        """Packets numbered ``first`` to below ``last`` that met the wrong fate, by flow; call after ``stop``."""
        out = {}
        for probe in self.probes:
            came = sum(first <= number < last for number in probe.arrived)
            out[probe.name] = last - first - came if probe.passes else came
        return out

    def _send(self) -> None:
        start, every = time.monotonic(), 1 / RATE
        while not self._stop.is_set():
            ahead = start + self.sent * every - time.monotonic()
            if ahead > 0:
                time.sleep(ahead)
            for mark, (sock, target) in enumerate(self._senders):
                sock.sendto(_HEAD.pack(mark, self.sent), (target, PORT))
            self.sent += 1

    def _receive(self) -> None:
        with selectors.DefaultSelector() as selector:
            for sock in self._receivers:
                sock.setblocking(False)
                selector.register(sock, selectors.EVENT_READ)
            while not self._done.is_set():
                for key, _ in selector.select(0.05):
                    assert isinstance(key.fileobj, socket.socket)  # noqa: S101
                    self._take(key.fileobj)

    def _take(self, sock: socket.socket) -> None:
        while True:
            try:
                mark, number = _HEAD.unpack(sock.recv(64))
            except BlockingIOError:
                return
            self.probes[mark].arrived.add(number)


def _socket(space: Namespace, address: str, port: int) -> socket.socket:
    """A bound datagram socket; not connected, so that an ICMP refusal does not eat the next packet."""
    sock = space.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 16 << 20)
    sock.bind((address, port))
    return sock
