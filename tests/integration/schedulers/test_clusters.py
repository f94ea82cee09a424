"""Jobs from submission to their end on a real Slurm and a real Grid Engine, and on their bad days."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jobflow import Flow

from jfr_mp import Runner, submit_flow
from jfr_mp.errors import HostUnreachable
from tests.support import jobs
from tests.support.processes import ROOT
from tests.support.projects import ProjectFactory, TestProject
from tests.support.sge import GridEngine
from tests.support.slurm import Slurm
from tests.support.waiting import wait_until

TOKEN = "0a1b2c3d"


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slurm]:
    server = Slurm(tmp_path_factory.mktemp("slurm"))
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="module")
def sge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GridEngine]:
    server = GridEngine(tmp_path_factory.mktemp("sge"))
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture
def project(fresh_project: ProjectFactory, slurm: Slurm, monkeypatch: pytest.MonkeyPatch) -> TestProject:
    """A project whose worker is the Slurm cluster."""
    monkeypatch.setenv("SLURM_CONF", slurm.env["SLURM_CONF"])
    return fresh_project(worker={"scheduler_type": "slurm", "pre_run": f"export PYTHONPATH={ROOT}"})


@pytest.fixture
def runner(project: TestProject) -> Iterator[Runner]:
    runner = Runner()
    yield runner
    runner.cleanup()


def document(project: TestProject, db_id: str) -> dict[str, Any]:
    found = project.db.jobs.find_one({"db_id": db_id})
    assert found is not None
    return found


def submitted(project: TestProject, runner: Runner, db_id: str) -> dict[str, Any]:
    runner.checkout()
    runner.advance_state(["CHECKED_OUT"])
    runner.advance_state(["UPLOADED"])
    return document(project, db_id)


def test_flows_on_slurm(project: TestProject, runner: Runner, tmp_path: Path) -> None:
    ledger = tmp_path / "ledger"
    db_ids = submit_flow(Flow([jobs.chain(3, ledger), jobs.replace_with([1, 2])]))
    runner.run_all_jobs(max_seconds=90)
    assert project.db.jobs.distinct("state") == ["COMPLETED"]
    assert ledger.read_text().split() == ["link-0", "link-1", "link-2"]
    assert runner.job_controller.get_job_output(db_id=db_ids[2]) == 2


def test_a_flow_on_grid_engine(
    fresh_project: ProjectFactory, sge: GridEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = tmp_path / "ledger"
    monkeypatch.setenv("PATH", str(sge.bin), prepend=os.pathsep)
    project = fresh_project(worker={"scheduler_type": "sge", "pre_run": f"export PYTHONPATH={ROOT}"})
    runner = Runner()
    submit_flow(jobs.chain(2, ledger))
    runner.run_all_jobs(max_seconds=90)
    runner.cleanup()
    assert project.db.jobs.distinct("state") == ["COMPLETED"]
    assert ledger.read_text().split() == ["link-0", "link-1"]


def test_what_slurm_refuses_says_why(project: TestProject, runner: Runner) -> None:
    (db_id,) = submit_flow(jobs.add(1), resources={"partition": "nowhere"})
    job = submitted(project, runner, db_id)
    assert job["state"] == "REMOTE_ERROR"
    assert "sbatch: invalid partition specified: nowhere" in job["remote"]["error"]
    assert len(job["remote"]["error"].splitlines()) == 1


def test_a_job_that_is_cancelled_behind_our_back_ends(project: TestProject, runner: Runner, slurm: Slurm) -> None:
    (db_id,) = submit_flow(jobs.add(1), resources={"partition": "down"})
    slurm.run("scancel", submitted(project, runner, db_id)["remote"]["process_id"])

    def state() -> str:
        runner.check_run_status()
        return str(document(project, db_id)["state"])

    wait_until(lambda: state() == "DOWNLOADED", 30, "the news of its end")
    runner.advance_state(["DOWNLOADED"])
    assert state() == "FAILED"


LIES = {
    "nothing": "exit 0",
    "only the heading": "/usr/bin/squeue --jobs=999999,999999 | head -n 1",
    "half": '/usr/bin/squeue "$@" | head -n 1',
    "an unknown state": "/usr/bin/squeue \"$@\" | sed 's/<><> R<><>/<><> ODD<><>/'",
    "rubbish": "echo what?",
    "failure": "echo 'slurm_load_jobs error: Unable to contact slurm controller' >&2; exit 1",
}


@pytest.mark.parametrize("lie", LIES)
def test_a_squeue_that_lies_ends_no_job(
    project: TestProject, runner: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lie: str
) -> None:
    # Given a job that runs until it is told to end
    gate = tmp_path / "gate"
    (db_id,) = submit_flow(jobs.waits_for(str(gate), 60))
    submitted(project, runner, db_id)

    def state() -> str:
        runner.check_run_status()
        return str(document(project, db_id)["state"])

    wait_until(lambda: state() == "RUNNING", 30, "the start of the job")
    # When squeue says something else
    command = tmp_path / "bin" / "squeue"
    command.parent.mkdir()
    command.write_text(f"#!/bin/sh\n{LIES[lie]}\n")
    command.chmod(0o755)
    with monkeypatch.context() as patch:
        patch.setenv("PATH", str(command.parent), prepend=os.pathsep)
        # Then the job runs on, and has spent no attempt
        assert [state() for _ in range(4)] == ["RUNNING"] * 4
        assert document(project, db_id)["remote"]["step_attempts"] == 0
    # And completes when squeue is itself again
    gate.touch()
    runner.run_all_jobs(max_seconds=60)
    assert state() == "COMPLETED"


def test_a_controller_that_is_away_loses_nothing_and_doubles_nothing(
    project: TestProject, runner: Runner, slurm: Slurm, tmp_path: Path
) -> None:
    # Given a job that runs, and another that is ready for submission, when the controller goes away
    gate = tmp_path / "gate"
    (db_id,) = submit_flow(jobs.waits_for(str(gate), 60))
    submitted(project, runner, db_id)
    started = project.work_dir / ".jfr_mp" / "journal"
    wait_until(started.exists, 30, "the start of the job")
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    manager = runner.get_queue_manager("local")
    script = f"#!/bin/bash\n#SBATCH --job-name=other-{TOKEN}\necho run >>{run_dir}/ledger\n"
    # Orderly, because jobs of the last seconds are in the memory of a controller alone.
    slurm.stop_controller()
    try:
        # Then the first one has spent no attempt for the silence
        runner.check_run_status()
        assert document(project, db_id)["remote"]["step_attempts"] == 0
        # And both the submission and the question for what became of it say whose fault it is
        for message in ("Unable to contact slurm controller", "left no id, and it waits"):
            with pytest.raises(HostUnreachable, match=message):
                manager.submit(script, run_dir, TOKEN)
    finally:
        slurm.start_controller()
    # And when it is back, both jobs end, and ran once
    gate.touch()
    process_id = manager.submit(script, run_dir, TOKEN)
    runner.run_all_jobs(max_seconds=60)
    assert document(project, db_id)["state"] == "COMPLETED"
    wait_until(lambda: manager.statuses([process_id])[process_id].done, 60, "the end of the other job")
    assert (run_dir / "ledger").read_text() == "run\n"
