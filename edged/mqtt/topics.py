"""The MQTT topics of contract version 1, and which topics a sender may ask its answer to be sent to.

Pure text: nothing here knows a client or a broker. A *channel* is the last level of a topic:

    edged/v1/gw/<gateway>/cmd      in    batches for one gateway
    edged/v1/gw/<gateway>/sync     in    chunks of a full snapshot
    edged/v1/group/<group>/cmd     in    batches for every gateway of a group
    edged/v1/gw/<gateway>/ack      out   answers
    edged/v1/gw/<gateway>/event    out   what happened without being asked
    edged/v1/gw/<gateway>/state    out   one retained status document, also the Last Will
"""

from __future__ import annotations

from dataclasses import dataclass

from edged.errors import ConfigError

ROOT = "edged/v1/"

# A Response Topic is chosen by the sender. These channels mean something to every gateway or dashboard, so an answer
# must not be steered there: a gateway would read it as a command, a dashboard as a gateway's state.
_RESERVED = frozenset({"cmd", "sync", "state", "event"})
_MAX_TOPIC_BYTES = 65_535  # MQTT 5, 1.5.4: a string is preceded by its length in two bytes


@dataclass(frozen=True)
class Topics:
    """The topics of one gateway.

    ``gateway`` and each of ``groups`` become one level of a topic, so they may hold no ``/``, wildcard or control
    character. Raises :class:`~edged.errors.ConfigError` naming the value otherwise.
    """

    gateway: str
    groups: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _check_level("gateway", self.gateway)
        for group in self.groups:
            _check_level("groups", group)

    @property
    def client_id(self) -> str:
        """The MQTT client id; the broker keeps this gateway's session under it."""
        return f"edged-{self.gateway}"

    @property
    def command(self) -> str:
        """Batches for this gateway alone."""
        return self._own("cmd")

    @property
    def sync(self) -> str:
        """Chunks of a full snapshot for this gateway."""
        return self._own("sync")

    @property
    def subscriptions(self) -> tuple[str, ...]:
        """Every topic this gateway listens to: its own two and its groups', in that order, each once."""
        groups = (f"{ROOT}group/{group}/cmd" for group in self.groups)
        return tuple(dict.fromkeys((self.command, self.sync, *groups)))

    @staticmethod
    def source(topic: str) -> str:
        """The channel part of a topic: ``gw/<gateway>/cmd``, ``gw/<gateway>/sync``, ``group/<group>/cmd``.

        Any other topic comes back whole, and never empty: an empty source means the local socket, which is trusted.
        """
        return topic.removeprefix(ROOT) or "?"

    @property
    def ack(self) -> str:
        """Answers that have no Response Topic."""
        return self._own("ack")

    @property
    def event(self) -> str:
        """Expiries, deadlines, drift: what nobody asked for."""
        return self._own("event")

    @property
    def state(self) -> str:
        """The retained status document."""
        return self._own("state")

    def _own(self, channel: str) -> str:
        return f"{ROOT}gw/{self.gateway}/{channel}"


def response_topic(wanted: str | None) -> str | None:
    """``wanted`` if an answer may be sent there, else ``None`` (the caller then uses :attr:`Topics.ack`).

    It must start with ``edged/v1/``, name something below it, hold no wildcard or control character, and not be a
    channel on which gateways or dashboards take what they read at face value (cmd, sync, state, event).
    """
    if wanted is None or not wanted.startswith(ROOT) or len(wanted) == len(ROOT):
        return None
    if not _printable(wanted) or "+" in wanted or "#" in wanted:
        return None
    if len(wanted.encode("utf-8", "surrogatepass")) > _MAX_TOPIC_BYTES:
        return None
    levels = wanted.removeprefix(ROOT).split("/")
    if levels[0] in {"gw", "group"} and levels[-1] in _RESERVED:
        return None
    return wanted


def _check_level(key: str, value: str) -> None:
    if value and _printable(value) and not set("/+#") & set(value):
        return
    msg = f"{key} = {value!r}: a name in a topic needs one or more printable characters without '/', '+' and '#'"
    raise ConfigError(msg)


def _printable(text: str) -> bool:
    return all(char >= " " and not "\x7f" <= char <= "\x9f" and not "\ud800" <= char <= "\udfff" for char in text)
