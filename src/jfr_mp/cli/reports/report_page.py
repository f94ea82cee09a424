"""A report as a file: plots alone, or a page of its own with plots and tables."""

from __future__ import annotations

import io
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from jfr_mp.cli.reports.report_figures import Figures, now_text, report_sheets
from jfr_mp.errors import ConfigError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from jfr_mp.cli.tables import Sheet

_PAGE = """\
<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><title>{title}</title>
<style>
body {{ font: 15px/1.5 sans-serif; max-width: 60em; margin: 2em auto; padding: 0 1em; color: #222; }}
table {{ border-collapse: collapse; margin-bottom: 2em; }}
td, th {{ text-align: left; padding: .15em 1.2em .15em 0; border-bottom: 1px solid #ddd; }}
svg {{ max-width: 100%; height: auto; }}
</style></head>
<body>
<h1>{title}</h1>
<p>{made}</p>
{plot}
{tables}
</body>
</html>
"""


def write_report(figures: Figures, path: Path) -> None:
    """Write a report; the ending of the path gives the format.

    Raises
    ------
    ConfigError
        matplotlib is not installed, or does not know the format.
    """
    made = now_text(figures.zone)
    write_page(path, figures.title, made, plot(figures), report_sheets(figures))


def write_page(path: Path, title: str, made: str, figure: Figure, sheets: Sequence[tuple[str, Sheet]]) -> None:
    """Write a figure with tables as a page that needs no other file, or the figure alone, by the ending of the path.

    Raises
    ------
    ConfigError
        matplotlib does not know the format.
    """
    if path.suffix.lower() in (".html", ".htm"):
        path.write_text(page(title, made, _svg(figure), sheets), encoding="utf-8")
        return
    try:
        figure.savefig(path)
    except ValueError as error:
        raise ConfigError(f"{path}: {error}") from error


def page(title: str, made: str, plot: str, sheets: Sequence[tuple[str, Sheet]]) -> str:
    """Return a page with a plot and tables, which needs no other file."""
    tables = "\n".join(f"<h2>{escape(heading)}</h2>\n{_table(sheet)}" for heading, sheet in sheets)
    return _PAGE.format(title=escape(title), made=escape(made), plot=plot, tables=tables)


def _table(sheet: Sheet) -> str:
    head = "".join(f"<th>{escape(column.title)}</th>" for column in sheet.columns)
    rows = ("".join(f"<td>{escape(cell.text)}</td>" for cell in row) for row in sheet.rows)
    return f"<table>\n<tr>{head}</tr>\n" + "\n".join(f"<tr>{row}</tr>" for row in rows) + "\n</table>"


def plot(figures: Figures) -> Figure:
    """Return the plots: the numbers by state, and those of each interval.

    Raises
    ------
    ConfigError
        matplotlib is not installed.
    """
    from jfr_mp.api.plots import trends_figure

    return trends_figure(figures.title, figures.counts, figures.lately, figures.dates, figures.trends)


def _svg(figure: Figure) -> str:
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg")
    text = buffer.getvalue()
    # Without the declarations, which have no place within a page.
    return text[text.index("<svg") :]
