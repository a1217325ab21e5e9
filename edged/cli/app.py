"""The commands. Each loads only what it needs: ``edged why`` must not wait for a web framework.

Exit status: 0 done, 1 refused or failed, 2 wrong usage or configuration, 3 the daemon is not running.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from edged import __version__, config
from edged.cli import audit, central, lines, screens
from edged.cli.options import ConfigOption, JsonOption, LanguageOption, LevelOption, RunDirOption, VerboseOption
from edged.control import ControlClient
from edged.errors import ConfigError, EdgedError, NotRunning

DONE, FAILED, USAGE, NOT_RUNNING = range(4)
STOP_SECONDS = 120.0
"""How long a stop may take: releasing a million restrictions is a few seconds, a queue of commits a few more."""

app = typer.Typer(
    help="Keeps this gateway true to what billing decided.",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command line, by default the process's own, and returns the exit status."""
    try:
        app(args=None if argv is None else list(argv), prog_name="edged")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else DONE
    except EdgedError as error:
        print("edged: " + screens.clean(str(error), keep="\n"), file=sys.stderr)
        match error:
            case ConfigError():
                return USAGE
            case NotRunning():
                return NOT_RUNNING
            case _:
                return FAILED
    return DONE


def _version(wanted: bool) -> None:
    if wanted:
        print(f"edged {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    """Keeps this gateway true to what billing decided."""


# ------------------------------------------------------------------------------------------------------- the daemon


@app.command()
def run(config_file: ConfigOption = None, verbose: VerboseOption = False) -> None:
    """Run the daemon, core and portal, until a signal; restrictions stay in force."""
    from edged import daemon

    cfg = _start(config_file, verbose=verbose)
    raise typer.Exit(daemon.run_both(cfg, config_file))


@app.command()
def core(config_file: ConfigOption = None, verbose: VerboseOption = False) -> None:
    """Run the half that decides, stores and programs the kernel (edged-core.service)."""
    from edged import daemon

    cfg = _start(config_file, verbose=verbose)
    raise typer.Exit(daemon.run_core(cfg, config_file))


@app.command()
def portal(config_file: ConfigOption = None, verbose: VerboseOption = False) -> None:
    """Run the half that answers restricted browsers (edged-portal.service)."""
    from edged.portal.main import run_portal

    cfg = _start(config_file, verbose=verbose)
    raise typer.Exit(run_portal(cfg))


def _start(config_file: Path | None, *, verbose: bool) -> config.Config:
    from edged.cli import logs

    cfg = config.load(config_file)
    logs.begin(verbose=verbose)
    return cfg


# ---------------------------------------------------------------------------------------------- without the daemon


@app.command("check-config")
def check_config(
    file: Annotated[Path | None, typer.Argument(metavar="[FILE]", help="As --config.", show_default=False)] = None,
    config_file: ConfigOption = None,
) -> None:
    """Read the configuration, explain each value and where it came from, and warn of what will surprise."""
    from edged.assembly import xdp_warnings

    loaded = config.load_with_origins(file or config_file)
    from edged.portal.render import faults

    warnings = [*config.warnings(loaded.config), *faults(loaded.config), *xdp_warnings(loaded.config)]
    screens.configuration(loaded, config.settings(loaded), warnings)


@app.command()
def rules(config_file: ConfigOption = None) -> None:
    """Print the ruleset as nft text; nothing is touched."""
    cfg = config.load(config_file)
    from edged import daemon

    print(daemon.rules_text(cfg))


# ------------------------------------------------------------------------------------------------ asking the daemon


def _client(config_file: Path | None, run_dir: Path | None) -> ControlClient:
    return ControlClient((run_dir or config.load(config_file).run_dir) / "control.sock")


@app.command()
def status(json_output: JsonOption = False, config_file: ConfigOption = None, run_dir: RunDirOption = None) -> None:
    """Show broker, kernel, levels, lag and the last errors on one screen."""
    result = _client(config_file, run_dir).result({"do": "status"})
    if json_output:
        print(json.dumps(result, indent=2, ensure_ascii=False))
    else:
        screens.status(result)


@app.command()
def why(
    target: Annotated[str, typer.Argument(metavar="SUB_OR_ADDRESS", help="Contract, login, address or prefix.")],
    json_output: JsonOption = False,
    language: LanguageOption = None,
    config_file: ConfigOption = None,
    run_dir: RunDirOption = None,
) -> None:
    """Say whether it is a block, an outage or a fault: reasons, waivers, timers, origin, what the kernel holds."""
    from edged.cli import why as sentences
    from edged.cli import words

    record = _client(config_file, run_dir).result({"do": "why", "target": target})
    if json_output:
        print(json.dumps(record, indent=2, ensure_ascii=False))
    else:
        screens.show(sentences.told(record, language or words.spoken(os.environ)))


@app.command("list")
def list_(
    level: LevelOption = None,
    reason: Annotated[str | None, typer.Option(help="Only with this reason, such as debt.")] = None,
    json_output: JsonOption = False,
    config_file: ConfigOption = None,
    run_dir: RunDirOption = None,
) -> None:
    """List subscribers, one a line; with --json one JSON object a line."""
    request: dict[str, Any] = {"do": "list"}
    if level is not None:
        request["level"] = level
    if reason is not None:
        request["reason"] = reason
    for part in _client(config_file, run_dir).call(request):
        if "row" in part:
            print(json.dumps(part["row"], ensure_ascii=False) if json_output else screens.row(part["row"]))


@app.command()
def apply(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Commands or batches, one JSON a line; - for stdin.")],
    config_file: ConfigOption = None,
    run_dir: RunDirOption = None,
) -> None:
    """Send commands through the running daemon and print each answer; status 1 when any was rejected."""
    client = _client(config_file, run_dir)
    refused = False
    for number, line in lines.filled(str(file)):
        ack = client.result({"do": "apply", "line": line}, timeout=STOP_SECONDS)
        refused |= screens.is_refusal(ack)
        lines.put(screens.acknowledgement(number, ack))
    if refused:
        raise typer.Exit(FAILED)


@app.command("release-brake")
def release_brake(config_file: ConfigOption = None, run_dir: RunDirOption = None) -> None:
    """Carry out what the brake holds, after somebody looked at it."""
    done = _client(config_file, run_dir).result({"do": "release-brake"}, timeout=STOP_SECONDS)
    print(f"carried out: {done.get('applied', 0)}, refused by now: {done.get('refused', 0)}")


@app.command("drop-held")
def drop_held(config_file: ConfigOption = None, run_dir: RunDirOption = None) -> None:
    """Drop what the brake holds, after somebody looked at it."""
    done = _client(config_file, run_dir).result({"do": "drop-held"}, timeout=STOP_SECONDS)
    print(f"dropped: {done.get('dropped', 0)}")


@app.command("request-trust")
def request_trust(
    target: Annotated[str, typer.Argument(metavar="SUB_OR_ADDRESS", help="Contract, login or address.")],
    config_file: ConfigOption = None,
    run_dir: RunDirOption = None,
) -> None:
    """Ask for a promise in a subscriber's name: billing decides, or this gateway where it may and billing is away."""
    done = _client(config_file, run_dir).result({"do": "request-trust", "target": target, "channel": "cli"})
    until = f" until {done['until']}" if done.get("until") else "; billing was told"
    print(f"{screens.clean(str(done.get('sub')))}: {done.get('status')}{until}")


@app.command("adopt-clock")
def adopt_clock(config_file: ConfigOption = None, run_dir: RunDirOption = None) -> None:
    """Say that the system clock is right, after a leap that edged did not follow."""
    why = _client(config_file, run_dir).result({"do": "adopt-clock"}).get("clock")
    print(screens.clean(str(why)) if why else "the clock is trusted")


@app.command()
def stop(
    open_: Annotated[bool, typer.Option("--open", help="Leave no restriction, rule or route behind.")] = False,
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave the restrictions in force, as a service stop does.")
    ] = False,
    config_file: ConfigOption = None,
    run_dir: RunDirOption = None,
) -> None:
    """Stop the daemon, saying what becomes of the restrictions. --open also cleans up after a dead daemon."""
    if open_ == keep:
        raise typer.BadParameter("say either --open or --keep: it decides whether restricted subscribers get out")
    client = _client(config_file, run_dir)
    try:
        result = client.result({"do": "stop", "mode": "open" if open_ else "keep"}, timeout=STOP_SECONDS)
    except NotRunning:
        if not open_:
            raise
        from edged import daemon

        removed = daemon.open_offline(config.load(config_file))
        print("no daemon was running; " + screens.removed(removed))
        return
    _wait_until_gone(client)
    print("stopped; " + (screens.removed(result.get("removed")) if open_ else "restrictions stay in force"))


def _wait_until_gone(client: ControlClient) -> None:
    """So that whoever starts the next daemon right after us does not meet this one."""
    deadline = time.monotonic() + STOP_SECONDS
    while client.answers():
        if time.monotonic() > deadline:
            raise EdgedError(f"the daemon said yes, yet still answers after {STOP_SECONDS:g} s; see its log")
        time.sleep(0.02)


# ------------------------------------------------------------------------------------------------ beside billing

audit.register(app)
central.register(app)
