"""How the sender's messages leave and come in: the outbox in a thread of its own, signatures, one MQTT session."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from edged.client.brokers import Brokers
from edged.client.documents import Group, Head
from edged.client.outbox import Outbox
from edged.envelope import OKPKey, read_private, sign
from edged.errors import ConfigError, EdgedError
from edged.mqtt.message import Inbound, Outbound
from edged.mqtt.session import Session
from edged.mqtt.topics import ROOT, Topics
from edged.observer import Silent

T = TypeVar("T")


class Identity(NamedTuple):
    """Who speaks: the MQTT name, the issuer as the gateways know it, its key, and how long a message is valid."""

    name: str
    issuer: str | None = None
    key: OKPKey | None = None
    lifetime: float = 86_400.0
    """Seconds. Each publication is stamped anew, so this bounds the wait in the broker, not in the outbox."""

    @property
    def answers(self) -> str:
        """The Response Topic."""
        return f"{ROOT}client/{self.name}/ack"

    @classmethod
    def make(cls, name: str, issuer: str | None, key: OKPKey | str | Path | None, lifetime: float) -> Identity:
        """``key`` may be the file that ``edged keygen`` wrote. Raises ``ConfigError`` with the remedy."""
        if key is not None and issuer is None:
            raise ConfigError("key without issuer: give the name under which the gateways know this key")
        Topics(name)  # one level of a topic
        return cls(name, issuer, read_key(Path(key)) if isinstance(key, str | Path) else key, lifetime)

    def head(self, audience: str, epoch: str = "", seq: int = 0) -> Head:
        """For a message that is published now."""
        if self.key is None:
            return Head(self.issuer, (), 0, 0, epoch, seq)
        now = now_ms()
        return Head(self.issuer, (audience,), now, now + round(self.lifetime * 1000), epoch, seq)

    def seal(self, body: bytes) -> bytes:
        """Signed, where there is a key."""
        return body if self.key is None or self.issuer is None else sign(body, self.key, self.issuer)


def read_key(path: Path) -> OKPKey:
    """A private key from its file. Raises ``ConfigError``."""
    try:
        return read_private(path.read_text(encoding="ascii"))
    except (OSError, ValueError) as e:
        raise ConfigError(f"key {path}: {e}") from None


class Post:
    """``hear`` gets what arrived, ``connected`` is told the broker (``host:port``) after each connect."""

    def __init__(
        self,
        identity: Identity,
        brokers: Brokers,
        *,
        hear: Callable[[Sequence[Inbound]], Awaitable[None]],
        connected: Callable[[str], None],
        topics: Sequence[str],
        keep: bool,
    ) -> None:
        self.identity, self.brokers = identity, brokers
        self._hear, self._connected = hear, connected
        self._thread = ThreadPoolExecutor(1, "edged-outbox")
        self._outbox: Outbox | None = None
        self._session = Session(
            brokers,
            client_id=f"edged-client-{identity.name}",
            subscriptions=topics,
            will=None,
            on_connect=self._greet,
            handle=self._handle,
            observer=Silent(),
            keep=keep,
        )
        self._running: asyncio.Task[None] | None = None

    @property
    def broker(self) -> str | None:
        """``host:port`` of the present broker."""
        return self._session.connected

    @property
    def last_error(self) -> str | None:
        """What is wrong with the connection."""
        return self._session.last_error

    async def open(self, path: Path | None) -> None:
        """Open the outbox. Raises ``ConfigError`` if it cannot be used."""
        self._outbox = await asyncio.get_running_loop().run_in_executor(self._thread, Outbox, path, now_ms())

    def start(self) -> None:
        """Begin to connect."""
        self._running = asyncio.create_task(self._session.run(), name="edged-client")

    async def close(self) -> None:
        """Say goodbye and give the outbox free."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.wait((self._running,))
        if self._outbox is not None:
            await self.do(Outbox.close)
        self._thread.shutdown()

    async def do(self, method: Callable[..., T], *args: Any, **options: Any) -> T:
        """Call a method of the outbox in its thread."""
        return await asyncio.get_running_loop().run_in_executor(
            self._thread, lambda: method(self._box(), *args, **options)
        )

    def _box(self) -> Outbox:
        if self._outbox is None:
            raise EdgedError("the sender is not open; use it in `async with`")
        return self._outbox

    async def publish(self, messages: Sequence[tuple[str, bytes, bytes]]) -> bool:
        """(topic, body, Correlation Data) each, sealed and in order. True when the broker took them all."""
        seal, answers = self.identity.seal, self.identity.answers
        out = [Outbound(t, seal(body), correlation=mark, response_topic=answers) for t, body, mark in messages]
        return await self._session.publish(*out)

    async def _greet(self) -> Sequence[Outbound]:
        self._connected(self._session.connected or "")
        return []

    async def _handle(self, messages: Sequence[Inbound]) -> Sequence[Outbound]:
        await self._hear(messages)
        return []


def channel(to: str | Group) -> str:
    """The topic of a destination, without its head. Raises ``ConfigError`` for what is no name."""
    name = to.name if isinstance(to, Group) else to
    Topics(name)
    return f"group/{name}/cmd" if isinstance(to, Group) else f"gw/{name}/cmd"


def now_ms() -> int:
    """Unix milliseconds."""
    return round(time.time() * 1000)
