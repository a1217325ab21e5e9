"""Each of these tests has the real kernel in a network namespace of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from edged.nft.socket import KernelBackend
from tests import worlds
from tests.lab.netns import Namespace


@pytest.fixture
def space() -> Iterator[Namespace]:
    with worlds.namespace() as made:
        yield made


@pytest.fixture
def backend(space: Namespace) -> Iterator[KernelBackend]:
    with worlds.attached(space) as made:
        yield made
