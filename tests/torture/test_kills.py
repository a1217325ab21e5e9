"""A few hundred of the kills of ``make torture``, always the same ones, and proof that a faulty core is found out."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from typing import Any

import pytest

from edged.plan import Owned
from edged.xdp.mirror import Mirror
from tests.torture.kills import Episode
from tests.torture.mortal import Mortal
from tests.torture.steps import Message


@pytest.mark.parametrize("seed", range(4))
def test_nothing_is_lost_doubled_or_misplaced(seed: int) -> None:
    report = Episode(seed, 80, snapshots=bool(seed % 2)).run()
    assert report.violations == []
    assert report.where.total() == 80
    assert report.repeated, "nothing was delivered twice, so this proves nothing"


def test_maps_that_miss_a_change_are_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    tell, told = Mirror.tell, itertools.count()

    def forgetful(self: Mirror, whole: Mapping[bytes, Owned | None], now: int) -> None:
        if next(told) % 5:
            tell(self, whole, now)

    monkeypatch.setattr(Mirror, "tell", forgetful)
    assert any(": maps: " in v for v in Episode(1, 25).run().violations)


def test_acknowledging_before_the_commit_is_found_out() -> None:
    report = Episode(1, 25, early=True).run()
    assert any(": lost: " in v for v in report.violations)


def test_forgetting_batch_ids_is_found_out() -> None:
    def renamed(core: Mortal, group: list[Message]) -> list[dict[str, Any]]:
        """Every message is new to this one."""
        fresh = []
        for sent in group:
            document = json.loads(sent.payload)
            renames.append(None)
            document["id"] += f"-{len(renames)}"
            fresh.append(sent._replace(payload=json.dumps(document).encode()))
        answers = core.serve(fresh)
        return [{**a, "id": json.loads(s.payload)["id"]} for a, s in zip(answers, group, strict=True)]

    renames: list[None] = []
    report = Episode(1, 25, serve=renamed).run()
    assert any(": twice: " in v for v in report.violations)


def test_serving_in_the_wrong_order_is_found_out() -> None:
    def backwards(core: Mortal, group: list[Message]) -> list[dict[str, Any]]:
        return core.serve(group[::-1])[::-1]

    report = Episode(1, 10, serve=backwards).run()
    assert any(": order: " in v for v in report.violations)
