"""A gateway with our rules and nothing else of the daemon, and beside it the fake with the same state in it.

Subscriber, gateway and internet are the lab's namespaces; the portal is a stand-in that answers 302.
"""

from __future__ import annotations

import contextlib
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from edged import plan
from edged.domain.address import Addressing
from edged.domain.entry import Entry
from edged.nft.enforcer import Enforcer
from edged.nft.fake import FakeBackend
from edged.nft.garden import Opening
from edged.nft.routing import Steering
from edged.nft.schema import Settings
from edged.nft.socket import KernelBackend
from edged.nft.tracer import Tracer
from edged.plan import Owned
from tests import worlds
from tests.kernel.accelerator import Accelerator
from tests.lab import topology
from tests.lab.client import Device
from tests.lab.netns import Namespace, unique_tag
from tests.lab.programs import Attentive
from tests.lab.services import Services, family_of
from tests.worlds import DictSource, refill, turns

IP_TRANSPARENT, IPV6_TRANSPARENT = 19, 75
PORTAL_PORT = 8880
LOCAL_PORT = 9000
"""Something the gateway itself offers."""

RULES = Settings((topology.SUBSCRIBER_INTERFACE,), (64, 56), 0x10000, PORTAL_PORT)
ADDRESSING = Addressing((64, 56))


