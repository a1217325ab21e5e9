"""The session that docs/protocol.md shows, typed as it stands there, against a real broker and a whole gateway."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.broker import Broker
from tests.gateway import Gateway
from tests.mqtt_settings import Settings
from tests.published import faults

PROTOCOL = (Path(__file__).parents[2] / "docs" / "protocol.md").read_text("utf-8")
STEPS = [
    re.sub(r"^ {4}", "", block, flags=re.MULTILINE)
    for block in re.findall(r"^( {4}mosquitto_rr .*?')\n\n", PROTOCOL, flags=re.MULTILINE | re.DOTALL)
]


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with Broker(tmp_path / "broker", log_type="error") as running:
        yield running


@pytest.fixture
async def gateway(broker: Broker, tmp_path: Path) -> AsyncIterator[Gateway]:
    async with Gateway(tmp_path / "gateway", Settings([broker.url])) as running:
        yield running


async def typed(broker: Broker, step: str) -> dict[str, Any]:
    port = broker.url.rpartition(":")[2]
    text = step.replace("mosquitto_rr ", f"mosquitto_rr -W 20 -p {port} ", 1)
    shell = await asyncio.create_subprocess_exec("bash", "-ec", text, stdout=asyncio.subprocess.PIPE)
    out, _ = await shell.communicate()
    answer: dict[str, Any] = json.loads(out)
    assert faults("acknowledgement", answer) == []
    return answer


async def test_the_session_of_the_text(broker: Broker, gateway: Gateway) -> None:
    async with asyncio.timeout(60):
        while not gateway.broker:  # noqa: ASYNC110 - the session tells nobody
            await asyncio.sleep(0.01)
        block, paid = STEPS
        first = await typed(broker, block)
        assert first["summary"]["applied"] == 2
        assert gateway.core.level("C-1001") == "walled"
        again = await typed(broker, block)
        assert again["duplicate"]
        assert again["results"] == first["results"]
        released = await typed(broker, paid)
        assert released["results"][1]["record"]["level"] == "open"
