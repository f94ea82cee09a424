"""Printing: tables and text for people, JSON for programs. Colours appear on a terminal only."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from enum import Enum
from typing import Any

import typer

from jfr_mp.cli.rows import Sheet

#: Wide enough for any table: a file or a pipe gets every row on one line, and nothing cut off.
_UNLIMITED_WIDTH = 10_000


def print_sheet(sheet: Sheet, title: str = "") -> None:
    """Print a table to stdout."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    # Text, never markup: a job may be called "[red]".
    table = Table(title=Text(title) if title else None, title_justify="left")
    for column in sheet.columns:
        table.add_column(column, overflow="fold")
    for row in sheet.rows:
        table.add_row(*(Text(cell.text, style=cell.style) for cell in row))
    Console(width=None if sys.stdout.isatty() else _UNLIMITED_WIDTH).print(table)


def print_details(lines: list[tuple[str, str]]) -> None:
    """Print fields and their values to stdout, one field a line and further lines of a value indented below it."""
    width = max((len(name) for name, _ in lines), default=0)
    for name, text in lines:
        typer.secho(f"{name:>{width}}", fg="cyan", nl=False)
        typer.echo(" = " + text.rstrip().replace("\n", "\n" + " " * (width + 3)))


def print_json(data: Any) -> None:
    """Print data to stdout as JSON; times are ISO 8601 in UTC, states their names."""
    typer.echo(json.dumps(data, indent=2, ensure_ascii=False, default=_jsonable))


def suggest(text: str) -> None:
    """Print what the user may want to do next, unless the settings want no suggestions (`cli_suggestions`)."""
    from jfr_mp.config import get_settings

    if get_settings().cli_suggestions:
        typer.secho(text, dim=True, err=True)


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
