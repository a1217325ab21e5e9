"""What people see. Every value may come from outside, so nothing is taken for markup and no control character gets out.

All functions take the daemon's JSON as it is and leave out what is missing: an older or newer daemon still shows.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from edged import __version__
from edged.config import Loaded, Setting

_LEVEL_STYLE = {"open": "green", "notice": "cyan", "reduced": "yellow", "walled": "red", "blocked": "bold red"}
_NO_DATE_MS = 253_402_300_800_000  # the year 10000
_EPOCH_MS = 1 << 40  # smaller numbers are durations, larger ones moments since 1970 in ms


def _console() -> Console:
    """For the terminal that is there now; wide enough for a pipe."""
    return Console(highlight=False, markup=False, emoji=False, width=None if sys.stdout.isatty() else 140)


def clean(text: str, *, keep: str = "") -> str:
    """``text`` without control characters, which could rewrite the reader's terminal."""
    return "".join(c if c.isprintable() or c in keep else "\N{REPLACEMENT CHARACTER}" for c in text)


def _empty(value: Any) -> bool:
    return value is None or (isinstance(value, str | Sequence | Mapping) and not value)


def plain(value: Any) -> str:
    """A JSON value as a person reads it."""
    match value:
        case None | "" | []:
            return "-"
        case bool():
            return "yes" if value else "no"
        case int() if _EPOCH_MS <= value < _NO_DATE_MS:
            return datetime.fromtimestamp(value / 1000, UTC).isoformat(sep=" ", timespec="seconds")
        case float():
            return f"{value:.4g}"
        case Mapping() if not value:
            return "-"
        case Mapping():
            said = ((clean(str(key)), below) for key, below in value.items() if not _empty(below))
            return "  ".join(f"{key} {plain(below)}" for key, below in said) or "-"
        case str():
            return clean(value)
        case Sequence():
            return ", ".join(plain(below) for below in value)
        case _:
            return clean(str(value))


def duration(seconds: float) -> str:
    """Two units at most: ``3 h 12 min``."""
    left = int(seconds)
    parts: list[str] = []
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        n, left = divmod(left, size)
        if n or (unit == "s" and not parts):
            parts.append(f"{n} {unit}")
    return " ".join(parts[:2])


def _grid(rows: Iterable[tuple[str, Text | str]]) -> Table:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="bold", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in rows:
        grid.add_row(name, value)
    return grid


def _rest(record: Mapping[str, Any], shown: Iterable[str]) -> list[tuple[str, Text | str]]:
    """What the daemon says beyond what this screen knows by name."""
    return [
        (clean(key).replace("_", " "), plain(value))
        for key, value in record.items()
        if key not in set(shown) and not _empty(value)
    ]


def status(result: Mapping[str, Any]) -> None:
    """One screen: sync first, because that is what everybody wants to know."""
    console = _console()
    head = Text(f"{plain(result.get('gateway'))}  edged {plain(result.get('version'))}", style="bold")
    if isinstance(up := result.get("uptime_s"), int | float):
        head.append(f"  up {duration(up)}", style="not bold")
    if "in_sync" in result:
        ok = result["in_sync"]
        head.append("  in sync" if ok else "  NOT in sync with the kernel", style="green" if ok else "bold red")
    console.print(head)
    levels = result.get("levels") or {}
    rows: list[tuple[str, Text | str]] = [("broker", _broker(result.get("mqtt") or {}))]
    rows += [("portal", _up(result["portal"]))] if isinstance(result.get("portal"), Mapping) else []
    rows += [("xdp", _fast(result["xdp"]))] if isinstance(result.get("xdp"), Mapping) else []
    rows.append(("levels", Text("  ").join(_level(name, f"{name} {n}") for name, n in levels.items())))
    rows += [(key, _health(result[key])) for key in ("kernel", "store", "lag") if isinstance(result.get(key), Mapping)]
    known = "gateway version since uptime_s in_sync mqtt portal xdp levels kernel store lag errors".split()
    console.print(_grid(rows + _rest(result, known)))
    for error in result.get("errors") or ():
        console.print(Text("! ", style="bold red") + Text(_error(error)))


def _broker(mqtt: Mapping[str, Any]) -> Text:
    where = mqtt.get("connected")
    text = Text(f"connected to {plain(where)}", "green") if where else Text("not connected", "bold red")
    if brokers := mqtt.get("brokers"):
        text.append(f"  of {plain(brokers)}", "default")
    if error := mqtt.get("last_error"):
        text.append(f"  last error: {plain(error)}", "red")
    return text


