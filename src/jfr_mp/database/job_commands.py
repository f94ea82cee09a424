"""The commands of the user on one job: stop, pause, resume, retry. For rerunning, see `jfr_mp.database.rerun`."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from jfr_mp.database.children import may_start
from jfr_mp.database.flow_lock import locked_flow
from jfr_mp.database.flow_lookup import flow_uuid
from jfr_mp.database.flow_state import update_flow_state
from jfr_mp.database.locks import UNLOCKED, MongoLock
from jfr_mp.database.queries import job_info
from jfr_mp.errors import FlowLockedError, JobLockedError, LeaseLost, NotAllowed, NotFound
from jfr_mp.identity import new_lock_id
from jfr_mp.model import JobInfo, utcnow
from jfr_mp.states import RUNNING_STATES, STOPPABLE_STATES, JobState

if TYPE_CHECKING:
    from pymongo.client_session import ClientSession
    from pymongo.collection import Collection as MongoCollection

    from jfr_mp.database.connection import Doc, QueueDatabase

#: As in jobflow-remote, a WAITING job cannot be stopped; stop its parents instead.
_TO_STOP = (JobState.READY, *RUNNING_STATES)
TO_RESUME = (JobState.PAUSED, JobState.STOPPED, JobState.USER_STOPPED)
_TO_RETRY = (JobState.REMOTE_ERROR, *RUNNING_STATES)
#: Seconds between two checks of a lock that another process holds.
LOOK_EVERY = 0.05

#: The fields to reset before a step is retried.
NO_FAILURE: Doc = {
    "remote.step_attempts": 0,
    "remote.retry_time_limit": None,
    "remote.error": None,
    "remote.queue_out": None,
    "remote.queue_err": None,
}
#: The fields to reset before a job returns to an earlier state.
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
    """How a command of the user takes locks.

    Parameters
    ----------
    owner
        The identity of the process, which the locks name.
    wait
        Seconds to wait for a lock that another process holds; None does not wait.
    break_lock
        Whether to take locks even if another process holds them.
    """

    owner: str
    wait: float | None = None
    break_lock: bool = False

    @contextmanager
    def job(self, db: QueueDatabase, db_id: str) -> Iterator[tuple[MongoLock, JobInfo]]:
        """Lock a job.

        Raises
        ------
        NotFound
            There is no such job.
        JobLockedError
            Another process still held the lock after the waiting time.
        """
        with self._lock(db.jobs, {"db_id": db_id}) as lock:
            if lock.is_locked:
                held = lock.unavailable_document
                if held is None:
                    raise NotFound(f"there is no job {db_id}")
                raise JobLockedError(f"job {db_id} is locked by {held['lock_id']}; see `jfr-mp job explain {db_id}`")
            job = job_info(db, db_id=db_id)
            if job is None:
                raise NotFound(f"job {db_id} was deleted")
            yield lock, job

    @contextmanager
    def flow_of(self, db: QueueDatabase, job: JobInfo) -> Iterator[str]:
        """Lock the flow of a locked job: first the job and then its flow, the same order as in a completion.

        Raises
        ------
        FlowLockedError
            Another process still held the lock after the waiting time.
        """
        uuid = flow_uuid(db, job)
        with self._lock(db.flows, {"uuid": uuid}) as lock:
            if lock.is_locked:
                holder = (lock.unavailable_document or {}).get("lock_id")
                raise FlowLockedError(
                    f"the flow of job {job.db_id} is locked by {holder}; nothing was changed, try again"
                )
            yield uuid

    @contextmanager
    def flow(self, db: QueueDatabase, query: Doc) -> Iterator[tuple[MongoLock, Doc]]:
        """Lock a flow and yield the lock and the document.

        Raises
        ------
        NotFound
            No flow matches the query.
        FlowLockedError
            Another process still held the lock after the waiting time.
        """
        with self._lock(db.flows, query, ()) as lock:
            if lock.locked_document is None:
                held = lock.unavailable_document
                if held is None:
                    raise NotFound(f"there is no flow of {_described(query)}")
                raise FlowLockedError(
                    f"flow {held['uuid']} is locked by {held['lock_id']}; nothing was changed, try again"
                )
            yield lock, lock.locked_document

    def _lock(self, collection: MongoCollection[Doc], query: Doc, projection: Sequence[str] = ("uuid",)) -> MongoLock:
        return MongoLock(
            collection,
            query,
            lock_id=new_lock_id(self.owner),
            break_lock=self.break_lock,
            sleep=LOOK_EVERY,
            max_wait=self.wait or 0,
            projection=list(projection),
        )


def _described(query: Doc) -> str:
    match query:
        case {"ids": {"$elemMatch": {"0": db_id}}}:
            return f"job {db_id}"
        case {"jobs": uuid}:
            return f"job {uuid}"
    return f"uuid {query.get('uuid')}"


def stop_job(db: QueueDatabase, db_id: str, policy: LockPolicy) -> JobInfo:
    """Set a job to USER_STOPPED, so that no process works on it any more.

    Returns
    -------
    JobInfo
        The job as it was before.

    Raises
    ------
    NotFound
        There is no such job.
    NotAllowed
        The state of the job does not allow it to be stopped.
    JobLockedError, FlowLockedError
        Another process still held a lock after the waiting time; nothing was changed.
    """
    return _move(db, db_id, policy, "stopped", _TO_STOP, lambda _job: JobState.USER_STOPPED)


def pause_job(db: QueueDatabase, db_id: str, policy: LockPolicy) -> JobInfo:
    """Set a job that has not started to PAUSED, until it is resumed; returns and raises as `stop_job` does."""
    return _move(db, db_id, policy, "paused", STOPPABLE_STATES, lambda _job: JobState.PAUSED)


def resume_job(db: QueueDatabase, db_id: str, policy: LockPolicy) -> JobInfo:
    """Set a paused or stopped job to READY or, if its parents are not done, WAITING; otherwise as `stop_job`."""

    def target(job: JobInfo) -> JobState:
        return JobState.READY if may_start(db, job.db_id) else JobState.WAITING

    return _move(db, db_id, policy, "resumed", TO_RESUME, target)


def retry_job(db: QueueDatabase, db_id: str, policy: LockPolicy) -> JobInfo:
    """Retry the failed step of a job at once, with the full number of attempts.

    Returns
    -------
    JobInfo
        The job as it was before.

    Raises
    ------
    NotFound
        There is no such job.
    NotAllowed
        There is no step to retry.
    JobLockedError
        Another process still held the lock after the waiting time; nothing was changed.
    """
    with policy.job(db, db_id) as (lock, job):
        check_state(job, "retried", _TO_RETRY)
        fields = NO_FAILURE
        if job.state is JobState.REMOTE_ERROR:
            if job.previous_state is None:
                raise NotAllowed(f"job {db_id} cannot be retried: it does not record the state it failed in; rerun it")
            fields = {**UNTOUCHED, "state": job.previous_state.value}
        lock.update_on_release = {"$set": {**fields, "updated_on": utcnow()}}
    return job


def check_state(job: JobInfo, done: str, states: Collection[JobState]) -> None:
    """Raise `NotAllowed` if a job is in none of these states."""
    if job.state not in states:
        names = ", ".join(state.name for state in states)
        raise NotAllowed(f"job {job.db_id} is {job.state.name} and cannot be {done}; allowed states: {names}")


def _move(
    db: QueueDatabase,
    db_id: str,
    policy: LockPolicy,
    done: str,
    sources: Collection[JobState],
    target: Callable[[JobInfo], JobState],
) -> JobInfo:
    """Set the state of a job and update the state of its flow."""
    with policy.job(db, db_id) as (lock, job):
        check_state(job, done, sources)
        write_state(db, lock, job, policy, lambda: {"state": target(job).value})
    return job


def write_state(
    db: QueueDatabase, lock: MongoLock, job: JobInfo, policy: LockPolicy, fields: Callable[[], Doc]
) -> None:
    """Write the state of a locked job together with that of its flow, and release the job.

    Parameters
    ----------
    lock, job
        The job.
    policy
        How long to wait for the lock of the flow.
    fields
        Returns the fields to set, ``state`` among them, while no other process can write to the flow.

    Raises
    ------
    FlowLockedError
        Another process still held the lock of the flow after the waiting time.
    LeaseLost
        The lock of the job was lost; nothing was written.
    """
    uuid = flow_uuid(db, job)
    key = (lock.locked_document or {})["_id"]

    def write(session: ClientSession | None) -> None:
        with locked_flow(db, uuid, lock.lock_id, session, break_lock=policy.break_lock) as stored:
            news = {**fields(), "updated_on": utcnow(), **UNLOCKED}
            # The state of the flow first: after a crash in between, no process would compute it again.
            update_flow_state(db, uuid, session, pending={key: JobState(news["state"])}, stored=stored)
            written = db.jobs.update_one({"_id": key, "lock_id": lock.lock_id}, {"$set": news}, session=session)
            if not written.matched_count:
                raise LeaseLost(f"the lock {lock.lock_id} on job {job.db_id} was lost; nothing was written")

    deadline = time.monotonic() + (policy.wait or 0)
    while True:
        try:
            db.transaction(write)
            break
        except FlowLockedError as error:
            if time.monotonic() >= deadline:
                raise FlowLockedError(f"{error}; nothing was changed, try again") from None
            time.sleep(LOOK_EVERY)
    lock.forget()
