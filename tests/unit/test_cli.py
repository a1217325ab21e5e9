"""The command line against a control server that answers like the daemon: exit statuses, stable JSON, screens."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import sys
import threading
import types
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, Self

import pytest

import edged
from edged import __version__
from edged.cli import logs, main, screens
from edged.control import ControlServer
from edged.errors import EdgedError, KernelDenied

GOOD = 'gateway = "gw1"\nrun_dir = "{run}"\n[network]\nsubscriber_interfaces = ["eth1"]\n[portal]\nurl = "http://a/"\n'
STATUS = {
    "gateway": "gw1",
    "version": "0.1.0",
    "since": "2026-11-21T12:00:00Z",
    "uptime_s": 11_520,
    "in_sync": False,
    "kernel": {
        "table": "inet edged",
        "generation": 4,
        "owner": True,
        "sets": {"restricted4": 13},
        "last_error": "EBUSY",
    },
    "store": {"path": "/var/lib/edged/edged.db", "subscribers": 2000, "last_error": None},
    "levels": {"notice": 0, "reduced": 0, "walled": 12, "blocked": 1},
    "mqtt": {"connected": None, "brokers": ["127.0.0.1:1883"], "last_error": "[red]refused[/red]\x1b[2J"},
    "portal": {"up": True},
    "xdp": {"mode": "generic", "wanted": "auto", "interfaces": {"eth1": "generic"}, "why": "eth1: no native mode"},
    "lag": {"queued": 3},
    "errors": [{"at": "12:01:02", "where": "kernel", "text": "EBUSY"}],
    "later": {"new": 1},
}
RECORD = {
    "sub": "C-7",
    "level": "walled",
    "since": "2026-11-21T12:00:00Z",
    "page_reason": "debt",
    "reasons": [
        {
            "reason": "debt",
            "level": "walled",
            "state": "in_force",
            "onset": "2026-11-21T12:00:00Z",
            "invoices": [{"id": "F1[bold]"}, {"id": "F2\x1b[2J"}],
            "ref": None,
        }
    ],
    "promise": {"running": None, "spent": False, "breached": False},
    "timezone": "America/Sao_Paulo",
    "addresses": [
        {
            "address": "100.64.0.10",
            "kernel": {"sets": ["restricted"], "expires_ms": {}, "xdp": {"level": "walled"}},
            "agrees": True,
        },
        {"address": "2001:db8::/56", "kernel": None, "agrees": None},
    ],
    "later": {"new": 1},
}


class Daemon:
    """A control server in a thread of its own, answering as told."""

    def __init__(self, run_dir: Path) -> None:
        self.requests: list[dict[str, Any]] = []
        self.answers: dict[str, Callable[[dict[str, Any]], list[dict[str, Any]]]] = {
            "status": lambda _: [{"result": STATUS}],
            "why": self._why,
            "list": lambda _: [{"row": {"sub": f"C-{n}", "level": "walled", "reasons": ["debt"]}} for n in range(3)],
            "apply": self._apply,
            "stop": self._stop,
        }
        self._path = run_dir / "control.sock"
        self._loop = asyncio.new_event_loop()
        self._server = ControlServer(self._path, dict.fromkeys(self.answers, self._handle))
        self._thread = threading.Thread(target=self._loop.run_forever, name="daemon")

    async def _handle(self, request: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        self.requests.append(request)
        for part in self.answers[request["do"]](request):
            yield part

    def _why(self, request: dict[str, Any]) -> list[dict[str, Any]]:
        if request["target"] != "C-7":
            raise EdgedError(f"{request['target']}: nobody by that name or address")
        return [{"result": RECORD}]

    def _apply(self, request: dict[str, Any]) -> list[dict[str, Any]]:
        command = json.loads(request["line"])
        good = command["op"] == "block"
        results = (
            [] if good else [{"i": 0, "sub": "C-9", "status": "rejected", "code": "unknown_op", "detail": "no such op"}]
        )
        summary = {"applied": int(good), "unchanged": 0, "deferred": 0, "rejected": int(not good), "held": 0}
        return [{"result": {"id": "01JD", "duplicate": False, "summary": summary, "results": results}}]

    def _stop(self, request: dict[str, Any]) -> list[dict[str, Any]]:
        self._loop.create_task(self._server.close(), name="stop")
        return [{"result": {"removed": ["table inet edged"] if request["mode"] == "open" else []}}]

    def __enter__(self) -> Self:
        self._thread.start()
        try:
            asyncio.run_coroutine_threadsafe(self._server.start(), self._loop).result(20)
        except BaseException:
            self._end()  # else the interpreter waits for the thread for ever
            raise
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._server.close(), self._loop).result(20)
        self._end()

    def _end(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(20)
        self._loop.close()


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("EDGED_RUN_DIR", raising=False)
    file = tmp_path / "edged.toml"
    file.write_text(GOOD.format(run=tmp_path / "run"))
    monkeypatch.setenv("EDGED_CONFIG", str(file))
    return file


@pytest.fixture
def daemon(file: Path) -> Iterator[Daemon]:
    with Daemon(file.parent / "run") as daemon:
        yield daemon


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """Stands in for edged.daemon."""
    fake = types.ModuleType("edged.daemon")
    monkeypatch.setitem(sys.modules, "edged.daemon", fake)
    monkeypatch.setattr(edged, "daemon", fake, raising=False)
    return fake


Capture = pytest.CaptureFixture[str]


def test_status_for_programs_is_what_the_daemon_said(daemon: Daemon, capsys: Capture) -> None:
    assert main(["status", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == STATUS


def test_status_is_one_screen(daemon: Daemon, capsys: Capture) -> None:
    assert main(["status"]) == 0
    text = capsys.readouterr().out
    assert len(text.splitlines()) < 24
    for word in (
        "gw1",
        "up 3 h 12 min",
        "NOT in sync",
        "not connected",
        "[red]refused[/red]",
        "walled 12",
        "EBUSY",
        "queued 3",
        "generic  eth1 generic  eth1: no native mode",
    ):
        assert word in text
    assert "new 1" in text
    assert "\x1b" not in text


def test_an_empty_status_still_shows(daemon: Daemon, capsys: Capture) -> None:
    daemon.answers["status"] = lambda _: [{"result": {}}]
    assert main(["status"]) == 0
    assert "not connected" in capsys.readouterr().out


def test_why_for_people_and_for_programs(daemon: Daemon, capsys: Capture) -> None:
    assert main(["why", "C-7", "--language", "en"]) == 0
    text = capsys.readouterr().out
    assert text.startswith(
        "C-7: RESTRICTED BY US: the notice page only (walled), because of debt, since 2026-11-21 09:00\n"
    )
    for words in (
        "invoices F1[bold], F2\N{REPLACEMENT CHARACTER}[2J\n",
        "100.64.0.10: restricted",
        "in XDP: the notice page only",
        "later new 1",
    ):
        assert words in text
    assert "\x1b" not in text
    assert main(["why", "C-7", "--json", "--language", "pt-BR"]) == 0
    assert json.loads(capsys.readouterr().out) == RECORD


def test_why_speaks_the_language_of_the_terminal(
    daemon: Daemon, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LC_ALL", "pt_BR.UTF-8")
    assert main(["why", "C-7"]) == 0
    assert "BLOQUEIO NOSSO" in capsys.readouterr().out
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    assert main(["why", "C-7"]) == 0
    assert "RESTRICTED BY US" in capsys.readouterr().out
    assert main(["why", "C-7", "--language", "fr"]) == 2
    assert "must be one of pt-BR, en" in capsys.readouterr().err


def test_a_refusal_is_status_1_with_the_reason(daemon: Daemon, capsys: Capture) -> None:
    assert main(["why", "nobody"]) == 1
    assert "edged: nobody: nobody by that name or address" in capsys.readouterr().err


def test_list_passes_filters_on_and_streams_lines(daemon: Daemon, capsys: Capture) -> None:
    assert main(["list", "--level", "walled", "--reason", "debt", "--json"]) == 0
    assert [json.loads(line)["sub"] for line in capsys.readouterr().out.splitlines()] == ["C-0", "C-1", "C-2"]
    assert daemon.requests == [{"do": "list", "level": "walled", "reason": "debt"}]
    assert main(["list"]) == 0
    assert capsys.readouterr().out.splitlines()[0].split() == ["C-0", "walled", "debt"]


def test_apply_answers_line_by_line_and_fails_for_one_rejected(daemon: Daemon, tmp_path: Path, capsys: Capture) -> None:
    commands = tmp_path / "commands"
    commands.write_text('{"op":"block","sub":"C-1"}\n\n{"op":"dance"}\n')
    assert main(["apply", str(commands)]) == 1
    out = capsys.readouterr().out.splitlines()
    assert out == ["1: 01JD: 1 applied", "3: 01JD: 1 rejected", "  [0] C-9 rejected unknown_op no such op"]
    assert [r["line"] for r in daemon.requests] == ['{"op":"block","sub":"C-1"}', '{"op":"dance"}']


def test_apply_refuses_latin_1(daemon: Daemon, tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "commands").write_bytes('{"op":"block","sub":"Joao"}\n{"op":"block","sub":"João"}\n'.encode("latin-1"))
    assert main(["apply", str(tmp_path / "commands")]) == 1
    assert "line 2: byte 24 (0xe3) is not UTF-8" in capsys.readouterr().err
    assert len(daemon.requests) == 1


def test_apply_reads_stdin(daemon: Daemon, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO('{"op":"block"}\n'))
    assert main(["apply", "-"]) == 0


def test_apply_without_its_file(daemon: Daemon, capsys: Capture) -> None:
    assert main(["apply", "/none/such"]) == 1
    assert "/none/such: No such file" in capsys.readouterr().err


@pytest.mark.parametrize("command", [["status"], ["why", "x"], ["list"], ["apply", "/dev/stdin"], ["stop", "--keep"]])
def test_without_a_daemon_it_is_status_3(
    file: Path, command: list[str], monkeypatch: pytest.MonkeyPatch, capsys: Capture, tmp_path: Path
) -> None:
    (tmp_path / "in").write_text('{"op":"block"}\n')
    assert main([word.replace("/dev/stdin", str(tmp_path / "in")) for word in command]) == 3
    assert "no daemon answers on" in capsys.readouterr().err


@pytest.mark.parametrize(
    "command",
    [["dance"], ["why"], ["stop"], ["stop", "--open", "--keep"], ["list", "--level", "sad"], ["status", "--color"], []],
)
def test_wrong_usage_is_status_2(file: Path, command: list[str], capsys: Capture) -> None:
    assert main(command) == 2
    captured = capsys.readouterr()
    assert captured.err or "Usage" in captured.out


@pytest.mark.parametrize("command", [["status"], ["check-config"], ["rules"], ["core"], ["run"], ["stop", "--open"]])
def test_a_wrong_configuration_is_status_2(
    file: Path, module: types.ModuleType, command: list[str], capsys: Capture
) -> None:
    file.write_text("gateway = 1")
    assert main(command) == 2
    assert "edged.toml: 3 errors\n  gateway = 1 (file): must be text" in capsys.readouterr().err


def test_check_config_explains_and_warns(file: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.setenv("EDGED_MQTT__KEEPALIVE", "20")
    assert main(["check-config", str(file)]) == 0
    text = capsys.readouterr().out
    for word in (
        "network.mark_bit",
        "65536 (0x10000)",
        "EDGED_MQTT__KEEPALIVE",
        "default",
        "file",
        "warning: ",
        "usable",
    ):
        assert word in text


def test_the_run_directory_may_be_named_without_a_configuration(
    daemon: Daemon, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_dir = str(file.parent / "run")
    file.write_text("broken")
    assert main(["status", "--run-dir", run_dir]) == 0
    monkeypatch.setenv("EDGED_RUN_DIR", run_dir)
    assert main(["status"]) == 0


@pytest.mark.parametrize(
    ("mode", "word"), [("open", "removed table inet edged"), ("keep", "restrictions stay in force")]
)
def test_stop_waits_until_the_daemon_is_gone(daemon: Daemon, mode: str, word: str, capsys: Capture) -> None:
    assert main(["stop", f"--{mode}"]) == 0
    assert word in capsys.readouterr().out
    assert daemon.requests == [{"do": "stop", "mode": mode}]
    assert main(["status"]) == 3


def test_stop_open_cleans_up_after_a_dead_daemon(file: Path, module: types.ModuleType, capsys: Capture) -> None:
    module.__dict__["open_offline"] = lambda cfg: [f"table of {cfg.gateway}"]
    assert main(["stop", "--open"]) == 0
    assert "no daemon was running; removed table of gw1" in capsys.readouterr().out
    module.__dict__["open_offline"] = lambda _: []
    assert main(["stop", "--open"]) == 0
    assert "nothing restricts anybody" in capsys.readouterr().out


def test_the_daemons_own_status_is_the_commands(file: Path, module: types.ModuleType, capsys: Capture) -> None:
    before = logging.getLogger().handlers[:], logging.getLogger().level
    module.__dict__.update(
        run_core=lambda _cfg, _file: 0,
        run_both=lambda _cfg, _file: 1,
        rules_text=lambda cfg: f"table inet {cfg.gateway}",
    )
    try:
        assert main(["core"]) == 0
        assert main(["run", "-v"]) == 1
        module.__dict__["run_core"] = _denied
        assert main(["core"]) == 1
    finally:
        logging.getLogger().handlers[:], level = before
        logging.getLogger().setLevel(level)
    assert "edged: no CAP_NET_ADMIN" in capsys.readouterr().err
    assert main(["rules"]) == 0
    assert capsys.readouterr().out == "table inet gw1\n"


def _denied(*_: object) -> int:
    raise KernelDenied("no CAP_NET_ADMIN", 1)


def test_version(capsys: Capture) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"edged {__version__}\n"


def test_log_lines_for_the_journal_carry_their_priority(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setenv("JOURNAL_STREAM", "8:1")
    root = logging.getLogger()
    before = root.handlers[:], root.level
    try:
        root.handlers[:] = []
        logs.begin(verbose=False)
        logging.getLogger("x").warning("one\ntwo")
        logging.getLogger("x").debug("nothing")
    finally:
        root.handlers[:], level = before
        root.setLevel(level)
    assert stream.getvalue() == "<4>x: one\n<4>two\n"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        (True, "yes"),
        (1_795_000_000_000, "2026-11-18 11:06:40+00:00"),
        (0.25, "0.25"),
        (["a", "b"], "a, b"),
        ({"a_b": 1, "c": [], "d": 0}, "a_b 1  d 0"),
        ("\x1b[2Jx\u202e", "\ufffd[2Jx\ufffd"),
    ],
)
def test_values_as_people_read_them(value: Any, text: str) -> None:
    assert screens.plain(value) == text


@pytest.mark.parametrize(("seconds", "text"), [(0, "0 s"), (59.9, "59 s"), (3600, "1 h"), (90061, "1 d 1 h")])
def test_durations(seconds: float, text: str) -> None:
    assert screens.duration(seconds) == text
