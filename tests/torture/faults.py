"""Where a process can be killed, without ending the process.

A kill is a :class:`Killed` raised at one of many points: around each SQLite statement and inside it, around each kernel
transaction, around each line of edged. In that instant the database's files are copied aside as they are, because a
dying process closes nothing, rolls back nothing and runs no ``finally``; whatever the unwinding objects still do, they
do to files nobody looks at any more.
"""

from __future__ import annotations

import contextlib
import re
import sqlite3
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import Any

import edged
from edged.nft.fake import FakeBackend
from edged.nft.transaction import Transaction
from edged.xdp.layout import Array, Settings
from edged.xdp.maps import Generation
from tests.refusing_maps import RefusingMaps

ANYWHERE, LINE = "anywhere", "a line of edged"
OPCODES = 50
"""SQLite instructions between two chances to be killed inside a statement."""
_ROOM = str(Path(edged.__file__).parent)
_SPARED = (str(Path(_ROOM, "nft", "fake")), str(Path(_ROOM, "xdp", "fake")))
"""The stand-ins for the kernel: they do not die with the process."""


class Killed(BaseException):
    """The process is gone. Not an Exception: nothing in edged may catch it."""


class Faults:
    """Counts the points passed, and kills at the one that was armed. ``dying`` copies the files aside."""

    def __init__(self, dying: Callable[[], None]) -> None:
        self.dying = dying
        self.passed: Counter[str] = Counter()
        self.kills: Counter[str] = Counter()
        self.dead = False
        self.armed = ""
        self.refusals: list[str] = []
        """Statements (by verb) that fail next, as on a full disk: an error, not a kill."""
        self._left = 0
        self._connections: list[sqlite3.Connection] = []

    def opened(self, connection: sqlite3.Connection) -> None:
        """Take note of a connection, which lives as long as the process."""
        self._connections.append(connection)

    def arm(self, name: str, countdown: int) -> None:
        """Kill when ``name`` (or ANYWHERE, or LINE) is passed for the ``countdown``-th time from now."""
        self.armed, self._left = name, countdown

    def revive(self) -> None:
        """A new process: alive, nothing armed, nothing open."""
        for connection in self._connections:
            connection.close()
        self._connections = []
        self.dead, self.armed, self.refusals = False, "", []

    def at(self, name: str) -> None:
        """Say that a point is passed. Raises Killed there, and everywhere once dead."""
        if self.strikes(name):
            raise Killed(name)

    def strikes(self, name: str) -> bool:
        """The same where nothing may be raised."""
        if not self.dead:
            self.passed[name] += name != LINE
            if self.armed == name or (self.armed == ANYWHERE and name != LINE):
                self._left -= 1
                if self._left <= 0:
                    self.dead = True
                    self.kills[name] += 1
                    self.dying()
        return self.dead

    @contextlib.contextmanager
    def tracing(self) -> Iterator[None]:
        """Make the lines of edged points as well, while a line is armed."""
        if self.armed != LINE:
            yield
            return
        before = sys.gettrace()
        sys.settrace(self._called)
        try:
            yield
        finally:
            sys.settrace(before)

    def _called(self, frame: FrameType, _event: str, _arg: Any) -> Callable[..., Any] | None:
        name = frame.f_code.co_filename
        return self._line if name.startswith(_ROOM) and not name.startswith(_SPARED) else None

    def _line(self, _frame: FrameType, event: str, _arg: Any) -> Callable[..., Any]:
        if event == "line":
            self.at(LINE)
        return self._line


class MortalKernel(FakeBackend):
    """The fake, which a kill leaves as it is: before a transaction or after it, never between."""

    faults: Faults | None = None

    def commit(self, transaction: Transaction) -> None:
        if self.faults is None or not transaction:
            super().commit(transaction)
            return
        self.faults.at("before a kernel transaction")
        super().commit(transaction)
        self.faults.at("after a kernel transaction")


class MortalMaps(RefusingMaps):
    """The fake maps, which a kill leaves as they are. The helper thread passes no point: it dies with the rest."""

    faults: Faults | None = None

    def switch(self, generation: Generation, settings: Settings) -> None:
        if self.faults is not None:
            self.faults.at("before a switch of the maps")
        super().switch(generation, settings)
        if self.faults is not None:
            self.faults.at("after a switch of the maps")

    def delete(self, generation: Generation, family: int, keys: Array) -> None:
        if self.faults is not None:
            self.faults.at("before a removal from the maps")
        super().delete(generation, family, keys)


@contextlib.contextmanager
def sqlite(faults: Faults | None, pragmas: Mapping[str, str | int] = {}) -> Iterator[None]:
    """While inside, every connection passes ``faults`` at each statement; ``pragmas`` overrule those that are set."""
    real = sqlite3.connect

    class Connection(sqlite3.Connection):
        def _through(self, work: Callable[..., sqlite3.Cursor], sql: str, *args: Any) -> sqlite3.Cursor:
            for name, value in pragmas.items():
                sql = re.sub(rf"\b{name}\s*=\s*\w+", f"{name}={value}", sql)
            if faults is None:
                return work(sql, *args)
            verb = sql.split(None, 1)[0].upper()
            faults.at(f"before {verb}")
            if verb in faults.refusals:
                faults.refusals.remove(verb)
                raise sqlite3.OperationalError("database or disk is full (as planned)")
            try:
                done = work(sql, *args)
            except sqlite3.Error:
                if faults.dead:
                    raise Killed(verb) from None
                raise
            faults.at(f"after {verb}")
            return done

        def execute(self, sql: str, *args: Any) -> sqlite3.Cursor:
            return self._through(super().execute, sql, *args)

        def executemany(self, sql: str, *args: Any) -> sqlite3.Cursor:
            return self._through(super().executemany, sql, *args)

    def connect(*args: Any, **options: Any) -> sqlite3.Connection:
        made: sqlite3.Connection = real(*args, **{**options, "factory": Connection})
        if faults is not None:
            faults.opened(made)
            made.set_progress_handler(lambda: faults.strikes("inside a statement"), OPCODES)
        return made

    sqlite3.connect = connect  # type: ignore[assignment]
    try:
        yield
    finally:
        sqlite3.connect = real
