"""The ruleset as data: one table, static rules, sets that change. The path of a packet is written here once.

    prerouting   from a subscriber interface, source in @restricted ── no ──► on its way (one lookup)
        up_<class>      the gateway itself, multicast, neighbour discovery ──► accept
                        @waived ► accept │ @waived_notice, @waived_reduced ► as that level
                        @blocked │ @reduced │ @notice ► that level │ in no other set ► walled
    forward      to a subscriber interface, destination in @restricted: the mirror image

``<class>`` is ``4`` for IPv4 addresses and ``6_56`` for IPv6 prefixes of 56 bits, and so on. Set names end in the
generation (``restricted4_g7``): a full resync fills the next generation and switches the rules over in one
transaction. Chains, counters and rules are the same for every generation.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from edged import plan
from edged.nft.action import Count, Mark, Reject, Tproxy, Verdict
from edged.nft.expr import (
    WHOLE4,
    Address,
    Destination,
    Family,
    Garden,
    Http,
    Icmp,
    Interface,
    OwnSocket,
    Policer,
    Rule,
    Statement,
    Tcp,
    rule_text,
)
from edged.nft.sets import GARDENS, SetSpec, class_name, element_set, garden_name, garden_sets, set_name

TABLE = "edged"
MANGLE = -150


@dataclass(frozen=True, slots=True)
class Chain:
    """A chain; base chains have a ``hook`` (0 prerouting, 2 forward)."""

    name: str
    hook: int | None = None

    def text(self) -> str:
        """The hook line in nft's words; empty for a regular chain."""
        if self.hook is None:
            return ""
        name = {0: "prerouting", 2: "forward"}[self.hook]
        return f"type filter hook {name} priority mangle; policy accept;"


@dataclass(frozen=True, slots=True)
class Settings:
    """What the rules depend on."""

    interfaces: tuple[str, ...]
    prefix_lengths: tuple[int, ...] = (64, 56)
    mark_bit: int = 0x10000
    http_port: int = 8880

    def classes(self) -> tuple[int, ...]:
        """Key tags: 4, then the IPv6 prefix lengths."""
        return (plan.V4_TAG, *self.prefix_lengths)


def all_sets(settings: Settings, generation: int, sizes: dict[tuple[str, int], int]) -> list[SetSpec]:
    """Every set of a generation. ``sizes``: (role, tag) -> declared size."""
    out = [element_set(r, t, generation, sizes.get((r, t), 0)) for t in settings.classes() for r in plan.ROLES]
    return out + garden_sets(generation)


ACCEPT = Verdict("accept")

COUNTERS = tuple(
    f"{level}_{direction}_{action}"
    for level, actions in {
        "waived": ("pass",),
        "notice": ("pass", "portal"),
        "reduced": ("pass", "garden", "police"),
        "walled": ("garden", "portal", "refuse"),
        "blocked": ("garden", "portal", "refuse"),
    }.items()
    for direction in ("up", "down")
    for action in actions
    if not (direction == "down" and action == "portal")
)
"""Counter objects: ``level_direction_action``; they outlive every resync."""


def chains(settings: Settings) -> list[Chain]:
    """Every chain, base chains last so that what they jump to exists."""
    names = ["exempt", "up_walled", "up_blocked", "down_walled", "down_blocked"]
    for tag in settings.classes():
        c = class_name(tag)
        names += [f"up_notice{c}", f"up_reduced{c}", f"up_{c}", f"down_reduced{c}", f"down_{c}"]
    names += ["from_subscriber6", "to_subscriber6", "from_subscriber", "to_subscriber"]
    return [Chain(n) for n in names] + [Chain("prerouting", 0), Chain("forward", 2)]


def _to_portal(settings: Settings, counter: str, *, opening: bool = False) -> list[Rule]:
    return [
        (Http(f, opening), Tproxy(f, settings.http_port), Mark(settings.mark_bit), Count(counter), ACCEPT)
        for f in (4, 6)
    ]


def _gardens(names: Sequence[str], side: str, generation: int, counter: str) -> list[Rule]:
    return [(Garden(side, f, garden_name(g, f, generation)), Count(counter), ACCEPT) for g in names for f in (4, 6)]


def _levels(direction: str, tag: int, generation: int) -> list[Rule]:
    """The choice of level for one class: promises first, then the level sets, else walled."""
    side, c = ("s", class_name(tag)) if direction == "up" else ("d", class_name(tag))
    length = WHOLE4 if tag == plan.V4_TAG else tag

    def held(role: str) -> Statement:
        return Address(side, length, set_name(role, tag, generation))

    notice: Rule = (Verdict("goto", f"up_notice{c}"),) if direction == "up" else (Count("notice_down_pass"), ACCEPT)
    return [
        (held(plan.WAIVED), Count(f"waived_{direction}_pass"), ACCEPT),
        (held(plan.WAIVED_NOTICE), *notice),
        (held(plan.WAIVED_REDUCED), Verdict("goto", f"{direction}_reduced{c}")),
        (held(plan.BLOCKED), Verdict("goto", f"{direction}_blocked")),
        (held(plan.REDUCED), Verdict("goto", f"{direction}_reduced{c}")),
        (held(plan.NOTICE), *notice),
        (Verdict("goto", f"{direction}_walled"),),
    ]


