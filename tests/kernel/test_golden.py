"""Our bytes are those that ``nft`` itself sends for the same command; and both read back as the same table.

Where they may differ, :func:`plain` says so and why.
"""

from __future__ import annotations

import json
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest

from edged import plan
from edged.domain.entry import Entry
from edged.nft import codec, nla, schema
from edged.nft.enforcer import Enforcer
from edged.nft.expr import rule_text
from edged.nft.garden import Opening, Range, ranges
from edged.nft.schema import Chain
from edged.nft.sets import SetSpec
from edged.nft.socket import KernelBackend
from edged.nft.transaction import (
    AddChain,
    AddCounter,
    AddElements,
    AddLimit,
    AddRule,
    AddSet,
    AddTable,
    DelElements,
    DelLimit,
    DelSet,
    DelTable,
    FlushRules,
    Operation,
    Transaction,
)
from edged.plan import Owned
from tests import worlds
from tests.lab.netns import Namespace
from tests.worlds import RULES, DictSource

RESTRICTED = SetSpec("restricted4_g1", "ipv4", size=4096)
RESTRICTED6 = SetSpec("restricted6_56_g1", "ipv6", size=8192)
WAIVED = SetSpec("waived4_g1", "ipv4", timed=True, size=4096)
POLICED = SetSpec("reduced_up4_g1", "ipv4", policed=True, size=4096)
POLICED6 = SetSpec("reduced_up6_56_g1", "ipv6", policed=True, size=4096)
GARDEN = SetSpec("garden4_g1", "garden4")
GARDEN6 = SetSpec("garden6_g1", "garden6")


def packed(*addresses: str) -> bytes:
    return b"".join(ip_address(a).packed for a in addresses)


def opened(*openings: Opening) -> tuple[bytes, bytes]:
    found: list[Range] = [r for o in openings for r in ranges([o], o.network.version)]
    return b"".join(r.low for r in found), b"".join(r.high for r in found)


WIDE = Opening(ip_network("198.51.100.0/24"))
HTTPS = Opening(ip_network("192.0.2.1/32"), 6, 6, 443, 444)
DNS6 = Opening(ip_network("2001:db8:f::80/128"), 17, 17, 53, 53)

OURS: dict[str, Operation] = {
    "add chain inet edged exempt": AddChain(Chain("exempt")),
    "add chain inet edged prerouting { type filter hook prerouting priority mangle; policy accept; }": AddChain(
        Chain("prerouting", 0)
    ),
    "add chain inet edged forward { type filter hook forward priority mangle; policy accept; }": AddChain(
        Chain("forward", 2)
    ),
    **{
        f"add {spec.text().replace(' ', ' inet edged ', 1)}": AddSet(spec)
        for spec in (
            RESTRICTED,
            RESTRICTED6,
            WAIVED,
            POLICED,
            POLICED6,
            GARDEN,
            GARDEN6,
            SetSpec("restricted4", "ipv4"),
        )
    },
    "add counter inet edged walled_up_refuse": AddCounter("walled_up_refuse"),
    "add limit inet edged s1_512_up_g1 { rate 64000 bytes/second burst 1500 bytes; }": AddLimit("s1_512_up_g1", 512),
    "add limit inet edged s1_64_up_g1 { rate 8000 bytes/second burst 7000 bytes; }": AddLimit("s1_64_up_g1", 64),
    "add element inet edged restricted4_g1 { 100.64.0.1, 100.64.0.2, 100.64.0.3 }": AddElements(
        RESTRICTED, packed("100.64.0.1", "100.64.0.2", "100.64.0.3")
    ),
    "add element inet edged restricted6_56_g1 { 2001:db8:0:100::, 2001:db8:0:200:: }": AddElements(
        RESTRICTED6, packed("2001:db8:0:100::", "2001:db8:0:200::")
    ),
    "add element inet edged waived4_g1 { 100.64.0.1 timeout 90s, 100.64.0.2 timeout 1ms }": AddElements(
        WAIVED, packed("100.64.0.1", "100.64.0.2"), (90_000, 1)
    ),
    'add element inet edged reduced_up4_g1 { 100.64.0.1 : "s1_512_up_g1" }': AddElements(
        POLICED, packed("100.64.0.1"), objects=("s1_512_up_g1",)
    ),
    "add element inet edged garden4_g1 { 198.51.100.0/24 . 0-255 . 0-65535, 192.0.2.1 . tcp . 443-444 }": AddElements(
        GARDEN, opened(WIDE, HTTPS)[0], ends=opened(WIDE, HTTPS)[1]
    ),
    "add element inet edged garden6_g1 { 2001:db8:f::80 . udp . 53 }": AddElements(
        GARDEN6, opened(DNS6)[0], ends=opened(DNS6)[1]
    ),
    "delete element inet edged restricted4_g1 { 100.64.0.1 }": DelElements(RESTRICTED, packed("100.64.0.1")),
    "delete element inet edged reduced_up4_g1 { 100.64.0.1 }": DelElements(POLICED, packed("100.64.0.1")),
    "delete element inet edged garden4_g1 { 198.51.100.0/24 . 0-255 . 0-65535 }": DelElements(
        GARDEN, opened(WIDE)[0], opened(WIDE)[1]
    ),
    "delete limit inet edged s1_512_up_g1": DelLimit("s1_512_up_g1"),
    "delete set inet edged restricted6_56_g1": DelSet("restricted6_56_g1"),
    "flush table inet edged": FlushRules(),
    "delete table inet edged": DelTable(),
    **{
        f"add rule inet edged {chain} {rule_text(rule)}": AddRule(chain, rule) for chain, rule in schema.rules(RULES, 1)
    },
}

