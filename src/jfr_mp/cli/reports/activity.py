"""``jfr-mp report``: what the jobs have done within a time, on the terminal or as a page with plots."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from jfr_mp.cli.commands import with_examples
from jfr_mp.cli.jobs.events import moment
from jfr_mp.cli.options import JsonOption, ProjectOption, ReportFileOption, require_directory_of
from jfr_mp.cli.printing import print_json, print_sheet, print_text
from jfr_mp.cli.project_access import job_controller
from jfr_mp.cli.tables import Cell, Column, Sheet

if TYPE_CHECKING:
    from jfr_mp.api.activity import ActivityReport

_PHASES = ("waiting", "running", "closing")


@with_examples(
    {
        "jfr-mp report": "the last seven days",
        "jfr-mp report --since 12h": "the last twelve hours",
        "jfr-mp report -o report.html": "a page with plots, to keep or to send",
    }
)
def report(
    *,
    since: Annotated[
        datetime | None,
        typer.Option(
            "--since",
            metavar="TIME",
            parser=moment,
            help="Begin at this time, or so long ago: 30m, 12h, 7d. By default 7d.",
        ),
    ] = None,
    path: ReportFileOption = None,
    as_json: JsonOption = False,
    project: ProjectOption,
) -> None:
    """Show what jobs have done: core hours and times by worker, and failures by cause.

    A job counts with the cores that its resources, or the default ones of its worker, ask for; without them with one.
    """
    from jfr_mp.api.activity import ActivityReport

    if path is not None:
        require_directory_of(path)
    with job_controller(project) as controller:
        found = ActivityReport.generate_report(controller, since)
    if path is not None:
        _write(found, path, project.name)
        print_text(f"Wrote {path}")
    if as_json:
        print_json(found.as_dict())
    elif path is None:
        for title, sheet in activity_sheets(found):
            print_sheet(sheet, title)
            typer.echo()


def _write(found: ActivityReport, path: Path, project: str) -> None:
    from jfr_mp.cli.reports.report_page import write_page

    write_page(path, f"Jobs of project {project}", _span(found), found.figure(), activity_sheets(found))


def activity_sheets(found: ActivityReport) -> list[tuple[str, Sheet]]:
    """Return the tables of a report, each with its title; the one of failures is left out if there is none."""
    titles = ("Worker", "Completed", "Failed", "Core hours", *(f"Mean {phase} [s]" for phase in _PHASES))
    workers = tuple(
        (
            *map(Cell, (name, str(worker.completed), str(worker.failed), f"{worker.core_hours:.2f}")),
            *(Cell(_seconds(worker.mean(phase))) for phase in _PHASES),
        )
        for name, worker in found.workers.items()
    )
    causes = tuple(
        (Cell(str(cause.number)), Cell(cause.first_line, "red"), Cell(", ".join(cause.db_ids)))
        for cause in found.failures
    )
    columns = (Column("Number"), Column("First line", breaks=True), Column("Jobs"))
    sheets = [(_span(found), Sheet(tuple(map(Column, titles)), workers)), ("Failures by cause", Sheet(columns, causes))]
    return [(title, sheet) for title, sheet in sheets if sheet.rows or title == _span(found)]


def _span(found: ActivityReport) -> str:
    begin, end = found.since.astimezone(), found.until.astimezone()
    return f"From {begin:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M %Z}"


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"
