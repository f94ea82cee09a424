"""The Runner in this process: real database, real worker processes."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from jobflow import Flow

from jfr_mp import Runner, submit_flow
from jfr_mp.database.locks import MongoLock
from jfr_mp.errors import ConfigError
from jfr_mp.states import JobState
from tests.support import jobs
from tests.support.projects import ProjectFactory, TestProject

S = JobState


@pytest.fixture
def project(fresh_project: ProjectFactory) -> TestProject:
    return fresh_project()


@pytest.fixture
def runner(project: TestProject) -> Iterator[Runner]:
    runner = Runner()
    yield runner
    runner.cleanup()


def state_of(project: TestProject, db_id: str) -> str:
    document = project.db.jobs.find_one({"db_id": db_id}, {"state": 1})
    assert document is not None
    return str(document["state"])


def document_of(project: TestProject, db_id: str) -> dict[str, Any]:
    document = project.db.jobs.find_one({"db_id": db_id})
    assert document is not None
    return document


def test_all_jobs_run_once_in_order(project: TestProject, runner: Runner, tmp_path: Path) -> None:
    # Given a chain whose links sign a ledger
    ledger = tmp_path / "ledger"
    db_ids = submit_flow(jobs.chain(3, ledger))

    # When the runner has run all there is
    runner.run_all_jobs(max_seconds=60)

    # Then each link ran once, after the one before
    assert ledger.read_text().split() == ["link-0", "link-1", "link-2"]
    assert [state_of(project, db_id) for db_id in db_ids] == ["COMPLETED"] * 3
    assert runner.job_controller.get_job_output(db_id=db_ids[-1]) == 2
    flow = project.db.flows.find_one()
    assert flow is not None
    assert flow["state"] == "COMPLETED"
    assert not list(project.db.jobs.find({"lock_id": {"$ne": None}}))


def test_one_job_leaves_the_others_alone(project: TestProject, runner: Runner) -> None:
    first, second = submit_flow(Flow([jobs.add(1), jobs.add(2)]))
    assert runner.run_one_job(db_id=second, max_seconds=60)
    assert [state_of(project, first), state_of(project, second)] == ["READY", "COMPLETED"]


def test_one_job_where_none_is_ready(runner: Runner) -> None:
    assert not runner.run_one_job()


@pytest.mark.parametrize("raises", [True, False])
def test_one_job_that_takes_too_long(runner: Runner, raises: bool) -> None:
    (db_id,) = submit_flow(jobs.sleeps(5))
    if raises:
        with pytest.raises(RuntimeError, match="did not end within 1 s"):
            runner.run_one_job(db_id=db_id, max_seconds=1)
    else:
        assert not runner.run_one_job(db_id=db_id, max_seconds=1, raise_at_timeout=False)


def test_the_steps_one_by_one(project: TestProject, runner: Runner) -> None:
    (db_id,) = submit_flow(jobs.add(1))
    seen = [state_of(project, db_id)]

    # When each method of the reference is called in its turn
    runner.checkout()
    seen.append(state_of(project, db_id))
    for state in ("CHECKED_OUT", "UPLOADED"):
        runner.advance_state([state])
        seen.append(state_of(project, db_id))
    while seen[-1] in ("SUBMITTED", "RUNNING"):
        runner.check_run_status()
        seen.append(state_of(project, db_id))
    runner.advance_state(["TERMINATED", "DOWNLOADED"])
    seen.append(state_of(project, db_id))

    # Then the job has taken every state of its life
    assert list(dict.fromkeys(state for state in seen if state != "RUNNING")) == [
        *("READY", "CHECKED_OUT", "UPLOADED", "SUBMITTED", "DOWNLOADED", "COMPLETED")
    ]


def test_a_step_on_a_lock_of_the_caller(project: TestProject, runner: Runner) -> None:
    (db_id,) = submit_flow(jobs.add(1))
    runner.checkout()
    with runner.job_controller.lock_job(filter={"db_id": db_id}) as lock:
        runner.upload(lock)
    document = document_of(project, db_id)
    assert document["state"] == "UPLOADED"
    assert document["lock_id"] is None
    assert Path(document["run_dir"], "jfremote_in.json").exists()


def test_no_more_jobs_than_a_worker_may_hold(fresh_project: ProjectFactory) -> None:
    # Given a worker that may hold two jobs, and four that are uploaded
    project = fresh_project(worker={"max_jobs": 2})
    runner = Runner()
    submit_flow(Flow([jobs.sleeps(1) for _ in range(4)]))
    runner.checkout()
    runner.advance_state(["CHECKED_OUT"])

    # When they are submitted
    runner.advance_state(["UPLOADED"])

    # Then two wait, and run when there is room
    assert project.db.jobs.count_documents({"state": "UPLOADED"}) == 2
    runner.run_all_jobs(max_seconds=60)
    assert project.db.jobs.count_documents({"state": "COMPLETED"}) == 4
    runner.cleanup()


def test_ticks_end_the_run(project: TestProject, runner: Runner) -> None:
    (db_id,) = submit_flow(jobs.add(1))
    runner.run(checkout=True, transfer=False, queue=False, complete=False, ticks=1)
    assert state_of(project, db_id) == "CHECKED_OUT"
    assert not list(project.db.jfr_mp_processes.find())


def test_reset_step_attempts_after_a_failure_that_passed(project: TestProject, runner: Runner) -> None:
    # Given a job whose work_dir cannot be made
    (db_id,) = submit_flow(jobs.add(1))
    runner.checkout()
    work_dir = project.work_dir
    work_dir.rmdir()
    work_dir.write_text("in the way")

    # When the upload fails
    runner.advance_state(["CHECKED_OUT"])

    # Then the job says why, and the user can repair it
    document = document_of(project, db_id)
    assert document["state"] == "REMOTE_ERROR"
    assert document["previous_state"] == "CHECKED_OUT"
    assert str(work_dir) in document["remote"]["error"]


def test_unknown_worker(runner: Runner) -> None:
    with pytest.raises(ConfigError, match=r"no worker .cluster.*local"):
        runner.get_worker("cluster")


@pytest.fixture
def two_workers(fresh_project: ProjectFactory, tmp_path: Path) -> TestProject:
    other = {"type": "local", "scheduler_type": "shell", "work_dir": str(tmp_path / "other")}
    return fresh_project(
        workers={"other": {**other, "timeout_execute": 60}, "impatient": {**other, "timeout_execute": 9}}
    )


@pytest.mark.usefixtures("two_workers")
def test_workers_of_one_host_share_it() -> None:
    runner = Runner()
    assert runner.get_host("local") is runner.get_host("other")
    assert runner.get_queue_manager("local") is runner.get_queue_manager("other")
    assert runner.get_queue_manager("local") is not runner.get_queue_manager("impatient")
    assert runner.get_queue_manager("local").host is runner.get_queue_manager("impatient").host
    runner.cleanup()


def submitted(*workers: str) -> tuple[Runner, list[str]]:
    """Submit a job that takes its time to each worker; return their ids in the order of the workers."""
    runner = Runner()
    db_ids = [submit_flow(jobs.sleeps(30), worker=worker)[0] for worker in workers]
    for _ in workers:
        runner.checkout()
        runner.advance_state(["CHECKED_OUT"])
        runner.advance_state(["UPLOADED"])
    return runner, db_ids


def cancel(project: TestProject, runner: Runner, db_ids: Sequence[str]) -> None:
    for db_id in db_ids:
        runner.get_queue_manager("local").cancel(document_of(project, db_id)["remote"]["process_id"])
    runner.cleanup()


def test_one_question_is_about_all_workers_of_a_scheduler(
    two_workers: TestProject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given jobs of two workers that share a scheduler, whose command keeps a record
    record, command = tmp_path / "record", tmp_path / "bin" / "ps"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\necho asked >> {record}\nexec {shutil.which("ps")} "$@"\n')
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{command.parent}:{os.environ['PATH']}")
    runner, db_ids = submitted("local", "other")
    record.unlink(missing_ok=True)
    # When the schedulers are asked
    runner.check_run_status()
    # Then one question was enough to learn of both
    assert record.read_text().split() == ["asked"]
    assert [state_of(two_workers, db_id) for db_id in db_ids] == ["RUNNING"] * 2
    cancel(two_workers, runner, db_ids)


def test_a_worker_that_left_the_project_hides_no_other(
    two_workers: TestProject, capsys: pytest.CaptureFixture[str]
) -> None:
    # Given submitted jobs, and a project whose file has lost the worker of the first
    runner, db_ids = submitted("impatient", "local")
    runner.cleanup()
    workers = {name: worker for name, worker in two_workers.document["workers"].items() if name != "impatient"}
    two_workers.rewrite(workers=workers)
    runner = Runner()
    # When the schedulers are asked
    runner.check_run_status()
    # Then the other job moves, and the log says which scheduler cannot be asked
    assert [state_of(two_workers, db_id) for db_id in db_ids] == ["SUBMITTED", "RUNNING"]
    assert f"the scheduler cannot be asked for job {db_ids[0]}" in capsys.readouterr().err
    cancel(two_workers, runner, db_ids)


class Recording(Runner):
    """A runner whose own methods do the steps; one of them keeps a job of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[str] = []

    def advance_state(self, states: list[str], filter: dict[str, Any] | None = None) -> None:
        self.calls.append(f"advance {states[0]}")
        super().advance_state(states, filter)

    def upload(self, lock: MongoLock) -> None:
        assert lock.locked_document is not None
        self.calls.append("upload")
        if lock.locked_document["job"]["name"] == "link":
            lock.update_on_release = {"$set": {"state": "PAUSED"}}
            return
        super().upload(lock)

    def submit(self, lock: MongoLock) -> None:
        self.calls.append("submit")
        if self.calls.count("submit") == 1:
            raise ValueError("not yet")
        super().submit(lock)

    def complete_job(self, lock: MongoLock) -> None:
        self.calls.append("complete")
        super().complete_job(lock)