class Listeners:
    """TCP listeners in one namespace that answer each connection in a thread; ``close`` ends them all."""

    def __init__(self) -> None:
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []

    def listen(
        self, space: Namespace, address: str, port: int, answer: Callable[[socket.socket], None], *, steal: bool = False
    ) -> None:
        """Serve; with ``steal`` as the portal does, for connections to anybody."""
        sock = space.socket(family_of(address), socket.SOCK_STREAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if steal:
            six = ":" in address
            sock.setsockopt(
                socket.IPPROTO_IPV6 if six else socket.IPPROTO_IP, IPV6_TRANSPARENT if six else IP_TRANSPARENT, 1
            )
        sock.bind((address, port))
        sock.listen(64)
        self._sockets.append(sock)
        thread = threading.Thread(target=self._serve, args=(sock, answer), daemon=True)
        self._threads.append(thread)
        thread.start()

    def _serve(self, sock: socket.socket, answer: Callable[[socket.socket], None]) -> None:
        while True:
            try:
                connection, _ = sock.accept()
            except OSError:
                return
            with contextlib.suppress(OSError), connection:
                connection.settimeout(5)
                answer(connection)

    def close(self) -> None:
        for sock in self._sockets:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()
        for thread in self._threads:
            thread.join(10)
        self._sockets.clear()
        self._threads.clear()


def redirecting(connection: socket.socket) -> None:
    """What the portal does."""
    if connection.recv(2048):
        connection.sendall(
            b"HTTP/1.1 302 Found\r\nLocation: http://portal/\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        )


class Gateway:
    """``kernel`` and ``fake`` always hold the same; ``device`` is the subscriber's, ``stranger`` somebody else's.

    ``mode``: how XDP is attached on the subscriber's side; off, generic or native.
    """

    def __init__(self, mode: str = "off") -> None:
        self.mode = mode
        self.xdp: Accelerator | None = None
        self.network = topology.Network.named(unique_tag())
        self.person = topology.DEBTOR
        self.state: dict[bytes, Owned] = {}
        self.portal = Listeners()
        self._local = Listeners()
        self._directory = tempfile.TemporaryDirectory()
        self._services = Services(self.network.internet, Path(self._directory.name))
        self.backend = KernelBackend()
        self.kernel = Enforcer(self.backend, RULES)
        self._fake_backend = FakeBackend(worlds.clock)
        self.fake = Enforcer(self._fake_backend, RULES)
        self.device = Device(self.network.subscriber, topology.DEBTOR)
        self.stranger = Device(self.network.subscriber, topology.NEIGHBOUR)

    def start(self) -> None:
        self.network.create()
        self._services.start()
        self.start_portal()
        for address in (topology.GATEWAY4, topology.GATEWAY6):
            self._local.listen(self.network.gateway, address, LOCAL_PORT, lambda c: c.sendall(b"here\n"))
        self.network.gateway.call(Steering(0x10000, 8880, 8880).ensure)
        self.network.gateway.call(lambda: self.backend.port_id)
        for enforcer in (self.kernel, self.fake):
            refill(enforcer, DictSource({}))
        if self.mode != "off":
            self.xdp = Accelerator(self.network.gateway)
            self._far_end = Attentive(self.network.subscriber, "wan0")
            found = self.xdp.attach(topology.SUBSCRIBER_INTERFACE, self.mode)
            assert found.mode == self.mode, found.why

    def start_portal(self) -> None:
        for address in ("127.0.0.1", "::1"):
            self.portal.listen(self.network.gateway, address, PORTAL_PORT, redirecting, steal=True)

    def close(self) -> None:
        if self.xdp is not None:
            self.xdp.close()
            self._far_end.close()
        self.backend.close()
        self.portal.close()
        self._local.close()
        self._services.close()
        self.network.delete()
        self._directory.cleanup()

    def addresses(self) -> list[bytes]:
        return [k for a in self.person.addresses for k in ADDRESSING.keys(a)]

    def put(self, entry: Entry) -> None:
        """Bring an entry into force for all of the subscriber's addresses, in both worlds, as one change each."""
        after = {k: Owned(1, entry) for k in self.addresses()} if entry.level else {}
        change = plan.diff(turns(self.state, after))
        for enforcer in (self.kernel, self.fake):
            enforcer.apply(change, worlds.clock())
        self.state = after
        if self.xdp is not None:
            self.xdp.put(self.addresses(), entry)

    def open_gardens(self, openings: Mapping[str, list[Opening]]) -> None:
        for enforcer in (self.kernel, self.fake):
            enforcer.set_gardens(openings)
        if self.xdp is not None:
            self.xdp.gardens(openings)

    def tracer(self, *, portal_up: bool = True, over_rate: bool = False) -> Tracer:
        return Tracer(self._fake_backend, portal_up=portal_up, over_rate=over_rate)

    def counted(self, name: str) -> tuple[int, int]:
        """Packets and bytes of a counter."""
        return self.backend.counters()[name]

    # -- the other direction ---------------------------------------------------------------------------------

    def datagram_down(self, source: str, port: int, target: str, *, timeout: float = 0.4) -> str:
        """An unasked datagram from the internet to the subscriber: ``open`` when it arrives, else ``silent``."""
        with (
            self.network.subscriber.socket(family_of(target), socket.SOCK_DGRAM) as receiver,
            self.network.internet.socket(family_of(target), socket.SOCK_DGRAM) as sender,
        ):
            receiver.bind((target, 0))
            receiver.settimeout(timeout)
            sender.bind((source, port))
            sender.sendto(b"unasked", (target, receiver.getsockname()[1]))
            try:
                receiver.recv(64)
            except TimeoutError:
                return "silent"
            return "open"

    def connection_down(self, source: str, target: str) -> str:
        """A TCP connection from the internet to a server of the subscriber: ``open`` or ``reset``."""
        with (
            self.network.subscriber.socket(family_of(target), socket.SOCK_STREAM) as server,
            self.network.internet.socket(family_of(target), socket.SOCK_STREAM) as client,
        ):
            server.bind((target, 0))
            server.listen(1)
            client.settimeout(3)
            client.bind((source, 0))
            try:
                client.connect((target, server.getsockname()[1]))
            except ConnectionError:
                return "reset"
            return "open"


@contextlib.contextmanager
def gateway(mode: str = "off") -> Iterator[Gateway]:
    """A gateway from beginning to end; ``mode`` of XDP."""
    made = Gateway(mode)
    try:
        made.start()
        yield made
    finally:
        made.close()


def seconds_since(start: float) -> float:
    return time.monotonic() - start
