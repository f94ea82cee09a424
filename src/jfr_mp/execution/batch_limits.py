"""The limits of a batch: when it takes another job, and when it ends."""

from __future__ import annotations

from dataclasses import dataclass

#: The default number of seconds between two searches for a job in the pool.
_SLEEP_TIME = 1.0


@dataclass(frozen=True)
class BatchLimits:
    """The options of a batch process. Times are in seconds; None and 0 mean no limit.

    Parameters
    ----------
    max_time
        The age at which it stops taking jobs.
    max_wait
        The time that it waits for a new job while it is running none.
    max_jobs
        The maximum number of jobs that it takes.
    parallel_jobs
        The number of jobs that run at the same time.
    sleep_time
        The time between two searches for a job in the pool.
    """

    max_time: float | None = None
    max_wait: float | None = 60.0
    max_jobs: int | None = None
    parallel_jobs: int | None = None
    sleep_time: float | None = None

    @property
    def slots(self) -> int:
        """The number of jobs that run at the same time."""
        return self.parallel_jobs or 1

    @property
    def look_every(self) -> float:
        """Seconds between two searches for a job in the pool."""
        return self.sleep_time or _SLEEP_TIME

    def takes_jobs(self, age: float, taken: int) -> bool:
        """Return whether a batch of this age, which has taken this number of jobs, takes another one."""
        return not (self.max_time and age > self.max_time) and not (self.max_jobs and taken >= self.max_jobs)

    def is_over(self, age: float, taken: int, running: int, idle: float) -> bool:
        """Return whether a batch ends now.

        It never ends while a job is running, because that job may create further jobs.

        Parameters
        ----------
        age, idle
            Seconds since it began, and since it last had work.
        taken, running
            The numbers of jobs taken so far and running now.
        """
        if running:
            return False
        return not self.takes_jobs(age, taken) or bool(self.max_wait and idle > self.max_wait)
