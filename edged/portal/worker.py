"""One worker process: a redirector and the notice page on one uvloop, with sockets of their own."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import uvloop

from edged.config import Config
from edged.portal import guard, site
from edged.portal.client import CoreClient
from edged.portal.places import Places
from edged.portal.privileges import raise_file_limit
from edged.portal.redirector import SWEEP_SECONDS, Limits, Redirector, prepare
from edged.portal.sockets import Listeners
from edged.portal.tally import Tally
from edged.portal.tls import Certificate
from edged.portal.wire import SOCKET_NAME

REPORT_SECONDS = 1.0
BEHIND = 5
"""How much nicer than the core a worker is: under a flood of requests, commands come first."""
_RESERVE = 64
"""Descriptors for everything that is not a connection."""


class Worker:
    """Built before the fork, so that nothing is read from disk after the privileges are gone; ``run`` starts it."""

    def __init__(self, cfg: Config, workers: int) -> None:
        portal = cfg.portal
        # redirector and page together keep to the configured number; the kernel spreads connections by a hash, so each
        # worker gets about its share of them
        room = min(-(-portal.max_connections // workers), raise_file_limit(_RESERVE))
        self._limits = Limits(
            head=portal.max_header,
            seconds=portal.header_timeout,
            connections=max(1, room // 2),
            per_address=-(-portal.max_connections_per_address // workers),
            household=cfg.network.household_bits,
        )
        self._tally = Tally()
        self._pings = Tally()  # the parent's questions are nobody's requests
        self._client = CoreClient(Path(cfg.run_dir) / SOCKET_NAME, workers)
        self._redirector = Redirector(portal.url, self._limits, self._tally)
        self._certificate = (
            Certificate(portal.cert_file, portal.key_file) if portal.cert_file and portal.key_file else None
        )
        self._places = Places(self._limits, self._tally)
        self._server = guard.server(
            site.build(cfg, self._client, self._tally, streams=max(1, room // 4)),
            self._places, self._tally, self._limits.seconds,
            self._certificate.context if self._certificate else None,
        )  # fmt: skip

    def secure(self) -> None:
        """Read the certificate, as the account that will have to read the next one. Raises ConfigError."""
        if self._certificate is not None:
            self._certificate.load()

    def reload(self) -> None:
        """Read the certificate again; a mistake is said and changes nothing."""
        if self._certificate is not None:
            self._certificate.reload()

    def run(self, listeners: Listeners, ping: socket.socket) -> int:
        """Serve until SIGTERM, behind the core where both want the same processor.

        ``ping`` is a listening Unix socket that the parent asks for a redirect.
        """
        with contextlib.suppress(OSError):  # the unit of systemd forbids the call and has CPUWeight= instead
            os.nice(BEHIND)
        uvloop.run(self._main(listeners, ping))
        return 0

    async def _main(self, listeners: Listeners, ping: socket.socket) -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, stop.set)
        loop.add_signal_handler(signal.SIGHUP, self.reload)
        for listener in (listeners.ipv4, listeners.ipv6):
            if listener is not None:
                prepare(listener)
                self._redirector.open(listener)
        self._redirector.open(ping, self._pings)
        jobs: dict[str, Coroutine[Any, Any, None]] = {
            "core": self._client.run(),
            "sweep": self._sweep(),
            "report": self._report(),
        }
        if listeners.site is not None:
            jobs["site"] = self._server.serve([listeners.site])
        tasks = [asyncio.create_task(job, name=name) for name, job in jobs.items()]
        ended = asyncio.create_task(stop.wait(), name="stop")
        await asyncio.wait([*tasks, ended], return_when=asyncio.FIRST_COMPLETED)
        self._redirector.close()
        self._server.should_exit = True
        for task in tasks:
            if task.get_name() != "site":
                task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        ended.cancel()
        self._flush()
        for failure in results:
            if isinstance(failure, Exception):
                raise failure  # none of them ends by itself: the parent starts another worker

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            while self._redirector.sweep() | self._places.sweep():  # noqa: ASYNC110
                await asyncio.sleep(0)  # more to cut, but others have their turn first
            self._server.resume()

    async def _report(self) -> None:
        while True:
            await asyncio.sleep(REPORT_SECONDS)
            self._flush()

    def _flush(self) -> None:
        # what could not be sent waits, as sums: it does not grow while the core is away
        self._pings.take()
        for left in self._client.report(self._tally.take()):
            self._tally.put_back(left)
