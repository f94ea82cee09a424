from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from jfr_mp.cli.checks import Check, Verdict, check_file, check_sheet, check_worker, within
from jfr_mp.config import LocalWorker, Project, ProjectData, RemoteWorker
from jfr_mp.errors import HostError


def local(work_dir: Path, **fields: Any) -> LocalWorker:
    return LocalWorker(scheduler_type="shell", work_dir=work_dir, **fields)


def verdicts(worker: Any) -> list[tuple[str, Verdict]]:
    return [(check.what, check.verdict) for check in check_worker("w", worker)]


def test_a_worker_that_works(tmp_path: Path) -> None:
    assert verdicts(local(tmp_path / "work")) == [
        ("worker w: work_dir", Verdict.OK),
        ("worker w: command", Verdict.OK),
    ]

    # Then nothing is left in its work_dir
    assert list((tmp_path / "work").iterdir()) == []


@pytest.mark.parametrize(
    ("fields", "detail"),
    [
        ({"execution_cmd": "no-such-command {}"}, "exit code 127"),
        ({"execution_cmd": "echo broken Python >&2; : {}"}, "broken Python"),
        ({"execution_cmd": "true {}"}, "it said nothing"),
        ({"pre_run": "exit 3"}, "exit code 3"),
    ],
)
def test_a_worker_command_that_does_not_start(tmp_path: Path, fields: dict[str, Any], detail: str) -> None:
    _, command = check_worker("w", local(tmp_path, **fields))

    assert command.verdict is Verdict.FAILED
    assert detail in command.detail
    assert command.cure


def test_a_work_dir_that_cannot_be_used(tmp_path: Path) -> None:
    # Given a work_dir below a file
    (tmp_path / "file").touch()

    work_dir, _ = check_worker("w", local(tmp_path / "file" / "work"))

    assert work_dir.verdict is Verdict.FAILED
    assert str(tmp_path / "file") in work_dir.detail


def test_what_this_version_does_not_check_says_so(tmp_path: Path) -> None:
    remote = RemoteWorker(scheduler_type="slurm", work_dir=Path("/work"), host="cluster")
    slurm = LocalWorker(scheduler_type="slurm", work_dir=tmp_path)

    assert [check.verdict for check in check_worker("r", remote)] == [Verdict.SKIPPED]
    assert verdicts(slurm)[-1] == ("worker w: scheduler", Verdict.SKIPPED)


@pytest.mark.parametrize(("mode", "expected"), [(0o600, Verdict.OK), (0o644, Verdict.WARNING)])
def test_a_project_file_that_others_can_read_is_pointed_out(tmp_path: Path, mode: int, expected: Verdict) -> None:
    path = tmp_path / "main.yaml"
    path.touch()
    path.chmod(mode)
    project = Project(name="main", base_dir=str(tmp_path), queue={}, workers={"w": local(tmp_path)})

    assert check_file(ProjectData(path, project, "yaml")).verdict is expected


def test_a_store_that_hangs_does_not_hold_up_the_check() -> None:
    never = threading.Event()
    try:
        with pytest.raises(HostError, match=r"no answer within 0\.05 s"):
            within(0.05, never.wait)
    finally:
        never.set()


def test_an_error_of_a_store_is_its_own() -> None:
    def fail() -> None:
        raise TimeoutError("the store's own")

    with pytest.raises(TimeoutError, match="the store's own"):
        within(5, fail)


def test_the_report_is_one_line_a_check() -> None:
    sheet = check_sheet([Check("jobstore", Verdict.FAILED, "no answer", "start it")])

    assert [cell.text for cell in sheet.rows[0]] == ["jobstore", "failed", "no answer", "start it"]
