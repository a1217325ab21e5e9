"""What the core tells about itself, without knowing who listens.

The core calls an :class:`Observer`; ``metrics.py`` turns the calls into Prometheus series, tests count them,
and :class:`Silent` ignores them. No argument ever names a subscriber or an address.
"""

from __future__ import annotations

from typing import Protocol


class Observer(Protocol):
    """Receiver of facts. Durations are seconds. Implementations must not raise and must not block."""

    def command(self, op: str, status: str, n: int = 1) -> None:
        """``n`` commands of kind ``op`` ended with contract status ``status``."""

    def rejection(self, code: str, n: int = 1) -> None:
        """``n`` commands or payloads were refused with contract code ``code``."""

    def enforced(self, seconds: float) -> None:
        """One batch went from receipt to the kernel's acknowledgement in ``seconds``."""

    def committed(self, seconds: float) -> None:
        """One SQLite commit, fsync included, took ``seconds``."""

    def commit_failed(self) -> None:
        """One commit was refused (disk full, I/O error); it will be tried again."""

    def kernel_error(self, kind: str) -> None:
        """nf_tables answered with an error; ``kind`` is the errno's name, e.g. ``EBUSY``."""

    def resync(self, cause: str, seconds: float) -> None:
        """A full resync ended well. ``cause``: start, error, drift, growth, clock, command, snapshot."""

    def drift(self) -> None:
        """Somebody else changed our table, rule or route."""

    def in_sync(self, value: bool) -> None:
        """Whether the kernel holds what the store says."""

    def enforcement_ratio(self, value: float) -> None:
        """Share (0..1) of sampled restricted addresses that the kernel really holds."""

    def held(self, n: int) -> None:
        """The brake holds ``n`` commands now."""

    def late_release(self, n: int) -> None:
        """``n`` commands that release (paid, unblock) were enforced later than a second after their receipt."""

    def mqtt_connected(self, broker: str, value: bool) -> None:
        """Connection to ``broker`` (``host:port``, no credentials)."""

    def portal_requests(self, kind: str, code: str, n: int) -> None:
        """The portal answered ``n`` requests of ``kind`` (redirect, page, refused, …) with HTTP status ``code``."""

    def portal_seconds(self, seconds: float, n: int) -> None:
        """``n`` portal answers took ``seconds`` in all."""


class Silent:
    """An observer that ignores everything."""

    def command(self, op: str, status: str, n: int = 1) -> None: ...
    def rejection(self, code: str, n: int = 1) -> None: ...
    def enforced(self, seconds: float) -> None: ...
    def committed(self, seconds: float) -> None: ...
    def commit_failed(self) -> None: ...
    def kernel_error(self, kind: str) -> None: ...
    def resync(self, cause: str, seconds: float) -> None: ...
    def drift(self) -> None: ...
    def in_sync(self, value: bool) -> None: ...
    def enforcement_ratio(self, value: float) -> None: ...
    def held(self, n: int) -> None: ...
    def late_release(self, n: int) -> None: ...
    def mqtt_connected(self, broker: str, value: bool) -> None: ...
    def portal_requests(self, kind: str, code: str, n: int) -> None: ...
    def portal_seconds(self, seconds: float, n: int) -> None: ...
