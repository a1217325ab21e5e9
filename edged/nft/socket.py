"""The one netlink socket that writes to nf_tables, and the questions asked through it.

A transaction goes out in one ``sendmsg``; the kernel works it off inside that call, so when it returns every answer
already waits in the receive queue. No answer at all counts as an error. Source: ``net/netfilter/nfnetlink.c``
(nfnetlink_rcv_batch), ``nf_tables_api.c``.
"""

from __future__ import annotations

import errno
import socket
import struct
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace

from edged.errors import KernelDenied, KernelError, KernelMismatch
from edged.nft import codec, nla
from edged.nft.failure import kernel_error
from edged.nft.schema import TABLE, SetSpec
from edged.nft.transaction import DelElements, Operation, TableInfo, Transaction, split

_NETLINK_NETFILTER = 12  # not in every build of Python
_SO_SNDBUFFORCE, _SO_RCVBUFFORCE = 32, 33
_SNDBUF, _RCVBUF = 32 << 20, 8 << 20
_ANSWER_BYTES = 1 << 20
_TRIES = 3


class KernelBackend:
    """nf_tables through netlink. ``owner`` False leaves the owner flag out (tests, shared tables)."""

    def __init__(self, *, owner: bool = True) -> None:
        self._want_owner = owner
        self._socket: socket.socket | None = None
        self._seq = int(time.time()) & 0xFFFFFF
        self._claims: int | None = None
        self._destroy: bool | None = None

    @property
    def port_id(self) -> int:
        """The netlink port id: what ownership and notifications are told apart by."""
        return int(self._open().getsockname()[0])

    def _open(self) -> socket.socket:
        if self._socket is None:
            try:
                s = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_NETFILTER)
            except OSError as e:
                raise KernelError(
                    f"no netfilter netlink socket: {e}; is nf_tables in this kernel?", e.errno or 0
                ) from e
            for force, plain, size in (
                (_SO_SNDBUFFORCE, socket.SO_SNDBUF, _SNDBUF),
                (_SO_RCVBUFFORCE, socket.SO_RCVBUF, _RCVBUF),
            ):
                try:
                    s.setsockopt(socket.SOL_SOCKET, force, size)
                except PermissionError:
                    s.setsockopt(socket.SOL_SOCKET, plain, size)
            s.bind((0, 0))
            s.setblocking(False)
            self._socket = s
        return self._socket

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    # -- writing ---------------------------------------------------------------------------------------------

    def commit(self, transaction: Transaction) -> None:
        if not transaction:
            return
        if self._can_destroy():  # first: where it has to ask the kernel, it uses up sequence numbers
            self._execute(transaction)
            return
        perhaps = any(isinstance(op, DelElements) and op.maybe for op in transaction.operations)
        for tries_left in reversed(range(_TRIES if perhaps else 1)):
            try:
                self._execute(self._without_missing(transaction))
            except KernelMismatch as e:
                if e.errno != errno.ENOENT or not tries_left:
                    raise  # else one may have ended between question and removal
            else:
                return

    def _without_missing(self, transaction: Transaction) -> Transaction:
        """What kernels before 6.3 need: elements that may be missing are asked for instead of destroyed."""
        out: list[Operation] = []
        for op in transaction.operations:
            if not (isinstance(op, DelElements) and op.maybe):
                out.append(op)
            elif keys := b"".join(k for k in split(op.keys, op.spec.key) if self.holds(op.spec, k) is not None):
                out.append(replace(op, keys=keys))
        return Transaction(out)

    def _execute(self, transaction: Transaction) -> None:
        if not transaction:
            return
        data, last = codec.batch(transaction, self._seq + 1, destroy=self._can_destroy())
        first, self._seq = self._seq + 1, last + 1
        self._send(data, "a transaction")
        self._await_answers(first, last)

    def _send(self, data: bytes, what: str) -> None:
        s = self._open()
        self._drain(s)
        try:
            s.sendto(data, (0, 0))
        except OSError as e:
            raise kernel_error(e.errno or errno.EIO, f"{what} of {len(data)} bytes") from e

    @staticmethod
    def _drain(s: socket.socket) -> None:
        """Throw away answers of an earlier, failed exchange."""
        while True:
            try:
                s.recv(_ANSWER_BYTES)
            except BlockingIOError:
                return
            except OSError:
                continue  # ENOBUFS is reported once, then the queue goes on

    def _await_answers(self, first: int, last: int) -> None:
        failed = 0
        answered = False
        while True:
            try:
                data = self._open().recv(_ANSWER_BYTES)
            except BlockingIOError:
                break
            except OSError as e:
                failed = failed or e.errno or errno.EIO
                continue
            for m in nla.messages(data):
                if m.kind != nla.NLMSG_ERROR or not first <= m.seq <= last:
                    continue
                (code,) = struct.unpack_from("=i", m.body)
                failed = failed or -code
                answered = answered or m.seq == last
        if failed:
            raise kernel_error(failed, "a transaction")
        if not answered:
            raise KernelMismatch("nf_tables gave no answer to a transaction; a full resync follows")

    # -- what this kernel can do -----------------------------------------------------------------------------

    def claims(self) -> int:
        """Owner and persist where the kernel knows both: tried once on a table of another name."""
        if not self._want_owner:
            return 0
        if self._claims is None:
            flags = codec.OWNER | codec.PERSIST
            flags_attr = nla.be32(2, flags)
            wires = [(codec.NEWTABLE, nla.NLM_F_CREATE, flags_attr), (codec.DELTABLE, 0, b"")]
            self._claims = flags if self._probe(wires) else 0
        return self._claims

    def _can_destroy(self) -> bool:
        if self._destroy is None:
            missing = nla.text(2, "none") + nla.be32(3, codec.OBJ_LIMIT)
            wires = [(codec.NEWTABLE, nla.NLM_F_CREATE, b""), (codec.DESTROYOBJ, 0, missing), (codec.DELTABLE, 0, b"")]
            self._destroy = self._probe(wires)
        return self._destroy

    def _probe(self, wires: list[tuple[int, int, bytes]]) -> bool:
        """Whether the kernel takes these messages on a scratch table that the same transaction removes."""
        name = nla.text(1, f"{TABLE}-probe-{self.port_id}")
        first = seq = self._seq + 1
        out = [nla.batch_mark(nla.BATCH_BEGIN, seq)]
        for i, (kind, flags, rest) in enumerate(wires):
            seq += 1
            ack = nla.NLM_F_ACK if i == len(wires) - 1 else 0
            out.append(nla.nft_message(kind, flags | ack, seq, name + rest))
        out.append(nla.batch_mark(nla.BATCH_END, seq + 1))
        self._seq = seq + 1
        try:
            self._send(b"".join(out), "a probe")
            self._await_answers(first, seq)
        except KernelDenied:
            raise
        except KernelError:
            return False
        return True

    # -- reading ---------------------------------------------------------------------------------------------

    def _ask(self, kind: int, body: bytes, *, dump: bool = False) -> Iterator[nla.Message]:
        """Answers to one question. ENOENT is an empty answer."""
        self._seq += 1
        flags = nla.NLM_F_DUMP if dump else nla.NLM_F_ACK
        self._send(nla.nft_message(kind, flags, self._seq, body), "a question")
        s = self._open()
        while True:
            try:
                data = s.recv(_ANSWER_BYTES)
            except BlockingIOError:
                return  # answers to questions, too, are complete when the kernel let go of us
            except OSError as e:
                raise kernel_error(e.errno or errno.EIO, "a question") from e
            for m in nla.messages(data):
                if m.seq != self._seq:
                    continue
                if m.kind == nla.NLMSG_DONE:
                    return
                if m.kind == nla.NLMSG_ERROR:
                    (code,) = struct.unpack_from("=i", m.body)
                    if code and -code != errno.ENOENT:
                        raise kernel_error(-code, "a question")
                    return
                yield m

    def _names(self, kind: int, name_attr: int, extra: bytes = b"") -> Iterator[dict[int, memoryview]]:
        for m in self._ask(kind, nla.text(1, TABLE) + extra, dump=True):
            parts = nla.table_of(m.body)
            if nla.string(parts[1]) == TABLE and name_attr in parts:
                yield parts

    def table(self) -> TableInfo | None:
        for m in self._ask(codec.GETTABLE, nla.text(1, TABLE)):
            parts = nla.table_of(m.body)
            flags = nla.number(parts[2]) if 2 in parts else 0
            return TableInfo(flags, (nla.number(parts[7]) if 7 in parts else 0) if flags & codec.OWNER else None)
        return None

    def sets(self) -> list[str]:
        names = (nla.string(p[2]) for p in self._names(codec.GETSET, 2))
        return [n for n in names if not n.startswith("__")]

    def chains(self) -> list[str]:
        return [nla.string(p[3]) for p in self._names(codec.GETCHAIN, 3)]

    def limits(self) -> list[str]:
        return [nla.string(p[2]) for p in self._names(codec.GETOBJ, 2, nla.be32(3, codec.OBJ_LIMIT))]

    def counters(self) -> dict[str, tuple[int, int]]:
        out: dict[str, tuple[int, int]] = {}
        for p in self._names(codec.GETOBJ, 2, nla.be32(3, codec.OBJ_COUNTER)):
            data = nla.table_of(p[4])
            out[nla.string(p[2])] = (nla.number(data[2]), nla.number(data[1]))
        return out

    def rule_count(self) -> int:
        return sum(1 for _ in self._names(codec.GETRULE, 3))

    def holds(self, spec: SetSpec, key: bytes) -> int | None:
        for m in self._ask(codec.GETSETELEM, codec.get_element(spec, key)):
            for element in codec.decode_elements(m.body):
                return element.expires
        return None

    def dump(self, spec: SetSpec) -> Iterable[bytes]:
        body = nla.text(1, TABLE) + nla.text(2, spec.name)
        return [
            e.key + e.end for m in self._ask(codec.GETSETELEM, body, dump=True) for e in codec.decode_elements(m.body)
        ]
