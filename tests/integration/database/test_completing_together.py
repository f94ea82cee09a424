"""Completions that are written together: of one flow, in one transaction."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from jobflow import Flow

from jfr_mp.database.claims import claim
from jfr_mp.database.commits import commit_together, parts
from jfr_mp.database.flow_lock import COMPLETING
from jfr_mp.errors import LeaseLost
from jfr_mp.outcomes import Advance, Completion, Fail, Outcome
from jfr_mp.states import JobState
from jfr_mp.step_table import COMPLETE
from tests.support.jobs import add

DONE, FAILED = Completion(JobState.COMPLETED), Completion(JobState.FAILED, error="broken")


def _states(queue: Any) -> list[str]:
    return [job["state"] for job in queue.db.jobs.find().sort("db_id", 1)]


def _write(queue: Any, *outcomes: Any) -> list[Any]:
    """Claim as many DOWNLOADED jobs as there are outcomes and write them together."""
    written: list[Any] = []
    with claim(queue.db, COMPLETE, "host:1:aaaa", limit=len(outcomes)) as claims:
        for part in parts(queue.db, list(zip(claims, outcomes, strict=True))):
            written += commit_together(queue.db, COMPLETE, part, queue.policy)
    assert queue.db.jobs.count_documents({"lock_id": {"$ne": None}}) == 0
    assert queue.db.flows.count_documents({"lock_id": {"$ne": None}}) == 0
    return written


def test_a_child_of_jobs_that_end_together_becomes_ready(any_queue: Any) -> None:
    # Given a job that waits for two others, which have ended, beside one that goes on
    parents = [add(1), add(2)]
    child = add(parents[0].output, parents[1].output)
    any_queue.add(Flow([*parents, child, add(3)]))
    for parent in parents:
        any_queue.put(parent, JobState.DOWNLOADED)

    # When both are completed together
    written = _write(any_queue, DONE, DONE)

    # Then it is READY, which is said once, and the flow goes on
    assert sorted(written) == [(), (JobState.READY,)]
    assert _states(any_queue) == ["COMPLETED", "COMPLETED", "READY", "READY"]
    assert any_queue.flow(child)["state"] == "RUNNING"


def test_the_last_jobs_end_their_flow(any_queue: Any) -> None:
    jobs = [add(1), add(2), add(3)]
    any_queue.add(Flow([*jobs]))
    for each in jobs:
        any_queue.put(each, JobState.DOWNLOADED)
    _write(any_queue, DONE, FAILED, DONE)
    assert sorted(_states(any_queue)) == ["COMPLETED", "COMPLETED", "FAILED"]
    assert any_queue.flow(jobs[0])["state"] == "FAILED"


@pytest.mark.parametrize("theft", [{"lock_id": "somebody"}, {"state": "PAUSED"}])
def test_a_lost_job_holds_up_no_other(any_queue: Any, theft: dict[str, Any]) -> None:
    # Given three jobs that are completed together, of which one was lost meanwhile
    jobs = [add(1), add(2), add(3)]
    any_queue.add(Flow([*jobs]))
    for each in jobs:
        any_queue.put(each, JobState.DOWNLOADED)
    with claim(any_queue.db, COMPLETE, "host:1:aaaa", limit=3) as claims:
        any_queue.db.jobs.update_one({"uuid": jobs[1].uuid}, {"$set": theft})

        # When they are written
        written: list[Any] = []
        for part in parts(any_queue.db, [(each, DONE) for each in claims]):
            written += commit_together(any_queue.db, COMPLETE, part, any_queue.policy)

    # Then the other two are COMPLETED, and nothing is written for that one
    assert [type(news) for news in written].count(LeaseLost) == 1
    assert _states(any_queue).count("COMPLETED") == 2


def test_an_outcome_that_cannot_be_written_holds_up_no_other(any_queue: Any) -> None:
    # Given an outcome that does not fit into a document
    jobs = [add(1), add(2)]
    any_queue.add(Flow([*jobs]))
    for each in jobs:
        any_queue.put(each, JobState.DOWNLOADED)
    with claim(any_queue.db, COMPLETE, "host:1:aaaa", limit=2) as claims:
        large = Fail("x" * 17_000_000)
        written = commit_together(
            any_queue.db, COMPLETE, list(zip(claims, [large, Fail("y")], strict=True)), any_queue.policy
        )

    # Then it alone is refused
    assert isinstance(written[0], Exception)
    assert written[1] == ()
    assert sorted(_states(any_queue)) == ["DOWNLOADED", "REMOTE_ERROR"]


def test_outcomes_are_grouped_by_what_one_write_can_hold(queue: Any) -> None:
    # Given jobs of two flows, one of which returned more jobs
    first, second = [add(1), add(2), add(3)], [add(4)]
    for flow in (first, second):
        queue.add(Flow([*flow]))
        for each in flow:
            queue.put(each, JobState.DOWNLOADED)
    stopping = Completion(JobState.COMPLETED, stop_children=True)
    with claim(queue.db, COMPLETE, "host:1:aaaa", limit=4) as claims:
        outcomes: list[Outcome] = [DONE, DONE, stopping, DONE]
        groups = parts(queue.db, list(zip(claims, outcomes, strict=True)))

        # Then one part for each flow, and one for what changes more than its children
        assert sorted(len(group) for group in groups) == [1, 1, 2]
        assert len(parts(queue.db, [(each, Advance(JobState.COMPLETED)) for each in claims])) == 1


def test_a_completion_writes_nothing_that_grows_with_the_flow(queue: Any) -> None:
    # Given a flow whose time of the last change is an hour old: with an index on it, its change writes all of the flow
    jobs = [add(n) for n in range(4)]
    queue.add(Flow([*jobs]))
    long_ago = queue.flow(jobs[0])["updated_on"] - timedelta(hours=1)
    queue.db.flows.update_one({}, {"$set": {"updated_on": long_ago}})

    # When its jobs are completed, then the first changes the time, and those that follow at once do not
    queue.complete(jobs[0])
    first = queue.flow(jobs[0])["updated_on"]
    assert first > long_ago
    queue.complete(jobs[1])
    assert queue.flow(jobs[0])["updated_on"] == first
    indexed = {key.partition(".")[0] for index in queue.db.flows.list_indexes() for key in index["key"]}
    assert COMPLETING in queue.flow(jobs[0])
    assert COMPLETING not in indexed

    # And a flow that another process has locked is not completed
    queue.db.flows.update_one({}, {"$set": {"lock_id": "another"}})
    written = queue.complete(jobs[2])
    assert (written, queue.db.jobs.count_documents({"state": "COMPLETED"})) == ((), 2)
