"""Whatever a test makes the core say is held against what is published about it (edged/published)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from edged.intake import Incoming
from edged.pipeline import Outcome, Pipeline
from edged.store.rows import Write
from edged.store.store import Store
from tests.published import hold_answer, hold_event


@pytest.fixture(autouse=True)
def _as_published(monkeypatch: pytest.MonkeyPatch) -> None:
    process, commit = Pipeline.process, Store.commit

    def held(self: Pipeline, messages: Sequence[Incoming]) -> Outcome:
        outcome = process(self, messages)
        for answer in outcome.answers:
            hold_answer(answer.document)
        return outcome

    def committed(self: Store, write: Write, *args: Any, **more: Any) -> None:
        for event in write.events:
            if event.document.keys() & {"at", "counts"}:  # a test of the outbox alone puts in what it likes
                hold_event(event.document, event.topic)
        commit(self, write, *args, **more)

    monkeypatch.setattr(Pipeline, "process", held)
    monkeypatch.setattr(Store, "commit", committed)
