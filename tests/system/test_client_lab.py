"""The sender's side against the real daemon and the kernel: an ERP's table, a key of its own, commands by hand."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab import lab as lab_module
from tests.lab.lab import CONFIG, GATEWAY, Lab, edged_binary
from tests.lab.topology import BANK4, WWW4

ROOT = Path(__file__).parents[2]


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    """A lab that obeys the issuer ``erp``, whose key is in the test's folder."""
    made = subprocess.run(
        [str(edged_binary()), "keygen", "erp", "--out", str(tmp_path / "erp.key")],
        capture_output=True,
        text=True,
        check=True,
    )
    file = tmp_path / "edged.toml"
    file.write_text(CONFIG.read_text().replace("require_signature = false", "") + "\n" + made.stdout)
    monkeypatch.setattr(lab_module, "CONFIG", file)
    with Lab() as lab:
        lab.start_daemon()
        yield lab


@contextlib.contextmanager
def mirror(lab: Lab, folder: Path) -> Iterator[subprocess.Popen[str]]:
    """The example, SIGKILLed at the end."""
    command = [sys.executable, "-u", str(ROOT / "examples" / "erp_mirror.py"), str(folder / "erp.db"), "--poll", "0.05"]
    keys = ["--issuer", "erp", "--key", str(folder / "erp.key")]
    with (folder / "mirror.log").open("a") as log:
        started = subprocess.Popen(
            [*lab.network.gateway.prefix(), *command, *keys], stdout=log, stderr=subprocess.STDOUT, text=True
        )
    try:
        yield started
    finally:
        started.kill()
        started.wait()


def test_an_erps_table_decides_who_browses(lab: Lab, tmp_path: Path) -> None:
    erp = sqlite3.connect(tmp_path / "erp.db", isolation_level=None, timeout=30)
    erp.executescript((ROOT / "examples" / "erp_schema.sql").read_text())
    person = lab.debtor.person
    page, log = f"http://{WWW4}/", tmp_path / "mirror.log"

    def walled() -> bool:
        return lab.debtor.http(page).status == 302

    row = (person.sub, "maria@fibra", GATEWAY, person.v4, person.prefix)
    insert = "INSERT INTO contrato (contrato, login, concentrador, ipv4, prefixo_ipv6) VALUES (?, ?, ?, ?, ?)"
    with mirror(lab, tmp_path):
        erp.execute(insert, row)
        erp.execute("INSERT INTO fatura VALUES ('F-1', ?, '2026-11-05', NULL)", (person.sub,))
        erp.execute("UPDATE contrato SET status = 'bloqueado' WHERE contrato = ?", (person.sub,))
        lab.wait_until(walled, f"walled; {log.read_text()}")
        assert lab.debtor.tcp(BANK4, 443).outcome == "open"
        assert lab.neighbour.http(page).status == 200
    # Paid while the mirror is dead; the next one hands it over.
    erp.execute("UPDATE fatura SET paga_em = '2026-11-21' WHERE contrato = ?", (person.sub,))
    erp.execute("UPDATE contrato SET status = 'ativo' WHERE contrato = ?", (person.sub,))
    assert walled()
    with mirror(lab, tmp_path):
        lab.wait_until(lambda: lab.debtor.http(page).status == 200, f"released; {log.read_text()}")
    record = lab.edged_json("why", person.sub)
    assert record["level"] == "open"
    assert not [e for e in lab.manager.since(0, "event") if e.document["event"] == "resync.wanted"]
    erp.close()


def test_commands_by_hand_and_the_fleet(lab: Lab, tmp_path: Path) -> None:
    person = lab.debtor.person
    at = ["--broker", "mqtt://127.0.0.1:1883"]
    signed = ["-g", GATEWAY, "--issuer", "erp", "--key", str(tmp_path / "erp.key")]

    def edged(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [*lab.network.gateway.prefix(), str(edged_binary()), *arguments, *at]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    commands = [
        {"op": "bind", "sub": person.sub, "addresses": person.addresses},
        {"op": "block", "sub": person.sub, "reason": "debt", "invoices": ["F-1"]},
    ]
    (tmp_path / "lines").write_text("".join(json.dumps(c) + "\n" for c in commands))
    told = edged("publish", str(tmp_path / "lines"), *signed)
    assert told.returncode == 0, told.stderr
    assert "2 applied" in told.stdout
    assert lab.debtor.http(f"http://{WWW4}/").status == 302
    operator = json.dumps({"op": "block", "sub": person.sub, "reason": "operator"})
    refused = edged("publish", operator, *signed, "--json")
    assert refused.returncode == 1
    assert json.loads(refused.stdout)["results"][0]["code"] == "not_authorized"
    assert "unsigned" in edged("publish", operator, "-g", GATEWAY).stdout
    (row,) = [json.loads(line) for line in edged("fleet", "--json").stdout.splitlines()]
    assert (row["gateway"], row["online"], row["in_sync"]) == (GATEWAY, True, True)
    assert len(row["hash"]) == 16
