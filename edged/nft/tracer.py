"""Walks a packet through the fake's rules: answers "does this subscriber reach that?" without a kernel.

It knows every statement of ``expr.py`` and fails on one it does not know, so that no rule can be added that tests
silently ignore.
"""

from __future__ import annotations

import fnmatch
import ipaddress
from dataclasses import dataclass, replace

from edged.nft import action, expr
from edged.nft.fake import FakeBackend
from edged.nft.sets import SetSpec

TCP, UDP, ICMP, ICMPV6 = 6, 17, 1, 58


@dataclass(frozen=True, slots=True)
class Packet:
    """A packet as it enters the gateway. ``known``: a transparent socket of the portal already holds it."""

    source: str
    destination: str
    protocol: int = TCP
    sport: int = 40000
    dport: int = 443
    syn: bool = True
    icmp_type: int = 8
    iif: str = ""
    oif: str = ""
    local: bool = False
    known: bool = False
    mark: int = 0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of it: ``pass``, ``portal``, ``reset``, ``prohibited`` or ``drop``; the counters it touched."""

    fate: str
    counters: tuple[str, ...] = ()
    mark: int = 0


class Tracer:
    """Traces over one fake. ``over_rate``: policers let nothing more through."""

    def __init__(self, fake: FakeBackend, *, portal_up: bool = True, over_rate: bool = False) -> None:
        self._fake = fake
        self._portal_up = portal_up
        self._over_rate = over_rate

    def trace(self, packet: Packet) -> Outcome:
        """Prerouting, then, for what is forwarded, the forward hook."""
        up = self._hook("prerouting", packet)
        if up.fate != "pass" or packet.local:
            return up
        down = self._hook("forward", packet)
        return replace(down, counters=up.counters + down.counters)

    @property
    def _rules(self) -> list[tuple[str, expr.Rule]]:
        return self._fake.state.rules if self._fake.state else []

    def _hook(self, chain: str, packet: Packet) -> Outcome:
        counters: list[str] = []
        fate, mark = self._chain(chain, packet, counters)
        return Outcome(fate or "pass", tuple(counters), mark)

    def _chain(self, chain: str, packet: Packet, counters: list[str]) -> tuple[str, int]:
        """Fate (empty: the end of the chain was reached) and mark."""
        mark = packet.mark
        for rule in (r for c, r in self._rules if c == chain):
            fate, mark = self._rule(rule, replace(packet, mark=mark), counters)
            if fate:
                return fate, mark
        return "", mark

    def _rule(self, rule: expr.Rule, packet: Packet, counters: list[str]) -> tuple[str, int]:
        mark, portal = packet.mark, False
        for statement in rule:
            match statement:
                case action.Count(name):
                    counters.append(name)
                case action.Mark(bit):
                    mark |= bit
                case action.Tproxy() | expr.OwnSocket():
                    portal = self._portal_up if isinstance(statement, action.Tproxy) else packet.known
                    if not portal:
                        break
                case action.Reject(how):
                    return ("reset" if how == "tcp" else "prohibited"), mark
                case action.Verdict():
                    return self._verdict(statement, replace(packet, mark=mark), counters, portal)
                case _:
                    if not self._matches(statement, packet):
                        break
        return "", mark

    def _verdict(self, verdict: action.Verdict, packet: Packet, counters: list[str], portal: bool) -> tuple[str, int]:
        if verdict.name == "accept":
            return ("portal" if portal else "pass"), packet.mark
        if verdict.name == "drop":
            return "drop", packet.mark
        fate, mark = self._chain(verdict.chain, packet, counters)
        # What a chain one went to leaves undecided is decided by the base chain's policy.
        return fate or ("pass" if verdict.name == "goto" else ""), mark

    def _matches(self, statement: expr.Statement, packet: Packet) -> bool:
        match statement:
            case expr.Interface(direction, name):
                have = packet.iif if direction == "iif" else packet.oif
                return fnmatch.fnmatchcase(have, name)
            case expr.Address(side, length, name):
                key = self._key(packet, side, length)
                return key is not None and self._held(name, "ipv4" if length == expr.WHOLE4 else "ipv6", key)
            case expr.Policer(side, length, name):
                key = self._key(packet, side, length)
                kind = "ipv4" if length == expr.WHOLE4 else "ipv6"
                return not self._over_rate and key is not None and self._held(name, kind, key, policed=True)
            case expr.Garden(side, family, name):
                return self._in_garden(packet, side, family, name)
            case expr.Destination(kind):
                address = ipaddress.ip_address(packet.destination)
                return {"local": packet.local, "multicast": address.is_multicast, "broadcast": False}[kind]
            case expr.Icmp(family, low, high):
                proto = ICMP if family == 4 else ICMPV6
                return packet.protocol == proto and low <= packet.icmp_type <= high
            case expr.Family(family):
                return ipaddress.ip_address(packet.source).version == family
            case expr.Tcp():
                return packet.protocol == TCP
            case expr.Http(family, opening):
                right = ipaddress.ip_address(packet.source).version == family
                return right and packet.protocol == TCP and packet.dport == 80 and (packet.syn or not opening)
        raise NotImplementedError(f"the tracer does not know {statement!r}; teach it before using it in a rule")

    @staticmethod
    def _key(packet: Packet, side: str, length: int) -> bytes | None:
        address = ipaddress.ip_address(packet.source if side == "s" else packet.destination)
        if address.version != (4 if length == expr.WHOLE4 else 6):
            return None
        network = ipaddress.ip_network((address, length or 32), strict=False)
        return network.network_address.packed

    def _held(self, name: str, kind: str, key: bytes, *, policed: bool = False) -> bool:
        return self._fake.holds(SetSpec(name, kind, policed=policed), key) is not None

    def _in_garden(self, packet: Packet, side: str, family: int, name: str) -> bool:
        far = ipaddress.ip_address(packet.destination if side == "d" else packet.source)
        if far.version != family:
            return False
        port = packet.dport if side == "d" else packet.sport
        width = len(far.packed)
        for low, held in self._fake.elements(name).items():
            high = held.end
            if (
                low[:width] <= far.packed <= high[:width]
                and low[width] <= packet.protocol <= high[width]
                and int.from_bytes(low[width + 4 : width + 6]) <= port <= int.from_bytes(high[width + 4 : width + 6])
            ):
                return True
        return False
