"""The record that answers "why": domain.md §7, everything support needs in one answer, and nothing invented."""

from __future__ import annotations

from edged.domain.entry import Entry
from edged.domain.model import Fact, Invoice, Policy, Promise, Reason, Subscriber
from edged.records import record
from tests.worlds import v4, v6

NOW = 1_790_000_000_000
HOUR = 3_600_000
WHEN = "2026-09-21T14:13:20Z"
LATER = "2026-09-21T15:13:20Z"

SUB = Subscriber(
    "C-1",
    rev=4,
    reasons={
        "debt": Reason(3, NOW - HOUR, NOW, (Invoice("F-1", "2026-08-01"), Invoice("F-2")), ref="T-9", issuer="erp"),
        "debt_partial": Reason(2, NOW, NOW + HOUR, deadline=NOW + HOUR, page="slow", pending=True, why="not_before"),
    },
    promise=Promise("promise", NOW, NOW + HOUR, ("F-1", "F-2"), "app", "T-10"),
    level=0,
    since=NOW,
)


def test_everything_is_told() -> None:
    truth = {v4(1): {"restricted": 0, "waived": 500}, v6(1): None}
    told = record(SUB, {v4(1): Entry(), v6(1): Entry(), v4(2): Entry()}, truth, {"F-1": Fact(False, 1)}, NOW, Policy())
    assert told["sub"] == "C-1"
    assert (told["level"], told["since"], told["page_reason"], told["rev"]) == ("open", WHEN, None, 4)
    debt, partial = told["reasons"]
    assert (debt["state"], debt["ref"], debt["issuer"], debt["rate_kbit"]) == ("waived", "T-9", "erp", None)
    assert debt["invoices"] == [
        {"id": "F-1", "due": "2026-08-01", "promises_spent": 1},
        {"id": "F-2", "due": None, "promises_spent": 0},
    ]
    assert (partial["state"], partial["onset"], partial["deadline"]) == ("pending", LATER, LATER)
    assert (partial["rate_kbit"], partial["page"]) == (1024, "slow")
    assert told["promise"] == {
        "running": {
            "basis": "promise",
            "since": WHEN,
            "until": LATER,
            "invoices": ["F-1", "F-2"],
            "channel": "app",
            "ref": "T-10",
        },
        "spent": True,
        "breached": False,
    }
    assert told["next_change"] == LATER
    assert told["addresses"] == [
        {"address": "100.64.0.1", "kernel": {"sets": ["restricted", "waived"], "expires_ms": {"waived": 500}}},
        {"address": "100.64.0.2", "kernel": None},
        {"address": "2001:db8:0:100::/56", "kernel": None},
    ]


def test_a_subscriber_without_anything() -> None:
    told = record(Subscriber("C-2"), {}, {}, {}, NOW, Policy())
    assert (told["level"], told["rev"], told["since"], told["next_change"]) == ("open", None, None, None)
    assert told["reasons"] == told["addresses"] == []
    assert told["promise"] == {"running": None, "spent": False, "breached": False}


def test_a_promise_that_has_ended_is_no_longer_running() -> None:
    told = record(SUB, {}, {}, {}, NOW + HOUR, Policy())
    assert told["promise"]["running"] is None
    assert told["level"] == "walled"
    assert (told["reasons"][1]["state"], told["reasons"][1]["waits_for"]) == ("pending", "not_before")
