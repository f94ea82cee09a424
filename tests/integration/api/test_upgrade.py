"""Upgrading databases of earlier versions of jobflow-remote."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from packaging.version import Version

from jfr_mp import JobController, submit_flow
from jfr_mp.api.upgrade import DatabaseUpgrader
from jfr_mp.errors import InvalidQuery
from jfr_mp.states import JobState
from tests.support.jobs import add
from tests.support.projects import ProjectFactory

RECORD = {"jobflow_remote_version": {"$exists": True}}


@pytest.fixture
def handle_dir(tmp_path: Path) -> Path:
    """Where the batch worker keeps its markers."""
    return tmp_path / "handle"


@pytest.fixture
def controller(fresh_project: ProjectFactory, handle_dir: Path, tmp_path: Path) -> Iterator[JobController]:
    """The controller of a project with a batch worker and a job in the database."""
    fresh_project(worker={"batch": {"jobs_handle_dir": str(handle_dir), "work_dir": str(tmp_path / "batches")}})
    submit_flow(add(1))
    with closing(JobController.from_project_name()) as found:
        yield found


def test_a_database_of_version_0(controller: JobController, handle_dir: Path, caplog: pytest.LogCaptureFixture) -> None:
    # Given what jobflow-remote 0.1.4 left
    controller.auxiliary.delete_one(RECORD)
    controller.auxiliary.delete_one({"running_runner": {"$exists": True}})
    controller.auxiliary.insert_one({"batch_processes": {"local": {"17": "some uid"}}})
    controller.jobs.update_one({"db_id": "1"}, {"$set": {"state": "TERMINATED", "previous_state": "TERMINATED"}})
    (handle_dir / "terminated").mkdir(parents=True)
    (handle_dir / "terminated" / "marker").touch()
    upgrader = DatabaseUpgrader(controller)
    assert controller.get_current_db_version() == Version("0.1.0")
    assert "does not state a version of jobflow" in controller.upgrade_check_jobflow()

    # When it is looked at, then nothing changes, and the batch is in the way
    actions, violated = upgrader.dry_run()
    touched = " ".join(action.collection for action in actions)
    assert touched == "auxiliary jobs jobs auxiliary NO_COLLECTION auxiliary"
    assert [(str(number), each["message"].split(";")[0]) for number, each in violated] == [("1.0", "1 found")]
    with caplog.at_level(logging.ERROR):
        assert not upgrader.upgrade()
    assert "let these batches end" in caplog.text
    assert controller.jobs.find_one({})["state"] == "TERMINATED"
    assert (handle_dir / "terminated").is_dir()

    # When it is upgraded all the same, then everything is as it is in a new database
    assert upgrader.upgrade(force=True)
    assert controller.get_current_db_version() == upgrader.current_version
    job = controller.jobs.find_one({})
    assert (job["state"], job["previous_state"]) == ("RUN_FINISHED", "RUN_FINISHED")
    assert controller.get_running_runner() is None
    assert controller.auxiliary.count_documents({"batch_processes": {"$exists": True}}) == 0
    assert controller.auxiliary.count_documents({"running_runner": {"$type": "null"}}) == 1
    assert (handle_dir / "run_finished" / "marker").exists()
    assert controller.get_jobs_info(states=JobState.RUN_FINISHED)
    assert controller.upgrade_check_jobflow() == controller.upgrade_full_check() == ""

    # And a second time there is nothing to do
    assert upgrader.dry_run() == ([], [])
    assert not upgrader.upgrade()


def test_active_batches_cannot_be_forced(controller: JobController) -> None:
    controller.update_version_information("0.1.8")
    controller.batches.insert_one({"batch_uid": "b", "batch_state": "RUNNING"})
    upgrader = DatabaseUpgrader(controller)
    assert upgrader.collect_upgrades(Version("0.1.8"), upgrader.current_version) == [Version("1.0")]
    assert not upgrader.upgrade(force=True)
    assert controller.get_current_db_version() == Version("0.1.8")

    # And up to an earlier version they are not in the way
    assert upgrader.upgrade(target_version="0.9")
    assert controller.get_current_db_version() == Version("0.9")
    with pytest.raises(InvalidQuery, match="'new' is not a version"):
        upgrader.dry_run(target_version="new")


def test_versions_of_packages(controller: JobController) -> None:
    # Given a database that was used with other packages
    environment = {"jobflow": "0.0.1", "no-such-package": "3"}
    controller.auxiliary.update_one(RECORD, {"$set": {"jobflow_version": "0.0.1", "full_environment": environment}})

    # Then the differences are named
    assert "used with jobflow 0.0.1" in controller.upgrade_check_jobflow()
    _, *lines = controller.upgrade_full_check().splitlines()
    assert [line.split()[0] for line in lines] == ["jobflow", "no-such-package"]
    assert lines[1] == "no-such-package 3 -> not installed"

    # And they are gone when the versions were stored
    controller.update_version_information()
    assert controller.upgrade_check_jobflow() == controller.upgrade_full_check() == ""
