"""Methods of `JobController` that complete jobs, for runners of the user; jobflow-remote's names and parameters.

The jobs are locked by the caller, who also releases them. Everything is written under the lock that the passed document
names: if it was lost meanwhile, `LeaseLost` is raised and nothing is written.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jfr_mp.api.access import ProjectAccess
from jfr_mp.config import RunnerOptions
from jfr_mp.database import aggregation, completion, job_edits, queries
from jfr_mp.database.claims import Claim
from jfr_mp.database.completion import CallersLocks
from jfr_mp.database.filters import JobFilter
from jfr_mp.database.flow_lookup import flow_uuid
from jfr_mp.database.locks import MongoLock
from jfr_mp.database.update_locks import lock_for_update
from jfr_mp.engine.failures import outcome_of
from jfr_mp.errors import FlowMissing, NotAllowed
from jfr_mp.outcomes import Completion
from jfr_mp.states import JobState

if TYPE_CHECKING:
    from jobflow import JobStore

_TIMES = ("start_time", "end_time")


@contextmanager
def lock_job_for_update(
    self: ProjectAccess,
    query: dict[str, Any],
    max_step_attempts: int,
    delta_retry: tuple[float, ...],
    next_step_delay: int | None = None,
    **kwargs: Any,
) -> Iterator[MongoLock]:
    """Lock the next job for an update, and yield the lock; see `jfr_mp.database.update_locks.lock_for_update`.

    Parameters
    ----------
    query
        The conditions on the job.
    max_step_attempts, delta_retry
        How often a step is attempted, and the seconds between attempts, as in the runner options of a project.
    next_step_delay
        Seconds before the next step of the job may begin.
    **kwargs
        Further arguments for `MongoLock`.
    """
    policy = RunnerOptions(max_step_attempts=max_step_attempts, delta_retry=delta_retry)
    with lock_for_update(self.db, query, policy, outcome_of, next_step_delay=next_step_delay, **kwargs) as lock:
        yield lock


def checkin_job(
    self: ProjectAccess,
    job_doc: dict[str, Any],
    flow_dict: dict[str, Any],
    response: dict[str, Any] | None,
    error: str | None = None,
    doc_update: dict[str, Any] | None = None,
) -> int:
    """Complete a locked job: COMPLETED with a response, otherwise FAILED.

    The jobs that it returned are added, its children become ready, and its flow gets its new state.

    Parameters
    ----------
    job_doc, flow_dict
        The documents of the job and its flow, as they were when the caller locked them.
    response
        The serialized response of the job; None if it failed.
    error
        The reason if it failed.
    doc_update
        Further fields to set on the job, such as ``start_time`` and ``end_time``.

    Returns
    -------
    int
        The number of changed jobs: this one, and the jobs that became ready.

    Raises
    ------
    NotAllowed
        The job is not locked.
    FlowLockedError, LeaseLost
        Another process has locked the flow, or the lock of the job was lost; nothing was written.
    """
    from jfr_mp.jobdata.outputs import completion_of

    fields = dict(doc_update or {})
    times: dict[str, Any] = {name: fields.pop(name, None) for name in _TIMES}
    if response is not None:
        ended = replace(completion_of(response, **times), error=error)
    else:
        ended = Completion(JobState.FAILED, error=error, **times, **_queue_files(self, job_doc))
    return _check_in(self, job_doc, flow_dict.get("lock_id"), ended, fields)


def complete_job(self: ProjectAccess, job_doc: dict[str, Any], local_path: Path | str, store: JobStore) -> bool:
    """Complete a locked job from its output files: its output is stored, and the rest is as for `checkin_job`.

    Parameters
    ----------
    job_doc
        The document of the job, as it was when the caller locked it.
    local_path
        The directory with its output files.
    store
        The connected JobStore for its output.

    Returns
    -------
    bool
        Whether the job was completed; False if it belongs to no flow.

    Raises
    ------
    NotAllowed, FlowLockedError, LeaseLost
        As for `checkin_job`.
    HostError
        The output cannot be stored.
    """
    from jfr_mp.jobdata.outputs import copy_outputs, read_output
    from jfr_mp.jobdata.transfer_stores import transfer_store, transfer_store_names

    directory, config = Path(local_path), self.project.remote_jobstore
    claim = _claim(job_doc)
    ended = read_output(
        directory, store_files=transfer_store_names(store, config), run_dir=job_doc.get("run_dir") or None
    )
    if ended.state is JobState.COMPLETED:
        copy_outputs(store, transfer_store(store, directory, config), claim.job)
    try:
        _check_in(self, job_doc, None, ended, {})
    except FlowMissing:
        return False
    return True


def _check_in(
    self: ProjectAccess, job_doc: dict[str, Any], flow_lock: str | None, ended: Completion, fields: dict[str, Any]
) -> int:
    claim = _claim(job_doc)
    siblings = JobFilter(uuids=aggregation.job_uuids(self.db, [flow_uuid(self.db, claim.job)]))
    waiting = queries.jobs_info(self.db, replace(siblings, states=(JobState.WAITING,)))
    if fields:
        job_edits.set_under_lock(self.db, claim, fields)
    completion.complete(self.db, claim, ended, CallersLocks(flow_lock))
    return 1 + queries.count_jobs(self.db, JobFilter(db_ids=[job.db_id for job in waiting], states=(JobState.READY,)))


def _claim(job_doc: dict[str, Any]) -> Claim:
    lock_id = job_doc.get("lock_id")
    if not lock_id:
        raise NotAllowed(f"job {job_doc.get('db_id')} is not locked; complete it within lock_job_for_update")
    return Claim.of_document(job_doc, lock_id)


def _queue_files(self: ProjectAccess, job_doc: dict[str, Any]) -> dict[str, Any]:
    from jfr_mp.jobdata.outputs import queue_files

    job = _claim(job_doc).job
    return queue_files(self.services.site(job.worker).output_dir(job), job.run_dir)
