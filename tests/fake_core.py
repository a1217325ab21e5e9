"""The core as a portal sees it, made of what a test says: who is who, which code is right, what is owed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence

from edged.domain.standing import NOBODY, Standing

TICKET = bytes(range(16))


class FakeCore:
    """``people`` says who is who by address; everything else is for the test to fill and to look at."""

    def __init__(self) -> None:
        self.people: dict[str, Standing] = {}
        self.shown: list[str] = []
        self.looks: list[str] = []
        self.asked: list[str] = []
        self.untils: list[int] = []
        self.answer = "requested"
        self.codes: dict[str, bytes] = {}
        self.tokens: set[bytes] = set()
        self.payment: dict[str, str] = {}
        self.watched: set[str] = set()
        self.set_texts: dict[str, dict[str, str]] = {}
        self.before: Callable[[str], object] = lambda _: None
        """Called with each address whose standing is asked for; it may raise EdgedError."""
        self.mute = False
        self.awake = asyncio.Event()
        """Clear: standings are answered once it is set."""
        self.awake.set()

    async def standings(self, addresses: Sequence[str]) -> list[Standing | None]:
        await self.awake.wait()
        if self.mute:
            await asyncio.sleep(5)
        for address in addresses:
            self.before(address)
        return [self.people.get(address, NOBODY) for address in addresses]

    async def seen(self, address: str, *, pressed: bool) -> None:
        (self.shown if pressed else self.looks).append(address)

    async def ask(self, address: str, until: int) -> str:
        self.asked.append(address)
        self.untils.append(until)
        return self.answer if address in self.people else "not_applicable"

    async def prove(self, address: str, code: bytes, until: int) -> tuple[str, bytes]:
        self.untils.append(until)
        right = self.codes.get(address)
        return ("none", b"") if right is None else ("ok", TICKET) if right == code else ("wrong", b"")

    async def redeem(self, address: str, token: bytes, until: int) -> tuple[str, bytes]:
        self.untils.append(until)
        return ("ok", TICKET) if token in self.tokens else ("stale" if address in self.codes else "dead", b"")

    async def bill(self, ticket: bytes) -> Mapping[str, str]:
        return self.payment if ticket == TICKET else {}

    def watch(self, address: str, *, on: bool) -> None:
        (self.watched.add if on else self.watched.remove)(address)

    def texts(self) -> Mapping[str, Mapping[str, str]]:
        return self.set_texts
