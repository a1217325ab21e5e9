"""The core's end of the socket to the portal: hands out listening sockets, answers who somebody is, takes statistics.

The portal faces hostile subscribers, so what it says is held to fixed records, a bounded number of open questions and
bounded labels. All it can learn is a level and a reason for an address; all it can do is say that a reminder was shown.
"""

from __future__ import annotations

import asyncio
import contextlib
import grp
import logging
import os
import pwd
import socket
from collections.abc import Awaitable, Callable

from edged.config import Config
from edged.domain.standing import Standing
from edged.errors import EdgedError
from edged.observer import Observer
from edged.portal import sockets, wire

ACCOUNT = "edged-portal"
"""The user, and the group of the same name, that the portal runs as; ``nobody`` where it does not exist."""
QUESTIONS = 64
"""Questions of one worker that may be open; more wait in the socket, where they cost the portal, not us."""
MOST_WORKERS = 256

_log = logging.getLogger(__name__)


class PortalLink:
    """Serves any number of portals. ``who`` and ``shown`` take a literal address; both may raise EdgedError."""

    def __init__(
        self,
        cfg: Config,
        who: Callable[[str], Awaitable[Standing]],
        shown: Callable[[str], Awaitable[None]],
        observer: Observer,
    ) -> None:
        self._cfg = cfg
        self._who = who
        self._shown = shown
        self._observer = observer
        self._path = cfg.run_dir / wire.SOCKET_NAME
        self._listener: socket.socket | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._serving = 0

    @property
    def up(self) -> bool:
        """Whether a worker of the portal is connected."""
        return self._serving > 0

    async def start(self) -> None:
        """Listen. Raises EdgedError when the socket cannot be made."""
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._path.unlink(missing_ok=True)
            listener.bind(str(self._path))
            self._path.chmod(0o660)
            give_away(self._path)
            listener.listen(MOST_WORKERS)  # nobody could connect before this line, whatever the umask
        except OSError as error:
            listener.close()
            raise EdgedError(f"run_dir: {self._path}: {error.strerror}; the portal cannot be reached") from error
        self._listener = listener
        self._spawn(self._accept(listener), "portal-accept")

    async def close(self) -> None:
        """End all connections and remove the socket. The portal goes on with the sockets it has."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._listener is not None:
            self._listener.close()
            self._listener = None
            self._path.unlink(missing_ok=True)

    def _spawn(self, work: Awaitable[None], name: str) -> asyncio.Task[None]:
        task = asyncio.ensure_future(work)
        task.set_name(name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                sock, _ = await loop.sock_accept(listener)
            except OSError as error:  # descriptors ran out: those who wait keep waiting
                _log.warning("portal socket: %s", error.strerror)
                await asyncio.sleep(0.5)
                continue
            self._spawn(self._serve(sock), "portal-connection")

    async def _serve(self, sock: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        sock.setblocking(False)
        room = asyncio.Semaphore(QUESTIONS)
        worker = False
        with sock:
            try:
                hello = wire.decode(await loop.sock_recv(sock, wire.LARGEST))
                worker = self._greet(sock, hello)
                self._serving += worker
                while data := await loop.sock_recv(sock, wire.LARGEST):
                    await self._take(sock, wire.decode(data), room)
            except EdgedError as error:
                _log.error("portal: %s", error)
            except OSError as error:
                _log.debug("portal connection: %s", error)
            finally:
                self._serving -= worker

    def _greet(self, sock: socket.socket, hello: wire.Record) -> bool:
        """True when a worker speaks; False when it is a portal that wants its sockets."""
        if not isinstance(hello, wire.Hello) or hello.version != wire.VERSION or hello.workers > MOST_WORKERS:
            raise wire.WireError("a portal of another version; restart edged-portal")
        if not hello.need:
            return True
        made = sockets.make(self._cfg, hello.workers)
        try:
            for number, one in enumerate(made):
                record = wire.Sockets(number, hello.workers, True, one.ipv6 is not None, one.site is not None)
                socket.send_fds(sock, [wire.encode(record)], [s.fileno() for s in one.all()])
        finally:
            for one in made:
                one.close()  # the portal holds them now; ours would go on collecting connections that nobody takes
        return False

    async def _take(self, sock: socket.socket, record: wire.Record, room: asyncio.Semaphore) -> None:
        match record:
            case wire.Who(request, address):
                await room.acquire()
                self._spawn(self._answer(sock, request, address, room), "portal-who")
            case wire.Shown(address):
                await room.acquire()
                self._spawn(self._note(address, room), "portal-shown")
            case wire.Stats(kind, code, count, seconds, timed):
                self._observer.portal_requests(kind, str(code) if code else "closed", count)
                if timed:
                    self._observer.portal_seconds(seconds, timed)
            case _:
                raise wire.WireError("a record that only the core sends")

    async def _answer(self, sock: socket.socket, request: int, address: bytes, room: asyncio.Semaphore) -> None:
        try:
            standing = await self._who(wire.address_text(address))
        except EdgedError as error:
            _log.debug("portal question: %s", error)
            return  # the portal shows its general page
        finally:
            room.release()
        # the connection may be gone, or its worker may not read: that costs one page its text, no more
        with contextlib.suppress(OSError):
            sock.send(wire.encode(wire.Person(request, standing)), socket.MSG_DONTWAIT)

    async def _note(self, address: bytes, room: asyncio.Semaphore) -> None:
        try:
            await self._shown(wire.address_text(address))
        except EdgedError as error:
            _log.debug("portal note: %s", error)
        finally:
            room.release()


def give_away(path: os.PathLike[str]) -> None:
    """Let the portal's account open ``path``, and nobody else: by group, or where there is no such group, by owner."""
    with contextlib.suppress(KeyError):
        os.chown(path, -1, grp.getgrnam(ACCOUNT).gr_gid)
        return
    if os.geteuid() == 0:
        os.chown(path, pwd.getpwnam("nobody").pw_uid, -1)