Sent = list[tuple[int, bytes]]


def golden() -> dict[str, Sent]:
    """The file: command -> the messages nft sent, as (type, body)."""
    out: dict[str, Sent] = {}
    command = ""
    for line in (Path(__file__).parent / "golden.txt").read_text().splitlines():
        depth = len(line) - len(line.lstrip())
        if not line or line.startswith("#"):
            continue
        if depth == 0:
            command = line
            out[command] = []
        elif depth == 2:
            out[command].append((int(line), b""))
        else:
            kind, body = out[command][-1]
            out[command][-1] = (kind, body + bytes.fromhex(line))
    return out


GOLDEN = golden()

_NESTED: dict[int, dict[int, Any]] = {codec.NEWCHAIN: {4: {}}, codec.NEWSET: {9: {2: {1: {}}}}, codec.NEWOBJ: {4: {}}}
"""Message type -> the attributes that hold attributes, and those within them."""


def tree(body: bytes | memoryview, nested: dict[int, Any]) -> list[tuple[int, Any]]:
    """Attributes as (type, bytes or tree)."""
    return [(k, tree(v, nested[k]) if k in nested else bytes(v)) for k, v in nla.attrs(memoryview(body))]


def plain(kind: int, body: bytes) -> Any:
    """A message without what may differ between nft and us though it means the same.

    * the order of attributes of one level (the kernel reads them into a table);
    * set ids, with which nft ties messages of one transaction together where we use names;
    * element lists number their members in nft; the kernel does not look;
    * user data of maps and gardens, in which nft keeps byte orders for its own listing;
    * an empty object body on removal.
    """
    if kind == codec.NEWRULE:
        found = nla.table_of(memoryview(body))
        return nla.string(found[1]), nla.string(found[2]), [expression(v) for _, v in nla.attrs(found[4])]
    parts = tree(body, _NESTED.get(kind, {}))
    if kind in (codec.NEWSETELEM, codec.DELSETELEM):
        elements = [sorted(tree(v, {})) for _, v in nla.attrs(memoryview(dict(parts)[3]))]
        parts = [(k, elements if k == 3 else v) for k, v in parts if k != 4]
    if kind == codec.NEWSET:
        special = dict(parts)[3] not in (b"\0\0\0\0", b"\0\0\0\x10")
        parts = [(k, v) for k, v in parts if k != 10 and not (k == 13 and special)]
    if kind == codec.DELOBJ:
        parts = [(k, v) for k, v in parts if k != 4]
    return sorted(parts)


def expression(view: memoryview) -> tuple[str, list[tuple[int, bytes]]]:
    """One expression without what may differ though it means the same.

    * lookups by name alone where nft adds a set id, and no flags where nft leaves them out;
    * names with or without their closing zero; the socket's level 0 said or not;
    * a register by its 16-byte name (2) or that of its first four bytes (12).
    """
    parts = nla.table_of(view)
    name = nla.string(parts[1])
    data = {k: bytes(v) for k, v in nla.attrs(parts[2])} if 2 in parts else {}
    dropped = {"lookup": (4, 5), "objref": (5,), "socket": (3,)}.get(name, ())
    assert all(not any(data.get(k, b"")) for k in dropped if (name, k) not in {("lookup", 4), ("objref", 5)})
    data = {k: v for k, v in data.items() if k not in dropped}
    if name in ("objref", "lookup"):
        data = {k: v.rstrip(b"\0") for k, v in data.items()}
    if name in ("meta", "byteorder"):
        data = {k: b"\0\0\0\x02" if v == b"\0\0\0\x0c" else v for k, v in data.items()}
    return name, sorted(data.items())


