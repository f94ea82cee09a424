"""What a user orders for one job: stop, pause, resume, retry."""

from __future__ import annotations

from typing import Any

import pytest
from jobflow import Flow

from jfr_mp.database.flow_lock import COMPLETING
from jfr_mp.database.job_commands import LockPolicy, pause_job, resume_job, retry_job, stop_job
from jfr_mp.errors import FlowLockedError, JfrMpError, JobLockedError
from jfr_mp.model import utcnow
from jfr_mp.states import JobState
from tests.support.jobs import add

ME = LockPolicy("host:2:bbbb")
FOREIGN = {"lock_id": "0b0cdf24"}


@pytest.mark.parametrize("state", [JobState.READY, JobState.RUNNING, JobState.BATCH_SUBMITTED, JobState.DOWNLOADED])
def test_a_job_that_is_on_its_way_is_stopped(any_queue: Any, state: JobState) -> None:
    queue = any_queue
    # Given a flow whose first job is on its way
    first = add(1)
    db_id, _ = queue.add(Flow([first, second := add(first.output)]))
    queue.put(first, state)

    # When it is stopped
    before = stop_job(queue.db, db_id, ME)

    # Then it and its flow say so, and nothing else has changed
    assert (before.db_id, before.state) == (db_id, state)
    job, flow = queue.job(first), queue.flow(first)
    assert (job["state"], flow["state"]) == ("USER_STOPPED", "STOPPED")
    assert (job["lock_id"], flow["lock_id"]) == (None, None)
    assert queue.job(second)["state"] == "WAITING"


def test_a_command_does_not_write_a_flow_anew(queue: Any) -> None:
    # Given a flow with some jobs, one of which is paused
    jobs = [add(number) for number in range(3)]
    first, second, _ = queue.add(Flow([*jobs]))
    pause_job(queue.db, first, ME)
    # When another one is paused
    queue.db.db.command("profile", 2)
    pause_job(queue.db, second, ME)
    queue.db.db.command("profile", 0)
    # Then nothing was written that an index has, which would write the list of all jobs again
    entries = queue.db.db["system.profile"].find(
        {"ns": queue.db.flows.full_name, "command.findAndModify": {"$exists": 1}}
    )
    assert [list(entry["command"]["update"]["$set"]) for entry in entries] == [[COMPLETING]]
    assert [queue.job(job)["state"] for job in jobs] == ["PAUSED", "PAUSED", "READY"]


@pytest.mark.parametrize("state", [JobState.WAITING, JobState.COMPLETED, JobState.REMOTE_ERROR, JobState.PAUSED])
def test_a_job_that_rests_is_not_stopped(queue: Any, state: JobState) -> None:
    job = add(1)
    (db_id,) = queue.add(job)
    queue.put(job, state)

    with pytest.raises(JfrMpError, match=f"job {db_id} is {state.name} and cannot be"):
        stop_job(queue.db, db_id, ME)

    assert (queue.job(job)["state"], queue.job(job)["lock_id"]) == (state.value, None)


def test_what_somebody_works_on_is_left_alone(queue: Any) -> None:
    # Given a job, and then a flow, that is locked
    job = add(1)
    (db_id,) = queue.add(job)
    for collection, error in ((queue.db.flows, FlowLockedError), (queue.db.jobs, JobLockedError)):
        collection.update_one({}, {"$set": FOREIGN})

        with pytest.raises(error, match="locked by 0b0cdf24"):
            stop_job(queue.db, db_id, LockPolicy("host:2:bbbb", wait=0.1))

        assert queue.job(job)["state"] == "READY"
        assert collection.find_one()["lock_id"] == "0b0cdf24"

    # Unless its lock is to be broken
    stop_job(queue.db, db_id, LockPolicy("host:2:bbbb", break_lock=True))
    assert (queue.job(job)["state"], queue.job(job)["lock_id"]) == ("USER_STOPPED", None)


def test_a_job_that_is_not_there(queue: Any) -> None:
    with pytest.raises(JfrMpError, match="there is no job 4711"):
        stop_job(queue.db, "4711", ME)


def test_a_paused_job_waits_until_it_is_resumed(queue: Any) -> None:
    # Given a flow of two jobs, both of which are paused
    first = add(1)
    db_ids = queue.add(Flow([first, second := add(first.output)]))
    for db_id in db_ids:
        pause_job(queue.db, db_id, ME)
    assert queue.flow(first)["state"] == "PAUSED"

    # When they are resumed
    for db_id in db_ids:
        assert resume_job(queue.db, db_id, ME).state is JobState.PAUSED

    # Then each is where it would be without it
    assert [queue.job(job)["state"] for job in (first, second)] == ["READY", "WAITING"]
    assert queue.flow(first)["state"] == "READY"
    assert (queue.job(first)["lock_id"], queue.flow(first)["lock_id"]) == (None, None)


@pytest.mark.parametrize("stopped", [JobState.STOPPED, JobState.USER_STOPPED])
def test_a_stopped_job_whose_parents_are_done_is_ready_again(queue: Any, stopped: JobState) -> None:
    first = add(1)
    _, db_id = queue.add(Flow([first, second := add(first.output)]))
    queue.complete(first)
    queue.put(second, stopped)

    resume_job(queue.db, db_id, ME)

    assert queue.job(second)["state"] == "READY"


@pytest.mark.parametrize(
    ("order", "state"),
    [
        (pause_job, JobState.RUNNING),
        (pause_job, JobState.COMPLETED),
        (resume_job, JobState.READY),
        (resume_job, JobState.FAILED),
        (retry_job, JobState.FAILED),
        (retry_job, JobState.READY),
    ],
)
def test_an_order_that_makes_no_sense_is_refused(queue: Any, order: Any, state: JobState) -> None:
    job = add(1)
    (db_id,) = queue.add(job)
    queue.put(job, state)

    with pytest.raises(JfrMpError, match=f"job {db_id} is {state.name} and cannot be"):
        order(queue.db, db_id, ME)

    assert (queue.job(job)["state"], queue.job(job)["lock_id"]) == (state.value, None)


def test_a_job_that_went_wrong_is_tried_again_where_it_was(queue: Any) -> None:
    # Given a job that could not be submitted
    job = add(1)
    (db_id,) = queue.add(job)
    failure = {"remote.error": "no such partition", "remote.step_attempts": 3, "previous_state": "UPLOADED"}
    queue.put(job, JobState.REMOTE_ERROR, **failure)

    # When it is retried
    assert retry_job(queue.db, db_id, ME).state is JobState.REMOTE_ERROR

    # Then nothing of the failure is left
    document = queue.job(job)
    assert (document["state"], document["previous_state"]) == ("UPLOADED", None)
    assert (document["remote"]["error"], document["remote"]["step_attempts"]) == (None, 0)


def test_a_job_that_waits_for_its_next_attempt_need_not(queue: Any) -> None:
    job = add(1)
    (db_id,) = queue.add(job)
    later = {"remote.error": "a hiccup", "remote.step_attempts": 1, "remote.retry_time_limit": utcnow()}
    queue.put(job, JobState.CHECKED_OUT, **later)

    retry_job(queue.db, db_id, ME)

    remote = queue.job(job)["remote"]
    assert queue.job(job)["state"] == "CHECKED_OUT"
    assert (remote["error"], remote["step_attempts"], remote["retry_time_limit"]) == (None, 0, None)
