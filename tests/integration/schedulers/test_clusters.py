"""Jobs from submission to their end on a real Slurm and a real Grid Engine."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from jobflow import Flow

from jfr_mp import Runner, submit_flow
from tests.support import jobs
from tests.support.processes import ROOT
from tests.support.projects import ProjectFactory, TestProject
from tests.support.sge import GridEngine


def test_flows_on_slurm(project: TestProject, runner: Runner, tmp_path: Path) -> None:
    ledger = tmp_path / "ledger"
    db_ids = submit_flow(Flow([jobs.chain(3, ledger), jobs.replace_with([1, 2])]))
    runner.run_all_jobs(max_seconds=90)
    assert project.db.jobs.distinct("state") == ["COMPLETED"]
    assert ledger.read_text().split() == ["link-0", "link-1", "link-2"]
    assert runner.job_controller.get_job_output(db_id=db_ids[2]) == 2


def test_a_flow_on_grid_engine(
    fresh_project: ProjectFactory, grid_engine: GridEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = tmp_path / "ledger"
    monkeypatch.setenv("PATH", str(grid_engine.bin), prepend=os.pathsep)
    project = fresh_project(worker={"scheduler_type": "sge", "pre_run": f"export PYTHONPATH={ROOT}"})
    runner = Runner()
    submit_flow(jobs.chain(2, ledger))
    runner.run_all_jobs(max_seconds=90)
    runner.cleanup()
    assert project.db.jobs.distinct("state") == ["COMPLETED"]
    assert ledger.read_text().split() == ["link-0", "link-1"]
