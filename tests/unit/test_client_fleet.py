"""The fleet out of state documents, and the commands that are typed beside billing, as far as no broker is needed."""

from __future__ import annotations

import asyncio
import io
import json
import re
import stat
import tomllib
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from edged import envelope
from edged.cli import fleet as screen
from edged.cli import lines as lines_module
from edged.cli import main
from edged.client import Brokers
from edged.client import fleet as fleet_module
from edged.client.fleet import Fleet
from edged.errors import EdgedError

NOW = 1_790_000_000_000


def state(**fields: Any) -> bytes:
    return json.dumps({"v": 1, "online": True, "in_sync": True, "version": "0.2.0", **fields}).encode()


def fleet(**documents: bytes) -> Fleet:
    out = Fleet()
    for gateway, payload in documents.items():
        out.hear(f"edged/v1/gw/{gateway}/state", payload, NOW)
    return out


def test_a_row_says_what_the_document_says() -> None:
    (row,) = fleet(gw1=state(subscribers=5, levels={"walled": 2}, hash="ab", portal="up")).rows([], NOW + 2500)
    assert (row.gateway, row.online, row.age_s, row.subscribers, row.levels) == ("gw1", True, 2.5, 5, {"walled": 2})
    assert (row.in_sync, row.hash, row.portal, row.version) == (True, "ab", "up", "0.2.0")
    assert (row.group, row.agrees, row.behind) == (None, None, None)
    (timed,) = fleet(gw1=state(at="2026-09-21T14:13:10Z")).rows([], NOW)
    assert timed.age_s == 10


def test_lag_is_counted_on_shared_streams_only() -> None:
    rows = fleet(
        a=state(streams={"erp group/pop/cmd": ["2026-11", 40], "erp gw/a/cmd": ["2026-11", 3]}),
        b=state(streams={"erp group/pop/cmd": ["2026-11", 37], "erp gw/b/cmd": ["2026-11", 900]}),
        c=state(streams={"erp group/pop/cmd": ["2026-10", 99]}),
        d=state(streams={"erp gw/d/cmd": ["2026-11", 1]}),
    ).rows([], NOW)
    assert [r.behind for r in rows] == [0, 3, 40, None]


def test_hashes_are_compared_within_a_group() -> None:
    seen = fleet(
        a1=state(hash="x"), a2=state(hash="x"), a3=state(hash="y"), b1=state(hash="z"), c1=state(hash="q"),
        c2=state(hash="r"), a4=state(hash="x", online=False), lone=state(hash="z"), old=state(),
    )  # fmt: skip
    rows = {r.gateway: (r.group, r.agrees) for r in seen.rows(["a*", "b1", "c1, c2", "old"], NOW)}
    assert rows["a1"] == rows["a2"] == ("a*", True)
    assert rows["a3"] == ("a*", False)
    assert rows["a4"] == ("a*", None)
    assert rows["b1"] == ("b1", None)
    assert rows["c1"] == rows["c2"] == ("c1, c2", False), "two that differ: nobody can tell which is right"
    assert rows["lone"] == (None, None)
    assert rows["old"] == ("old", None)


def test_nonsense_is_survived_and_an_empty_document_forgets() -> None:
    seen = fleet(
        a=b"\xff",
        b=b"[]",
        c=state(streams={"s": [1]}, levels=[], hash=5, subscribers=True, in_sync="x", at=9, version=2),
    )
    (row,) = seen.rows(["*"], NOW)
    assert row.gateway == "c"
    assert (row.behind, row.levels, row.hash, row.subscribers, row.in_sync, row.version) == (
        None,
        {},
        None,
        None,
        None,
        None,
    )
    seen.hear("edged/v1/gw/c/state", b"", NOW)
    assert seen.rows([], NOW) == []


def test_the_table_shows_what_needs_a_look_and_lets_nothing_rewrite_the_terminal() -> None:
    seen = fleet(
        gw1=state(hash="abcdef0123456789", levels={"walled": 12}),
        gw2=state(hash="0" * 16, online=False),
        evil=state(version="[red]\x1b[2J", portal="up\x07"),
    )
    out = io.StringIO()
    console = Console(file=out, width=160, highlight=False)
    console.print(screen._table(seen.rows(["gw*"], NOW + 600_000), "broker \x1b[0m"))
    text = out.getvalue()
    assert "3 gateways, 2 online" in text
    assert "silent" in text
    assert "abcdef01" in text
    assert "[red]" in text
    assert "\x1b" not in text
    assert "\x07" not in text


# ------------------------------------------------------------------------------------------------ keygen


