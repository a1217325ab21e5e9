"""The control socket: how the commands typed on this machine reach the running daemon.

One JSON object a line. A request is ``{"do": name, …}``; its answer is any number of ``{"row": …}`` lines, at most one
``{"result": …}``, perhaps ``{"progress": …}`` lines as signs of life, and always a last line with ``"end": true`` and
``"ok"``; where that is false, ``"error"`` holds ``code`` and ``detail``. Several requests may follow each other on one
connection.

Who may connect is decided by the file system: mode 0660, and the group ``edged`` where the machine has one.
"""

from __future__ import annotations

import asyncio
import contextlib
import grp
import json
import logging
import os
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from edged.errors import EdgedError, NotRunning

Handler = Callable[[dict[str, Any]], AsyncIterator[dict[str, Any]]]
"""Answers one request with ``{"row": …}`` and ``{"result": …}`` dicts; an EdgedError refuses it."""

GROUP = "edged"
MAX_LINE = 8 << 20
"""Bytes of one line; a batch of 5000 commands in one is about 1 MB."""
SEND_TIMEOUT = 30.0
"""Seconds a client may leave its answer unread; then it is dropped, so that a stopped ``less`` holds nothing."""
FAREWELL = 2.0

_log = logging.getLogger(__name__)


class Refused(EdgedError):
    """The daemon answered ``"ok": false``. ``code`` is the error's code, ``str()`` its detail."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code


class _Gone(Exception):
    """The client left or does not read; nothing more can be said to it."""


class ControlServer:
    """Listens on ``path`` and answers with ``handlers``, which are run in the daemon's own event loop."""

    def __init__(self, path: Path, handlers: Mapping[str, Handler]) -> None:
        self._path = path
        self._handlers = handlers
        self._server: asyncio.Server | None = None
        self._clients: set[asyncio.Task[None]] = set()
        self._busy: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Begins to listen. Raises EdgedError when another daemon answers there or the directory cannot be written."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        if _answers(self._path):
            raise EdgedError(
                f"{self._path}: another edged answers there; stop it first, or give this one its own run_dir"
            )
        self._path.unlink(missing_ok=True)  # left behind by a daemon that was killed
        # The name appears under another one first: nobody must be able to connect before the mode is right.
        hidden = self._path.with_name(self._path.name + ".new")
        hidden.unlink(missing_ok=True)
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            old_mask = os.umask(0o177)
            try:
                listening.bind(str(hidden))
            finally:
                os.umask(old_mask)
            _hand_to_group(hidden)
            self._server = await asyncio.start_unix_server(self._serve, sock=listening, limit=MAX_LINE)
            hidden.rename(self._path)
        except OSError as error:
            listening.close()
            raise EdgedError(f"{self._path}: {error.strerror}; the daemon must be able to write its run_dir") from error

    async def close(self) -> None:
        """Stops listening and ends every connection; an answer under way (perhaps to ``stop``) has two seconds."""
        if self._server is None:
            return
        self._server.close()
        current = asyncio.current_task()
        if busy := {task for task in self._busy if task is not current}:
            await asyncio.wait(busy, timeout=FAREWELL)
        for task in list(self._clients):
            task.cancel()
        await asyncio.gather(*self._clients, return_exceptions=True)
        await self._server.wait_closed()
        self._server = None
        self._path.unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            task.set_name("control client")
            self._clients.add(task)
        try:
            while line := await reader.readline():
                if task is not None:
                    self._busy.add(task)
                await self._answer(line, writer)
                if task is not None:
                    self._busy.discard(task)
        except ValueError:  # a line longer than MAX_LINE: there is no way to find the next one
            with contextlib.suppress(_Gone):
                await _send(writer, _no("malformed", f"a line may have {MAX_LINE} bytes at most"))
        except (_Gone, OSError) as error:
            _log.debug("control client left: %s", error)
        except asyncio.CancelledError:  # close() ends us; asyncio's own callback would log the cancellation
            pass
        finally:
            if task is not None:
                self._clients.discard(task)
                self._busy.discard(task)
            writer.close()

    async def _answer(self, line: bytes, writer: asyncio.StreamWriter) -> None:
        try:
            request = json.loads(line)
        except (ValueError, RecursionError):
            await _send(writer, _no("malformed", "a request is one JSON object on one line"))
            return
        do = request.get("do") if isinstance(request, dict) else None
        handler = self._handlers.get(do) if isinstance(do, str) else None
        if handler is None:
            await _send(writer, _no("malformed", f'"do" must be one of {", ".join(sorted(self._handlers))}'))
            return
        parts = handler(request)
        try:
            async for part in parts:
                await _send(writer, part)
        except _Gone:
            raise
        except EdgedError as error:
            last = _no(getattr(error, "code", type(error).__name__), str(error))
        except Exception:  # noqa: BLE001  one broken answer must not end the daemon; the log has the traceback
            _log.exception("control request %s failed", do)
            last = _no("internal", "the daemon failed to answer; its log says why")
        else:
            last = {"end": True, "ok": True}
        finally:
            if isinstance(parts, AsyncGenerator):
                await parts.aclose()  # lets go of what the handler holds, also when the client left half-way
        await _send(writer, last)