def _up(portal: Mapping[str, Any]) -> Text:
    text = Text("up", "green") if portal.get("up") else Text("down", "bold red")
    more = {key: value for key, value in portal.items() if key != "up"}
    return text.append(f"  {plain(more)}", "default") if more else text


def _fast(xdp: Mapping[str, Any]) -> Text:
    """Where the XDP program answers, and why it does not do better."""
    mode = xdp.get("mode")
    text = Text(plain(mode), {"native": "green", "generic": "yellow"}.get(str(mode), "default"))
    if places := xdp.get("interfaces"):
        text.append(f"  {plain(places)}", "default")
    if why := xdp.get("why"):
        text.append(f"  {plain(why)}", "default" if xdp.get("wanted") == "off" else "yellow")
    return text


def _health(section: Mapping[str, Any]) -> Text:
    fine = {key: value for key, value in section.items() if key != "last_error"}
    if isinstance(sets := fine.get("sets"), Mapping):  # three dozen, of which most are empty
        fine["sets"] = {name: n for name, n in sets.items() if n}
    text = Text(plain(fine))
    if error := section.get("last_error"):
        text.append(f"  last error: {plain(error)}", "red")
    return text


def _error(error: Any) -> str:
    if not isinstance(error, Mapping):
        return plain(error)
    return " ".join(plain(error[key]) for key in ("at", "where", "text") if key in error)


def _level(name: str, text: str | None = None) -> Text:
    return Text(clean(text or name), _LEVEL_STYLE.get(name, ""))


def show(lines: Iterable[tuple[str, str]]) -> None:
    """Lines of text and how each looks. They are not broken: a terminal does that, and a pipe gets them whole."""
    console = _console()
    for text, style in lines:
        console.print(Text(text, style), soft_wrap=True)


def row(record: Mapping[str, Any]) -> str:
    """One line of a listing, in columns; a million of them must not be gathered into a table first."""
    level = plain(record.get("level"))
    rest = "  ".join(plain(value) for key, value in record.items() if key not in {"sub", "level"} and value)
    return f"{plain(record.get('sub')):<24}  {level:<8}  {rest}".rstrip()


def is_refusal(ack: Mapping[str, Any]) -> bool:
    """Whether anything of a batch was rejected, or the batch could not be read."""
    summary = ack.get("summary") or {}
    return (
        bool(summary.get("rejected"))
        or any(r.get("status") == "rejected" for r in _results(ack))
        or bool(ack.get("error"))
    )


def acknowledgement(number: int, ack: Mapping[str, Any]) -> str:
    """Line of the file, id, counts; and each command that was not simply applied, below it."""
    counts = ", ".join(f"{n} {plain(status)}" for status, n in (ack.get("summary") or {}).items() if n)
    again = " (duplicate)" if ack.get("duplicate") else ""
    lines = [f"{number}: {plain(ack.get('id'))}{again}: {counts or 'nothing applied'}"]
    if error := ack.get("error"):
        lines.append(f"  {plain(error)}")
    for result in _results(ack):
        if result.get("status") not in {"applied", "unchanged"}:
            words = (result.get(key) for key in ("sub", "status", "code", "until", "why", "detail"))
            lines.append(f"  [{plain(result.get('i'))}] " + " ".join(plain(word) for word in words if word))
    return "\n".join(lines)


def _results(ack: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [result for result in ack.get("results") or () if isinstance(result, Mapping)]


def removed(what: Any) -> str:
    """What a stop took away."""
    return f"removed {plain(what)}" if what else "nothing restricts anybody"


def configuration(loaded: Loaded, settings: Sequence[Setting], warnings: Sequence[str]) -> None:
    """Every key with its value, origin and meaning; what was not written is dimmed."""
    console = _console()
    table = Table(title=f"{loaded.path or 'environment only'} for edged {__version__}", title_justify="left")
    for column in ("key", "value", "origin", "meaning"):
        table.add_column(column, overflow="fold", no_wrap=column == "key")
    for s in settings:
        value = str(s.value).lower() if isinstance(s.value, bool) else plain(s.value)  # as it would be written
        if s.key.endswith("mark_bit"):
            value += f" ({s.value:#x})"
        table.add_row(s.key, value, s.origin, s.description, style="dim" if s.origin == "default" else "")
    console.print(table)
    for warning in warnings:
        console.print(Text("warning: ", "bold yellow") + Text(clean(warning)))
    console.print(Text("the configuration is usable", "green"))
