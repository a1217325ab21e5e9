"""The units as systemd reads them: they verify, they are hardened, and a stop keeps the restrictions."""

from __future__ import annotations

import configparser
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from edged.config.models import XdpSection

ROOT = Path(__file__).parents[2]
UNITS = ROOT / "systemd"
INSTALLED = "/opt/edged/bin/edged"
# Exposure as `systemd-analyze security` counts it, from 0 (none) to 10; below 2 it says "safe", below 5 "OK".
WORST = {"core": 2.2, "portal": 0.6}


class _Unit(configparser.RawConfigParser):
    """A unit file: sections and keys, of which some come several times."""

    def __init__(self, path: Path) -> None:
        super().__init__(strict=False, interpolation=None, comment_prefixes=("#",), delimiters=("=",))
        self.lines = [line for line in path.read_text().splitlines() if line and not line.startswith("#")]
        self.read_string("\n".join(self.lines))

    def optionxform(self, optionstr: str) -> str:
        return optionstr

    def all(self, key: str) -> list[str]:
        return [line.partition("=")[2] for line in self.lines if line.startswith(f"{key}=")]


@pytest.fixture(params=["core", "portal"])
def half(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def unit(half: str) -> _Unit:
    return _Unit(UNITS / f"edged-{half}.service")


@pytest.fixture
def local(tmp_path: Path) -> Path:
    """Copies of the units that start a program which exists here: verify looks whether it is there."""
    for half in ("core", "portal"):
        text = (UNITS / f"edged-{half}.service").read_text()
        assert f"ExecStart={INSTALLED} {half}\n" in text
        (tmp_path / f"edged-{half}.service").write_text(text.replace(INSTALLED, sys.executable))
    return tmp_path


def test_systemd_understands_every_line(local: Path) -> None:
    units = sorted(str(unit) for unit in local.glob("*.service"))
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", *units], capture_output=True, text=True)
    # verify also reads the machine's own units and may complain about those
    assert not [line for line in (done.stdout + done.stderr).splitlines() if "edged-" in line or str(local) in line]
    assert done.returncode == 0


def test_exposure_stays_low(half: str, local: Path) -> None:
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=yes", "--no-pager", str(local / f"edged-{half}.service")],
        capture_output=True,
        text=True,
        env={**os.environ, "SYSTEMD_EMOJI": "0", "SYSTEMD_COLORS": "0"},
    )
    found = re.search(r"Overall exposure level for .*: ([0-9.]+)", done.stdout)
    assert found, done.stdout + done.stderr
    assert float(found[1]) <= WORST[half], done.stdout


def test_it_tells_when_ready_and_that_it_lives(unit: _Unit) -> None:
    service = unit["Service"]
    assert service["Type"] == "notify"
    assert service["NotifyAccess"] == "main"
    assert 5 <= int(service["WatchdogSec"]) <= 60
    assert service["Restart"] == "on-failure"
    assert service["RestartPreventExitStatus"] == "2"


def test_a_stop_keeps_the_restrictions(unit: _Unit) -> None:
    service = unit["Service"]
    for key in ("ExecStop", "ExecStopPost", "ExecStopPre", "ExecStartPre"):
        assert key not in service
    assert service["KillMode"] == "mixed"
    assert service.get("KillSignal", "SIGTERM") == "SIGTERM"
    assert "PartOf" not in unit["Unit"]
    assert "BindsTo" not in unit["Unit"]


def test_a_reload_is_the_signal_that_the_core_understands() -> None:
    core = _Unit(UNITS / "edged-core.service")["Service"]
    assert core["ExecReload"] == "/bin/kill -HUP $MAINPID"
    assert Path(core["ExecReload"].split()[0]).is_file()


def test_the_core_has_four_capabilities_and_the_portal_none() -> None:
    core, portal = (_Unit(UNITS / f"edged-{half}.service") for half in ("core", "portal"))
    wanted = "CAP_NET_ADMIN CAP_NET_BIND_SERVICE CAP_BPF CAP_PERFMON"
    assert core["Service"]["AmbientCapabilities"] == core["Service"]["CapabilityBoundingSet"] == wanted
    assert portal["Service"]["CapabilityBoundingSet"] == portal["Service"]["AmbientCapabilities"] == ""
    assert portal["Service"]["PrivateNetwork"] == "yes"
    assert portal["Service"]["RestrictAddressFamilies"] == "AF_UNIX"


def _groups() -> dict[str, set[str]]:
    """The groups of system calls that this systemd knows, as they are written down there."""
    text = subprocess.run(["systemd-analyze", "syscall-filter"], capture_output=True, text=True, check=True).stdout
    groups: dict[str, set[str]] = {}
    name = ""
    for line in text.splitlines():
        if line.startswith("@"):
            groups[name := line.strip()] = set()
        elif name and line.strip() and not line.strip().startswith("#"):
            groups[name].add(line.strip())
    return groups


