"""What a step of the kind SURVEY offers: it looks at all jobs in its states at once and claims those that moved."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from jfr_mp.config import Project
from jfr_mp.database.connection import QueueDatabase
from jfr_mp.database.filters import JobFilter
from jfr_mp.model import JobInfo
from jfr_mp.outcomes import Outcome
from jfr_mp.sites.site import WorkerSite
from jfr_mp.steps.services import StepFunction

#: Claims a job in the state that was seen, writes a result for it, and returns whether it was written.
Write = Callable[[JobInfo, Outcome | StepFunction], bool]


class Survey(Protocol):
    """Follows the jobs in the states of its step. One thread uses it.

    Parameters
    ----------
    db
        The queue database.
    site_of
        Returns the site of a worker.
    write
        Writes the result of one job.
    report
        Told what a user should know and no job says.
    """

    def __init__(
        self,
        db: QueueDatabase,
        site_of: Callable[[str], WorkerSite],
        write: Write,
        report: Callable[[str], None],
    ) -> None: ...

    @staticmethod
    def concerns(project: Project) -> bool:
        """Return whether there is anything for it to do in a project."""

    @property
    def has_work(self) -> bool:
        """Whether jobs may be in its states, so that following the journals makes sense."""

    def watch(self, site: WorkerSite) -> None:
        """Begin to watch a worker: a job came into one of the states there."""

    def ask(self, jobs: JobFilter) -> float | None:
        """Look at all these jobs; return the seconds until it should be done again, if that is soon.

        Raises
        ------
        HostUnreachable
            A host is unreachable; what comes after it has not been looked at.
        """

    def follow(self, jobs: JobFilter) -> None:
        """Read what the journals say about these jobs; raises as `ask` does."""
