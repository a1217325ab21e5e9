"""The error tree: one small family, raised low, returned upwards, logged once.

``transient`` says whether trying again may help: callers retry those with a back-off and report the others.
"""

from __future__ import annotations


class EdgedError(Exception):
    """Anything edged knows how to explain. ``str()`` names what, where and the remedy."""

    transient = False


class ConfigError(EdgedError):
    """The configuration cannot be used; exit status 2."""


class StoreError(EdgedError):
    """The database refused: disk full, read-only, locked, corrupt. Nothing was committed."""

    transient = True


class KernelError(EdgedError):
    """nf_tables or routing refused a request. ``errno`` is the kernel's own number (0: no answer came)."""

    def __init__(self, message: str, errno: int = 0) -> None:
        super().__init__(message)
        self.errno = errno


class KernelBusy(KernelError):
    """EBUSY, EAGAIN, EINTR, ENOBUFS, ENOMEM: the same request may pass in a moment."""

    transient = True


class KernelDenied(KernelError):
    """EPERM, EACCES: no CAP_NET_ADMIN, or another process owns the table."""


class KernelMismatch(KernelError):
    """ENOENT, EEXIST, ENFILE and the like: the kernel does not hold what we believed; only a resync heals it."""


class SetFull(KernelMismatch):
    """A set has no room for a change; a refill with larger sets brings it into force."""


class NotRunning(EdgedError):
    """No daemon answers on the control socket; exit status 3."""
