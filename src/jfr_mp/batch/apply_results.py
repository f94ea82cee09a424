"""What is seen of a batch worker becomes states of its jobs."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from jfr_mp.batch.fate import Fate, Life, fate_in_place, fate_of_remains
from jfr_mp.batch.markers import ALIVE_FILENAME, Marker, Place
from jfr_mp.batch.watch import NOWHERE, BatchWatch, Survey
from jfr_mp.database.batches import ended_batches, note_job
from jfr_mp.engine.step_runner import StepResult, StepRunner
from jfr_mp.model import JOB_INFO_PROJECTION, JobDoc, JobInfo, utcnow
from jfr_mp.outcomes import Advance, Blame, Fail, Outcome, Retry
from jfr_mp.states import JobState
from jfr_mp.step_table import BATCH
from jfr_mp.steps import StepFunction
from jfr_mp.steps.services import Services

logger = logging.getLogger(__name__)

_IN_POOL = [state.value for state in BATCH.sources]
#: The marker of such a job is of use, any other of none. UPLOADED: it was put into the pool, and whoever did it died,
#: or has not written it yet.
_NEEDS_MARKER = [*_IN_POOL, JobState.UPLOADED.value]


class Settling:
    """Writes what became of the jobs of batch workers, and tidies up after them.

    Parameters
    ----------
    advancer
        Writes the outcomes.
    on_advance
        Told of each job that moved.
    """

    def __init__(self, advancer: StepRunner, on_advance: Callable[[StepResult], None]) -> None:
        self._advancer = advancer
        self._on_advance = on_advance
        self._db = advancer.db
        self._most_losses = advancer.services.project.runner.max_step_attempts

    def jobs(self, watch: BatchWatch, query: Mapping[str, Any] | None = None) -> list[JobInfo]:
        """Return the jobs of a worker that are in its pool and that nobody else works on."""
        criteria = {"worker": watch.worker_name, "state": {"$in": _IN_POOL}, "lock_id": None, **(query or {})}
        found = self._db.jobs.find(criteria, projection=JOB_INFO_PROJECTION)
        return [JobInfo.from_query_output(document) for document in found]

    def settle(self, watch: BatchWatch, survey: Survey, jobs: Iterable[JobInfo] | None = None) -> None:
        """Write what a look means for the jobs whose markers were seen.

        Parameters
        ----------
        watch
            The worker.
        survey
            What was seen.
        jobs
            The jobs that were in the pool before the look, where it took in all markers: those whose marker was not
            seen are then looked for.

        Raises
        ------
        HostError
            The host gave no answer.
        """
        markers = survey.look.markers
        survey = self._with_others(watch, survey)
        if jobs is None:
            jobs = self.jobs(watch, {"uuid": {"$in": [uuid for uuid, _ in markers]}})
            jobs = [job for job in jobs if (job.uuid, job.index) in markers]
        for job in jobs:
            self._settle_job(watch, survey, job, markers.get((job.uuid, job.index)))
        self._tidy_up(watch, survey)

    def _with_others(self, watch: BatchWatch, survey: Survey) -> Survey:
        """Add the allocations that are not among those that live, where anything is known of lives at all."""
        others = {uid for uid in survey.running if uid is not None} - survey.lives.keys() if survey.audited else set()
        if not others:
            return survey
        ended = ended_batches(self._db, others)
        strangers = watch.lives_of_strangers(others - ended)
        return replace(survey, lives={**survey.lives, **strangers, **dict.fromkeys(ended, Life.GONE)})

    def _settle_job(self, watch: BatchWatch, survey: Survey, job: JobInfo, marker: Marker | None) -> None:
        fate = None
        if marker is None:
            if watch.nowhere.of((job.uuid, job.index)) < NOWHERE:
                return
        else:
            watch.nowhere.forget((job.uuid, job.index))
            fate = fate_in_place(job.state, marker.place, survey.holds(marker.batch_uid))
        if fate is Fate.STAYS:
            return
        losses = losses_of(job) + 1
        if fate is None:
            remains = watch.pool.remains(watch.worker.work_dir, job.run_dir or "")
            if remains.alive and not remains.complete:
                logger.warning(
                    "job %s has outlived its batch and is waited for; if you know that it is dead, remove %s/%s",
                    *(job.db_id, job.run_dir, ALIVE_FILENAME),
                )
            fate = fate_of_remains(job.state, remains, losses, self._most_losses)
        outcome = self._outcome(watch, job, marker, fate, losses)
        if outcome is not None:
            self._write(job, marker, outcome)

    def _outcome(
        self, watch: BatchWatch, job: JobInfo, marker: Marker | None, fate: Fate, losses: int
    ) -> Outcome | StepFunction | None:
        known = watch.process_ids.get((marker and marker.batch_uid) or "")
        process_id = {"remote.process_id": known} if known else {}
        match fate:
            case Fate.RUNS:
                started = watch.started_at(job.remote.submission) or utcnow()
                return Advance(JobState.BATCH_RUNNING, {"start_time": started, **process_id})
            case Fate.ENDED:
                state = JobState.DOWNLOADED if watch.worker.is_local else JobState.RUN_FINISHED
                return Advance(state, process_id, next_step_delay=watch.worker.delay_download)
            case Fate.RETURNS:
                return partial(_put_back, watch, marker, losses)
            case Fate.DIRECTORY_GONE:
                why = f"its run directory {job.run_dir} was removed while it waited or ran in a batch; rerun it"
                return partial(_give_up, watch, marker, why)
            case Fate.GIVEN_UP:
                why = (
                    f"the batch that ran it ended {losses} times before the job did: it may need more time than the "
                    f"walltime or more memory than there is; see {job.run_dir}, then rerun it"
                )
                return partial(_give_up, watch, marker, why)
        return None

    def _write(self, job: JobInfo, marker: Marker | None, outcome: Outcome | StepFunction) -> None:
        query = {"uuid": job.uuid, "index": job.index, "state": job.state.value}
        advanced = self._advancer.advance(BATCH, query=query, outcome=outcome)
        if advanced is None:
            return
        if marker and marker.batch_uid:
            note_job(self._db, marker.batch_uid, (job.db_id, job.uuid, job.index))
        self._on_advance(advanced)

    def _tidy_up(self, watch: BatchWatch, survey: Survey) -> None:
        """Remove the markers that nobody needs any more; never one of a job that has not been settled."""
        markers = [
            *survey.look.finished,
            *(
                marker
                for marker in survey.look.markers.values()
                if marker.place is Place.RUNNING and not survey.holds(marker.batch_uid)
            ),
        ]
        if not markers:
            return
        query = {"uuid": {"$in": [marker.uuid for marker in markers]}, "state": {"$in": _NEEDS_MARKER}}
        needed = {(job["uuid"], job["index"]) for job in self._db.jobs.find(query, {"uuid": 1, "index": 1})}
        watch.pool.discard([marker for marker in markers if marker.job not in needed])


def losses_of(job: JobInfo) -> int:
    """Return how often a job has lost its allocation since it was uploaded; a field of ours."""
    return int((job.remote.model_extra or {}).get("batch_losses", 0))


def _put_back(watch: BatchWatch, marker: Marker | None, losses: int, job: JobDoc, _services: Services) -> Outcome:
    """Let a job wait again; under its lock, so that nobody can have rerun or cancelled it meanwhile."""
    if marker is None:
        watch.pool.add_again(job.uuid, job.index)
    elif marker.place is Place.RUNNING and not watch.pool.put_back(marker):
        return Retry("its marker in the pool moved while it was looked at", delay=0, blame=Blame.CIRCUMSTANCES)
    logger.warning("job %s goes back into the pool of worker %s: its batch ended first", job.db_id, watch.worker_name)
    fields = {"start_time": None, "remote.process_id": None, "remote.batch_losses": losses}
    return Advance(JobState.BATCH_SUBMITTED, fields)


def _give_up(watch: BatchWatch, marker: Marker | None, why: str, _job: JobDoc, _services: Services) -> Outcome:
    """Take a job out of the pool for good."""
    if marker is not None:
        watch.pool.discard([marker])
    return Fail(why)
