"""What the end of a job means for the jobs that depend on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from jfr_mp.identity import LOCK_PREFIX
from jfr_mp.model import utcnow
from jfr_mp.states import STOPPABLE_STATES, JobState

if TYPE_CHECKING:
    from pymongo.client_session import ClientSession

    from jfr_mp.database.connection import Doc, QueueDatabase

#: The values of jobflow's `on_missing_references` with which a job runs although a parent has no output.
_TOLERANT = ("none", "pass")

#: The uuids of a job's parents, and the states in which each of them lets it start.
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
        Its new state; the stored one is still that of a running job.
    """

    id: Any
    uuid: str
    state: JobState


def satisfying_states(child: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the states in which a parent must be before this job can start."""
    states = [JobState.COMPLETED]
    if child["job"].get("config", {}).get("on_missing_references") in _TOLERANT:
        states += [JobState.FAILED, JobState.USER_STOPPED]
    return tuple(state.value for state in states)


def ready_children(db: QueueDatabase, ended: Ended, new_uuids: Sequence[str], session: ClientSession | None) -> bool:
    """Make READY what waited for nothing but the job that ended.

    Parameters
    ----------
    new_uuids
        The jobs that it returned: those that replace it have its own parents, which are done.

    Returns
    -------
    bool
        Whether a job is READY now.
    """
    candidates = _waiting(db, {"parents": ended.uuid}, session)
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
    """Tell whether a job waits for none of its parents any more; the caller holds the lock of its flow."""
    job = db.jobs.find_one({"db_id": db_id}, {"parents": 1, "job.config.on_missing_references": 1}) or {"job": {}}
    return not _is_blocked(db, (tuple(job.get("parents") or ()), satisfying_states(job)), None, None)


def _waiting(db: QueueDatabase, query: Doc, session: ClientSession | None) -> dict[Any, Requirement]:
    """Return what each of the waiting jobs waits for, by `_id`; siblings share it."""
    jobs = db.jobs.find(
        {**query, "state": JobState.WAITING.value},
        {"parents": 1, "job.config.on_missing_references": 1},
        session=session,
    )
    return {job["_id"]: (tuple(job["parents"] or ()), satisfying_states(job)) for job in jobs}


def _is_blocked(
    db: QueueDatabase, requirement: Requirement, ended: Ended | None, session: ClientSession | None
) -> bool:
    """Tell whether a parent is not done; the search ends at the first."""
    parents, enough = requirement
    unfinished = {"uuid": {"$in": list(parents)}, "state": {"$nin": list(enough)}}
    for parent in db.jobs.find(unfinished, {"uuid": 1, "index": 1}, session=session):
        if ended is not None and parent["_id"] == ended.id and ended.state.value in enough:
            continue
        # A job that was replaced does not count: only its last index does.
        later = {"uuid": parent["uuid"], "index": {"$gt": parent["index"]}}
        if db.jobs.find_one(later, {"_id": 1}, session=session) is None:
            return True
    return False


def stop_children(db: QueueDatabase, uuid: str, session: ClientSession | None) -> None:
    """Stop the direct children of a job that have not started."""
    _stop(db, {"parents": uuid}, session)


def stop_jobflow(db: QueueDatabase, flow_uuid: str, session: ClientSession | None) -> None:
    """Stop all jobs of a flow that have not started."""
    _stop(db, {"job.hosts": flow_uuid}, session)


def _stop(db: QueueDatabase, query: Doc, session: ClientSession | None) -> None:
    # A job locked by us is being checked out; its commit will find that the state has changed, and write nothing. One
    # locked by jobflow-remote is left to whoever locked it.
    stoppable: Sequence[str] = [state.value for state in STOPPABLE_STATES]
    free = [{"lock_id": None}, {"lock_id": {"$regex": f"^{LOCK_PREFIX}"}}]
    db.jobs.update_many(
        {**query, "state": {"$in": stoppable}, "$or": free},
        {"$set": {"state": JobState.STOPPED.value, "updated_on": utcnow()}},
        session=session,
    )