def test_keygen_writes_one_half_and_prints_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["keygen", "erp", "--role", "billing", "--role", "legal"]) == 0
    (issuer,) = tomllib.loads(capsys.readouterr().out)["security"]["issuers"]
    path = tmp_path / "erp.key"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    key = envelope.read_private(path.read_text())
    assert issuer == {"name": "erp", "key": envelope.public_text(key), "roles": ["billing", "legal"]}
    keyring = envelope.Keyring(
        [envelope.Issuer("erp", (envelope.read_public(issuer["key"]),), frozenset({"billing"}))],
        required=True,
        audience=["gw1"],
        max_ahead=0,
        max_age=0,
    )
    assert keyring.open(envelope.sign(b"{}", key, "erp")).issuer == "erp"
    before = path.read_text()
    assert main(["keygen", "erp"]) == 1
    assert "erp.key exists" in capsys.readouterr().err
    assert path.read_text() == before
    assert main(["keygen", "erp", "--out", str(tmp_path / "no" / "folder")]) == 1
    assert main(["keygen", "erp", "--role", "king", "--out", "k"]) == 2
    for refused in ("a/b", "local", "João", "x" * 64, ".erp", "a b", ""):
        assert main(["keygen", refused, "--out", "k"]) == 2
    assert "1 to 63 of A-Z a-z 0-9 . _ -" in re.sub(r"[\s│]+", " ", capsys.readouterr().err)
    assert main(["keygen", "erp", "--out", "k", "--role", "noc", "--role", "noc"]) == 2
    assert "given twice" in capsys.readouterr().err
    assert not (tmp_path / "k").exists()


# ------------------------------------------------------------------------------------------------ publish


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["{}"], "--gateway or --group"),
        (["{}", "-g", "gw1", "--group", "all"], "--gateway or --group"),
        (["-g", "gw1"], "one command"),
        (["{}", "-g", "gw1", "--snapshot", "f"], "one command"),
        (["--group", "all", "--snapshot", "f"], "one --gateway"),
        (["{}", "-g", "gw1", "--key", "k"], "belong together"),
        (["{}", "-g", "gw1", "--password-file", "p"], "needs --username"),
        (["{}", "-g", "gw1", "-b", "http://x"], "write mqtt://"),
        (["{}", "-g", "gw1", "--name", "a/b"], "printable characters"),
        (["{}", "-g", "gw1", "--key", "/nonexistent", "--issuer", "erp"], "No such file"),
    ],
)
def test_wrong_usage_is_two_and_says_what_is_right(
    arguments: list[str], hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["publish", *arguments]) == 2
    assert hint in re.sub(r"[\s│]+", " ", capsys.readouterr().err)


def test_lines_become_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = ['{"op":"a"}', "", '{"op":"b"}', '{"op":"c"}', '{"id":"x","commands":[1]}', '{"op":"d"}']
    file = tmp_path / "lines"
    file.write_text("\n".join(lines))
    expected = [
        (1, {"commands": [{"op": "a"}, {"op": "b"}]}),
        (4, {"commands": [{"op": "c"}]}),
        (5, {"id": "x", "commands": [1]}),
        (6, {"commands": [{"op": "d"}]}),
    ]
    assert list(lines_module.batches(str(file), 2)) == expected
    monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(lines)))
    assert list(lines_module.batches("-", 2)) == expected
    assert list(lines_module.batches(' {"op":"a"}', 2)) == [(1, {"commands": [{"op": "a"}]})]
    for text, hint in (("{", "not JSON"), ("[1]", "an object was expected|object was expected")):
        file.write_text(text)
        with pytest.raises(Exception, match=hint):
            list(lines_module.batches(str(file), 2))
    with pytest.raises(Exception, match="No such file"):
        list(lines_module.batches(str(tmp_path / "none"), 2))


@pytest.mark.parametrize("reader", [lambda what: lines_module.batches(what, 9), lines_module.documents])
def test_latin_1_is_an_error_with_its_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reader: Any) -> None:
    raw = '{"op":"forget","sub":"Joao"}\n{"op":"forget","sub":"João"}\n'.encode("latin-1")
    (tmp_path / "lines").write_bytes(raw)
    with pytest.raises(EdgedError, match=r"lines: line 2: byte \d+ \(0xe3\) is not UTF-8; convert it"):
        list(reader(str(tmp_path / "lines")))
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(raw), encoding="latin-1"))
    with pytest.raises(EdgedError, match="-: line 2: byte"):
        list(reader("-"))


def test_what_is_no_number_is_not_sent_as_null(tmp_path: Path) -> None:
    (tmp_path / "lines").write_text('{"op":"trust","sub":"C-1","hours":NaN}')
    with pytest.raises(EdgedError, match="line 1: not JSON: NaN is no number"):
        list(lines_module.documents(str(tmp_path / "lines")))


async def test_a_fleet_that_never_falls_silent_is_told_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleet_module, "QUIET", 0.2)
    monkeypatch.setattr(fleet_module, "MOST", 0.5)
    watch = fleet_module.Watch(Brokers(["mqtt://127.0.0.1:1"]))
    watch._greeted.set()

    async def speak() -> None:
        while True:
            watch.changed.set()
            await asyncio.sleep(0.01)

    speaking = asyncio.create_task(speak())
    async with asyncio.timeout(30):
        await watch.told(1)
    speaking.cancel()
