from __future__ import annotations

import threading
from pathlib import Path

import pytest

from jfr_mp.cli.projects.project import check_sheet
from jfr_mp.config import LocalWorker, Project, ProjectData
from jfr_mp.diagnosis.checks import check_file
from jfr_mp.diagnosis.report import Check, Verdict, attempt
from jfr_mp.errors import HostError, LoginNeeded


@pytest.mark.parametrize(("mode", "expected"), [(0o600, Verdict.OK), (0o644, Verdict.WARNING)])
def test_a_project_file_that_others_can_read_is_pointed_out(tmp_path: Path, mode: int, expected: Verdict) -> None:
    path = tmp_path / "main.yaml"
    path.touch()
    path.chmod(mode)
    worker = LocalWorker(scheduler_type="shell", work_dir=tmp_path)
    project = Project(name="main", base_dir=str(tmp_path), queue={}, workers={"w": worker})

    assert check_file(ProjectData(path, project, "yaml")).verdict is expected


def test_the_report_is_one_line_a_check() -> None:
    sheet = check_sheet([Check("jobstore", Verdict.FAILED, "no answer", "start it")])

    assert [cell.text for cell in sheet.rows[0]] == ["jobstore", "failed", "no answer -> start it"]


@pytest.mark.parametrize(
    ("error", "detail", "cure"),
    [
        (HostError("the disk is full"), "the disk is full", "the usual cure"),
        (LoginNeeded("who are you?"), "who are you?", "jfr-mp connect"),
        (ZeroDivisionError("by zero"), "ZeroDivisionError: by zero", "the usual cure"),
    ],
)
def test_a_failure_has_its_cause_and_its_cure(error: Exception, detail: str, cure: str) -> None:
    def body() -> str:
        raise error

    check = attempt("the disk", "the usual cure", body, seconds=5)

    assert (check.what, check.verdict, check.detail) == ("the disk", Verdict.FAILED, detail)
    assert cure in check.cure


def test_a_check_is_bounded() -> None:
    never = threading.Event()
    try:
        check = attempt("it", "a cure", lambda: str(never.wait()), seconds=0.05)
    finally:
        never.set()

    assert (check.verdict, check.detail) == (Verdict.FAILED, "no answer within 0.05 s")
