"""The command ``garden`` (contract §1): what stays open, as networks, names and ports. Pure."""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated, Any

from msgspec import Meta, Struct, field
from msgspec.structs import force_setattr

from edged.domain.fields import Opaque, Shape

WIDEST_GARDEN = {4: 8, 6: 16}
"""The shortest prefix a garden list may name: a wrong export must not open the Internet to the blocked."""


class Port(Struct, frozen=True):
    """A port range of one or both protocols (6 TCP, 17 UDP)."""

    protocols: tuple[int, ...]
    first: int
    last: int


class GardenList(Shape, tag="garden", frozen=True, kw_only=True):
    """Replace the named garden list. A port is ``443``, ``"tcp/443"`` or ``"udp/5060-5061"``; a number means both."""

    name: Opaque
    networks: Annotated[list[Annotated[str, Meta(max_length=64)]], Meta(max_length=2000)] = field(default_factory=list)
    domains: Annotated[list[Annotated[str, Meta(max_length=255)]], Meta(max_length=500)] = field(default_factory=list)
    ports: Annotated[list[int | Annotated[str, Meta(max_length=20)]], Meta(max_length=100)] = field(
        default_factory=list
    )
    ref: Opaque | None = None

    def __post_init__(self) -> None:
        force_setattr(self, "networks", [_network(n) for n in self.networks])
        force_setattr(self, "domains", [_domain(d) for d in self.domains])
        if self.spans() and not self.networks and not self.domains:
            raise ValueError("ports: say whose, in networks or domains")

    def spans(self) -> list[Port]:
        """The ports as ranges. Raises ValueError naming the first that is none."""
        return [_port(p) for p in self.ports]

    def kept(self) -> dict[str, Any]:
        """The list as the store keeps it."""
        return {
            "networks": self.networks,
            "domains": self.domains,
            "ports": [{"protocols": list(p.protocols), "first": p.first, "last": p.last} for p in self.spans()],
        }


def _network(value: str) -> str:
    try:
        network = ipaddress.ip_network(value)
    except ValueError as e:
        raise ValueError(f"networks: {e}; write 192.0.2.0/24 or 2001:db8::/32") from None
    widest = WIDEST_GARDEN[network.version]
    if network.prefixlen < widest:
        raise ValueError(f"networks: {network} would open more than a garden; at widest a /{widest}")
    return str(network)


def _domain(value: str) -> str:
    name = value.rstrip(".").lower()
    try:
        labels = name.encode("idna").decode().split(".")
    except UnicodeError:
        labels = []
    if len(labels) < 2 or any(not x.replace("-", "").replace("_", "").isalnum() for x in labels):
        raise ValueError(f"domains: {value!r:.80} is not a domain name")
    return ".".join(labels)


def _port(value: int | str) -> Port:
    found = re.fullmatch(r"(?:(tcp|udp)/)?([0-9]{1,5})(?:-([0-9]{1,5}))?", str(value))
    first, last = (int(found[2]), int(found[3] or found[2])) if found else (1, 0)
    if not found or not 1 <= first <= last <= 65535:
        raise ValueError(f"ports: {value!r:.40} is not a port; write 443, tcp/443 or udp/5060-5061")
    return Port({None: (6, 17), "tcp": (6,), "udp": (17,)}[found[1]], first, last)
