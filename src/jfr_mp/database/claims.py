"""Claims: taking a job for one step, and writing the step's outcome under the lock."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from pymongo import ASCENDING, DESCENDING

from jfr_mp.database.completion import complete
from jfr_mp.database.faults import TRANSIENT
from jfr_mp.database.locks import UNLOCKED, MongoLock
from jfr_mp.errors import FlowLockedError, LeaseLost
from jfr_mp.identity import new_lock_id
from jfr_mp.model import utcnow
from jfr_mp.outcomes import Advance, Blame, Completion, Fail, Outcome, Retry
from jfr_mp.states import FlowState, JobState
from jfr_mp.step_table import UPLOAD, Step

if TYPE_CHECKING:
    from jfr_mp.config import RunnerOptions
    from jfr_mp.database.connection import Doc, QueueDatabase

logger = logging.getLogger(__name__)

#: The more urgent first, then the older: served by an index, whatever the number of jobs.
ORDER = (("priority", DESCENDING), ("created_on", ASCENDING))

#: The inputs of a job may be megabytes, and only the upload needs them.
WITHOUT_INPUTS = {"job.function_args": 0, "job.function_kwargs": 0}

#: Seconds until a completion that met a locked flow is tried again.
FLOW_LOCKED_DELAY = 1.0


def claim_query(step: Step, query: Mapping[str, Any] | None = None, exclude_workers: Collection[str] = ()) -> Doc:
    """Return the query for the jobs that a step can take now.

    Parameters
    ----------
    query
        More conditions; one on the state narrows the step's own.
    exclude_workers
        Workers whose jobs are left alone, such as those whose host is away.
    """
    states = [state.value for state in step.sources]
    conditions: Doc = {
        "state": states[0] if len(states) == 1 else {"$in": states},
        "lock_id": None,
        "remote.retry_time_limit": {"$not": {"$gt": utcnow()}},
    }
    if exclude_workers:
        conditions["worker"] = {"$nin": sorted(exclude_workers)}
    return {"$and": [conditions, dict(query)]} if query else conditions


@contextmanager
def claim(
    db: QueueDatabase,
    step: Step,
    owner: str,
    *,
    query: Mapping[str, Any] | None = None,
    sort: Sequence[tuple[str, int]] | None = None,
    exclude_workers: Collection[str] = (),
) -> Iterator[MongoLock]:
    """Lock the next job for a step.

    Parameters
    ----------
    owner
        The process that claims; the lock names it.
    query, exclude_workers
        See `claim_query`.
    sort
        Another order than `ORDER`.

    Yields
    ------
    MongoLock
        Its `locked_document` is None when there is nothing to do. A job that is neither committed nor released on
        leaving is released unchanged.
    """
    lock = MongoLock(
        db.jobs,
        claim_query(step, query, exclude_workers),
        lock_id=new_lock_id(owner),
        projection=None if step is UPLOAD else WITHOUT_INPUTS,
        sort=list(sort or ORDER),
    )
    _free_doubtful_locks(db)
    try:
        with lock:
            yield lock
    except TRANSIENT:
        # The job may be locked without our knowing it, and nobody else frees the lock of an owner that lives.
        db.doubtful_locks.add(lock.lock_id)
        raise


def release(db: QueueDatabase, lock: MongoLock) -> None:
    """Give a claimed job back as it was; one that was taken away is let go."""
    if lock.locked_document is not None:
        db.jobs.update_one({"_id": lock.locked_document["_id"], "lock_id": lock.lock_id}, {"$set": dict(UNLOCKED)})
        lock.forget()


def commit(
    db: QueueDatabase, lock: MongoLock, step: Step, outcome: Outcome, policy: RunnerOptions
) -> tuple[JobState, ...]:
    """Write the outcome of a step and release the job, in the same write.

    Parameters
    ----------
    lock
        The claim.
    step
        The step that was run.
    outcome
        What it said.
    policy
        The retry options of the project.

    Returns
    -------
    tuple of JobState
        The states in which there now is work that was not there before.

    Raises
    ------
    LeaseLost
        When the job is locked by somebody else or not in the state in which it was claimed; nothing was written.
    """
    if isinstance(outcome, Completion):
        try:
            return _completed(db, lock, outcome)
        except FlowLockedError as locked:
            outcome = Retry(str(locked), delay=FLOW_LOCKED_DELAY, blame=Blame.CIRCUMSTANCES)
    if isinstance(outcome, Advance) and outcome.state not in step.targets:
        raise ValueError(f"the step {step.name} does not lead to {outcome.state.value}")
    job = _job_of(lock)
    _write(db, lock, update_fields(job, outcome, policy))
    if not isinstance(outcome, Advance):
        return ()
    if outcome.state is JobState.CHECKED_OUT:
        _flow_runs(db, job["job"]["hosts"][-1])
    return () if outcome.state.value == job["state"] else (outcome.state,)


def _free_doubtful_locks(db: QueueDatabase) -> None:
    for lock_id in tuple(db.doubtful_locks):
        db.jobs.update_one({"lock_id": lock_id}, {"$set": dict(UNLOCKED)})
        db.doubtful_locks.discard(lock_id)


def update_fields(job: Mapping[str, Any], outcome: Advance | Retry | Fail, policy: RunnerOptions) -> Doc:
    """Return the fields that an outcome sets on a job, without those that release its lock."""
    if isinstance(outcome, Advance):
        delay = outcome.next_step_delay
        return {
            **outcome.fields,
            "state": outcome.state.value,
            "remote.step_attempts": 0,
            "remote.retry_time_limit": _from_now(delay) if delay else None,
            "remote.error": None,
        }
    error = f"{outcome.why}\n{outcome.detail}" if outcome.detail else outcome.why
    if isinstance(outcome, Retry):
        attempts = job["remote"]["step_attempts"] + (1 if outcome.spend_attempt else 0)
        if not outcome.spend_attempt or attempts <= policy.max_step_attempts:
            delay = policy.get_delta_retry(max(attempts, 1)) if outcome.delay is None else outcome.delay
            return {
                "remote.step_attempts": attempts,
                "remote.retry_time_limit": _from_now(delay),
                "remote.error": error,
            }
    return {"state": JobState.REMOTE_ERROR.value, "previous_state": job["state"], "remote.error": error}


def _completed(db: QueueDatabase, lock: MongoLock, completion: Completion) -> tuple[JobState, ...]:
    try:
        return complete(db, lock, completion)
    except LeaseLost:
        release(db, lock)
        raise


def _write(db: QueueDatabase, lock: MongoLock, fields: Mapping[str, Any]) -> None:
    job = _job_of(lock)
    fence = {"_id": job["_id"], "lock_id": lock.lock_id, "state": job["state"]}
    update = {"$set": {**fields, "updated_on": utcnow(), **UNLOCKED}}
    if db.jobs.update_one(fence, update).matched_count:
        lock.forget()
        return
    # Somebody may have changed the state under our lock, which then still has to go.
    release(db, lock)
    raise LeaseLost(f"job {job['db_id']} is not ours any more ({lock.lock_id}); nothing was written")


def _flow_runs(db: QueueDatabase, flow_uuid: str) -> None:
    db.flows.update_one(
        {"uuid": flow_uuid, "state": FlowState.READY.value},
        {"$set": {"state": FlowState.RUNNING.value, "updated_on": utcnow()}},
    )


def _from_now(seconds: float) -> Any:
    return utcnow() + timedelta(seconds=seconds)


def _job_of(lock: MongoLock) -> Doc:
    if lock.locked_document is None:
        raise ValueError("nothing is claimed")
    return lock.locked_document
