"""The effect of a finished job on the jobs that depend on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from jfr_mp.database.field_types import fields
from jfr_mp.database.flow_state import are_parents
from jfr_mp.identity import LOCK_PREFIX
from jfr_mp.model import utcnow
from jfr_mp.states import STOPPABLE_STATES, JobState

if TYPE_CHECKING:
    from pymongo.client_session import ClientSession

    from jfr_mp.database.connection import Doc, QueueDatabase

#: The values of jobflow's `on_missing_references` with which a job runs even if a parent has no output.
_TOLERANT = ("none", "pass")

#: The uuids of a job's parents, and the states in which a parent allows it to start.
Requirement = tuple[tuple[str, ...], tuple[str, ...]]


@dataclass(frozen=True)
class Ended:
    """A job whose final state is about to be written.

    Parameters
    ----------
    id
        The `_id` of its document.
    uuid
        Its uuid.
    state
        Its new state; the stored state is still that of a running job.
    """

    id: Any
    uuid: str
    state: JobState


def satisfying_states(child: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the states in which a parent allows this job to start."""
    states = [JobState.COMPLETED]
    if fields(fields(child.get("job")).get("config")).get("on_missing_references") in _TOLERANT:
        states += [JobState.FAILED, JobState.USER_STOPPED]
    return tuple(state.value for state in states)


def ready_children(
    db: QueueDatabase, ended: Sequence[Ended], new_uuids: Sequence[str], session: ClientSession | None
) -> bool:
    """Make READY the jobs that were waiting only for the jobs that ended.

    Parameters
    ----------
    ended
        The jobs that ended.
    new_uuids
        The jobs that they returned. A job that replaces another one inherits its parents, which are done.

    Returns
    -------
    bool
        Whether any job has become READY.
    """
    candidates = _waiting(db, {"parents": {"$in": [job.uuid for job in ended]}}, session)
    if new_uuids:
        candidates |= _waiting(db, {"uuid": {"$in": list(new_uuids)}}, session)
    blocked = {requirement: _is_blocked(db, requirement, ended, session) for requirement in set(candidates.values())}
    free = [id_ for id_, requirement in candidates.items() if not blocked[requirement]]
    if not free:
        return False
    db.jobs.update_many(
        {"_id": {"$in": free}, "state": JobState.WAITING.value},
        {"$set": {"state": JobState.READY.value, "updated_on": utcnow()}},
        session=session,
    )
    return True


def may_start(db: QueueDatabase, db_id: str) -> bool:
    """Return whether all parents of a job are done; the caller must hold the lock of its flow."""
    job = db.jobs.find_one({"db_id": db_id}, {"parents": 1, "job.config.on_missing_references": 1}) or {}
    return not _is_blocked(db, (tuple(job.get("parents") or ()), satisfying_states(job)), (), None)


def _waiting(db: QueueDatabase, query: Doc, session: ClientSession | None) -> dict[Any, Requirement]:
    """Return the requirement of each waiting job, by `_id`; siblings usually share theirs."""
    jobs = db.jobs.find(
        {**query, "state": JobState.WAITING.value},
        {"parents": 1, "job.config.on_missing_references": 1},
        session=session,
    )
    # A damaged job stays WAITING.
    readable = (job for job in jobs if are_parents(job.get("parents")))
    return {job["_id"]: (tuple(job.get("parents") or ()), satisfying_states(job)) for job in readable}


def _is_blocked(
    db: QueueDatabase, requirement: Requirement, ended: Sequence[Ended], session: ClientSession | None
) -> bool:
    """Return whether any parent is not done; the search stops at the first one."""
    parents, enough = requirement
    done = {job.id for job in ended if job.state.value in enough}
    unfinished = {"uuid": {"$in": list(parents)}, "state": {"$nin": list(enough)}}
    for parent in db.jobs.find(unfinished, {"uuid": 1, "index": 1}, session=session):
        if parent["_id"] in done:
            continue
        # Only the last index of a job counts; earlier ones were replaced.
        later = {"uuid": parent["uuid"], "index": {"$gt": parent.get("index")}}
        if db.jobs.find_one(later, {"_id": 1}, session=session) is None:
            return True
    return False


def ready_jobs(db: QueueDatabase, uuids: Sequence[str]) -> list[str]:
    """Make READY those of some jobs that wait although their parents are done, and return their db_ids."""
    waiting = _waiting(db, {"uuid": {"$in": list(uuids)}}, None)
    free = [id_ for id_, requirement in waiting.items() if not _is_blocked(db, requirement, (), None)]
    query = {"_id": {"$in": free}, "state": JobState.WAITING.value}
    db_ids = [job["db_id"] for job in db.jobs.find(query, {"db_id": 1})]
    db.jobs.update_many(query, {"$set": {"state": JobState.READY.value, "updated_on": utcnow()}})
    return db_ids


def stop_children(db: QueueDatabase, uuid: str, session: ClientSession | None) -> int:
    """Stop the direct children of a job, except children that have started, and return their number."""
    return _stop(db, {"parents": uuid}, session)


def stop_jobflow(db: QueueDatabase, flow_uuid: str, session: ClientSession | None) -> int:
    """Stop all jobs of a flow, except jobs that have started, and return their number."""
    return _stop(db, {"job.hosts": flow_uuid}, session)


def _stop(db: QueueDatabase, query: Doc, session: ClientSession | None) -> int:
    # A job locked by a jfr-mp process is being checked out; the commit finds that the state has changed, and writes
    # nothing. A job locked by jobflow-remote is left alone.
    stoppable: Sequence[str] = [state.value for state in STOPPABLE_STATES]
    free = [{"lock_id": None}, {"lock_id": {"$regex": f"^{LOCK_PREFIX}"}}]
    stopped = db.jobs.update_many(
        {**query, "state": {"$in": stoppable}, "$or": free},
        {"$set": {"state": JobState.STOPPED.value, "updated_on": utcnow()}},
        session=session,
    )
    return stopped.modified_count
