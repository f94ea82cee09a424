"""Methods of `JobController` that change the state of jobs. Names, parameters and results are those of jobflow-remote.

Each method raises ValueError if there is no such job, `JfrMpError` if the state of the job does not allow the command,
and `JobLockedError` or `FlowLockedError` if another process still held a lock after `wait` seconds. In these cases
nothing is changed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from jfr_mp.api.access import ProjectAccess
from jfr_mp.database import claims, commits, flow_state, job_commands
from jfr_mp.database.filters import JobFilter, JobId
from jfr_mp.database.locks import MongoLock
from jfr_mp.database.rerun import Rerun
from jfr_mp.errors import FlowLockedError, JobLockedError, NotAllowed, NotFound
from jfr_mp.outcomes import Advance
from jfr_mp.states import FlowState, JobState
from jfr_mp.step_table import CHECKOUT


def checkout_job(
    self: ProjectAccess,
    query: dict[str, Any] | None = None,
    flow_uuid: str | None = None,
    sort: list[tuple[str, int]] | None = None,
) -> JobId | None:
    """Check out the next READY job and return its uuid and index, or None if no job is READY."""
    jobs = JobFilter(flow_ids=(flow_uuid,) if flow_uuid else None, further=query or {})
    with claims.claim(self.db, CHECKOUT, self.owner, jobs, sort=sort or claims.ORDER) as claimed:
        for claim in claimed:
            commits.commit(self.db, claim, CHECKOUT, Advance(JobState.CHECKED_OUT), self.project.runner)
            return claim.job.uuid, claim.job.index
    return None


def stop_job(
    self: ProjectAccess,
    job_id: str | None = None,
    db_id: str | None = None,
    job_index: int | None = None,
    wait: int | None = None,
    break_lock: bool = False,
) -> str:
    """Stop a job that is READY or in progress, and cancel it at its scheduler; log a warning if that fails.

    Parameters
    ----------
    job_id, db_id, job_index
        The job, as for `get_job_info`.
    wait, break_lock
        As for `jfr_mp.database.job_commands.LockPolicy`.

    Returns
    -------
    str
        The db_id of the job.
    """
    job = self.one_job(job_id, db_id, job_index)
    self.cancel(job_commands.stop_job(self.db, job.db_id, self.policy(wait, break_lock)))
    return job.db_id


def pause_job(
    self: ProjectAccess,
    job_id: str | None = None,
    db_id: str | None = None,
    job_index: int | None = None,
    wait: int | None = None,
) -> str:
    """Pause a job that is READY or WAITING, so that it does not start until it is resumed; otherwise as `stop_job`."""
    job = self.one_job(job_id, db_id, job_index)
    return job_commands.pause_job(self.db, job.db_id, self.policy(wait)).db_id


def resume_job(
    self: ProjectAccess,
    job_id: str | None = None,
    db_id: str | None = None,
    job_index: int | None = None,
    wait: int | None = None,
    break_lock: bool = False,
) -> str:
    """Resume a paused or stopped job: it starts, or waits for its parents; otherwise as `stop_job`."""
    job = self.one_job(job_id, db_id, job_index)
    return job_commands.resume_job(self.db, job.db_id, self.policy(wait, break_lock)).db_id


def retry_job(
    self: ProjectAccess,
    job_id: str | None = None,
    db_id: str | None = None,
    job_index: int | None = None,
    wait: int | None = None,
    break_lock: bool = False,
) -> str:
    """Retry the failed step of a job; otherwise as `stop_job`."""
    job = self.one_job(job_id, db_id, job_index)
    return job_commands.retry_job(self.db, job.db_id, self.policy(wait, break_lock)).db_id


def rerun_job(  # noqa: PLR0913, PLR0917 - the reference's signature
    self: ProjectAccess,
    job_id: str | None = None,
    db_id: str | None = None,
    job_index: int | None = None,
    force: bool = False,
    wait: int | None = None,
    break_lock: bool = False,
    delete_files: bool = True,
) -> list[str]:
    """Rerun a job from the beginning, and afterwards the jobs that depend on it.

    If the job is still running, it is cancelled at its scheduler; a warning is logged if that fails.

    Parameters
    ----------
    job_id, db_id, job_index
        The job, as for `get_job_info`.
    force, delete_files
        As for `jfr_mp.database.rerun.Rerun`.
    wait, break_lock
        As for `jfr_mp.database.job_commands.LockPolicy`.

    Returns
    -------
    list of str
        The db_ids of the jobs that were changed.
    """
    job = self.one_job(job_id, db_id, job_index)
    return Rerun(self.db, self.policy(wait, break_lock), force, delete_files, self.cancel).of(job.db_id)


def update_flow_state(
    self: ProjectAccess, flow_uuid: str, updated_states: dict[str, dict[int, JobState | None]] | None = None
) -> FlowState:
    """Derive the state of a flow from its jobs, store it and return it; the caller must hold the lock of the flow.

    Parameters
    ----------
    flow_uuid
        The uuid of the flow.
    updated_states
        States that are used instead of the stored ones, by uuid and index of the job; None for a job to be left out.
    """
    pending = flow_state.pending_of(self.db, updated_states or {})
    return flow_state.update_flow_state(self.db, flow_uuid, pending=pending)


@contextmanager
def lock_job(self: ProjectAccess, **lock_kwargs: Any) -> Iterator[MongoLock]:
    """Lock a job and yield the lock; the arguments are those of `MongoLock`."""
    with MongoLock(collection=self.db.jobs, **lock_kwargs) as lock:
        yield lock


@contextmanager
def lock_flow(self: ProjectAccess, **lock_kwargs: Any) -> Iterator[MongoLock]:
    """Lock a flow and yield the lock; the arguments are those of `MongoLock`."""
    with MongoLock(collection=self.db.flows, **lock_kwargs) as lock:
        yield lock


@contextmanager
def lock_auxiliary(self: ProjectAccess, **lock_kwargs: Any) -> Iterator[MongoLock]:
    """Lock a document of the auxiliary collection and yield the lock; the arguments are those of `MongoLock`."""
    with MongoLock(collection=self.db.auxiliary, **lock_kwargs) as lock:
        yield lock


@contextmanager
def lock_job_flow(  # noqa: PLR0913, PLR0917 - the reference's signature
    self: ProjectAccess,
    job_id: str | None = None,
    db_id: str | None = None,
    job_index: int | None = None,
    wait: int | None = None,
    break_lock: bool = False,
    acceptable_states: list[JobState] | None = None,
    job_lock_kwargs: dict[str, Any] | None = None,
    flow_lock_kwargs: dict[str, Any] | None = None,
) -> Iterator[tuple[MongoLock, MongoLock]]:
    """Lock a job and its flow and yield both locks.

    Parameters
    ----------
    acceptable_states
        The states in which the job may be; None for all.
    job_lock_kwargs, flow_lock_kwargs
        Further arguments for each `MongoLock`.
    """
    job = self.one_job(job_id, db_id, job_index)
    common = {"get_locked_doc": True, "break_lock": break_lock, "sleep": 0.05 if wait else None, "max_wait": wait or 0}
    with lock_job(self, filter={"db_id": job.db_id}, **common, **(job_lock_kwargs or {})) as job_lock:
        locked = job_lock.locked_document
        if locked is None:
            raise JobLockedError(f"job {job.db_id} is locked by another process; nothing was changed, try again")
        if acceptable_states and JobState(locked["state"]) not in acceptable_states:
            raise NotAllowed(f"job {job.db_id} is {locked['state']}; nothing was changed")
        query = {"jobs": job.uuid}
        with lock_flow(self, filter=query, **common, **(flow_lock_kwargs or {})) as flow_lock:
            if flow_lock.is_locked and flow_lock.unavailable_document is None:
                raise NotFound(f"no flow lists job {job.db_id}")
            if flow_lock.is_locked:
                raise FlowLockedError(f"the flow of job {job.db_id} is locked by another process; try again")
            yield job_lock, flow_lock
