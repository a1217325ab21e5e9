"""The sender's own table as the 256 sums that a gateway keeps of its desired state (edged/domain/digest.py). Pure."""

from __future__ import annotations

from collections.abc import Iterable

from edged.client.documents import Command
from edged.domain import digest
from edged.domain.address import Addressing, literal, words
from edged.domain.levels import Level
from edged.domain.model import DEBT, REASONS
from edged.domain.rejection import Rejected

_LEVELS = {level.word: int(level) for level in Level}


class Sums:
    """Feed it the commands of a snapshot, each binding and each (subscriber, reason) once; what no digest covers
    (promises, onsets, other reasons) is passed over. ``addressing`` is that of the gateways: their IPv6 prefix lengths.
    """

    def __init__(self, addressing: Addressing) -> None:
        self._addressing = addressing
        self._sums = [0] * digest.SHARDS
        self._literals: set[str] = set()

    def add(self, command: Command) -> None:
        """Count one command."""
        op, named = command.get("op"), command.get("sub")
        if not isinstance(named, str):
            return
        sub = literal(named) or named
        if op == "bind":
            self._bind(sub, command.get("addresses") or ())
        elif op == "block":
            self._own(sub)
            if command.get("reason") in DEBT:
                self._block(sub, command)

    def words(self) -> list[str]:
        """16 hex digits for each shard, as the gateway answers ``digest``."""
        return [digest.words(value) for value in self._sums]

    def _bind(self, sub: str, addresses: Iterable[str]) -> None:
        try:
            keys = {key for address in addresses for key in self._addressing.keys(address)}
        except Rejected:
            return  # as the gateway does: the command as a whole changes nothing
        self._add(sub, sum(digest.binding(sub, words(key)) for key in keys))

    def _block(self, sub: str, command: Command) -> None:
        name = str(command["reason"])
        level = _LEVELS.get(str(command.get("level")), int(REASONS[name]))
        invoices = {i if isinstance(i, str) else str(i.get("id")) for i in command.get("invoices") or ()}
        self._add(sub, digest.reason(sub, name, level, int(command.get("rate") or 0), invoices))

    def _own(self, sub: str) -> None:
        """An address that is a subscriber is bound to itself."""
        if literal(sub) and sub not in self._literals:
            self._literals.add(sub)
            self._bind(sub, [sub])

    def _add(self, sub: str, value: int) -> None:
        self._sums[digest.shard(sub)] += value


def shard_of(command: Command) -> int:
    """The shard of a command's subscriber."""
    sub = str(command.get("sub"))
    return digest.shard(literal(sub) or sub)
