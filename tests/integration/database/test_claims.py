"""Claims: who gets which job, and what an outcome writes."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from jobflow import Flow
from pymongo.errors import DocumentTooLarge, PyMongoError

from jfr_mp.database import commits
from jfr_mp.database.claims import claim, release
from jfr_mp.database.commits import commit, commit_together
from jfr_mp.database.completion import complete
from jfr_mp.database.faults import is_too_large
from jfr_mp.database.filters import JobFilter
from jfr_mp.errors import LeaseLost
from jfr_mp.identity import owner_of_lock
from jfr_mp.model import utcnow
from jfr_mp.outcomes import Advance, Blame, Completion, Fail, Retry
from jfr_mp.states import JobState
from jfr_mp.step_table import CHECKOUT, COMPLETE, POLL, SUBMIT, UPLOAD
from tests.support.jobs import add, chain

CHECKED_OUT = Advance(JobState.CHECKED_OUT)


def _claimed(queue: Any, step: Any = CHECKOUT, jobs: JobFilter | None = None) -> str | None:
    """Claim a job, leave it as it is and return its db_id."""
    with claim(queue.db, step, "host:2:bbbb", jobs) as claims:
        return claims[0].job.db_id if claims else None


def test_the_more_urgent_job_goes_first_and_then_the_older(queue: Any) -> None:
    # Given jobs of two priorities
    for priority in (0, 5, 5):
        queue.add(add(1), priority=priority)

    # When they are checked out one after the other
    order = []
    for _ in range(3):
        with queue.claimed(CHECKOUT) as claim:
            order.append(claim.job.db_id)
            commit(queue.db, claim, CHECKOUT, CHECKED_OUT, queue.policy)

    # Then by priority and age
    assert order == ["2", "3", "1"]


def test_a_retry_is_due_by_the_clock_of_the_server(queue: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a step that fails while the clock of this machine is an hour ahead
    queue.add(add(1))
    with monkeypatch.context() as wrong:
        wrong.setattr(commits, "utcnow", lambda: utcnow() + timedelta(hours=1))
        with queue.claimed(CHECKOUT) as claim:
            commit(queue.db, claim, CHECKOUT, Retry("why", delay=0), queue.policy)
    # When the clock is right again, then the job is due
    assert _claimed(queue) == "1"
    # And an hour behind, a job that was put off by minutes is not
    with queue.claimed(CHECKOUT) as claim:
        commit(queue.db, claim, CHECKOUT, Retry("why", delay=60), queue.policy)
    assert _claimed(queue) is None
    assert abs(queue.db.now() - queue.db.server_time()) < timedelta(seconds=1)


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        ({}, True),
        ({"lock_id": "of the peer"}, False),
        ({"remote.retry_time_limit": utcnow() + timedelta(hours=1)}, False),
        ({"remote.retry_time_limit": utcnow() - timedelta(hours=1)}, True),
        ({"state": "PAUSED"}, False),
        ({"worker": "away"}, False),
    ],
)
def test_only_a_free_and_due_job_is_claimed(queue: Any, fields: dict[str, Any], found: bool) -> None:
    queue.add(add(1))
    queue.db.jobs.update_one({}, {"$set": fields})
    assert (_claimed(queue, jobs=JobFilter(other_workers=["away"])) is not None) is found


def test_more_conditions_narrow_the_claim(queue: Any) -> None:
    # Given a submitted and a running job
    jobs = add(1), add(2)
    queue.add(Flow(list(jobs)))
    queue.put(jobs[0], JobState.SUBMITTED)
    queue.put(jobs[1], JobState.RUNNING)

    # Then a condition on a field that the claim uses itself is met as well
    assert _claimed(queue, POLL, JobFilter(states=[JobState.RUNNING])) == queue.job(jobs[1])["db_id"]
    assert _claimed(queue, POLL, JobFilter(further={"state": "READY"})) is None


def test_a_lock_names_its_owner_and_ends_with_the_context(queue: Any) -> None:
    queue.add(add(1))
    with queue.claimed(CHECKOUT, owner="host:7:cafe") as claim:
        assert owner_of_lock(queue.db.jobs.find_one()["lock_id"]) == "host:7:cafe"
        assert claim.job.lock_id == claim.lock_id
    assert queue.db.jobs.find_one()["lock_id"] is None


@pytest.mark.parametrize(("step", "state", "inputs"), [(UPLOAD, "CHECKED_OUT", True), (SUBMIT, "UPLOADED", False)])
def test_only_the_upload_fetches_the_inputs(queue: Any, step: Any, state: str, inputs: bool) -> None:
    job = add(1)
    queue.add(job)
    queue.put(job, JobState(state))
    with queue.claimed(step) as claim:
        assert ("function_args" in claim.job.job) is inputs
        assert claim.job.hosts


@pytest.mark.parametrize("limit", [1, 3])
def test_two_claimers_never_get_the_same_job(queue: Any, limit: int) -> None:
    # Given many jobs
    db_ids = queue.add(Flow([add(number) for number in range(40)]))

    # When several threads check them out at the same time
    def work(number: int) -> list[str]:
        mine: list[str] = []
        while queue.db.jobs.find_one({"state": "READY", "lock_id": None}):
            with claim(queue.db, CHECKOUT, f"host:{number}:aaaa", limit=limit) as claims:
                mine += [each.job.db_id for each in claims]
                commit_together(queue.db, CHECKOUT, [(each, CHECKED_OUT) for each in claims], queue.policy)
        return mine

    with ThreadPoolExecutor(6) as pool:
        taken = [db_id for mine in pool.map(work, range(6)) for db_id in mine]

    # Then each was taken once
    assert sorted(taken) == sorted(db_ids)


def test_several_jobs_are_claimed_in_order(queue: Any) -> None:
    # Given jobs of two priorities
    for priority in (0, 5, 0, 5):
        queue.add(add(1), priority=priority)

    # When three are claimed at once
    with claim(queue.db, CHECKOUT, "host:1:aaaa", limit=3) as claims:
        order = [each.job.db_id for each in claims]
        locked = queue.db.jobs.count_documents({"lock_id": {"$ne": None}})

    # Then they are the next three, and free again when they are not committed
    assert (order, locked) == (["2", "4", "1"], 3)
    assert queue.db.jobs.count_documents({"lock_id": {"$ne": None}}) == 0


@pytest.mark.parametrize("theft", [{"lock_id": "somebody"}, {"state": "PAUSED"}])
def test_of_several_claims_each_is_fenced_on_its_own(queue: Any, theft: dict[str, Any]) -> None:
    # Given three claims, of which one was lost
    queue.add(Flow([add(number) for number in range(3)]))
    with claim(queue.db, CHECKOUT, "host:1:aaaa", limit=3) as claims:
        queue.db.jobs.update_one({"db_id": "2"}, {"$set": theft})

        # When all are committed together
        written = commit_together(queue.db, CHECKOUT, [(each, CHECKED_OUT) for each in claims], queue.policy)

    # Then the others are written, that one is not, and no lock of this process stays
    assert [result if isinstance(result, tuple) else type(result) for result in written] == [
        (JobState.CHECKED_OUT,),
        LeaseLost,
        (JobState.CHECKED_OUT,),
    ]
    states = [job["state"] for job in queue.db.jobs.find().sort("db_id", 1)]
    assert states == ["CHECKED_OUT", theft.get("state", "READY"), "CHECKED_OUT"]
    assert queue.db.jobs.count_documents({"lock_id": {"$regex": "^jfr-mp/"}}) == 0


def test_a_damaged_document_is_set_aside(queue: Any) -> None:
    # Given a job whose document no step can work with, and a good one
    queue.add(Flow([add(1), add(2)]))
    queue.db.jobs.update_one({"db_id": "1"}, {"$set": {"remote": "gone"}})

    # When jobs are claimed, then the good one comes, and the other says what is wrong
    assert _claimed(queue) == "2"
    document = queue.db.jobs.find_one({"db_id": "1"})
    assert (document["state"], document["previous_state"], document["lock_id"]) == ("REMOTE_ERROR", "READY", None)
    assert "remote" in document["remote"]["error"]


def test_hosts_that_a_user_added_are_not_taken_for_the_flow(queue: Any) -> None:
    # Given a flow whose jobs name further hosts
    flow = chain(2)
    flow.add_hosts_uuids(["00000000-0000-0000-0000-000000000000"])
    queue.add(flow)

    # When its jobs run, then the flow that lists them follows
    queue.finish(flow.jobs[0], CHECKOUT, CHECKED_OUT)
    assert queue.flow(flow.jobs[0])["state"] == "RUNNING"
    assert queue.complete(flow.jobs[0]) == (JobState.READY,)
    assert queue.complete(flow.jobs[1]) == ()
    assert queue.flow(flow.jobs[0])["state"] == "COMPLETED"


def test_an_advance_writes_its_fields_and_clears_old_trouble(queue: Any) -> None:
    # Given a job that had trouble
    job = add(1)
    queue.add(job)
    queue.put(job, JobState.UPLOADED, **{"remote.step_attempts": 2, "remote.error": "old"})

    # When it is submitted
    news = queue.finish(job, SUBMIT, Advance(JobState.SUBMITTED, {"remote.process_id": "42"}, next_step_delay=60))

    # Then it is in the new state, unlocked and clean, and not due for a minute
    document = queue.job(job)
    assert news == (JobState.SUBMITTED,)
    assert (document["state"], document["lock_id"], document["lock_time"]) == ("SUBMITTED", None, None)
    assert (document["remote"]["process_id"], document["remote"]["step_attempts"]) == ("42", 0)
    assert document["remote"]["error"] is None
    assert document["remote"]["retry_time_limit"] > utcnow().replace(tzinfo=None) + timedelta(seconds=50)


def test_a_checkout_sets_the_flow_running(queue: Any) -> None:
    flow = chain(2)
    queue.add(flow)
    queue.finish(flow.jobs[0], CHECKOUT, CHECKED_OUT)
    assert queue.flow(flow.jobs[0])["state"] == "RUNNING"


def test_an_advance_to_a_state_of_another_step_is_a_bug(queue: Any) -> None:
    job = add(1)
    queue.add(job)
    with pytest.raises(ValueError, match="does not lead to COMPLETED"):
        queue.finish(job, CHECKOUT, Advance(JobState.COMPLETED))
    assert queue.job(job)["lock_id"] is None


def test_a_retry_spends_an_attempt_until_none_is_left(queue: Any) -> None:
    # Given a project that allows two attempts
    job = add(1)
    queue.add(job)
    queue.put(job, JobState.UPLOADED)

    # When the step fails three times, then the job waits longer, and then is in REMOTE_ERROR
    for attempts in (1, 2):
        assert queue.finish(job, SUBMIT, Retry("no answer", detail="the whole story")) == ()
        remote = queue.job(job)["remote"]
        waits = (remote["retry_time_limit"] - utcnow().replace(tzinfo=None)).total_seconds()
        assert remote["step_attempts"] == attempts
        assert waits == pytest.approx(10 * attempts, abs=5)
        queue.put(job, JobState.UPLOADED, **{"remote.retry_time_limit": None})
    queue.finish(job, SUBMIT, Retry("no answer", detail="the whole story"))
    document = queue.job(job)
    assert (document["state"], document["previous_state"]) == ("REMOTE_ERROR", "UPLOADED")
    assert document["remote"]["error"] == "no answer\nthe whole story"
    assert document["lock_id"] is None


def test_trouble_that_is_not_the_jobs_spends_no_attempt(queue: Any) -> None:
    job = add(1)
    queue.add(job)
    queue.put(job, JobState.UPLOADED, **{"remote.step_attempts": 2})
    queue.finish(job, SUBMIT, Retry("host away", delay=1, blame=Blame.CIRCUMSTANCES))
    document = queue.job(job)
    assert (document["state"], document["remote"]["step_attempts"]) == ("UPLOADED", 2)
    assert document["remote"]["error"] == "host away"


def test_a_failed_step_is_final(queue: Any) -> None:
    job = add(1)
    queue.add(job)
    queue.put(job, JobState.UPLOADED)
    queue.finish(job, SUBMIT, Fail("no such partition"))
    document = queue.job(job)
    assert (document["state"], document["previous_state"]) == ("REMOTE_ERROR", "UPLOADED")
    assert document["remote"]["error"] == "no such partition"
    assert queue.flow(job)["state"] == "READY"


@pytest.mark.parametrize("outcome", [CHECKED_OUT, Retry("why"), Fail("why")])
@pytest.mark.parametrize("theft", [{"lock_id": "somebody"}, {"state": "PAUSED"}])
def test_a_lost_lease_writes_nothing(queue: Any, outcome: Any, theft: dict[str, Any]) -> None:
    # Given a claim whose job was taken away or changed
    job = add(1)
    queue.add(job)
    with queue.claimed(CHECKOUT) as claim:
        queue.db.jobs.update_one({}, {"$set": theft})
        before = queue.job(job)

        # When its holder commits
        with pytest.raises(LeaseLost):
            commit(queue.db, claim, CHECKOUT, outcome, queue.policy)

    # Then nothing is written, and a lock of ours does not stay
    after = queue.job(job)
    ours = before["lock_id"] == claim.lock_id
    assert after == before | ({"lock_id": None, "lock_time": None} if ours else {})


@pytest.mark.parametrize("theft", [{"lock_id": "somebody"}, {"state": "PAUSED"}])
def test_a_lost_lease_completes_nothing(any_queue: Any, theft: dict[str, Any]) -> None:
    # Given a claimed job with a child
    flow = chain(2)
    any_queue.add(flow)
    any_queue.put(flow.jobs[0], JobState.DOWNLOADED)
    with any_queue.claimed(COMPLETE) as claim:
        any_queue.db.jobs.update_one({"uuid": flow.jobs[0].uuid}, {"$set": theft})

        # When it is completed after it was taken away
        with pytest.raises(LeaseLost):
            commit(any_queue.db, claim, COMPLETE, Completion(JobState.COMPLETED), any_queue.policy)

    # Then the child still waits and the flow is free
    assert any_queue.job(flow.jobs[1])["state"] == "WAITING"
    assert any_queue.flow(flow.jobs[0])["lock_id"] is None


def test_a_release_changes_nothing_but_the_lock(queue: Any) -> None:
    job = add(1)
    queue.add(job)
    before = queue.job(job)
    with queue.claimed(CHECKOUT) as claim:
        release(queue.db, claim)
        assert not claim.held
    assert queue.job(job) == before


def test_a_flow_locked_by_the_peer_costs_a_completion_no_attempt(any_queue: Any) -> None:
    # Given a flow that somebody else holds
    flow = chain(2)
    any_queue.add(flow)
    any_queue.db.flows.update_one({}, {"$set": {"lock_id": "of the peer", "lock_time": utcnow()}})

    # When its job is completed
    assert any_queue.complete(flow.jobs[0]) == ()

    # Then it is retried soon, the reason is on the job, and the peer still holds the flow
    document = any_queue.job(flow.jobs[0])
    assert (document["state"], document["lock_id"]) == ("DOWNLOADED", None)
    assert document["remote"]["step_attempts"] == 0
    assert "locked by of the peer" in document["remote"]["error"]
    assert document["remote"]["retry_time_limit"] <= utcnow().replace(tzinfo=None) + timedelta(seconds=2)
    assert any_queue.flow(flow.jobs[0])["lock_id"] == "of the peer"


def test_a_job_over_the_limit_is_recognised(any_queue: Any) -> None:
    # Given a job that wants to store too much
    job = add(1)
    any_queue.add(job)
    any_queue.put(job, JobState.DOWNLOADED)

    # When it is completed
    with pytest.raises((DocumentTooLarge, PyMongoError)) as caught, any_queue.claimed(COMPLETE) as claim:
        complete(any_queue.db, claim, Completion(JobState.COMPLETED, stored_data={"x": "x" * 17_000_000}))

    # Then the fault says so, and nothing is locked
    assert is_too_large(caught.value)
    assert (any_queue.job(job)["state"], any_queue.job(job)["lock_id"]) == ("DOWNLOADED", None)
    assert any_queue.flow(job)["lock_id"] is None
