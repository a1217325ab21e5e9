"""aiomqtt's client with its errors kept: the connection's, and those that paho only logs.

Each of them is what the session tells the operator about; here they stay exceptions, so that they can be explained.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import aiomqtt

# Each failure is logged once, by the session. Set this logger to DEBUG to see packets.
wire = logging.getLogger("edged.mqtt.wire")
wire.setLevel(logging.CRITICAL)


class _Ear(logging.Filter):
    """Remembers the last exception that was logged, and lets through what the wire logger wants."""

    fault: OSError | None = None

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple):
            self.fault = next((each for each in record.args if isinstance(each, OSError)), self.fault)
        return wire.isEnabledFor(record.levelno)


class Client(aiomqtt.Client):
    """aiomqtt's client, telling when the thread in which it connects has ended, and what went wrong."""

    def __init__(self, *args: Any, **options: Any) -> None:
        self._ear = _Ear()
        # With TLS 1.3 a broker turns us away after the handshake: paho meets that alert in a read, and only logs it.
        logger = logging.Logger(wire.name, logging.DEBUG)  # noqa: LOG001 - one a connection, forgotten with it
        logger.parent = wire
        logger.addFilter(self._ear)
        super().__init__(*args, logger=logger, **options)
        self.dialled = asyncio.Event()
        self._dial_fault: BaseException | None = None

    @property
    def fault(self) -> BaseException | None:
        """Why connecting, or later reading, failed; ``None`` where only the other side knows."""
        return self._dial_fault or self._ear.fault

    def _client_connect(self) -> None:
        try:
            super()._client_connect()
        except BaseException as exc:
            self._dial_fault = exc
            raise
        finally:
            self._loop.call_soon_threadsafe(self.dialled.set)

    def _on_socket_register_write(self, client: Any, userdata: Any, sock: Any) -> None:  # noqa: ARG002
        # aiomqtt remembers the number of the socket. By the time it is looked at, the socket may be closed and the
        # number another's: a writer of ours on somebody else's connection.
        self._loop.call_soon_threadsafe(self._watch_for_writing, sock)

    def _watch_for_writing(self, sock: Any) -> None:
        if sock.fileno() >= 0:
            self._loop.add_writer(sock.fileno(), self._write)

    def _write(self) -> None:
        try:
            self._client.loop_write()
        except Exception as exc:  # noqa: BLE001 - paho lets some errors of the socket out
            if not self._disconnected.done():
                self._disconnected.set_exception(exc)
