"""The netlink socket itself: batches out, answers in, questions asked. Knows nothing of sets and rules.

A transaction goes out in one ``sendmsg``; the kernel works it off inside that call, so when it returns every answer
already waits in the receive queue. No answer at all counts as an error. Source: ``net/netfilter/nfnetlink.c``
(nfnetlink_rcv_batch), ``nf_tables_api.c``.
"""

from __future__ import annotations

import errno
import socket
import struct
import time
from collections.abc import Callable, Iterator

from edged.errors import KernelError, KernelMismatch
from edged.nft import nla
from edged.nft.failure import kernel_error

_NETLINK_NETFILTER = 12  # not in every build of Python
_SO_SNDBUFFORCE, _SO_RCVBUFFORCE = 32, 33
_SNDBUF, _RCVBUF = 32 << 20, 8 << 20
_ANSWER_BYTES = 1 << 20
_TRIES = 5
"""How often a list is asked for that others change while it is read."""


class Netlink:
    """One socket, opened at its first use in the network namespace of the calling thread."""

    def __init__(self) -> None:
        self._socket: socket.socket | None = None
        self._seq = int(time.time()) & 0xFFFFFF

    @property
    def port_id(self) -> int:
        """The netlink port id: what ownership and notifications are told apart by."""
        return int(self._open().getsockname()[0])

    def _open(self) -> socket.socket:
        if self._socket is None:
            try:
                s = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_NETFILTER)
            except OSError as e:
                what = f"no netfilter netlink socket: {e}; is nf_tables in this kernel?"
                raise KernelError(what, e.errno or 0) from e
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
        """Close; safe to call twice."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    # -- batches ---------------------------------------------------------------------------------------------

    def transact(self, build: Callable[[int], tuple[bytes, int]], what: str) -> None:
        """Send a batch and await its answers. ``build``: first sequence number -> (bytes, last number, to be answered).

        Raises KernelError.
        """
        first = self._seq + 1
        data, last = build(first)
        self._seq = last + 1
        self._send(data, what)
        failed = 0
        answered = False
        for number, seq in self._answers():
            if seq is None or first <= seq <= last:
                failed = failed or number
                answered = answered or seq == last
        if failed:
            raise kernel_error(failed, what)
        if not answered:
            raise KernelMismatch(f"nf_tables gave no answer to {what}; a full resync follows")

    def _answers(self) -> Iterator[tuple[int, int | None]]:
        """Everything that waits, as (errno or 0, sequence number or None for the socket's own error)."""
        while True:
            try:
                data = self._open().recv(_ANSWER_BYTES)
            except BlockingIOError:
                return
            except OSError as e:
                yield e.errno or errno.EIO, None
                continue
            for m in nla.messages(data):
                if m.kind == nla.NLMSG_ERROR:
                    yield -struct.unpack_from("=i", m.body)[0], m.seq

    def _send(self, data: bytes, what: str) -> None:
        for _ in self._answers():
            pass  # left over from an earlier, failed exchange
        try:
            self._open().sendto(data, (0, 0))
        except OSError as e:
            raise kernel_error(e.errno or errno.EIO, f"{what} of {len(data)} bytes") from e

    # -- questions -------------------------------------------------------------------------------------------

    def ask(self, kind: int, body: bytes) -> list[nla.Message]:
        """The answers to a question for one thing; none when it is not there. Raises KernelError."""
        return self._ask(kind, nla.NLM_F_ACK, body)

    def listing(self, kind: int, body: bytes) -> list[nla.Message]:
        """All of a kind. Read again when somebody changed nf_tables meanwhile. Raises KernelError."""
        for _ in range(_TRIES):
            found = self._ask(kind, nla.NLM_F_DUMP, body)
            if not any(m.flags & nla.NLM_F_DUMP_INTR for m in found):
                return found
        raise kernel_error(errno.EINTR, "a list that others keep changing")

    def _ask(self, kind: int, flags: int, body: bytes) -> list[nla.Message]:
        self._seq += 1
        self._send(nla.nft_message(kind, flags, self._seq, body), "a question")
        out: list[nla.Message] = []
        while True:
            try:
                data = self._open().recv(_ANSWER_BYTES)
            except BlockingIOError:
                return out  # answers to questions, too, are complete when the kernel let go of us
            except OSError as e:
                raise kernel_error(e.errno or errno.EIO, "a question") from e
            for m in nla.messages(data):
                if m.seq != self._seq:
                    continue
                if m.kind == nla.NLMSG_ERROR:
                    (code,) = struct.unpack_from("=i", m.body)
                    if code and -code != errno.ENOENT:
                        raise kernel_error(-code, "a question")
                    return out
                out.append(m)
                if m.kind == nla.NLMSG_DONE:
                    return out
