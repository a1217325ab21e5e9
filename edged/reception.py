"""What the portal asks on behalf of whoever looks at a page: from its socket to the keeper's thread and back.

One direction, as :mod:`edged.desk`: it asks the keeper, and what changes goes the path of a command.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from edged.clock import in_time
from edged.domain.standing import Standing
from edged.keeper import Keeper

CHANNEL = "page"
"""What the event ``trust.requested`` says of where it was asked."""


class Reception:
    """``alone``: whether billing is out of reach, and promises are granted here.

    What is asked with ``until`` (milliseconds of CLOCK_MONOTONIC) raises Late when its turn comes after that.
    """

    def __init__(self, keeper: Keeper, alone: Callable[[], bool]) -> None:
        self._keeper = keeper
        self._alone = alone

    async def standings(self, addresses: Sequence[str]) -> Sequence[Standing]:
        """What may be shown to whoever has each of these addresses."""
        return await self._keeper.do(self._keeper.pipeline.questions.standings, addresses)

    async def seen(self, address: str, *, pressed: bool) -> None:
        """Somebody at this address was shown a reminder, or has sent it away."""
        await self._keeper.seen(address, pressed=pressed)

    async def ask(self, address: str, until: int) -> str:
        """Somebody asks for a promise: requested, granted, not_applicable, spent, limited or failed."""
        return await self._keeper.petition(address, CHANNEL, until, alone=self._alone())

    async def prove(self, address: str, code: bytes, until: int) -> tuple[str, bytes]:
        """Somebody typed a one-time code: what :meth:`Cashier.prove` says of it."""
        return await self._keeper.do(in_time, until, self._keeper.cashier.prove, address, code)

    async def redeem(self, address: str, token: bytes, until: int) -> tuple[str, bytes]:
        """Somebody at ``address`` came over a signed link: what :meth:`Cashier.redeem` says of it."""
        return await self._keeper.do(in_time, until, self._keeper.cashier.redeem, address, token)

    async def bill(self, ticket: bytes) -> Mapping[str, str]:
        """The payment data behind a ticket; empty where there is none (any more)."""
        return await self._keeper.do(self._keeper.cashier.bill, ticket)

    def watch(self, address: str, *, on: bool) -> None:
        """Whether changes that concern this address are to be told."""
        self._keeper.pipeline.watched.watch(address, on=on)

    def texts(self) -> Mapping[str, Mapping[str, str]]:
        """Reason -> the texts that commands set for its page."""
        return self._keeper.pipeline.pages.texts
