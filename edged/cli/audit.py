"""``edged audit``: who decided what, when and why; and whether that record is as it was written."""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from edged import config
from edged.cli import lines
from edged.cli.options import ConfigOption, JsonOption, RunDirOption
from edged.cli.screens import plain
from edged.control import ControlClient
from edged.domain.model import milliseconds

FAILED = 1


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command()(audit)


def _moment(text: str | None) -> str | None:
    if text is not None:
        try:
            dt.datetime.fromisoformat(text)
        except ValueError:
            raise typer.BadParameter("a date or moment such as 2026-11-21 or 2026-11-21T12:00:00Z") from None
    return text


def _hash(text: str | None) -> str | None:
    if text is not None and not re.fullmatch("[0-9a-f]{64}", text):
        raise typer.BadParameter("the head as edged audit --verify prints it: 64 hexadecimal digits")
    return text


def audit(
    sub: Annotated[str | None, typer.Option("--sub", metavar="SUB", help="Only this subscriber's.")] = None,
    since: Annotated[
        str | None,
        typer.Option("--since", metavar="MOMENT", callback=_moment, help="Date or moment; no zone: this machine's."),
    ] = None,
    limit: Annotated[int | None, typer.Option("--limit", metavar="N", min=1, help="Only the newest N.")] = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="See whether all of it is as it was written; status 1 where it is not.")
    ] = False,
    noted: Annotated[
        str | None,
        typer.Option("--noted", metavar="HEAD", callback=_hash, help="Verify, and find a head noted elsewhere in it."),
    ] = None,
    json_output: JsonOption = False,
    config_file: ConfigOption = None,
    run_dir: RunDirOption = None,
) -> None:
    """Print who decided what, when and why, one decision a line, oldest first; or verify that record."""
    client = ControlClient((run_dir or config.load(config_file).run_dir) / "control.sock")
    if verify or noted:
        if sub or since or limit:
            raise typer.BadParameter("--verify goes through all of it; leave out --sub, --since and --limit")
        result = client.result({"do": "audit", "verify": True} | ({"noted": noted} if noted else {}))
        lines.put(json.dumps(result, indent=2, ensure_ascii=False) if json_output else verdict(result))
        if not result.get("whole") or not (result.get("noted") or {"met": True}).get("met"):
            raise typer.Exit(FAILED)
        return
    request: dict[str, Any] = {"do": "audit"}
    if since is not None:
        request["since"] = milliseconds(dt.datetime.fromisoformat(since).astimezone())
    request |= {key: value for key, value in (("sub", sub), ("limit", limit)) if value is not None}
    for part in client.call(request):
        if "row" in part:
            print(json.dumps(part["row"], ensure_ascii=False) if json_output else line(part["row"]))


def line(row: Mapping[str, Any]) -> str:
    """One decision: when, about whom, what, how it ended, from what to what, by whom, and the rest."""
    when = plain(row.get("at"))
    if row.get("forgotten"):
        return f"{when}  (about somebody who was forgotten)"
    if row.get("damaged"):
        return f"{when}  {plain(row.get('sub'))}  DAMAGED, see edged audit --verify"
    what = " ".join(plain(row[key]) for key in ("op", "about") if row.get(key))
    ended = " ".join(plain(row[key]) for key in ("status", "code") if row.get(key))
    by = " ".join(plain(row[key]) for key in ("issuer", "batch") if row.get(key))
    more = "  ".join(f"{key} {plain(row[key])}" for key in ("ref", "why", "override") if row.get(key))
    words = (when, f"{plain(row.get('sub')):<16}", f"{what:<16}", ended, _turn(row), f"by {by}" if by else "", more)
    return "  ".join(word for word in words if word).rstrip()


def _turn(row: Mapping[str, Any]) -> str:
    before, after = row.get("before"), row.get("after")
    if before is None and after is None:
        return ""
    if before == after:
        return f"still {_state(after)}"
    return f"{_state(before)} -> {_state(after)}"


def _state(state: Any) -> str:
    if not isinstance(state, Mapping):
        return "nothing known"
    said = {"": state.get("reasons"), "promise until ": state.get("promise_until"), "deferred ": state.get("deferrals")}
    more = ", ".join(
        word + (", ".join(f"{plain(n)}{' pending' if x == 'pending' else ''}" for n, x in value.items()))
        if isinstance(value, Mapping)
        else word + plain(value)
        for word, value in said.items()
        if value
    )
    return plain(state.get("level")) + (f" ({more})" if more else "")


def _found(result: Mapping[str, Any], *, met: bool) -> str:
    """What a head that was found proves, and no more."""
    if not met:
        return "is NOT in it, see docs/audit.md"
    if result.get("broken"):
        return "is among its links, which says nothing while it is broken"
    if n := result.get("forgotten"):
        return f"is in it: all up to there is as it was then, but for what was emptied of the {n} about the forgotten"
    return "is in it: all up to there is as it was then"


def verdict(result: Mapping[str, Any]) -> str:
    """Whether it is whole, where not, and the head to be noted elsewhere."""
    counts = f"{plain(result.get('decisions'))} decisions, {plain(result.get('links'))} links"
    if broken := result.get("broken"):
        said = [f"BROKEN at decision {plain(broken.get('id'))}: {plain(broken.get('what'))}", f"whole before: {counts}"]
    else:
        said = [f"{counts}, whole"]
    if n := result.get("forgotten"):
        said.append(f"{n} of them about somebody who was forgotten")
    if until := result.get("purged_until"):
        said.append(f"older ones, until {plain(until)}, were purged")
    if (noted := result.get("noted")) is not None:
        said.append(f"the head noted elsewhere {_found(result, met=bool(noted.get('met')))}")
    return "\n".join([*said, f"head {plain(result.get('head'))}"])
