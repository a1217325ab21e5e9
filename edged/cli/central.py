"""What is typed beside billing, not on a gateway: keygen, publish, fleet."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edged.cli import fleet as table
from edged.cli import lines, screens
from edged.cli.options import (
    BrokerOption,
    CaFileOption,
    CertFileOption,
    JsonOption,
    KeyFileOption,
    PasswordFileOption,
    UsernameOption,
)
from edged.errors import EdgedError

if TYPE_CHECKING:
    from edged.client import Answer, Brokers, Group, Sender

FAILED = 1
BATCH = 1000


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    for command in (keygen, publish, fleet):
        app.command()(command)


# --------------------------------------------------------------------------------------------------------- keygen


def keygen(
    issuer: Annotated[str, typer.Argument(metavar="ISSUER", help="Under which name the gateways will know the key.")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="FILE", help="The private key; default ISSUER.key.")
    ] = None,
    role: Annotated[list[str] | None, typer.Option(help="What it may ask for (repeatable); default billing.")] = None,
) -> None:
    """Make a key to sign with: the private half into a file, the public half printed for the gateways."""
    from edged import envelope
    from edged.config import checks

    roles = role or ["billing"]
    if unknown := sorted(set(roles) - set(envelope.ROLES)):
        raise typer.BadParameter(f"role {unknown[0]!r} is unknown; known are {', '.join(envelope.ROLES)}")
    if doubled := next((r for n, r in enumerate(roles) if r in roles[:n]), None):
        raise typer.BadParameter(f"role {doubled!r} is given twice; once is enough")
    try:
        checks.issuer(issuer)
    except ValueError as e:
        raise typer.BadParameter(f"issuer {issuer!r}: {e}") from None
    path, key = out or Path(f"{issuer}.key"), envelope.generate()
    _write_secret(path, envelope.private_text(key))
    print(f"the private key is in {path}; it stays here. For /etc/edged/edged.toml of every gateway:", file=sys.stderr)
    print("[[security.issuers]]")
    print(f"name = {json.dumps(issuer, ensure_ascii=False)}")
    print(f'key = "{envelope.public_text(key)}"')
    print(f"roles = {json.dumps(roles)}")


def _write_secret(path: Path, text: str) -> None:
    try:
        # Never over an old key, whose signatures are still on their way.
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
    except FileExistsError:
        raise EdgedError(f"{path} exists; name another file with --out, or move the old key away first") from None
    except OSError as e:
        raise EdgedError(f"{path}: {e.strerror}") from None


# -------------------------------------------------------------------------------------------------------- publish


def publish(
    what: Annotated[
        str | None,
        typer.Argument(
            metavar="[COMMAND|FILE]",
            help="A command as JSON, or a file of commands or batches, one a line; - is stdin.",
        ),
    ] = None,
    gateway: Annotated[str | None, typer.Option("--gateway", "-g", help="For this gateway.")] = None,
    group: Annotated[str | None, typer.Option(help="For every gateway of this group.")] = None,
    expect: Annotated[
        list[str] | None, typer.Option(metavar="GATEWAY", help="Who of the group must answer (repeatable).")
    ] = None,
    snapshot: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Replace the gateway's bindings and debts by these commands.")
    ] = None,
    key: Annotated[Path | None, typer.Option(metavar="FILE", help="Sign with this key, made by keygen.")] = None,
    issuer: Annotated[str | None, typer.Option(help="The name under which the gateways know the key.")] = None,
    name: Annotated[str | None, typer.Option(help="Name at the broker; default a new one for each run.")] = None,
    timeout: Annotated[float, typer.Option(min=0.1, metavar="SECONDS", help="How long to wait for an answer.")] = 30.0,
    json_output: JsonOption = False,
    broker: BrokerOption = None,
    username: UsernameOption = None,
    password_file: PasswordFileOption = None,
    ca_file: CaFileOption = None,
    cert_file: CertFileOption = None,
    key_file: KeyFileOption = None,
) -> None:
    """Sign and publish commands, wait for the answers and print them; status 1 when any was refused or none came.

    A gateway's brake may hold commands, or a snapshot, until somebody there looked (edged release-brake, drop-held):
    they are kept there and must not be sent again. A snapshot that is held is status 1, commands that are held are not.
    """
    from edged.client import Group, Sender

    if (gateway is None) == (group is None):
        raise typer.BadParameter("say for whom: either --gateway or --group")
    if (what is None) == (snapshot is None):
        raise typer.BadParameter("give one command, a file, - for stdin, or --snapshot FILE")
    if snapshot is not None and gateway is None:
        raise typer.BadParameter("--snapshot is for one --gateway")
    if (key is None) != (issuer is None):
        raise typer.BadParameter("--key and --issuer belong together")
    to: str | Group = Group(group, expect or ()) if group is not None else gateway or ""
    brokers = _brokers(broker, username, password_file, ca_file, cert_file, key_file)
    sender = Sender(name or f"publish-{secrets.token_hex(4)}", brokers=brokers, issuer=issuer, key=key)
    say = _Printer(json_output=json_output)
    if snapshot is not None:
        asyncio.run(_snapshot(sender, gateway or "", snapshot, timeout, say))
    else:
        asyncio.run(_publish(sender, to, what or "", timeout, say))
    if say.refused:
        raise typer.Exit(FAILED)


class _Printer:
    """Prints answers as they come; ``refused``: one of them was no plain yes."""

    def __init__(self, *, json_output: bool) -> None:
        self._json = json_output
        self.refused = False

    def __call__(self, number: int, answer: Answer) -> None:
        self.refused |= not answer.ok
        if self._json:
            lines.put(json.dumps(answer.document, ensure_ascii=False))
        else:
            lines.put(f"{screens.clean(answer.gateway)} {screens.acknowledgement(number, answer.document)}")


async def _publish(sender: Sender, to: str | Group, what: str, timeout: float, say: _Printer) -> None:  # noqa: ASYNC109
    from edged.client import Unanswered

    async with sender:
        for number, document in lines.batches(what, BATCH):
            try:
                answers = await sender.ask(to, document=document, timeout=timeout)
            except Unanswered as e:
                for answer in e.answers:
                    say(number, answer)
                raise
            for answer in answers:
                say(number, answer)
            if not answers:
                raise EdgedError(f"nobody of the group answered within {timeout:g} s")


async def _snapshot(sender: Sender, gateway: str, file: Path, timeout: float, say: _Printer) -> None:  # noqa: ASYNC109
    async def commands() -> AsyncIterator[Mapping[str, Any]]:
        for number, command in enumerate(lines.documents(str(file)), 1):
            yield command[1]
            if number % BATCH == 0:
                await asyncio.sleep(0)  # a million lines are read while others have their turn

    async with sender:
        say(1, await sender.snapshot(gateway, commands(), timeout=timeout))


# ---------------------------------------------------------------------------------------------------------- fleet


def fleet(
    group: Annotated[
        list[str] | None,
        typer.Option(metavar="PATTERN", help="Gateways that must agree, as gw-a-* or gw1,gw2 (repeatable)."),
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="Print the table once and leave.")] = False,
    json_output: JsonOption = False,
    timeout: Annotated[float, typer.Option(min=0.1, metavar="SECONDS", help="How long to wait for a broker.")] = 10.0,
    broker: BrokerOption = None,
    username: UsernameOption = None,
    password_file: PasswordFileOption = None,
    ca_file: CaFileOption = None,
    cert_file: CertFileOption = None,
    key_file: KeyFileOption = None,
) -> None:
    """Show all gateways: online, lag, levels, whether they agree; live, or once (--json: one object a line)."""
    brokers = _brokers(broker, username, password_file, ca_file, cert_file, key_file)
    once = once or not sys.stdout.isatty()
    with suppress(KeyboardInterrupt):  # how one leaves a live table
        asyncio.run(table.show(brokers, group or [], timeout, once=once, as_json=json_output))


def _brokers(
    urls: list[str] | None,
    username: str | None,
    password_file: Path | None,
    ca_file: Path | None,
    cert_file: Path | None,
    key_file: Path | None,
) -> Brokers:
    from edged.client import Brokers

    if password_file is not None and username is None:
        raise typer.BadParameter("--password-file needs --username")
    return Brokers(urls or Brokers.brokers, username, password_file, ca_file, cert_file, key_file)
