"""Following the submitted jobs of all workers: journals often, schedulers now and then."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from jfr_mp.database.connection import QueueDatabase
from jfr_mp.database.filters import JobFilter
from jfr_mp.database.queries import jobs_info
from jfr_mp.engine.surveys import Write
from jfr_mp.errors import ConfigError, HostError, HostUnreachable
from jfr_mp.model import JobInfo
from jfr_mp.step_table import POLL
from jfr_mp.steps.poll import Watch

if TYPE_CHECKING:
    from jfr_mp.config import Project
    from jfr_mp.sites.site import WorkerSite

logger = logging.getLogger(__name__)

#: Seconds before a scheduler is asked again in whose answer a job was missing.
_DOUBT = 1.0


class Polling:
    """The survey of the step `poll`: see `jfr_mp.engine.surveys.Survey` for its parameters and methods."""

    def __init__(
        self,
        db: QueueDatabase,
        site_of: Callable[[str], WorkerSite],
        write: Write,
        report: Callable[[str], None],
    ) -> None:
        self._db = db
        self._site_of = site_of
        self._write = write
        self._report = report
        self._watches: dict[str, Watch] = {}
        #: Whether jobs may be with a scheduler, so that following the journals makes sense.
        self.has_work = True

    @staticmethod
    def concerns(_project: Project) -> bool:
        """Return True: every project may have workers whose jobs are polled."""
        return True

    def watch(self, site: WorkerSite) -> None:
        """Begin to watch a worker to which a job was submitted."""
        self.has_work = True
        if site.name not in self._watches:
            self._watches[site.name] = Watch(site)

    def ask(self, jobs: JobFilter) -> float | None:
        """Ask the schedulers for all jobs that were submitted: one question to each, whatever the number of workers.

        Returns
        -------
        float or None
            Seconds until a scheduler should be asked again, if a job was missing in its answer.

        Raises
        ------
        HostUnreachable
            A host is unreachable; the schedulers after it have not been asked.
        """
        submitted = self._submitted(jobs)
        self.has_work = bool(submitted)
        doubts = False
        for those in self._by_scheduler(submitted):
            try:
                doubts |= self._ask(those)
            except HostUnreachable:
                raise
            except HostError as error:
                # No answer says nothing about any job: none changes its state, none spends an attempt.
                workers = ", ".join(sorted({job.worker for job in those}))
                logger.warning("the scheduler gives no answer about the jobs of %s: %s", workers, error)
                self._report(f"the scheduler gives no answer about the jobs of {workers}: {error}"[:500])
        return _DOUBT if doubts else None

    def follow(self, jobs: JobFilter) -> None:
        """Read the journals of the workers that have submitted jobs and write the news."""
        for watch in self._watches.values():
            try:
                keys = list(watch.follow())
            except HostError as error:
                logger.debug("the journal of worker %s cannot be read: %s", watch.site.name, error)
                continue
            for job in self._submitted(replace(jobs, job_ids=keys)) if keys else ():
                outcome = watch.news_of(job)
                if outcome is None or self._write(job, outcome):
                    watch.settled(job)

    def _by_scheduler(self, jobs: Iterable[JobInfo]) -> Iterable[Sequence[JobInfo]]:
        """Return the jobs in groups that one question can be about."""
        groups: dict[str, list[JobInfo]] = {}
        for job in jobs:
            try:
                scheduler = self._site_of(job.worker).config.scheduler_key
            except ConfigError as error:
                logger.warning("no scheduler can be asked about job %s: %s", job.db_id, error)
            else:
                groups.setdefault(scheduler, []).append(job)
        return groups.values()

    def _ask(self, jobs: Sequence[JobInfo]) -> bool:
        """Ask one scheduler for jobs, and write what became of them; return whether one was missing in its answer."""
        scheduler = self._site_of(jobs[0].worker).scheduler
        statuses = scheduler.statuses([job.remote.process_id for job in jobs if job.remote.process_id])
        by_worker: dict[str, list[JobInfo]] = {}
        for job in jobs:
            by_worker.setdefault(job.worker, []).append(job)
        for worker, theirs in by_worker.items():
            self.watch(self._site_of(worker))
            for job, outcome in self._watches[worker].weigh(theirs, statuses):
                self._write(job, outcome)
        return any(self._watches[worker].has_doubts for worker in by_worker)

    def _submitted(self, jobs: JobFilter) -> list[JobInfo]:
        """Return the jobs that are with a scheduler and that no process works on."""
        return jobs_info(self._db, replace(jobs, states=POLL.sources, unlocked=True))
