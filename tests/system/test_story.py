"""The story of ``make run``, every step with its own assertion. The steps build on each other, in order."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.lab.lab import Lab
from tests.lab.steps import STEPS, Step, Story


@pytest.fixture(scope="module")
def story() -> Iterator[Story]:
    with Lab() as lab:
        story = Story(lab)
        yield story
        story.close()


@pytest.mark.parametrize("step", STEPS, ids=[step.key for step in STEPS])
def test_step(story: Story, step: Step) -> None:
    if story.broken:
        pytest.skip(f"the story broke off at {story.broken!r}")
    try:
        found = step.play(story)
    except BaseException:
        story.broken = step.key
        print(story.lab.daemon_log())
        raise
    assert found, "a step says what it measured"
