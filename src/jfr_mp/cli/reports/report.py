"""``jfr-mp job report`` and ``flow report``: figures of all jobs and flows, and of the last days."""

from __future__ import annotations

import os
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple
from zoneinfo import ZoneInfo

import typer

from jfr_mp.cli.commands import Options, with_examples
from jfr_mp.cli.options import JsonOption, ProjectOption, ReportFileOption, require_directory_of, whole_number
from jfr_mp.cli.printing import print_json, print_sheet, print_text
from jfr_mp.cli.project_access import job_controller
from jfr_mp.cli.reports.report_figures import Figures, flow_figures, job_figures, report_sheets

if TYPE_CHECKING:
    pass

#: The most intervals: ten years of days.
_MAX_INTERVALS = 3660
_LOCALTIME = Path("/etc/localtime")


class IntervalName(StrEnum):
    """The units of time of a report."""

    HOURS = "hours"
    DAYS = "days"
    WEEKS = "weeks"
    MONTHS = "months"
    YEARS = "years"


class Span(NamedTuple):
    """The time that a report covers, and where it goes.

    Parameters
    ----------
    interval
        The unit of its trends.
    number
        The number of intervals; None for the default of the unit.
    path
        A file to which it is written; None to print it.
    """

    interval: str
    number: int | None
    path: Path | None


def span(
    interval: Annotated[
        IntervalName, typer.Argument(metavar="INTERVAL", help=f"The unit of the trends: {', '.join(IntervalName)}.")
    ] = IntervalName.DAYS,
    number: Annotated[
        int | None,
        typer.Argument(
            metavar="NUMBER",
            parser=whole_number(1, _MAX_INTERVALS),
            help="The number of intervals; by default 24 hours, 7 days, 4 weeks, 12 months or 5 years.",
        ),
    ] = None,
    path: ReportFileOption = None,
) -> Span:
    """Return what a report covers.

    Raises
    ------
    NotFound
        The directory of the file does not exist.
    """
    if path is not None:
        require_directory_of(path)
    return Span(interval.value, number, path)


SpanOptions = Annotated[Span, Options(span)]


@with_examples(
    {
        "jfr-mp job report": "the last seven days",
        "jfr-mp job report hours 48": "the last two days, by hours",
        "jfr-mp job report weeks -o report.html": "a page with plots",
    }
)
def job_report(*, span: SpanOptions, as_json: JsonOption = False, project: ProjectOption) -> None:
    """Show figures of all jobs: how many are in each state, how many ended lately, and which run longest.

    A job counts in the interval in which it reached its present state.
    """
    from jfr_mp.api.report import JobsReport

    zone = zone_name()
    with job_controller(project) as controller:
        report = JobsReport.generate_report(controller, span.interval, span.number, zone)
    _show(job_figures(report, f"Jobs of project {project.name}"), span, as_json=as_json)


@with_examples({"jfr-mp flow report": "the last seven days", "jfr-mp flow report months --json": "for a program"})
def flow_report(*, span: SpanOptions, as_json: JsonOption = False, project: ProjectOption) -> None:
    """Show figures of all flows: how many are in each state, and how many ended lately.

    A flow counts in the interval in which it reached its present state.
    """
    from jfr_mp.api.report import FlowsReport

    zone = zone_name()
    with job_controller(project) as controller:
        report = FlowsReport.generate_report(controller, span.interval, span.number, zone)
    _show(flow_figures(report, f"Flows of project {project.name}"), span, as_json=as_json)


def zone_name() -> str:
    """Return the name of the local time zone, such as ``Europe/Paris``; UTC if this machine does not say it."""
    linked = str(_LOCALTIME.resolve()).partition("/zoneinfo/")[2] if _LOCALTIME.is_symlink() else ""
    for name in (os.environ.get("TZ", "").lstrip(":"), linked):
        try:
            return ZoneInfo(name).key.removeprefix("Etc/")
        except (OSError, ValueError):  # there is no such time zone, or the name is none
            continue
    return "UTC"


def _show(figures: Figures, span: Span, *, as_json: bool) -> None:
    if span.path is not None:
        from jfr_mp.cli.reports.report_page import write_report

        write_report(figures, span.path)
        print_text(f"Wrote {span.path}")
    if as_json:
        running = [job.model_dump() for job in figures.longest_running]
        print_json({**asdict(figures), "longest_running": running})
    elif span.path is None:
        for title, sheet in report_sheets(figures):
            print_sheet(sheet, title)
            typer.echo()
