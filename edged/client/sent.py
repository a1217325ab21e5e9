"""What the caller holds of batches that are in the outbox: their answers, as they come."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Collection, Mapping, Sequence

from edged.client.documents import Answer
from edged.errors import EdgedError


class Unanswered(EdgedError):
    """Not everybody answered in time; what is missing stays in the outbox and is delivered all the same."""

    def __init__(self, missing: Collection[tuple[str, str]], answers: list[Answer]) -> None:
        gateways = sorted({gateway for _, gateway in missing})
        super().__init__(f"no answer yet from {', '.join(gateways)[:500]} to {len(missing)} batches")
        self.missing, self.answers = frozenset(missing), answers


class Held(Unanswered):
    """The brake of a gateway keeps a snapshot until a human looked; ``why`` is what it says of it.

    It is not lost, and need not be sent again: the gateway carries it out when it is released.
    """

    def __init__(self, gateway: str, why: str) -> None:
        super().__init__({("snapshot", gateway)}, [])
        self.gateway, self.why = gateway, why
        what = f"{gateway} holds the snapshot: {why}"
        self.args = (f"{what}; look at it there, then edged release-brake or drop-held. Do not send it again",)


class Sent:
    """Batches that are in the outbox, and so will be delivered; ``ids`` in the order of their commands."""

    def __init__(self, ids: Sequence[str], gateways: Sequence[str], only: str | None = None) -> None:
        self.ids = tuple(ids)
        self._only = only
        self._known = bool(gateways)
        self._missing = {(name, gateway) for name in ids for gateway in gateways}
        self._answers: dict[tuple[str, str], Answer] = {}
        self._change = asyncio.Event()

    def hear(self, answer: Answer) -> None:
        """One answer arrived."""
        if self._only is not None and answer.gateway != self._only:
            return  # the same id, to another gateway
        self._answers[answer.id, answer.gateway] = answer
        self._missing.discard((answer.id, answer.gateway))
        self._change.set()

    def expect(self, still: Mapping[str, Collection[str]]) -> None:
        """Id -> whose answer is still to come; the others answered in an earlier life."""
        self._missing = {(name, gateway) for name, gateway in self._missing if gateway in still.get(name, ())}
        self._change.set()

    async def answers(self, timeout: float | None = 30.0) -> list[Answer]:  # noqa: ASYNC109 - reads better than a context
        """What the gateways said, once all are heard, each after its kernel accepted the change.

        Of a group whose members are not known: whoever answered within ``timeout`` seconds. Batches under an id of
        the caller's that were answered in an earlier life are not in the list. Raises :class:`Unanswered`.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while self._missing or not self._known:
                    self._change.clear()
                    await self._change.wait()
        order = {name: n for n, name in enumerate(self.ids)}
        found = sorted(self._answers.values(), key=lambda a: (order[a.id], a.gateway))
        if self._missing:
            raise Unanswered(self._missing, found)
        return found
