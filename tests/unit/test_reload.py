"""SIGHUP as the daemon carries it out: who may sign changes, everything else waits, a mistake changes nothing."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from edged.config import load
from edged.domain.rejection import Rejected
from edged.envelope import OKPKey, public_text, sign
from edged.keeper import Keeper
from edged.reload import Reload, changed, keyring
from tests.unit.core import Core
from tests.unit.test_keeper import keeping

OLD, NEW = OKPKey.derive_key("old"), OKPKey.derive_key("new")
BROKERS = '["mqtts://a.example:8883"]'


def text(*keys: OKPKey, brokers: str = BROKERS, more: str = "") -> str:
    """A configuration in which erp signs with these keys."""
    names = ("key", "other_key")
    lines = "".join(f'{name} = "{public_text(key)}"\n' for name, key in zip(names, keys, strict=False))
    issuer = f'[[security.issuers]]\nname = "erp"\nroles = ["billing"]\n{lines}' if keys else ""
    return (
        'gateway = "gw1"\n[network]\nsubscriber_interfaces = ["eth1"]\n[portal]\nurl = "http://a.example/"\n'
        f"[mqtt]\nbrokers = {brokers}\n{more}\n{issuer}"
    )


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110  a log line sets no event
        await asyncio.sleep(0.001)


class Stage:
    def __init__(self, keeper: Keeper, reload: Reload, file: Path) -> None:
        self.keeper = keeper
        self._reload = reload
        self._file = file

    async def take(self, content: str, caplog: pytest.LogCaptureFixture) -> str:
        """Write the file, send the signal, and wait for the line in the log; returns it and what follows it."""
        self._file.write_text(content)
        caplog.clear()
        self._reload.ask()
        await until(lambda: any("reloaded" in r.getMessage() for r in caplog.records))
        return "\n".join(r.getMessage() for r in caplog.records)

    def obeys(self, key: OKPKey) -> bool:
        try:
            return self.keeper.pipeline.keyring.open(sign(b"{}", key, "erp")).issuer == "erp"
        except Rejected:
            return False


@pytest.fixture
async def stage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> AsyncIterator[Stage]:
    for name in list(os.environ):
        if name.startswith("EDGED_"):
            monkeypatch.delenv(name)
    caplog.set_level(logging.INFO)
    async with _staged(tmp_path) as stage:
        yield stage


@asynccontextmanager
async def _staged(folder: Path, content: str = text(OLD)) -> AsyncIterator[Stage]:
    file = folder / "edged.toml"
    file.write_text(content)
    core = Core(folder / "state")
    running = load(file)
    core.pipeline.keyring = keyring(running)
    async with keeping(core) as keeper:
        reload = Reload(running, file, keeper)
        task = asyncio.create_task(reload.run())
        try:
            yield Stage(keeper, reload, file)
        finally:
            task.cancel()
            await asyncio.wait([task])


async def test_keys_are_exchanged_without_a_moment_in_which_neither_is_good(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    assert (stage.obeys(OLD), stage.obeys(NEW)) == (True, False)
    said = await stage.take(text(OLD, NEW), caplog)
    assert "1 issuers with 2 keys may sign, signatures are required" in said
    assert (stage.obeys(OLD), stage.obeys(NEW)) == (True, True)
    await stage.take(text(NEW), caplog)
    assert (stage.obeys(OLD), stage.obeys(NEW)) == (False, True)
    assert not stage.keeper.errors


async def test_what_needs_a_restart_is_named(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    more = '[metrics]\nlisten = ""\n[policy]\nnotice_days = 3\n'
    said = await stage.take(text(NEW, brokers='["mqtts://b.example"]', more=more), caplog)
    assert "takes effect at the next start: mqtt.brokers, policy.notice_days, metrics.listen" in said
    assert stage.obeys(NEW)
    said = await stage.take(text(NEW, more=more), caplog)
    assert "takes effect at the next start: policy.notice_days, metrics.listen" in said


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (text(OLD).replace("roles", "rolls"), "did you mean security.issuers.roles?"),
        ("not TOML", "not TOML"),
        (text(NEW).replace("eth1", "lo"), "loopback interface"),  # also a mistake elsewhere
        (text(more="[security]\nrequire_signature = true"), "security.issuers names nobody who could sign"),
        (text(), "security.issuers names nobody, and mqtts://a.example:8883 is not on loopback"),
        # The new file would be in order by itself, but the daemon still listens to the distant broker.
        (text(brokers='["mqtt://127.0.0.1"]'), "security.issuers names nobody, and mqtts://a.example:8883 is not"),
    ],
    ids=["key", "toml", "elsewhere", "required of nobody", "nobody", "nobody on loopback"],
)
async def test_a_mistake_leaves_the_old_keys_in_force_and_is_shown(
    stage: Stage, caplog: pytest.LogCaptureFixture, content: str, why: str
) -> None:
    said = await stage.take(content, caplog)
    assert "the old configuration stays in force" in said
    assert (stage.obeys(OLD), stage.obeys(NEW)) == (True, False)
    assert stage.keeper.pipeline.keyring.required
    (error,) = stage.keeper.errors
    assert error["where"] == "config"
    assert why in error["text"]
    assert "\n" not in error["text"]
    await stage.take(text(NEW), caplog)  # and it is not deaf afterwards
    assert stage.obeys(NEW)


async def test_a_file_that_is_gone_changes_nothing(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    stage._file.unlink()
    stage._reload.ask()
    await until(lambda: bool(stage.keeper.errors))
    assert "no such file" in stage.keeper.errors[0]["text"]
    assert stage.obeys(OLD)


async def test_signatures_may_be_given_up_only_in_writing(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    said = await stage.take(text(more="[security]\nrequire_signature = false"), caplog)
    assert "0 issuers with 0 keys may sign, signatures are not required" in said
    assert not stage.keeper.pipeline.keyring.required


@pytest.mark.parametrize("required", ["", "[security]\nrequire_signature = false"], ids=["required", "optional"])
async def test_a_file_that_lost_its_issuers_is_refused_also_on_loopback(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, required: str
) -> None:
    caplog.set_level(logging.INFO)
    local = '["mqtt://127.0.0.1"]'
    async with _staged(tmp_path, text(OLD, brokers=local, more=required)) as stage:
        before = stage.keeper.pipeline.keyring
        said = await stage.take(text(brokers=local), caplog)
        assert "the old configuration stays in force" in said
        assert stage.keeper.pipeline.keyring is before
        assert stage.obeys(OLD)
        (error,) = stage.keeper.errors
        assert "is the file complete?" in error["text"]
        assert "security.require_signature = false" in error["text"]
        said = await stage.take(text(brokers=local, more="[security]\nrequire_signature = false"), caplog)
        assert "signatures are not required" in said


def test_the_keyring_is_what_the_configuration_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "edged.toml"
    file.write_text(text(OLD, NEW, more="[security]\nmax_ahead_minutes = 1\nmax_age_hours = 2"))
    ring = keyring(load(file))
    opened = ring.open(sign(b"{}", NEW, "erp"))
    assert opened.roles == {"billing"}
    fit: dict[str, Any] = {"name": None, "issuer": "erp", "expires": 10**12 + 1, "now": 10**12}
    for channel in ("gw1", "all"):
        ring.admit(opened, ts=10**12 + 60_000, aud=[channel], **fit)
        ring.admit(opened, ts=10**12 - 7_200_000, aud=[channel], **fit)
    for ts, aud, code in (
        (10**12 + 60_001, ["gw1"], "from_the_future"),
        (10**12 - 7_200_001, ["gw1"], "expired"),
        (10**12, ["gw2"], "wrong_audience"),
    ):
        with pytest.raises(Rejected, match=code):
            ring.admit(opened, ts=ts, aud=aud, **fit)


def test_what_has_changed_is_named_by_its_key(tmp_path: Path) -> None:
    file = tmp_path / "edged.toml"
    file.write_text(text(OLD))
    one = load(file)
    file.write_text(text(OLD, NEW).replace("gw1", "gw2").replace("[portal]", '[portal]\nprovider = { name = "X" }'))
    assert list(changed(one, load(file))) == ["gateway", "security.issuers", "portal.provider.name"]
    assert not list(changed(one, one))
