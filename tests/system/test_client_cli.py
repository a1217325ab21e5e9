"""``edged publish`` and ``edged fleet`` as typed, against a real broker and gateways that speak the protocol."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edged import envelope
from tests.broker import Broker, Peer
from tests.fake_gateway import FakeGateway
from tests.lab.lab import edged_binary

ROOT = Path(__file__).parents[2]


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with Broker(tmp_path / "broker", log_type="error") as running:
        yield running


async def edged(*arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    command = [str(edged_binary()), *arguments]
    return await asyncio.to_thread(
        subprocess.run, command, input=stdin, capture_output=True, text=True, timeout=60, check=False
    )


def block(sub: str) -> str:
    return json.dumps({"op": "block", "sub": sub, "reason": "debt"})


async def test_one_command_is_signed_published_and_answered(broker: Broker, tmp_path: Path) -> None:
    made = await edged("keygen", "erp", "--out", str(tmp_path / "key"))
    assert made.returncode == 0, made.stderr
    public = made.stdout.split('key = "')[1].split('"')[0]
    issuer = envelope.Issuer("erp", (envelope.read_public(public),), frozenset({"billing"}))
    signed = ["-b", broker.url, "-g", "gw1", "--key", str(tmp_path / "key"), "--issuer", "erp"]
    async with FakeGateway("gw1", [broker.url], issuers=[issuer]) as gateway:
        told = await edged("publish", block("C-1"), *signed)
        assert told.returncode == 0, told.stderr
        assert "gw1 1: " in told.stdout
        assert "1 applied" in told.stdout
        gateway.bad["C-2"] = "trust_spent"
        told = await edged("publish", block("C-2"), *signed, "--json")
        assert told.returncode == 1
        assert json.loads(told.stdout)["results"][0]["code"] == "trust_spent"
        told = await edged("publish", block("C-3"), "-b", broker.url, "-g", "gw1")
        assert told.returncode == 1
        assert "unsigned" in told.stdout
    assert [c["sub"] for c in gateway.commands] == ["C-1", "C-2"]


async def test_lines_from_a_file_or_stdin_keep_their_order_and_batches_their_ids(
    broker: Broker, tmp_path: Path
) -> None:
    own = {"v": 1, "id": "mine", "commands": [json.loads(block("C-5"))]}
    lines = [*(block(f"C-{n}") for n in range(1, 5)), json.dumps(own), block("C-6")]
    (tmp_path / "lines").write_text("\n".join(lines))
    to = ["-b", "mqtt://127.0.0.1:1", "-b", broker.url, "-g", "gw1"]
    async with FakeGateway("gw1", [broker.url]) as gateway:
        assert (await edged("publish", str(tmp_path / "lines"), *to)).returncode == 0
        assert [c["sub"] for c in gateway.commands] == [f"C-{n}" for n in range(1, 7)]
        assert [len(b["commands"]) for b in gateway.applied] == [4, 1, 1]
        assert gateway.applied[1]["id"] == "mine"
        told = await edged("publish", "-", *to, stdin="\n".join([*lines[4:], "{broken"]))
        assert told.returncode == 1
        assert "mine (duplicate)" in told.stdout
        assert "line 3: not JSON" in told.stderr
        assert gateway.duplicates == 1


async def test_a_full_disk_for_the_answers_is_one_line(broker: Broker) -> None:
    command = [str(edged_binary()), "publish", block("C-1"), "-b", broker.url, "-g", "gw1"]
    async with FakeGateway("gw1", [broker.url]) as gateway:
        with Path("/dev/full").open("w") as full:
            told = await asyncio.to_thread(subprocess.run, command, stdout=full, stderr=subprocess.PIPE, timeout=60)
        assert told.returncode == 1
        assert told.stderr.startswith(b"edged: stdout: No space left on device")
        assert b"\nTraceback" not in told.stderr
        assert b"ignored" not in told.stderr
        assert len(gateway.applied) == 1


async def test_silence_is_one(broker: Broker) -> None:
    told = await edged("publish", block("C-1"), "-b", broker.url, "-g", "gw1", "--timeout", "0.5")
    assert told.returncode == 1
    assert "no answer yet from gw1" in told.stderr
    told = await edged("publish", block("C-1"), "-b", broker.url, "--group", "all", "--timeout", "0.5")
    assert told.returncode == 1
    assert "nobody of the group answered" in told.stderr
    told = await edged("publish", block("C-1"), "-b", "mqtt://127.0.0.1:1", "-g", "gw1", "--timeout", "0.5")
    assert told.returncode == 1
    assert "no broker took the message" in told.stderr


async def test_a_group_and_who_must_answer(broker: Broker) -> None:
    to = ["-b", broker.url, "--group", "pop1", "--timeout", "5"]
    async with FakeGateway("gw1", [broker.url], groups=["pop1"]), FakeGateway("gw2", [broker.url], groups=["pop1"]):
        told = await edged("publish", block("C-1"), *to, "--expect", "gw1", "--expect", "gw2", "--json")
        assert told.returncode == 0, told.stderr
        assert {json.loads(line)["gateway"] for line in told.stdout.splitlines()} == {"gw1", "gw2"}
        told = await edged("publish", block("C-2"), *to[:-1], "0.5", "--expect", "gw1", "--expect", "gw9")
        assert told.returncode == 1
        assert "gw1 1:" in told.stdout
        assert "no answer yet from gw9" in told.stderr


async def test_a_snapshot_from_a_file(broker: Broker, tmp_path: Path) -> None:
    table = [{"op": "bind", "sub": f"C-{n}", "addresses": [f"100.64.{n >> 8}.{n & 255}"]} for n in range(6000)]
    (tmp_path / "table").write_text("".join(json.dumps(c) + "\n" for c in table))
    async with FakeGateway("gw1", [broker.url]) as gateway:
        told = await edged("publish", "--snapshot", str(tmp_path / "table"), "-b", broker.url, "-g", "gw1")
        assert told.returncode == 0, told.stderr
        assert gateway.snapshots == [table]


# ------------------------------------------------------------------------------------------------ fleet


def retain(peer: Peer, gateway: str, **fields: Any) -> None:
    document = {"v": 1, "gateway": gateway, "online": True, "in_sync": True, "version": "0.2.0", **fields}
    peer.publish(f"edged/v1/gw/{gateway}/state", json.dumps(document), retain=True)


async def test_the_fleet_is_what_the_broker_retains(broker: Broker) -> None:
    with Peer(broker.port) as peer:
        retain(peer, "a1", hash="x" * 16, streams={"erp group/a/cmd": ["e", 9]}, levels={"walled": 3}, subscribers=50)
        retain(peer, "a2", hash="y" * 16, streams={"erp group/a/cmd": ["e", 7]})
        retain(peer, "b1", online=False)
    told = await edged("fleet", "-b", broker.url, "--json", "--group", "a*")
    assert told.returncode == 0, told.stderr
    rows = {row["gateway"]: row for row in map(json.loads, told.stdout.splitlines())}
    assert list(rows) == ["a1", "a2", "b1"]
    assert (rows["a1"]["behind"], rows["a2"]["behind"], rows["b1"]["behind"]) == (0, 2, None)
    assert (rows["a1"]["agrees"], rows["b1"]["agrees"], rows["b1"]["online"]) == (False, None, False)
    table = await edged("fleet", "-b", broker.url, "--once")
    assert table.returncode == 0, table.stderr
    assert "3 gateways, 2 online" in table.stdout
    nobody = await edged("fleet", "-b", "mqtt://127.0.0.1:1", "--once", "--timeout", "0.5")
    assert nobody.returncode == 1
    assert "no broker answered" in nobody.stderr


async def test_the_live_table_follows_and_leaves_at_ctrl_c(broker: Broker) -> None:
    ours, theirs = pty.openpty()
    with Peer(broker.port) as peer:
        retain(peer, "alpha")
        live = await asyncio.create_subprocess_exec(
            str(edged_binary()), "fleet", "-b", broker.url, stdin=theirs, stdout=theirs, stderr=theirs,
            env={**os.environ, "TERM": "xterm", "COLUMNS": "150", "LINES": "30"},
        )  # fmt: skip
        os.close(theirs)
        try:
            await asyncio.wait_for(asyncio.to_thread(_until_shown, ours, "alpha"), 30)
            retain(peer, "omega")
            await asyncio.wait_for(asyncio.to_thread(_until_shown, ours, "omega"), 30)
            live.send_signal(signal.SIGINT)
            assert await asyncio.wait_for(live.wait(), 30) == 0
        finally:
            if live.returncode is None:
                live.kill()
                await live.wait()
            os.close(ours)


def _until_shown(terminal: int, word: str) -> None:
    shown = ""
    while word not in shown:
        shown += os.read(terminal, 65_536).decode(errors="replace")


# ------------------------------------------------------------------------------------------------ the example


async def test_the_example_mirrors_a_table_also_when_killed(broker: Broker, tmp_path: Path) -> None:
    erp = sqlite3.connect(tmp_path / "erp.db", isolation_level=None)
    erp.executescript((ROOT / "examples" / "erp_schema.sql").read_text())

    def add(n: int) -> None:
        row = (
            f"C-{n}",
            f"login-{n}@fibra",
            "gw1",
            f"100.64.{n >> 8}.{n & 255}",
            "bloqueado" if n % 3 == 0 else "ativo",
        )
        erp.execute("INSERT INTO contrato (contrato, login, concentrador, ipv4, status) VALUES (?, ?, ?, ?, ?)", row)
        erp.execute("INSERT INTO fatura VALUES (?, ?, '2026-11-05', NULL)", (f"F-{n}", f"C-{n}"))

    async with FakeGateway("gw1", [broker.url]) as gateway:
        for n in range(1, 1201):
            add(n)
        for life in range(4):
            mirror = await asyncio.create_subprocess_exec(
                *(sys.executable, "-u", str(ROOT / "examples" / "erp_mirror.py"), str(tmp_path / "erp.db")),
                *("--broker", broker.url, "--poll", "0.05"),
                stdout=asyncio.subprocess.PIPE,
            )
            assert mirror.stdout is not None
            try:
                if life < 3:  # killed somewhere between taking, noting and publishing
                    await asyncio.wait_for(mirror.stdout.readline(), 30)
                else:
                    await _until_mirrored(erp, gateway)
            finally:
                mirror.kill()
                await mirror.communicate()
        assert not gateway.gaps
        assert gateway.numbers == list(range(1, len(gateway.applied) + 1))
        last = {c["sub"]: c for c in gateway.commands if c["op"] == "block"}
        assert set(last) == {f"C-{n}" for n in range(3, 1201, 3)}
        assert last["C-3"]["invoices"] == [{"id": "F-3", "due": "2026-11-05"}]
    erp.close()


async def test_the_example_leaves_out_a_broken_row_and_ids_survive_a_restore(broker: Broker, tmp_path: Path) -> None:
    erp = sqlite3.connect(tmp_path / "erp.db", isolation_level=None)
    erp.executescript((ROOT / "examples" / "erp_schema.sql").read_text())
    long = "gw-" + "x" * 55
    insert = "INSERT INTO contrato (contrato, login, concentrador, ipv4) VALUES (?, ?, ?, ?)"
    erp.execute(insert, ("C-1", "l1", long, "100.64.0.1"))
    erp.execute("INSERT INTO contrato (contrato, login, concentrador) VALUES (CAST(x'4A6FE36F' AS TEXT), 'l2', 'gw1')")
    erp.execute(insert, ("C-3", "l3", "gw/1", "100.64.0.3"))
    erp.execute(insert, ("C-4", "l4", "gw1", "100.64.0.4"))
    async with FakeGateway("gw1", [broker.url]) as one, FakeGateway(long, [broker.url]) as two:
        mirror = await asyncio.create_subprocess_exec(
            *(sys.executable, "-u", str(ROOT / "examples" / "erp_mirror.py"), str(tmp_path / "erp.db")),
            *("--broker", broker.url, "--poll", "0.05"),
            stdout=asyncio.subprocess.PIPE,
        )
        assert mirror.stdout is not None
        try:
            await _until_mirrored(erp, one)
            # The counters fall back, and the same numbers mean other changes.
            erp.execute("UPDATE contador SET rev = 0")
            erp.execute("UPDATE espelho SET rev = 0")
            erp.execute("UPDATE contrato SET rev = 0")
            erp.execute("UPDATE contrato SET status = 'bloqueado' WHERE contrato = 'C-1'")
            async with asyncio.timeout(30):
                while not any(c["op"] == "block" for c in two.commands):  # noqa: ASYNC110 - the gateway tells nobody
                    await asyncio.sleep(0.02)
        finally:
            mirror.kill()
            said, _ = await mirror.communicate()
        assert {c["sub"] for c in one.commands} == {"C-4"}
        assert {c["sub"] for c in two.commands} == {"C-1"}
        assert b"'C-3' left out" in said
        assert b"'Jo\\udce3o' left out" in said
    erp.close()


async def _until_mirrored(erp: Any, gateway: FakeGateway) -> None:
    """The example has handed over everything, and the gateway has carried out the last change."""
    async with asyncio.timeout(60):
        while True:
            (rev,) = erp.execute("SELECT rev FROM contador").fetchone()
            if any(c.get("rev") == rev for c in gateway.commands):
                return
            await asyncio.sleep(0.02)
