"""The record that answers "why": domain.md §7, everything support needs in one answer, and nothing invented."""

from __future__ import annotations

from pathlib import Path

import pytest

from edged.domain.entry import Entry
from edged.domain.model import Fact, Invoice, Policy, Promise, Reason, Subscriber, rfc3339
from edged.plan import Copy, Owned, elements
from edged.records import record
from tests.unit.core import Core
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
    promise=Promise("promise", NOW, NOW + HOUR, ("F-1", "F-2"), "app", "T-10", "erp"),
    level=0,
    since=NOW,
)
WAIVED = Entry(3, lift=0, until=NOW + HOUR)


def test_everything_is_told() -> None:
    truth = {v4(1): {"restricted": 0, "waived": 500}, v6(1): None}
    told = record(SUB, [v4(1), v6(1), v4(2)], truth, {"F-1": Fact(False, 1)}, NOW, Policy(), told=WAIVED)
    assert told["sub"] == "C-1"
    assert (told["level"], told["since"], told["page_reason"], told["rev"]) == ("open", WHEN, None, 4)
    debt, partial = told["reasons"]
    assert (debt["state"], debt["ref"], debt["issuer"], debt["rate_kbit"]) == ("waived", "T-9", "erp", None)
    assert debt["invoices"] == [
        {"id": "F-1", "due": "2026-08-01", "promises_spent": 1, "spent": True},
        {"id": "F-2", "due": None, "promises_spent": 0, "spent": False},
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
            "issuer": "erp",
            "ref": "T-10",
            "outcome": None,
        },
        "spent": True,
        "breached": False,
        "in_30_days": None,
        "most_in_30_days": None,
    }
    assert told["next_change"] == LATER
    assert told["addresses"] == [
        {
            "address": "100.64.0.1",
            "kernel": {"sets": ["restricted", "waived"], "expires_ms": {"waived": 500}},
            "agrees": True,
        },
        {"address": "100.64.0.2", "kernel": None, "agrees": None},
        {"address": "2001:db8:0:100::/56", "kernel": None, "agrees": None},
    ]


RESTRICTED = {"restricted": 0}
NOTIFIED = Entry(1, notified=NOW + HOUR)


@pytest.mark.parametrize(
    ("told", "now", "sets", "agrees"),
    [
        (Entry(), NOW, {}, True),
        (Entry(), NOW, RESTRICTED, False),
        (Entry(3), NOW, RESTRICTED, True),
        (Entry(3), NOW, {}, False),
        (Entry(4), NOW, RESTRICTED, False),
        (Entry(4), NOW, RESTRICTED | {"blocked": 0}, True),
        (WAIVED, NOW, RESTRICTED, False),
        (WAIVED, NOW, RESTRICTED | {"waived": HOUR}, True),
        (WAIVED, NOW + HOUR - 500, RESTRICTED | {"waived": 500}, True),
        (WAIVED, NOW + HOUR - 500, RESTRICTED, True),
        (WAIVED, NOW + HOUR, RESTRICTED, True),
        (WAIVED, NOW + HOUR, {}, False),
        (NOTIFIED, NOW, RESTRICTED | {"notice": 0, "notified": HOUR}, True),
        (NOTIFIED, NOW, RESTRICTED | {"notice": 0}, False),
        (Entry(2, 512), NOW, RESTRICTED | {"reduced": 0, "reduced_up": 0, "reduced_down": 0}, True),
        (Entry(2, 512), NOW, RESTRICTED | {"reduced": 0}, False),
        (None, NOW, RESTRICTED, None),
    ],
)
def test_the_kernel_is_held_against_what_it_was_told(
    told: Entry | None, now: int, sets: dict[str, int], agrees: bool | None
) -> None:
    found = record(Subscriber("C-3"), [v4(1)], {v4(1): sets}, {}, now, Policy(), told=told)
    assert found["addresses"][0]["agrees"] is agrees


