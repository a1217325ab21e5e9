"""A sender that kills itself, for tests: ``python -m tests.sender_process PORT OUTBOX WHERE``.

It sends one batch after the other, numbered on from what the outbox has seen, and prints each number when ``send``
has returned. ``WHERE``: the point at which it is killed (SIGKILL), or ``never``: it waits for all answers and ends.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
from pathlib import Path
from typing import Any

from edged.client import Sender
from edged.client.courier import Courier
from edged.client.outbox import Outbox
from edged.client.post import Post


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _rig(where: str, after: int) -> None:
    """Let the process end at its ``after``-th visit to that point."""
    left = after

    def visit() -> None:
        nonlocal left
        left -= 1
        if left <= 0:
            _die()

    reserve, publish, hear = Outbox.reserve, Post.publish, Courier.hear

    def reserving(self: Outbox, *args: Any) -> Any:
        out = reserve(self, *args)
        visit()
        return out

    async def publishing(self: Post, messages: Any) -> bool:
        if where == "published":
            out = await publish(self, messages)
            visit()
            return out
        sending = asyncio.create_task(publish(self, messages))
        await asyncio.sleep(random.random() * 0.003)
        visit()
        return await sending

    async def hearing(self: Courier, answers: Any) -> bool:
        await hear(self, answers[: len(answers) // 2])
        visit()
        return await hear(self, answers)

    match where:
        case "reserved":
            Outbox.reserve = reserving  # type: ignore[method-assign,assignment]
        case "publishing" | "published":
            Post.publish = publishing  # type: ignore[method-assign]
        case "heard":
            Courier.hear = hearing  # type: ignore[method-assign]


async def main(port: int, outbox: Path, where: str) -> None:
    if where == "anywhere":
        asyncio.get_running_loop().call_later(random.random() * 0.25, _die)
    else:
        _rig(where, random.randint(1, 4))
    async with Sender("erp", brokers=[f"mqtt://127.0.0.1:{port}"], outbox=outbox, batch=3) as sender:
        # As an ERP does that reads back what it has handed over: by its own numbers, not by what it remembers.
        _, last = await sender._post.do(Outbox.position, "gw/gw1/cmd")
        for n in range(last + 1, last + (1 if where == "never" else 30)):
            await sender.send("gw1", [{"op": "paid", "sub": f"C-{n}"}])
            print(n, flush=True)
            if n % 5 == 0:
                await asyncio.sleep(0.005)
        while await sender._post.do(Outbox.open_topics):  # noqa: ASYNC110 - the outbox tells nobody
            await asyncio.sleep(0.02)
        if where != "never":
            _die()  # that point was not visited often enough: the answers came all at once


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]))
