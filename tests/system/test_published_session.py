"""The session that docs/protocol.md shows, typed as it stands there, in the lab as ``make run KEEP=1`` leaves it."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab.findings import browses
from tests.lab.lab import Lab
from tests.lab.story import settle, way_in
from tests.published import faults

PROTOCOL = (Path(__file__).parents[2] / "docs" / "protocol.md").read_text("utf-8")
SESSION = PROTOCOL.partition("## A session\n")[2].partition("\n## ")[0]
TYPED = [
    re.sub(r"^ {4}", "", block, flags=re.MULTILINE)
    for block in re.findall(r"^( {4}lab .*?')\n\n", SESSION, flags=re.MULTILINE | re.DOTALL)
]


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab() as lab:
        settle(lab)
        yield lab


def shell(lab: Lab, *lines: str) -> list[dict[str, Any]]:
    """What these lines print, behind the way into the lab: JSON, a document a line, or a topic and a document."""
    text = "\n".join([way_in(lab), *lines])
    done = subprocess.run(["bash", "-c", text], capture_output=True, text=True, timeout=60)
    return [json.loads(line[line.index("{") :]) for line in done.stdout.splitlines()]


def answer(lab: Lab, step: str) -> dict[str, Any]:
    (found,) = shell(lab, step.replace("mosquitto_rr ", "mosquitto_rr -W 20 "))
    assert faults("acknowledgement", found) == []
    return found


def test_the_session_of_the_text(lab: Lab) -> None:
    listen, block, paid = TYPED
    (state,) = shell(lab, listen.replace("mosquitto_sub ", "mosquitto_sub -C 1 -W 20 "))
    assert (state["gateway"], state["online"]) == ("lab", True)
    assert browses(lab.debtor)
    first = answer(lab, block)
    assert first["summary"]["applied"] == 2
    assert lab.debtor.http("http://198.51.100.10/").status == 302
    again = answer(lab, block)
    assert again["duplicate"]
    assert again["results"] == first["results"]
    released = answer(lab, paid)
    assert released["results"][1]["record"]["level"] == "open"
    assert browses(lab.debtor)


def test_the_way_in_that_the_text_shows_is_the_one_that_is_printed(lab: Lab) -> None:
    (shown,) = re.findall(r"^ {4}(lab\(\) .*?\})", SESSION, flags=re.MULTILINE)
    assert re.sub(r"\d+", "N", shown) == re.sub(r"\d+", "N", way_in(lab))
    assert SESSION.count("gw1") == 0
