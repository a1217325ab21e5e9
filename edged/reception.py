"""What the portal asks on behalf of whoever looks at a page: from its socket to the keeper's thread and back.

One direction, as :mod:`edged.desk`: it asks the keeper, and what changes goes the path of a command.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from edged.domain.standing import Standing
from edged.keeper import Keeper

CHANNEL = "page"
"""What the event ``trust.requested`` says of where it was asked."""


class Reception:
    """``alone``: whether billing is out of reach, and promises are granted here."""

    def __init__(self, keeper: Keeper, alone: Callable[[], bool]) -> None:
        self._keeper = keeper
        self._alone = alone

    async def standings(self, addresses: Sequence[str]) -> Sequence[Standing]:
        """What may be shown to whoever has each of these addresses."""
        return await self._keeper.do(self._keeper.pipeline.questions.standings, addresses)

    async def seen(self, address: str) -> None:
        """Somebody at this address was shown a reminder."""
        await self._keeper.seen(address)

    async def ask(self, address: str) -> str:
        """Somebody asks for a promise: requested, granted, not_applicable, spent, limited or failed."""
        return await self._keeper.petition(address, CHANNEL, alone=self._alone())

    async def prove(self, address: str, code: bytes) -> tuple[str, bytes]:
        """Somebody typed a one-time code: (ok, wrong, locked or none; a ticket with ok)."""
        return await self._keeper.do(self._keeper.cashier.prove, address, code)

    async def redeem(self, token: bytes) -> tuple[str, bytes]:
        """Somebody came over a signed link: the same."""
        return await self._keeper.do(self._keeper.cashier.redeem, token)

    async def bill(self, ticket: bytes) -> Mapping[str, str]:
        """The payment data behind a ticket; empty where there is none (any more)."""
        return await self._keeper.do(self._keeper.cashier.bill, ticket)

    def watch(self, address: str, *, on: bool) -> None:
        """Whether changes that concern this address are to be told."""
        self._keeper.pipeline.watched.watch(address, on=on)

    def texts(self) -> Mapping[str, Mapping[str, str]]:
        """Reason -> the texts that commands set for its page."""
        return self._keeper.pipeline.pages.texts
