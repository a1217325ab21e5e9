"""The story of ``make run``, every step with its own assertion. The steps build on each other, in order.

It is told three times: without XDP, and with it in the driver and behind it. Nobody may notice a difference.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.lab.fast import accelerated, answered, wait_fast
from tests.lab.steps import STEPS, Step, Story


@pytest.fixture(scope="module", params=["off", "native", "generic"])
def mode(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def story(mode: str) -> Iterator[Story]:
    with accelerated(mode) as lab:
        story = Story(lab)
        yield story
        story.close()


@pytest.mark.parametrize("step", STEPS, ids=[step.key for step in STEPS])
def test_step(story: Story, step: Step, mode: str) -> None:
    if story.broken:
        pytest.skip(f"the story broke off at {story.broken!r}")
    try:
        found = step.play(story)
    except BaseException:
        story.broken = step.key
        print(story.lab.daemon_log())
        raise
    assert found, "a step says what it measured"
    if step.key == "start":
        wait_fast(story.lab, mode)
    if step.key == "redirect":
        assert (answered(story.lab) > 0) == (mode != "off"), "it was not the program that answered, or it was"
