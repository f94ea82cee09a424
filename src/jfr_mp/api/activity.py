"""`ActivityReport`: what the jobs of a project have done within a time, as figures, plots and HTML."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Self

from jfr_mp.api.access import ProjectAccess
from jfr_mp.api.notebook import activity_html
from jfr_mp.api.plots import activity_figure
from jfr_mp.database.activity import PARTS, FailureCause, WorkerActivity, activity

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass
class ActivityReport:
    """What the jobs of a project have done.

    Parameters
    ----------
    since, until
        The time that it covers.
    workers
        What the jobs of each worker have done.
    failures
        Why jobs have failed, the most frequent cause first.
    """

    since: datetime
    until: datetime
    workers: dict[str, WorkerActivity]
    failures: list[FailureCause]

    @classmethod
    def generate_report(cls, job_controller: ProjectAccess, since: datetime | None = None) -> Self:
        """Return the report of a project.

        Parameters
        ----------
        job_controller
            The controller of the project.
        since
            Where it begins; None for seven days ago. It ends now.
        """
        until = datetime.now(UTC)
        begin = (since or until - timedelta(days=7)).astimezone(UTC)
        return cls(begin, until, *activity(job_controller.db, begin, until))

    @property
    def times(self) -> list[datetime]:
        """The beginnings of the parts of the time that `WorkerActivity.busy` counts."""
        part = (self.until - self.since) / PARTS
        return [self.since + number * part for number in range(PARTS)]

    def figure(self) -> Figure:
        """Return the plots: cores that were busy, core hours, time in each phase, failures by cause.

        Raises
        ------
        ConfigError
            matplotlib is not installed.
        """
        return activity_figure(self)

    def as_dict(self) -> dict[str, Any]:
        """Return it for JSON; times are text, durations are in seconds."""
        workers = {
            name: {**asdict(worker), "busy": [round(value, 3) for value in worker.busy]}
            for name, worker in self.workers.items()
        }
        return {
            "since": self.since.isoformat(),
            "until": self.until.isoformat(),
            "times": [time.isoformat() for time in self.times],
            "workers": workers,
            "failures": [asdict(failure) for failure in self.failures],
        }

    def _repr_html_(self) -> str:
        return activity_html(self)