@pytest.mark.parametrize(
    ("told", "now", "copy", "agrees"),
    [
        (Entry(3), NOW, Copy(3), True),
        (Entry(3), NOW, None, True),
        (Entry(3), NOW, Copy(4), False),
        (Entry(3), NOW, Copy(3, 0, HOUR), False),
        (WAIVED, NOW, Copy(3, 0, HOUR), True),
        (WAIVED, NOW, Copy(3), False),
        (WAIVED, NOW, None, True),
        (WAIVED, NOW + HOUR - 500, Copy(3), True),
        (WAIVED, NOW + HOUR + 2000, Copy(3), True),
        (Entry(4, lift=3, until=NOW + HOUR), NOW, Copy(4), True),
    ],
)
def test_the_xdp_program_is_held_against_the_same(told: Entry, now: int, copy: Copy | None, agrees: bool) -> None:
    sets = {v4(1): {e.role: e.expiry for e in elements(v4(1), Owned(1, told))}}
    found = record(Subscriber("C-3"), [v4(1)], sets, {}, now, Policy(), told=told, copies={v4(1): copy})
    assert found["addresses"][0]["agrees"] is agrees
    shown = found["addresses"][0]["kernel"]["xdp"]
    assert (shown is None) == (copy is None)
    if copy is not None:
        assert shown["level"] == {3: "walled", 4: "blocked"}[copy.level]
        assert ("lift" in shown) == bool(copy.left)


def test_who_is_released_and_still_redirected_in_xdp_is_a_fault() -> None:
    found = record(Subscriber("C-3"), [v4(1)], {v4(1): {}}, {}, NOW, Policy(), told=Entry(), copies={v4(1): Copy(3)})
    assert found["addresses"][0]["agrees"] is False


def test_behind_a_command_that_is_not_in_the_kernel_yet_nothing_is_said_of_it(tmp_path: Path) -> None:
    core = Core(tmp_path)
    query = {"op": "query", "sub": "100.64.0.1"}
    answer = core.send(query | {"op": "bind", "addresses": ["100.64.0.1"]}, {**query, "op": "block", "reason": "debt"})
    assert answer["summary"]["applied"] == 2
    answer = core.send(query, {"op": "paid", "sub": "100.64.0.1"}, query)
    before, behind = (answer["results"][i]["record"] for i in (0, 2))
    assert (before["level"], before["addresses"][0]["agrees"]) == ("walled", True)
    assert (behind["level"], behind["addresses"][0]["agrees"]) == ("open", None)
    assert core.pipeline.questions.why("100.64.0.1")["addresses"][0]["agrees"]


def test_what_somebody_took_out_of_the_kernel_is_seen(tmp_path: Path) -> None:
    core = Core(tmp_path)
    core.send({"op": "block", "sub": "100.64.0.1", "reason": "debt"})
    assert core.enforcer.live
    assert core.kernel.state
    core.kernel.state.sets[core.enforcer.live.spec("restricted", 4).name].elements.clear()
    address = core.pipeline.questions.why("100.64.0.1")["addresses"][0]
    assert (address["kernel"]["sets"], address["agrees"]) == ([], False)


def test_a_subscriber_without_anything() -> None:
    told = record(Subscriber("C-2"), {}, {}, {}, NOW, Policy())
    assert (told["level"], told["rev"], told["since"], told["next_change"]) == ("open", None, None, None)
    assert told["reasons"] == told["addresses"] == []
    assert told["promise"] == {
        "running": None,
        "spent": False,
        "breached": False,
        "in_30_days": None,
        "most_in_30_days": None,
    }


def test_a_promise_that_has_ended_is_no_longer_running() -> None:
    told = record(SUB, {}, {}, {}, NOW + HOUR, Policy())
    assert told["promise"]["running"] is None
    assert told["level"] == "walled"
    assert (told["reasons"][1]["state"], told["reasons"][1]["waits_for"]) == ("pending", "not_before")


def test_when_a_page_was_last_looked_at_is_told_and_not_of_somebody_else(tmp_path: Path) -> None:
    core = Core(tmp_path)
    core.send({"op": "block", "sub": "C-1", "reason": "debt"})
    core.send({"op": "bind", "sub": "C-1", "addresses": ["100.64.0.1"]})
    questions = core.pipeline.questions
    assert questions.why("C-1")["page_shown"] is None
    questions.standing("100.64.0.1")
    assert questions.why("C-1")["page_shown"] == rfc3339(core.pipeline.clock())
    core.send({"op": "forget", "sub": "C-1"})
    core.send({"op": "block", "sub": "C-2", "reason": "debt"})
    assert questions.why("C-2")["page_shown"] is None
