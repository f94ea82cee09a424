"""A user stops a job."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jfr_mp.errors import FlowLockedError, JfrMpError, JobLockedError
from jfr_mp.identity import new_lock_id
from jfr_mp.model import JobInfo, utcnow
from jfr_mp.states import RUNNING_STATES, JobState
from jfr_mp.store.flow_state import update_flow_state
from jfr_mp.store.locks import MongoLock
from jfr_mp.store.queries import job_info

if TYPE_CHECKING:
    from pymongo.collection import Collection

    from jfr_mp.store.connection import Doc, QueueDatabase

#: As in jobflow-remote: what waits for its parents is stopped by stopping them.
_STOPPABLE = (JobState.READY, *RUNNING_STATES)
#: Seconds between two looks at a lock of somebody else.
_LOOK_EVERY = 0.05


def stop_job(
    db: QueueDatabase, db_id: str, owner: str, *, wait: float | None = None, break_lock: bool = False
) -> JobInfo:
    """Make a job USER_STOPPED, so that no process touches it any more.

    Parameters
    ----------
    db_id
        The job.
    owner
        Who the locks name.
    wait
        Seconds to wait for a lock that somebody else holds; None does not wait.
    break_lock
        Take the locks, whoever holds them.

    Returns
    -------
    JobInfo
        The job as it was.

    Raises
    ------
    JfrMpError
        There is no such job, or it is in a state in which it cannot be stopped.
    JobLockedError, FlowLockedError
        Somebody still held the lock after that time; nothing was changed.
    """

    def lock(collection: Collection[Doc], query: Doc) -> MongoLock:
        return MongoLock(
            collection,
            query,
            lock_id=new_lock_id(owner),
            break_lock=break_lock,
            sleep=_LOOK_EVERY,
            max_wait=wait or 0,
            projection=["uuid"],
        )

    # The job first and then its flow, as a completion takes them.
    with lock(db.jobs, {"db_id": db_id}) as job_lock:
        if job_lock.is_locked:
            held = job_lock.unavailable_document
            if held is None:
                raise JfrMpError(f"there is no job {db_id}")
            raise JobLockedError(f"job {db_id} is locked by {held['lock_id']}; `jfr-mp job explain {db_id}` says more")
        job = job_info(db, db_id=db_id)
        if job is None or job.state not in _STOPPABLE:
            names = ", ".join(state.name for state in _STOPPABLE)
            raise JfrMpError(f"job {db_id} is {job and job.state.name}; only jobs that are {names} can be stopped")
        _stop(db, job, job_lock, lock(db.flows, {"uuid": (job.hosts or [""])[-1]}))
    return job


def _stop(db: QueueDatabase, job: JobInfo, job_lock: MongoLock, locking_flow: MongoLock) -> None:
    with locking_flow as flow_lock:
        if flow_lock.locked_document is None:
            holder = (flow_lock.unavailable_document or {}).get("lock_id")
            raise FlowLockedError(f"the flow of job {job.db_id} is locked by {holder}; nothing was changed, try again")
        document: Doc = job_lock.locked_document or {}
        update_flow_state(db, flow_lock.locked_document["uuid"], pending={document["_id"]: JobState.USER_STOPPED})
        job_lock.update_on_release = {"$set": {"state": JobState.USER_STOPPED.value, "updated_on": utcnow()}}
        # Before the flow is free: its state is that of the jobs as they are now.
        job_lock.release()
