"""The small pure parts under the kernel's edge: messages, errors, transactions as text, sizes, the tracer's refusal."""

from __future__ import annotations

import errno
import struct

import pytest

from edged.errors import KernelBusy, KernelDenied, KernelError, KernelMismatch
from edged.nft import codec, nla
from edged.nft.action import Count, Verdict
from edged.nft.failure import kernel_error
from edged.nft.fake import FakeBackend
from edged.nft.generation import SMALLEST, declared_size
from edged.nft.schema import COUNTERS, Chain, Settings, rules
from edged.nft.sets import SetSpec
from edged.nft.tracer import Packet, Tracer
from edged.nft.transaction import (
    AddChain,
    AddCounter,
    AddElements,
    AddRule,
    AddSet,
    AddTable,
    DelElements,
    Transaction,
)

PLAIN = SetSpec("plain", "ipv4", size=8)


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.EBUSY, KernelBusy), (errno.EAGAIN, KernelBusy), (errno.ENOBUFS, KernelBusy), (errno.ENOMEM, KernelBusy),
        (errno.EINTR, KernelBusy), (errno.EPERM, KernelDenied), (errno.EACCES, KernelDenied),
        (errno.ENOENT, KernelMismatch), (errno.EEXIST, KernelMismatch), (errno.ENFILE, KernelMismatch),
        (errno.EOPNOTSUPP, KernelError), (9999, KernelMismatch),
    ],
)  # fmt: skip
def test_an_errno_has_one_class_and_a_remedy(number: int, kind: type[KernelError]) -> None:
    made = kernel_error(number, "a thing")
    assert type(made) is kind
    assert made.errno == number
    assert made.transient == (kind is KernelBusy)
    assert errno.errorcode.get(number, "9999") in str(made)
    assert "a thing" in str(made)


def test_a_datagram_that_is_cut_ends_the_walk() -> None:
    whole = nla.nft_message(9, 0, 5, nla.text(1, "edged")) + nla.nft_message(9, 0, 6, nla.text(1, "x"))
    assert [m.seq for m in nla.messages(whole)] == [5, 6]
    assert [m.family for m in nla.messages(whole)] == [nla.NFPROTO_INET] * 2
    for cut in range(len(whole)):
        for m in nla.messages(whole[:cut]):
            dict(nla.attrs(m.body))
    assert list(nla.messages(struct.pack("=IHHII", 3, 9, 0, 1, 0))) == []
    assert list(nla.attrs(memoryview(struct.pack("=HH", 2, 1)))) == []


@pytest.mark.parametrize("n", [1, 2_000, 5_416, 5_417, 20_000])
@pytest.mark.parametrize("rich", [False, True], ids=["plain", "timed"])
def test_no_message_is_longer_than_its_length_field(n: int, rich: bool) -> None:
    spec = SetSpec("s", "ipv4", timed=rich)
    op = AddElements(spec, bytes(4 * n), (1000,) * n if rich else ())
    wires = list(codec.encode(op))
    found = 0
    for wire in wires:
        listed = nla.table_of(memoryview(wire.body))[3]
        assert len(listed) + 4 < 1 << 16
        found += len(list(codec.decode_elements(memoryview(wire.body))))
    assert found == n


def test_the_last_message_asks_for_the_answer() -> None:
    transaction = Transaction([AddTable(0), AddSet(PLAIN), AddElements(PLAIN, bytes(8))])
    data, last = codec.batch(transaction, 100)
    sent = list(nla.messages(data))
    assert [m.kind for m in sent[:: len(sent) - 1]] == [nla.BATCH_BEGIN, nla.BATCH_END]
    assert [m.seq for m in sent] == list(range(100, 105))
    assert [bool(m.flags & nla.NLM_F_ACK) for m in sent] == [False, False, False, True, False]
    assert last == 103


def test_where_destroying_is_unknown_it_is_not_sent() -> None:
    op = DelElements(PLAIN, bytes(4), maybe=True)
    assert [w.kind for w in codec.encode(op)] == [codec.DESTROYSETELEM]
    assert [w.kind for w in codec.encode(op, destroy=False)] == [codec.DELSETELEM]


def test_a_transaction_reads_as_nft_without_its_keys() -> None:
    text = Transaction(
        [
            AddSet(PLAIN),
            AddElements(PLAIN, bytes(8)),
            DelElements(PLAIN, bytes(4)),
            AddRule("c", (Count("n"), Verdict("goto", "d"))),
            AddCounter("n"),
        ]
    ).text()
    assert text.splitlines() == [
        "add set plain { type ipv4_addr; size 8; }",
        "add element plain (2)",
        "delete element plain (1)",
        'add rule c counter name "n" goto d',
        "AddCounter n",
    ]
    assert not Transaction()


@pytest.mark.parametrize(("n", "size"), [(0, SMALLEST), (1, SMALLEST), (2049, 8192), (1_000_000, 2_097_152)])
def test_declared_sizes(n: int, size: int) -> None:
    assert declared_size(n) == size
    assert declared_size(n) >= 2 * n


def test_every_counter_is_counted_in_some_rule_and_none_is_missing() -> None:
    used = {s.name for _, rule in rules(Settings(("eth1",)), 1) for s in rule if isinstance(s, Count)}
    assert used == set(COUNTERS)


class Strange:
    """A statement nobody taught the tracer."""

    def text(self) -> str:
        return "strange"

    def wire(self) -> bytes:
        return b""


def test_the_tracer_fails_on_a_rule_it_does_not_know() -> None:
    fake = FakeBackend(lambda: 0)
    fake.commit(Transaction([AddTable(0), AddChain(Chain("prerouting", 0)), AddRule("prerouting", (Strange(),))]))
    with pytest.raises(NotImplementedError, match="teach it"):
        Tracer(fake).trace(Packet("100.64.0.1", "192.0.2.1"))


def test_without_a_table_every_packet_passes() -> None:
    assert Tracer(FakeBackend(lambda: 0)).trace(Packet("100.64.0.1", "192.0.2.1")).fate == "pass"


def test_failures_of_the_fake_come_in_order() -> None:
    fake = FakeBackend(lambda: 0)
    fake.failures = [0, errno.EBUSY, 0]
    fake.commit(Transaction([AddTable(0)]))
    with pytest.raises(KernelBusy):
        fake.commit(Transaction([AddTable(0)]))
    fake.commit(Transaction([AddTable(0)]))
    assert fake.commits == 2
