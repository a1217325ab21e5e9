"""A program the lab starts, with its log, ended by its process id and never by its name."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.lab.netns import Namespace


class Child:
    """One program in a namespace, its output in ``log``. It has a session of its own, so Ctrl-C does not reach it."""

    def __init__(self, space: Namespace, argv: Sequence[str], log: Path, env: Mapping[str, str] | None = None) -> None:
        self._argv = [*space.prefix(), *argv]
        self._log = log
        self._env = {**os.environ, **(env or {})}
        with log.open("ab") as out:
            self._process = subprocess.Popen(
                self._argv, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=self._env, start_new_session=True
            )

    @property
    def pid(self) -> int:
        """``ip netns exec`` replaces itself by the program, so this is the program's own id."""
        return self._process.pid

    @property
    def exit_status(self) -> int | None:
        """None while it runs; as subprocess gives it afterwards (-9: killed)."""
        return self._process.poll()

    def wait(self, timeout: float) -> int:
        """Wait for its end. Raises subprocess.TimeoutExpired."""
        return self._process.wait(timeout)

    def kill(self) -> None:
        """SIGKILL, at once."""
        self._process.kill()
        self._process.wait(10)

    def stop(self, timeout: float = 10.0) -> int:
        """SIGTERM, and SIGKILL if it does not end within ``timeout`` seconds. Returns the exit status."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(timeout)
            except subprocess.TimeoutExpired:
                self._process.kill()
        return self._process.wait(10)

    def tail(self, lines: int = 20) -> str:
        """The end of its log."""
        return "\n".join(self._log.read_text("utf-8", "replace").splitlines()[-lines:])