@pytest.mark.parametrize("command", GOLDEN)
def test_our_bytes_are_those_of_nft(command: str) -> None:
    ours = [(w.kind, plain(w.kind, w.body)) for w in codec.encode(OURS[command])]
    assert ours == [(kind, plain(kind, body)) for kind, body in GOLDEN[command]]


def test_every_kind_of_statement_and_operation_is_held_against_nft() -> None:
    known = {type(s) for _, rule in schema.rules(RULES, 1) for s in rule}
    tested = {type(s) for c in GOLDEN for op in [OURS[c]] if isinstance(op, AddRule) for s in op.rule}
    assert tested == known
    assert {type(OURS[c]) for c in GOLDEN} >= {
        AddRule,
        AddSet,
        AddElements,
        DelElements,
        AddLimit,
        AddCounter,
        AddChain,
    }


@pytest.mark.parametrize(
    ("rate", "burst"), [(8, 14_000), (64, 7_000), (108, 1_500), (1024, 1_500), (100_000_000, 1_500)]
)
def test_a_policer_lets_a_second_and_ten_packets_at_least_through_at_once(
    space: Namespace, backend: KernelBackend, rate: int, burst: int
) -> None:
    backend.commit(Transaction([AddTable(0), AddLimit("x", rate)]))
    listed = json.loads(space.run("nft", "-j", "list", "limits").stdout)["nftables"][-1]["limit"]
    assert listed["rate"] * {"bytes": 1, "kbytes": 1024, "mbytes": 1 << 20}[listed["rate_unit"]] == rate * 125
    assert listed["burst"] * {"bytes": 1, "kbytes": 1024, "mbytes": 1 << 20}[listed["burst_unit"]] == burst


# -- the whole table -------------------------------------------------------------------------------------------------


def listing(space: Namespace) -> list[str]:
    """The table as nft lists it, without who owns it."""
    lines = space.run("nft", "-s", "list", "table", "inet", "edged").stdout.splitlines()
    return [line.split(" # progname")[0] for line in lines if line and "flags owner" not in line]


@pytest.mark.parametrize(
    "settings",
    [RULES, schema.Settings(("eth1",), (128, 48, 32), 0x80000000, 80), schema.Settings((), ())],
    ids=["usual", "unusual", "least"],
)
def test_text_and_bytes_make_the_same_table(settings: schema.Settings) -> None:
    with worlds.namespace() as by_text, worlds.namespace() as by_bytes:
        text = schema.text(settings, 1, {(r, t): 4096 for r in plan.ROLES for t in settings.classes()})
        assert by_text.run("nft", "-c", "-f", "-", stdin=text).stderr == ""
        by_text.run("nft", "-f", "-", stdin=text)
        with worlds.attached(by_bytes) as backend:
            enforcer = Enforcer(backend, settings)
            worlds.refill(enforcer, DictSource({}))
            assert enforcer.intact()
            assert listing(by_text) == listing(by_bytes)


def test_the_text_without_sizes_is_valid_too(space: Namespace) -> None:
    assert space.run("nft", "-c", "-f", "-", stdin=schema.text(RULES, 7)).returncode == 0
    assert space.run("nft", "list", "ruleset").stdout == ""


def test_nft_lists_our_elements_as_people_write_them(space: Namespace, backend: KernelBackend) -> None:
    enforcer = Enforcer(backend, RULES)
    enforcer.set_gardens({"garden": [WIDE, HTTPS, DNS6]})
    now = worlds.clock()
    worlds.refill(
        enforcer,
        DictSource(
            {
                worlds.v4(1): Owned(9, Entry(2, rate=512)),
                worlds.v6(1): Owned(9, Entry(2, rate=512)),
                worlds.v4(2): Owned(8, Entry(3, lift=0, until=now + 3_600_000)),
            }
        ),
    )
    shown = space.run("nft", "list", "table", "inet", "edged").stdout
    for text in (
        "elements = { 100.64.0.1, 100.64.0.2 }",
        "elements = { 2001:db8:0:100:: }",
        '100.64.0.1 : "s9_512_up_g1"',
        '2001:db8:0:100:: : "s9_512_down_g1"',
        "100.64.0.2 timeout ",
        "198.51.100.0/24 . 0-255 . 0-65535",
        "192.0.2.1 . tcp . 443-444",
        "2001:db8:f::80 . udp . 53",
    ):
        assert text in shown
