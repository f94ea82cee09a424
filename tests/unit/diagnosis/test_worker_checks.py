from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jfr_mp.config import Project
from jfr_mp.diagnosis.report import Check, Verdict
from jfr_mp.diagnosis.worker_checks import check_worker
from jfr_mp.hosts import HostPool
from tests.support.pbs import Pbs
from tests.support.processes import free_port


def checks(directory: Path, **fields: Any) -> dict[str, Check]:
    """Check a worker; the keys are what comes after its name."""
    worker = {"type": "local", "scheduler_type": "shell", "work_dir": str(directory / "work"), **fields}
    project = Project.model_validate(
        {"name": "main", "base_dir": str(directory / "base"), "queue": {}, "workers": {"w": worker}}
    )
    hosts = HostPool(project.workers, project.base_dir)
    try:
        return {check.what.removeprefix("worker w: "): check for check in check_worker(project, "w", hosts)}
    finally:
        hosts.close()


def left_in(directory: Path) -> Iterator[Path]:
    return (path for path in directory.rglob("*") if not path.is_dir())


def test_a_batch_worker_that_works(tmp_path: Path) -> None:
    batch = {"jobs_handle_dir": str(tmp_path / "pool"), "work_dir": str(tmp_path / "allocations")}
    found = checks(tmp_path, batch=batch)

    assert {what: check.verdict for what, check in found.items()} == dict.fromkeys(
        ("work_dir", "batch.jobs_handle_dir", "batch.work_dir", "scheduler", "command"), Verdict.OK
    )
    # The command ran, and told what jobs will find
    assert all(word in found["command"].detail for word in ("Python 3.", "jobflow ", "jfr-mp "))
    # Then nothing is left in any of its directories
    assert list(left_in(tmp_path)) == []


def test_another_python_than_that_of_the_runner_is_named(tmp_path: Path) -> None:
    # Given an environment of its own, with the same packages, that pre_run activates
    home = tmp_path / "other"
    (home / "bin").mkdir(parents=True)
    (home / "bin" / "python").symlink_to(Path(sys.executable).resolve())
    (home / "pyvenv.cfg").write_text((Path(sys.prefix) / "pyvenv.cfg").read_text())
    (home / "lib").symlink_to(Path(sys.prefix) / "lib")
    program = home / "bin" / "jfr-mp"
    program.write_text(f"#!{home}/bin/python\nfrom jfr_mp.cli import main\nmain()\n")
    program.chmod(0o755)
    # When the worker is checked
    found = checks(tmp_path, pre_run=f"export PATH={home}/bin:$PATH")
    # Then both interpreters are named
    assert found["command"].verdict is Verdict.OK, found["command"].detail
    assert found["Python"].verdict is Verdict.WARNING
    assert str(home / "bin") in found["Python"].detail
    assert sys.executable in found["Python"].detail


@pytest.mark.parametrize(
    ("fields", "detail"),
    [
        ({"execution_cmd": "no-such-command {}"}, "exit code 127"),
        ({"execution_cmd": "echo broken Python >&2; : {}"}, "broken Python"),
        ({"execution_cmd": "true {}"}, "it printed nothing"),
        ({"pre_run": "exit 3"}, "exit code 3"),
        ({"execution_cmd": "echo '{{}}' >jfremote_out.json; echo out of memory >&2; : {}"}, "out of memory"),
    ],
)
def test_a_worker_command_that_runs_no_job(tmp_path: Path, fields: dict[str, Any], detail: str) -> None:
    command = checks(tmp_path, **fields)["command"]

    assert command.verdict is Verdict.FAILED
    assert detail in command.detail
    assert "execution_cmd" in command.cure


def test_directories_that_cannot_be_used(tmp_path: Path) -> None:
    # Given directories below a file
    (tmp_path / "file").touch()
    below = str(tmp_path / "file" / "below")

    found = checks(tmp_path, work_dir=below, batch={"jobs_handle_dir": below, "work_dir": str(tmp_path)})

    for what in ("work_dir", "batch.jobs_handle_dir"):
        assert found[what].verdict is Verdict.FAILED
        assert f"cannot make the directory {below}/" in found[what].detail
        assert what in found[what].cure
    assert found["batch.work_dir"].verdict is Verdict.OK
    assert (found["command"].verdict, found["command"].detail) == (Verdict.SKIPPED, "this test needs the work_dir")


def test_a_scheduler_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a machine on whose PATH there is nothing, and then one without Grid Engine
    fields = {"scheduler_type": "sge", "execution_cmd": "true {}"}
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    nobody = checks(tmp_path, **fields)["scheduler"]
    (tmp_path / "bin" / "id").symlink_to("/usr/bin/id")
    missing = checks(tmp_path, **fields)["scheduler"]

    assert (nobody.verdict, missing.verdict) == (Verdict.FAILED, Verdict.FAILED)
    assert "id -un" in nobody.detail
    assert "qstat" in missing.detail
    assert "on the PATH" in missing.cure


def test_a_scheduler_without_jobs_and_one_that_is_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a scheduler that has no jobs
    pbs = Pbs(tmp_path / "pbs")
    pbs.start()
    monkeypatch.setenv("PATH", f"{pbs.bin}:{os.environ['PATH']}")
    fields = {"scheduler_type": "pbs", "execution_cmd": "true {}"}
    scheduler = checks(tmp_path, **fields)["scheduler"]
    assert (scheduler.verdict, scheduler.detail) == (
        Verdict.OK,
        f"pbs answers; jobs are submitted by {pbs.bin}/qsub",
    )

    # When its server is down
    (pbs.bin / "qstat").write_text("#!/bin/sh\necho cannot connect to server >&2; exit 111\n")

    # Then its own words say so
    scheduler = checks(tmp_path, **fields)["scheduler"]
    assert scheduler.verdict is Verdict.FAILED
    assert "cannot connect to server" in scheduler.detail


def test_a_host_that_refuses_ends_the_checks_of_its_worker(tmp_path: Path) -> None:
    found = checks(tmp_path, type="remote", host="127.0.0.1", port=free_port())

    assert [check.verdict for check in found.values()] == [Verdict.FAILED, Verdict.SKIPPED]
    assert "127.0.0.1" in found["connection"].detail
    assert "ssh" in found["connection"].cure
