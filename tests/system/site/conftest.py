"""One gateway with daemon and broker, one Chromium behind it, for all tests of the site."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page

from tests.browser.chromium import NARROW, Chromium
from tests.browser.stage import Stage
from tests.lab.lab import Lab


@pytest.fixture(scope="package")
def stage() -> Iterator[Stage]:
    if os.geteuid() != 0:
        pytest.skip("needs root")
    with Lab() as lab:
        lab.start_daemon()
        yield Stage(lab)


@pytest.fixture(scope="package")
def chromium(stage: Stage) -> Iterator[Chromium]:
    with Chromium(stage.lab.network.subscriber, stage.lab.directory) as one:
        yield one


@pytest.fixture(scope="module")
def page(chromium: Chromium) -> Iterator[Page]:
    """A phone."""
    with chromium.page() as one:
        yield one


@pytest.fixture(scope="module")
def plain(chromium: Chromium) -> Iterator[Page]:
    """A browser without JavaScript, whose window is as wide as 640 pixels are at 200 %."""
    with chromium.page(viewport=NARROW, java_script_enabled=False) as one:
        yield one
