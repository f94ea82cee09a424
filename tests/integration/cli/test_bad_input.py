"""Bad input: each command says in a sentence what is wrong and what to do, fails, and changes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, NamedTuple

import pytest

from jfr_mp import submit_flow
from jfr_mp.errors import ExitCode
from tests.integration.cli.conftest import Command
from tests.support.jobs import add, chain
from tests.support.mongod import Mongod
from tests.support.processes import free_port
from tests.support.projects import ProjectFactory, TestProject

Doc = dict[str, Any]


class World(NamedTuple):
    """A project whose jobs are in many states, and the names by which the table calls them."""

    project: TestProject
    names: dict[str, str]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, mongod_replica: Mongod) -> Iterator[World]:
    """One for all rows, because none of them may change it."""
    with pytest.MonkeyPatch.context() as patch:
        factory = ProjectFactory(tmp_path_factory.mktemp("bad_input"), patch, mongod_replica)
        try:
            project = factory(workers={"other": {"type": "local", "scheduler_type": "shell", "work_dir": "/tmp"}})
            yield World(project, _fill(project))
        finally:
            factory.remove()


def _fill(project: TestProject) -> dict[str, str]:
    ready, waiting = submit_flow(chain(2))
    names = {"ready": ready, "waiting": waiting}
    states = {"done": "COMPLETED", "failed": "FAILED", "running": "RUNNING", "locked": "REMOTE_ERROR"}
    twins = {"twin_a": "aaaaaaaa-0000-4000-8000-000000000001", "twin_b": "aaaaaaaa-0000-4000-8000-000000000002"}
    for name in (*states, *twins):
        (names[name],) = submit_flow(add(1, 1))
    for name, state in states.items():
        project.db.jobs.update_one({"db_id": names[name]}, {"$set": {"state": state}})
        project.db.flows.update_one(
            {"ids.0.0": names[name]}, {"$set": {"state": state.replace("REMOTE_ERROR", "RUNNING")}}
        )
    lock = {"lock_id": "another process", "lock_time": datetime.now(UTC)}
    project.db.jobs.update_one({"db_id": names["locked"]}, {"$set": lock})
    for name, uuid in twins.items():
        project.db.jobs.update_one({"db_id": names[name]}, {"$set": {"uuid": uuid}})
        project.db.flows.update_one(
            {"ids.0.0": names[name]}, {"$set": {"jobs": [uuid], "ids": [[names[name], uuid, 1]]}}
        )
    return names


def contents(project: TestProject) -> Doc:
    """Return everything that a command could change."""
    collections = ("jobs", "flows", "outputs", "batches", "jf_auxiliary")
    return {
        **{name: list(project.db[name].find(sort=[("_id", 1)])) for name in collections},
        "files": sorted(str(path) for path in project.work_dir.rglob("*")),
        "project": project.project_file.read_text(),
    }


class Row(NamedTuple):
    """A command line, and how it fails."""

    line: str
    says: str
    code: ExitCode = ExitCode.ERROR


ONE_JOB = (
    *("info", "explain", "wait", "output", "queue-out", "todir", "files ls", "files get", "files delete"),
    *("stop", "cancel", "pause", "resume", "play", "retry", "rerun", "delete", "set-state FAILED"),
)
ONE_FLOW = ("info", "graph", "wait", "resume", "set store")
SEVERAL = (
    *("job stop", "job pause", "job resume", "job retry", "job rerun", "job delete", "job set-state FAILED"),
    *("job set worker other", "job set resources nodes=1", "job set priority 1", "flow delete", "flow clean"),
    *("admin unlock", "admin unlock-flow"),
)
LOCKED = ("stop", "pause", "retry", "rerun", "delete", "set-state FAILED")

ROWS = (
    # Unknown ids, and a beginning of a uuid that several have
    *(Row(f"job {command} 999", "has no job 999") for command in ONE_JOB),
    *(Row(f"job {command} aaaaaaaa", "not unique") for command in ONE_JOB),
    *(Row(f"flow {command} 999", "has no flow 999") for command in ONE_FLOW),
    *(Row(f"flow {command} aaaaaaaa -j", "not unique") for command in ONE_FLOW if command != "wait"),
    Row("job info e1d66c4f-81db-4fff-bda2-2bf1d79d5961 3", "with index 3"),
    Row("job info --pid 4711", "4711"),
    Row("batch info 999", "jfr-mp batch list"),
    # No match, and nothing chosen
    *(Row(f"{command} -fid 999 -y", "list") for command in SEVERAL),
    *(Row(f"{command} -y", "", ExitCode.USAGE) for command in SEVERAL),
    Row("batch delete -bid 999 -y", "jfr-mp batch list"),
    Row("batch delete -y", "--state", ExitCode.USAGE),
    Row("job dump -fid 999", "list"),
    # A state that does not allow it
    Row("job retry {ready}", "READY"),
    Row("job resume {running}", "RUNNING"),
    Row("job pause {done}", "COMPLETED"),
    Row("job stop {done}", "COMPLETED"),
    Row("job rerun {ready}", "READY"),
    Row("job rerun {done}", "COMPLETED"),
    Row("job set worker other -did {running} -y", "RUNNING"),
    Row("job output {ready}", "READY"),
    Row("job queue-out {ready}", "READY"),
    Row("job todir {ready}", "READY"),
    Row("job files ls {ready}", "READY"),
    Row("job files get {ready}", "READY"),
    Row("job files delete {ready}", "READY"),
    Row("flow set store {done}", "COMPLETED"),
    # A lock of another process
    *(Row(f"job {command} {{locked}} -w 0", "another process") for command in LOCKED),
    Row("job set worker other -did {locked} -w 0 -y", "another process"),
    Row("flow delete -did {locked} -w 0 -y", "another process"),
    # Values that do not exist
    Row("job set worker nowhere -did {ready} -y", "other"),
    Row("job set exec-config none -did {ready} -y", "exec_config"),
    Row("job set resources nodes -did {ready} -y", "KEY=VALUE", ExitCode.USAGE),
    Row("job set priority high -did {ready} -y", "whole number", ExitCode.USAGE),
    Row("job set-state GONE {ready}", "REMOTE_ERROR", ExitCode.USAGE),
    Row("flow set store {ready} none", "none"),
    Row("flow graph {ready} -l colour", "colour", ExitCode.USAGE),
    Row("flow graph {ready} -p /nowhere/graph.svg", "no directory"),
    Row("job report decades", "decades", ExitCode.USAGE),
    Row("admin index create name sideways", "sideways", ExitCode.USAGE),
    Row("admin reset 2020-01-01", "--yes"),
    Row("backup restore /nowhere", "/nowhere"),
    Row("backup create /proc/queue.zip", "/proc"),
    Row("runner stop", "jfr-mp start", ExitCode.NOT_RUNNING),
    Row("runner kill", "jfr-mp start", ExitCode.NOT_RUNNING),
    Row("runner foreground", "jfr-mp start", ExitCode.NOT_RUNNING),
    Row("project check -w nowhere", "other", ExitCode.CONFIG),
    Row("project remove nowhere -y", "known", ExitCode.CONFIG),
    Row("project generate main", "already exists", ExitCode.CONFIG),
    Row("project generate a/b", "a/b", ExitCode.CONFIG),
    Row("project edit replace nothing something -y", "nothing"),
    Row("-p nowhere job list", "known", ExitCode.CONFIG),
    Row("job lst", "list", ExitCode.USAGE),
)


@pytest.mark.parametrize("row", ROWS, ids=[row.line for row in ROWS])
def test_it_fails_and_changes_nothing(row: Row, world: World, types: Command) -> None:
    before = contents(world.project)
    words = [word.format(**world.names) for word in row.line.split()]

    printed = types(*words)

    assert printed.code == row.code, printed.out + printed.err
    assert row.says in " ".join(printed.err.split())
    assert "Traceback" not in printed.err
    assert "bug" not in printed.err
    assert contents(world.project) == before


#: One command of each module that needs the database.
NEED_DATABASE = (
    *("job list", "job info 1", "job retry 1", "job set worker local -did 1 -y", "job delete 1", "job output 1"),
    *(
        "job files ls 1",
        "job wait 1",
        "job report",
        "flow list",
        "flow info 1",
        "flow graph 1",
        "flow delete -did 1 -y",
    ),
    *("flow report", "batch list", "batch delete -s FINISHED -y", "batch fix-batch-doc-jobs-dict"),
    *("admin reset -y", "admin unlock -did 1 -y", "admin index rebuild", "admin upgrade", "admin reconcile"),
    *("backup create", "backup restore", "runner info", "runner reset -y", "runner update-status"),
)


@pytest.mark.parametrize("line", NEED_DATABASE)
def test_without_a_database(
    line: str, fresh_project: ProjectFactory, types: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a project whose database is down, and a user who does not want to wait for it
    port = free_port()
    store = {"type": "MongoStore", "host": "127.0.0.1", "port": port, "database": "d", "collection_name": "jobs"}
    fresh_project().rewrite(queue={"store": store})
    monkeypatch.setattr("jfr_mp.database.connection.PERSON_TIMEOUT", 0.1)

    printed = types(*line.split())

    assert printed.code == ExitCode.DATABASE, printed.out + printed.err
    assert f"127.0.0.1:{port}" in printed.err
    assert "Traceback" not in printed.err
    assert printed.out == ""
