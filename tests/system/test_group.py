"""Two gateways of a group and two bridged brokers: whatever fails, both end in the same state."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator

import pytest

from tests.bridged import bridged
from tests.lab.pair import GATEWAYS, GROUP, Pair
from tests.mqtt_settings import Settings
from tests.stream import Stream, retained_states


@pytest.fixture
def pair() -> Iterator[Pair]:
    with Pair() as built:
        yield built


async def until(pair: Pair, condition: Callable[[], object], what: str, seconds: float = 40.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds} s: {what}\n{pair.logs()}"
        await asyncio.sleep(0.02)


async def alike(pair: Pair, erp: Stream) -> str:
    """Wait until both have told that they are where the stream is; returns their common digest."""

    def told() -> list[dict[str, object]]:
        last = {state["gateway"]: state for state in erp.states}
        return [last[name] for name in GATEWAYS if name in last]

    def there() -> bool:
        states = told()
        wanted = erp.name(erp.sent) if erp.sent else None
        return len(states) == 2 and all(s["online"] and s["in_sync"] and s["last_batch"] == wanted for s in states)

    await until(pair, there, f"both to be where the stream is: {told()}")
    one, other = told()
    assert one["hash"] == other["hash"], told()
    return str(one["hash"])


def test_a_pair_ends_equal_after_every_failure(pair: Pair) -> None:
    seen: set[str] = set()

    async def story() -> None:
        settings = Settings(pair.urls, keepalive=5)
        async with Stream(settings, answered_by=GATEWAYS, topic=f"edged/v1/group/{GROUP}/cmd") as erp:
            for name in GATEWAYS:
                pair.start(name)
            seen.add(await alike(pair, erp))

            async def during(count: int, failure: Callable[[], None], repair: Callable[[], None]) -> None:
                stream = asyncio.create_task(erp.send(count))
                start = erp.sent
                await until(pair, lambda: erp.sent > start + count // 3, "the stream to flow")
                await asyncio.to_thread(failure)
                await until(pair, lambda: erp.sent > start + count // 2 or stream.done() or stuck(), "some more")
                await asyncio.to_thread(repair)
                await stream
                digest = await alike(pair, erp)
                assert digest not in seen, "the digest says nothing"
                seen.add(digest)

            def stuck() -> bool:
                return len(erp.unanswered) >= 8  # nothing more goes out before what failed is back

            first, second = pair.brokers["first"], pair.brokers["second"]
            await until(
                pair, lambda: all(f"edged-{n}" in second.log for n in GATEWAYS), "sessions at the second broker"
            )
            await during(40, first.kill, lambda: None)
            await asyncio.to_thread(first.start)
            await until(pair, lambda: bridged(first, second), "the bridge")
            await during(40, lambda: pair.kill("gw1"), lambda: pair.start("gw1"))
            await during(40, lambda: pair.cut("gw2"), lambda: pair.mend("gw2"))
            await during(40, lambda: pair.cut("second"), lambda: pair.mend("second"))

        # Whoever asks either broker gets the same answer, as soon as the bridge has made good what it missed.
        end, digests = time.monotonic() + 30, set[str | None]()
        while len(digests) != 1 or None in digests:  # none: offline, a will that is about to be contradicted
            assert time.monotonic() < end, f"{digests}\n{pair.logs()}"
            both = [await retained_states(Settings([url]), 2) for url in pair.urls]
            digests = {state.get("hash") for states in both for state in states.values()}
        assert digests < seen
        one, other = ([(row["sub"], row["level"], row["reasons"]) for row in pair.edged(n, "list")] for n in GATEWAYS)
        assert one == other  # each has its own idea of since when

    pair.call(story)
