"""`jfr-mp project check` on a real scheduler."""

from __future__ import annotations

from pathlib import Path

from jfr_mp.config import Project
from jfr_mp.diagnosis.report import Check, Verdict
from jfr_mp.diagnosis.worker_checks import check_worker
from jfr_mp.hosts import HostPool
from tests.support.slurm import Slurm


def scheduler_check(directory: Path) -> Check:
    worker = {"type": "local", "scheduler_type": "slurm", "work_dir": str(directory), "execution_cmd": "true {}"}
    project = Project.model_validate(
        {"name": "main", "base_dir": str(directory / "base"), "queue": {}, "workers": {"w": worker}}
    )
    found = check_worker(project, "w", HostPool(project.workers))
    return next(check for check in found if check.what == "worker w: scheduler")


def test_slurm_is_asked(tmp_path: Path, slurm: Slurm) -> None:
    # When a Slurm that runs is checked, then it answers, although there is no job
    check = scheduler_check(tmp_path)
    assert check.verdict is Verdict.OK, check.detail
    assert "slurm answers; jobs are submitted by /" in check.detail

    # When it has ended, then its own words say why
    slurm.stop_controller()
    try:
        check = scheduler_check(tmp_path)
    finally:
        slurm.start_controller()
    assert check.verdict is Verdict.FAILED
    assert "gave no answer" in check.detail
