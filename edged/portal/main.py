"""The portal's parent process: gives up every privilege, gets the sockets from the core, keeps its workers alive.

It does no work of its own and no asyncio, so that forking is safe at any time. The listening sockets stay open here:
while a worker is replaced, its connections wait in the kernel and are not refused. A restart of the core does not
concern it.

Progress is asked for, not assumed: once a second each worker gets a request over a Unix socket that goes through the
same accept loop as a subscriber's. READY and WATCHDOG go to systemd only while all of them answer; one that is silent
for :data:`HUNG_SECONDS` is killed and replaced.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import select
import signal
import socket
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import sdnotify

from edged.config import Config
from edged.portal import privileges, wire
from edged.portal.fetch import ask
from edged.portal.sockets import BACKLOG, Listeners
from edged.portal.worker import Worker

PING_SECONDS = 1.0
HUNG_SECONDS = 10.0
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0
"""Seconds before a dead worker is replaced: the first, doubled each time, up to the longest."""
STEADY_SECONDS = 10.0
"""A worker that lived so long begins with the first pause again."""
STOP_SECONDS = 5.0
_PING = b"GET / HTTP/1.1\r\n\r\n"

_log = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class _Slot:
    """The place of one worker: its sockets outlive it."""

    listeners: Listeners
    ping: socket.socket
    pid: int = 0
    born: float = 0.0
    answered: float = 0.0
    deaths: int = 0
    due: float = field(default=0.0)


def run_portal(cfg: Config) -> int:
    """Serve until SIGTERM or SIGINT. Returns the exit status; raises EdgedError when the portal cannot start."""
    return _Parent(cfg).run()


class _Parent:
    def __init__(self, cfg: Config) -> None:
        self._path = Path(cfg.run_dir) / wire.SOCKET_NAME
        self._count = cfg.portal.workers or len(os.sched_getaffinity(0))
        self._worker = Worker(cfg, self._count)
        self._notifier = sdnotify.SystemdNotifier()
        if self._notifier.socket is not None:
            self._notifier.socket.setblocking(False)  # a reader that hangs must not hang us; it is told again soon
        self._slots: list[_Slot] = []
        self._stopping = False
        self._ready = False
        self._reload = False

    def run(self) -> int:
        privileges.drop()
        self._worker.secure()
        with self._signals():
            listeners = self._fetch()
            if listeners is None:
                return 0
            self._slots = [_Slot(one, _ping_listener()) for one in listeners]
            gc.collect()
            gc.freeze()  # pages that no collection touches stay shared with the workers
            try:
                self._supervise()
            finally:
                self._notifier.notify("STOPPING=1")
                self._stop()
        return 0

    # -- what wakes us ------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        self._wake, waker = socket.socketpair()
        self._wake.setblocking(False)
        waker.setblocking(False)
        signal.set_wakeup_fd(waker.fileno(), warn_on_full_buffer=False)
        handlers = {number: signal.signal(number, self._on_stop) for number in (signal.SIGTERM, signal.SIGINT)}
        handlers[signal.SIGHUP] = signal.signal(signal.SIGHUP, self._on_reload)
        handlers[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, lambda *_: None)  # only to wake up
        try:
            yield
        finally:
            signal.set_wakeup_fd(-1)
            for number, handler in handlers.items():
                signal.signal(number, handler)
            self._wake.close()
            waker.close()

    def _on_stop(self, *_: object) -> None:
        self._stopping = True

    def _on_reload(self, *_: object) -> None:
        self._reload = True

    def _read_again(self) -> None:
        """SIGHUP: here for the workers to come, then in those there are."""
        self._reload = False
        self._worker.reload()
        for slot in self._slots:
            if slot.pid:
                os.kill(slot.pid, signal.SIGHUP)

    def _rest(self, seconds: float) -> None:
        """Sleep until a signal comes, the one who started us is gone, or ``seconds`` are over."""
        lifeline = _lifeline()
        readable, _, _ = select.select([self._wake.fileno(), *lifeline], [], [], max(0.0, seconds))
        if self._wake.fileno() in readable:
            with contextlib.suppress(BlockingIOError):
                while self._wake.recv(256):
                    pass
        if any(fd in readable for fd in lifeline) and not os.read(0, 256):
            _log.warning("whoever started the portal is gone: it ends")
            self._stopping = True

    # -- sockets ------------------------------------------------------------------------------------------------------

    def _fetch(self) -> list[Listeners] | None:
        """Ask the core for sockets until it gives them; None when we shall stop before."""
        pause, said = FIRST_PAUSE, ""
        while not self._stopping:
            try:
                return ask(self._path, self._count)
            except (OSError, wire.WireError) as error:
                if str(error) != said:
                    said = str(error)
                    _log.warning("no sockets from the core at %s yet: %s", self._path, said)
            self._rest(pause)
            pause = min(pause * 2, LONGEST_PAUSE)
        return None

    # -- workers ------------------------------------------------------------------------------------------------------

    def _supervise(self) -> None:
        next_round = 0.0
        while not self._stopping:
            self._bury()
            if self._reload:
                self._read_again()
            now = time.monotonic()
            for slot in self._slots:
                if not slot.pid and slot.due <= now:
                    self._start(slot)
            if now >= next_round:
                self._round()
                next_round = time.monotonic() + (PING_SECONDS if self._ready else 0.05)
            due = [slot.due for slot in self._slots if not slot.pid]
            self._rest(min([next_round, *due]) - time.monotonic())

    def _start(self, slot: _Slot) -> None:
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            self._become_worker(slot, parent)
        slot.pid = pid
        slot.born = slot.answered = time.monotonic()

    def _become_worker(self, slot: _Slot, parent: int) -> None:
        """In the child; never returns."""
        status = 1
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            signal.signal(signal.SIGHUP, lambda *_: self._worker.reload())  # until its loop takes it over
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches us all; the parent says when
            privileges.end_with_parent(signal.SIGTERM)
            for other in self._slots:
                if other is not slot:
                    other.listeners.close()
                    other.ping.close()
            if os.getppid() == parent:
                status = self._worker.run(slot.listeners, slot.ping)
        except BaseException:  # noqa: BLE001  the process ends here, with whatever it was
            _log.exception("a portal worker failed")
        finally:
            os._exit(status)  # nothing of the parent's may run here

    def _bury(self) -> None:
        """Collect dead workers and say when each is to be replaced."""
        now = time.monotonic()
        for slot in self._slots:
            if not slot.pid or not os.waitid(os.P_PID, slot.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                continue
            _, status = os.waitpid(slot.pid, 0)
            slot.pid = 0
            slot.deaths = 0 if now - slot.born >= STEADY_SECONDS else slot.deaths + 1
            pause = min(FIRST_PAUSE * 2**slot.deaths, LONGEST_PAUSE) if slot.deaths else 0.0
            slot.due = now + pause
            _log.error("a portal worker ended with status %d; next in %.1f s", os.waitstatus_to_exitcode(status), pause)

    def _round(self) -> None:
        """Ask every worker for a redirect; tell systemd when all answered; kill who is silent for too long."""
        for slot in self._slots:
            if not slot.pid:
                continue
            if _answers(slot.ping):
                slot.answered = time.monotonic()
            elif time.monotonic() - slot.answered > HUNG_SECONDS:
                _log.error("a portal worker does not answer any more: killed")
                os.kill(slot.pid, signal.SIGKILL)
        now = time.monotonic()
        if all(
            slot.pid and slot.born < slot.answered and now - slot.answered < 2 * PING_SECONDS for slot in self._slots
        ):
            if not self._ready:
                self._ready = True
                self._notifier.notify("READY=1")
                _log.info("portal: %d workers serve", self._count)
            self._notifier.notify("WATCHDOG=1")

    def _stop(self) -> None:
        """End the workers: politely, then for good. Closes the sockets."""
        for number, patience in ((signal.SIGTERM, STOP_SECONDS), (signal.SIGKILL, STOP_SECONDS)):
            for slot in self._slots:
                if slot.pid:
                    os.kill(slot.pid, number)
            end = time.monotonic() + patience
            while any(slot.pid for slot in self._slots) and time.monotonic() < end:
                for slot in self._slots:
                    if slot.pid and os.waitpid(slot.pid, os.WNOHANG)[0]:
                        slot.pid = 0
                if any(slot.pid for slot in self._slots):
                    select.select([self._wake], [], [], 0.05)
        for slot in self._slots:
            slot.listeners.close()
            slot.ping.close()


def _ping_listener() -> socket.socket:
    """A Unix socket with a name that the kernel chooses, outside of any directory."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    sock.bind("")
    sock.listen(BACKLOG)
    return sock


def _answers(ping: socket.socket) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as sock:
        sock.settimeout(PING_SECONDS)
        try:
            sock.connect(ping.getsockname())
            sock.sendall(_PING)
            return sock.recv(64).startswith(b"HTTP/1.1 302")
        except OSError:
            return False


def _lifeline() -> list[int]:
    """Standard input, if ``edged run`` holds the other end: that is closed when it is gone, however it went."""
    try:
        mode = os.fstat(0).st_mode
    except OSError:
        return []
    return [0] if stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) else []
