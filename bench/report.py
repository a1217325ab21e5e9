"""From results to what people read: lines on the terminal, a table, and a chart of the ratios."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from .common import machine

TABLE = Path(__file__).with_name("RESULTS.md")
CHART = Path(__file__).with_name("results.png")
_MEASURED = {"bench", "ratio", "rows", "seconds"}


_WHY = """
## Why forwarding misses its bar

`python -m bench forward` also measures our table with nobody restricted (`nobody_restricted_to_bare`): what that
costs is two hooks and a dozen expressions a packet. The rest, up to the figure with a million, is the lookup itself:
65536 open sources hit random buckets of a hash table of 32 MB, so each packet waits for memory. One-off trials,
which are not part of the bench, moved the share by hundredths only: an interface index instead of its name (and a
rule by index is dead once the interface was made anew, which would open everybody on it), tables for one family, a
smaller hash table (slower: longer chains), hooks of the netdev family. The bare path here is little more than a
microsecond a packet.
The usual way (ipset, connection tracking) pays more for the same, see the rows beside it.
"""


def rows_of(found: dict[str, Any]) -> list[dict[str, Any]]:
    """The figures of a bench; one that gives none has its ratio as the only one."""
    rows: list[dict[str, Any]] = found.get("rows") or [{"what": found["bench"], "ratio": found["ratio"]}]
    return rows


def number(value: float | None, unit: str = "") -> str:
    """A figure with three digits that mean something, thousands apart; a dash where there is none."""
    if value is None:
        return "–"
    text = f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"
    return f"{text} {unit}".strip()


def lines(found: dict[str, Any]) -> Iterable[str]:
    """One line for each figure."""
    for row in rows_of(found):
        beside = (
            f"beside {number(row.get('rival'), row.get('unit', ''))} ({row['rival_name']})" if "rival" in row else ""
        )
        bar = f", wanted {row['bar']}: {'met' if row['met'] else 'MISSED'}" if row.get("bar") else ""
        yield f"{row['what']}: {number(row.get('ours'), row.get('unit', ''))} {beside} ratio {row['ratio']:.3g}{bar}"


def write(results: Sequence[dict[str, Any]]) -> None:
    """Write the table and the chart."""
    today = dt.datetime.now(dt.UTC).date().isoformat()
    out = [
        "# What was measured",
        "",
        f"`make bench` on {today}: {machine()}.",
        "Ours and the rival took turns in the same run; figures are medians. The machine is shared and noisy, so trust",
        "the ratios, not the absolute figures. A ratio says how many times better ours is; where the text says",
        '"as a multiple" it is ours through the rival\'s. `python -m bench NAME` measures one again.',
        "",
        "| bench | what | ours | rival | ratio | wanted | |",
        "|---|---|---:|---:|---:|---|---|",
    ]
    for found in results:
        for row in rows_of(found):
            unit = row.get("unit", "")
            rival = f"{number(row.get('rival'), unit)} ({row['rival_name']})" if row.get("rival_name") else "–"
            met = {True: "met", False: "**missed**", None: ""}[row.get("met")]
            out.append(
                f"| {found['bench']} | {row['what']} | {number(row.get('ours'), unit)} | {rival} "
                f"| {row['ratio']:.3g} | {row.get('bar', '')} | {met} |"
            )
    out += ["", "![ratios](results.png)", "", "## Beside the figures", ""]
    for found in results:
        extra = ", ".join(f"{key} {value}" for key, value in found.items() if key not in _MEASURED)
        out.append(f"* **{found['bench']}** ({found.get('seconds', '?')} s): {extra or 'nothing to add'}")
    out += ["", *_WHY.strip().splitlines()]
    TABLE.write_text("\n".join(out) + "\n")
    chart(results)


def chart(results: Sequence[dict[str, Any]]) -> None:
    """A bar for each ratio on a logarithmic axis; 1 is the rival."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    rows = [
        (found["bench"], row)
        for found in results
        for row in rows_of(found)
        if row["ratio"] > 0  # a count of zero has no place on a logarithmic axis
    ]
    colours = {True: "#2a7f4f", False: "#b3402e", None: "#5b6b7b"}
    figure, axis = plt.subplots(figsize=(11, 0.55 * len(rows) + 1.4), layout="constrained")
    names = [f"{bench}: {row['what']}\nbeside {row.get('rival_name', 'the rival')}" for bench, row in rows]
    ratios = [row["ratio"] for _, row in rows]
    axis.barh(names, [value - 1 for value in ratios], left=1, color=[colours[row.get("met")] for _, row in rows])
    for place, (value, (_, row)) in enumerate(zip(ratios, rows, strict=True)):
        wanted = f"  (wanted {row['bar']})" if row.get("bar") else ""
        left = value < 1
        axis.annotate(
            f"{value:.3g}{wanted}", (value, place), xytext=(-4 if left else 4, 0), textcoords="offset points",
            va="center", ha="right" if left else "left", fontsize=8,
        )  # fmt: skip
    axis.set_xscale("log")
    axis.axvline(1, color="black", linewidth=0.8)
    axis.set_xlim(min(*ratios, 1) / 4, max(*ratios, 1) * 6)
    axis.tick_params(axis="y", labelsize=8)
    axis.invert_yaxis()
    axis.set_xlabel("ratio to the rival in the same run (1 = equal)")
    axis.set_title("edged beside the alternatives: green bar met, red missed, grey for information", fontsize=10)
    figure.savefig(CHART, dpi=110)
    plt.close(figure)
