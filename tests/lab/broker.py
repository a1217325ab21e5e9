"""A real mosquitto on the gateway's loopback, which can be stopped and started again with all it had."""

from __future__ import annotations

import socket
import time
from pathlib import Path

from tests.lab.netns import Namespace
from tests.lab.process import Child

PORT = 1883

_CONFIG = """\
listener {port} 127.0.0.1
allow_anonymous true
user root
persistence true
persistence_location {directory}/
autosave_interval 1
autosave_on_changes true
max_queued_messages 0
message_size_limit 0
"""


class Broker:
    """One mosquitto. ``start`` returns when it takes connections; what it holds survives ``stop`` and ``start``."""

    def __init__(self, space: Namespace, directory: Path, port: int = PORT) -> None:
        self.port = port
        self._space = space
        self._directory = directory
        self._child: Child | None = None

    def start(self, timeout: float = 10.0) -> None:
        """Raises RuntimeError with the log when it does not come up."""
        self._directory.mkdir(exist_ok=True)
        config = self._directory / "mosquitto.conf"
        config.write_text(_CONFIG.format(port=self.port, directory=self._directory))
        self._child = Child(self._space, ["mosquitto", "-c", str(config)], self._directory / "mosquitto.log")
        end = time.monotonic() + timeout
        while not self._answers():
            if self._child.exit_status is not None or time.monotonic() > end:
                raise RuntimeError(f"mosquitto did not start:\n{self._child.tail()}")
            time.sleep(0.02)

    def stop(self) -> None:
        """End it in order: it writes down retained messages, sessions and what is queued."""
        if self._child is not None:
            self._child.stop()
            self._child = None

    def _answers(self) -> bool:
        with self._space.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0
