"""The sets by name: how a role, an address class and a generation make one. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from edged import plan

GARDENS = ("open", "garden")
"""``open`` comes from the configuration and holds for every level; ``garden`` from commands, not for BLOCKED."""


@dataclass(frozen=True, slots=True)
class SetSpec:
    """A set as declared. ``key`` is ipv4, ipv6, garden4 or garden6; ``size`` 0 leaves it to the kernel."""

    name: str
    key: str
    timed: bool = False
    policed: bool = False
    size: int = 0

    def text(self) -> str:
        """The declaration in nft's words."""
        kind = {"ipv4": "ipv4_addr", "ipv6": "ipv6_addr"}.get(self.key)
        if kind is None:
            kind = f"{'ipv4' if self.key == 'garden4' else 'ipv6'}_addr . inet_proto . inet_service"
        parts = [f"type {kind}" + (" : limit" if self.policed else "")]
        if self.size:
            parts.append(f"size {self.size}")
        if self.timed:
            parts.append("flags timeout")
        if self.key.startswith("garden"):
            parts.append("flags interval")
        return f"{'map' if self.policed else 'set'} {self.name} {{ {'; '.join(parts)}; }}"


def class_name(tag: int) -> str:
    """``4`` or ``6_<length>``."""
    return "4" if tag == plan.V4_TAG else f"6_{tag}"


def set_name(role: str, tag: int, generation: int) -> str:
    """The set that holds ``role`` for keys with ``tag``."""
    return f"{role}{class_name(tag)}_g{generation}"


def garden_name(garden: str, family: int, generation: int) -> str:
    """The set of one garden for one family."""
    return f"{garden}{family}_g{generation}"


def element_set(role: str, tag: int, generation: int, size: int = 0) -> SetSpec:
    """The declaration of an element set."""
    key = "ipv4" if tag == plan.V4_TAG else "ipv6"
    return SetSpec(set_name(role, tag, generation), key, role in plan.TIMED, role in plan.POLICED, size)


def garden_sets(generation: int) -> list[SetSpec]:
    """The declarations of the garden sets."""
    return [SetSpec(garden_name(g, f, generation), f"garden{f}") for g in GARDENS for f in (4, 6)]
