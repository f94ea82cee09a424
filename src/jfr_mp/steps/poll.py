"""SUBMITTED and RUNNING: what the journal and the scheduler say about the jobs of one worker.

The submission script appends a line to the worker's journal when it starts and when it ends; following that file costs
next to nothing and tells of the end at once. The scheduler is asked now and then, as the safety net: a script that was
killed writes no line. A job ends on evidence only: its journal line, a scheduler that calls it done, a complete output
file, or its absence from two answers of the scheduler.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
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

#: How often a scheduler must answer without a job before the job counts as ended.
_ABSENCES = 2
#: Seconds for which a journal line is kept whose job has not been seen SUBMITTED yet.
_NEWS_LIFETIME = 60.0


@dataclass(frozen=True)
class Evidence:
    """What is known about a submitted job."""

    started_at: datetime | None = None
    ended: bool = False
    queue_state: str | None = None


def decide(job: JobRecord, evidence: Evidence, site: WorkerSite) -> Outcome | None:
    """Return what the evidence means for a job, or None if it changes nothing."""
    if evidence.ended:
        fields: dict[str, Any] = {"remote.queue_state": evidence.queue_state}
        return Advance(site.state_after_run, fields, next_step_delay=site.config.delay_download)
    if evidence.started_at and job.state is JobState.SUBMITTED:
        fields = {"remote.queue_state": evidence.queue_state, "start_time": evidence.started_at}
        return Advance(JobState.RUNNING, fields)
    return None


class Watch:
    """Watches the submitted jobs of one worker.

    Parameters
    ----------
    site
        The worker.
    """

    def __init__(self, site: WorkerSite) -> None:
        self.site = site
        self._journal = site.journal
        #: By submission: an earlier run of the same job may have left lines too.
        self._news: dict[str, Event] = {}
        self._absences: dict[str, int] = {}

    def follow(self) -> Collection[JobKey]:
        """Read what the journal has got; return the jobs of which there is news that has not been `settled`."""
        now = datetime.now(UTC)
        for event in self._journal.new_events():
            known = self._news.get(event.submission)
            if known is None or event.ended:
                self._news[event.submission] = event
        self._news = {
            token: event for token, event in self._news.items() if (now - event.time).total_seconds() < _NEWS_LIFETIME
        }
        return {event.job for event in self._news.values()}

    def news_of(self, job: JobRecord) -> Outcome | None:
        """Return what the journal means for a job."""
        event = self._news.get(job.remote.submission or "")
        if event is None:
            return None
        return decide(job, Evidence(started_at=event.time, ended=event.ended), self.site)

    def settled(self, job: JobRecord) -> None:
        """Forget the news of a job, which has been written."""
        self._news.pop(job.remote.submission or "", None)

    def weigh(self, jobs: Collection[JobInfo], statuses: Mapping[str, JobStatus]) -> Iterator[tuple[JobInfo, Outcome]]:
        """Weigh the answer of the scheduler, which was asked for all these jobs; yield those that moved.

        Raises
        ------
        HostError
            The run directory of a job about which the answer says nothing cannot be looked at.
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
        """Weigh the scheduler's answer about one job."""
        if status is not None and not status.done:
            self._absences.pop(job_id, None)
            started_at = datetime.now(UTC) if status.running else None
            return Evidence(started_at=started_at, queue_state=status.name)
        if status is not None or is_complete(self.site.host, job.run_dir or ""):
            return Evidence(ended=True, queue_state=status.name if status else None)
        self._absences[job_id] = self._absences.get(job_id, 0) + 1
        return Evidence(ended=self._absences[job_id] >= _ABSENCES)
