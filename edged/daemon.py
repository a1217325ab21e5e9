"""The composition root: builds every part, wires them, runs one task group of named tasks, and takes it all down.

``run_core`` is the half with CAP_NET_ADMIN, ``run_both`` adds the portal as a child for a quick start.
A stop leaves the restrictions in force: the table persists, the portal's rule and route stay. Only
``edged stop --open`` takes them away.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import gc
import logging
import os
import signal
import sys
from collections.abc import Callable, Coroutine, Iterator, Mapping
from pathlib import Path
from typing import Any

import sdnotify

from edged.accelerator import Accelerator
from edged.assembly import clock_of, pipeline_settings, rule_settings, steering, xdp_wanted
from edged.clock import Clock
from edged.config import Config
from edged.control import ControlServer
from edged.desk import Desk
from edged.domain.levels import Level
from edged.errors import EdgedError, KernelError
from edged.gardens import Gardens
from edged.keeper import Keeper
from edged.metrics import Metrics
from edged.mqtt.session import Session
from edged.mqtt.topics import Topics
from edged.nft import schema
from edged.nft.enforcer import Enforcer
from edged.nft.routing import Steering
from edged.nft.socket import KernelBackend
from edged.nft.watch import Watch
from edged.pipeline import Pipeline
from edged.portal.link import PortalLink
from edged.reception import Reception
from edged.reload import Reload, keyring
from edged.store.store import Store
from edged.succession import Succession
from edged.vigil import Vigil
from edged.xdp.engine import Engine

_log = logging.getLogger(__name__)
LOCK = "core.pid"
PORTAL_PAUSE = 1.0
PORTAL_STOP_SECONDS = 5.0


def rules_text(cfg: Config) -> str:
    """The ruleset as nft text (``edged rules``); touches nothing."""
    return schema.text(rule_settings(cfg), 1)


def open_offline(cfg: Config) -> list[str]:
    """Remove XDP, table, rule and route while no daemon runs; returns what was removed. Raises EdgedError."""
    backend = KernelBackend()
    try:
        return _remove_all(Engine(xdp_wanted(cfg)), Enforcer(backend, rule_settings(cfg)), steering(cfg))
    finally:
        backend.close()


def _remove_all(engine: Engine, enforcer: Enforcer, routes: Steering) -> list[str]:
    """Take XDP, table, rule and route away; returns what there was. Raises EdgedError, behind what could be done."""
    removed: list[str] = []
    failed: EdgedError | None = None
    enforcer.follower = None
    try:
        removed += engine.remove()
    except EdgedError as e:  # the table must go all the same
        failed = e
    removed += ["table inet edged"] if enforcer.backend.table() else []
    enforcer.clear()
    removed += routes.remove()
    if failed is not None:
        raise failed
    return removed


@contextlib.contextmanager
def _alone(key: str, directory: Path) -> Iterator[None]:
    """Hold the lock that lets one core use ``directory``. Raises EdgedError where another has it."""
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o755 if key == "run_dir" else 0o750)
        handle = os.open(directory / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as e:
        raise EdgedError(f"{key} {directory}: {e.strerror}; the daemon must be able to write there") from e
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise EdgedError(f"{directory}/{LOCK}: another edged uses this {key}; stop it first") from None
        if key == "run_dir":  # a full disk under state_dir must not keep us from starting
            os.ftruncate(handle, 0)
            os.write(handle, f"{os.getpid()}\n".encode())
        yield
    finally:
        os.close(handle)


class Core:
    """Everything the core consists of. The constructor starts nothing; call :meth:`run` once."""

    def __init__(
        self,
        cfg: Config,
        *,
        owner: bool = True,
        portal_command: list[str] | None = None,
        config_file: Path | None = None,
    ) -> None:
        self._cfg = cfg
        self._config_file = config_file
        self._portal_command = portal_command
        self._portal: asyncio.subprocess.Process | None = None
        self._stopping: asyncio.Event = asyncio.Event()
        self._notifier = sdnotify.SystemdNotifier()
        if self._notifier.socket:
            self._notifier.socket.setblocking(False)  # a manager that hangs must not hang us
        self.backend = KernelBackend(owner=owner)
        self.metrics = Metrics(self._snapshot)
        self.store = Store(cfg.state_dir)
        self.enforcer = Enforcer(self.backend, rule_settings(cfg))
        self.steering = steering(cfg)

    async def run(self) -> int:
        """Until a signal or ``edged stop``. Raises EdgedError when it cannot start."""
        loop = asyncio.get_running_loop()
        # What a group of commands makes is freed when the group ends and holds no cycles: looking for some, ever again
        # through everything, cost a tenth of the time.
        gc.freeze()
        gc.set_threshold(50_000, 50, 100)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopping.set)
        self.store.open()
        clock = clock_of(self._cfg, self.store)
        pipeline = Pipeline(
            pipeline_settings(self._cfg), self.store, self.enforcer, self.metrics, clock, keyring(self._cfg),
            trusted=lambda: clock.trusted,
        )  # fmt: skip
        watch = Watch(self.backend.port_id)
        self.keeper = Keeper(pipeline, self.store, self.enforcer, self.steering, self.metrics, watch=watch)
        reload = Reload(self._cfg, self._config_file, self.keeper)
        loop.add_signal_handler(signal.SIGHUP, self._read_again, reload.ask)
        self.keeper.alive = lambda: self._notifier.notify("WATCHDOG=1")
        garden = self._cfg.garden
        self.keeper.gardens = Gardens(
            garden.networks, garden.domains, self._cfg.portal.url, self.keeper.refresh_gardens
        )
        self.accelerator = Accelerator(self.keeper, xdp_wanted(self._cfg))
        await self.accelerator.open()
        topics = Topics(self._cfg.gateway, tuple(self._cfg.groups))
        desk = Desk(self.keeper, topics, self.metrics, broker_urls=self._cfg.mqtt.brokers, stop=self._stop, clock=clock)
        if self._cfg.policy.local_trust:
            desk.grants_after = float(self._cfg.policy.local_trust_after_seconds)
        desk.session = Session(
            self._cfg.mqtt,
            client_id=topics.client_id,
            subscriptions=topics.subscriptions,
            will=desk.will(),
            on_connect=desk.greet,
            handle=desk.handle,
            observer=self.metrics,
        )
        link = PortalLink(self._cfg, Reception(self.keeper, lambda: desk.alone), self.metrics)
        self.keeper.told_watchers = link.changed
        self.keeper.told_texts = lambda reason: link.texts(reason, pipeline.pages.texts.get(reason, {}))
        desk.portal = link
        desk.engine = self.accelerator.engine
        control = ControlServer(self._cfg.run_dir / "control.sock", desk.handlers())
        for hindrance in self.steering.hindrances():
            self.keeper.note("routing", hindrance)
        try:
            await control.start()
            if self._cfg.metrics.listen:
                self.metrics.serve(self._cfg.metrics.listen)
            await link.start()
            await self._tasks(desk, reload, clock)
        finally:
            self._notifier.notify("STOPPING=1")
            await link.close()
            await control.close()
            self.metrics.close()
            self.keeper.close()
            self.accelerator.engine.close()
            self.store.close()
            self.backend.close()
        return 0

    async def _tasks(self, desk: Desk, reload: Reload, clock: Clock) -> None:
        assert desk.session is not None  # noqa: S101  run() has just set it
        assert self.keeper.gardens is not None  # noqa: S101  and this
        vigil = Vigil(self.keeper, keep_audit_days=self._cfg.audit.keep_days, trusted=lambda: clock.trusted)
        jobs: Mapping[str, Coroutine[Any, Any, None]] = {
            "sync": self.keeper.run_sync(),
            "timers": self.keeper.run_timers(),
            "snapshots": Succession(self.keeper).run(),
            "watch": vigil.run_watch(),
            "pulse": vigil.run_pulse(),
            "xdp": self.accelerator.run(),
            "gardens": self.keeper.gardens.run(),
            "state": desk.run_state(),
            "events": desk.run_events(),
            "reload": reload.run(),
            "ready": self._ready(),
        }
        if self._portal_command:
            jobs = {**jobs, "portal": self._run_portal(self._portal_command)}
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(job, name=name) for name, job in jobs.items()]
            session = group.create_task(desk.session.run(), name="mqtt")
            await self._stopping.wait()
            session.cancel()  # first: what it has in hand still needs the others
            await asyncio.wait([session])
            for task in tasks:
                task.cancel()

    async def _ready(self) -> None:
        await self.keeper.in_sync.wait()
        self._notifier.notify("READY=1")
        _log.info(
            "in force: %d subscribers known, %d restricted",
            sum(self.store.totals.levels),
            sum(self.store.totals.levels[1:]),
        )

    async def _stop(self, mode: str) -> list[str]:
        """``open`` removes everything first. Then the daemon ends."""
        removed: list[str] = []
        if mode == "open":
            self.keeper.frozen = True
            try:
                removed = await self.keeper.do(_remove_all, self.accelerator.engine, self.enforcer, self.steering)
            except EdgedError:
                self.keeper.frozen = False
                raise
        self._stopping.set()
        return removed

    def _snapshot(self) -> Mapping[str, Mapping[Any, float]]:
        """What Prometheus reads at a scrape, in its own thread; the kernel is asked in the keeper's."""
        packets: dict[tuple[str, str, str], float] = {}
        with contextlib.suppress(KernelError, TimeoutError, RuntimeError):
            for name, (n, _) in self.keeper.counters().items():
                level, direction, action = name.split("_")
                packets[level, direction, action] = n
        fast: Mapping[str, int] = {}
        with contextlib.suppress(EdgedError, TimeoutError, RuntimeError):
            fast = self.accelerator.counters()
        return {
            "levels": {x.word: self.store.totals.levels[x] for x in Level},
            "sets": self.enforcer.set_counts(),
            "promises": {"running": self.store.totals.promises},
            "packets": packets,
            "xdp": fast,
        }

    def _read_again(self, ask: Callable[[], None]) -> None:
        """SIGHUP: the keys here, the certificate in the portal if it is our child."""
        ask()
        if self._portal is not None and self._portal.returncode is None:
            self._portal.send_signal(signal.SIGHUP)

    async def _run_portal(self, command: list[str]) -> None:
        """The portal as a child: started again when it ends, ended with us. Its standard input is its lifeline."""
        while True:
            child = await asyncio.create_subprocess_exec(*command, stdin=asyncio.subprocess.PIPE)
            self._portal = child
            try:
                status = await child.wait()
            except asyncio.CancelledError:
                child.terminate()
                try:
                    async with asyncio.timeout(PORTAL_STOP_SECONDS):
                        await child.wait()
                except TimeoutError:
                    child.kill()
                raise
            self.keeper.note("portal", f"the portal ended with status {status}; starting it again")
            await asyncio.sleep(PORTAL_PAUSE)


def _run(cfg: Config, config_file: Path | None, portal_command: list[str] | None) -> int:
    async def main() -> int:
        return await Core(cfg, portal_command=portal_command, config_file=config_file).run()

    with _alone("run_dir", cfg.run_dir), _alone("state_dir", cfg.state_dir):
        return asyncio.run(main())


def run_core(cfg: Config, config_file: Path | None = None) -> int:
    """The core alone (edged-core.service). Returns the exit status; raises EdgedError when it cannot start."""
    return _run(cfg, config_file, None)


def run_both(cfg: Config, config_file: Path | None = None) -> int:
    """Core and portal (``edged run``)."""
    command = [sys.executable, "-m", "edged", "portal", *(["--config", str(config_file)] if config_file else [])]
    return _run(cfg, config_file, command)
