"""The table of all gateways: what people and scripts see of :mod:`edged.client.fleet`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from edged.cli import lines
from edged.cli.screens import clean, duration

if TYPE_CHECKING:
    from edged.client import Brokers
    from edged.client.fleet import Row, Watch

REFRESH = 1.0  # s
SILENT = 180.0  # s without a word from a gateway that says it is online; it speaks once a minute
_YES, _NO, _UNKNOWN = Text("yes", "green"), Text("NO", "bold red"), Text("-", "dim")


async def show(brokers: Brokers, groups: Sequence[str], timeout: float, *, once: bool, as_json: bool) -> None:  # noqa: ASYNC109
    """Until Ctrl-C, or ``once``. Raises ``EdgedError`` when no broker answers within ``timeout`` seconds."""
    from edged.client.fleet import Watch
    from edged.client.post import now_ms

    async with Watch(brokers) as watch:
        if not (once or as_json):
            await watch.reached(timeout)
            await _live(watch, groups)
            return
        await watch.told(timeout)
        rows = watch.fleet.rows(groups, now_ms())
        if as_json:
            for row in rows:
                lines.put(json.dumps(row._asdict(), ensure_ascii=False))
        else:
            Console(highlight=False, width=140).print(_table(rows, None))


async def _live(watch: Watch, groups: Sequence[str]) -> None:
    from edged.client.post import now_ms

    with suppress(asyncio.CancelledError), Live(screen=True, auto_refresh=False) as live:
        while True:
            note = f"connected to {watch.broker}" if watch.broker else f"no broker: {watch.last_error}"
            live.update(_table(watch.fleet.rows(groups, now_ms()), note), refresh=True)
            watch.changed.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(REFRESH):
                    await watch.changed.wait()
                await asyncio.sleep(REFRESH / 4)  # many gateways speak at once after a broker's restart


def _table(rows: Sequence[Row], note: str | None) -> Table:
    online = sum(row.online for row in rows)
    table = Table(title=f"{len(rows)} gateways, {online} online", title_justify="left", caption=note and clean(note))
    columns = (
        "gateway online heard behind subscribers notice reduced walled blocked in_sync hash agrees portal brake version"
    )
    for column in columns.split():
        number = column in {"behind", "subscribers", "notice", "reduced", "walled", "blocked"}
        table.add_column(column.replace("_", " "), justify="right" if number else "left", no_wrap=True)
    section: str | None = None
    for row in rows:
        if row.group != section and table.row_count:
            table.add_section()
        section = row.group
        table.add_row(*_cells(row), style="" if row.online else "dim")
    return table


def _cells(row: Row) -> list[Text]:
    silent = row.online and row.age_s > SILENT
    return [
        Text(clean(row.gateway), "bold"),
        Text("silent", "bold yellow") if silent else _truth(row.online),
        Text(f"{duration(row.age_s)} ago", "yellow" if silent else ""),
        Text("-" if row.behind is None else str(row.behind), "yellow" if row.behind else ""),
        Text("-" if row.subscribers is None else str(row.subscribers)),
        *(Text(str(row.levels.get(level, "-"))) for level in ("notice", "reduced", "walled", "blocked")),
        _truth(row.in_sync),
        Text(clean(row.hash[:8]) if row.hash else "-"),
        _truth(row.agrees),
        Text(clean(row.portal or "-")),
        Text(clean(row.brake or "-"), "bold red" if row.brake == "closed" else ""),
        Text(clean(row.version or "-")),
    ]


def _truth(value: bool | None) -> Text:
    return _UNKNOWN if value is None else _YES if value else _NO
