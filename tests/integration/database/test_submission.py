"""Flows enter the database in jobflow-remote's layout, and whole or not at all."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest
from jobflow import Flow, OnMissing
from qtoolkit.core.data_objects import QResources

from jfr_mp.config import ConfigManager, ExecutionConfig
from jfr_mp.database.connection import MOST_AT_ONCE, QueueDatabase
from jfr_mp.database.submission import add_flow
from jfr_mp.errors import NotInitialised, SubmissionError
from tests.support.jobs import add, chain, describe, returns_megabytes, total


def test_the_layout_is_that_of_jobflow_remote(queue: Any) -> None:
    # Given a job with a parent
    first, second = add(1, 2), add(3, 4)
    last = total([first.output, second.output])
    last.config.on_missing_references = OnMissing.NONE
    last.metadata = {"kind": "sum"}
    flow = Flow([Flow([first, second], name="inner"), last], name="outer")
    flow.metadata = {"key": "value"}

    # When the flow is submitted
    db_ids = queue.add(flow, resources={"nodes": 2}, exec_config="intel", priority=3, jobstore=None)

    # Then the documents have the fields that jobflow-remote 1.0.1 gave the same flow, with the same values
    document = queue.job(last)
    del document["_id"]
    job = document.pop("job")
    assert isinstance(document["created_on"], datetime)
    assert isinstance(document["updated_on"], datetime)
    assert sorted(document.pop("parents")) == sorted([first.uuid, second.uuid])
    assert document == {
        "uuid": last.uuid,
        "index": 1,
        "db_id": "3",
        "worker": "local",
        "state": "WAITING",
        "remote": {
            "step_attempts": 0,
            "queue_state": None,
            "process_id": None,
            "retry_time_limit": None,
            "error": None,
            "prerun_cleanup": False,
            "queue_out": None,
            "queue_err": None,
        },
        "previous_state": None,
        "error": None,
        "lock_id": None,
        "lock_time": None,
        "run_dir": None,
        "start_time": None,
        "end_time": None,
        "created_on": document["created_on"],
        "updated_on": document["updated_on"],
        "priority": 3,
        "exec_config": "intel",
        "resources": {"nodes": 2},
        "stored_data": None,
    }
    assert set(job) >= {
        "@module",
        "@class",
        "@version",
        "function",
        "function_args",
        "function_kwargs",
        "uuid",
        "index",
    }
    assert job["config"]["on_missing_references"] == "none"
    assert (job["name"], job["metadata"], job["hosts"]) == ("total", {"kind": "sum"}, [flow.uuid])
    stored = queue.flow(last)
    assert {key: stored[key] for key in stored if key not in ("_id", "created_on", "updated_on", "parents")} == {
        "uuid": flow.uuid,
        "jobs": [first.uuid, second.uuid, last.uuid],
        "state": "READY",
        "name": "outer",
        "lock_id": None,
        "lock_time": None,
        "metadata": {"key": "value"},
        "ids": [["1", first.uuid, 1], ["2", second.uuid, 1], ["3", last.uuid, 1]],
        "jobstore": None,
    }
    assert {uuid: list(parents) for uuid, parents in stored["parents"].items()} == {
        first.uuid: ["1"],
        second.uuid: ["1"],
        last.uuid: ["1"],
    }
    assert queue.job(first)["parents"] == []
    assert queue.job(first)["state"] == "READY"
    assert db_ids == ["1", "2", "3"]


def test_a_jobs_own_configuration_goes_first(queue: Any) -> None:
    # Given a job that says where and how it runs
    job = add(1, 2)
    job.config.manager_config = {
        "worker": "other",
        "priority": 9,
        "resources": QResources(processes=4),
        "exec_config": ExecutionConfig(modules=["gcc"]),
    }

    # When it is submitted with other options
    queue.add(job, worker="local", resources={"nodes": 1}, exec_config="intel", priority=1)

    # Then its own are stored, as jobflow-remote serializes them
    document = queue.job(job)
    assert (document["worker"], document["priority"]) == ("other", 9)
    assert document["resources"]["@class"] == "QResources"
    assert document["resources"]["processes"] == 4
    assert document["exec_config"] == {"modules": ["gcc"], "export": None, "pre_run": None, "post_run": None}


def test_db_ids_have_the_prefix_of_the_project(open_queue: Any, fresh_project: Any) -> None:
    # Given a project with a prefix
    project = fresh_project()
    project.document["queue"]["db_id_prefix"] = "x-"
    project.rewrite()
    queue = open_queue(project=project)

    # When two flows are submitted, then their jobs are numbered on
    assert queue.add(chain(2)) == ["x-1", "x-2"]
    assert queue.add(add(1)) == ["x-3"]


def test_the_same_flow_is_refused_and_nothing_is_inserted(any_queue: Any) -> None:
    # Given a submitted flow
    flow = chain(3)
    any_queue.add(flow)
    before = list(any_queue.db.jobs.find()), list(any_queue.db.flows.find())

    # When it is submitted again
    with pytest.raises(SubmissionError, match="already submitted"):
        any_queue.add(flow)

    # Then the database is as it was
    assert (list(any_queue.db.jobs.find()), list(any_queue.db.flows.find())) == before


def test_a_flow_with_a_job_that_exists_leaves_nothing_behind(any_queue: Any) -> None:
    # Given a job in the database under the uuid of the last job of another flow
    flow = chain(3)
    stranger = add(1)
    stranger.set_uuid(flow.jobs[-1].uuid)
    any_queue.add(stranger)

    # When that flow is submitted
    with pytest.raises(SubmissionError, match="already submitted"):
        any_queue.add(flow)

    # Then only the first job is there
    assert any_queue.db.jobs.count_documents({}) == 1
    assert any_queue.db.flows.count_documents({}) == 1


def test_a_job_over_the_limit_of_mongodb_is_refused(any_queue: Any) -> None:
    with pytest.raises(SubmissionError, match="16 MB"):
        any_queue.add(add("x" * 17_000_000))
    assert any_queue.db.jobs.count_documents({}) == 0
    assert any_queue.db.flows.count_documents({}) == 0


def test_a_flow_that_does_not_fit_into_the_cache_of_the_server(queue: Any) -> None:
    # Given a flow of few jobs with large inputs, too large for a transaction of this server
    jobs = [describe("x" * 200_000 + str(number)) for number in range(400)]
    # When it is submitted, then it is in the queue all the same
    queue.add(Flow([*jobs]))
    assert queue.db.jobs.count_documents({"state": "READY"}) == 400
    assert len(queue.flow(jobs[0])["ids"]) == 400


def test_the_jobs_of_a_large_flow_that_can_run_come_last(any_queue: Any) -> None:
    # Given more jobs than are inserted together
    first = [add(number) for number in range(MOST_AT_ONCE // 2)]
    last = [add(job.output) for job in first]
    # When they are submitted
    any_queue.add(Flow([*first, *last, add(0)]))
    # Then no job can run before all those are there that wait for it
    states = [job["state"] for job in any_queue.db.jobs.find({}, {"state": 1}).sort("_id", 1)]
    assert states == ["WAITING"] * len(last) + ["READY"] * (len(first) + 1)


def test_nothing_is_left_of_a_large_flow_that_cannot_be_submitted(any_queue: Any) -> None:
    # Given a job that was submitted, and a large flow that has it as well
    first, again = add(0), add(0)
    any_queue.add(first)
    again.set_uuid(first.uuid)
    # When the flow is submitted
    with pytest.raises(SubmissionError, match="was already submitted"):
        any_queue.add(Flow([*(add(number) for number in range(MOST_AT_ONCE)), again]))
    # Then only the job is there
    assert any_queue.db.jobs.distinct("uuid") == [first.uuid]
    assert any_queue.db.flows.count_documents({}) == 1


@pytest.mark.parametrize("uuid", ["../../x", "a\nb", "", "x" * 1000])
def test_odd_uuids_are_refused(queue: Any, uuid: str) -> None:
    odd = add(1)
    odd.set_uuid(uuid)
    with pytest.raises(SubmissionError, match="is not a uuid"):
        queue.add(odd)
    assert queue.db.jobs.count_documents({}) == 0


def test_resources_of_another_class_are_refused(queue: Any) -> None:
    odd = add(1)
    odd.update_config({"manager_config": {"resources": {"@module": "os", "@class": "system"}}})
    with pytest.raises(SubmissionError, match="resources of the class 'system' are not supported"):
        queue.add(odd)


def test_references_to_unknown_jobs_are_refused_unless_allowed(queue: Any) -> None:
    # Given jobs that refer to one outside of their flows
    outside = returns_megabytes(0)
    refused, job = add(outside.output), add(outside.output)

    # When they are submitted, then only with leave
    with pytest.raises(SubmissionError, match=outside.uuid):
        queue.add(refused)
    queue.add(job, allow_external_references=True)
    assert queue.job(job)["state"] == "READY"


def test_a_database_that_is_not_initialised_says_so(fresh_project: Any) -> None:
    project = fresh_project()
    db = QueueDatabase.connect(ConfigManager().get_project(project.name))
    try:
        with pytest.raises(NotInitialised, match="has not been initialised"):
            add_flow(db, add(1), worker="local")
    finally:
        db.close()
