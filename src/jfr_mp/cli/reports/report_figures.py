"""What a report shows: the figures of jobs or flows, and their tables. Nothing here prints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from jfr_mp.cli.tables import STATE_STYLES, Cell, Column, Sheet, job_sheet
from jfr_mp.states import FlowState, JobState

if TYPE_CHECKING:
    from jfr_mp.api.report import FlowsReport, JobsReport
    from jfr_mp.model import JobInfo

#: The length of the longest bar, in characters.
_BAR = 30


@dataclass(frozen=True)
class Figures:
    """What a report shows.

    Parameters
    ----------
    title
        Such as ``Jobs of project main``.
    interval, zone
        The unit of the trends, and the time zone of their intervals.
    counts
        The number of jobs or flows by state, without the states that have none.
    dates
        The intervals, the oldest first.
    trends
        The numbers of each interval, by state.
    workers
        The number of jobs by worker.
    longest_running
        The RUNNING jobs that started first.
    """

    title: str
    interval: str
    zone: str
    counts: Mapping[str, int]
    dates: Sequence[str]
    trends: Mapping[str, Sequence[int]]
    workers: Mapping[str, int] = field(default_factory=dict)
    longest_running: Sequence[JobInfo] = ()

    @property
    def lately(self) -> str:
        """The title of the trends, such as ``Last 7 days [UTC]``."""
        return f"Last {len(self.dates)} {self.interval} [{self.zone}]"


def job_figures(report: JobsReport, title: str) -> Figures:
    """Return the figures of jobs."""
    trends = report.trends
    assert trends is not None
    return Figures(
        title,
        trends.interval,
        trends.timezone,
        _counts(JobState, report.state_counts),
        trends.dates,
        {"COMPLETED": trends.completed, "FAILED": trends.failed, "REMOTE_ERROR": trends.remote_error},
        report.worker_utilization,
        report.longest_running,
    )


def flow_figures(report: FlowsReport, title: str) -> Figures:
    """Return the figures of flows."""
    trends = report.trends
    lately = {"COMPLETED": trends.completed, "FAILED": trends.failed}
    return Figures(
        title, trends.interval, trends.timezone, _counts(FlowState, report.state_counts), trends.dates, lately
    )


def _counts(states: type[JobState] | type[FlowState], counts: Mapping[Any, int]) -> dict[str, int]:
    return {state.name: counts[state] for state in states if counts.get(state)}


def report_sheets(figures: Figures) -> list[tuple[str, Sheet]]:
    """Return the tables of a report, each with its title; those without a row are left out."""
    sheets = [
        (figures.title, _bars("State", figures.counts)),
        (figures.lately, _trend_sheet(figures)),
        ("Jobs by worker", _bars("Worker", figures.workers)),
        ("Longest running", job_sheet(figures.longest_running, 1)),
    ]
    return [(title, sheet) for title, sheet in sheets if sheet.rows]


def _bars(title: str, counts: Mapping[str, int]) -> Sheet:
    """Return a table with a bar for each number."""
    most = max(counts.values(), default=1)
    styles = {state.name: style for state, style in STATE_STYLES.items()}
    return Sheet(
        (Column(title), Column("Number"), Column("")),
        tuple(
            (Cell(name, styles.get(name, "")), Cell(str(number)), Cell("█" * -(-_BAR * number // most)))
            for name, number in counts.items()
        ),
    )


def _trend_sheet(figures: Figures) -> Sheet:
    rows = zip(figures.dates, *figures.trends.values(), strict=True)
    columns = (Column(figures.interval.capitalize().removesuffix("s")), *map(Column, figures.trends))
    return Sheet(columns, tuple(tuple(Cell(str(value)) for value in row) for row in rows))


def now_text(zone: str) -> str:
    """Return the time at which a report was made."""
    return f"{datetime.now(ZoneInfo(zone)):%Y-%m-%d %H:%M} {zone}"
