"""What the lab's internet offers: a web server, a bank, an echo and a stream that talks without being asked.

Each site (www, bank) has http on 80, https on 443 and UDP 443, on its IPv4 and its IPv6 address; www also has a TCP
echo and a TCP ticker. All run in one asyncio thread of this process, on sockets made in the namespace.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import subprocess
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import cast

from tests.lab import topology
from tests.lab.netns import Namespace

ECHO_PORT, TICKER_PORT = 7000, 7001
TICK = 0.01  # seconds between two lines of the ticker

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Services:
    """The servers of the internet namespace. ``start`` returns when all listen; ``close`` ends them."""

    def __init__(self, space: Namespace, directory: Path) -> None:
        self._space = space
        self._directory = directory
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._servers: list[asyncio.Server | asyncio.DatagramTransport] = []

    def start(self) -> None:
        """Open all sockets (raises OSError if one cannot be had) and serve them from a thread of their own."""
        tls = _certificate(self._directory)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="internet", daemon=True)
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._serve(tls), self._loop).result(10)

    def close(self) -> None:
        """Drop every connection and listener."""
        if self._loop is None or self._thread is None:
            return
        asyncio.run_coroutine_threadsafe(self._hang_up(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()
        self._loop = None

    async def _serve(self, tls: ssl.SSLContext) -> None:
        loop = asyncio.get_running_loop()
        for name, addresses in (
            ("www", (topology.WWW4, topology.WWW6)),
            ("bank", (topology.BANK4, topology.BANK6)),
        ):
            page = _page(name)
            for address in addresses:
                udp, _ = await loop.create_datagram_endpoint(_UdpEcho, sock=self._datagram(address, 443))
                self._servers += [
                    udp,
                    await asyncio.start_server(page, sock=self._listener(address, 80)),
                    await asyncio.start_server(page, sock=self._listener(address, 443), ssl=tls),
                ]
                if name == "www":
                    self._servers += [
                        await asyncio.start_server(_echo, sock=self._listener(address, ECHO_PORT)),
                        await asyncio.start_server(_ticker, sock=self._listener(address, TICKER_PORT)),
                    ]

    async def _hang_up(self) -> None:
        for server in self._servers:
            server.close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)  # closed transports let go of their sockets in the next turn of the loop

    def _listener(self, address: str, port: int) -> socket.socket:
        sock = self._space.socket(family_of(address), socket.SOCK_STREAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((address, port))
        sock.listen(256)
        sock.setblocking(False)
        return sock

    def _datagram(self, address: str, port: int) -> socket.socket:
        sock = self._space.socket(family_of(address), socket.SOCK_DGRAM)
        sock.bind((address, port))
        sock.setblocking(False)
        return sock


def family_of(address: str) -> socket.AddressFamily:
    """AF_INET6 for a literal with a colon, else AF_INET."""
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def _page(name: str) -> Handler:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            body = f"this is {name} of the lab's internet\n".encode()
            writer.write(
                b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\n"
                b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
            )
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the client is gone, or the lab is being taken down
        finally:
            writer.close()

    return serve


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(4096):
            writer.write(data)
            await writer.drain()
    except (OSError, asyncio.CancelledError):
        pass  # the client is gone, or the lab is being taken down
    finally:
        writer.close()


async def _ticker(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while not writer.is_closing():
            writer.write(b"tick\n")
            await writer.drain()
            await asyncio.sleep(TICK)
    except (OSError, asyncio.CancelledError):
        pass  # the client is gone, or the lab is being taken down
    finally:
        writer.close()


class _UdpEcho(asyncio.DatagramProtocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # What asyncio hands over here is not a DatagramTransport by type, only by behaviour.
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str | object, int]) -> None:
        self._transport.sendto(data, addr)


def _certificate(directory: Path) -> ssl.SSLContext:
    """A throw-away key and certificate; the lab's clients do not check it."""
    key, cert = directory / "tls.key", directory / "tls.crt"
    subprocess.run(
        f"openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=lab.example "
        f"-keyout {key} -out {cert}".split(),
        check=True,
        capture_output=True,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    return context
