"""Addresses and prefixes to keys and back: pure.

A key is a tag byte and the address in network order (see ``plan.py``): tag 4 and 4 bytes for one IPv4 address, the
prefix length in bits and 16 bytes for an IPv6 prefix.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from dataclasses import dataclass, field

from edged.domain.rejection import Rejected

V4_TAG = 4
WIDEST_V4 = 24
MULTICAST_V4 = 224
"""First byte from which on IPv4 is multicast or reserved."""
UNIQUE_LOCAL_V6 = 0xFC >> 1
"""First seven bits of fc00::/7."""
MOST_KEYS = 256
"""A prefix is expanded to at most this many keys: an IPv4 /24, or eight bits of IPv6."""

_WRITTEN = re.compile(r"[0-9A-Fa-f:.]+(/[0-9]{1,3})?")
_LIKE_AN_ADDRESS = re.compile(
    r"[0-9]+(\.[0-9]+){3}(/.*)?|[0-9A-Fa-f:.]*::[0-9A-Fa-f:.]*(/.*)?|([0-9A-Fa-f]{1,4}:){7}.*"
)
"""Dotted quads and IPv6; a MAC address, which some use as a login, is neither."""

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True)
class Addressing:
    """What counts as a subscriber's address here: IPv6 prefix lengths in bits, and networks nobody may restrict."""

    prefix_lengths: tuple[int, ...] = (64, 56)
    protected: tuple[Network, ...] = ()
    _ranges: tuple[tuple[int, int, int], ...] = field(init=False, repr=False, compare=False)
    """(bits of an address, first, last) of each of them: comparing numbers takes a tenth of comparing networks."""

    def __post_init__(self) -> None:
        ranges = tuple((n.max_prefixlen, int(n.network_address), int(n.broadcast_address)) for n in self.protected)
        object.__setattr__(self, "_ranges", ranges)

    def keys(self, text: str) -> list[bytes]:
        """The keys of an address or prefix.

        Raises Rejected ``bad_address`` (not an address, host bits set, too wide, a length not configured) or
        ``address_protected``.
        """
        quick = self._quick(text)
        if quick is not None:
            return [quick]
        network = parse(text)
        _refuse_special(network, text)
        self._refuse_protected(network, text)
        return self._v4(network, text) if isinstance(network, ipaddress.IPv4Network) else self._v6(network, text)

    def _quick(self, text: str) -> bytes | None:
        """The key of a plain IPv4 address or a delegated prefix, which nearly all are; None: look closely."""
        head, slash, tail = text.partition("/")
        try:
            if ":" not in head:
                if slash:
                    return None
                packed = socket.inet_pton(socket.AF_INET, head)
                if packed[0] in (0, 127) or packed[0] >= MULTICAST_V4:
                    return None
                tag, length = V4_TAG, 32
            else:
                packed = socket.inet_pton(socket.AF_INET6, head)
                unicast = packed[0] >> 5 == 1 or packed[0] >> 1 == UNIQUE_LOCAL_V6
                tag = length = int(tail)
                if length not in self.prefix_lengths or tail != str(length) or not unicast:
                    return None
        except (OSError, ValueError):
            return None
        bits = 8 * len(packed)
        value = int.from_bytes(packed)
        if value & ((1 << (bits - length)) - 1):
            return None
        last = value | ((1 << (bits - length)) - 1)
        for version, low, high in self._ranges:
            if version == bits and low <= last and value <= high:
                return None
        return bytes([tag]) + packed

    def covers(self, key: bytes) -> list[bytes]:
        """The shorter configured prefixes that ``key`` lies in; none for IPv4, whose addresses are stored singly."""
        if key[0] == V4_TAG:
            return []
        network = ipaddress.IPv6Network((key[1:], key[0]))
        shorter = (n for n in self.prefix_lengths if n < key[0])
        return [bytes([n]) + network.supernet(new_prefix=n).network_address.packed for n in shorter]

    def insides(self, key: bytes) -> list[tuple[bytes, bytes]]:
        """First and last key of each longer configured prefix length inside ``key``."""
        if key[0] == V4_TAG:
            return []
        last = int.from_bytes(ipaddress.IPv6Network((key[1:], key[0])).broadcast_address.packed)
        out: list[tuple[bytes, bytes]] = []
        for n in (n for n in self.prefix_lengths if n > key[0]):
            highest = (last >> (128 - n) << (128 - n)).to_bytes(16)
            out.append((bytes([n]) + key[1:], bytes([n]) + highest))
        return out

    def lookup(self, text: str) -> list[bytes]:
        """The keys under which a single address (or an exact prefix) may be stored, most specific first."""
        try:
            return [bytes([V4_TAG]) + socket.inet_pton(socket.AF_INET, text)]  # what nearly all are
        except (OSError, ValueError):
            pass
        network = parse(text)
        if isinstance(network, ipaddress.IPv4Network):
            return [bytes([V4_TAG]) + network.network_address.packed]
        out: list[bytes] = []
        for length in sorted(self.prefix_lengths, reverse=True):
            if length <= network.prefixlen:
                wide = network.supernet(new_prefix=length)
                out.append(bytes([length]) + wide.network_address.packed)
        return out

    @staticmethod
    def _v4(network: ipaddress.IPv4Network, text: str) -> list[bytes]:
        if network.prefixlen < WIDEST_V4:
            raise Rejected("bad_address", f"{text} is wider than /{WIDEST_V4}; name each /{WIDEST_V4} by itself")
        first = int(network.network_address)
        return [bytes([V4_TAG]) + (first + i).to_bytes(4, "big") for i in range(network.num_addresses)]

    def _v6(self, network: ipaddress.IPv6Network, text: str) -> list[bytes]:
        fitting = [n for n in self.prefix_lengths if n >= network.prefixlen]
        listed = ", ".join(f"/{n}" for n in self.prefix_lengths)
        if not fitting:
            raise Rejected(
                "bad_address",
                f"{text} is longer than every length in network.ipv6_prefix_lengths ({listed}); "
                "give the subscriber's delegated prefix",
            )
        length = min(fitting)
        if 1 << (length - network.prefixlen) > MOST_KEYS:
            raise Rejected("bad_address", f"{text} is more than {MOST_KEYS} prefixes of /{length}; give narrower ones")
        return [bytes([length]) + n.network_address.packed for n in network.subnets(new_prefix=length)]

    def _refuse_protected(self, network: Network, text: str) -> None:
        for p in self.protected:
            if p.overlaps(network):
                raise Rejected("address_protected", f"{text} touches {p}, which network.protected lists")


