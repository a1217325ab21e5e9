"""The lab's map: three namespaces, two cables, and who has which address.

::

    subscriber                      gateway                           internet
    wan0 ──────────────────── subs0     up0 ───────────────────────── lab0
    100.64.0.10…               100.64.0.1   198.51.100.1               198.51.100.10 www, .80 bank
    2001:db8:100:a00::/56 …    fe80::1      2001:db8:f::1              2001:db8:f::10 www, ::80 bank

All addresses are of documentation ranges and exist inside the namespaces only.
"""

from __future__ import annotations

from dataclasses import dataclass

from tests.lab.netns import Namespace

GATEWAY4, GATEWAY6 = "100.64.0.1", "2001:db8:100::1"
UPLINK4, UPLINK6 = "198.51.100.1", "2001:db8:f::1"
WWW4, WWW6 = "198.51.100.10", "2001:db8:f::10"
BANK4, BANK6 = "198.51.100.80", "2001:db8:f::80"
SITE_PORT = 8081
SITE_URL = f"http://{GATEWAY4}:{SITE_PORT}/"
SUBSCRIBER_INTERFACE = "subs0"


@dataclass(frozen=True)
class Person:
    """A subscriber of the lab: the id billing uses, an IPv4 address, a delegated /56 and two addresses out of it."""

    sub: str
    v4: str
    prefix: str

    @property
    def v6(self) -> str:
        """The usual IPv6 address, in the prefix's first /64."""
        return self.prefix.replace("::/56", "::10")

    @property
    def other_v6(self) -> str:
        """An address in the prefix's last /64, to see that the whole /56 is treated alike."""
        return self.prefix.replace("00::/56", "ff::10")

    @property
    def addresses(self) -> list[str]:
        """As a ``bind`` command names them."""
        return [self.v4, self.prefix]


DEBTOR = Person("C-1001", "100.64.0.10", "2001:db8:100:a00::/56")
NEIGHBOUR = Person("C-1002", "100.64.0.11", "2001:db8:100:b00::/56")
PROMISER = Person("C-1003", "100.64.0.12", "2001:db8:100:c00::/56")
PEOPLE = (DEBTOR, NEIGHBOUR, PROMISER)


@dataclass(frozen=True)
class Network:
    """The three namespaces, connected."""

    subscriber: Namespace
    gateway: Namespace
    internet: Namespace

    @classmethod
    def named(cls, tag: str) -> Network:
        """Names only; nothing is made yet."""
        return cls(Namespace(f"{tag}-sub"), Namespace(f"{tag}-gw"), Namespace(f"{tag}-net"))

    def create(self) -> None:
        """Make namespaces, cables, addresses and routes; the gateway forwards, nobody translates addresses."""
        for space in (self.subscriber, self.gateway, self.internet):
            space.create()
            # Addresses must be usable at once: no duplicate detection, no waiting for router advertisements.
            space.sysctl(net__ipv6__conf__default__accept_dad=0, net__ipv6__conf__default__accept_ra=0)
        self.gateway.ip(
            f"link add {SUBSCRIBER_INTERFACE} type veth peer name wan0 netns {self.subscriber.name}",
            f"link add up0 type veth peer name lab0 netns {self.internet.name}",
            f"link set {SUBSCRIBER_INTERFACE} up",
            "link set up0 up",
            f"addr add {GATEWAY4}/24 dev {SUBSCRIBER_INTERFACE}",
            f"addr add {GATEWAY6}/64 dev {SUBSCRIBER_INTERFACE} nodad",
            f"addr add fe80::1/64 dev {SUBSCRIBER_INTERFACE} nodad",
            f"addr add {UPLINK4}/24 dev up0",
            f"addr add {UPLINK6}/64 dev up0 nodad",
            f"route add 2001:db8:100::/48 dev {SUBSCRIBER_INTERFACE}",
        )
        self.subscriber.ip(
            "link set wan0 up",
            *(f"addr add {person.v4}/24 dev wan0" for person in PEOPLE),
            *(f"addr add {address}/128 dev wan0 nodad" for p in PEOPLE for address in (p.v6, p.other_v6)),
            f"route add default via {GATEWAY4}",
            "route add ::/0 via fe80::1 dev wan0",
        )
        self.internet.ip(
            "link set lab0 up",
            *(f"addr add {address}/24 dev lab0" for address in (WWW4, BANK4)),
            *(f"addr add {address}/64 dev lab0 nodad" for address in (WWW6, BANK6)),
            f"route add default via {UPLINK4}",
            f"route add ::/0 via {UPLINK6}",
        )
        self.gateway.sysctl(net__ipv4__ip_forward=1, net__ipv6__conf__all__forwarding=1)

    def delete(self) -> None:
        """Remove all three with whatever runs in them."""
        for space in (self.subscriber, self.gateway, self.internet):
            space.delete()
