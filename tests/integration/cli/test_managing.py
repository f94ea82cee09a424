"""What a user does with jobs and flows that are in the queue: edit, delete, look at results, wait."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from jfr_mp import JobController, submit_flow
from jfr_mp.api.waiting import wait_for
from jfr_mp.database.locks import MongoLock
from jfr_mp.errors import ExitCode, WaitTimeout
from jfr_mp.states import JobState
from tests.integration.cli.conftest import Command
from tests.support.jobs import add, chain
from tests.support.projects import ProjectFactory, TestProject

Ok = Callable[..., str]
Doc = dict[str, Any]


@pytest.fixture
def project(fresh_project: ProjectFactory) -> TestProject:
    """A project with two workers, an exec_config, additional data and an optional JobStore."""
    project = fresh_project(exec_config={"gpu": {"modules": ["cuda"]}}, workers={"other": _OTHER})
    docs_store = project.document["jobstore"]["docs_store"]
    data = {**docs_store, "collection_name": "data"}
    jobstore = {"docs_store": docs_store, "additional_stores": {"data": data}}
    project.rewrite(jobstore=jobstore, optional_jobstores={"archive": {"docs_store": docs_store}})
    return project


_OTHER = {"type": "local", "scheduler_type": "shell", "work_dir": "/tmp"}


@pytest.fixture
def db_ids(project: TestProject) -> list[str]:
    """A flow of three jobs, each after the one before."""
    flow = chain(3)
    flow.name = "three"
    return submit_flow(flow)


def job(project: TestProject, db_id: str) -> Doc:
    found = project.db.jobs.find_one({"db_id": db_id})
    assert found is not None
    return found


def states(project: TestProject) -> list[str]:
    return [found["state"] for found in project.db.jobs.find(sort=[("db_id", 1)])]


def finish(project: TestProject, *db_ids: str, state: str = "COMPLETED", output: Any = 1) -> None:
    """Let jobs look as if they had run."""
    for db_id in db_ids:
        found = job(project, db_id)
        run_dir = project.work_dir / "aa" / "bb" / "cc" / f"{found['uuid']}_1"
        run_dir.mkdir(parents=True, exist_ok=True)
        (run_dir / "jfremote_in.json").touch()
        project.db.jobs.update_one({"db_id": db_id}, {"$set": {"state": state, "run_dir": str(run_dir)}})
        project.db.outputs.insert_one({"uuid": found["uuid"], "index": 1, "output": output})
        project.db.data.insert_one({"job_uuid": found["uuid"], "job_index": 1})


def contents(project: TestProject) -> Doc:
    """Return everything that a command could change."""
    collections = {
        name: list(project.db[name].find(sort=[("_id", 1)])) for name in ("jobs", "flows", "outputs", "data")
    }
    return {**collections, "files": sorted(str(path) for path in project.work_dir.rglob("*"))}


# Editing


def test_jobs_get_other_properties(project: TestProject, db_ids: list[str], ok: Ok) -> None:
    ok("job", "set", "worker", "other", "-did", db_ids[0], "-did", db_ids[1], "-y")
    assert [job(project, db_id)["worker"] for db_id in db_ids] == ["other", "other", "local"]
    ok("job", "set", "exec-config", "gpu", "-fid", db_ids[0], "-s", "READY", "--yes")
    assert [job(project, db_id)["exec_config"] for db_id in db_ids] == ["gpu", None, None]
    ok("job", "set", "resources", '{"nodes": 2, "time": 60}', "-did", db_ids[0], "-y")
    ok("job", "set", "resources", "nodes=3", "-did", db_ids[0], "-y")
    assert job(project, db_ids[0])["resources"] == {"nodes": 3, "time": 60}
    ok("job", "set", "resources", "nodes=4", "--replace", "-did", db_ids[0], "-y")
    assert job(project, db_ids[0])["resources"] == {"nodes": 4}
    ok("job", "set", "resources", "processes=4", "-qr", "-did", db_ids[0], "-y")
    assert job(project, db_ids[0])["resources"]["@class"] == "QResources"
    ok("job", "set", "priority", "7", "-q", '{"worker": "other"}', "-y")
    assert [job(project, db_id)["priority"] for db_id in db_ids] == [7, 7, 0]


def test_a_state_is_set(project: TestProject, db_ids: list[str], ok: Ok) -> None:
    assert ok("job", "set-state", "FAILED", db_ids[0]) == f"Job {db_ids[0]}: READY -> FAILED\n"
    assert project.db.flows.distinct("state") == ["FAILED"]
    ok("job", "set-state", "completed", "--flow-id", db_ids[0], "-y")
    assert states(project) == ["COMPLETED"] * 3


def test_a_flow_is_resumed_and_gets_another_store(project: TestProject, db_ids: list[str], ok: Ok) -> None:
    flow_id = job(project, db_ids[0])["job"]["hosts"][-1]
    ok("job", "pause", "-fid", flow_id, "-y")
    assert ok("flow", "resume", db_ids[1]) == "3 jobs resumed.\n"
    ok("job", "pause", db_ids[0])
    # A flow may be named by the first block of its uuid, and by a job
    assert ok("flow", "resume", flow_id.partition("-")[0]) == "1 job resumed.\n"
    ok("job", "stop", db_ids[0])
    ok("job", "play", db_ids[0])
    assert states(project) == ["READY", "WAITING", "WAITING"]
    ok("flow", "set", "store", job(project, db_ids[2])["uuid"], "archive", "-j")
    assert project.db.flows.distinct("jobstore") == ["archive"]
    ok("flow", "set", "store", flow_id)
    assert project.db.flows.distinct("jobstore") == [None]


BULK = [
    ("job", "stop"),
    ("job", "pause"),
    ("job", "resume"),
    ("job", "retry"),
    ("job", "rerun"),
    ("job", "delete"),
    ("job", "set-state", "FAILED"),
    ("job", "set", "worker", "other"),
    ("job", "set", "exec-config", "gpu"),
    ("job", "set", "resources", "nodes=1"),
    ("job", "set", "priority", "1"),
    ("flow", "delete"),
    ("flow", "clean"),
]


@pytest.mark.parametrize("words", BULK, ids=" ".join)
def test_a_dry_run_lists_and_changes_nothing(
    words: tuple[str, ...], project: TestProject, db_ids: list[str], ok: Ok, types: Command
) -> None:
    finish(project, db_ids[0])
    before = contents(project)
    listed = ok(*words, "-fid", db_ids[0], "--dry-run")
    assert "nothing was changed" in listed
    assert ("three" if words[0] == "flow" else "link") in listed
    # Without a terminal to ask on, nothing happens without --yes, and without a filter nothing at all
    refused = types(*words, "-fid", db_ids[0])
    assert (refused.code, "--yes" in refused.err) == (ExitCode.ERROR, True)
    assert types(*words, "--yes").code == ExitCode.USAGE
    assert contents(project) == before


# Deleting


def test_a_flow_is_deleted(project: TestProject, db_ids: list[str], ok: Ok, types: Command) -> None:
    finish(project, *db_ids)
    other = submit_flow(add(1, 1))
    assert "more than --max 1" in types("flow", "delete", "--days", "1", "-y", "--max", "1").err
    flow_id = job(project, db_ids[0])["job"]["hosts"][-1]
    rows = json.loads(ok("flow", "delete", "-did", db_ids[1], "--all", "--yes", "--json"))
    assert rows == [{"flow_id": flow_id, "name": "three", "error": None}]
    left = contents(project)
    assert [found["db_id"] for found in left["jobs"]] == other
    assert left["outputs"] == left["data"] == []
    assert not list(project.work_dir.glob("*/*/*/*"))
    assert "Deleted flow" in ok("flow", "delete", "-did", other[0], "-y")
    assert contents(project)["flows"] == []


def test_jobs_are_deleted(project: TestProject, db_ids: list[str], ok: Ok, types: Command) -> None:
    finish(project, *db_ids)
    assert ok("job", "delete", db_ids[2], "--output") == f"Job {db_ids[2]}: COMPLETED -> deleted\n"
    assert len(contents(project)["outputs"]) == len(contents(project)["data"]) == 2
    assert len(list(project.work_dir.glob("*/*/*/*"))) == 3
    # Of the rest, the last one stays: its flow would be empty
    printed = types("job", "delete", "-fid", db_ids[0], "-fi", "-y")
    assert (printed.code, "the only job of its flow" in printed.err) == (ExitCode.ERROR, True)
    assert "1 of 2 jobs." in printed.out
    assert len(contents(project)["jobs"]) == 1


def test_files_are_deleted(project: TestProject, db_ids: list[str], ok: Ok, types: Command) -> None:
    finish(project, *db_ids)
    project.db.jobs.update_one({"db_id": db_ids[2]}, {"$set": {"state": "RUNNING"}})
    run_dirs = [Path(job(project, db_id)["run_dir"]) for db_id in db_ids]
    assert str(run_dirs[0]) in ok("job", "files", "delete", db_ids[0], "--dry-run")
    ok("job", "files", "delete", db_ids[0])
    assert [path.exists() for path in run_dirs] == [False, True, True]
    assert "does not exist" in types("job", "files", "delete", db_ids[0]).err
    assert "--all-states" in types("job", "files", "delete", db_ids[2]).err
    # Of a flow, those that are not needed any more
    printed = types("flow", "clean", "-fid", db_ids[0], "-y")
    assert (printed.code, "1 RUNNING" in printed.err) == (ExitCode.OK, True)
    assert [path.exists() for path in run_dirs] == [False, False, True]
    ok("flow", "clean", "-fid", db_ids[0], "-y", "--all-states")
    assert [path.exists() for path in run_dirs] == [False] * 3
    assert len(contents(project)["jobs"]) == len(contents(project)["outputs"]) == 3


# Looking


def test_the_output_of_a_job(project: TestProject, db_ids: list[str], ok: Ok, types: Command, tmp_path: Path) -> None:
    finish(project, db_ids[0], output={"energies": [1.5, {"x y": "é"}], "none": None})
    finish(project, db_ids[1], output=0)
    assert json.loads(ok("job", "output", db_ids[0]))["energies"][0] == 1.5
    assert ok("job", "output", db_ids[0], "--path", "energies.1.x y") == '"é"\n'
    assert ok("job", "output", db_ids[1]) == "0\n"
    for words, file in ((["-o"], "a.json"), (["--path"], "b.json"), (["-p", "energies", "-o"], "c.yaml")):
        ok("job", "output", db_ids[0], *words, str(tmp_path / file))
    assert (tmp_path / "a.json").read_text() == (tmp_path / "b.json").read_text()
    assert "1.5" in (tmp_path / "c.yaml").read_text()
    for path, said in (
        ("energy", "has the keys energies, none"),
        ("energies.2", "is a list of 2"),
        ("none.x", "NoneType"),
    ):
        printed = types("job", "output", db_ids[0], "--path", path)
        assert (printed.code, said in printed.err) == (ExitCode.ERROR, True), printed.err
    assert "is WAITING and has no output" in types("job", "output", db_ids[2]).err


def test_documents_are_dumped(db_ids: list[str], ok: Ok, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    ok("job", "dump", "-s", "READY")
    (document,) = json.loads((tmp_path / "jobs_dump.json").read_text())
    assert (document["db_id"], document["job"]["name"]) == (db_ids[0], "link")


def test_a_shell_in_the_directory_of_a_job(
    project: TestProject, db_ids: list[str], types: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish(project, db_ids[0])
    # Given a shell that says where it is, in the place of the process that would go on as the shell
    monkeypatch.setattr(os, "execvp", lambda _file, argv: subprocess.run(argv, check=True))
    where = project.work_dir / "where"
    shell = project.work_dir / "my shell"
    shell.write_text(f"#!/bin/sh\npwd > {where}\n")
    shell.chmod(0o700)
    assert types("job", "todir", db_ids[0], "--shell", str(shell)).code == ExitCode.OK
    assert where.read_text().strip() == job(project, db_ids[0])["run_dir"]
    assert "has no directory" in types("job", "todir", db_ids[1]).err


def test_lists(project: TestProject, db_ids: list[str], ok: Ok, types: Command) -> None:
    project.db.jobs.update_one({"db_id": db_ids[0]}, {"$set": {"state": "FAILED", "stored_data": {"energy": -1.5}}})
    project.db.jobs.update_one({"db_id": db_ids[1]}, {"$set": {"state": "UPLOADED", "remote.process_id": "77"}})
    (other,) = submit_flow(add(1, 1))
    assert ok("job", "list", "--count") == "Number of jobs: 4\n"
    assert json.loads(ok("job", "list", "--count", "--error", "--json")) == {"count": 1}
    assert ok("job", "list", "-run", "-e", "--count") == "Number of jobs: 2\n"
    assert [row["db_id"] for row in json.loads(ok("job", "list", "-lf", "1", "--json"))] == [other]
    assert types("job", "list", "-lf", "1", "-fid", other).code == ExitCode.USAGE
    assert ok("job", "list", "-o", "state,db_id", "-sdk", "energy", "-e", "-col").split() == [
        *("State", "DB", "id", "energy"),
        *("FAILED", db_ids[0], "-1.5"),
    ]
    assert "no column colour" in types("job", "list", "-o", "colour").err
    assert ok("flow", "list", "--count", "-s", "READY") == "Number of flows: 2\n"
    assert json.loads(ok("job", "info", "--pid", "77", "--json"))["db_id"] == db_ids[1]
    assert "function" in ok("job", "info", db_ids[0], "-v")
    assert types("job", "info").code == types("job", "info", "1", "--pid", "2").code == ExitCode.USAGE


def test_a_flow_is_shown(project: TestProject, db_ids: list[str], ok: Ok, tmp_path: Path) -> None:
    finish(project, db_ids[0])
    shown = ok("flow", "info", db_ids[2], "-o", "db_id,state", "--jobs-sort", "db_id", "-jrevs")
    assert "Flow three (" in shown
    assert shown.split()[-6:] == [db_ids[0], "COMPLETED", db_ids[1], "WAITING", db_ids[2], "WAITING"]
    assert "1 COMPLETED, 2 WAITING" in ok("flow", "info", db_ids[0], "--report", "--sort", "db_id", "-revs")
    assert json.loads(ok("flow", "info", db_ids[0], "--json"))["db_ids"] == db_ids
    assert ok("flow", "graph", db_ids[0]).splitlines() == [
        f"{db_ids[0]} link  COMPLETED",
        f"└─ {db_ids[1]} link  WAITING",
        f"   └─ {db_ids[2]} link  WAITING",
    ]
    assert f"    {db_ids[0]} --> {db_ids[1]}" in ok("flow", "graph", db_ids[0], "-m").splitlines()
    picture = tmp_path / "flow.svg"
    ok("flow", "graph", db_ids[0], "-l", "state", "-p", str(picture))
    assert "<svg" in picture.read_text()


# Waiting


@pytest.fixture
def later(project: TestProject) -> Iterator[Callable[[float, str, str], None]]:
    """Call it to change the state of a job after some seconds."""
    timers: list[threading.Timer] = []

    def change(seconds: float, db_id: str, state: str) -> None:
        query, update = {"db_id": db_id}, {"$set": {"state": state, "error": "no luck" if state == "FAILED" else None}}
        timers.append(threading.Timer(seconds, project.db.jobs.update_one, (query, update)))
        timers[-1].start()

    yield change
    for timer in timers:
        timer.join()


def test_a_job_is_waited_for(db_ids: list[str], types: Command, later: Callable[[float, str, str], None]) -> None:
    later(0.3, db_ids[0], "COMPLETED")
    printed = types("job", "wait", db_ids[0], "--json")
    assert printed.code == ExitCode.OK
    assert printed.json == [{"db_id": db_ids[0], "state": "COMPLETED", "error": None}]


def test_a_flow_that_cannot_go_on_is_not_waited_for_in_vain(
    db_ids: list[str], types: Command, later: Callable[[float, str, str], None]
) -> None:
    later(0.3, db_ids[0], "FAILED")
    printed = types("flow", "wait", db_ids[2])
    assert (printed.code, printed.out.splitlines()[0]) == (ExitCode.ERROR, "1 FAILED, 2 WAITING")
    assert wait_for(db_ids, flows=True)[db_ids[2]] is JobState.WAITING


def test_the_time_runs_out(db_ids: list[str], types: Command) -> None:
    printed = types("job", "wait", *db_ids, "--timeout", "0")
    assert (printed.code, "2 WAITING, 1 READY after 0 s" in printed.err) == (ExitCode.TIMEOUT, True)
    with pytest.raises(WaitTimeout):
        wait_for(db_ids[:1], timeout=0.1)


# What can be wrong


UNKNOWN = [
    ("job", "set-state", "FAILED", "4711"),
    ("job", "delete", "4711"),
    ("job", "output", "4711"),
    ("job", "todir", "4711"),
    ("job", "play", "4711"),
    ("job", "files", "delete", "4711"),
    ("job", "wait", "4711"),
    ("job", "info", "--pid", "4711"),
    ("flow", "info", "4711"),
    ("flow", "graph", "4711"),
    ("flow", "resume", "4711"),
    ("flow", "wait", "4711"),
    ("flow", "set", "store", "4711"),
]
NO_MATCH = [
    *(words for words in BULK),
    ("job", "dump"),
]
WRONG_STATE = [
    (("job", "resume", "{0}"), "READY", "is READY and cannot be resumed"),
    (("job", "retry", "{0}"), "FAILED", "is FAILED and cannot be retried"),
    (("job", "delete", "{0}"), "BATCH_RUNNING", "is BATCH_RUNNING and cannot be deleted"),
    (("job", "set", "worker", "other", "-did", "{0}", "-y"), "RUNNING", "is RUNNING and cannot be changed"),
    (("job", "set", "exec-config", "gpu", "-did", "{0}", "-y"), "UPLOADED", "is UPLOADED and cannot be changed"),
    (("job", "set", "resources", "nodes=1", "-did", "{0}", "-y"), "SUBMITTED", "is SUBMITTED and cannot be changed"),
    (("job", "files", "delete", "{0}"), "RUNNING", "is RUNNING; to delete its files anyway"),
    (("job", "output", "{0}"), "READY", "is READY and has no output"),
    (("flow", "resume", "{0}"), "READY", "none of its jobs is paused or stopped"),
]
LOCKED = [
    ("job", "set-state", "FAILED", "{0}", "-w", "0"),
    ("job", "delete", "{0}", "-w", "0", "--all"),
    ("job", "set", "worker", "other", "-did", "{0}", "-w", "0", "-y"),
    ("job", "set", "priority", "3", "-did", "{0}", "-w", "0", "-y"),
    ("flow", "delete", "-did", "{0}", "-w", "0", "-y", "--all"),
    ("flow", "resume", "{0}", "-w", "0"),
]
WRONG_NAME = [
    (("job", "set", "worker", "nobody", "-did", "{0}", "-y"), "no worker 'nobody'; known: local, other"),
    (("job", "set", "exec-config", "nothing", "-did", "{0}", "-y"), "no exec_config 'nothing'; known: gpu"),
    (("flow", "set", "store", "{0}", "nowhere"), "no optional JobStore 'nowhere'; known: archive"),
]
WRONG_USE = [
    ("job", "set", "resources", "nodes", "-did", "1"),
    ("job", "set", "resources", "nodez=1", "-qr", "-did", "1"),
    ("job", "set", "priority", "high", "-did", "1"),
    ("job", "set-state", "DONE", "1"),
    ("job", "wait", "1", "--timeout", "soon"),
    ("flow", "graph", "1", "--dash"),
    ("flow", "graph", "1", "--label", "colour"),
    ("flow", "delete", "-did", "1", "--force"),
]


def refuses(types: Command, words: tuple[str, ...], said: str, project: TestProject, code: int) -> None:
    """Assert that a command fails with one clear message and changes nothing."""
    before = contents(project)
    printed = types(*words)
    assert printed.code == code, printed.out + printed.err
    assert said in " ".join(printed.err.split())
    assert len([line for line in printed.err.splitlines() if line.startswith(("Error:", "Warning:"))]) == 1
    assert "Traceback" not in printed.err
    assert "bug" not in printed.err
    assert contents(project) == before


@pytest.mark.parametrize("words", UNKNOWN, ids=" ".join)
def test_an_unknown_id(words: tuple[str, ...], types: Command, project: TestProject, db_ids: list[str]) -> None:
    refuses(types, words, "list its", project, ExitCode.ERROR)


@pytest.mark.parametrize("words", NO_MATCH, ids=" ".join)
def test_no_match(words: tuple[str, ...], types: Command, project: TestProject, db_ids: list[str]) -> None:
    refuses(types, (*words, "-n", "nobody"), "matches; list", project, ExitCode.ERROR)


@pytest.mark.parametrize(("words", "state", "said"), WRONG_STATE, ids=[" ".join(words) for words, _, _ in WRONG_STATE])
def test_a_wrong_state(
    words: tuple[str, ...], state: str, said: str, types: Command, project: TestProject, db_ids: list[str]
) -> None:
    run_dir = None if state == "READY" else str(project.work_dir / "d")
    project.db.jobs.update_one({"db_id": db_ids[0]}, {"$set": {"state": state, "run_dir": run_dir}})
    refuses(types, tuple(word.format(*db_ids) for word in words), said, project, ExitCode.ERROR)


@pytest.mark.parametrize("words", LOCKED, ids=" ".join)
@pytest.mark.parametrize("collection", ["jobs", "flows"])
def test_a_locked_job_or_flow(
    words: tuple[str, ...], collection: str, types: Command, project: TestProject, db_ids: list[str]
) -> None:
    if collection == "flows" and words[1] == "set":
        return  # only the job is changed
    finish(project, *db_ids)
    project.db.jobs.update_many({}, {"$set": {"state": "PAUSED"}})
    query = {"db_id": db_ids[0]} if collection == "jobs" else {}
    with MongoLock(project.db[collection], query):
        refuses(types, tuple(word.format(*db_ids) for word in words), "is locked by", project, ExitCode.ERROR)


@pytest.mark.parametrize(("words", "said"), WRONG_NAME, ids=[" ".join(words) for words, _ in WRONG_NAME])
def test_a_wrong_name(
    words: tuple[str, ...], said: str, types: Command, project: TestProject, db_ids: list[str]
) -> None:
    refuses(types, tuple(word.format(*db_ids) for word in words), said, project, ExitCode.ERROR)


@pytest.mark.parametrize("words", WRONG_USE, ids=" ".join)
def test_a_wrong_use(words: tuple[str, ...], types: Command, project: TestProject, db_ids: list[str]) -> None:
    before = contents(project)
    assert types(*words).code == ExitCode.USAGE
    assert contents(project) == before


def test_two_matches(types: Command, project: TestProject, db_ids: list[str]) -> None:
    first, second = (f"aaaaaaaa-0000-4000-8000-00000000000{number}" for number in range(2))
    for db_id, uuid in zip(db_ids, (first, second), strict=False):
        project.db.jobs.update_one({"db_id": db_id}, {"$set": {"uuid": uuid, "remote.process_id": "77"}})
    for words in (("job", "info", "aaaaaaaa"), ("job", "delete", "aaaaaaaa"), ("job", "wait", "aaaaaaaa")):
        refuses(types, words, f"is not unique, use one of {first}, {second}", project, ExitCode.ERROR)
    refuses(types, ("job", "info", "--pid", "77"), "several jobs have the scheduler id 77", project, ExitCode.ERROR)
    assert types("job", "info", first[:-1]).code == ExitCode.ERROR
    assert types("job", "info", first).code == ExitCode.OK


@pytest.mark.parametrize("words", [("job", "list", "--count"), *UNKNOWN, *BULK], ids=" ".join)
def test_the_database_is_down(words: tuple[str, ...], types: Command, project: TestProject) -> None:
    store = {**project.document["queue"]["store"], "port": 1}
    project.rewrite(queue={"store": {**store, "mongoclient_kwargs": {"serverSelectionTimeoutMS": 50}}})
    filters = ("-did", "1", "-y") if words in BULK else ()
    printed = types(*words, *filters)
    assert printed.code == ExitCode.DATABASE, printed.err
    assert len([line for line in printed.err.splitlines() if line.startswith("Error:")]) == 1


def test_controllers_see_the_same(project: TestProject, db_ids: list[str]) -> None:
    controller = JobController.from_project_name()
    assert controller.count_jobs(db_ids=db_ids) == 3
    controller.close()
