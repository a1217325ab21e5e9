"""Every contract test runs twice: over the fake, and over the kernel in a namespace of its own."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from edged.errors import KernelError
from edged.nft.transaction import Backend, DelTable, Transaction
from tests import worlds
from tests.lab.netns import Namespace


@pytest.fixture(scope="session")
def space() -> Iterator[Namespace]:
    """One namespace for the whole suite; each test leaves it without our table."""
    with worlds.namespace() as made:
        yield made


@pytest.fixture(params=["fake", "kernel", "kernel without DESTROYSETELEM"])
def backend(request: pytest.FixtureRequest) -> Iterator[Backend]:
    if request.param == "fake":
        yield worlds.fake_backend()
        return
    kernel = worlds.kernel_backend(request.getfixturevalue("space"))
    if "without" in request.param:
        kernel._destroy = False  # a kernel before 6.3
    try:
        yield kernel
    finally:
        with contextlib.suppress(KernelError):
            kernel.commit(Transaction([DelTable()]))
        kernel.close()
