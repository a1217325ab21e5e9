"""A transaction is a value: a list of verbs on objects, built purely, executed once by a backend.

Two backends execute it: the kernel (``socket.py`` with ``codec.py``) and the atomic fake (``fake.py``). Either all
of it happens or none. ``text()`` prints it for people.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from edged.nft.expr import Rule, rule_text
from edged.nft.schema import Chain
from edged.nft.sets import SetSpec

KEY_BYTES = {"ipv4": 4, "ipv6": 16, "garden4": 12, "garden6": 24}
"""Bytes of one packed element key, by the key kind of a set (nf_tables pads each field to four bytes)."""


def split(keys: bytes, kind: str) -> list[bytes]:
    """Packed keys as a list."""
    width = KEY_BYTES[kind]
    return [keys[i : i + width] for i in range(0, len(keys), width)]


class AddTable(NamedTuple):
    """Make the table, or adopt it when it is an orphan. ``flags``: NFTA_TABLE_FLAGS."""

    flags: int


class DelTable(NamedTuple):
    """Remove the table and all in it."""


class AddChain(NamedTuple):
    """Make a chain unless it is there."""

    chain: Chain


class FlushRules(NamedTuple):
    """Remove every rule of the table."""


class AddRule(NamedTuple):
    """Append a rule to a chain."""

    chain: str
    rule: Rule


class AddSet(NamedTuple):
    """Make a set."""

    spec: SetSpec


class DelSet(NamedTuple):
    """Remove a set by name."""

    name: str


class AddCounter(NamedTuple):
    """Make a counter unless it is there."""

    name: str


class AddLimit(NamedTuple):
    """Make a policer unless it is there; ``rate`` in kbit/s."""

    name: str
    rate: int


class DelLimit(NamedTuple):
    """Remove a policer."""

    name: str


@dataclass(frozen=True, slots=True)
class AddElements:
    """Add elements to one set: ``keys`` packed one behind the other.

    Timed sets need ``timeouts`` (ms from now, one a key), policed maps ``objects`` (names, one a key), gardens
    ``ends`` (packed, inclusive).
    """

    spec: SetSpec
    keys: bytes
    timeouts: tuple[int, ...] = ()
    objects: tuple[str, ...] = ()
    ends: bytes = b""


@dataclass(frozen=True, slots=True)
class DelElements:
    """Remove elements. With ``maybe`` a missing one is no error (timed elements may have ended meanwhile)."""

    spec: SetSpec
    keys: bytes
    ends: bytes = b""
    maybe: bool = False


Operation = (
    AddTable
    | DelTable
    | AddChain
    | FlushRules
    | AddRule
    | AddSet
    | DelSet
    | AddCounter
    | AddLimit
    | DelLimit
    | AddElements
    | DelElements
)


@dataclass(slots=True)
class Transaction:
    """Operations in order."""

    operations: list[Operation] = field(default_factory=list)

    def add(self, *operations: Operation) -> Transaction:
        """Append and return itself."""
        self.operations += operations
        return self

    def __bool__(self) -> bool:
        return bool(self.operations)

    def text(self) -> str:
        """One line an operation, elements as counts: for logs at debug level and for tests."""
        return "\n".join(_describe(o) for o in self.operations)


def _describe(op: Operation) -> str:
    match op:
        case AddRule(chain, rule):
            return f"add rule {chain} {rule_text(rule)}"
        case AddSet(spec):
            return f"add {spec.text()}"
        case AddElements(spec, keys):
            return f"add element {spec.name} ({len(keys) // KEY_BYTES[spec.key]})"
        case DelElements(spec, keys):
            return f"delete element {spec.name} ({len(keys) // KEY_BYTES[spec.key]})"
        case _:
            return f"{type(op).__name__} {' '.join(str(v) for v in op)}"


class TableInfo(NamedTuple):
    """The table as the kernel has it. ``owner``: port id of the owning socket, None without one.

    A table whose owner died has flag ``persist`` alone: an orphan, which anybody may change and one may adopt.
    """

    flags: int
    owner: int | None


class Backend(Protocol):
    """Who executes transactions and answers questions about our table. Not safe for several threads."""

    def commit(self, transaction: Transaction) -> None:
        """Execute all of it or raise a KernelError; returns when the kernel has acknowledged."""

    def table(self) -> TableInfo | None:
        """The table, or None."""

    def sets(self) -> list[str]:
        """Names of the table's sets (no anonymous ones)."""

    def chains(self) -> list[str]:
        """Names of the table's chains."""

    def limits(self) -> list[str]:
        """Names of the policers."""

    def counters(self) -> Mapping[str, tuple[int, int]]:
        """Counter name -> (packets, bytes)."""

    def rule_count(self) -> int:
        """How many rules the table has."""

    def holds(self, spec: SetSpec, key: bytes) -> int | None:
        """None when ``key`` is not in the set, else the ms until it times out (0: never)."""

    def dump(self, spec: SetSpec) -> Iterable[bytes]:
        """All keys of a set; for tests and small sets."""

    def claims(self) -> int:
        """The table flags to ask for here (owner and persist, where this kernel knows them), else 0."""

    def close(self) -> None:
        """Let go of the kernel; a table with the persist flag stays."""
