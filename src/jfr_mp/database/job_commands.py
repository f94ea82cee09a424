"""What a person orders for one job: stop, pause, resume, retry. To run it again is in `rerunning`."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from jfr_mp.database.children import may_start
from jfr_mp.database.flow_lookup import flow_uuid
from jfr_mp.database.flow_state import update_flow_state
from jfr_mp.database.locks import MongoLock
from jfr_mp.database.queries import job_info
from jfr_mp.errors import FlowLockedError, JfrMpError, JobLockedError
from jfr_mp.identity import new_lock_id
from jfr_mp.model import JobInfo, utcnow
from jfr_mp.states import RUNNING_STATES, STOPPABLE_STATES, JobState

if TYPE_CHECKING:
    from pymongo.collection import Collection as MongoCollection

    from jfr_mp.database.connection import Doc, QueueDatabase

#: As in jobflow-remote: what waits for its parents is stopped by stopping them.
_TO_STOP = (JobState.READY, *RUNNING_STATES)
_TO_RESUME = (JobState.PAUSED, JobState.STOPPED, JobState.USER_STOPPED)
_TO_RETRY = (JobState.REMOTE_ERROR, *RUNNING_STATES)
#: Seconds between two looks at a lock of somebody else.
_LOOK_EVERY = 0.05

#: What a step that is tried again must not find.
NO_FAILURE: Doc = {
    "remote.step_attempts": 0,
    "remote.retry_time_limit": None,
    "remote.error": None,
    "remote.queue_out": None,
    "remote.queue_err": None,
}
#: What a job must not bring along into a state that it was in before.
UNTOUCHED: Doc = {
    **NO_FAILURE,
    "remote.queue_state": None,
    "previous_state": None,
    "error": None,
    "start_time": None,
    "end_time": None,
    "stored_data": None,
}


@dataclass(frozen=True)
class LockPolicy:
    """How a person's order takes locks.

    Parameters
    ----------
    owner
        Who the locks name.
    wait
        Seconds to wait for a lock that somebody else holds; None does not wait.
    break_lock
        Take the locks, whoever holds them.
    """

    owner: str
    wait: float | None = None
    break_lock: bool = False

    @contextmanager
    def job(self, db: QueueDatabase, db_id: str) -> Iterator[tuple[MongoLock, JobInfo]]:
        """Lock a job.

        Raises
        ------
        JfrMpError
            There is no such job.
        JobLockedError
            Somebody still held the lock after that time.
        """
        with self._lock(db.jobs, {"db_id": db_id}) as lock:
            if lock.is_locked:
                held = lock.unavailable_document
                if held is None:
                    raise JfrMpError(f"there is no job {db_id}")
                raise JobLockedError(
                    f"job {db_id} is locked by {held['lock_id']}; `jfr-mp job explain {db_id}` says more"
                )
            job = job_info(db, db_id=db_id)
            if job is None:
                raise JfrMpError(f"job {db_id} was deleted")
            yield lock, job

    @contextmanager
    def flow_of(self, db: QueueDatabase, job: JobInfo) -> Iterator[str]:
        """Lock the flow of a job that is locked: first the job and then its flow, as a completion takes them.

        Raises
        ------
        FlowLockedError
            Somebody still held the lock after that time.
        """
        uuid = flow_uuid(db, job)
        with self._lock(db.flows, {"uuid": uuid}) as lock:
            if lock.is_locked:
                holder = (lock.unavailable_document or {}).get("lock_id")
                raise FlowLockedError(
                    f"the flow of job {job.db_id} is locked by {holder}; nothing was changed, try again"
                )
            yield uuid

    def _lock(self, collection: MongoCollection[Doc], query: Doc) -> MongoLock:
        return MongoLock(
            collection,
            query,
            lock_id=new_lock_id(self.owner),
            break_lock=self.break_lock,
            sleep=_LOOK_EVERY,
            max_wait=self.wait or 0,
            projection=["uuid"],
        )


def stop_job(db: QueueDatabase, db_id: str, policy: LockPolicy) -> JobInfo:
    """Make a job USER_STOPPED, so that no process touches it any more.

    Returns
    -------
    JobInfo
        The job as it was.

    Raises
    ------
    JfrMpError
        There is no such job, or it is in a state in which it cannot be stopped.
    JobLockedError, FlowLockedError
        Somebody still held a lock after the time to wait; nothing was changed.
    """
    return _move(db, db_id, policy, "stopped", _TO_STOP, lambda _job: JobState.USER_STOPPED)


def pause_job(db: QueueDatabase, db_id: str, policy: LockPolicy) -> JobInfo:
    """Make a job PAUSED that has not started, until it is resumed; returns and raises as `stop_job` does."""
    return _move(db, db_id, policy, "paused", STOPPABLE_STATES, lambda _job: JobState.PAUSED)


def resume_job(db: QueueDatabase, db_id: str, policy: LockPolicy) -> JobInfo:
    """Let a job that was paused or stopped start, or wait for its parents; returns and raises as `stop_job` does."""

    def target(job: JobInfo) -> JobState:
        return JobState.READY if may_start(db, job.db_id) else JobState.WAITING

    return _move(db, db_id, policy, "resumed", _TO_RESUME, target)


def retry_job(db: QueueDatabase, db_id: str, policy: LockPolicy) -> JobInfo:
    """Let the step of a job that failed be tried again, at once and with all its attempts.

    Returns
    -------
    JobInfo
        The job as it was.

    Raises
    ------
    JfrMpError
        There is no such job, or there is no step to try again.
    JobLockedError
        Somebody still held the lock after the time to wait; nothing was changed.
    """
    with policy.job(db, db_id) as (lock, job):
        check_state(job, "retried", _TO_RETRY)
        fields = NO_FAILURE
        if job.state is JobState.REMOTE_ERROR:
            if job.previous_state is None:
                raise JfrMpError(f"job {db_id} does not say in which state it failed; rerun it")
            fields = {**UNTOUCHED, "state": job.previous_state.value}
        lock.update_on_release = {"$set": {**fields, "updated_on": utcnow()}}
    return job


def check_state(job: JobInfo, done: str, states: Collection[JobState]) -> None:
    """Raise a JfrMpError where a job is in none of these states."""
    if job.state not in states:
        names = ", ".join(state.name for state in states)
        raise JfrMpError(f"job {job.db_id} is {job.state.name}; only jobs that are {names} can be {done}")


def _move(
    db: QueueDatabase,
    db_id: str,
    policy: LockPolicy,
    done: str,
    sources: Collection[JobState],
    target: Callable[[JobInfo], JobState],
) -> JobInfo:
    """Bring a job, and its flow with it, into another state."""
    with policy.job(db, db_id) as (lock, job):
        check_state(job, done, sources)
        with policy.flow_of(db, job) as flow_uuid:
            state = target(job)
            document: dict[str, Any] = lock.locked_document or {}
            update_flow_state(db, flow_uuid, pending={document["_id"]: state})
            lock.update_on_release = {"$set": {"state": state.value, "updated_on": utcnow()}}
            # Before the flow is free: its state is that of the jobs as they are now.
            lock.release()
    return job
