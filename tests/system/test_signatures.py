"""The daemon with signatures required: signed commands reach the kernel, others do not, keys change while it runs."""

from __future__ import annotations

import datetime as dt
import json
import os
import signal
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edged.envelope import OKPKey, public_text, sign
from tests.lab import lab as lab_module
from tests.lab.lab import CONFIG, GATEWAY, Lab, bind
from tests.lab.manager import Ack, invoices
from tests.lab.topology import WWW4

OLD, NEW, DESK = (OKPKey.derive_key(word) for word in ("old", "new", "desk"))


def issuer(name: str, role: str, *keys: OKPKey) -> str:
    lines = "".join(f'{k} = "{public_text(v)}"\n' for k, v in zip(("key", "other_key"), keys, strict=False))
    return f'[[security.issuers]]\nname = "{name}"\nroles = ["{role}"]\n{lines}'


def configuration(*issuers: str) -> str:
    """The lab's, with these issuers instead of no signatures."""
    text = CONFIG.read_text().replace("require_signature = false", "")
    return text + "\n" + "".join(issuers)


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = tmp_path / "edged.toml"
    file.write_text(configuration(issuer("erp", "billing", OLD), issuer("desk", "operator", DESK)))
    monkeypatch.setattr(lab_module, "CONFIG", file)
    return file


@pytest.fixture
def lab(file: Path) -> Iterator[Lab]:
    with Lab() as lab:
        lab.start_daemon()
        yield lab


def send(lab: Lab, key: OKPKey, *commands: Any, name: str = "erp", **changes: Any) -> Ack:
    """Sign, publish, and wait for the answer; of a whole that is refused the answer may have no id."""
    now = dt.datetime.now(dt.UTC)
    batch = {
        "v": 1,
        "id": uuid.uuid4().hex,
        "issuer": name,
        "ts": now.isoformat(),
        "expires": (now + dt.timedelta(hours=1)).isoformat(),
        "aud": [GATEWAY],
        **changes,
        "commands": list(commands),
    }
    return lab.manager.publish_raw(sign(json.dumps(batch).encode(), key, name))


def reload(lab: Lab, file: Path, text: str) -> str:
    """Write the file, send SIGHUP to the core, and wait until its log says what became of it."""
    before = lab.daemon_log(10_000).count("reloaded")
    file.write_text(text)
    os.kill(lab.core_pid(), signal.SIGHUP)
    lab.wait_until(lambda: lab.daemon_log(10_000).count("reloaded") > before, "no word of the reload")
    return lab.daemon_log(3)


def test_signed_commands_are_obeyed_and_others_are_not(lab: Lab) -> None:
    person = lab.debtor.person
    block = {"op": "block", "sub": person.sub, "reason": "debt", "invoices": invoices("F-1")}
    plain = {"v": 1, "id": "plain", "commands": [bind(person)]}
    assert lab.manager.publish_raw(json.dumps(plain)).codes == ["unsigned"]
    assert send(lab, NEW, bind(person)).codes == ["bad_signature"]
    assert send(lab, OLD, bind(person), aud=["elsewhere"]).codes == ["wrong_audience"]
    assert send(lab, OLD, bind(person), ts="2020-01-01T00:00:00Z").codes == ["expired"]
    assert send(lab, OLD, bind(person)).statuses == ["applied"]
    assert send(lab, DESK, block, name="desk").codes == ["not_authorized"]
    assert lab.debtor.tcp(WWW4, 443).outcome == "open"
    assert send(lab, OLD, block, id="once").statuses == ["applied"]
    assert lab.debtor.tcp(WWW4, 443).outcome == "reset"
    assert send(lab, OLD, {"op": "paid", "sub": person.sub}).statuses == ["applied"]
    assert send(lab, OLD, block, id="once").duplicate
    assert lab.debtor.tcp(WWW4, 443).outcome == "open"


def test_who_has_the_control_socket_needs_no_key(lab: Lab) -> None:
    told = lab.edged("apply", "-", stdin=json.dumps(bind(lab.debtor.person)) + "\n")
    assert told.returncode == 0, told.stderr


def test_keys_are_exchanged_while_it_runs(lab: Lab, file: Path) -> None:
    desk = issuer("desk", "operator", DESK)
    bound = bind(lab.debtor.person)
    pid = lab.core_pid()
    assert "1 issuers with 2 keys may sign" in reload(lab, file, configuration(issuer("erp", "billing", OLD, NEW)))
    assert send(lab, DESK, {"op": "query", "sub": "x"}, name="desk").codes == ["bad_signature"]
    assert send(lab, OLD, bound).statuses == ["applied"]
    assert send(lab, NEW, bound).statuses == ["unchanged"]
    reload(lab, file, configuration(issuer("erp", "billing", NEW), desk))
    assert send(lab, OLD, bound).codes == ["bad_signature"]
    assert send(lab, NEW, bound).statuses == ["unchanged"]
    assert lab.core_pid() == pid
    assert lab.manager.state["online"] is True


def test_a_wrong_file_keeps_the_old_keys_and_is_shown(lab: Lab, file: Path) -> None:
    wrong = configuration(issuer("erp", "billing", NEW)).replace(public_text(NEW), "A" * 43)
    assert "anybody could sign" in reload(lab, file, wrong)
    assert send(lab, OLD, bind(lab.debtor.person)).statuses == ["applied"]
    file.write_text(configuration(issuer("erp", "billing", OLD)))  # the command line reads it, too
    errors = lab.edged_json("status")["errors"]
    assert any(e["where"] == "config" and "the old configuration stays in force" in e["text"] for e in errors)
    later = configuration(issuer("erp", "billing", OLD)).replace("127.0.0.1:9464", "127.0.0.1:9465")
    assert "takes effect at the next start: metrics.listen" in reload(lab, file, later)
