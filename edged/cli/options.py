"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edged.domain.levels import Level

ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config", "-c", metavar="FILE", help="Configuration; else $EDGED_CONFIG, else /etc/edged/edged.toml."
    ),
]
RunDirOption = Annotated[
    Path | None,
    typer.Option(
        "--run-dir", metavar="DIR", envvar="EDGED_RUN_DIR", help="Where the daemon's sockets are; else as configured."
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Stable output for programs.")]
VerboseOption = Annotated[bool, typer.Option("--verbose", "-v", help="Log everything; this may name subscribers.")]


def _level(word: str | None) -> str | None:
    words = [level.word for level in Level]
    if word is not None and word not in words:
        raise typer.BadParameter(f"must be one of {', '.join(words)}")
    return word


LevelOption = Annotated[str | None, typer.Option("--level", metavar="LEVEL", callback=_level, help="Only this level.")]
