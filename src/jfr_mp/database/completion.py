"""The completion of a job: its document, the jobs that it returned, its children and the state of its flow.

If the server supports transactions, all writes are one transaction. Otherwise the writes are ordered so that repeating
them is safe: values written before a crash are recognised, or overwritten with the same values. The state of the job
itself is written last, because the completion is repeated until that state is final.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from pymongo import UpdateOne

from jfr_mp.database.children import Ended, ready_children, stop_children, stop_jobflow
from jfr_mp.database.dynamic_jobs import BadFlow, NewFlow, Origin, append, read_flow, require_own
from jfr_mp.database.flow_lock import locked_flow
from jfr_mp.database.flow_lookup import flow_uuid
from jfr_mp.database.flow_state import stays_running, update_flow_state
from jfr_mp.database.locks import UNLOCKED
from jfr_mp.database.processes import announce_session
from jfr_mp.errors import FlowLockedError
from jfr_mp.faultpoints import reach
from jfr_mp.identity import owner_of_lock
from jfr_mp.model import utcnow
from jfr_mp.outcomes import Completion
from jfr_mp.states import JobState

if TYPE_CHECKING:
    from pymongo.client_session import ClientSession

    from jfr_mp.database.claims import Claim
    from jfr_mp.database.connection import Doc, QueueDatabase

logger = logging.getLogger(__name__)

#: Seconds to wait for the lock of the flow; other completions hold it for a few milliseconds.
FLOW_PATIENCE = 0.5
FLOW_PAUSE = 0.01


@dataclass(frozen=True)
class CallersLocks:
    """The locks that a caller holds and releases itself, unlike those of a claim and of its completion.

    Parameters
    ----------
    flow
        The id of the lock on the flow; None if the caller has not locked the flow.
    """

    flow: str | None


def complete(
    db: QueueDatabase, claim: Claim, completion: Completion, kept: CallersLocks | None = None
) -> tuple[JobState, ...]:
    """Write the completion of a claimed job and release its lock.

    Parameters
    ----------
    claim
        The job.
    completion
        The outcome.
    kept
        The locks that are not released, that of the job included; None for none.

    Returns
    -------
    tuple of JobState
        READY if jobs became ready, otherwise empty.

    Raises
    ------
    FlowLockedError
        Another process holds the lock of the flow; nothing was written.
    LeaseLost
        The lock of the job was lost; nothing was written.
    FlowMissing
        The job belongs to no flow.
    """
    return complete_together(db, [(claim, completion)], kept)


def complete_together(
    db: QueueDatabase, ends: Sequence[tuple[Claim, Completion]], kept: CallersLocks | None = None
) -> tuple[JobState, ...]:
    """Write the completions of claimed jobs of one flow in one transaction: all of them or none.

    The parameters, the result and the errors are those of `complete`; `may_share` says which completions are allowed.
    """
    flow = flow_uuid(db, ends[0][0].job)
    # Parsing the flows takes time and has no side effects, so it is done once, before anything is locked.
    parsed = [_End.read(db, claim, completion, flow) for claim, completion in ends]
    new_jobs = sum(len(new.uuids) for end in parsed for new in end.new_flows)
    deadline = time.monotonic() + FLOW_PATIENCE
    while True:
        try:
            ready = db.transaction(
                lambda session: _write(db, flow, parsed, session, kept), writes=new_jobs, must_be_one=len(ends) > 1
            )
            break
        except FlowLockedError:
            if time.monotonic() >= deadline:
                raise
            time.sleep(FLOW_PAUSE)
    return (JobState.READY,) if ready else ()


def may_share(db: QueueDatabase, completion: Completion) -> bool:
    """Return whether a completion can be written together with others: it changes nothing but its job's children."""
    return db.supports_transactions and not (completion.added or completion.stop_children or completion.stop_jobflow)


@dataclass(frozen=True)
class _End:
    """The data to write: the job, its outcome, its flow, and the flows that it returned."""

    claim: Claim
    completion: Completion
    origin: Origin
    new_flows: Sequence[NewFlow]

    @classmethod
    def read(cls, db: QueueDatabase, claim: Claim, completion: Completion, flow: str) -> Self:
        origin = Origin(claim.job, flow)
        try:
            new_flows = [read_flow(relation, serialized) for relation, serialized in completion.added]
            require_own(db, flow, new_flows)
        except BadFlow as error:
            started, ended = completion.start_time, completion.end_time
            failed = Completion(JobState.FAILED, error=str(error), start_time=started, end_time=ended)
            return cls(claim, failed, origin, [])
        return cls(claim, completion, origin, new_flows)

    @property
    def stops(self) -> bool:
        """Whether the job asked to stop its children or its flow."""
        return self.completion.stop_children or self.completion.stop_jobflow

    @property
    def is_plain(self) -> bool:
        """Whether the job was COMPLETED and asked for nothing else."""
        return self.completion.state is JobState.COMPLETED and not self.new_flows and not self.stops

    @property
    def ended(self) -> Ended:
        """The job with its new state."""
        return Ended(self.claim.id, self.claim.job.uuid, self.completion.state)


def _write(
    db: QueueDatabase, flow: str, ends: Sequence[_End], session: ClientSession | None, kept: CallersLocks | None
) -> bool:
    lock_id = ends[0].claim.lock_id
    owner = owner_of_lock(lock_id)
    if session is not None and owner is not None:
        announce_session(db, owner, session)
    with locked_flow(db, flow, lock_id, session, held=kept.flow if kept else None) as state:
        if session is None:
            _check_leases(db, ends)
        ready = False
        for end in ends:
            ready = append(db, end.origin, end.new_flows, end.stops, session) or ready
        reach("complete.after_append")
        for end in ends:
            if end.completion.stop_children:
                stop_children(db, end.claim.job.uuid, session)
            if end.completion.stop_jobflow:
                stop_jobflow(db, flow, session)
        new_uuids = [uuid for end in ends for new in end.new_flows for uuid in new.uuids]
        ready = ready_children(db, [end.ended for end in ends], new_uuids, session) or ready
        reach("complete.after_children")
        # The state of the flow before that of the jobs: after a crash in between, no process would compute it again.
        pending = {end.claim.id: end.completion.state for end in ends}
        if not (all(end.is_plain for end in ends) and stays_running(db, flow, state, session, pending=pending)):
            update_flow_state(db, flow, session, pending=pending, stored=state)
        reach("complete.after_flow")
        _write_jobs(db, ends, session, keep_locks=kept is not None)
        reach("complete.after_job")
    return ready


def _check_leases(db: QueueDatabase, ends: Sequence[_End]) -> None:
    """Check the leases before the first write: without transactions, earlier writes are not rolled back."""
    for end in ends:
        if db.jobs.find_one(end.claim.fence, {"_id": 1}) is None:
            raise end.claim.lost()


def _write_jobs(db: QueueDatabase, ends: Sequence[_End], session: ClientSession | None, *, keep_locks: bool) -> None:
    unlock = {} if keep_locks else UNLOCKED
    writes = [UpdateOne(end.claim.fence, {"$set": {**completion_fields(end.completion), **unlock}}) for end in ends]
    if db.jobs.bulk_write(writes, ordered=False, session=session).matched_count < len(writes):
        # Within a transaction this undoes the others; without one, a completion is alone.
        raise ends[-1].claim.lost()


def completion_fields(completion: Completion) -> Doc:
    """Return the fields that a completion sets on a job, except the fields that release its lock."""
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
    }
