"""A short run of the forger, and proof that it can fail: each safeguard taken away lets it through."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edged.domain.rejection import Rejected
from edged.envelope import Keyring, Opened, _decoded
from tests.forgery import Accepted, Trial, keyring


def test_no_forgery_is_accepted_and_genuine_messages_are(tmp_path: Path) -> None:
    seen = Trial(tmp_path, seed=3).run(4000)
    assert seen.total() == 4000
    codes = {kind.partition(": ")[2] for kind in seen}
    assert codes >= {
        "bad_signature",
        "duplicate",
        "expired",
        "from_the_future",
        "malformed",
        "not_authorized",
        "stale",
        "unsigned",
        "wrong_audience",
    }


class Believing(Keyring):
    """Never verifies."""

    def _verified(self, payload: bytes) -> Opened:
        try:
            return super()._verified(payload)
        except Rejected as e:
            parts = payload.split(b".")
            if e.code != "bad_signature" or len(parts) != 3:
                raise
            return Opened(_decoded(parts[1], "body"), "erp", frozenset({"billing"}))


class Careless(Keyring):
    """Does not look whom it is for, or when it was."""

    def admit(self, opened: Opened, **claims: Any) -> None:
        claims["aud"] = ["gw1"] if claims["aud"] is not None else None
        super().admit(opened, **claims)


class Timeless(Keyring):
    """Has no clock."""

    def admit(self, opened: Opened, **claims: Any) -> None:
        claims["ts"] = claims["ts"] and claims["now"]
        claims["expires"] = claims["expires"] and claims["now"] + 1
        super().admit(opened, **claims)


class Trusting(Keyring):
    """Takes unsigned messages."""

    def open(self, payload: bytes, *, local: bool = False) -> Opened:
        return super().open(payload, local=True)


@pytest.mark.parametrize(
    ("kind", "what"),
    [
        (Believing, "answered"),
        (Careless, "elsewhere"),
        (Timeless, "(out of time|held back|replayed)"),
        (Trusting, "unsigned"),
    ],
)
def test_without_a_safeguard_of_the_envelope_forgeries_are_found_to_pass(
    tmp_path: Path, kind: type[Keyring], what: str
) -> None:
    with pytest.raises(Accepted, match=what):
        Trial(tmp_path, seed=3, ring=keyring(kind)).run(4000)


def _no_roles(monkeypatch: pytest.MonkeyPatch, _trial: Trial) -> None:
    monkeypatch.setattr("edged.intake._may", lambda *_: True, raising=False)  # what it finds, it keeps
    monkeypatch.setattr("edged.domain.roles.may", lambda *_: True)


def _no_memory(monkeypatch: pytest.MonkeyPatch, trial: Trial) -> None:
    monkeypatch.setattr(trial.core.store, "answers", lambda _: {})


def _no_order(monkeypatch: pytest.MonkeyPatch, _trial: Trial) -> None:
    monkeypatch.setattr("edged.numberings.judge", lambda *_: None)


def _deaf(monkeypatch: pytest.MonkeyPatch, trial: Trial) -> None:
    def closed(*_: object, **__: object) -> Opened:
        raise Rejected("bad_signature", "to everybody")

    monkeypatch.setattr(trial.core.pipeline.keyring, "open", closed)


@pytest.mark.parametrize(
    ("sabotage", "what"),
    [
        (_no_roles, "overstepping"),
        (_no_memory, "replayed"),
        (_no_order, "held back"),
        (_deaf, "(genuine|answered)"),
    ],
)
def test_without_a_safeguard_of_the_pipeline_forgeries_are_found_to_pass(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    sabotage: Callable[[pytest.MonkeyPatch, Trial], None],
    what: str,
) -> None:
    trial = Trial(tmp_path, seed=3)
    sabotage(monkeypatch, trial)
    with pytest.raises(Accepted, match=what):
        trial.run(4000)