def parse(text: str) -> Network:
    """An address or prefix without host bits. Raises Rejected ``bad_address``."""
    try:
        if not _WRITTEN.fullmatch(text):
            raise ValueError("not an address or a prefix with its length in bits")
        return ipaddress.ip_network(text)
    except ValueError as e:
        raise Rejected("bad_address", f"{text!r:.80}: {e}; write 100.64.0.10 or 2001:db8:0:100::/56") from None


def _refuse_special(network: Network, text: str) -> None:
    a = network.network_address
    if isinstance(a, ipaddress.IPv4Address):
        special = a.packed[0] in (0, 127) or a.packed[0] >= MULTICAST_V4
    else:
        special = a.is_multicast or a.is_loopback or a.is_unspecified or a.is_link_local
    if special:
        raise Rejected("bad_address", f"{text} is not an address that a subscriber can have")


def may_be_address(text: str) -> bool:
    """A quick look, once for each command: False where ``text`` neither is an address nor looks like one."""
    return ":" in text or text[:1].isdigit()


def check_name(sub: str) -> None:
    """Raise Rejected ``bad_address`` for a subscriber's name that was meant to be an address and is not one."""
    if may_be_address(sub) and literal(sub) is None and _LIKE_AN_ADDRESS.fullmatch(sub):
        parse(sub)
        raise Rejected("bad_address", f"{sub!r:.80} looks like an address and is none")


def literal(text: str) -> str | None:
    """The canonical form where ``text`` is an address or prefix, else None."""
    if not may_be_address(text):
        return None
    if "/" not in text and ":" not in text:
        try:
            socket.inet_pton(socket.AF_INET, text)
        except (OSError, ValueError):
            return None
        return text
    try:
        network = ipaddress.ip_network(text)
    except ValueError:
        return None
    whole = network.prefixlen == network.max_prefixlen
    return str(network.network_address) if whole else str(network)


def words(key: bytes) -> str:
    """A key as people write it."""
    if key[0] == V4_TAG:
        return socket.inet_ntop(socket.AF_INET, key[1:])
    return f"{socket.inet_ntop(socket.AF_INET6, key[1:])}/{key[0]}"