def rules(settings: Settings, generation: int) -> Iterable[tuple[str, Rule]]:
    """Every rule as (chain, rule), in order, with the sets of ``generation``."""
    g = generation
    for kind in ("local", "multicast", "broadcast"):
        yield "exempt", (Destination(kind), ACCEPT)
    yield "exempt", (Icmp(6, 133, 136), ACCEPT)  # neighbour discovery: refusing it would break the link itself

    for level, gardens in (("walled", ("open", "garden")), ("blocked", ("open",))):
        yield from ((f"up_{level}", r) for r in _gardens(gardens, "d", g, f"{level}_up_garden"))
        yield from ((f"up_{level}", r) for r in _to_portal(settings, f"{level}_up_portal"))
        yield f"up_{level}", (Tcp(), Count(f"{level}_up_refuse"), Reject("tcp"))
        yield f"up_{level}", (Count(f"{level}_up_refuse"), Reject("admin"))
        yield from ((f"down_{level}", r) for r in _gardens(gardens, "s", g, f"{level}_down_garden"))
        if level == "walled":
            # Path MTU discovery for what the garden lets through: errors come from routers in between.
            for errors in (Icmp(4, 3, 3), Icmp(4, 11, 12), Icmp(6, 1, 4)):
                yield "down_walled", (errors, Count("walled_down_garden"), ACCEPT)
        # The far end of an old connection hears at once; the subscriber's end is reset by its own next packet.
        yield f"down_{level}", (Tcp(), Count(f"{level}_down_refuse"), Reject("tcp"))
        yield f"down_{level}", (Count(f"{level}_down_refuse"), Verdict("drop"))

    for tag in settings.classes():
        c, length = class_name(tag), WHOLE4 if tag == plan.V4_TAG else tag
        family = 4 if tag == plan.V4_TAG else 6
        notice = f"up_notice{c}"
        # Connections the portal holds go on; others are only caught at their beginning: a notice never breaks one.
        yield notice, (Http(family), OwnSocket(), Mark(settings.mark_bit), Count("notice_up_portal"), ACCEPT)
        yield notice, (Address("s", length, set_name(plan.NOTIFIED, tag, g)), Count("notice_up_pass"), ACCEPT)
        yield (
            notice,
            (
                Http(family, opening=True),
                Tproxy(family, settings.http_port),
                Mark(settings.mark_bit),
                Count("notice_up_portal"),
                ACCEPT,
            ),
        )
        yield notice, (Count("notice_up_pass"), ACCEPT)
        for direction, side, far, role in (("up", "s", "d", plan.REDUCED_UP), ("down", "d", "s", plan.REDUCED_DOWN)):
            chain = f"{direction}_reduced{c}"
            for garden in GARDENS:  # a slow customer must be able to pay at full speed
                yield (
                    chain,
                    (
                        Garden(far, family, garden_name(garden, family, g)),
                        Count(f"reduced_{direction}_garden"),
                        ACCEPT,
                    ),
                )
            yield chain, (Policer(side, length, set_name(role, tag, g)), Count(f"reduced_{direction}_pass"), ACCEPT)
            yield chain, (Count(f"reduced_{direction}_police"), Verdict("drop"))
        yield f"up_{c}", (Verdict("jump", "exempt"),)
        yield from ((f"up_{c}", r) for r in _levels("up", tag, g))
        yield from ((f"down_{c}", r) for r in _levels("down", tag, g))
        suffix = "" if family == 4 else "6"
        yield (
            f"from_subscriber{suffix}",
            (Address("s", length, set_name(plan.RESTRICTED, tag, g)), Verdict("goto", f"up_{c}")),
        )
        yield (
            f"to_subscriber{suffix}",
            (Address("d", length, set_name(plan.RESTRICTED, tag, g)), Verdict("goto", f"down_{c}")),
        )
    # IPv6 apart: IPv4 pays one failed test for all prefix lengths together.
    yield "from_subscriber", (Family(6), Verdict("goto", "from_subscriber6"))
    yield "to_subscriber", (Family(6), Verdict("goto", "to_subscriber6"))
    for name in settings.interfaces:
        yield "prerouting", (Interface("iif", name), Verdict("goto", "from_subscriber"))
        yield "forward", (Interface("oif", name), Verdict("goto", "to_subscriber"))


def text(settings: Settings, generation: int, sizes: dict[tuple[str, int], int] | None = None) -> str:
    """The whole ruleset as nft reads it; sets without their elements."""
    out = [f"table inet {TABLE} {{"]
    out += [f"  counter {n} {{ }}" for n in COUNTERS]
    out += [f"  {s.text()}" for s in all_sets(settings, generation, sizes or {})]
    by_chain: dict[str, list[Rule]] = {}
    for chain, rule in rules(settings, generation):
        by_chain.setdefault(chain, []).append(rule)
    for c in chains(settings):
        out.append(f"  chain {c.name} {{")
        if c.hook is not None:
            out.append(f"    {c.text()}")
        out += [f"    {rule_text(r)}" for r in by_chain.get(c.name, [])]
        out.append("  }")
    return "\n".join([*out, "}", ""])
