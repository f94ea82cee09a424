"""Flows left incomplete, by jfr-mp without transactions or by jobflow-remote, are repaired."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from jobflow import Flow

from jfr_mp.database import completion as completions
from jfr_mp.database.connection import MOST_AT_ONCE
from jfr_mp.database.reconcile import Reconciler
from jfr_mp.states import JobState
from tests.support.jobs import add, replace_with

S = JobState


def _reconcile(queue: Any, **options: Any) -> list[str]:
    """Repair all flows and return what was wrong."""
    reconciler = Reconciler(queue.db, "host:9:ffff", **options)
    problems = []
    for uuid in reconciler.flows(ended_too=True):
        suspected = reconciler.suspects(uuid)
        found = reconciler.examine(uuid)
        assert suspected or not found
        problems += [finding.problem for finding in found]
    return problems


def test_a_flow_whose_numbers_agree_is_not_read(any_queue: Any) -> None:
    # Given a flow of independent jobs, one of which has ended
    jobs = [add(1), add(2), add(3)]
    any_queue.add(Flow([*jobs]))
    any_queue.put(jobs[0], S.COMPLETED)
    any_queue.db.flows.update_one({}, {"$set": {"state": "RUNNING"}})
    (flow,) = any_queue.db.flows.find()
    reconciler = Reconciler(any_queue.db, "host:9:ffff")
    # Then there is no reason to read it, unless it says something else
    assert not reconciler.suspects(flow["uuid"])
    changes: list[dict[str, Any]] = [{"state": "READY"}, {"ids": flow["ids"][:2]}, {"ids": None}]
    for change in changes:
        any_queue.db.flows.update_one({}, {"$set": change})
        assert reconciler.suspects(flow["uuid"]), change
        any_queue.db.flows.replace_one({}, flow)
    # and none to read one that is gone
    assert not reconciler.suspects("nowhere")


def test_children_left_waiting(any_queue: Any) -> None:
    # Given a parent that a completion has ended without telling its children, as jobflow-remote's may die
    parent = add(1)
    child, grandchild = add(parent.output), add(2)
    grandchild = add(child.output)
    any_queue.add(Flow([parent, child, grandchild]))
    any_queue.put(parent, S.COMPLETED)

    # When it is reconciled
    [waiting, state] = _reconcile(any_queue)

    # Then the child can run, and the flow is what its jobs make it
    assert waiting.endswith("are WAITING although their parents are done")
    assert "out of date" in state
    assert [any_queue.job(job)["state"] for job in (child, grandchild)] == ["READY", "WAITING"]
    assert (any_queue.flow(parent)["state"], any_queue.flow(parent)["lock_id"]) == ("RUNNING", None)
    assert _reconcile(any_queue) == []


def test_a_dry_run_changes_nothing(any_queue: Any) -> None:
    parent = add(1)
    child = add(parent.output)
    any_queue.add(Flow([parent, child]))
    any_queue.put(parent, S.COMPLETED)
    assert len(_reconcile(any_queue, dry_run=True)) == len(_reconcile(any_queue, dry_run=True)) == 2
    assert any_queue.job(child)["state"] == "WAITING"


def test_a_flow_that_somebody_works_on_is_left_alone(any_queue: Any) -> None:
    parent = add(1)
    child = add(parent.output)
    any_queue.add(Flow([parent, child]))
    any_queue.put(parent, S.COMPLETED)
    any_queue.db.flows.update_one({}, {"$set": {"lock_id": "of the peer"}})
    assert _reconcile(any_queue) == ["it looks incomplete"]
    assert any_queue.job(child)["state"] == "WAITING"
    assert any_queue.flow(parent)["lock_id"] == "of the peer"


def test_what_is_over_at_the_second_look_is_no_finding(any_queue: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a completion between two of its writes at the first look
    parent = add(1)
    child = add(parent.output)
    any_queue.add(Flow([parent, child]))
    any_queue.put(parent, S.COMPLETED)
    reconciler = Reconciler(any_queue.db, "host:9:ffff")
    first_look = reconciler._diagnose  # noqa: SLF001 - between two looks there is no other place to act

    def look(flow: dict[str, Any]) -> Any:
        found = first_look(flow)
        any_queue.put(child, S.READY)
        any_queue.db.flows.update_one({}, {"$set": {"state": "RUNNING"}})
        return found

    # When it goes on before the second
    monkeypatch.setattr(reconciler, "_diagnose", look)
    (uuid,) = reconciler.flows()

    # Then nothing was wrong
    assert reconciler.examine(uuid) == []
    assert any_queue.flow(parent)["lock_id"] is None


def test_jobs_that_the_flow_does_not_list(any_queue: Any, run_job: Any) -> None:
    # Given a flow whose new jobs are there, and whose document was not updated
    job = replace_with([1, 2])
    any_queue.add(job)
    any_queue.complete(job, run_job(job))
    complete = any_queue.flow(job)
    (first,) = [entry for entry in complete["ids"] if entry[1:] == [job.uuid, 1]]
    any_queue.db.flows.update_one(
        {}, {"$set": {"jobs": [job.uuid], "ids": [first], "parents": {job.uuid: {"1": None}}}}
    )

    # When it is reconciled
    [problem] = _reconcile(any_queue)

    # Then it lists them again
    assert problem.startswith("it does not list its jobs")
    repaired = any_queue.flow(job)
    assert sorted(repaired["jobs"]) == sorted(complete["jobs"])
    assert sorted(repaired["ids"]) == sorted(complete["ids"])
    assert repaired["parents"].keys() == complete["parents"].keys()


def test_a_flow_without_jobs_is_deleted_when_its_submission_is_long_ago(any_queue: Any) -> None:
    # Given two flows whose jobs were not inserted, one of which may be on its way
    old, new = add(1), add(2)
    any_queue.add(old)
    any_queue.add(new)
    any_queue.db.jobs.delete_many({})
    hour_ago = any_queue.db.server_time() - timedelta(hours=1)
    any_queue.db.flows.update_one({"jobs": old.uuid}, {"$set": {"updated_on": hour_ago}})

    # When it is reconciled, then one is gone
    assert _reconcile(any_queue) == ["none of its jobs exists: its submission was interrupted"]
    assert [flow["jobs"] for flow in any_queue.db.flows.find()] == [[new.uuid]]


def test_lost_jobs_are_said_and_nothing_is_guessed(any_queue: Any) -> None:
    first, second = add(1), add(2)
    _, lost = any_queue.add(Flow([first, second]))
    any_queue.db.jobs.delete_one({"uuid": second.uuid})
    assert _reconcile(any_queue) == [f"its jobs {lost} do not exist: its submission was interrupted"]
    assert any_queue.db.jobs.count_documents({}) == 1


def test_jobs_of_a_large_flow_that_is_being_submitted_are_not_missed(any_queue: Any) -> None:
    # Given a large flow, the last of whose jobs is not there
    db_ids = any_queue.add(Flow([add(number) for number in range(MOST_AT_ONCE + 1)]))
    any_queue.db.jobs.delete_one({"db_id": db_ids[-1]})
    # Then it is expected for a while, and missed after that
    assert _reconcile(any_queue) == []
    hour_ago = any_queue.db.server_time() - timedelta(hours=1)
    any_queue.db.flows.update_one({}, {"$set": {"created_on": hour_ago}})
    assert _reconcile(any_queue) == [f"its jobs {db_ids[-1]} do not exist: its submission was interrupted"]


@pytest.mark.parametrize("last_write", ["append", "ready_children", "update_flow_state", "_write_jobs"])
def test_a_completion_that_died_is_repeated_after_the_repair(
    mongod_standalone: Any, open_queue: Any, run_job: Any, monkeypatch: pytest.MonkeyPatch, last_write: str
) -> None:
    # Given a completion, without transactions, that died after one of its writes, and a repair at that moment
    queue = open_queue(mongod_standalone)
    job = replace_with([1, 2])
    child = add(job.output)
    queue.add(Flow([job, child]))
    completion = run_job(job)
    with monkeypatch.context() as dying:
        write = getattr(completions, last_write)

        def write_and_die(*args: Any, **kwargs: Any) -> None:
            write(*args, **kwargs)
            raise ConnectionResetError("dead")

        dying.setattr(completions, last_write, write_and_die)
        with pytest.raises(ConnectionResetError):
            queue.complete(job, completion)
    _reconcile(queue)

    # When it is completed anew, unless that was done
    if last_write != "_write_jobs":
        queue.complete(job, completion)

    # Then everything is there once, and nothing is left to repair
    states = sorted(document["state"] for document in queue.db.jobs.find())
    assert states == ["COMPLETED", "READY", "READY", "WAITING", "WAITING", "WAITING"]
    assert len(queue.flow(job)["ids"]) == 6
    assert _reconcile(queue) == []
