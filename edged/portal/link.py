"""The core's end of the socket to the portal: hands out listening sockets, talks with each worker, tells what changed.

The portal faces hostile subscribers, so what it says is held to fixed records, a bounded number of open questions
(:mod:`edged.portal.talk`) and bounded labels.
"""

from __future__ import annotations

import asyncio
import contextlib
import grp
import logging
import os
import pwd
import socket
from collections.abc import Awaitable, Iterable, Mapping

from edged.config import Config
from edged.errors import EdgedError
from edged.observer import Observer
from edged.portal import sockets, wire
from edged.portal.talk import Core, Talk

ACCOUNT = "edged-portal"
"""The user, and the group of the same name, that the portal runs as; ``nobody`` where it does not exist."""
MOST_WORKERS = 256

_log = logging.getLogger(__name__)


class PortalLink:
    """Serves any number of portals."""

    def __init__(self, cfg: Config, core: Core, observer: Observer) -> None:
        self._cfg = cfg
        self._core = core
        self._observer = observer
        self._path = cfg.run_dir / wire.SOCKET_NAME
        self._listener: socket.socket | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._talks: set[Talk] = set()
        self._watchers: dict[bytes, int] = {}
        """Address -> how many workers watch it."""

    @property
    def up(self) -> bool:
        """Whether a worker of the portal is connected."""
        return bool(self._talks)

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
        talk = Talk(sock, self._core, self._observer, self._spawn, self._watch)
        with sock:
            try:
                hello = wire.decode(await loop.sock_recv(sock, wire.ROOM))
                if self._greet(sock, hello):
                    self._talks.add(talk)
                    for reason, fields in self._core.texts().items():
                        talk.send(wire.Texts(reason, dict(fields)))
                await talk.read()
            except EdgedError as error:
                _log.error("portal: %s", error)
            except OSError as error:
                _log.debug("portal connection: %s", error)
            finally:
                self._talks.discard(talk)
                talk.close()
                for address in talk.watched:
                    self._watch(address, False)

    def _watch(self, address: bytes, on: bool) -> None:
        count = self._watchers.get(address, 0) + (1 if on else -1)
        if count > 0:
            self._watchers[address] = count
        else:
            self._watchers.pop(address, None)
        if count == int(on):  # the first has come, or the last has gone
            self._core.watch(wire.address_text(address), on=on)

    def changed(self, addresses: Iterable[str]) -> None:
        """What holds for these addresses may have changed, and the kernel has it."""
        packed = {wire.pack_address(a) for a in addresses}
        for talk in self._talks:
            for address in talk.watched & packed:
                talk.changed(address)

    def texts(self, reason: str, fields: Mapping[str, str]) -> None:
        """The texts of a reason's page were set anew."""
        for talk in list(self._talks):
            if not talk.send(wire.Texts(reason, dict(fields))):
                talk.hang_up()  # it must not go on with old texts

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


def give_away(path: os.PathLike[str]) -> None:
    """Let the portal's account open ``path``, and nobody else: by group, or where there is no such group, by owner."""
    with contextlib.suppress(KeyError):
        os.chown(path, -1, grp.getgrnam(ACCOUNT).gr_gid)
        return
    if os.geteuid() == 0:
        os.chown(path, pwd.getpwnam("nobody").pw_uid, -1)
