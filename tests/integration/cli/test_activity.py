"""`jfr-mp report`, and the same report in Python: core hours, times and causes of failures."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from jfr_mp import JobController, submit_flow
from jfr_mp.api.activity import ActivityReport
from jfr_mp.database.activity import cause_of, cores_of
from tests.integration.cli.conftest import Command
from tests.support.jobs import add
from tests.support.projects import ProjectFactory, TestProject

HOSTILE = "Traceback\nValueError: <b>5</b> atoms in /data/b/2 $x^$"


@pytest.fixture
def project(fresh_project: ProjectFactory) -> TestProject:
    """A project with jobs that ran on four cores for an hour, failed in the same way, run, and ended long ago."""
    project = fresh_project()
    now = datetime.now(UTC)

    def ago(hours: float) -> datetime:
        return now - timedelta(hours=hours)

    rows: list[dict[str, Any]] = [
        {
            "state": "COMPLETED",
            "created_on": ago(3),
            "start_time": ago(2.5),
            "end_time": ago(1.5),
            "updated_on": ago(1),
        },
        {
            "state": "FAILED",
            "error": "Traceback\nValueError: <b>3</b> atoms in /data/a/1 $x^$",
            "updated_on": ago(2),
        },
        {"state": "REMOTE_ERROR", "remote.error": HOSTILE, "updated_on": ago(1)},
        {"state": "RUNNING", "start_time": ago(0.5), "updated_on": ago(0.5)},
        {"state": "COMPLETED", "start_time": ago(900), "end_time": ago(800), "updated_on": ago(800)},
    ]
    rows[0]["resources"] = {"nodes": 2, "processes_per_node": 2}
    for row in rows:
        (db_id,) = submit_flow(add(1))
        project.db.jobs.update_one({"db_id": db_id}, {"$set": {"created_on": ago(1000), **row}})
    return project


def test_what_jobs_have_done(project: TestProject, types: Command, ok: Callable[..., str]) -> None:
    found = types("report", "--since", "1d", "--json").json
    worker = found["workers"]["local"]
    assert (worker["completed"], worker["failed"]) == (1, 2)
    assert worker["core_hours"] == pytest.approx(4.5, abs=0.01)
    assert worker["seconds"]["running"] == pytest.approx(3600)
    assert worker["seconds"]["waiting"] == pytest.approx(1800)
    # Of 24 hours, cores were busy during 4.5 core hours, most of them before the last hour.
    assert sum(worker["busy"]) * 24 / len(worker["busy"]) == pytest.approx(4.5, abs=0.01)
    assert max(worker["busy"]) == pytest.approx(4, abs=0.1)
    assert [(each["number"], each["db_ids"]) for each in found["failures"]] == [(2, ["2", "3"])]
    assert found["failures"][0]["first_line"] == "ValueError: <b>3</b> atoms in /data/a/1 $x^$"

    # And the tables say the same
    said = ok("report")
    assert "4.50" in said
    assert "ValueError: <b>3</b> atoms" in said


@pytest.mark.parametrize("state", ["RUNNING", "BATCH_RUNNING"])
def test_a_job_that_has_been_running_since_before_the_time_counts(
    fresh_project: ProjectFactory, types: Command, state: str
) -> None:
    # Given a job that has been running for ten hours on two cores, and one that began to wait at that time
    project, then = fresh_project(), datetime.now(UTC) - timedelta(hours=10)
    job, other = submit_flow(add(1)) + submit_flow(add(1))
    times = {"created_on": then, "updated_on": then}
    running = {"state": state, "start_time": then, "resources": {"processes": 2}, **times}
    project.db.jobs.update_one({"db_id": job}, {"$set": running})
    project.db.jobs.update_one({"db_id": other}, {"$set": times})

    # When the report covers the last hour, then two cores were busy for all of it
    worker = types("report", "--since", "1h", "--json").json["workers"]["local"]
    assert (worker["completed"], worker["failed"], worker["ended"]) == (0, 0, {})
    assert worker["core_hours"] == pytest.approx(2, abs=0.01)
    assert worker["busy"] == pytest.approx([2] * len(worker["busy"]), abs=0.01)


def test_a_report_is_a_page_of_its_own(project: TestProject, ok: Callable[..., str], tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    assert f"Wrote {page}" in " ".join(ok("report", "-o", str(page)).split())
    text = page.read_text()
    assert text.count("<svg") == 1
    assert "Core hours" in text
    assert "&lt;b&gt;3&lt;/b&gt; atoms" in text
    assert "<b>3" not in text
    assert not any(source in text for source in ("<script", "src=", 'href="http'))


def test_a_report_in_a_notebook(project: TestProject) -> None:
    controller = JobController.from_project_name()
    report = ActivityReport.generate_report(controller)
    controller.close()
    assert "&lt;b&gt;3&lt;/b&gt;" in report._repr_html_()
    assert "<b>3" not in report._repr_html_()
    titles = {axes.get_title() for axes in report.figure().axes}
    assert titles == {"Busy cores [UTC]", "Core hours", "Mean time of jobs that ended [s]", "Failures by cause"}


def test_a_project_without_jobs(fresh_project: ProjectFactory, ok: Callable[..., str], tmp_path: Path) -> None:
    fresh_project()
    assert "Core hours" in ok("report")
    ok("report", "-o", str(tmp_path / "report.svg"))
    assert (tmp_path / "report.svg").exists()


@pytest.mark.parametrize(
    ("resources", "cores"),
    [
        (None, 1),
        ({}, 1),
        ({"processes": 8}, 8),
        ({"nodes": 2, "processes_per_node": 16, "threads_per_process": 2}, 64),
        ({"processes": "many", "nodes": -1}, 1),
    ],
)
def test_cores(resources: Any, cores: int) -> None:
    assert cores_of(resources) == cores


def test_causes() -> None:
    assert cause_of("Traceback\n  x\nValueError: 3 atoms in /a/b")[0] == cause_of("ValueError: 41 atoms in /c")[0]
    assert cause_of("")[1] == "no error was recorded"
