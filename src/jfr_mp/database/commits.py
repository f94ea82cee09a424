"""Commits: writing the outcomes of a step under the locks of its claims.

Every write is fenced: it matches the `_id` of the job, the id of the lock and the state in which the job was claimed.
If no document matches, the lease was lost and nothing is written.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from pymongo import UpdateOne

from jfr_mp.database.claims import Claim, release
from jfr_mp.database.completion import complete, complete_together, may_share
from jfr_mp.database.faults import TRANSIENT
from jfr_mp.database.flow_lookup import find_flow, flow_uuids
from jfr_mp.database.hung_steps import HUNG_STEPS
from jfr_mp.database.locks import UNLOCKED
from jfr_mp.errors import FlowLockedError, LeaseLost
from jfr_mp.model import JobDoc, utcnow
from jfr_mp.outcomes import Advance, Blame, Completion, Fail, Outcome, Retry
from jfr_mp.states import FlowState, JobState
from jfr_mp.step_table import Step

if TYPE_CHECKING:
    from jfr_mp.config import RunnerOptions
    from jfr_mp.database.connection import Doc, QueueDatabase

#: Seconds until a completion is retried whose flow was locked.
FLOW_LOCKED_DELAY = 1.0


def commit(
    db: QueueDatabase, claim: Claim, step: Step, outcome: Outcome, policy: RunnerOptions
) -> tuple[JobState, ...]:
    """Write the outcome of a step and release the job, in the same write.

    Parameters
    ----------
    claim
        The job.
    step
        The step that was run.
    outcome
        The outcome of the step.
    policy
        The retry options of the project.

    Returns
    -------
    tuple of JobState
        The states that jobs have entered, and in which there is new work now.

    Raises
    ------
    LeaseLost
        The job is locked by another process, or is not in the state in which it was claimed; nothing was written.
    """
    if isinstance(outcome, Completion):
        try:
            return _completed(db, claim, outcome)
        except FlowLockedError as locked:
            outcome = _later(locked)
    _check_target(step, outcome)
    if not db.jobs.update_one(claim.fence, _update(claim, outcome, policy, db.now())).matched_count:
        # A command may have changed the state while this process held the lock, which then still has to be released.
        release(db, claim)
        raise claim.lost()
    claim.held = False
    _note_running_flows(db, [(claim, outcome)])
    return _news(claim, outcome)


def parts(db: QueueDatabase, outcomes: Sequence[tuple[Claim, Outcome]]) -> list[list[tuple[Claim, Outcome]]]:
    """Return the outcomes in groups that `commit_together` can write: the completions of a flow, and all others."""
    groups: dict[str, list[tuple[Claim, Outcome]]] = {}
    for claim, outcome in outcomes:
        groups.setdefault(_part(db, claim, outcome), []).append((claim, outcome))
    return list(groups.values())


def _part(db: QueueDatabase, claim: Claim, outcome: Outcome) -> str:
    """Return a key that is equal for outcomes that can be written together."""
    if not isinstance(outcome, Completion):
        return ""
    flow = find_flow(db, claim.job.uuid, claim.job.hosts or ()) if may_share(db, outcome) else None
    return flow or str(claim.id)


def commit_together(
    db: QueueDatabase, step: Step, outcomes: Sequence[tuple[Claim, Outcome]], policy: RunnerOptions
) -> list[tuple[JobState, ...] | Exception]:
    """Write outcomes that belong together, as `parts` returns them, in one operation, each fenced on its own.

    If the operation fails because of one of them, each is written by itself.

    The parameters are those of `commit`.

    Returns
    -------
    list
        For each claim the value that `commit` would return, or the error that it would raise.
    """
    if len(outcomes) == 1:
        return _each_alone(db, step, outcomes, policy)
    completions = [(claim, outcome) for claim, outcome in outcomes if isinstance(outcome, Completion)]
    try:
        if completions:
            return _completed_together(db, completions)
        return _updated_together(db, step, outcomes, policy)
    except TRANSIENT:
        raise
    except FlowLockedError as locked:
        return _updated_together(db, step, [(claim, _later(locked)) for claim, _ in outcomes], policy)
    except Exception:  # noqa: BLE001 - an outcome that cannot be written must not hold up the others
        return _each_alone(db, step, outcomes, policy)


def _later(locked: FlowLockedError) -> Retry:
    return Retry(str(locked), delay=FLOW_LOCKED_DELAY, blame=Blame.CIRCUMSTANCES)


def _each_alone(
    db: QueueDatabase, step: Step, outcomes: Sequence[tuple[Claim, Outcome]], policy: RunnerOptions
) -> list[tuple[JobState, ...] | Exception]:
    written: list[tuple[JobState, ...] | Exception] = []
    for claim, outcome in outcomes:
        try:
            written.append(commit(db, claim, step, outcome, policy))
        except TRANSIENT:
            raise
        except Exception as error:  # noqa: BLE001 - the caller gets it
            written.append(error)
    return written


def _completed_together(
    db: QueueDatabase, completions: Sequence[tuple[Claim, Completion]]
) -> list[tuple[JobState, ...] | Exception]:
    ready = complete_together(db, completions)
    for claim, _ in completions:
        claim.held = False
    return [ready, *[() for _ in completions[1:]]]


def _updated_together(
    db: QueueDatabase, step: Step, outcomes: Sequence[tuple[Claim, Outcome]], policy: RunnerOptions
) -> list[tuple[JobState, ...] | Exception]:
    writes, stamp, now = [], utcnow(), db.now()
    for claim, outcome in outcomes:
        _check_target(step, outcome)
        writes.append(UpdateOne(claim.fence, _update(claim, outcome, policy, now, stamp)))
    written = db.jobs.bulk_write(writes, ordered=False).matched_count
    lost = set() if written == len(writes) else _lost(db, [claim for claim, _ in outcomes], stamp)
    for claim, _ in outcomes:
        if claim.id in lost:
            release(db, claim)
        claim.held = False
    _note_running_flows(db, [(claim, outcome) for claim, outcome in outcomes if claim.id not in lost])
    return [claim.lost() if claim.id in lost else _news(claim, outcome) for claim, outcome in outcomes]


def _lost(db: QueueDatabase, claims: Sequence[Claim], stamp: datetime) -> set[Any]:
    """Return the ids of the jobs to which the update with this time stamp was not applied."""
    query = {"_id": {"$in": [claim.id for claim in claims]}, "lock_id": None, "updated_on": stamp}
    written = {job["_id"] for job in db.jobs.find(query, {"_id": 1})}
    return {claim.id for claim in claims} - written


def _check_target(step: Step, outcome: Outcome) -> None:
    if isinstance(outcome, Advance) and outcome.state not in step.targets:
        raise ValueError(f"the step {step.name} does not lead to {outcome.state.value}")


def _update(claim: Claim, outcome: Outcome, policy: RunnerOptions, now: datetime, stamp: datetime | None = None) -> Doc:
    if isinstance(outcome, Completion):
        raise TypeError("a completion cannot be written by a single update")
    fields = update_fields(claim.job, outcome, policy, now)
    return {"$set": {**fields, "updated_on": stamp or utcnow(), **UNLOCKED}}


def update_fields(job: JobDoc, outcome: Advance | Retry | Fail, policy: RunnerOptions, now: datetime) -> Doc:
    """Return the fields that an outcome sets on a job, except the fields that release its lock.

    Parameters
    ----------
    now
        The time of the server, from which delays count.
    """
    if isinstance(outcome, Advance):
        delay = outcome.next_step_delay
        return {
            **outcome.fields,
            **({HUNG_STEPS: 0} if job.remote.hung_steps else {}),
            "state": outcome.state.value,
            "remote.step_attempts": 0,
            "remote.retry_time_limit": now + timedelta(seconds=delay) if delay else None,
            "remote.error": None,
        }
    error = f"{outcome.why}\n{outcome.detail}" if outcome.detail else outcome.why
    if isinstance(outcome, Retry):
        attempts = job.remote.step_attempts + (1 if outcome.spend_attempt else 0)
        if not outcome.spend_attempt or attempts <= policy.max_step_attempts:
            delay = policy.get_delta_retry(max(attempts, 1)) if outcome.delay is None else outcome.delay
            return {
                "remote.step_attempts": attempts,
                "remote.retry_time_limit": now + timedelta(seconds=delay),
                "remote.error": error,
            }
    return {"state": JobState.REMOTE_ERROR.value, "previous_state": job.state.value, "remote.error": error}


def _completed(db: QueueDatabase, claim: Claim, completion: Completion) -> tuple[JobState, ...]:
    try:
        ready = complete(db, claim, completion)
    except LeaseLost:
        release(db, claim)
        raise
    claim.held = False
    return ready


def _news(claim: Claim, outcome: Outcome) -> tuple[JobState, ...]:
    moved = isinstance(outcome, Advance) and outcome.state is not claim.job.state
    return (outcome.state,) if isinstance(outcome, Advance) and moved else ()


def _note_running_flows(db: QueueDatabase, outcomes: Sequence[tuple[Claim, Outcome]]) -> None:
    """Set the flows of the jobs that were checked out to RUNNING."""
    out = [claim.job for claim, outcome in outcomes if _checks_out(outcome)]
    if out:
        db.flows.update_many(
            {"uuid": {"$in": sorted(flow_uuids(db, out))}, "state": FlowState.READY.value},
            {"$set": {"state": FlowState.RUNNING.value, "updated_on": utcnow()}},
        )


def _checks_out(outcome: Outcome) -> bool:
    return isinstance(outcome, Advance) and outcome.state is JobState.CHECKED_OUT
