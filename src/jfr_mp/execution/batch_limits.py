"""When an allocation takes another job, and when it is over."""

from __future__ import annotations

from dataclasses import dataclass

#: Seconds between two looks into the pool where nobody says.
_SLEEP_TIME = 1.0


@dataclass(frozen=True)
class BatchLimits:
    """The options of a batch process; times are in seconds, None and 0 are no limit.

    Parameters
    ----------
    max_time
        The age at which it takes no more jobs.
    max_wait
        How long it waits for a job while none of its own runs.
    max_jobs
        The most jobs that it takes.
    parallel_jobs
        The jobs that run at the same time.
    sleep_time
        How long it sleeps before it looks for a job again.
    """

    max_time: float | None = None
    max_wait: float | None = 60.0
    max_jobs: int | None = None
    parallel_jobs: int | None = None
    sleep_time: float | None = None

    @property
    def slots(self) -> int:
        """The jobs that run at the same time."""
        return self.parallel_jobs or 1

    @property
    def look_every(self) -> float:
        """Seconds between two looks into the pool."""
        return self.sleep_time or _SLEEP_TIME

    def takes_jobs(self, age: float, taken: int) -> bool:
        """Tell whether it takes jobs at all, at its `age` and with so many `taken`."""
        return not (self.max_time and age > self.max_time) and not (self.max_jobs and taken >= self.max_jobs)

    def is_over(self, age: float, taken: int, running: int, idle: float) -> bool:
        """Tell whether it ends now.

        While a job runs it never does: that job may be about to create work, and its slots belong together.

        Parameters
        ----------
        age, idle
            Seconds since it began, and since it last had work.
        taken, running
            Jobs.
        """
        if running:
            return False
        return not self.takes_jobs(age, taken) or bool(self.max_wait and idle > self.max_wait)
