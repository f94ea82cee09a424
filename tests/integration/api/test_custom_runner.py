"""Runners of the user: loops over the methods of `JobController` and `Runner`."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jobflow import Flow

from jfr_mp import JobController, Runner, submit_flow
from jfr_mp.errors import ConfigError, FlowLockedError, LeaseLost, NotAllowed, NotFound
from jfr_mp.states import BatchState, JobState
from tests.support import jobs
from tests.support.projects import ProjectFactory, TestProject
from tests.support.waiting import wait_until

S = JobState


#: For a test that is to run with and without transactions.
BOTH_SERVERS = pytest.mark.parametrize("project", ["replica set", "standalone"], indirect=True)


@pytest.fixture
def project(request: pytest.FixtureRequest, fresh_project: ProjectFactory) -> TestProject:
    """A project, by default on a server with transactions."""
    if getattr(request, "param", "replica set") == "replica set":
        return fresh_project()
    return fresh_project(server=request.getfixturevalue("mongod_standalone"))


@pytest.fixture
def runner(project: TestProject) -> Iterator[Runner]:
    runner = Runner()
    yield runner
    runner.cleanup()


@pytest.fixture
def controller(runner: Runner) -> JobController:
    return runner.job_controller


def states(controller: JobController) -> list[str]:
    return [job.state.value for job in controller.get_jobs_info(sort=[("created_on", 1), ("db_id", 1)])]


@BOTH_SERVERS
def test_a_loop_completes_jobs(runner: Runner, controller: JobController, project: TestProject) -> None:
    # Given a job that is downloaded, one that replaces itself, and children of both
    first = jobs.add(1, 2)
    second = jobs.add(first.output, 3)
    submit_flow(Flow([first, second, jobs.replace_with([first.output, 5])]))
    assert runner.run_one_job(db_id="1", target_state=S.DOWNLOADED)
    assert states(controller) == ["DOWNLOADED", "WAITING", "WAITING"]

    # When a loop of the user takes every job through its steps, and completes it within the lock
    deadline = time.monotonic() + 60
    while controller.count_jobs(states=[S.READY, S.CHECKED_OUT, S.UPLOADED, S.SUBMITTED, S.RUNNING, S.DOWNLOADED]):
        assert time.monotonic() < deadline
        runner.checkout()
        runner.advance_state(["CHECKED_OUT", "UPLOADED"])
        runner.check_run_status()
        with controller.lock_job_for_update(
            query={"state": "DOWNLOADED"}, max_step_attempts=3, delta_retry=(30, 300)
        ) as lock:
            if document := lock.locked_document:
                store = runner.get_jobstore(controller.get_flow_info_by_job_uuid(document["uuid"])["uuid"])
                assert controller.complete_job(document, document["run_dir"], store)

    # Then all jobs, the new ones included, are complete and free, and so is the flow
    assert set(states(controller)) == {"COMPLETED"}
    assert len(states(controller)) > 3
    assert controller.get_job_output(db_id="2") == 6
    assert project.db.flows.find_one({})["state"] == "COMPLETED"
    assert controller.count_jobs(locked=True) == controller.count_flows(locked=True) == 0


@BOTH_SERVERS
def test_a_response_is_checked_in(runner: Runner, controller: JobController, project: TestProject) -> None:
    # Given two flows whose first jobs are locked together with their flows
    for _ in range(2):
        first = jobs.add(1)
        submit_flow([first, jobs.add(first.output)])
    response = {"stored_data": {"a": 1}, "replace": None, "stop_children": False, "stop_jobflow": False}

    # When one is checked in as a success, and the other as a failure
    for db_id, (answer, error) in {"1": (response, None), "3": (None, "no luck")}.items():
        with controller.lock_job_flow(db_id=db_id) as (job_lock, flow_lock):
            job, flow = job_lock.locked_document, flow_lock.locked_document
            assert job is not None
            assert flow is not None
            moved = controller.checkin_job(job, flow, answer, error=error, doc_update={"remote.queue_state": None})
            assert moved == (2 if answer else 1)

            # Then it stays locked until the caller releases it
            assert project.db.jobs.find_one({"db_id": db_id})["lock_id"] == job["lock_id"]
    assert states(controller) == ["COMPLETED", "READY", "FAILED", "WAITING"]
    assert controller.get_job_info(db_id="1").stored_data == {"a": 1}  # type: ignore[union-attr]
    assert controller.get_job_info(db_id="3").error == "no luck"  # type: ignore[union-attr]
    assert controller.count_jobs(locked=True) == controller.count_flows(locked=True) == 0


def test_what_is_not_the_callers_own_is_not_written(controller: JobController, project: TestProject) -> None:
    # Given a job that nobody has locked
    submit_flow(jobs.add(1))
    job, flow = project.db.jobs.find_one({}) or {}, project.db.flows.find_one({}) or {}
    with pytest.raises(NotAllowed, match="job 1 is not locked"):
        controller.checkin_job(job, flow, None, error="x")

    # When its lock was lost, then nothing is written
    with controller.lock_job(filter={"db_id": "1"}) as lock:
        assert lock.locked_document is not None
        project.db.jobs.update_one({}, {"$set": {"lock_id": "another"}})
        with pytest.raises(LeaseLost):
            controller.checkin_job(lock.locked_document, flow, None, error="x", doc_update={"stored_data": {"a": 1}})
        lock.forget()
    project.db.jobs.update_one({}, {"$set": {"lock_id": None}})
    assert project.db.jobs.find_one({}, {"lock_time": 0}) == {key: job[key] for key in job if key != "lock_time"}

    # And neither is anything while another process has the flow
    project.db.flows.update_one({}, {"$set": {"lock_id": "another"}})
    with controller.lock_job(filter={"db_id": "1"}) as lock, pytest.raises(FlowLockedError):
        controller.checkin_job(lock.locked_document or {}, flow, None, error="x")
    assert states(controller) == ["READY"]


def test_errors_in_an_update_are_retried(controller: JobController, project: TestProject) -> None:
    # Given a job, and a loop whose body fails
    submit_flow(jobs.add(1))
    options: dict[str, Any] = {"query": {"db_id": "1"}, "max_step_attempts": 2, "delta_retry": (0.0,)}
    for attempt in (1, 2):
        with controller.lock_job_for_update(**options):
            raise RuntimeError("out of luck")
        job = controller.get_job_info(db_id="1")
        assert job is not None
        assert (job.state, job.remote.step_attempts, job.lock_id) == (S.READY, attempt, None)
        assert "out of luck" in (job.remote.error or "")

    # When it succeeds, the attempts are forgotten, and its update is applied
    with controller.lock_job_for_update(**options, next_step_delay=50) as lock:
        lock.update_on_release = {"$set": {"priority": 7}}
    job = controller.get_job_info(db_id="1")
    assert job is not None
    assert (job.priority, job.remote.step_attempts, job.remote.error) == (7, 0, None)
    assert job.remote.retry_time_limit is not None

    # And it is not found before its delay is over; an error without a job is the caller's
    with controller.lock_job_for_update(**options) as lock:
        assert lock.locked_document is None
    with pytest.raises(KeyError), controller.lock_job_for_update(**options):
        raise KeyError("a bug of the script")

    # When the attempts are used up, then the job is set aside
    project.db.jobs.update_one({}, {"$set": {"remote.retry_time_limit": None, "remote.step_attempts": 2}})
    with controller.lock_job_for_update(**options):
        raise RuntimeError("out of luck")
    assert states(controller) == ["REMOTE_ERROR"]


def test_a_job_is_left_in_a_state(runner: Runner, controller: JobController) -> None:
    # When a job is to be brought to one state after the other, then it is left there, and the others are left alone
    submit_flow([jobs.add(1), jobs.add(2)])
    for target in (S.CHECKED_OUT, S.UPLOADED, S.SUBMITTED):
        assert runner.run_one_job(db_id="2", target_state=target, max_seconds=60)
        assert states(controller) == ["READY", target.value]

    # When the state has been passed already, then that is said
    assert runner.run_one_job(db_id="2", max_seconds=60)
    with pytest.raises(RuntimeError, match="job 2 is COMPLETED and never was UPLOADED"):
        runner.run_one_job(db_id="2", target_state=S.UPLOADED, max_seconds=60)


def test_the_record_of_the_runner(runner: Runner, controller: JobController, project: TestProject) -> None:
    # Given a daemon on record
    submit_flow(jobs.add(1))
    record = {"running_runner": {"$exists": True}}
    project.db.jf_auxiliary.update_one(record, {"$set": {"running_runner": {"last_pinged": None}}})

    # When the runner pings, then both places have it
    runner.ping_running_runner({"transfer": True})
    assert project.db.jf_auxiliary.find_one(record)["running_runner"]["last_pinged"] is not None
    (ping,) = controller.get_runner_pings()
    assert (ping["runner_id"], ping["run_options"], ping["daemon_id"]) == (runner.runner_id, {"transfer": True}, None)

    # And without a record only the pings have it
    controller.clean_running_runner()
    known, pings = controller.ping_running_runner({"mine": 1})
    assert (known, pings[-1]["mine"], len(pings)) == (False, 1, 2)


@pytest.mark.parametrize("project", ["standalone"], indirect=True)
def test_a_flow_is_touched_and_collections_compacted(controller: JobController, project: TestProject) -> None:
    submit_flow(jobs.add(1))
    before = project.db.flows.find_one({})
    controller.ping_flow_doc(before["uuid"])
    assert project.db.flows.find_one({})["updated_on"] > before["updated_on"]
    controller.compact()


def test_documents_of_batches(controller: JobController, project: TestProject) -> None:
    # When a batch is recorded, started, used and ended
    assert controller.add_batch_process("17", "b1", "local")["batch_state"] is BatchState.SUBMITTED
    running = controller.set_running_batch_process("b1")
    controller.set_running_batch_process("b1")
    controller.update_job_in_batch("uuid", 1, "b1", "5")
    ended = controller.set_finished_batch_process("b1")

    # Then its document says so
    assert (running["batch_state"], ended["batch_state"]) == (BatchState.RUNNING, BatchState.FINISHED)
    assert ended["start_time"] == running["start_time"] <= ended["end_time"]
    assert ended["jobs"] == [["5", "uuid", 1]]
    with pytest.raises(NotFound, match="there is no batch b2"):
        controller.set_finished_batch_process("b2")

    # And a list of jobs as early versions stored it is repaired
    project.db.batches.update_one({}, {"$set": {"jobs": {}}})
    assert controller.fix_batch_doc_jobs() == 1
    assert controller.fix_batch_doc_jobs() == 0
    assert controller.get_batches()[0].jobs == []


def test_a_loop_serves_a_batch_worker(fresh_project: ProjectFactory, tmp_path: Path) -> None:
    # Given jobs in the pool of a batch worker
    batch = {"jobs_handle_dir": str(tmp_path / "pool"), "work_dir": str(tmp_path / "batches"), "max_wait": 1}
    project = fresh_project(
        worker={"batch": batch, "max_jobs": 1},
        workers={"plain": {"type": "local", "scheduler_type": "shell", "work_dir": str(tmp_path)}},
    )
    submit_flow([jobs.add(1), jobs.add(2)], worker="local")
    runner = Runner(daemon_id="mine")
    runner.checkout()
    runner.advance_state(["CHECKED_OUT", "UPLOADED"])

    # When nothing is to be submitted, then nothing is
    runner.update_batch_jobs(submit=False)
    assert runner.batch_update_status(None, None, "local", None, []) == []
    assert project.db.batches.count_documents({}) == 0

    # When a loop of the user submits a batch and follows it
    manager, worker = runner.get_queue_manager("local"), runner.get_worker("local")
    runner.submit_batch_processes(manager, "local", worker, [])
    (document,) = project.db.batches.find()
    assert runner.batch_get_process_id([], document["batch_uid"], "local", worker) == document["process_id"]
    assert runner.batch_get_process_id([], document["batch_uid"], "plain", worker) is None
    assert os.getpgid(int(document["process_id"]))

    def done() -> bool:
        running = runner.batch_update_running_jobs(None, "local", worker)
        assert {uid for _, _, uid in running} <= {document["batch_uid"]}
        runner.batch_update_status(None, manager, "local", worker, running)
        runner.batch_update_run_finished_jobs(None, "local", worker)
        return runner.job_controller.count_jobs(states=S.DOWNLOADED) == 2

    wait_until(done, 60, "the jobs of the batch")

    # Then the jobs complete, and the runner waits for the batch if it is asked to
    runner.run_all_jobs(max_seconds=60, wait_for_batches=True)
    assert states(runner.job_controller) == ["COMPLETED", "COMPLETED"]
    (document,) = project.db.batches.find()
    assert document["batch_state"] == "FINISHED"
    assert sorted(job[0] for job in document["jobs"]) == ["1", "2"]
    with pytest.raises(ConfigError, match="'plain' is not a batch worker"):
        runner.submit_batch_processes(manager, "plain", worker, [])
    runner.cleanup()
