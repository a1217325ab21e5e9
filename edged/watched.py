"""Addresses whose owners look at a page that follows what happens to them, and which of them a commit touched.

The event loop says who is watched, the keeper's thread what was touched; what was, is told in the loop once the kernel
has it. Without a watcher the path of a command pays for one look at whether there is one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from edged.domain.address import Addressing
from edged.domain.rejection import Rejected


class Watched:
    """``addressing`` says under which keys an address may be known. Truthy while anybody is watched."""

    def __init__(self, addressing: Addressing) -> None:
        self._addressing = addressing
        self._by_key: dict[bytes, set[str]] = {}
        self._touched: deque[str] = deque()  # one thread appends while the other takes

    def __bool__(self) -> bool:
        return bool(self._by_key)

    def watch(self, address: str, *, on: bool) -> None:
        """From now on, or no longer. What nobody can have as an address is not watched. In the event loop."""
        try:
            keys = self._addressing.lookup(address)
        except Rejected:
            return
        for key in keys:
            found = self._by_key.setdefault(key, set())
            (found.add if on else found.discard)(address)
            if not found:
                del self._by_key[key]

    def touch(self, keys: Iterable[bytes]) -> None:
        """Something was committed that concerns these addresses. In the keeper's thread."""
        for key in keys:
            self._touched.extend(tuple(self._by_key.get(key, ())))

    def touch_all(self) -> None:
        """Something was done that may concern everybody. In the event loop."""
        for found in self._by_key.values():
            self._touched.extend(found)

    def take(self) -> set[str]:
        """The watched addresses touched since the last call. In the event loop."""
        out = set()
        while self._touched:
            out.add(self._touched.popleft())
        return out
