"""Tracking the submitted jobs of all workers: by their journals, and periodically by asking the schedulers."""

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
from jfr_mp.outcomes import Advance, Outcome
from jfr_mp.step_table import POLL
from jfr_mp.steps.poll import Watch

if TYPE_CHECKING:
    from jfr_mp.config import Project
    from jfr_mp.sites.site import WorkerSite

logger = logging.getLogger(__name__)

#: Seconds before a scheduler is asked again if a job was missing from its answer.
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
        #: Whether any scheduler may have jobs, so that the journals have to be followed.
        self.has_work = True

    @staticmethod
    def concerns(_project: Project) -> bool:
        """Return True: every project may have workers whose jobs are polled."""
        return True

    def watch(self, site: WorkerSite) -> None:
        """Start watching a worker, because a job was submitted to it."""
        self.has_work = True
        if site.name not in self._watches:
            self._watches[site.name] = Watch(site)

    def ask(self, jobs: JobFilter) -> float | None:
        """Ask the schedulers for all submitted jobs: one query per scheduler, for all workers that use it.

        Returns
        -------
        float or None
            Seconds until a scheduler should be asked again, if a job was missing from its answer.

        Raises
        ------
        HostUnreachable
            A host is unreachable; the remaining schedulers were not asked.
        """
        submitted = self._submitted(jobs)
        self.has_work = bool(submitted) or any(watch.site.leftovers for watch in self._watches.values())
        doubts = False
        for those in self._by_scheduler(submitted):
            try:
                doubts |= self._ask(those)
            except HostUnreachable:
                raise
            except HostError as error:
                # Without an answer nothing is known: no job changes its state, and no job spends an attempt.
                workers = ", ".join(sorted({job.worker for job in those}))
                logger.warning("the scheduler gave no answer about the jobs of %s: %s", workers, error)
                self._report(f"the scheduler gave no answer about the jobs of {workers}: {error}"[:500])
        return _DOUBT if doubts else None

    def follow(self, jobs: JobFilter) -> None:
        """Read the journals of the workers that have submitted jobs, and write the new states."""
        for watch in self._watches.values():
            watch.site.leftovers.reap()
            try:
                keys = list(watch.follow())
            except HostError as error:
                logger.debug("the journal of worker %s cannot be read: %s", watch.site.name, error)
                continue
            # By uuid, which one index scan answers; a condition for each pair would be planned one by one.
            uuids = tuple({uuid for uuid, _ in keys})
            submitted = self._submitted(replace(jobs, uuids=uuids)) if keys else []
            news = [(job, watch.news_of(job)) for job in submitted]
            for job, outcome in news:
                if outcome is None:
                    watch.settled(job)
            self._record(watch, [(job, outcome) for job, outcome in news if outcome is not None])

    def _record(self, watch: Watch, moved: Sequence[tuple[JobInfo, Outcome]]) -> None:
        """Write the outcomes of jobs of one worker."""
        written = self._write(moved) if moved else set()
        for job, outcome in moved:
            if job.db_id in written:
                watch.settled(job, over=isinstance(outcome, Advance) and outcome.state not in POLL.sources)

    def _by_scheduler(self, jobs: Iterable[JobInfo]) -> Iterable[Sequence[JobInfo]]:
        """Return the jobs in groups that one query to a scheduler can cover."""
        groups: dict[str, list[JobInfo]] = {}
        for job in jobs:
            try:
                scheduler = self._site_of(job.worker).config.scheduler_key
            except ConfigError as error:
                logger.warning("the scheduler cannot be asked for job %s: %s", job.db_id, error)
            else:
                groups.setdefault(scheduler, []).append(job)
        return groups.values()

    def _ask(self, jobs: Sequence[JobInfo]) -> bool:
        """Ask one scheduler for jobs and write their new states; return whether a job was missing from its answer."""
        scheduler = self._site_of(jobs[0].worker).scheduler
        statuses = scheduler.statuses([job.remote.process_id for job in jobs if job.remote.process_id])
        by_worker: dict[str, list[JobInfo]] = {}
        for job in jobs:
            by_worker.setdefault(job.worker, []).append(job)
        for worker, theirs in by_worker.items():
            self.watch(self._site_of(worker))
            watch = self._watches[worker]
            self._record(watch, list(watch.weigh(theirs, statuses)))
        return any(self._watches[worker].has_doubts for worker in by_worker)

    def _submitted(self, jobs: JobFilter) -> list[JobInfo]:
        """Return the submitted jobs that no process has locked."""
        return jobs_info(self._db, replace(jobs, states=POLL.sources, unlocked=True))
