"""A gateway of its own for the benches of commands: a namespace, a real broker, and ``edged core``.

Signatures are required. No subscribers' traffic, no portal: those have benches of their own. The daemon has the last
core, the broker and whoever publishes the first.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import os
import shutil
import signal
import socket
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

from edged import plan
from edged.control import ControlClient
from edged.envelope import generate, public_text, sign
from edged.nft.sets import element_set
from edged.nft.socket import KernelBackend
from tests.broker import Broker
from tests.lab import netns
from tests.lab.lab import edged_binary
from tests.lab.process import Child

from .common import BenchError, cores, inside, peak_rss, pinned
from .mqtt import Wire
from .pace import Core, watch

GATEWAY, ISSUER = "bench", "erp"
ROOT = f"edged/v1/gw/{GATEWAY}"
COMMANDS, CHUNKS, ANSWERS, STATE = f"{ROOT}/cmd", f"{ROOT}/sync", f"{ROOT}/ack", f"{ROOT}/state"
START_SECONDS = 90.0
_CONFIG = """
gateway = "{gateway}"
state_dir = "{room}/state"
run_dir = "{room}/run"
[network]
subscriber_interfaces = ["subs*"]
[mqtt]
brokers = ["mqtt://127.0.0.1:{port}"]
[xdp]
mode = "off"
[portal]
url = "http://100.64.0.1:8081/"
site_listen = "100.64.0.1:8081"
[policy]
require_synced_clock = false
[brake]
enabled = false
[security]
require_signature = true
[[security.issuers]]
name = "{issuer}"
key = "{key}"
roles = ["billing", "operator"]
"""


class Rig:
    """Use as a context manager. ``home`` is the core of the broker and the sender, ``away`` the daemon's."""

    def __init__(self) -> None:
        self._tag = netns.unique_tag()
        self.space = netns.Namespace(self._tag)
        self.key = generate()
        self.home, self.away = cores()[0], cores()[-1]
        self.daemon: Child | None = None
        self._closing = contextlib.ExitStack()

    def __enter__(self) -> Self:
        netns.sweep()
        try:
            self.room = Path(tempfile.mkdtemp(prefix=f"{self._tag}-"))
            self._closing.callback(shutil.rmtree, self.room, ignore_errors=True)
            self._closing.callback(self.space.delete)
            self.space.create()
            self.broker = Broker(
                self.room / "broker",
                port=1883,
                prefix=self.space.prefix(),
                extra=("allow_anonymous true", "autosave_interval 1800"),
                log_type="information",
            )
            self._closing.callback(self.broker.stop)
            with pinned(self.home):
                self.broker.start()
            text = _CONFIG.format(
                gateway=GATEWAY, room=self.room, port=self.broker.port, issuer=ISSUER, key=public_text(self.key)
            )
            (self.room / "edged.toml").write_text(text)
            for name in ("state", "run"):
                (self.room / name).mkdir()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the daemon and take everything down."""
        if self.daemon is not None:
            self.daemon.stop()
            self.daemon = None
        self._closing.close()

    @property
    def state_dir(self) -> Path:
        """Where the daemon keeps its database."""
        return self.room / "state"

    # -- the daemon -----------------------------------------------------------------------------------------------

    def start(self) -> float:
        """Start ``edged core``; seconds until it tells its service manager that everything is in force."""
        path = self.room / "notify"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ear:
            path.unlink(missing_ok=True)
            ear.bind(str(path))
            ear.settimeout(0.5)
            with pinned(self.away):
                began = time.monotonic()
                self.daemon = Child(
                    self.space,
                    [str(edged_binary()), "core", "--config", str(self.room / "edged.toml")],
                    self.room / "edged.log",
                    {"NOTIFY_SOCKET": str(path)},
                )
            while time.monotonic() < began + START_SECONDS:
                with contextlib.suppress(TimeoutError):
                    if b"READY=1" in ear.recv(256):
                        return time.monotonic() - began
                self.check()
        raise BenchError(f"the daemon was not in sync {START_SECONDS:g} s after its start; its log:\n{self.log()}")

    def check(self) -> None:
        """Raise BenchError when the daemon has ended."""
        if self.daemon is None or self.daemon.exit_status is not None:
            status = None if self.daemon is None else self.daemon.exit_status
            raise BenchError(f"the daemon ended with {status}; its log:\n{self.log()}")

    def end(self, number: signal.Signals) -> None:
        """End the daemon by a signal and wait until it is gone."""
        self.check()
        assert self.daemon is not None  # noqa: S101  check() looked
        os.kill(self.daemon.pid, number)
        self.daemon.wait(30)
        self.daemon = None

    def log(self, lines: int = 25) -> str:
        """The end of the daemon's log."""
        with contextlib.suppress(OSError):
            return "\n".join((self.room / "edged.log").read_text("utf-8", "replace").splitlines()[-lines:])
        return ""

    def status(self) -> dict[str, Any]:
        """What ``edged status`` shows."""
        return ControlClient(self.room / "run" / "control.sock").result({"do": "status"})

    def levels(self, wanted: dict[str, int], restricted: int) -> None:
        """Raise BenchError unless so many subscribers are in each level, so many in the kernel, and all is in sync."""
        found = self.status()
        levels = {word: found["levels"].get(word, 0) for word in wanted}
        sets = found["kernel"]["sets"]
        if levels != wanted or sets.get("restricted4") != restricted or not found["in_sync"] or found["errors"]:
            told = {key: found.get(key) for key in ("levels", "in_sync", "kernel", "errors")}
            raise BenchError(f"expected {wanted} and {restricted} in the kernel, the daemon says {told}")

    def kernel(self, walled: Sequence[str], free: Sequence[str]) -> None:
        """Raise BenchError unless the kernel's own set has these addresses and not those.

        Asked one by one over netlink: nft would read the whole set each time.
        """
        backend = KernelBackend()
        try:
            with inside(self.space.name):
                found = [name for name in backend.sets() if name.startswith("restricted4_g")]
                if len(found) != 1:
                    raise BenchError(f"the kernel has {found} where one set of restricted addresses belongs")
                spec = element_set(plan.RESTRICTED, plan.V4_TAG, int(found[0].removeprefix("restricted4_g")))
                held = {a for a in (*walled, *free) if backend.holds(spec, socket.inet_aton(a)) is not None}
        finally:
            backend.close()
        if held != set(walled):
            wrong = sorted(held.symmetric_difference(walled))
            raise BenchError(
                f"{len(wrong)} of {len(walled) + len(free)} addresses are wrong in the kernel: {wrong[:5]}"
            )

    def digest(self) -> int:
        """The digest of the desired state as the daemon has it, as a number."""
        request = {"do": "apply", "line": '{"op":"digest"}'}
        found = ControlClient(self.room / "run" / "control.sock").result(request)
        return int(found["results"][0]["record"]["hash"], 16)

    @property
    def pid(self) -> int:
        """The daemon's process id."""
        self.check()
        assert self.daemon is not None  # noqa: S101  check() looked
        return self.daemon.pid

    def peak(self) -> int:
        """The daemon's highest resident memory in bytes."""
        return peak_rss(self.pid)

    def resident(self) -> int:
        """The daemon's resident memory in bytes."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def watch(self) -> Callable[[], Core]:
        """Look at the daemon's core; the function that comes back tells what happened there since."""
        return watch(self.pid, self.away)

    # -- MQTT -----------------------------------------------------------------------------------------------------

    def wire(self, name: str, *topics: str, patience: float = 20.0) -> Wire:
        """A client at the broker; ``patience``: seconds without a message that it waits for one."""
        return Wire(self.space, self.broker.port, name, *topics, patience=patience)

    def signed(self, document: dict[str, Any], commands: bytes) -> bytes:
        """A batch or chunk, signed as the configuration wants it. ``commands``: a JSON list."""
        now = dt.datetime.now(dt.UTC)
        head = {
            "v": 1,
            "issuer": ISSUER,
            "ts": now.isoformat(timespec="seconds"),
            "expires": (now + dt.timedelta(hours=2)).isoformat(timespec="seconds"),
            "aud": [GATEWAY],
            **document,
        }
        body = json.dumps(head)[:-1].encode() + b', "commands": ' + commands + b"}"
        return sign(body, self.key, ISSUER)
