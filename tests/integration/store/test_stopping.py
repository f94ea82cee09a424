"""A user stops a job."""

from __future__ import annotations

from typing import Any

import pytest
from jobflow import Flow

from jfr_mp.errors import FlowLockedError, JfrMpError, JobLockedError
from jfr_mp.states import JobState
from jfr_mp.store.stopping import stop_job
from tests.support.jobs import add

OWNER = "host:2:bbbb"
FOREIGN = {"lock_id": "0b0cdf24"}


@pytest.mark.parametrize("state", [JobState.READY, JobState.RUNNING, JobState.BATCH_SUBMITTED, JobState.DOWNLOADED])
def test_a_job_that_is_on_its_way_is_stopped(queue: Any, state: JobState) -> None:
    # Given a flow whose first job is on its way
    first = add(1)
    db_id, _ = queue.add(Flow([first, second := add(first.output)]))
    queue.put(first, state)

    # When it is stopped
    before = stop_job(queue.db, db_id, OWNER)

    # Then it and its flow say so, and nothing else has changed
    assert (before.db_id, before.state) == (db_id, state)
    job, flow = queue.job(first), queue.flow(first)
    assert (job["state"], flow["state"]) == ("USER_STOPPED", "STOPPED")
    assert (job["lock_id"], flow["lock_id"]) == (None, None)
    assert queue.job(second)["state"] == "WAITING"


@pytest.mark.parametrize("state", [JobState.WAITING, JobState.COMPLETED, JobState.REMOTE_ERROR, JobState.PAUSED])
def test_a_job_that_rests_is_not_stopped(queue: Any, state: JobState) -> None:
    job = add(1)
    (db_id,) = queue.add(job)
    queue.put(job, state)

    with pytest.raises(JfrMpError, match=f"job {db_id} is {state.name}; only"):
        stop_job(queue.db, db_id, OWNER)

    assert (queue.job(job)["state"], queue.job(job)["lock_id"]) == (state.value, None)


def test_what_somebody_works_on_is_left_alone(queue: Any) -> None:
    # Given a job, and then a flow, that is locked
    job = add(1)
    (db_id,) = queue.add(job)
    for collection, error in ((queue.db.flows, FlowLockedError), (queue.db.jobs, JobLockedError)):
        collection.update_one({}, {"$set": FOREIGN})

        with pytest.raises(error, match="locked by 0b0cdf24"):
            stop_job(queue.db, db_id, OWNER, wait=0.1)

        assert queue.job(job)["state"] == "READY"
        assert collection.find_one()["lock_id"] == "0b0cdf24"

    # Unless its lock is to be broken
    stop_job(queue.db, db_id, OWNER, break_lock=True)
    assert (queue.job(job)["state"], queue.job(job)["lock_id"]) == ("USER_STOPPED", None)


def test_a_job_that_is_not_there(queue: Any) -> None:
    with pytest.raises(JfrMpError, match="there is no job 4711"):
        stop_job(queue.db, "4711", OWNER)
