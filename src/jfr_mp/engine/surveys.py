"""The interface of steps of the kind SURVEY, which examine all jobs in their states and claim the ones that moved."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from jfr_mp.config import Project
from jfr_mp.database.connection import QueueDatabase
from jfr_mp.database.filters import JobFilter
from jfr_mp.model import JobInfo
from jfr_mp.outcomes import Outcome
from jfr_mp.sites.site import WorkerSite
from jfr_mp.steps.services import StepFunction

#: Claims jobs in the states in which they were seen, writes the results, and returns the db_ids of the jobs whose
#: result was written.
Write = Callable[[Sequence[tuple[JobInfo, Outcome | StepFunction]]], set[str]]


class Survey(Protocol):
    """Track the jobs in the states of a step. An instance is used by a single thread.

    Parameters
    ----------
    db
        The queue database.
    site_of
        Returns the site of a worker.
    write
        Writes the results of jobs.
    report
        Called with problems that the user should know about and that no job records.
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
        """Return whether a project can have jobs in the states of the step."""

    @property
    def has_work(self) -> bool:
        """Whether jobs may be in its states, so that the journals have to be followed."""

    def watch(self, site: WorkerSite) -> None:
        """Start watching a worker, because one of its jobs entered one of the states."""

    def ask(self, jobs: JobFilter) -> float | None:
        """Examine all these jobs; return the seconds until the next survey, if it is due sooner than usual.

        Raises
        ------
        HostUnreachable
            A host is unreachable; the jobs of the remaining hosts were not examined.
        """

    def follow(self, jobs: JobFilter) -> None:
        """Process the journal events of these jobs; raises as `ask` does."""
