"""The state of a flow, derived from its jobs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from jfr_mp.model import utcnow
from jfr_mp.states import UNFINISHED_STATES, FlowState, JobState

if TYPE_CHECKING:
    from pymongo.client_session import ClientSession

    from jfr_mp.database.connection import Doc, QueueDatabase

#: The states, by the `_id` of the job, that are about to be written; None for a job that is about to be deleted.
Pending = Mapping[Any, JobState | None]


def update_flow_state(
    db: QueueDatabase,
    flow_uuid: str,
    session: ClientSession | None = None,
    *,
    pending: Pending | None = None,
    stored: str | None = None,
) -> FlowState:
    """Compute the state of a flow and store it; the caller must hold the lock of the flow.

    While any job is unfinished, or if all are in one state, this reads index entries only, one for each state that
    occurs in the flow. All jobs are read, to find the leaves, only if they have ended in different states.

    Parameters
    ----------
    flow_uuid
        The uuid of the outermost flow.
    pending
        States that are used instead of the stored ones, by the `_id` of the job.
    stored
        The state of the flow so far, if the caller knows it: then nothing is written if it stays.

    Returns
    -------
    FlowState
        The new state.
    """
    pending = pending or {}
    states = _states(db, flow_uuid, session, pending)
    if states & set(UNFINISHED_STATES):
        # A COMPLETED leaf has no unfinished ancestor, so if any job is unfinished, a leaf is.
        leaves = {JobState.RUNNING}
    elif len(states) == 1:
        leaves = states
    else:
        leaves = _leaf_states(db, flow_uuid, session, pending)
    state = FlowState.from_jobs_states(states, leaves)
    if state.value != stored:
        db.flows.update_one(
            {"uuid": flow_uuid, "state": {"$ne": state.value}},
            {"$set": {"state": state.value, "updated_on": utcnow()}},
            session=session,
        )
    return state


def pending_of(db: QueueDatabase, updated: Mapping[str, Mapping[int, JobState | None]]) -> Pending:
    """Return states that are given by the uuid and index of the jobs as `update_flow_state` takes them."""
    jobs = db.jobs.find({"uuid": {"$in": list(updated)}}, {"uuid": 1, "index": 1})
    return {job["_id"]: updated[job["uuid"]][job["index"]] for job in jobs if job["index"] in updated[job["uuid"]]}


def stays_running(
    db: QueueDatabase, flow_uuid: str, stored: str, session: ClientSession | None, *, pending: Pending
) -> bool:
    """Return whether a flow is RUNNING and stays so, although some of its jobs are COMPLETED now.

    This costs the same in a flow of any size.

    Parameters
    ----------
    stored
        The state of the flow.
    pending
        The jobs that are COMPLETED now, as for `update_flow_state`.
    """
    if stored != FlowState.RUNNING.value:
        return False
    unfinished = {"job.hosts": flow_uuid, "state": {"$in": [state.value for state in UNFINISHED_STATES]}}
    return db.jobs.find_one({**unfinished, "_id": {"$nin": list(pending)}}, {"_id": 1}, session=session) is not None


def _states(db: QueueDatabase, flow_uuid: str, session: ClientSession | None, pending: Pending) -> set[JobState]:
    stored = db.jobs.distinct("state", {"job.hosts": flow_uuid}, session=session)
    known = [state for state in stored if is_state(state)]
    if not pending:
        return {JobState(state) for state in known}
    return {state for state in pending.values() if state is not None} | {
        JobState(state) for state in known if _any_other(db, flow_uuid, session, pending, state)
    }


def _any_other(db: QueueDatabase, flow_uuid: str, session: ClientSession | None, pending: Pending, state: str) -> bool:
    """Return whether a job other than the pending ones is in a state."""
    query = {"job.hosts": flow_uuid, "state": state, "_id": {"$nin": list(pending)}}
    return db.jobs.find_one(query, {"_id": 1}, session=session) is not None


def _leaf_states(db: QueueDatabase, flow_uuid: str, session: ClientSession | None, pending: Pending) -> set[JobState]:
    found = db.jobs.find({"job.hosts": flow_uuid}, {"uuid": 1, "index": 1, "parents": 1, "state": 1}, session=session)
    jobs = (job for job in found if is_readable(job))
    states = {pending.get(leaf["_id"], JobState(leaf["state"])) for leaf in leaves_of(jobs)}
    return {state for state in states if state is not None}


def is_state(value: Any) -> bool:
    """Return whether a value of a document is the state of a job."""
    return isinstance(value, str) and value in JobState._value2member_map_


def is_readable(job: Mapping[str, Any]) -> bool:
    """Return whether ``uuid``, ``index``, ``parents`` and ``state`` of a document of a job are what they have to be."""
    return (
        isinstance(job.get("uuid"), str)
        and isinstance(job.get("index"), int)
        and is_state(job.get("state"))
        and are_parents(job.get("parents"))
    )


def are_parents(value: Any) -> bool:
    """Return whether a value of a document is the list of the parents of a job."""
    return value is None or (isinstance(value, list) and all(isinstance(each, str) for each in value))


def leaves_of(jobs: Iterable[Doc]) -> list[Doc]:
    """Return the jobs that no other job depends on; of a replaced job only the last index counts.

    Parameters
    ----------
    jobs
        Documents with ``uuid``, ``index`` and ``parents``.
    """
    latest: dict[str, Doc] = {}
    parents: set[str] = set()
    for job in sorted(jobs, key=lambda job: job["index"]):
        latest[job["uuid"]] = job
        parents.update(job.get("parents") or ())
    return [job for uuid, job in latest.items() if uuid not in parents]
