"""Prometheus series, as an :class:`~edged.observer.Observer` that only counts. Names are the contract's, section 4.

No label ever carries a subscriber or an address: each label takes its values from a closed set, and a word that is not
in it becomes ``unknown``. What changes with every packet or subscriber is not counted here but asked for when
Prometheus comes, through a :data:`Snapshot`.
"""

from __future__ import annotations

import errno
import logging
import platform
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any
from wsgiref.simple_server import WSGIServer

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric, SummaryMetricFamily
from prometheus_client.registry import Collector

from edged import __version__
from edged.config import listen as split_address
from edged.errors import EdgedError

Snapshot = Callable[[], Mapping[str, Mapping[Any, float]]]
"""Read at each scrape, in the HTTP server's thread: ``levels`` {level: n}, ``sets`` {set: n}, ``promises`` {state: n},
``packets`` {(level, direction, action): n}, ``xdp`` {action: n}. A key may be missing."""

OPS = frozenset(
    "bind unbind block unblock paid trust untrust defer undefer moratorium end_moratorium outage end_outage calendar "
    "garden page forget query digest".split()
)
STATUSES = frozenset({"applied", "unchanged", "deferred", "held", "rejected"})
CODES = frozenset(
    "malformed unsigned bad_signature wrong_audience expired from_the_future stale not_authorized unknown_op "
    "unknown_subscriber bad_address address_protected trust_spent trust_too_long trust_not_applicable notice_too_short "
    "capacity brake".split()
)
CAUSES = frozenset({"start", "error", "drift", "growth", "clock", "command", "snapshot"})
ERRNOS = frozenset(errno.errorcode.values())
PORTAL_KINDS = frozenset({"redirect", "page", "refused"})

_MILLISECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
_RESYNC = (0.01, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0)

_log = logging.getLogger(__name__)


class Metrics:
    """Counts what the core tells, in a registry of its own; ``serve`` shows it. Safe from any thread."""

    def __init__(self, snapshot: Snapshot | None = None) -> None:
        self.registry = CollectorRegistry()
        registry = self.registry
        self._commands = Counter("edged_commands", "Commands answered.", ["op", "status"], registry=registry)
        self._rejections = Counter("edged_rejections", "Commands or payloads refused.", ["code"], registry=registry)
        self._enforced = Histogram(
            "edged_command_to_kernel_seconds",
            "From the receipt of a batch to the kernel's acknowledgement.",
            buckets=_MILLISECONDS,
            registry=registry,
        )
        self._commit = Histogram(
            "edged_commit_seconds", "One commit to disk, fsync included.", buckets=_MILLISECONDS, registry=registry
        )
        self._commit_failures = Counter("edged_commit_failures", "Commits the disk refused.", registry=registry)
        self._kernel_errors = Counter("edged_kernel_errors", "Errors of nf_tables.", ["errno"], registry=registry)
        self._resyncs = Counter("edged_resyncs", "Full resyncs of the kernel.", ["cause"], registry=registry)
        self._resync = Histogram("edged_resync_seconds", "One full resync.", buckets=_RESYNC, registry=registry)
        self._drift = Counter("edged_drift", "Times somebody else changed what is ours.", registry=registry)
        self._in_sync = Gauge("edged_in_sync", "1 while the kernel holds what the store says.", registry=registry)
        self._ratio = Gauge(
            "edged_enforcement_ratio", "Share of sampled restrictions that the kernel holds.", registry=registry
        )
        self._held = Gauge("edged_held_commands", "Commands that the brake holds for a human.", registry=registry)
        self._late = Counter(
            "edged_late_releases",
            "Payments and unblocks in force later than a second after receipt.",
            registry=registry,
        )
        self._mqtt = Gauge("edged_mqtt_connected", "1 while connected to this broker.", ["broker"], registry=registry)
        self._requests = Counter("edged_portal_requests", "Portal answers.", ["kind", "code"], registry=registry)
        self._portal = _Sums()
        build = Gauge(
            "edged_build_info", "Always 1; see the labels.", ["version", "python", "kernel"], registry=registry
        )
        build.labels(__version__, platform.python_version(), platform.release()).set(1)
        registry.register(_AtScrape(snapshot or dict, self._portal))
        self._server: WSGIServer | None = None
        self._thread: threading.Thread | None = None

    def serve(self, listen: str) -> None:
        """Answers ``http://<listen>/metrics`` until :meth:`close`; nothing happens where ``listen`` is empty.

        Raises EdgedError when the address cannot be had.
        """
        if not listen:
            return
        where = split_address(listen)
        try:
            self._server, self._thread = start_http_server(where.port, addr=where.host, registry=self.registry)
        except OSError as error:
            raise EdgedError(f'metrics.listen = "{listen}": {error.strerror}; take another, or "" for none') from error

    def close(self) -> None:
        """Stops answering; counting goes on."""
        if self._server is not None and self._thread is not None:
            self._server.shutdown()
            self._server.server_close()
            self._thread.join()
        self._server = self._thread = None

    # The observer protocol: each is one or two additions, nothing that could raise or wait.

    def command(self, op: str, status: str, n: int = 1) -> None:
        self._commands.labels(_of(op, OPS), _of(status, STATUSES)).inc(n)

    def rejection(self, code: str, n: int = 1) -> None:
        self._rejections.labels(_of(code, CODES)).inc(n)

    def enforced(self, seconds: float) -> None:
        self._enforced.observe(seconds)

    def committed(self, seconds: float) -> None:
        self._commit.observe(seconds)

    def commit_failed(self) -> None:
        self._commit_failures.inc()

    def kernel_error(self, kind: str) -> None:
        self._kernel_errors.labels(_of(kind, ERRNOS)).inc()

    def resync(self, cause: str, seconds: float) -> None:
        self._resyncs.labels(_of(cause, CAUSES)).inc()
        self._resync.observe(seconds)

    def drift(self) -> None:
        self._drift.inc()

    def in_sync(self, value: bool) -> None:
        self._in_sync.set(value)

    def enforcement_ratio(self, value: float) -> None:
        self._ratio.set(value)

    def held(self, n: int) -> None:
        self._held.set(n)

    def late_release(self, n: int) -> None:
        self._late.inc(n)

    def mqtt_connected(self, broker: str, value: bool) -> None:
        self._mqtt.labels(broker).set(value)

    def portal_requests(self, kind: str, code: str, n: int) -> None:
        known = code.isascii() and code.isdigit() and len(code) == 3
        self._requests.labels(_of(kind, PORTAL_KINDS), code if known else "unknown").inc(max(n, 0))

    def portal_seconds(self, seconds: float, n: int) -> None:
        self._portal.add(seconds, n)


