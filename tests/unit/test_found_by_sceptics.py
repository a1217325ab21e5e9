"""Each row was found by somebody who did not believe it: the shortest way to it, and what is right."""

from __future__ import annotations

import datetime as dt
import json
import zoneinfo
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edged.domain.calendar import Calendar
from edged.domain.model import Policy
from edged.envelope import Issuer, Keyring, generate, sign
from edged.errors import StoreError
from edged.intake import Incoming
from tests.unit.core import START, Core

DAY = 86_400_000
ZONE = zoneinfo.ZoneInfo("America/Sao_Paulo")


@pytest.fixture
def core(tmp_path: Path) -> Iterator[Core]:
    made = Core(tmp_path)
    yield made
    made.store.close()


def bind(sub: str, *addresses: str, **more: Any) -> dict[str, Any]:
    return {"op": "bind", "sub": sub, "addresses": list(addresses), **more}


def block(sub: str, reason: str = "debt", **more: Any) -> dict[str, Any]:
    return {"op": "block", "sub": sub, "reason": reason, **more}


def when(ms: int) -> str:
    return dt.datetime.fromtimestamp(ms / 1000, dt.UTC).isoformat().replace("+00:00", "Z")


def until(days: int) -> str:
    return when(START + days * DAY)


class Signed:
    """One issuer for each role."""

    def __init__(self, core: Core) -> None:
        self.core = core
        self.keys = {role: generate() for role in ("billing", "legal", "security", "operator")}
        issuers = [Issuer(role, (key,), frozenset({role})) for role, key in self.keys.items()]
        core.pipeline.keyring = Keyring(issuers, required=True, audience=("gw1",), max_ahead=300_000, max_age=DAY)
        self._n = 0

    def __call__(self, role: str, *commands: dict[str, Any]) -> list[str]:
        self._n += 1
        head = {"v": 1, "id": f"s{self._n}", "issuer": role, "ts": when(self.core.now), "aud": ["gw1"]}
        body = {**head, "expires": when(self.core.now + DAY), "commands": commands}
        payload = sign(json.dumps(body).encode(), self.keys[role], role)
        answer = self.core.pipeline.process([Incoming(payload, "gw/gw1/cmd")]).answers[0].document
        return [r.get("code") or r["status"] for r in answer["results"]]


@pytest.mark.parametrize(("role", "reason"), [("legal", "court"), ("security", "fraud"), ("operator", "operator")])
def test_billing_cannot_forget_what_it_may_not_clear(core: Core, role: str, reason: str) -> None:
    signed = Signed(core)
    assert signed("billing", bind("C-1", "100.64.0.1")) == ["applied"]
    assert signed(role, block("C-1", reason)) == ["applied"]
    assert signed("billing", {"op": "forget", "sub": "C-1"}) == ["not_authorized"]
    assert signed(role, {"op": "unblock", "sub": "C-1", "reason": reason}) == ["applied"]
    assert signed("billing", {"op": "forget", "sub": "C-1"}) == ["applied"]


def test_a_snapshot_leaves_a_literal_address_its_own(core: Core) -> None:
    core.send(block("100.64.50.1", "court"), bind("C-1", "100.64.0.1"))
    core.sync([bind("C-1", "100.64.0.1")])
    assert core.level("100.64.50.1") == "blocked"
    assert core.pipeline.questions.why("100.64.50.1")["addresses"]
    assert core.agrees()


def test_who_overrides_passes_a_release_that_runs(core: Core) -> None:
    core.send(bind("C-1", "100.64.0.1", area="north"))
    core.send({"op": "moratorium", "area": "north", "until": until(5), "release_existing": True})
    core.send(block("C-1", override={"author": "T-1", "motive": "fraudulent claim"}))
    assert core.level("C-1") == "walled"
    core.send({"op": "calendar", "area": "north", "dates": ["2026-12-01"], "version": "1"})
    core.sweep()
    assert core.level("C-1") == "walled"


