"""Following the submitted jobs of all workers: journals often, schedulers now and then."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from jfr_mp.engine.step_runner import StepResult, StepRunner
from jfr_mp.errors import ConfigError, HostError, HostUnreachable
from jfr_mp.model import JOB_INFO_PROJECTION, JobInfo, JobRecord
from jfr_mp.outcomes import Outcome
from jfr_mp.step_table import POLL
from jfr_mp.steps.poll import Watch

logger = logging.getLogger(__name__)

_SUBMITTED = [state.value for state in POLL.sources]


class Polling:
    """Looks at the jobs that are with a scheduler and writes what became of them.

    Parameters
    ----------
    advancer
        Writes the outcomes.
    on_advance
        Told of each job that moved.
    on_silence
        Told why a scheduler gives no answer.
    """

    def __init__(
        self,
        advancer: StepRunner,
        on_advance: Callable[[StepResult], None],
        on_silence: Callable[[str], None] = lambda _why: None,
    ) -> None:
        self._advancer = advancer
        self._on_advance = on_advance
        self._on_silence = on_silence
        self._watches: dict[str, Watch] = {}
        #: Whether jobs may be with a scheduler, so that following the journals makes sense.
        self.anything_submitted = True

    def ask_schedulers(self, query: Mapping[str, Any] | None = None) -> bool:
        """Ask the schedulers for all jobs that were submitted: one question to each, whatever the number of workers.

        Parameters
        ----------
        query
            Further conditions on the job documents.

        Returns
        -------
        bool
            Whether a scheduler should be asked again soon, because a job was missing in its answer.

        Raises
        ------
        HostUnreachable
            A host is away; the schedulers after it have not been asked.
        """
        jobs = list(self._submitted(query or {}))
        self.anything_submitted = bool(jobs)
        doubts = False
        for those in self._by_scheduler(jobs):
            try:
                doubts |= self._ask(those)
            except HostUnreachable:
                raise
            except HostError as error:
                # No answer says nothing about any job: none changes its state, none spends an attempt.
                workers = ", ".join(sorted({job.worker for job in those}))
                logger.warning("the jobs of %s cannot be asked for: %s", workers, error)
                self._on_silence(f"the jobs of {workers} cannot be asked for: {error}"[:500])
        return doubts

    def follow_journals(self, query: Mapping[str, Any] | None = None) -> None:
        """Read the journals of the workers that have submitted jobs and write the news.

        Parameters
        ----------
        query
            Further conditions on the job documents.
        """
        for watch in self._watches.values():
            try:
                keys = list(watch.follow())
            except HostError as error:
                logger.debug("the journal of worker %s cannot be read: %s", watch.worker_name, error)
                continue
            if not keys:
                continue
            named = {"$or": [{"uuid": uuid, "index": index} for uuid, index in keys]}
            jobs = self._submitted({"$and": [named, dict(query or {})]})
            for job in jobs:
                outcome = watch.news_of(job)
                if outcome is None or self._write(job, outcome):
                    watch.settled(job)

    def submitted(self, worker_name: str) -> None:
        """Begin to watch a worker to which a job was submitted."""
        self.anything_submitted = True
        self._watch(worker_name)

    def _by_scheduler(self, jobs: Iterable[JobInfo]) -> Iterable[Sequence[JobInfo]]:
        """Return the jobs in groups that one question can be about."""
        groups: dict[str, list[JobInfo]] = {}
        for job in jobs:
            try:
                scheduler = self._advancer.services.worker(job.worker).scheduler_key
            except ConfigError as error:
                logger.warning("nobody can be asked for job %s: %s", job.db_id, error)
            else:
                groups.setdefault(scheduler, []).append(job)
        return groups.values()

    def _ask(self, jobs: Sequence[JobInfo]) -> bool:
        """Ask one scheduler for jobs, and write what became of them; tell whether one was missing in its answer."""
        manager = self._advancer.services.queue_manager(jobs[0].worker)
        process_ids = [job.remote.process_id for job in jobs if job.remote.process_id]
        statuses = manager.statuses(process_ids)
        watches = {job.worker: self._watch(job.worker) for job in jobs}
        for worker_name, watch in watches.items():
            theirs = [job for job in jobs if job.worker == worker_name]
            for job, outcome in watch.weigh(theirs, statuses):
                self._write(job, outcome)
        return any(watch.has_doubts for watch in watches.values())

    def _watch(self, worker_name: str) -> Watch:
        if worker_name not in self._watches:
            self._watches[worker_name] = Watch(worker_name, self._advancer.services)
        return self._watches[worker_name]

    def _submitted(self, query: Mapping[str, Any]) -> Iterable[JobInfo]:
        """Return the jobs that are with a scheduler and that nobody else works on."""
        criteria = {"$and": [{"state": {"$in": _SUBMITTED}, "lock_id": None}, dict(query)]}
        documents = list(self._advancer.db.jobs.find(criteria, projection=JOB_INFO_PROJECTION))
        return [JobInfo.from_query_output(document) for document in documents]

    def _write(self, job: JobRecord, outcome: Outcome) -> bool:
        """Write what became of a job; False where somebody else holds it now."""
        query = {"uuid": job.uuid, "index": job.index, "state": job.state.value}
        advanced = self._advancer.advance(POLL, query=query, outcome=outcome)
        if advanced is None:
            return False
        self._on_advance(advanced)
        return True
