"""Writing the new states of the jobs of batch workers."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial

from jfr_mp.batch.fate import Fate, Life, fate_by_run_dir, fate_in_place
from jfr_mp.batch.markers import ALIVE_FILENAME, Marker, Place
from jfr_mp.batch.watch import NOWHERE, BatchWatch, Inspection
from jfr_mp.database.batches import ended_batches, markers_needed, note_job
from jfr_mp.database.connection import QueueDatabase
from jfr_mp.database.filters import JobFilter
from jfr_mp.database.queries import jobs_info
from jfr_mp.model import JobDoc, JobInfo, utcnow
from jfr_mp.outcomes import Advance, Blame, Fail, Outcome, Retry
from jfr_mp.states import JobState
from jfr_mp.step_table import BATCH

logger = logging.getLogger(__name__)

#: The result for a job: an outcome, or a step function that determines it under the lock of the job.
Result = Outcome | Callable[..., Outcome]

#: Claims jobs in the states in which they were seen, writes the results, and returns the db_ids of the jobs whose
#: result was written.
Write = Callable[[Sequence[tuple[JobInfo, Result]]], set[str]]


class Results:
    """Write the results of the jobs of batch workers, and remove markers that are not needed any more.

    Parameters
    ----------
    db
        The queue database.
    write
        Writes the results of jobs.
    """

    def __init__(self, db: QueueDatabase, write: Write) -> None:
        self._db = db
        self._write_results = write
        self._most_losses = db.project.runner.max_step_attempts

    def jobs(self, watch: BatchWatch, uuids: Iterable[str] | None = None) -> list[JobInfo]:
        """Return the unlocked jobs in the pool of a worker: all of them, or the jobs with some uuids."""
        wanted = JobFilter(
            workers=(watch.site.name,),
            states=BATCH.sources,
            unlocked=True,
            uuids=None if uuids is None else tuple(uuids),
        )
        return jobs_info(self._db, wanted)

    def apply(self, watch: BatchWatch, inspection: Inspection, jobs: Iterable[JobInfo] | None = None) -> None:
        """Write the results of an inspection.

        Parameters
        ----------
        watch
            The worker.
        inspection
            The inspection.
        jobs
            The jobs that were in the pool before an inspection of all places; those without a marker are then looked
            for. None for the jobs whose markers were found.

        Raises
        ------
        HostError
            The host did not answer.
        """
        markers = inspection.look.markers
        inspection = self._with_others(watch, inspection)
        if jobs is None:
            jobs = [job for job in self.jobs(watch, {uuid for uuid, _ in markers}) if (job.uuid, job.index) in markers]
        results: list[tuple[JobInfo, Result]] = []
        for job in jobs:
            result = self._result_of(watch, inspection, job, markers.get((job.uuid, job.index)))
            if result is not None:
                results.append((job, result))
        written = self._write_results(results) if results else set()
        for job, _ in results:
            marker = markers.get((job.uuid, job.index))
            if job.db_id in written and marker and marker.batch_uid:
                note_job(self._db, marker.batch_uid, (job.db_id, job.uuid, job.index))
        self._tidy_up(watch, inspection)

    def _with_others(self, watch: BatchWatch, inspection: Inspection) -> Inspection:
        """Return the inspection with the batches added that it does not cover, if the scheduler was asked at all."""
        others = (
            {uid for uid in inspection.running if uid is not None} - inspection.lives.keys()
            if inspection.asked
            else set()
        )
        if not others:
            return inspection
        ended = ended_batches(self._db, others)
        strangers = watch.lives_of_strangers(others - ended)
        return replace(inspection, lives={**inspection.lives, **strangers, **dict.fromkeys(ended, Life.GONE)})

    def _result_of(
        self, watch: BatchWatch, inspection: Inspection, job: JobInfo, marker: Marker | None
    ) -> Result | None:
        """Return the result for a job, or None if nothing changes."""
        fate = None
        if marker is None:
            if watch.nowhere.of((job.uuid, job.index)) < NOWHERE:
                return None
        else:
            watch.nowhere.forget((job.uuid, job.index))
            fate = fate_in_place(job.state, marker.place, inspection.holds(marker.batch_uid))
        if fate is Fate.STAYS:
            return None
        losses = losses_of(job) + 1
        if fate is None:
            fate = self._fate_by_run_dir(watch, job, losses)
        return _result(watch, job, marker, fate, losses)

    def _fate_by_run_dir(self, watch: BatchWatch, job: JobInfo, losses: int) -> Fate:
        found = watch.site.pool.run_dir_state(watch.site.config.work_dir, job.run_dir or "")
        if found.alive and not found.complete:
            logger.warning(
                "job %s is still running after the end of its batch; if none of its processes is running, remove %s/%s",
                *(job.db_id, job.run_dir, ALIVE_FILENAME),
            )
        return fate_by_run_dir(job.state, found, losses, self._most_losses)

    def _tidy_up(self, watch: BatchWatch, inspection: Inspection) -> None:
        """Remove the markers that are not needed any more, but none of a job whose result has not been written."""
        left_running = (
            marker
            for marker in inspection.look.markers.values()
            if marker.place is Place.RUNNING and not inspection.holds(marker.batch_uid)
        )
        if markers := [*inspection.look.finished, *left_running]:
            needed = markers_needed(self._db, {marker.uuid for marker in markers})
            watch.site.pool.discard([marker for marker in markers if marker.job not in needed])


def losses_of(job: JobInfo) -> int:
    """Return how often a job has lost its batch since it was uploaded; the field is specific to jfr-mp."""
    return int((job.remote.model_extra or {}).get("batch_losses", 0))


def _result(watch: BatchWatch, job: JobInfo, marker: Marker | None, fate: Fate, losses: int) -> Result | None:
    known = watch.process_ids.get((marker and marker.batch_uid) or "")
    process_id = {"remote.process_id": known} if known else {}
    match fate:
        case Fate.RUNS:
            started = watch.started_at(job.remote.submission) or utcnow()
            return Advance(JobState.BATCH_RUNNING, {"start_time": started, **process_id})
        case Fate.ENDED:
            return Advance(
                watch.site.state_after_run(job), process_id, next_step_delay=watch.site.config.delay_download
            )
        case Fate.RETURNS:
            return partial(_put_back, watch, marker, losses)
        case Fate.DIRECTORY_GONE:
            why = f"the run directory {job.run_dir} was removed while the job waited or ran in a batch; rerun the job"
            return partial(_give_up, watch, marker, why)
        case Fate.GIVEN_UP:
            why = (
                f"the batch that ran the job ended {losses} times before the job did: the job may need more time than "
                f"the walltime or more memory than the batch has; see {job.run_dir}, then rerun the job"
            )
            return partial(_give_up, watch, marker, why)
    return None


def _put_back(watch: BatchWatch, marker: Marker | None, losses: int, job: JobDoc, *_: object) -> Outcome:
    """Return a job to the pool, under its lock, so that it cannot have been rerun or cancelled meanwhile."""
    if marker is None:
        watch.site.pool.add_again(job.uuid, job.index)
    elif marker.place is Place.RUNNING and not watch.site.pool.put_back(marker):
        return Retry(
            "the marker of the job moved during the inspection of the pool", delay=0, blame=Blame.CIRCUMSTANCES
        )
    logger.warning("job %s returns to the pool of worker %s: its batch ended first", job.db_id, watch.site.name)
    fields = {"start_time": None, "remote.process_id": None, "remote.batch_losses": losses}
    return Advance(JobState.BATCH_SUBMITTED, fields)


def _give_up(watch: BatchWatch, marker: Marker | None, why: str, _job: JobDoc, *_: object) -> Outcome:
    """Remove a job from the pool for good."""
    if marker is not None:
        watch.site.pool.discard([marker])
    return Fail(why)
