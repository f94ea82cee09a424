"""Deleting jobs and flows from the queue database.

The caller does what lies outside of the database (cancel, remove files and outputs) in the body of the context manager;
the documents are deleted at its end, or not at all if the body raises.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from jfr_mp.database.filters import JobFilter
from jfr_mp.database.flow_lookup import find_flow
from jfr_mp.database.flow_state import update_flow_state
from jfr_mp.database.job_commands import LOOK_EVERY, LockPolicy, check_state
from jfr_mp.database.locks import UNLOCKED, MongoLock
from jfr_mp.database.queries import jobs_info
from jfr_mp.errors import JobLockedError, LeaseLost, NotAllowed
from jfr_mp.model import FlowDoc, JobInfo, utcnow
from jfr_mp.states import JobState

if TYPE_CHECKING:
    from pymongo.client_session import ClientSession

    from jfr_mp.database.connection import Doc, QueueDatabase

#: A job in a pool is also represented by a file of its batch worker; delete its whole flow instead.
_DELETABLE = tuple(state for state in JobState if state not in (JobState.BATCH_SUBMITTED, JobState.BATCH_RUNNING))


@dataclass(frozen=True)
class DoomedFlow:
    """A flow that is about to be deleted; no other process can work on it or its jobs.

    Parameters
    ----------
    uuid, name
        The flow.
    jobs
        All its jobs.
    jobstore
        The name of the optional JobStore with its outputs; None for the default one.
    """

    uuid: str
    name: str
    jobs: list[JobInfo]
    jobstore: str | None


@contextmanager
def deleting_flow(db: QueueDatabase, query: Doc, policy: LockPolicy) -> Iterator[DoomedFlow]:
    """Lock a flow and all its jobs, and delete them on leaving.

    Parameters
    ----------
    query
        Selects the flow; see `jfr_mp.database.queries.flow_id_query`.

    Raises
    ------
    NotFound
        There is no such flow.
    FlowLockedError, JobLockedError
        Another process still held a lock after the waiting time; nothing was changed.
    LeaseLost
        The lock was lost; nothing was deleted from the database.
    """
    with policy.flow(db, query) as (lock, flow):
        # With a flow that had hosts added by its user, these are not unique; the uuids of its jobs are.
        members = {"uuid": {"$in": flow["jobs"]}}
        try:
            _lock_all(db, members, lock.lock_id, policy)
            jobs = jobs_info(db, JobFilter(uuids=flow["jobs"]), sort=[("created_on", 1), ("db_id", 1)])
            yield DoomedFlow(flow["uuid"], flow["name"], jobs, flow.get("jobstore"))
            db.transaction(lambda session: _delete(db, lock, flow, session), writes=len(flow["jobs"]))
        except BaseException:
            db.jobs.update_many({**members, "lock_id": lock.lock_id}, {"$set": dict(UNLOCKED)})
            raise
        lock.forget()
        db.known_flows.clear()


def _lock_all(db: QueueDatabase, members: Doc, lock_id: str, policy: LockPolicy) -> None:
    """Lock all jobs of a flow with the lock id of the flow."""
    free = {} if policy.break_lock else {"lock_id": None}
    deadline = time.monotonic() + (policy.wait or 0)
    while True:
        db.jobs.update_many({**members, **free}, {"$set": {"lock_id": lock_id}, "$currentDate": {"lock_time": True}})
        held = db.jobs.find_one({**members, "lock_id": {"$ne": lock_id}}, {"db_id": 1, "lock_id": 1})
        if held is None:
            return
        if time.monotonic() >= deadline:
            raise JobLockedError(
                f"job {held['db_id']} is locked by {held.get('lock_id')}, so its flow was not deleted; see "
                f"`jfr-mp job explain {held['db_id']}`"
            )
        time.sleep(LOOK_EVERY)


def _delete(db: QueueDatabase, lock: MongoLock, flow: Mapping[str, Any], session: ClientSession | None) -> None:
    fence = {"_id": flow["_id"], "lock_id": lock.lock_id}
    lost = LeaseLost(f"the lock on flow {flow['uuid']} was lost; the flow was not deleted")
    if db.flows.find_one(fence, {"_id": 1}, session=session) is None:
        raise lost
    # The flow last: without transactions, a process that dies here leaves a flow that can be deleted again.
    db.jobs.delete_many({"uuid": {"$in": flow["jobs"]}}, session=session)
    if not db.flows.delete_one(fence, session=session).deleted_count:
        raise lost


@contextmanager
def deleting_job(db: QueueDatabase, db_id: str, policy: LockPolicy) -> Iterator[JobInfo]:
    """Lock a job and its flow, and on leaving delete the job and take it out of its flow.

    Jobs that depend on it are not changed. A job that no flow lists is deleted as well.

    Raises
    ------
    NotFound
        There is no such job.
    NotAllowed
        The job is in the pool of a batch worker, or it is the only one of its flow.
    FlowLockedError, JobLockedError
        Another process still held a lock after the waiting time; nothing was changed.
    LeaseLost
        The lock was lost; nothing was deleted from the database.
    """
    with policy.job(db, db_id) as (lock, job):
        check_state(job, "deleted", _DELETABLE)
        uuid = find_flow(db, job.uuid, job.hosts or ())
        if uuid is None:
            yield job
            lock.delete_on_release = True
            return
        with policy.flow(db, {"uuid": uuid}) as (flow_lock, document):
            flow = FlowDoc.model_validate({key: value for key, value in document.items() if key != "_id"})
            if len(flow.ids) == 1:
                raise NotAllowed(
                    f"job {db_id} is the only job of its flow; delete the flow: `jfr-mp flow delete --flow-id {db_id}`"
                )
            yield job
            db.transaction(lambda session: _take_out(db, (lock, flow_lock), flow, job, session))
            lock.forget()
            db.known_flows.clear()


def _take_out(
    db: QueueDatabase,
    locks: tuple[MongoLock, MongoLock],
    flow: FlowDoc,
    job: JobInfo,
    session: ClientSession | None,
) -> None:
    """Take a job out of its flow and delete it; repeating this after a crash is safe."""
    job_lock, flow_lock = locks
    fence = {"uuid": flow.uuid, "lock_id": flow_lock.lock_id}
    changed = db.flows.update_one(fence, {"$set": _without(flow, job)}, session=session)
    if not changed.matched_count:
        raise LeaseLost(f"the lock on flow {flow.uuid} was lost; job {job.db_id} was not deleted")
    deleted = db.jobs.delete_one({"db_id": job.db_id, "lock_id": job_lock.lock_id}, session=session)
    if not deleted.deleted_count:
        raise LeaseLost(f"the lock on job {job.db_id} was lost; the job was not deleted")
    update_flow_state(db, flow.uuid, session)


def _without(flow: FlowDoc, job: JobInfo) -> Doc:
    """Return the fields of a flow that lists a job no more."""
    ids = [row for row in flow.ids if row[0] != job.db_id]
    parents = {
        uuid: {index: of for index, of in by_index.items() if (uuid, index) != (job.uuid, str(job.index))}
        for uuid, by_index in flow.parents.items()
    }
    gone = job.uuid not in {uuid for _, uuid, _ in ids}
    return {
        "ids": [list(row) for row in ids],
        "jobs": [uuid for uuid in flow.jobs if not (gone and uuid == job.uuid)],
        "parents": {
            uuid: {
                index: None if of is None else [parent for parent in of if not (gone and parent == job.uuid)]
                for index, of in by_index.items()
            }
            for uuid, by_index in parents.items()
            if by_index
        },
        "updated_on": utcnow(),
    }
