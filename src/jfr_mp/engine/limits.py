"""How many jobs a worker's scheduler may have at once: `max_jobs`, or the cores of this machine."""

from __future__ import annotations

from jfr_mp.config import Project
from jfr_mp.database.connection import QueueDatabase
from jfr_mp.database.filters import JobFilter
from jfr_mp.database.queries import count_jobs
from jfr_mp.places import Places
from jfr_mp.states import JobState

_IN_QUEUE = (JobState.SUBMITTED, JobState.RUNNING)


class WorkerLimits:
    """Count the submitted jobs of the workers that have a limit.

    Parameters
    ----------
    project
        The project with the workers.
    db
        The queue database.
    places
        The places that this process sees: a local worker has its limit on each machine.
    """

    def __init__(self, project: Project, db: QueueDatabase, places: Places) -> None:
        self._db = db
        self._places = places
        self._most = project.job_limits()
        #: The number of jobs of each of these workers at the last `refresh`.
        self.current = dict.fromkeys(self._most, 0)

    def refresh(self) -> None:
        """Count again, because users and other processes submit, cancel and finish jobs, too."""
        for name in self._most:
            here = JobFilter(workers=(name,), states=_IN_QUEUE, places=self._places.seen())
            self.current[name] = count_jobs(self._db, here)

    def full_workers(self) -> tuple[str, ...]:
        """Return the workers that have reached their limit."""
        return tuple(name for name, most in self._most.items() if self.current[name] >= most)

    @property
    def room(self) -> int | None:
        """The number of jobs that can be submitted without exceeding a limit, whichever workers they are for."""
        free = [most - self.current[name] for name, most in self._most.items() if self.current[name] < most]
        return min(free, default=None)

    def __bool__(self) -> bool:
        """Return whether any worker has a limit."""
        return bool(self._most)
