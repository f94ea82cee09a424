"""The commands of the user on one flow: resume, choose its JobStore. For deleting, see `jfr_mp.database.deletion`."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

from jfr_mp.database.children import may_start
from jfr_mp.database.flow_state import update_flow_state
from jfr_mp.database.job_commands import TO_RESUME, LockPolicy
from jfr_mp.errors import NotAllowed
from jfr_mp.model import utcnow
from jfr_mp.states import FlowState, JobState

if TYPE_CHECKING:
    from jfr_mp.database.connection import Doc, QueueDatabase


def resume_flow(db: QueueDatabase, query: Doc, policy: LockPolicy) -> list[str]:
    """Resume all paused and stopped jobs of a flow: each becomes READY or, if its parents are not done, WAITING.

    Parameters
    ----------
    query
        Selects the flow; see `jfr_mp.database.queries.flow_id_query`.

    Returns
    -------
    list of str
        The db_ids of these jobs.

    Raises
    ------
    NotFound
        There is no such flow.
    NotAllowed
        None of its jobs is paused or stopped.
    JobLockedError, FlowLockedError
        Another process still held a lock after the waiting time; nothing was changed.
    """
    with policy.flow(db, query) as (_, flow), ExitStack() as jobs:
        resting = {"uuid": {"$in": flow["jobs"]}, "state": {"$in": [state.value for state in TO_RESUME]}}
        db_ids = [job["db_id"] for job in db.jobs.find(resting, {"db_id": 1})]
        if not db_ids:
            raise NotAllowed(
                f"flow {flow['uuid']} is {flow['state']} and cannot be resumed: none of its jobs is paused or stopped"
            )
        held = [jobs.enter_context(policy.job(db, db_id)) for db_id in db_ids]
        moves = [(lock, JobState.READY if may_start(db, job.db_id) else JobState.WAITING) for lock, job in held]
        pending = {(lock.locked_document or {})["_id"]: state for lock, state in moves}
        # Only now, so that a lock that cannot be had leaves all jobs as they are.
        for lock, state in moves:
            lock.update_on_release = {"$set": {"state": state.value, "updated_on": utcnow()}}
        update_flow_state(db, flow["uuid"], pending=pending)
    return db_ids


def touch(db: QueueDatabase, flow_uuid: str) -> None:
    """Set the time of the last change of a flow to now."""
    db.flows.update_one({"uuid": flow_uuid}, {"$set": {"updated_on": utcnow()}})


def set_store(db: QueueDatabase, query: Doc, store: str | None, policy: LockPolicy) -> None:
    """Choose the optional JobStore for the outputs of a flow that has not started; None for the default one.

    Raises
    ------
    NotFound
        There is no such flow.
    NotAllowed
        The flow has started.
    FlowLockedError
        Another process still held the lock after the waiting time; nothing was changed.
    """
    with policy.flow(db, query) as (lock, flow):
        if flow["state"] != FlowState.READY.value:
            raise NotAllowed(
                f"flow {flow['uuid']} is {flow['state']}: its store can be changed only while it is READY, because "
                "outputs may be in the present one"
            )
        lock.update_on_release = {"$set": {"jobstore": store, "updated_on": utcnow()}}
