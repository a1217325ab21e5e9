"""What an errno from nf_tables means, and the remedy a person would need: pure."""

from __future__ import annotations

import errno
import os

from edged.errors import KernelBusy, KernelDenied, KernelError, KernelMismatch

_BUSY = {errno.EBUSY, errno.EAGAIN, errno.EINTR, errno.ENOBUFS, errno.ENOMEM}
_DENIED = {errno.EPERM, errno.EACCES}


def kernel_error(number: int, what: str) -> KernelError:
    """The error for an errno; ``what`` names the request it answers."""
    name = errno.errorcode.get(number, str(number))
    said = f"nf_tables answered {name} ({os.strerror(number)}) to {what}"
    if number in _BUSY:
        return KernelBusy(f"{said}; it will be tried again", number)
    if number in _DENIED:
        hint = "edged needs CAP_NET_ADMIN, and no other process may own table inet edged"
        return KernelDenied(f"{said}; {hint}", number)
    if number == errno.EOPNOTSUPP:
        return KernelError(f"{said}; this kernel lacks a feature, see docs/kernel.md", number)
    return KernelMismatch(f"{said}; a full resync follows", number)
