"""``bpf/edged.h`` in numpy: what the maps hold, as arrays and back. Pure.

Addresses in network order, numbers in the machine's, padding zero; a test has the compiler compare every size and place
with the header. Times are CLOCK_MONOTONIC ns.
"""

from __future__ import annotations

import enum
import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from edged.domain.entry import Entry
from edged.errors import EdgedError
from edged.plan import V4_TAG

VERSION = 3
SLOTS, LENGTHS, GARDENS, ANSWER, FLOWS, MACS, VLANS, LINKS = 2, 8, 16, 1024, 262_144, 4, 4096, 4096
MAPS = ("live", "settings", "restricted4", "restricted6", "gardens_of", "links", "counters", "answered")

Array = npt.NDArray[np.void] | npt.NDArray[np.uint8]
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

KEY4 = np.dtype(("u1", (4,)))
KEY6 = np.dtype([("length", "u1"), ("pad", "u1", (3,)), ("address", "u1", (16,))])
ENTRY = np.dtype(
    [
        ("until", "u8"),
        *((name, "u4") for name in ("tat", "proven", "heard")),
        ("level", "u1"),
        ("lift", "u1"),
        ("pad", "u1", (2,)),
    ]
)
LIVE = np.dtype([("slot", "u4"), ("changes", "u4")])
NETWORK = np.dtype([("family", "u1"), ("length", "u1"), ("pad", "u1", (2,)), ("address", "u1", (16,))])
TEXT = np.dtype([("length", "u4"), ("sum", "u4"), ("bytes", "u1", (ANSWER,))])
MASK = np.dtype([("length", "u4"), ("bits", "u1", (16,))])
SETTINGS = np.dtype(
    [
        ("layout", "u4"),
        ("flags", "u4"),
        ("seed", "u8"),
        ("cost", "u8"),
        ("burst", "u8"),
        ("port", ">u2"),
        ("n_lengths6", "u1"),
        ("n_gardens4", "u1"),
        ("n_gardens6", "u1"),
        ("pad", "u1", (3,)),
        ("lengths6", MASK, (LENGTHS,)),
        ("gardens4", MASK, (GARDENS,)),
        ("gardens6", MASK, (GARDENS,)),
        ("answers", TEXT, (4,)),
    ]
)
LINK = np.dtype([("flags", "u4"), ("pad", "u4"), ("macs", "u1", (MACS, 8)), ("vlans", "u8", (VLANS // 64,))])

DROP_BLOCKED, NARROW = 1, 2
OPEN_GARDEN, WALLED_GARDEN = 1, 2
GARDEN_BITS: Mapping[str, int] = {"open": OPEN_GARDEN, "garden": WALLED_GARDEN}


class LayoutError(EdgedError):
    """The settings cannot be said in the maps; ``str()`` names what and the remedy."""


class Action(enum.IntEnum):
    """What became of a packet; the place in ``counters``. The lower-case name is the metric's label."""

    PASS_OPEN = 0
    PASS_GARDEN = 1
    PASS_LOCAL = 2
    PASS_SOCKET = 3
    PASS_ODD = 4
    SYN_ACK = 5
    REDIRECT = 6
    REDIRECT_EARLY = 7
    REFUSED = 8
    REPEAT = 9
    ACK = 10
    DROP_ACK = 11
    DROP_EARLY = 12
    DROP_RATE = 13
    DROP_BLOCKED_RATE = 14

    @property
    def word(self) -> str:
        """The label: lower case."""
        return self.name.lower()


class Frames(enum.IntFlag):
    """Which frames of an interface come from subscribers: IP itself, or in PPPoE sessions, behind 0, 1 or 2 tags."""

    PLAIN = 1
    VLAN = 2
    QINQ = 4
    PPPOE = 8
    PPPOE_VLAN = 16
    PPPOE_QINQ = 32
    ALL = 63


class Answers(NamedTuple):
    """What the program says, whole HTTP answers; the same bytes as the redirector's."""

    found: bytes
    found_no_body: bytes
    bad: bytes

    @property
    def short(self) -> bytes:
        """The 302 in as few bytes as can be: a small request's frame may have no room for more (veth pairs)."""
        status, *fields = self.found_no_body.removesuffix(b"\r\n\r\n").split(b"\r\n")
        kept = [f for f in fields if not f.lower().startswith((b"content-type:", b"content-length:"))]
        return b"\r\n".join([status, *kept, b"Content-Length: 0", b"", b""])


class Settings(NamedTuple):
    """What the program goes by. ``lengths6`` in the order of the nft rules.

    ``rate`` is how many connections an address may begin a second, ``burst`` how many at once. The same numbers hold,
    apart from that, for the requests of those who have proved their address.
    """

    answers: Answers
    lengths6: tuple[int, ...] = (64, 56)
    port: int = 80
    rate: int = 100
    burst: int = 200
    drop_blocked: bool = False


class Held(NamedTuple):
    """What a map holds for one address. ``until`` in CLOCK_MONOTONIC ns, 0 for no promise."""

    level: int
    lift: int = 0
    until: int = 0


class GardenTable(NamedTuple):
    """The gardens as keys and values, and the prefix lengths in use."""

    keys: npt.NDArray[np.void]
    values: npt.NDArray[np.uint32]
    lengths4: tuple[int, ...]
    lengths6: tuple[int, ...]


# -- addresses --------------------------------------------------------------------------------------------------------


def keys(tag: int, packed: bytes) -> Array:
    """The keys of one tag (4, or an IPv6 prefix length), given packed without it, as in :class:`edged.plan.Run`."""
    if tag == V4_TAG:
        return np.frombuffer(packed, np.uint8).reshape(-1, 4)
    out = np.zeros(len(packed) // 16, KEY6)
    out["length"] = tag
    out["address"] = np.frombuffer(packed, np.uint8).reshape(-1, 16)
    return out


def key(tagged: bytes) -> bytes:
    """One address key of ``plan.py`` (tag byte, address) as the map's."""
    return tagged[1:] if tagged[0] == V4_TAG else tagged[:1] + b"\0\0\0" + tagged[1:]


def tagged(family: int, key: bytes) -> bytes:
    """A map's key as one of ``plan.py``: the other way round."""
    return bytes([V4_TAG]) + key if family == 4 else key[:1] + key[4:]


def family(tag: int) -> int:
    """4 or 6: which of the two maps holds keys with ``tag``."""
    return 4 if tag == V4_TAG else 6


def values(held: Iterable[Held]) -> npt.NDArray[np.void]:
    """The values to write, one for each address."""
    rows = list(held)
    out = np.zeros(len(rows), ENTRY)
    out["level"], out["lift"], out["until"] = zip(*rows, strict=True) if rows else ([], [], [])
    return out


def same(level: int, count: int) -> npt.NDArray[np.void]:
    """``count`` times the same level without a promise: nearly everybody."""
    out = np.zeros(count, ENTRY)
    out["level"] = level
    return out


def held(value: bytes) -> Held:
    """A value as read from a map; what the program itself keeps there is left out."""
    row = np.frombuffer(value, ENTRY)[0]
    return Held(int(row["level"]), int(row["lift"]), int(row["until"]))


def of_entry(entry: Entry, now_ms: int, monotonic_ns: int) -> Held:
    """What a kernel entry means at Unix ms ``now_ms``, which is ``monotonic_ns`` of CLOCK_MONOTONIC.

    A promise that has ended, or that lifts nothing, is none; one too far away for the clock ends with its last tick.
    """
    if not entry.until or entry.until <= now_ms or entry.lift >= entry.level:
        return Held(entry.level)
    return Held(entry.level, entry.lift, min(monotonic_ns + (entry.until - now_ms) * 1_000_000, 2**63 - 1))


# -- gardens ----------------------------------------------------------------------------------------------------------


def gardens(networks: Mapping[str, Iterable[Network]]) -> GardenTable:
    """The table for the gardens ``open`` and ``garden``; ports do not matter here (the nft rules look at them).

    Where more prefix lengths are in use than the program tries, the narrowest networks are taken wider: what then
    passes without need is decided by the nft rules as everything that passes.
    """
    wanted: dict[Network, int] = {}
    for garden, members in networks.items():
        for network in members:
            wanted[network] = wanted.get(network, 0) | GARDEN_BITS[garden]
    lengths = {v: _lengths({n.prefixlen for n in wanted if n.version == v}) for v in (4, 6)}
    found: dict[tuple[int, int, bytes], int] = {}
    for network, bits in wanted.items():
        length = max(n for n in lengths[network.version] if n <= network.prefixlen)
        wide = network.supernet(new_prefix=length)
        place = (network.version, length, wide.network_address.packed)
        found[place] = found.get(place, 0) | bits
    table = np.zeros(len(found), NETWORK)
    for row, (version, length, packed) in zip(table, found, strict=True):
        row["family"], row["length"] = version, length
        row["address"][: len(packed)] = np.frombuffer(packed, np.uint8)
    return GardenTable(table, np.fromiter(found.values(), np.uint32, len(found)), lengths[4], lengths[6])


def _lengths(used: set[int]) -> tuple[int, ...]:
    return tuple(sorted(used)[:GARDENS])


# -- settings ---------------------------------------------------------------------------------------------------------


def settings(wanted: Settings, table: GardenTable, seed: int) -> bytes:
    """The value of one slot of ``settings``. Raises LayoutError with what does not fit."""
    if len(wanted.lengths6) > LENGTHS:
        raise LayoutError(
            f"network.ipv6_prefix_lengths: XDP tries at most {LENGTHS} prefix lengths, {len(wanted.lengths6)} are set;"
            ' take some out, or set xdp.mode = "off"'
        )
    out = np.zeros(1, SETTINGS)
    row = out[0]
    row["layout"], row["seed"] = VERSION, seed
    row["flags"] = DROP_BLOCKED * wanted.drop_blocked | NARROW * any(length > 64 for length in wanted.lengths6)
    row["cost"], row["burst"] = 1_000_000_000 // wanted.rate, 1_000_000_000 // wanted.rate * wanted.burst
    row["port"] = wanted.port
    for name, lengths in (
        ("lengths6", wanted.lengths6),
        ("gardens4", table.lengths4),
        ("gardens6", table.lengths6),
    ):
        row[f"n_{name}"] = len(lengths)
        for place, length in zip(row[name], lengths, strict=False):
            place["length"] = length
            place["bits"] = np.packbits(np.arange(128) < length)
    for text, answer in zip(row["answers"], (*wanted.answers, wanted.answers.short), strict=True):
        if len(answer) > ANSWER:
            raise LayoutError(
                f"portal.url: the answer that names it has {len(answer)} bytes, XDP sends at most {ANSWER} in its one"
                ' segment; shorten it, or set xdp.mode = "off"'
            )
        text["length"], text["sum"] = len(answer), word_sum(answer)
        text["bytes"][: len(answer)] = np.frombuffer(answer, np.uint8)
    return out.tobytes()


def word_sum(data: bytes) -> int:
    """Sum of the 16-bit words as the machine reads them, an odd byte filled up; not folded."""
    return int(np.frombuffer(data + b"\0" * (len(data) % 2), np.uint16).sum(dtype=np.uint64))


def link(frames: Frames, macs: Iterable[bytes], vlans: Iterable[int] | None = None) -> bytes:
    """The value of ``links`` for an interface.

    ``macs``: the hardware addresses that the gateway has there, at most MACS. ``vlans``: outer VLAN ids behind which
    subscribers are; None: all.
    """
    out = np.zeros(1, LINK)
    out[0]["flags"] = frames
    for place, mac in zip(out[0]["macs"], macs, strict=False):
        place[:6] = np.frombuffer(mac, np.uint8)
    bits = np.zeros(VLANS, np.uint8)
    bits[slice(None) if vlans is None else sorted(vlans)] = 1
    out[0]["vlans"] = np.packbits(bits, bitorder="little").view(np.uint64)
    return out.tobytes()


def counted(raw: bytes, cpus: int) -> dict[str, int]:
    """The counters by action, summed over processors; ``raw``: ``cpus`` numbers of eight bytes for each action."""
    sums: Sequence[int] = np.frombuffer(raw, np.uint64).reshape(len(Action), cpus).sum(axis=1).tolist()
    return {action.word: int(n) for action, n in zip(Action, sums, strict=True)}
