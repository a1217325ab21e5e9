"""The fake maps with a list of refusals to come; what maps and sets say, to be compared."""

from __future__ import annotations

import errno
from typing import Any

from edged import plan
from edged.xdp.binding import BpfError
from edged.xdp.fake import FakeGeneration, FakeMaps
from edged.xdp.maps import Generation
from tests.unit.core import Core

Said = dict[bytes, tuple[int, int, int]]
"""Key of plan.py -> level, level while a promise runs, Unix ms of its end (0: no promise)."""

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


def from_maps(maps: FakeMaps, now: int) -> Said:
    """What the maps say at ``now``, where CLOCK_MONOTONIC is the same clock; a promise that has ended is none."""
    found: Said = {}
    for family in (4, 6):
        for key, held in maps.everything(family).items():
            tagged = b"\x04" + key if family == 4 else key[:1] + key[4:]
            until = held.until // 1_000_000
            found[tagged] = (held.level, held.lift, until) if until > now else (held.level, 0, 0)
    return found


def from_sets(core: Core) -> Said:
    """What the sets of a core say."""
    assert core.enforcer.live is not None
    found: Said = {}
    live = core.enforcer.live
    for tag in core.enforcer.settings.classes():
        sets = {role: core.kernel.elements(live.spec(role, tag).name) for role in plan.ROLES}
        for packed in sets[plan.RESTRICTED]:
            level = next(
                (x for x, role in ((4, plan.BLOCKED), (2, plan.REDUCED), (1, plan.NOTICE)) if packed in sets[role]), 3
            )
            lift, until = next(
                (
                    (x, sets[role][packed].expiry)
                    for x, role in ((0, plan.WAIVED), (1, plan.WAIVED_NOTICE), (2, plan.WAIVED_REDUCED))
                    if packed in sets[role]
                ),
                (0, 0),
            )
            found[bytes([tag]) + packed] = level, lift, until
    return found
