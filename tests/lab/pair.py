"""Two gateways of one group and two bridged brokers, each in a namespace of its own, on one wire.

::

    gw1 ── 198.18.0.1 ─┐         ┌─ 198.18.0.3 ── first broker
                       ├─ wire ──┤                    │ bridge
    gw2 ── 198.18.0.2 ─┘    │    └─ 198.18.0.4 ── second broker
                            └─ 198.18.0.9: billing

Everything can be cut, killed and started again on its own. The gateways run the real daemon (``edged core``).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Self, TypeVar

from tests.bridged import bridge_lines
from tests.broker import Broker
from tests.lab import netns
from tests.lab.lab import CONFIG, edged_binary
from tests.lab.netns import Namespace
from tests.lab.process import Child

T = TypeVar("T")
GROUP = "pair"
GATEWAYS = ("gw1", "gw2")
PORT = 1883
_ADDRESSES = {"gw1": "198.18.0.1", "gw2": "198.18.0.2", "first": "198.18.0.3", "second": "198.18.0.4"}
_BILLING = "198.18.0.9"


class Pair:
    """``with Pair() as pair``: brokers up and bridged; gateways are started with :meth:`start`."""

    def __init__(self) -> None:
        self._tag = netns.unique_tag()
        self.wire = Namespace(f"{self._tag}-wire")
        self.spaces = {name: Namespace(f"{self._tag}-{name}") for name in _ADDRESSES}
        self.daemons: dict[str, Child] = {}
        self.brokers: dict[str, Broker] = {}
        self._closing = contextlib.ExitStack()

    @property
    def urls(self) -> list[str]:
        """Of the brokers, in order of preference."""
        return [f"mqtt://{_ADDRESSES[name]}:{PORT}" for name in ("first", "second")]

    def call(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run a coroutine where billing stands, its sockets included."""
        return self.wire.call(lambda: asyncio.run(work()))

    # -- life -------------------------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        netns.sweep()
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
        for space in (self.wire, *self.spaces.values()):
            self._closing.callback(space.delete)
            space.create()
        self.wire.ip("link add wire type bridge", "link set wire up", f"addr add {_BILLING}/24 dev wire")
        for name, space in self.spaces.items():
            space.ip(f"link add up0 type veth peer name {name} netns {self.wire.name}")
            space.ip("link set up0 up", f"addr add {_ADDRESSES[name]}/24 dev up0")
            self.wire.ip(f"link set {name} master wire", f"link set {name} up")
        for name, lines in (
            ("first", ("allow_anonymous true",)),
            ("second", bridge_lines("pair", _ADDRESSES["first"], PORT)),
        ):
            broker = Broker(
                self.directory / name,
                port=PORT,
                address=_ADDRESSES[name],
                extra=lines,
                prefix=self.spaces[name].prefix(),
            )
            self._closing.callback(broker.stop)
            self.brokers[name] = broker.start()

    def close(self) -> None:
        """End what runs and take everything down."""
        for daemon in self.daemons.values():
            daemon.stop()
        self.daemons.clear()
        self._closing.close()

    # -- the gateways -----------------------------------------------------------------------------------------------

    def _environment(self, name: str) -> dict[str, str]:
        return {
            "EDGED_GATEWAY": name,
            "EDGED_GROUPS": json.dumps([GROUP]),
            "EDGED_STATE_DIR": str(self.directory / name / "state"),
            "EDGED_RUN_DIR": str(self.directory / name / "run"),
            "EDGED_MQTT__BROKERS": json.dumps(self.urls),
            "EDGED_MQTT__KEEPALIVE": "5",
        }

    def start(self, name: str) -> None:
        """Start a gateway, with what it knew before. Returns at once."""
        (self.directory / name).mkdir(exist_ok=True)
        command = [str(edged_binary()), "core", "--config", str(CONFIG)]
        log = self.directory / f"{name}.log"
        self.daemons[name] = Child(self.spaces[name], command, log, self._environment(name))

    def kill(self, name: str) -> None:
        """kill -9 of a gateway."""
        self.daemons.pop(name).kill()

    def logs(self) -> str:
        """The ends of the gateways' logs, for a failure's text."""
        return "\n".join(f"{name}:\n{daemon.tail(15)}" for name, daemon in self.daemons.items())

    def edged(self, name: str, *arguments: str) -> list[Any]:
        """A question to a gateway's own command line, with ``--json``; one document a line."""
        done = subprocess.run(
            [*self.spaces[name].prefix(), edged_binary(), *arguments, "--json", "--config", str(CONFIG)],
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", **self._environment(name)},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        if done.returncode:
            raise RuntimeError(f"edged {' '.join(arguments)} of {name}: {done.stderr.strip()}")
        return [json.loads(line) for line in done.stdout.splitlines() if line.strip()]

    # -- the wire ---------------------------------------------------------------------------------------------------

    def cut(self, name: str) -> None:
        """Nothing passes to or from this namespace, and nobody is told."""
        self.wire.ip(f"link set {name} down")

    def mend(self, name: str) -> None:
        """The opposite."""
        self.wire.ip(f"link set {name} up")
