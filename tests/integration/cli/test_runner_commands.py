"""The commands of `jfr-mp runner` that need no process of the runner."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from jfr_mp import JobController, Runner, submit_flow
from jfr_mp.errors import ExitCode
from tests.integration.cli.conftest import Command
from tests.support.jobs import add
from tests.support.processes import run_cli
from tests.support.projects import ProjectFactory, TestProject

Ok = Callable[..., str]


@pytest.fixture
def project(fresh_project: ProjectFactory) -> TestProject:
    """A project whose database is prepared."""
    project = fresh_project()
    submit_flow(add(1, 1))
    return project


def _record(project: TestProject, **fields: object) -> None:
    runner = {
        "hostname": "other.example.org",
        "project_name": project.name,
        "user": "me",
        "daemon_dir": "/d",
        "last_pinged": datetime.now(UTC),
        "processes_info": {"queue": {"pid": 1}},
    }
    project.db.jf_auxiliary.update_one(
        {"running_runner": {"$exists": True}}, {"$set": {"running_runner": {**runner, **fields}}}
    )


def test_the_record_of_a_runner_is_shown_and_removed(project: TestProject, types: Command, ok: Ok) -> None:
    # Given the record of a daemon on another machine, and a later ping of a third one
    _record(project)
    controller = JobController.from_project_name(project.name)
    pings = [{"hostname": name, "project_name": project.name, "user": "me", "daemon_dir": "/d"} for name in "ab"]
    project.db.jf_auxiliary.update_one(
        {"runner_pings": {"$exists": True}},
        {"$set": {"runner_pings": [{**ping, "time": datetime.now(UTC)} for ping in pings]}},
    )

    # Then it is shown, with a warning
    shown = types("runner", "info", "-p")
    assert shown.code == ExitCode.NOT_RUNNING
    assert "other.example.org" in shown.out
    assert "processes_info" not in shown.out
    assert "another runner (machine b)" in shown.err
    assert [ping["hostname"] for ping in types("runner", "info", "--pings", "--json").json["pings"]] == ["a", "b"]
    assert "processes_info" in types("runner", "info", "-v").out

    # When it is to be removed, then only after a confirmation
    assert "--yes" in types("runner", "reset").err
    assert types("runner", "reset", "--force").code == ExitCode.USAGE
    assert controller.get_running_runner() is not None

    # and not while it is locked
    lock = {"lock_id": "someone", "lock_time": datetime.now(UTC)}
    project.db.jf_auxiliary.update_one({"running_runner": {"$exists": True}}, {"$set": lock})
    assert "someone" in types("runner", "reset", "-y").err
    assert "Removed" in ok("runner", "reset", "-y", "-bl")
    assert controller.get_running_runner() is None
    assert "nothing to do" in ok("runner", "reset", "-y")
    controller.close()


def test_states_are_updated_without_a_runner(project: TestProject, types: Command, ok: Ok) -> None:
    # Given a job that was submitted, and has ended since
    runner = Runner(project.name)
    runner.checkout()
    runner.advance_state(["CHECKED_OUT", "UPLOADED"])
    job = project.db.jobs.find_one()
    assert job is not None
    assert job["state"] == "SUBMITTED"
    runner.cleanup()

    # When the user asks, then its state is stored, and nothing more is done with it
    changed = types("runner", "update-status", "-pid", "--json")
    assert changed.code == ExitCode.OK, changed.err
    assert [row["before"] for row in changed.json] == ["SUBMITTED"]
    assert changed.json[0]["after"] in {"RUNNING", "RUN_FINISHED", "DOWNLOADED"}
    assert project.db.outputs.count_documents({}) == 0

    # When a runner works on the database, then it is refused
    _record(project)
    assert types("runner", "update-status").code == ExitCode.ALREADY_RUNNING


@pytest.mark.parametrize("command", ["stop", "shutdown", "stop-processes", "kill"])
def test_stopping_where_nothing_runs(command: str, project: TestProject, types: Command, tmp_path: Path) -> None:
    # Given one project that does not run and a broken one
    project.project_file.with_name("broken.yaml").write_text("name: [")

    # When it is stopped, alone or with all, then that is an error, and the list of what was stopped is empty
    assert types("runner", command, "-w", "-m", "5").code == ExitCode.NOT_RUNNING
    report = tmp_path / "stopped.json"
    everything = types("runner", command, "--all", "-j", str(report))
    assert everything.code == ExitCode.NOT_RUNNING
    assert "broken.yaml" in everything.err
    assert report.read_text() == "[]\n"

    # And options that exclude each other, and a file that cannot be, are refused
    assert types("runner", command, "-a", "-p", project.name).code == ExitCode.USAGE
    assert types("runner", command, "-a", "-j", str(tmp_path / "no" / "such.json")).code == ExitCode.ERROR


def test_a_single_process_of_several(project: TestProject, types: Command) -> None:
    # In jobflow-remote, --transfer has a number
    refused = types("runner", "start", "--single", "--transfer", "2")
    assert (refused.code, "--single" in refused.err) == (ExitCode.USAGE, True)


def test_nothing_is_in_the_foreground_if_nothing_runs(project: TestProject, types: Command) -> None:
    assert types("runner", "foreground").code == ExitCode.NOT_RUNNING


def test_one_process_under_the_name_that_jobflow_remote_gives_it(project: TestProject) -> None:
    # When a runner works for a while, started as the daemon of jobflow-remote starts its own
    done = run_cli("runner", "run", "-pid", "-d", "-i", "-log", "debug", "--ticks", "2", env=project.env)

    # Then it does its work, and leaves no lock
    assert done.returncode == ExitCode.OK, done.stderr
    assert project.db.jobs.distinct("state") != ["READY"], done.stderr
    assert project.db.jobs.count_documents({"lock_id": {"$ne": None}}) == 0


def test_db_ids_are_offered_on_tab(project: TestProject) -> None:
    # When the user presses Tab in bash, where the id of a job is wanted
    completing = {"_JFR_MP_COMPLETE": "complete_bash", "COMP_WORDS": "jfr-mp job info ", "COMP_CWORD": "3"}
    done = run_cli(env={**project.env, **completing})

    # Then the last jobs are offered
    assert done.stdout.split() == [job["db_id"] for job in project.db.jobs.find()], done.stderr
