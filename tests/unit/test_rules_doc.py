"""docs/rules.md held against the code: keys and defaults, laws and modules, and every command in it."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from edged.config.models import AreaSection, AuditSection, BrakeSection, PolicySection, PortalSection
from edged.config.section import Section
from edged.domain.command import Block, read_command
from edged.domain.model import REASONS

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "rules.md").read_text("utf-8")
ROWS = re.findall(
    r"^\| `([a-z]+(?:\.NAME)?\.[a-z_0-9]+)` \| (.+?) \| (.+?) \| (.+?) \| (.+?) \|$", TEXT, flags=re.MULTILINE
)
COMMANDS = re.findall(r'`(\{"op".*?\})`', TEXT)
SECTIONS: dict[str, type[Section]] = {
    "policy": PolicySection,
    "areas.NAME": AreaSection,
    "brake": BrakeSection,
    "audit": AuditSection,
}
OF_THE_PORTAL = ("ask_pause_seconds", "asks_per_day")
"""Keys of the portal that are rules of the trade."""


def _written(default: Any, name: str) -> str:
    """A default as the table has it."""
    if default is None:
        return f"as `policy.{name}`"
    if isinstance(default, str):
        return f'`"{default}"`'
    return f"`{str(default).lower()}`"


def test_every_key_is_in_the_table_with_the_codes_default() -> None:
    code = {
        f"{section}.{name}": _written(field.default, name)
        for section, model in SECTIONS.items()
        for name, field in model.model_fields.items()
    }
    code |= {f"portal.{name}": _written(PortalSection.model_fields[name].default, name) for name in OF_THE_PORTAL}
    assert {key: default for key, default, *_ in ROWS} == code
    assert len(ROWS) == len(code), "a key is there twice"


def test_the_installed_files_cut_calendar_is_named() -> None:
    installed = tomllib.loads((ROOT / "config" / "edged.toml").read_text("utf-8"))["policy"]["cut_calendar"]
    rule = next(rule for key, _, rule, *_ in ROWS if key == "policy.cut_calendar")
    assert f'The installed file says `"{installed}"`.' in rule


def test_every_module_is_there_and_has_the_laws_that_are_named() -> None:
    named = re.findall(r"`(edged/[a-z_/]+\.py)`((?:,? \d+)*)", TEXT)
    assert len(named) > len(ROWS)
    for path, numbers in named:
        file = ROOT / path
        assert file.is_file(), path
        laws = {int(n) for n in re.findall(r"^ ?(\d+)\. ", file.read_text("utf-8").split('"""')[1], flags=re.MULTILINE)}
        assert {int(n) for n in re.findall(r"\d+", numbers)} <= laws, path


@pytest.mark.parametrize("raw", sorted(set(COMMANDS)))
def test_every_command_is_one(raw: str) -> None:
    read_command(raw.encode())


def test_no_command_escapes_the_test() -> None:
    assert TEXT.count('{"op"') == len(COMMANDS)
    blocks = {cmd.reason for cmd in map(read_command, (raw.encode() for raw in COMMANDS)) if isinstance(cmd, Block)}
    assert blocks >= REASONS.keys() - {"fraud", "abuse"}


def test_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", TEXT):
        assert (ROOT / "docs" / target).exists(), target
