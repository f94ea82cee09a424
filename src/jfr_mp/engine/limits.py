"""`max_jobs`: how many jobs a worker's scheduler may hold at once."""

from __future__ import annotations

from jfr_mp.config import Project
from jfr_mp.database.connection import QueueDatabase
from jfr_mp.database.filters import JobFilter
from jfr_mp.database.queries import count_jobs
from jfr_mp.states import JobState

_IN_QUEUE = (JobState.SUBMITTED, JobState.RUNNING)


class WorkerLimits:
    """Counts the submitted jobs of the workers that have a `max_jobs`.

    Parameters
    ----------
    project
        The project with the workers.
    db
        Where the jobs are counted.
    """

    def __init__(self, project: Project, db: QueueDatabase) -> None:
        self._db = db
        self._most = {
            name: worker.max_jobs for name, worker in project.workers.items() if worker.max_jobs and not worker.is_batch
        }
        #: How many jobs each of these workers had at the last `refresh`.
        self.current = dict.fromkeys(self._most, 0)

    def refresh(self) -> None:
        """Count; a user or another process may have submitted, cancelled or finished jobs since the last time."""
        for name in self._most:
            self.current[name] = count_jobs(self._db, JobFilter(workers=(name,), states=_IN_QUEUE))

    def full_workers(self) -> tuple[str, ...]:
        """Return the workers that may not be given another job now."""
        return tuple(name for name, most in self._most.items() if self.current[name] >= most)

    def __bool__(self) -> bool:
        """Return whether any worker has a limit."""
        return bool(self._most)
