"""SUBMITTED and RUNNING: tracking the jobs of one worker by its journal and its scheduler.

The submission script appends a line to the journal of the worker when it starts and when it ends. Following that file
is cheap and shows the end of a job at once. The scheduler is asked periodically as well, because a killed script writes
no line. A job counts as ended only if there is evidence: a journal line, a scheduler that reports it as done, a
complete output file, or its absence from two answers of the scheduler.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from jfr_mp.jobdata.outputs import is_complete
from jfr_mp.model import JobInfo, JobRecord
from jfr_mp.outcomes import Advance, Outcome
from jfr_mp.schedulers import JobStatus
from jfr_mp.schedulers.journal import Event, JobKey
from jfr_mp.sites.site import WorkerSite
from jfr_mp.states import JobState

#: The number of scheduler answers without a job after which the job counts as ended.
_ABSENCES = 2
#: Seconds after which a job that has not ended becomes RUNNING; the end of a shorter one is all that is written.
_SHORT = 0.5
#: Seconds for which a journal line is kept if its job is not SUBMITTED yet.
_NEWS_LIFETIME = 60.0


@dataclass(frozen=True)
class Evidence:
    """What is known about a submitted job."""

    started_at: datetime | None = None
    ended: bool = False
    queue_state: str | None = None


def decide(job: JobRecord, evidence: Evidence, site: WorkerSite) -> Outcome | None:
    """Return the outcome that follows from the evidence about a job, or None if nothing changes."""
    if evidence.ended:
        fields: dict[str, Any] = {"remote.queue_state": evidence.queue_state}
        return Advance(site.state_after_run(job), fields, next_step_delay=site.config.delay_download)
    if evidence.started_at and job.state is JobState.SUBMITTED:
        fields = {"remote.queue_state": evidence.queue_state, "start_time": evidence.started_at}
        return Advance(JobState.RUNNING, fields)
    return None


def _recent(events: Collection[Event]) -> Iterator[Event]:
    """Yield the events that were read together, without the old ones; only clocks of the worker are compared."""
    newest = max((event.time for event in events), default=None)
    return (event for event in events if newest and (newest - event.time).total_seconds() < _NEWS_LIFETIME)


class Watch:
    """Watch the submitted jobs of one worker.

    Parameters
    ----------
    site
        The worker.
    clock
        Monotonic time in seconds.
    """

    def __init__(self, site: WorkerSite, clock: Callable[[], float] = time.monotonic) -> None:
        self.site = site
        self._clock = clock
        self._journal = site.journal
        #: By submission token, because earlier runs of the same job may have left lines, too.
        self._news: dict[str, Event] = {}
        #: When the news came.
        self._heard: dict[str, float] = {}
        #: The submissions that have ended, and when that was written: their lines may be read later.
        self._over: dict[str, float] = {}
        self._absences: dict[str, int] = {}

    def follow(self) -> Collection[JobKey]:
        """Read the journal and return the jobs with events that have not been `settled` and are to be written now."""
        heard = self._clock()
        for event in _recent(list(self._journal.new_events())):
            known = self._news.get(event.submission)
            if event.submission not in self._over and (known is None or event.ended):
                self._news[event.submission] = event
                self._heard[event.submission] = heard
        self._news = {token: each for token, each in self._news.items() if heard - self._heard[token] < _NEWS_LIFETIME}
        self._heard = {token: self._heard[token] for token in self._news}
        self._over = {token: moment for token, moment in self._over.items() if heard - moment < _NEWS_LIFETIME}
        return {event.job for token, event in self._news.items() if event.ended or heard - self._heard[token] >= _SHORT}

    def news_of(self, job: JobRecord) -> Outcome | None:
        """Return the outcome that follows from the journal events of a job, or None if nothing changes."""
        event = self._news.get(job.remote.submission or "")
        if event is None:
            return None
        return decide(job, Evidence(started_at=event.time, ended=event.ended), self.site)

    def settled(self, job: JobRecord, *, over: bool = False) -> None:
        """Forget the events of a job, because its new state has been written.

        Parameters
        ----------
        over
            Whether the submission has ended, so that nothing that comes later matters.
        """
        token = job.remote.submission or ""
        self._news.pop(token, None)
        if over:
            self._over[token] = self._clock()
            if self.site.reaps:
                self.site.leftovers.expect(token)

    def weigh(self, jobs: Collection[JobInfo], statuses: Mapping[str, JobStatus]) -> Iterator[tuple[JobInfo, Outcome]]:
        """Evaluate the answer of the scheduler for all these jobs; yield the jobs that moved, with their outcomes.

        Raises
        ------
        HostError
            The run directory of a job that is missing from the answer cannot be read.
        """
        by_id = {job.remote.process_id: job for job in jobs if job.remote.process_id}
        self._absences = {job_id: count for job_id, count in self._absences.items() if job_id in by_id}
        for job_id, job in by_id.items():
            outcome = decide(job, self._evidence(job, job_id, statuses.get(job_id)), self.site)
            if outcome is not None:
                yield job, outcome

    @property
    def has_doubts(self) -> bool:
        """Whether a job was absent from the last answer, so that the scheduler should be asked again soon."""
        return bool(self._absences)

    def _evidence(self, job: JobRecord, job_id: str, status: JobStatus | None) -> Evidence:
        """Return the evidence in the scheduler's answer about one job."""
        if status is not None and not status.done:
            self._absences.pop(job_id, None)
            started_at = datetime.now(UTC) if status.running else None
            return Evidence(started_at=started_at, queue_state=status.name)
        if status is not None or is_complete(self.site.host, job.run_dir or ""):
            return Evidence(ended=True, queue_state=status.name if status else None)
        self._absences[job_id] = self._absences.get(job_id, 0) + 1
        return Evidence(ended=self._absences[job_id] >= _ABSENCES)
