"""What a newcomer meets first: the targets explain themselves and the lock names no registry."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

from tests.__main__ import PIECES, pieces

ROOT = Path(__file__).parents[2]


def test_make_help_names_every_target() -> None:
    makefile = (ROOT / "Makefile").read_text()
    phony = re.search(r"^\.PHONY: (.*)$", makefile, flags=re.MULTILINE)
    assert phony
    text = subprocess.run(["make", "-C", str(ROOT), "help"], capture_output=True, text=True, check=True).stdout
    assert set(re.findall(r"^  make ([a-z]+) +\S", text, flags=re.MULTILINE)) == set(phony[1].split())


def test_the_lock_is_complete_and_names_no_registry() -> None:
    lock = (ROOT / "requirements.lock").read_text()
    assert "://" not in lock
    assert not re.search(r"^-", lock, flags=re.MULTILINE)
    requirements = re.split(r"^(?=[a-z0-9])", lock, flags=re.MULTILINE)[1:]
    assert len(requirements) > 30
    assert not [text.split()[0] for text in requirements if "==" not in text or "--hash=sha256:" not in text]


def test_every_dependency_is_locked() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = {re.split(r"[<>=]", d)[0] for d in [*project["dependencies"], *project["optional-dependencies"]["dev"]]}
    locked = set(re.findall(r"^([a-z0-9-]+)==", (ROOT / "requirements.lock").read_text(), flags=re.MULTILINE))
    assert wanted <= locked


def test_make_test_leaves_out_no_file_and_runs_none_twice() -> None:
    files = [str(path.relative_to(ROOT / "tests")) for path in (ROOT / "tests").rglob("test_*.py")]
    taken = pieces([*files, "a_new_room/test_it.py"])
    assert sorted(name for piece in taken for name in piece) == sorted([*files, "a_new_room/test_it.py"])
    assert taken[-1] == ["a_new_room/test_it.py"]
    for beginning in " ".join(PIECES).split():
        assert [name for name in files if name.startswith(beginning)], f"{beginning} names no file any more"
