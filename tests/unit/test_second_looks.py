"""What a second look found: each of these once let somebody out, in, or believe something untrue."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.core import Core

HOUR = 3_600_000
DEBT = {"op": "block", "sub": "C-1", "reason": "debt"}


@pytest.fixture
def core(tmp_path: Path) -> Iterator[Core]:
    made = Core(tmp_path)
    yield made
    made.store.close()


def trust(**more: Any) -> dict[str, Any]:
    return {"op": "trust", "sub": "C-1", **({"hours": 1} | more)}


def test_a_breach_outlives_unblock_and_a_new_block_but_not_payment(core: Core) -> None:
    """domain.md §2: none after a breach; a forgetful ERP does not reset it."""
    core.status({**DEBT, "invoices": ["R1"]}, trust())
    core.wait(2 * HOUR)
    core.status({"op": "unblock", "sub": "C-1", "reason": "debt"}, {**DEBT, "invoices": ["R2"]})
    assert core.status(trust()) == ["trust_spent"]
    assert core.status({"op": "paid", "sub": "C-1"}, {**DEBT, "invoices": ["R3"]}, trust()) == ["applied"] * 3


def test_sending_a_block_again_does_not_put_it_off(core: Core) -> None:
    core.status(DEBT)
    later = {"not_before": "2999-01-01T00:00:00Z"}
    assert core.status({**DEBT, **later, "ref": "T-2"}) == ["applied"]
    assert core.level("C-1") == "walled"


def test_invoices_that_arrive_under_a_promise_for_all_are_spent_too(core: Core) -> None:
    core.status({**DEBT, "invoices": ["A"]}, trust())
    core.status({**DEBT, "invoices": ["A", "B"]})
    core.status({"op": "paid", "sub": "C-1", "invoices": ["A"]}, {"op": "untrust", "sub": "C-1"})
    assert core.status(trust(invoices=["B"])) == ["trust_spent"]


def test_a_promise_that_does_not_open_says_so(core: Core) -> None:
    core.status({**DEBT, "invoices": ["A", "B"]})
    (result,) = core.send(trust(invoices=["A"]))["results"]
    assert result["status"] == "applied"
    assert "still walled" in result["detail"]


def test_event_numbers_rise_although_published_events_are_removed(core: Core) -> None:
    """docs/protocol.md, Events."""
    numbers = []
    for name in ("C-1", "C-2", "C-1"):
        core.status({"op": "bind", "sub": name, "addresses": ["100.64.0.10"]})
        for number, _ in core.store.events():
            numbers.append(number)
            core.store.forget_events(number)
    assert len(numbers) == 2
    assert numbers == sorted(set(numbers))


def test_a_batch_that_cannot_be_read_is_answered_under_its_id(core: Core) -> None:
    document = {"v": 2, "id": "mine", "commands": [DEBT]}
    answer = core.process(json.dumps(document).encode()).answers[0].document
    assert (answer["id"], answer["results"][0]["code"]) == ("mine", "malformed")


def test_what_is_said_twice_counts_as_said_last(core: Core) -> None:
    twice = b'{"v": 1, "id": "a", "id": "b", "commands": [{"op": "bind", "sub": "A", "sub": "B", "addresses": []}]}'
    answer = core.process(twice).answers[0].document
    assert (answer["id"], answer["results"][0]["sub"]) == ("b", "B")
    two_ops = b'{"op": "block", "op": "unblock", "sub": "100.64.0.10", "reason": "debt"}'
    assert core.process(two_ops).answers[0].document["results"][0]["code"] == "malformed"


@pytest.mark.parametrize(
    "payload",
    [
        json.dumps(DEBT).encode("utf-16"),
        *(json.dumps({"v": 1, "id": "b", "commands": [DEBT]}).encode(e) for e in ("utf-16", "utf-32-le", "utf-8-sig")),
        json.dumps({**DEBT, "rev": True}).encode(),
        json.dumps({**DEBT, "rev": "7"}).encode(),
    ],
    ids=["UTF-16", "batch in UTF-16", "batch in UTF-32", "byte order mark", "rev is true", "rev is text"],
)
def test_what_is_nearly_right_is_refused(core: Core, payload: bytes) -> None:
    assert core.process(payload).answers[0].document["results"][0]["code"] == "malformed"


def test_more_than_a_set_holds_is_growth_and_no_error(core: Core) -> None:
    blocks = [{"op": "block", "sub": f"100.70.{i >> 8}.{i & 255}", "reason": "debt"} for i in range(4500)]
    payload = json.dumps({"v": 1, "id": "many", "commands": blocks}).encode()
    assert not core.process(payload).enforced
    assert core.pipeline.doubt == "growth"
    assert core.observer.kernel_errors == []
    core.refill()
    assert core.enforcer.set_counts()["restricted4"] == 4500


def test_nobody_else_reads_the_database(core: Core) -> None:
    for name in ("edged.db", "edged.db-wal"):
        assert (core.directory / name).stat().st_mode & 0o007 == 0


def test_what_is_forgotten_is_in_no_file(core: Core) -> None:
    """domain.md §6: ``forget`` really removes."""
    core.status({**DEBT, "sub": "FORGET-ME", "ref": "TICKET-X"})
    core.status({"op": "forget", "sub": "FORGET-ME"})
    core.tidy_audit()
    written = b"".join(f.read_bytes() for f in core.directory.iterdir())
    assert b"FORGET-ME" not in written
    assert b"TICKET-X" not in written


def test_an_unbind_that_is_refused_does_not_raise_the_revision(core: Core) -> None:
    """A command is applied whole or refused whole."""
    core.status({"op": "bind", "sub": "C-1", "addresses": ["100.64.0.10"], "rev": 1})
    assert core.status({"op": "unbind", "sub": "C-1", "addresses": ["nonsense"], "rev": 9}) == ["bad_address"]
    assert core.status({"op": "unbind", "sub": "C-1", "rev": 2}) == ["applied"]
