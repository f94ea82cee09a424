"""Printing: tables and text for people, JSON for programs. Colours and line breaks appear on a terminal only."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from enum import Enum
from typing import Any, TextIO

import typer

from jfr_mp.cli.tables import Sheet
from jfr_mp.logs import clean

#: Wide enough for any table: a file or a pipe gets every row on one line, and nothing is cut off.
_UNLIMITED_WIDTH = 10_000


def styled(text: str, style: str, stream: TextIO) -> str:
    """Return a text in a style such as ``bold red`` if it goes to a terminal that shows colours."""
    words = style.split()
    if not words or not has_colours(stream):
        return text
    colours = [word for word in words if word not in ("bold", "dim")]
    return typer.style(text, fg=next(iter(colours), None), bold="bold" in words or None, dim="dim" in words or None)


def has_colours(stream: TextIO) -> bool:
    """Return whether a stream shows colours: it is a terminal, and the user has not set NO_COLOR."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def print_text(text: str, style: str = "") -> None:
    """Print text to standard output."""
    typer.echo(styled(clean(text), style, sys.stdout))


def print_sheet(sheet: Sheet, title: str = "") -> None:
    """Print a table to standard output; as a list of fields for each row if no line of the terminal is long enough."""
    from jfr_mp.cli.layout import GAP, fit

    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else _UNLIMITED_WIDTH
    if title:
        print_text(title, "bold")
    rows = tuple(
        tuple(cell._replace(text=clean(cell.text), short=clean(cell.short)) for cell in row) for row in sheet.rows
    )
    fitting = fit(Sheet(sheet.columns, rows), width)
    if fitting is None:
        _print_records(Sheet(sheet.columns, rows))
        return

    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, GAP, 0, 0), pad_edge=False, header_style="bold")
    for column in fitting.columns:
        table.add_column(Text(column.title), no_wrap=True)
    for row in fitting.rows:
        # Text, never markup: a job may be called "[red]".
        table.add_row(*(Text(cell.text, style=cell.style) for cell in row))
    Console(width=width, color_system="auto" if has_colours(sys.stdout) else None).print(table)


def _print_records(sheet: Sheet) -> None:
    for number, row in enumerate(sheet.rows):
        if number:
            typer.echo()
        print_details([(column.title, cell.text) for column, cell in zip(sheet.columns, row, strict=True) if cell.text])


def print_details(lines: Sequence[tuple[str, str]]) -> None:
    """Print fields and their values to standard output, with the further lines of a value indented below the first."""
    width = max((len(name) for name, _ in lines), default=0)
    for name, text in lines:
        indented = clean(text).rstrip().replace("\n", "\n" + " " * (width + 3))
        typer.echo(f"{styled(f'{name:>{width}}', 'cyan', sys.stdout)} = {indented}")


def print_json(data: Any) -> None:
    """Print data to standard output as JSON; times are ISO 8601 in UTC, states their names."""
    typer.echo(json.dumps(data, indent=2, ensure_ascii=False, default=_jsonable))


def print_count(number: int, things: str, *, as_json: bool) -> None:
    """Print a number of jobs or flows to standard output."""
    if as_json:
        print_json({"count": number})
    else:
        print_text(f"Number of {things}: {number}")


def suggest(text: str) -> None:
    """Print what the user may want to do next, unless the settings want no suggestions (`cli_suggestions`)."""
    from jfr_mp.config import get_settings

    if get_settings().cli_suggestions:
        typer.echo(styled(text, "dim", sys.stderr), err=True)


@contextmanager
def doing(what: str) -> Iterator[None]:
    """Show on a terminal that something takes its time."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(what):
        yield


def _jsonable(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    return value.value if isinstance(value, Enum) else str(value)
