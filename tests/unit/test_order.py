"""Numbered batches: in order, too late, or with a gap before them; each issuer on each channel for itself."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edged.domain.model import rfc3339
from edged.domain.order import Gap, judge
from edged.domain.rejection import Rejected
from edged.domain.roles import EVERY_ROLE
from edged.envelope import Issuer, Keyring, generate, sign
from edged.errors import StoreError
from edged.intake import Incoming
from tests.unit.core import Core

OWN, GROUP = "gw/gw1/cmd", "group/all/cmd"


@pytest.fixture
def core(tmp_path: Path) -> Iterator[Core]:
    made = Core(tmp_path)
    yield made
    made.store.close()


def batch(seq: int, *commands: Any, epoch: str = "2026-11", issuer: str = "erp", **more: Any) -> dict[str, Any]:
    commands = commands or ({"op": "digest"},)
    name = f"{issuer}-{epoch}-{seq}"
    return {"v": 1, "id": name, "issuer": issuer, "epoch": epoch, "seq": seq, "commands": commands, **more}


def code(answer: dict[str, Any]) -> str:
    return str(answer["results"][0].get("code", answer["results"][0]["status"]))


def gaps(core: Core) -> list[tuple[str, str, str, int, int]]:
    found = [e for e in core.events() if e["event"] == "resync.wanted"]
    return [(e["issuer"], e["stream"], e["epoch"], e["expected"], e["got"]) for e in found]


@pytest.mark.parametrize(
    ("last", "epoch", "seq", "gap"),
    [
        (None, "a", 0, None),
        (None, "a", 1, None),
        (None, "a", 2, Gap(1, 2)),
        (("a", 5), "a", 6, None),
        (("a", 5), "a", 9, Gap(6, 9)),
        (("a", 5), "b", 0, None),
        (("a", 5), "b", 1, None),
        (("a", 5), "b", 7, Gap(1, 7)),
        (("2026-9", 5), "2026-11", 1, "stale"),  # text, not numbers: senders pad
        (("a", 5), "a", 5, "stale"),
        (("a", 5), "a", 4, "stale"),
        (("b", 0), "a", 9, "stale"),
    ],
)
def test_what_follows_on_what(last: tuple[str, int] | None, epoch: str, seq: int, gap: Gap | str | None) -> None:
    if gap == "stale":
        with pytest.raises(Rejected, match="stale"):
            judge(last, epoch, seq)
    else:
        assert judge(last, epoch, seq) == gap


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 9)), max_size=30))
def test_whatever_comes_the_highest_only_rises(numbers: list[tuple[str, int]]) -> None:
    last: tuple[str, int] | None = None
    for epoch, seq in numbers:
        try:
            gap = judge(last, epoch, seq)
        except Rejected:
            assert last is not None
            assert (epoch, seq) <= last
            continue
        assert last is None or (epoch, seq) > last
        assert gap is None or gap.expected < gap.got == seq
        last = epoch, seq


def test_a_gap_is_applied_told_and_asked_about(core: Core) -> None:
    for seq in (1, 2):
        assert "gap" not in core.post(batch(seq), OWN)
    answer = core.post(batch(5, {"op": "bind", "sub": "C-1", "addresses": ["100.64.0.10"]}), OWN)
    assert answer["gap"] == {"expected": 3, "got": 5}
    assert answer["results"][0]["status"] == "applied"
    assert gaps(core) == [("erp", OWN, "2026-11", 3, 5)]
    late = core.post(batch(4), OWN)
    assert code(late) == "stale"
    assert late["id"] == "erp-2026-11-4"
    assert "gap" not in core.post(batch(6), OWN)


def test_a_gateway_that_meets_a_numbering_in_the_middle_wants_all_of_it(core: Core) -> None:
    assert core.post(batch(41), OWN)["gap"] == {"expected": 1, "got": 41}
    assert gaps(core) == [("erp", OWN, "2026-11", 1, 41)]


def test_a_batch_seen_before_is_a_duplicate_before_it_is_stale(core: Core) -> None:
    first = core.post(batch(1), OWN)
    core.post(batch(2), OWN)
    core.restart()
    again = core.post(batch(1), OWN)
    assert again == {**first, "duplicate": True}
    assert code(core.post({**batch(1), "id": "another"}, OWN)) == "stale"


def test_issuers_and_channels_are_numbered_each_for_itself(core: Core) -> None:
    for seq in (1, 2, 3):
        for issuer in ("erp", "noc"):
            for source in (OWN, GROUP):
                document = batch(seq, issuer=issuer)
                document["id"] += source
                assert "gap" not in core.post(document, source)
                assert code(core.post({**document, "id": f"late{source}{issuer}{seq}"}, source)) == "stale"
    assert gaps(core) == []
    streams = {(n.issuer, n.source): (n.epoch, n.seq) for n in core.pipeline.numberings.all()}
    assert streams == {(i, s): ("2026-11", 3) for i in ("erp", "noc") for s in (OWN, GROUP)}


def test_the_same_id_of_two_issuers_is_two_batches(core: Core) -> None:
    assert not core.post({**batch(1), "id": "x"}, OWN)["duplicate"]
    assert not core.post({**batch(1, issuer="noc"), "id": "x"}, OWN)["duplicate"]
    assert core.post({**batch(1), "id": "x"}, OWN)["duplicate"]


def test_a_new_epoch_begins_anew_and_the_old_one_is_over(core: Core) -> None:
    core.post(batch(7, epoch="a"), OWN)
    assert "gap" not in core.post(batch(1, epoch="b"), OWN)
    assert code(core.post(batch(8, epoch="a"), OWN)) == "stale"
    core.restart()
    assert code(core.post(batch(9, epoch="a"), OWN)) == "stale"
    assert "gap" not in core.post(batch(2, epoch="b"), OWN)
    assert core.pipeline.numberings.latest is not None
    assert core.pipeline.numberings.latest[2:] == (OWN, "b", 2)


def test_what_was_not_committed_did_not_count(core: Core, monkeypatch: pytest.MonkeyPatch) -> None:
    core.post(batch(1), OWN)
    with monkeypatch.context() as broken:
        broken.setattr(core.store, "_commit", lambda _: (_ for _ in ()).throw(StoreError("disk full")))
        with pytest.raises(StoreError):
            core.post(batch(2), OWN)
    assert "gap" not in core.post(batch(2), OWN)
    assert code(core.post({**batch(2), "id": "x"}, OWN)) == "stale"


def test_refused_batches_do_not_move_the_numbering(core: Core) -> None:
    core.post(batch(1), OWN)
    assert code(core.post(batch(2, expires="2001-01-01T00:00:00Z"), OWN)) == "expired"
    assert core.post(batch(3), OWN)["gap"] == {"expected": 2, "got": 3}


def test_what_a_snapshot_includes_counts_as_seen(core: Core) -> None:
    core.sync([{"op": "bind", "sub": "C-1", "addresses": ["100.64.0.10"]}], issuer="erp", epoch="2026-11", seq=40)
    assert "gap" not in core.post(batch(41), OWN)
    assert code(core.post(batch(40), OWN)) == "stale"
    core.sync([], name="older", issuer="erp", epoch="2026-11", seq=7)
    core.restart()
    assert "gap" not in core.post(batch(42), OWN)


def test_numbers_without_epoch_and_epochs_without_number(core: Core) -> None:
    document = batch(1)
    del document["epoch"]
    assert "gap" not in core.post(document, OWN)
    document = batch(2)
    del document["seq"]
    assert code(core.post(document, OWN)) == "malformed"
    unnumbered = {"v": 1, "id": "free", "issuer": "erp", "commands": [{"op": "digest"}]}
    assert code(core.post(unnumbered, OWN)) == "applied"


# -- together with signatures ------------------------------------------------------------------------------------------


@pytest.fixture
def signed(core: Core) -> tuple[Core, Any]:
    key = generate()
    issuer = Issuer("erp", (key,), EVERY_ROLE)
    core.pipeline.keyring = Keyring(
        [issuer], required=False, audience=["gw1", "all"], max_ahead=300_000, max_age=86_400_000
    )
    return core, key


def signed_batch(core: Core, key: Any, document: dict[str, Any], source: str) -> dict[str, Any]:
    times = {"ts": rfc3339(core.now), "expires": rfc3339(core.now + 60_000)}
    body = json.dumps({**times, **document}).encode()
    return core.pipeline.process([Incoming(sign(body, key, "erp"), source)]).answers[0].document


def test_a_batch_held_back_cannot_come_on_another_channel(signed: tuple[Core, Any]) -> None:
    core, key = signed
    held = batch(1, aud=["gw1"])
    assert code(signed_batch(core, key, held, GROUP)) == "wrong_audience"
    assert code(signed_batch(core, key, held, OWN)) == "applied"


def test_one_carried_out_before_is_answered_although_it_has_expired_since(signed: tuple[Core, Any]) -> None:
    core, key = signed
    times = {"ts": rfc3339(core.now), "expires": rfc3339(core.now + 60_000)}
    first = signed_batch(core, key, batch(1, aud=["gw1"], **times), OWN)
    core.now += 120_000
    again = signed_batch(core, key, batch(1, aud=["gw1"], **times), OWN)
    assert again == {**first, "duplicate": True}
    assert code(signed_batch(core, key, batch(2, aud=["gw1"], **times), OWN)) == "expired"


def test_an_unsigned_batch_cannot_speak_for_one_who_signs(signed: tuple[Core, Any]) -> None:
    core, _ = signed
    assert code(core.post(batch(1), OWN)) == "unsigned"
    assert code(core.post(batch(1, issuer="somebody"), OWN)) == "applied"
