"""`jfr-mp job report`, `flow report`, `backup` and `admin upgrade`."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from jfr_mp import submit_flow
from jfr_mp.cli.reports.report import zone_name
from jfr_mp.errors import ExitCode
from tests.integration.cli.conftest import Command
from tests.support.jobs import add, chain
from tests.support.projects import ProjectFactory, TestProject

Ok = Callable[..., str]


@pytest.fixture
def project(fresh_project: ProjectFactory) -> TestProject:
    """A project with six jobs: one of each of four states that a report names, one of them of last week, and others."""
    project = fresh_project()
    db_ids = [*submit_flow(chain(3)), *(submit_flow(add(1, 1))[0] for _ in range(3))]
    now = datetime.now(UTC)
    for db_id, state in zip(db_ids, ("COMPLETED", "FAILED", "REMOTE_ERROR", "RUNNING"), strict=False):
        changes = {"state": state, "updated_on": now, "start_time": now - timedelta(hours=1)}
        project.db.jobs.update_one({"db_id": db_id}, {"$set": changes})
    old = {"state": "COMPLETED", "updated_on": now - timedelta(days=10)}
    project.db.jobs.update_one({"db_id": db_ids[4]}, {"$set": old})
    project.db.flows.update_one({}, {"$set": {"state": "FAILED", "updated_on": now}})
    return project


def test_a_report_of_jobs_and_of_flows(project: TestProject, types: Command, ok: Ok) -> None:
    # When jobs are reported, then by state, by time, by worker, and the longest running ones
    said = ok("job", "report")
    assert "COMPLETED     2" in said
    assert "Longest running" in said
    assert "local   6" in said
    found = types("job", "report", "--json").json
    assert found["counts"] == {"READY": 1, "RUNNING": 1, "REMOTE_ERROR": 1, "COMPLETED": 2, "FAILED": 1}
    assert [sum(found["trends"][state]) for state in ("COMPLETED", "FAILED", "REMOTE_ERROR")] == [1, 1, 1]
    assert len(found["dates"]) == 7
    assert sum(types("job", "report", "weeks", "3", "--json").json["trends"]["COMPLETED"]) == 2

    # and flows by state and time
    found = types("flow", "report", "hours", "2", "--json").json
    assert found["counts"] == {"READY": 3, "FAILED": 1}
    assert found["trends"]["FAILED"] == [0, 1]
    assert "FAILED" in ok("flow", "report")


def test_a_report_as_a_page_and_as_a_picture(
    project: TestProject, types: Command, ok: Ok, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # When a page is asked for, then it has the plots and the tables, and needs no other file
    page = tmp_path / "report.html"
    assert str(page) in ok("job", "report", "-o", str(page))
    text = page.read_text()
    assert text.count("<svg") == 1
    assert "<td>REMOTE_ERROR</td>" in text
    assert "http" not in text.replace("http://www.w3.org", "").replace("http://purl.org", "").replace(
        "https://matplotlib.org", ""
    ).replace("http://creativecommons.org", "")

    # and a picture by the ending of its name
    picture = tmp_path / "report.png"
    ok("flow", "report", "months", "--output", str(picture))
    assert picture.read_bytes().startswith(b"\x89PNG")

    # And what cannot be is refused before anything is written
    assert types("job", "report", "fortnights").code == ExitCode.USAGE
    assert types("job", "report", "days", "0").code == ExitCode.USAGE
    assert types("job", "report", "-o", str(tmp_path / "report.docx")).code == ExitCode.CONFIG
    assert "no directory" in types("job", "report", "-o", str(tmp_path / "no" / "report.png")).err
    assert sorted(path.name for path in tmp_path.glob("report*")) == ["report.html", "report.png"]


@pytest.mark.parametrize(
    ("variable", "expected"),
    [("Europe/Paris", "Europe/Paris"), (":America/New_York", "America/New_York"), ("Etc/UTC", "UTC")],
)
def test_the_time_zone_of_a_report(variable: str, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", variable)
    assert zone_name() == expected


@pytest.mark.parametrize("target", ["queue.zip", "backups"])
def test_a_backup_is_restored_into_another_project(
    target: str, project: TestProject, fresh_project: ProjectFactory, types: Command, ok: Ok, tmp_path: Path
) -> None:
    # Given a backup
    path = tmp_path / target
    path.mkdir(exist_ok=True) if not path.suffix else None
    said = ok("backup", "create", str(path), "--project", project.name, "-p", "-m", "/usr/bin")
    assert "jobs: 6" in said

    # When it is restored into another project, then all documents are there
    other = fresh_project("other")
    assert types("backup", "restore", str(path), "--json").json["jobs"] == 6
    assert _documents(other) == _documents(project)
    assert "READY" in ok("job", "list")

    # And it does not overwrite anything, nor does what is no backup
    again = types("backup", "restore", str(path))
    assert (again.code, "empty" in again.err) == (ExitCode.ERROR, True)
    nothing = types("backup", "restore", str(tmp_path / "nowhere"))
    assert (nothing.code, "nowhere" in nothing.err) == (ExitCode.ERROR, True)
    assert _documents(other) == _documents(project)


def _documents(project: TestProject) -> list[dict[str, Any]]:
    return [*project.db.jobs.find(sort=[("_id", 1)]), *project.db.flows.find(sort=[("_id", 1)])]


def test_the_database_is_upgraded(project: TestProject, types: Command, ok: Ok) -> None:
    # Given a database that needs no upgrade
    assert "nothing to upgrade" in ok("admin", "upgrade")

    # When it is one of an earlier version, then the changes are listed, and made after a confirmation only
    record = {"jobflow_remote_version": {"$exists": True}}
    project.db.jf_auxiliary.update_one(record, {"$set": {"jobflow_remote_version": "0.1.6"}})
    project.db.jobs.update_one({"state": "READY"}, {"$set": {"state": "TERMINATED"}})
    listed = ok("admin", "upgrade", "--dry-run")
    assert "TERMINATED to RUN_FINISHED" in listed
    assert "--yes" in types("admin", "upgrade").err
    assert project.db.jobs.count_documents({"state": "TERMINATED"}) == 1

    # and not while its conditions are not met, or a runner works on it
    project.db.batches.insert_one({"batch_uid": "b", "batch_state": "RUNNING"})
    refused = types("admin", "upgrade", "-y")
    assert (refused.code, "no batch is submitted or running" in refused.err) == (ExitCode.ERROR, True)
    project.db.batches.delete_many({})
    running = {"running_runner": {"hostname": "elsewhere"}}
    project.db.jf_auxiliary.update_one({"running_runner": {"$exists": True}}, {"$set": running})
    assert types("admin", "upgrade", "-y").code == ExitCode.ALREADY_RUNNING
    project.db.jf_auxiliary.update_one(running, {"$set": {"running_runner": None}})
    assert types("admin", "upgrade", "-t", "one").code == ExitCode.USAGE
    assert project.db.jobs.count_documents({"state": "TERMINATED"}) == 1

    # When it is confirmed, then it is upgraded
    done = types("admin", "upgrade", "-y", "-ce", "--json").json
    assert (done["from"], done["done"]) == ("0.1.6", True)
    assert project.db.jobs.count_documents({"state": "RUN_FINISHED"}) == 1
    assert not types("admin", "upgrade", "--json").json["due"]
