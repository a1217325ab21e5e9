"""A whole small provider on this machine: subscribers, a gateway with the real daemon and broker, and an internet.

>>> with Lab() as lab:
...     lab.start_daemon()
...     lab.publish(bind(lab.debtor.person))
...     ack = lab.publish({"op": "block", "sub": lab.debtor.person.sub, "reason": "debt"})
...     assert lab.debtor.http(f"http://{topology.WWW4}/").status == 302

Several labs run side by side. Nothing is left behind, however the ``with`` block ends.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from edged.control import ControlClient
from tests.broker import Broker
from tests.lab import netns, topology
from tests.lab.client import Device
from tests.lab.manager import Ack, Json, Manager
from tests.lab.process import Child
from tests.lab.programs import Attentive
from tests.lab.services import Services

CONFIG = Path(__file__).resolve().parents[2] / "config" / "lab.toml"
GATEWAY = "lab"
BROKER_PORT = 1883
METRICS = ("127.0.0.1", 9464)


def bind(person: topology.Person) -> Json:
    """The command that says which addresses are this person's."""
    return {"op": "bind", "sub": person.sub, "addresses": person.addresses}


class Lab:
    """Three namespaces, servers, a broker, a management client, and the daemon when asked for.

    ``env`` overrides configuration as ``EDGED_…`` variables; ``broker=False`` leaves the broker to be started later.
    The environment's ``LAB_XDP`` (native, generic, auto) lets every lab run XDP, to see whether anybody notices.
    """

    def __init__(self, *, env: Mapping[str, str] | None = None, broker: bool = True) -> None:
        self._tag = netns.unique_tag()
        self.network = topology.Network.named(self._tag)
        wish = {"EDGED_XDP__MODE": mode} if (mode := os.environ.get("LAB_XDP")) else {}
        self._extra_env = wish | dict(env or {})
        self._with_broker = broker
        self._closing = contextlib.ExitStack()
        self.daemon: Child | None = None

    # -- life -------------------------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        netns.sweep()
        atexit.register(self.close)  # for an exit that no ``with`` sees
        try:
            self._build()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def _build(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix=f"{self._tag}-"))
        self._closing.callback(shutil.rmtree, self.directory, ignore_errors=True)
        self.directory.chmod(0o755)  # the portal gives up root and must still reach its socket
        netns.mount_bpffs(self.bpffs)
        self._closing.callback(netns.unmount, self.bpffs)
        self._closing.callback(self.network.delete)
        self.network.create()
        if self._extra_env.get("EDGED_XDP__MODE") == "native":
            self._closing.enter_context(contextlib.closing(Attentive(self.network.subscriber, "wan0")))
        services = Services(self.network.internet, self.directory)
        self._closing.callback(services.close)
        services.start()
        self.broker = Broker(self.directory / "broker", port=BROKER_PORT, prefix=self.network.gateway.prefix())
        self._closing.callback(self.broker.stop)
        self.manager = Manager(self.network.gateway, GATEWAY, self.broker.port)
        self._closing.callback(self.manager.close)
        if self._with_broker:
            self.start_broker()
        self.debtor, self.neighbour, self.promiser = (
            Device(self.network.subscriber, person) for person in topology.PEOPLE
        )

    def close(self) -> None:
        """End the daemon and take everything down. A second Ctrl-C does not interrupt it."""
        atexit.unregister(self.close)
        with _no_interrupt():
            if self.daemon is not None:
                self.daemon.stop()
                self.daemon = None
            self._closing.close()

    def start_broker(self) -> None:
        """Start (again) the broker and wait for the management client to be back on it."""
        self.broker.start()
        if self.manager.opened:
            self.manager.wait_connected()
        else:
            self.manager.open()

    # -- the daemon -------------------------------------------------------------------------------------------------

    @property
    def state_dir(self) -> Path:
        """Where the daemon keeps its database."""
        return self.directory / "state"

    @property
    def run_dir(self) -> Path:
        """Where its sockets are."""
        return self.directory / "run"

    @property
    def bpffs(self) -> Path:
        """Where the daemon pins what belongs to XDP: a BPF file system of this lab's own."""
        return self.directory / "bpf"

    @property
    def overrides(self) -> dict[str, str]:
        """The environment that turns config/lab.toml into this lab's configuration."""
        own = {"STATE_DIR": self.state_dir, "RUN_DIR": self.run_dir, "XDP__BPFFS": self.bpffs}
        return {**{f"EDGED_{key}": str(path) for key, path in own.items()}, **self._extra_env}

    def configure(self, **env: str | None) -> None:
        """Override more of the configuration (``EDGED_PORTAL__URL=…``), or (None) no longer; from the next start on."""
        merged: dict[str, str | None] = {**self._extra_env, **env}
        self._extra_env = {name: value for name, value in merged.items() if value is not None}

    def start_daemon(self, *, wait: bool = True, wrap: Sequence[str] = (), timeout: float = 30.0) -> float:
        """Start ``edged run``; with ``wait``, until it said it is online with its portal up. Returns seconds taken.

        ``wrap`` goes before the command line (``unshare`` …). Raises RuntimeError with the log when it ends early.
        """
        for directory in (self.state_dir, self.run_dir):
            directory.mkdir(exist_ok=True)
        mark, start = self.manager.mark, time.monotonic()
        self.daemon = Child(
            self.network.gateway,
            [*wrap, str(edged_binary()), "run", "--config", str(CONFIG)],
            self.directory / "edged.log",
            self.overrides,
        )
        if wait:
            self.wait_until(lambda: self._announced(mark), "the daemon is not online", timeout)
        return time.monotonic() - start

    def _announced(self, mark: int) -> bool:
        states = self.manager.since(mark, "state")
        return bool(states) and states[-1].document.get("online") is True and states[-1].document.get("portal") == "up"

    def core_pid(self) -> int:
        """The process id of the half that enforces."""
        return int((self.run_dir / "core.pid").read_text())

    def kill_daemon(self) -> None:
        """kill -9, as an out-of-memory killer would; what else it started dies on its own or not, as it is built."""
        assert self.daemon is not None
        self.daemon.kill()

    def forget_daemon(self) -> None:
        """To be said when it was told to end by other means, so that its end is no fault. Waits for it."""
        if self.daemon is not None:
            self.daemon.wait(20)
            self.daemon = None

    def stop_daemon(self) -> int:
        """What a service stop does: SIGTERM. Returns the exit status; the restrictions stay."""
        assert self.daemon is not None
        status = self.daemon.stop()
        self.daemon = None
        return status

    def edged(self, *arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run the command line (``edged why C-1 --json``) against this lab's daemon; ``--config`` is added."""
        return subprocess.run(
            [*self.network.gateway.prefix(), str(edged_binary()), *arguments, "--config", str(CONFIG)],
            env={**os.environ, **self.overrides},
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    def edged_json(self, *arguments: str) -> Any:
        """The same with ``--json``; raises RuntimeError when it fails. One document, or a list of one for each line."""
        done = self.edged(*arguments, "--json")
        if done.returncode:
            raise RuntimeError(f"edged {' '.join(arguments)} ended with {done.returncode}: {done.stderr.strip()}")
        try:
            return json.loads(done.stdout)
        except json.JSONDecodeError:
            return [json.loads(line) for line in done.stdout.splitlines() if line.strip()]

    def why(self, target: str) -> Json:
        """What ``edged why TARGET --json`` prints, asked without starting a program for it."""
        return ControlClient(self.run_dir / "control.sock").result({"do": "why", "target": target})

    def publish(self, *commands: Json, **options: Any) -> Ack:
        """Short for ``manager.publish``."""
        return self.manager.publish(*commands, **options)

    def metrics(self) -> dict[str, float]:
        """What Prometheus would read now: full sample name with labels -> value."""
        with self.network.gateway.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
            sock.settimeout(5)
            sock.connect(METRICS)
            sock.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
            text = b"".join(iter(lambda: sock.recv(65536), b"")).decode()
        lines = text.partition("\r\n\r\n")[2].splitlines()
        samples = (line.rpartition(" ") for line in lines if line and not line.startswith("#"))
        return {name: float(value) for name, _, value in samples}

    # -- looking ----------------------------------------------------------------------------------------------------

    def nft(self, text: str) -> None:
        """Load nft text in the gateway, as an operator would."""
        self.network.gateway.run("nft", "-f", "-", stdin=text)

    def tables(self) -> list[str]:
        """The nftables tables of the gateway, e.g. ``["inet edged"]``."""
        lines = self.network.gateway.run("nft", "list", "tables").stdout.splitlines()
        return [line.removeprefix("table ").strip() for line in lines]

    def daemon_log(self, lines: int = 30) -> str:
        """The end of the daemon's log."""
        return self.daemon.tail(lines) if self.daemon is not None else ""

    def wait_until(self, condition: Callable[[], bool], what: str, timeout: float = 10.0) -> None:
        """Poll until ``condition()``; AssertionError at the end of time, RuntimeError if the daemon dies meanwhile."""
        end = time.monotonic() + timeout
        while not condition():
            if self.daemon is not None and self.daemon.exit_status not in (None, -signal.SIGKILL):
                raise RuntimeError(f"the daemon ended with {self.daemon.exit_status}:\n{self.daemon_log()}")
            if time.monotonic() > end:
                raise AssertionError(f"{what} within {timeout:g} s; the daemon's log:\n{self.daemon_log()}")
            time.sleep(0.02)


def edged_binary() -> Path:
    """The command as installed beside this interpreter."""
    return Path(sys.executable).with_name("edged")


@contextlib.contextmanager
def _no_interrupt() -> Iterator[None]:
    """Ignore Ctrl-C and SIGTERM for a moment; only the main thread may say so, and only it is interrupted anyway."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = [(number, signal.signal(number, signal.SIG_IGN)) for number in (signal.SIGINT, signal.SIGTERM)]
    try:
        yield
    finally:
        for number, handler in before:
            signal.signal(number, handler)
