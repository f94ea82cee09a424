"""`JobsReport` and `FlowsReport`: figures of all jobs and flows, with jobflow-remote's names and meanings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from jfr_mp.api.access import ProjectAccess
from jfr_mp.api.documents import JobInfo
from jfr_mp.api.notebook import counts_table, jobs_table, report_html
from jfr_mp.api.plots import trends_figure
from jfr_mp.database import queries, trends
from jfr_mp.database.filters import JobFilter
from jfr_mp.states import RUNNING_STATES, FlowState, JobState

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: The number of jobs that a report names as the longest running.
_LONGEST = 5


@dataclass
class FlowTrends:
    """How many flows reached their present state in each interval.

    Parameters
    ----------
    interval
        The unit: ``hours``, ``days``, ``weeks``, ``months`` or ``years``.
    dates
        The label of each interval, the oldest first.
    completed, failed
        The number of flows in each interval.
    timezone
        The time zone of the intervals.
    """

    interval: str
    dates: list[str]
    completed: list[int]
    failed: list[int]
    timezone: str

    @property
    def num_intervals(self) -> int:
        """The number of intervals."""
        return len(self.dates)

    @property
    def title(self) -> str:
        """What they cover, such as ``Last 7 days [UTC]``."""
        return f"Last {self.num_intervals} {self.interval} [{self.timezone}]"

    @property
    def by_state(self) -> dict[str, list[int]]:
        """The numbers of the intervals by state."""
        return {"COMPLETED": self.completed, "FAILED": self.failed}


@dataclass
class JobTrends(FlowTrends):
    """How many jobs reached their present state in each interval; `remote_error` is parallel to the other lists."""

    remote_error: list[int] = field(default_factory=list)

    @property
    def by_state(self) -> dict[str, list[int]]:
        """The numbers of the intervals by state."""
        return {**super().by_state, "REMOTE_ERROR": self.remote_error}


@dataclass
class JobsReport:
    """Figures of all jobs.

    Parameters
    ----------
    state_counts
        The number of jobs by state.
    trends
        The jobs that were completed or failed lately.
    longest_running
        The RUNNING jobs that started first.
    worker_utilization
        The number of jobs by worker.
    """

    state_counts: dict[JobState, int] = field(default_factory=dict)
    trends: JobTrends | None = None
    longest_running: list[JobInfo] = field(default_factory=list)
    worker_utilization: dict[str, int] = field(default_factory=dict)

    @property
    def running(self) -> int:
        """The number of RUNNING jobs."""
        return self.state_counts.get(JobState.RUNNING, 0)

    @property
    def completed(self) -> int:
        """The number of COMPLETED jobs."""
        return self.state_counts.get(JobState.COMPLETED, 0)

    @property
    def error(self) -> int:
        """The number of jobs that are FAILED or in REMOTE_ERROR."""
        return _total(self.state_counts, (JobState.FAILED, JobState.REMOTE_ERROR))

    @property
    def active(self) -> int:
        """The number of jobs that are on their way, from CHECKED_OUT to DOWNLOADED."""
        return _total(self.state_counts, RUNNING_STATES)

    @classmethod
    def generate_report(
        cls,
        job_controller: ProjectAccess,
        interval: str = "days",
        num_intervals: int | None = None,
        timezone: str = "UTC",
    ) -> Self:
        """Return the report of a project.

        Parameters
        ----------
        job_controller
            The controller of the project.
        interval, num_intervals, timezone
            As for `JobController.get_trends`.
        """
        db = job_controller.db
        states = (JobState.COMPLETED, JobState.FAILED, JobState.REMOTE_ERROR)
        found = trends.trends(db, states, interval, num_intervals, timezone)
        lately = JobTrends(interval, timezone=timezone, **_columns(found, states))
        running = queries.jobs_info(
            db, JobFilter(states=(JobState.RUNNING,)), sort=[("start_time", 1), ("_id", 1)], limit=_LONGEST
        )
        return cls(
            queries.count_jobs_states(db),
            lately,
            [JobInfo.of(job) for job in running],
            trends.jobs_per_worker(db),
        )

    def figure(self) -> Figure:
        """Return the plots: the numbers by state, and those of each interval.

        Raises
        ------
        ConfigError
            matplotlib is not installed.
        """
        return _figure("Jobs", self.state_counts, self.trends)

    def _repr_html_(self) -> str:
        return report_html(
            "Jobs",
            _counts(self.state_counts),
            self.trends,
            {
                "Jobs by worker": counts_table(self.worker_utilization),
                "Longest running": jobs_table(self.longest_running),
            },
        )


@dataclass
class FlowsReport:
    """Figures of all flows.

    Parameters
    ----------
    state_counts
        The number of flows by state.
    trends
        The flows that were completed or failed lately.
    """

    state_counts: dict[FlowState, int]
    trends: FlowTrends

    @property
    def running(self) -> int:
        """The number of RUNNING flows."""
        return self.state_counts.get(FlowState.RUNNING, 0)

    @property
    def completed(self) -> int:
        """The number of COMPLETED flows."""
        return self.state_counts.get(FlowState.COMPLETED, 0)

    @property
    def error(self) -> int:
        """The number of FAILED flows."""
        return self.state_counts.get(FlowState.FAILED, 0)

    @classmethod
    def generate_report(
        cls,
        job_controller: ProjectAccess,
        interval: str = "days",
        num_intervals: int | None = None,
        timezone: str = "UTC",
    ) -> Self:
        """Return the report of a project; parameters as for `JobsReport.generate_report`."""
        states = (FlowState.COMPLETED, FlowState.FAILED)
        found = trends.trends(job_controller.db, states, interval, num_intervals, timezone)
        lately = FlowTrends(interval, timezone=timezone, **_columns(found, states))
        return cls(queries.count_flows_states(job_controller.db), lately)

    def figure(self) -> Figure:
        """Return the plots: the numbers by state, and those of each interval.

        Raises
        ------
        ConfigError
            matplotlib is not installed.
        """
        return _figure("Flows", self.state_counts, self.trends)

    def _repr_html_(self) -> str:
        return report_html("Flows", _counts(self.state_counts), self.trends, {})


def _columns(
    found: Mapping[str, Mapping[Any, int]], states: Sequence[JobState] | Sequence[FlowState]
) -> dict[str, Any]:
    """Return trends as parallel lists: the dates, and one list for each state."""
    columns = {state.value.lower(): [of_interval[state] for of_interval in found.values()] for state in states}
    return {"dates": list(found), **columns}


def _counts(counts: Mapping[JobState, int] | Mapping[FlowState, int]) -> dict[str, int]:
    """Return the numbers above zero by the names of the states, in the order of their life."""
    named = {state.name: number for state, number in counts.items() if number}
    return {state.name: named[state.name] for state in JobState if state.name in named}


def _figure(title: str, counts: Mapping[JobState, int] | Mapping[FlowState, int], lately: FlowTrends | None) -> Figure:
    shown = lately or FlowTrends("days", [], [], [], "UTC")
    return trends_figure(title, _counts(counts), shown.title, shown.dates, shown.by_state)


def _total(counts: Mapping[JobState, int], states: Sequence[JobState]) -> int:
    return sum(counts.get(state, 0) for state in states)
