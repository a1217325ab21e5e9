"""SIGHUP: the configuration is read again, and who may sign changes at once. Everything else waits for the next start.

A file with a mistake changes nothing: the daemon goes on with what it has, says why in its log, and ``edged status``
shows it. That includes two mistakes only the running daemon can see. A file that names no issuer any more may be cut
short, and to take it would mean to obey unsigned commands: it must say so (``security.require_signature = false``). And
the broker that is connected is the one the daemon started with, whatever the new file says.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel

from edged.config import Config, load, with_security
from edged.envelope import Issuer, Keyring, read_public
from edged.errors import ConfigError
from edged.keeper import Keeper

_log = logging.getLogger(__name__)
AT_ONCE = "security"
"""The section that may change while the daemon runs."""


def keyring(cfg: Config) -> Keyring:
    """Whom the configuration lets sign, and what for."""
    security = cfg.security
    return Keyring(
        [Issuer(i.name, tuple(read_public(key) for key in i.keys), frozenset(i.roles)) for i in security.issuers],
        required=security.required,
        audience=[cfg.gateway, *cfg.groups],
        max_ahead=security.max_ahead_minutes * 60_000,
        max_age=security.max_age_hours * 3_600_000,
    )


def changed(old: BaseModel, new: BaseModel, path: str = "") -> Iterator[str]:
    """Dotted keys whose value differs."""
    for name in type(old).model_fields:
        before, after = getattr(old, name), getattr(new, name)
        if isinstance(before, BaseModel) and isinstance(after, BaseModel):
            yield from changed(before, after, f"{path}{name}.")
        elif before != after:
            yield path + name


class Reload:
    """``running`` is the configuration the daemon started with, ``file`` where it came from (None: the usual place)."""

    def __init__(self, running: Config, file: Path | None, keeper: Keeper) -> None:
        self._running = running
        self._file = file
        self._keeper = keeper
        self._asked = asyncio.Event()

    def ask(self) -> None:
        """The signal's handler: several in a row are one."""
        self._asked.set()

    async def run(self) -> None:
        """Read the file again whenever that is asked."""
        while True:
            await self._asked.wait()
            self._asked.clear()
            try:
                await self._take(load(self._file))
            except ConfigError as e:
                text = "; ".join(line.strip() for line in str(e).splitlines())
                self._keeper.note("config", f"not reloaded, the old configuration stays in force: {text}")
                self._keeper.changed.set()

    async def _take(self, new: Config) -> None:
        """Bring into force what may change now, and name the rest. Raises ConfigError with nothing changed."""
        now = with_security(self._running, new.security)
        if self._running.security.issuers and not new.security.issuers and new.security.require_signature:
            raise ConfigError(
                "security.issuers named somebody and now names nobody: is the file complete? To obey unsigned commands "
                "from now on, write security.require_signature = false"
            )
        differs = list(changed(self._running, new))
        ring = keyring(now)
        await self._keeper.do(setattr, self._keeper.pipeline, "keyring", ring)
        self._running = now
        _log.info(
            "reloaded: %d issuers with %d keys may sign, signatures are %s",
            len(now.security.issuers),
            sum(len(issuer.keys) for issuer in now.security.issuers),
            "required" if ring.required else "not required",
        )
        later = [key for key in differs if not key.startswith(f"{AT_ONCE}.")]
        if later:
            _log.warning("takes effect at the next start: %s", ", ".join(later))
