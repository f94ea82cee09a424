"""A picture of the table of `scripts/bench.py`: how far each row is beyond its target, or from it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

REACHED, MISSED = "#2a7f62", "#c0562f"


def draw(rows: Mapping[str, Mapping[str, Any]], machine: str, path: Path) -> None:
    """Draw the rows that have a target, one bar each, on a logarithmic axis on which 1 is the target.

    Parameters
    ----------
    rows
        The rows of the JSON file.
    machine
        What the figures depend on, for the foot of the picture.
    path
        Where it is written; the suffix chooses the format.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, NullFormatter

    bars = {name: row for name, row in rows.items() if row["attained"]}
    figure = Figure(figsize=(8, 0.9 + 0.34 * len(bars)), layout="constrained")
    axes = figure.subplots()
    colours = [REACHED if row["reached"] else MISSED for row in bars.values()]
    axes.barh(list(bars), [row["attained"] - 1 for row in bars.values()], left=1, color=colours, height=0.6)
    for place, row in enumerate(bars.values()):
        peer = f", jobflow-remote {row['peer']:.3g}" if row["peer"] is not None else ""
        axes.annotate(
            f"{row['ours']:.3g} {row['unit']}{peer}",
            (max(row["attained"], 1.0), place),
            xytext=(5, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
        )
    axes.axvline(1.0, color="0.2", linewidth=1)
    axes.set_xscale("log")
    attained = [row["attained"] for row in bars.values()]
    axes.set_xlim(min(0.5, 0.8 * min(attained)), 5 * max(1.0, *attained))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.invert_yaxis()
    axes.set_xlabel("times the target; green: reached", fontsize=8)
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    figure.supxlabel(machine, fontsize=6, color="0.4")
    figure.savefig(path)
