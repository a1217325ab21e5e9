"""Names of the contract, closed label sets, and a scrape that survives what it reads."""

from __future__ import annotations

import http.client
import socket
from collections.abc import Mapping
from typing import Any

import pytest
from prometheus_client import generate_latest

from edged import answers
from edged.domain import command
from edged.errors import EdgedError
from edged.metrics import OPS, STATUSES, Metrics
from edged.observer import Observer

SNAPSHOT: Mapping[str, Mapping[Any, float]] = {
    "levels": {"walled": 12, "blocked": 1},
    "sets": {"restricted4": 13},
    "promises": {"granted": 2},
    "packets": {("walled", "up", "redirect"): 7},
    "xdp": {"request": 5},
}


def told(metrics: Metrics) -> str:
    return generate_latest(metrics.registry).decode()


def everything(observer: Observer) -> None:
    observer.command("block", "applied", 3)
    observer.rejection("bad_address")
    observer.enforced(0.003)
    observer.committed(0.0004)
    observer.commit_failed()
    observer.kernel_error("EBUSY")
    observer.resync("start", 0.7)
    observer.drift()
    observer.in_sync(True)
    observer.enforcement_ratio(0.5)
    observer.held(7)
    observer.late_release(2)
    observer.mqtt_connected("127.0.0.1:1883", True)
    observer.portal_requests("redirect", "302", 40)
    observer.portal_seconds(0.25, 40)


def test_every_name_of_the_contract_is_there() -> None:
    metrics = Metrics(lambda: SNAPSHOT)
    everything(metrics)
    text = told(metrics)
    for line in (
        'edged_subscribers{level="walled"} 12.0',
        'edged_set_elements{set="restricted4"} 13.0',
        'edged_commands_total{op="block",status="applied"} 3.0',
        'edged_rejections_total{code="bad_address"} 1.0',
        "edged_command_to_kernel_seconds_count 1.0",
        'edged_command_to_kernel_seconds_bucket{le="0.005"} 1.0',
        "edged_commit_seconds_count 1.0",
        "edged_commit_failures_total 1.0",
        'edged_kernel_errors_total{errno="EBUSY"} 1.0',
        'edged_resyncs_total{cause="start"} 1.0',
        "edged_resync_seconds_sum 0.7",
        "edged_drift_total 1.0",
        "edged_in_sync 1.0",
        "edged_enforcement_ratio 0.5",
        "edged_held_commands 7.0",
        "edged_late_releases_total 2.0",
        'edged_mqtt_connected{broker="127.0.0.1:1883"} 1.0',
        'edged_promises{state="granted"} 2.0',
        'edged_portal_requests_total{code="302",kind="redirect"} 40.0',
        "edged_portal_seconds_sum 0.25",
        "edged_portal_seconds_count 40.0",
        'edged_packets_total{action="redirect",direction="up",level="walled"} 7.0',
        'edged_xdp_packets_total{action="request"} 5.0',
    ):
        assert line in text.splitlines()
    assert "edged_build_info{" in text


def test_every_operation_and_status_has_its_label() -> None:
    assert set(command.OPS) <= OPS
    assert set(answers.STATUSES) == STATUSES
    metrics = Metrics()
    for op in command.OPS:
        metrics.command(op, "held")
    assert 'op="unknown"' not in told(metrics)


def test_words_from_outside_do_not_become_labels() -> None:
    metrics = Metrics()
    metrics.command("100.64.0.10", "applied")
    metrics.command("block", "C-7")
    metrics.rejection("maria@example.net")
    metrics.kernel_error("whatever")
    metrics.resync("because", 1)
    metrics.portal_requests("/private/path", "GET", 1)
    text = told(metrics)
    for word in ("100.64", "C-7", "maria", "whatever", "because", "private", "GET"):
        assert word not in text
    assert 'edged_commands_total{op="unknown",status="applied"} 1.0' in text


def test_a_failing_snapshot_costs_only_its_own_series(caplog: pytest.LogCaptureFixture) -> None:
    def broken() -> Mapping[str, Mapping[Any, float]]:
        raise OSError("no kernel today")

    metrics = Metrics(broken)
    metrics.in_sync(False)
    text = told(metrics)
    assert "edged_in_sync 0.0" in text
    assert "edged_subscribers" not in text
    assert "no kernel today" in caplog.text


def test_the_snapshot_is_not_called_before_a_scrape() -> None:
    calls: list[int] = []

    def snapshot() -> Mapping[str, Mapping[Any, float]]:
        calls.append(1)
        return {}

    metrics = Metrics(snapshot)
    assert not calls
    told(metrics)
    assert calls == [1]


def test_two_in_one_process_do_not_share_counts() -> None:
    one, other = Metrics(), Metrics()
    one.drift()
    assert "edged_drift_total 0.0" in told(other)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_it_is_served_until_closed(host: str) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as free:
        free.bind((host, 0))
        port = free.getsockname()[1]
    metrics = Metrics(lambda: SNAPSHOT)
    metrics.serve(f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
    try:
        connection = http.client.HTTPConnection(host, port, timeout=10)
        connection.request("GET", "/metrics")
        answer = connection.getresponse()
        assert answer.status == 200
        assert b'edged_subscribers{level="walled"} 12.0' in answer.read()
        connection.close()
    finally:
        metrics.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((host, port), timeout=5)


def test_a_taken_address_names_the_key() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(EdgedError, match=r"metrics\.listen = .*Address already in use"):
            Metrics().serve(f"127.0.0.1:{taken.getsockname()[1]}")


def test_an_empty_address_serves_nothing() -> None:
    metrics = Metrics()
    metrics.serve("")
    metrics.close()