class ControlClient:
    """The other end, blocking, for the command line. Connects anew for each call."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def call(self, request: Mapping[str, Any], timeout: float | None = 60.0) -> Iterator[dict[str, Any]]:
        """The ``{"row": …}`` and ``{"result": …}`` dicts of an answer, as they come; ``timeout`` is seconds of silence.

        Raises NotRunning when nobody answers there, Refused when the daemon says no, EdgedError when it breaks off.
        """
        with contextlib.closing(self._connect(timeout)) as connection, connection.makefile("rwb") as stream:
            try:
                stream.write(json.dumps(request, separators=(",", ":")).encode() + b"\n")
                stream.flush()
                for line in stream:
                    part = json.loads(line)
                    if not part.pop("end", False):
                        yield part
                        continue
                    if not part["ok"]:
                        raise Refused(part["error"]["code"], part["error"]["detail"])
                    return
            except TimeoutError as error:
                raise EdgedError(
                    f"{self._path}: no answer for {timeout:g} seconds; see `edged status` and the log"
                ) from error
            except (OSError, ValueError) as error:
                raise EdgedError(f"{self._path}: the answer broke off ({error}); see the daemon's log") from error
        raise EdgedError(f"{self._path}: the daemon hung up before it had answered; see its log")

    def result(self, request: Mapping[str, Any], timeout: float | None = 60.0) -> dict[str, Any]:
        """The one ``result`` of an answer. Raises as :meth:`call` does."""
        found: dict[str, Any] = {}
        for part in self.call(request, timeout):
            found = part.get("result", found)
        return found

    def answers(self) -> bool:
        """Whether anybody listens there now."""
        return _answers(self._path)

    def _connect(self, timeout: float | None) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(timeout)
        try:
            connection.connect(str(self._path))
        except PermissionError as error:
            connection.close()
            raise EdgedError(f"{self._path}: permission denied; be root or a member of the group {GROUP}") from error
        except OSError as error:
            connection.close()
            raise NotRunning(f"no daemon answers on {self._path} ({error.strerror or error})") from error
        return connection


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except OSError:
            return False
        return True


def _hand_to_group(path: Path) -> None:
    """0660 and the group ``edged``, as far as the machine has one and we may: else only the owner gets in."""
    try:
        os.chown(path, -1, grp.getgrnam(GROUP).gr_gid)
    except (KeyError, PermissionError):
        _log.debug("the control socket stays with our own group")
    path.chmod(0o660)


async def _send(writer: asyncio.StreamWriter, part: Mapping[str, Any]) -> None:
    writer.write(json.dumps(part, separators=(",", ":"), ensure_ascii=False).encode() + b"\n")
    try:
        async with asyncio.timeout(SEND_TIMEOUT):
            await writer.drain()
    except (OSError, TimeoutError) as error:
        raise _Gone(str(error)) from error


def _no(code: str, detail: str) -> dict[str, Any]:
    return {"end": True, "ok": False, "error": {"code": code, "detail": detail}}
