"""The end of a job: its own document, the jobs it returned, its children and the state of its flow, in one.

Where the server has transactions, all of it is one. Elsewhere the same writes happen in an order that makes repeating
them right: whatever was written before a death is recognised or overwritten with the same values, and the job's own
state, which ends the repeating, comes last.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from jfr_mp.database.children import Ended, ready_children, stop_children, stop_jobflow
from jfr_mp.database.dynamic_jobs import NewFlow, append, read_flow
from jfr_mp.database.flow_state import update_flow_state
from jfr_mp.database.locks import UNLOCKED, MongoLock
from jfr_mp.database.processes import announce_session
from jfr_mp.errors import DatabaseError, FlowLockedError, LeaseLost
from jfr_mp.faultpoints import reach
from jfr_mp.identity import owner_of_lock
from jfr_mp.model import utcnow
from jfr_mp.outcomes import Completion
from jfr_mp.states import JobState

if TYPE_CHECKING:
    from pymongo.client_session import ClientSession

    from jfr_mp.database.connection import Doc, QueueDatabase

logger = logging.getLogger(__name__)

#: Seconds to wait for the lock of the flow here; other completions hold it for some milliseconds.
FLOW_PATIENCE = 0.5
FLOW_PAUSE = 0.01


def complete(db: QueueDatabase, lock: MongoLock, completion: Completion) -> tuple[JobState, ...]:
    """Write the end of the locked job and release its lock.

    Parameters
    ----------
    lock
        A claim of the job; the document must hold `parents` and `job.hosts`.
    completion
        What became of the job.

    Returns
    -------
    tuple of JobState
        READY where jobs became ready, otherwise empty.

    Raises
    ------
    FlowLockedError
        When somebody else holds the flow; nothing was written.
    LeaseLost
        When the lock of the job was taken away; nothing was written.
    """
    # Reading them changes nothing and takes time; so it happens once, and with nothing locked.
    new_flows = [read_flow(relation, serialized) for relation, serialized in completion.added]
    deadline = time.monotonic() + FLOW_PATIENCE
    while True:
        try:
            ready = db.transaction(lambda session: _write(db, lock, completion, new_flows, session))
            break
        except FlowLockedError:
            if time.monotonic() >= deadline:
                raise
            time.sleep(FLOW_PAUSE)
    lock.forget()
    return (JobState.READY,) if ready else ()


def _write(
    db: QueueDatabase,
    lock: MongoLock,
    completion: Completion,
    new_flows: Sequence[NewFlow],
    session: ClientSession | None,
) -> bool:
    owner = owner_of_lock(lock.lock_id)
    if session is not None and owner is not None:
        announce_session(db, owner, session)
    job = _locked(lock)
    flow_uuid = job["job"]["hosts"][-1]
    stops = completion.stop_children or completion.stop_jobflow
    ended = Ended(job["_id"], job["uuid"], completion.state)
    new_uuids = [uuid for flow in new_flows for uuid in flow.uuids]
    with _locked_flow(db, flow_uuid, lock.lock_id, session):
        _check_lease(db, lock, session)
        ready = append(db, job, new_flows, stops, session)
        reach("complete.after_append")
        if completion.stop_children:
            stop_children(db, job["uuid"], session)
        if completion.stop_jobflow:
            stop_jobflow(db, flow_uuid, session)
        ready = ready_children(db, ended, new_uuids, session) or ready
        reach("complete.after_children")
        # The flow's state precedes the job's: nobody would compute it again after a death between the two.
        update_flow_state(db, flow_uuid, session, pending={job["_id"]: completion.state})
        reach("complete.after_flow")
        _write_job(db, lock, completion, session)
        reach("complete.after_job")
    return ready


@contextmanager
def _locked_flow(db: QueueDatabase, uuid: str, lock_id: str, session: ClientSession | None) -> Iterator[None]:
    """Hold the flow; within a transaction nobody sees the lock, but whoever wants it too has to wait."""
    flow = {"uuid": uuid}
    taken = {"$set": {"lock_id": lock_id}, "$currentDate": {"lock_time": True}}
    if not db.flows.update_one({**flow, "lock_id": None}, taken, session=session).matched_count:
        _refuse(db, uuid, session)
    try:
        yield
    except BaseException:
        # Aborting the transaction undoes the lock as well.
        if session is None:
            _unlock_flow(db, uuid, lock_id, None)
        raise
    _unlock_flow(db, uuid, lock_id, session)


def _unlock_flow(db: QueueDatabase, uuid: str, lock_id: str, session: ClientSession | None) -> None:
    result = db.flows.update_one({"uuid": uuid, "lock_id": lock_id}, {"$set": dict(UNLOCKED)}, session=session)
    if not result.matched_count:
        logger.warning("the lock %s on flow %s was taken away", lock_id, uuid)


def _refuse(db: QueueDatabase, uuid: str, session: ClientSession | None) -> None:
    flow = db.flows.find_one({"uuid": uuid}, {"lock_id": 1, "lock_time": 1}, session=session)
    if flow is None:
        raise DatabaseError(
            f"flow {uuid} is not in the database {db.db.name} although one of its jobs is; delete the job"
        )
    raise FlowLockedError(f"flow {uuid} is locked by {flow.get('lock_id')} since {flow.get('lock_time')} UTC")


def _fence(lock: MongoLock) -> Doc:
    job = _locked(lock)
    return {"_id": job["_id"], "lock_id": lock.lock_id, "state": job["state"]}


def _check_lease(db: QueueDatabase, lock: MongoLock, session: ClientSession | None) -> None:
    """Find out now, rather than with the last write: without transactions the others would stay."""
    if db.jobs.find_one(_fence(lock), {"_id": 1}, session=session) is None:
        raise _lost(lock)


def _write_job(db: QueueDatabase, lock: MongoLock, completion: Completion, session: ClientSession | None) -> None:
    result = db.jobs.update_one(_fence(lock), {"$set": completion_fields(completion)}, session=session)
    if not result.matched_count:
        raise _lost(lock)


def completion_fields(completion: Completion) -> Doc:
    """Return the fields of a job document that its end sets, those that release its lock included."""
    times = {"start_time": completion.start_time, "end_time": completion.end_time}
    return {
        **{key: value for key, value in times.items() if value is not None},
        "state": completion.state.value,
        "stored_data": None if completion.stored_data is None else dict(completion.stored_data),
        "error": completion.error,
        "remote.queue_out": completion.queue_out,
        "remote.queue_err": completion.queue_err,
        "remote.step_attempts": 0,
        "remote.retry_time_limit": None,
        "remote.error": None,
        "updated_on": utcnow(),
        **UNLOCKED,
    }


def _lost(lock: MongoLock) -> LeaseLost:
    job = _locked(lock)
    return LeaseLost(f"job {job['db_id']} is not ours any more ({lock.lock_id}); nothing was written")


def _locked(lock: MongoLock) -> dict[str, Any]:
    if lock.locked_document is None:
        raise ValueError("nothing is locked")
    return lock.locked_document
