"""One mutant on trial: a child of this process imports it in the module's place and runs its tests.

Nothing is written: the changed text lives in the child alone. What takes long to import, and is not ours, is imported
once, here, and comes into each child with the fork.
"""

from __future__ import annotations

import gc
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import math
import os
import resource
import select
import signal
import sys
from types import CodeType, ModuleType
from typing import NamedTuple

HEAVY = """
numpy pydantic pydantic_settings msgspec hypothesis holidays.countries.brazil joserfc.jws aiomqtt prometheus_client
pytest _hypothesis_pytestplugin pytest_asyncio.plugin pytest_timeout anyio.pytest_plugin anyio._backends._asyncio
"""
"""What the tests need and we did not write."""
IDLE = "cacheprovider logging unraisableexception threadexception faulthandler anyio"
"""What pytest does besides; without it, and without our conftest, a verdict takes a third of the time."""
KILLED, SURVIVED, TIMEOUT, STILLBORN = "killed", "survived", "timeout", "stillborn"
_STILLBORN = 90
_MEMORY = 6 << 30


HANGS = 60
"""Seconds of ours for one of the processor's: who has not used it up by then waits for what never comes."""


class Trial(NamedTuple):
    """What became of it, and after how many seconds of the processor's: a busy machine must kill nobody."""

    outcome: str
    seconds: float


def warm_up() -> None:
    """Import what every child needs."""
    for name in HEAVY.split():
        importlib.import_module(name)
    if any(name.split(".")[0] == "edged" for name in sys.modules):
        raise RuntimeError("edged is imported already: no child would see its mutant")
    gc.freeze()  # no child looks through it again


def trial(module: str, source: str | None, test: str, limit: float) -> Trial:
    """The word of one test file on ``source`` in the place of ``module`` (None: as it is).

    ``limit``: seconds of the processor's.
    """
    sys.stdout.flush()
    child = os.fork()
    if not child:
        os.setsid()
        most = math.ceil(limit)
        resource.setrlimit(resource.RLIMIT_CPU, (most, most + 1))
        _child(module, source, test)
    handle = os.pidfd_open(child)
    try:
        ended = bool(select.select([handle], [], [], HANGS * limit)[0])
    finally:
        os.close(handle)
        if os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            os.killpg(child, signal.SIGKILL)
        _, status, used = os.wait4(child, 0)
    code = os.waitstatus_to_exitcode(status)
    outcome = {0: SURVIVED, _STILLBORN: STILLBORN, -signal.SIGXCPU: TIMEOUT}.get(code, KILLED) if ended else TIMEOUT
    return Trial(outcome, used.ru_utime + used.ru_stime)


def _child(module: str, source: str | None, test: str) -> None:
    nothing = os.open(os.devnull, os.O_RDWR)
    if "MUTANTS_TALK" not in os.environ:
        for standard in (0, 1, 2):
            os.dup2(nothing, standard)
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    try:
        if source is not None:
            sys.meta_path.insert(0, _InPlace(module, compile(source, f"<mutant of {module}>", "exec")))
        importlib.import_module(module)
    except BaseException:  # noqa: BLE001 - whatever it is, nobody can import it
        os._exit(_STILLBORN)
    import hypothesis
    import pytest

    hypothesis.settings.register_profile(
        "mutants", deadline=None, derandomize=True, database=None, suppress_health_check=list(hypothesis.HealthCheck)
    )
    hypothesis.settings.load_profile("mutants")
    idle = [x for name in IDLE.split() for x in ("-p", f"no:{name}")]
    quiet = [
        "-q",
        "-x",
        "--timeout=0",
        "--tb=no",
        "--noconftest",
        "--assert=plain",
        "--capture=no",
        "-W",
        "ignore",
        *idle,
    ]
    code = 1
    try:
        code = int(pytest.main([*quiet, test]))
    finally:
        os._exit(code)


class _InPlace(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds one module, and it is the mutant."""

    def __init__(self, module: str, code: CodeType) -> None:
        self._module = module
        self._code = code

    def find_spec(
        self, fullname: str, path: object = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        return importlib.util.spec_from_loader(fullname, self) if fullname == self._module else None

    def exec_module(self, module: ModuleType) -> None:
        exec(self._code, module.__dict__)  # noqa: S102