def _allowed(unit: _Unit) -> set[str]:
    """The system calls of those in groups that a unit's filter lets through: later lines win."""
    groups = _groups()

    def calls(word: str) -> set[str]:
        return set().union(*(calls(inner) for inner in groups[word])) if word.startswith("@") else {word}

    allowed: set[str] = set()
    for line in unit.all("SystemCallFilter"):
        found = set().union(*(calls(word) for word in line.removeprefix("~").split()))
        allowed = allowed - found if line.startswith("~") else allowed | found
    return allowed


def test_the_core_may_load_its_xdp_program_and_keep_its_maps() -> None:
    core, portal = (_Unit(UNITS / f"edged-{half}.service") for half in ("core", "portal"))
    assert "bpf" in _allowed(core)
    assert "bpf" not in _allowed(portal)
    place = XdpSection().bpffs
    assert core.all("BindPaths") == [f"-/run/edged-bpf:{place}", f"-{place}/edged"], (
        "ProtectKernelTunables makes /sys read-only, and the core cannot pass a folder that is root's alone"
    )
    made = [line.split() for line in (UNITS / "edged.tmpfiles").read_text().splitlines() if not line.startswith("#")]
    assert [line for line in made if line[1].startswith(f"{place}")] == [
        ["d", f"{place}/edged", "0700", "edged", "edged", "-"]
    ], "what is not ours keeps its mode"
    assert ["d", "/run/edged-bpf/edged", "0755", "root", "root", "-"] in made, "where the folder is shown"


def test_the_core_may_ask_whether_the_clock_is_synchronised_and_not_set_it() -> None:
    """Without the answer no debt block begins under policy.require_synced_clock, which is the default."""
    core = _Unit(UNITS / "edged-core.service")
    assert core["Service"].get("ProtectClock", "no") == "no", "it forbids adjtimex(2) even for reading"
    assert {"adjtimex", "clock_adjtime", "clock_adjtime64"} <= _allowed(core)
    assert not {"settimeofday", "clock_settime", "clock_settime64", "reboot", "init_module", "mount"} & _allowed(core)
    assert "CAP_SYS_TIME" not in core["Service"]["CapabilityBoundingSet"]
    assert not {"adjtimex", "clock_settime"} & _allowed(_Unit(UNITS / "edged-portal.service"))


def test_the_portal_cannot_open_the_control_socket() -> None:
    core, portal = (_Unit(UNITS / f"edged-{half}.service")["Service"] for half in ("core", "portal"))
    assert portal["Group"] != core["Group"]
    assert "SupplementaryGroups" not in portal
    assert core["SupplementaryGroups"] == portal["Group"]


def test_the_run_directory_outlives_a_restart_of_the_core() -> None:
    core = _Unit(UNITS / "edged-core.service")["Service"]
    assert core["RuntimeDirectory"] == "edged"
    assert core["RuntimeDirectoryPreserve"] == "yes"


def test_every_user_and_group_of_the_units_is_made(unit: _Unit) -> None:
    done = subprocess.run(
        ["systemd-sysusers", "--dry-run", str(UNITS / "edged.sysusers")], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    made = {line.split()[1] for line in (UNITS / "edged.sysusers").read_text().splitlines() if line.startswith("u ")}
    used = {unit["Service"]["User"], unit["Service"]["Group"], *unit.all("SupplementaryGroups")}
    assert used <= made


_WITHOUT_NEW_CODE = """
import ctypes, os, sys
PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN = 65, 1
if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN, 0, 0, 0):
    sys.exit(77)
os.execv(sys.executable, [sys.executable, "-c", sys.argv[1]])
"""


@pytest.mark.parametrize(
    "what",
    [
        "import ctypes; ctypes.CFUNCTYPE(ctypes.c_int)(lambda: 1)()",
        "import uvloop, asyncio; asyncio.Runner(loop_factory=uvloop.new_event_loop).run(asyncio.sleep(0))",
        "import aiomqtt, dns.resolver, msgspec, prometheus_client, pyroute2, sqlite3; sqlite3.connect(':memory:')",
        "from edged import envelope as e; e.sign(b'x', e.read_private(e.private_text(e.generate())), 'erp')",
        "import jinja2, numpy, pydantic, starlette.applications, uvicorn; numpy.zeros(9) + 1",
    ],
)
def test_nothing_we_load_needs_memory_that_is_written_and_run(what: str) -> None:
    """MemoryDenyWriteExecute= as the kernel itself can do it (prctl, Linux 6.3)."""
    done = subprocess.run([sys.executable, "-c", _WITHOUT_NEW_CODE, what], capture_output=True, text=True)
    if done.returncode == 77:
        pytest.skip("this kernel has no PR_SET_MDWE")
    assert done.returncode == 0, done.stderr
