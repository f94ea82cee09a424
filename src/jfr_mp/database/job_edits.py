"""Editing the documents of jobs: the worker, its options, their state, and any other field."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from jfr_mp.database.job_commands import NO_FAILURE, LockPolicy, check_state, write_state
from jfr_mp.model import JobInfo, utcnow
from jfr_mp.states import RUNNING_STATES, JobState

if TYPE_CHECKING:
    from jfr_mp.database.claims import Claim
    from jfr_mp.database.connection import Doc, QueueDatabase

#: The states in which no process depends on where and how the job runs.
EDITABLE = tuple(state for state in JobState if state not in RUNNING_STATES)


@dataclass(frozen=True)
class RunProperties:
    """Where and how a job runs; None leaves a property as it is.

    Parameters
    ----------
    worker, priority
        The new values.
    exec_config
        The name of a configuration, or fields of one.
    resources
        Keywords of the scheduler's template.
    merge
        Whether fields of `exec_config` and `resources` are merged with the stored ones instead of replacing them.
    """

    worker: str | None = None
    exec_config: str | Mapping[str, Any] | None = None
    resources: Mapping[str, Any] | None = None
    priority: int | None = None
    merge: bool = True

    @property
    def states(self) -> Collection[JobState]:
        """The states in which a job can get these properties: any state if only the priority changes."""
        only_priority = self.worker is None and self.exec_config is None and self.resources is None
        return tuple(JobState) if only_priority else EDITABLE

    def values(self) -> Doc:
        """Return the fields to set, as expressions of an aggregation pipeline."""
        fields = {
            "worker": self.worker,
            "priority": self.priority,
            "exec_config": self.exec_config,
            "resources": self.resources,
        }
        return {name: self._value(name, value) for name, value in fields.items() if value is not None}

    def _value(self, name: str, value: Any) -> Doc:
        literal = {"$literal": dict(value) if isinstance(value, Mapping) else value}
        if not (self.merge and isinstance(value, Mapping)):
            return literal
        # A stored name of an exec_config has no fields to merge with.
        is_name = {"$eq": [{"$type": f"${name}"}, "string"]}
        return {"$cond": [is_name, literal, {"$mergeObjects": [f"${name}", literal]}]}


def set_values(
    db: QueueDatabase,
    db_id: str,
    policy: LockPolicy,
    values: Mapping[str, Any],
    *,
    states: Collection[JobState] | None = None,
    pipeline: bool = False,
) -> JobInfo:
    """Set fields of a job while it is locked.

    Parameters
    ----------
    values
        The values by dotted field; with `pipeline`, expressions of an aggregation pipeline.
    states
        The states in which the job may be; None for all.

    Returns
    -------
    JobInfo
        The job as it was before.

    Raises
    ------
    NotFound
        There is no such job.
    NotAllowed
        The job is in another state.
    JobLockedError
        Another process still held the lock after the waiting time; nothing was changed.
    """
    with policy.job(db, db_id) as (lock, job):
        if states is not None:
            check_state(job, "changed", states)
        fields = {"updated_on": utcnow(), **values}
        lock.update_on_release = [{"$set": fields}] if pipeline else {"$set": fields}
    return job


def set_under_lock(db: QueueDatabase, claim: Claim, fields: Mapping[str, Any]) -> None:
    """Set fields of a claimed job.

    Raises
    ------
    LeaseLost
        The lock was lost; nothing was written.
    """
    if not db.jobs.update_one(claim.fence, {"$set": dict(fields)}).matched_count:
        raise claim.lost()


def set_state(db: QueueDatabase, db_id: str, state: JobState, policy: LockPolicy) -> JobInfo:
    """Set a job to any state, without any check, and update the state of its flow; otherwise as `set_values`."""
    fields = {**NO_FAILURE, "previous_state": None, "remote.queue_state": None, "error": None, "state": state.value}
    with policy.job(db, db_id) as (lock, job):
        write_state(db, lock, job, policy, lambda: fields)
    return job
