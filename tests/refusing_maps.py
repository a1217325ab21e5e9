"""The fake maps with a list of refusals to come, and a look at what was left open."""

from __future__ import annotations

import errno
from typing import Any

from edged.xdp.fake import FakeGeneration, FakeMaps
from edged.xdp.libbpf import BpfError
from edged.xdp.maps import Generation

_MAY_REFUSE = frozenset(
    "begin write delete switch discard set_settings set_gardens link unlink read counters clear".split()
)


class RefusingMaps(FakeMaps):
    """``failures``: method and errno of the next refusals, each met by the next call of its method."""

    def __init__(self) -> None:
        super().__init__()
        self.failures: list[tuple[str, int]] = []
        self.generations: list[FakeGeneration] = []

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        if name not in _MAY_REFUSE:
            return found

        def called(*args: Any, **named: Any) -> Any:
            if self.failures and self.failures[0][0] == name:
                number = self.failures.pop(0)[1]
                raise BpfError(f"{name}: {errno.errorcode[number]}", number)
            return found(*args, **named)

        return called

    def begin(self, count4: int, count6: int) -> Generation:
        made = super().begin(count4, count6)
        assert isinstance(made, FakeGeneration)
        self.generations.append(made)
        return made

    @property
    def leaked(self) -> int:
        """Generations that are open and not live."""
        return sum(g.open for g in self.generations if g is not self.live)