@pytest.mark.parametrize("bind_first", [True, False])
def test_where_somebody_lives_counts_whichever_part_says_it(core: Core, bind_first: bool) -> None:
    core.send({"op": "moratorium", "area": "north", "until": until(5)})
    parts = [[bind("C-1", "100.64.0.1", area="north")], [block("C-1")]]
    core.sync(*(parts if bind_first else parts[::-1]))
    assert core.level("C-1") == "open"


def test_a_snapshot_that_moves_somebody_into_a_released_area_lets_go(core: Core) -> None:
    core.send(bind("C-1", "100.64.0.1"), block("C-1"))
    core.send({"op": "moratorium", "area": "north", "until": until(5), "release_existing": True})
    core.sync([bind("C-1", "100.64.0.1", area="north"), block("C-1")])
    assert core.level("C-1") == "open"
    core.sync([bind("C-1", "100.64.0.1", area="south"), block("C-1")], name="s2")
    assert core.level("C-1") == "walled"
    assert core.agrees()


def test_what_a_full_disk_refused_is_not_half_remembered(core: Core, monkeypatch: pytest.MonkeyPatch) -> None:
    core.send(bind("C-1", "100.64.0.1"), block("C-1", "notice"))
    told = {"op": "moratorium", "area": "north", "until": until(5)}
    with monkeypatch.context() as m:
        m.setattr(core.store, "commit", lambda *_, **__: (_ for _ in ()).throw(StoreError("disk full")))
        with pytest.raises(StoreError):
            core.send(told)
    core.upkeep.seen("100.64.0.1")
    assert core.status(told) == ["applied"]
    core.restart()
    assert core.status(told) == ["unchanged"]


def test_the_usual_length_of_a_claim_is_never_too_long(tmp_path: Path) -> None:
    core = Core(tmp_path, Policy(calendar=Calendar(ZONE, "BR")))
    core.now = round(dt.datetime(2026, 2, 13, 12, tzinfo=ZONE).timestamp() * 1000)  # Friday before Carnival
    core.send(block("100.64.0.1", override={"author": "T", "motive": "test"}))
    claim = {"op": "trust", "sub": "100.64.0.1", "basis": "payment_claimed", "method": "collection"}
    assert core.status(claim) == ["applied"]
    core.store.close()


@pytest.mark.parametrize("snapshot", [True, False])
def test_a_block_for_settled_invoices_alone_replaces_the_old_one_by_nothing(core: Core, snapshot: bool) -> None:
    core.send(bind("C-1", "100.64.0.1"), {"op": "paid", "sub": "C-1", "invoices": ["F-1"]})
    core.send(block("C-1", invoices=["F-2"]))
    if snapshot:
        core.sync([bind("C-1", "100.64.0.1"), block("C-1", invoices=["F-1"])])
    else:
        assert core.status(block("C-1", invoices=["F-1"])) == ["applied"]
    assert core.level("C-1") == "open"


@pytest.mark.parametrize(
    "lift",
    [
        {"op": "defer", "sub": "C-1", "kind": "dispute", "until": until(-1)},
        {"op": "trust", "sub": "C-1", "until": until(-1)},
    ],
)
def test_a_refused_promise_in_a_snapshot_keeps_no_debt_that_is_gone(core: Core, lift: dict[str, Any]) -> None:
    core.send(bind("C-1", "100.64.0.1"), block("C-1"))
    answer = core.sync([bind("C-1", "100.64.0.1"), lift])
    assert answer["summary"]["rejected"] == 1
    assert core.level("C-1") == "open"


def test_what_comes_due_or_is_let_go_by_itself_is_on_record(core: Core) -> None:
    core.send(bind("C-1", "100.64.0.1", area="north"), block("C-1"))
    core.send({"op": "moratorium", "area": "north", "until": until(5), "release_existing": True})
    core.sweep()
    rows = [row for row in core.store.audit_window(0, 1000) if row["sub"] == "C-1"]
    assert (rows[-1]["op"], rows[-1]["after"]["level"]) == ("timer", "open")
