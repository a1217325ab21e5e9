"""Giving freed memory back to the system.

glibc keeps what large messages took: once a block of some megabytes was freed, blocks of that size come from heaps that
shrink only at their ends, and a daemon that met a backlog once stays as large for weeks.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable


def _trimmer() -> Callable[[int], object]:
    try:
        return ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError):  # another libc, which has its own ways
        return lambda _pad: None


_malloc_trim = _trimmer()


def give_back() -> None:
    """Return free pages of every heap to the system: some milliseconds, for after a large group."""
    _malloc_trim(0)