@pytest.mark.parametrize("way", ["run_all_jobs", "run_one_job", "run"])
def test_the_methods_of_a_subclass_are_what_the_loop_calls(fresh_project: ProjectFactory, way: str) -> None:
    # Given a runner with methods of its own, whose first submission fails
    project = fresh_project(runner={"delta_retry": [0.1]})
    runner = Recording()
    (db_id,) = submit_flow(jobs.add(1))
    (kept,) = submit_flow(jobs.link())

    # When it runs
    if way == "run_one_job":
        assert runner.run_one_job(db_id=db_id, max_seconds=60)
    elif way == "run_all_jobs":
        runner.run_all_jobs(max_seconds=60)
    else:
        runner.run(ticks=15)
    runner.cleanup()

    # Then the job went through its methods, one turn at a time, and the failure cost an attempt
    assert state_of(project, db_id) == "COMPLETED"
    assert [call for call in runner.calls if call in ("submit", "complete")] == ["submit", "submit", "complete"]
    assert "upload" in runner.calls
    assert {"advance CHECKED_OUT", "advance UPLOADED", "advance DOWNLOADED"} <= set(runner.calls)

    # And what a method left in its lock was written
    if way != "run_one_job":
        assert state_of(project, kept) == "PAUSED"
        assert document_of(project, kept)["lock_id"] is None