class _Sums:
    """The portal hands over sums only, several answers at once, so its time is a summary without quantiles."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seconds = 0.0
        self._count = 0

    def add(self, seconds: float, n: int) -> None:
        with self._lock:
            self._seconds += max(seconds, 0.0)
            self._count += max(n, 0)

    def read(self) -> tuple[float, int]:
        with self._lock:
            return self._seconds, self._count


class _AtScrape(Collector):
    """What is asked for only when Prometheus comes. A failing snapshot costs its own series, not the scrape."""

    def __init__(self, snapshot: Snapshot, portal: _Sums) -> None:
        self._snapshot = snapshot
        self._portal = portal

    def describe(self) -> Iterable[Metric]:
        """Nothing: registering must not call the snapshot, whose sources do not run yet."""
        return ()

    def collect(self) -> Iterator[Metric]:
        seconds, count = self._portal.read()
        yield SummaryMetricFamily("edged_portal_seconds", "Time the portal took to answer.", count, seconds)
        try:
            now = {key: dict(values) for key, values in self._snapshot().items()}
            families = list(_families(now))
        except Exception:  # noqa: BLE001  whatever broke, the counters above must still be readable
            _log.warning("the figures read at scrape time are missing", exc_info=True)
            return
        yield from families


def _families(now: Mapping[str, Mapping[Any, float]]) -> Iterator[Metric]:
    for key, name, text, label in (
        ("levels", "edged_subscribers", "Subscribers at this level.", "level"),
        ("sets", "edged_set_elements", "Elements in this kernel set.", "set"),
        ("promises", "edged_promises", "Promises in this state.", "state"),
    ):
        gauge = GaugeMetricFamily(name, text, labels=[label])
        for value, n in now.get(key, {}).items():
            gauge.add_metric([str(value)], n)
        yield gauge
    packets = CounterMetricFamily(
        "edged_packets", "Packets of restricted subscribers.", labels=["level", "direction", "action"]
    )
    for labels, n in now.get("packets", {}).items():
        packets.add_metric([str(label) for label in labels], n)
    yield packets
    fast = CounterMetricFamily("edged_xdp_packets", "Packets by what the XDP program did.", labels=["action"])
    for action, n in now.get("xdp", {}).items():
        fast.add_metric([str(action)], n)
    yield fast


def _of(word: str, allowed: frozenset[str]) -> str:
    return word if word in allowed else "unknown"
