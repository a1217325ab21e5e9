"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edged.cli.words import LANGUAGES
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
BrokerOption = Annotated[
    list[str] | None,
    typer.Option("--broker", "-b", metavar="URL", help="mqtt://host:port or mqtts://…; several are tried in turn."),
]
UsernameOption = Annotated[str | None, typer.Option("--username", help="User name at the broker.")]
PasswordFileOption = Annotated[
    Path | None, typer.Option("--password-file", metavar="FILE", help="Its first line is the password.")
]
CaFileOption = Annotated[
    Path | None, typer.Option("--ca-file", metavar="FILE", help="Who vouches for the broker; default: the system's.")
]
CertFileOption = Annotated[
    Path | None, typer.Option("--cert-file", metavar="FILE", help="Our certificate, where the broker wants one.")
]
KeyFileOption = Annotated[
    Path | None, typer.Option("--key-file", metavar="FILE", help="The private key of the certificate (TLS).")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Stable output for programs.")]
VerboseOption = Annotated[bool, typer.Option("--verbose", "-v", help="Log everything; this may name subscribers.")]


def _language(word: str | None) -> str | None:
    if word is not None and word not in LANGUAGES:
        raise typer.BadParameter(f"must be one of {', '.join(LANGUAGES)}")
    return word


LanguageOption = Annotated[
    str | None,
    typer.Option(
        "--language", metavar="LANGUAGE", callback=_language, help="pt-BR or en; else by LC_ALL, LC_MESSAGES, LANG."
    ),
]


def _level(word: str | None) -> str | None:
    words = [level.word for level in Level]
    if word is not None and word not in words:
        raise typer.BadParameter(f"must be one of {', '.join(words)}")
    return word


LevelOption = Annotated[str | None, typer.Option("--level", metavar="LEVEL", callback=_level, help="Only this level.")]
