"""A few kills of the real processes; ``make torture`` has hundreds."""

from __future__ import annotations

import pytest

from tests.torture.daemons import Daemons


@pytest.mark.parametrize("signed", [True, False])
def test_killed_processes_lose_nothing_and_do_nothing_twice(signed: bool) -> None:
    with Daemons(3 + signed, 2, signed=signed) as daemons:
        report = daemons.run()
    assert report.violations == []
    assert report.where.total() == 2
