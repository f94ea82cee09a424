"""Scripts written for jobflow-remote run unchanged with `python -m jfr_mp.compat`, and do the same."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from jobflow import Flow

from jfr_mp import Runner, submit_flow
from tests.interop.conftest import shared_project
from tests.interop.copies import copy, timeless
from tests.interop.documents import OURS, differences
from tests.interop.flows import add, fails, named, splits
from tests.support.mongod import Mongod
from tests.support.peer import Peer
from tests.support.processes import ROOT, run
from tests.support.projects import ProjectFactory, TestProject

#: The scripts start ten interpreters that import jobflow.
pytestmark = pytest.mark.timeout(240)

SCRIPTS = Path(__file__).with_name("scripts")

#: The scripts with their arguments, in an order in which none disturbs the next.
LINES = ("query.py", "report.py", "bulk_edit.py {edit}", "runner_loop.py {run} {alone}", "cleaning.py broken")

#: The fields that identify the documents of each collection.
KEYS = {
    "jobs": ["db_id"],
    "flows": ["name"],
    "outputs": ["uuid", "index"],
    "data": ["blob_uuid"],
    "batches": ["batch_uid"],
}

#: What differs on purpose: the state of a flow follows from its jobs, also when one of them was set to a state or
#: deleted. jobflow-remote leaves it, or calls a flow COMPLETED whose first job has failed.
BETTER = {"flows": ["/edit/state: 'PAUSED' instead of 'READY'", "/broken/state: 'FAILED' instead of 'COMPLETED'"]}

#: What the documents say about chance, about processes, or in other words.
_BY_CHANCE = {
    *("_id", "process_id", "queue_state", "error", "queue_out", "queue_err", "@version"),
    *("completed_at", "last_updated"),
    *OURS,
}


class Said(NamedTuple):
    """What a script printed with each package."""

    theirs: str
    ours: str


class Projects(NamedTuple):
    """Two projects with the same database, before which all scripts ran."""

    theirs: TestProject
    ours: TestProject
    said: dict[str, Said]


@pytest.fixture(scope="module")
def projects(tmp_path_factory: pytest.TempPathFactory, mongod_replica: Mongod, peer_python: Path) -> Iterator[Projects]:
    """The two projects after all scripts."""
    with pytest.MonkeyPatch.context() as patch:
        factory = ProjectFactory(tmp_path_factory.mktemp("scripts"), patch, mongod_replica)
        fields: dict[str, Any] = {"exec_config": {"gpu": {"modules": ["cuda"]}}}
        other = {"other": {"type": "local", "scheduler_type": "shell", "work_dir": "/tmp"}}
        theirs = shared_project(factory, "theirs", workers=other, **fields)
        ours = shared_project(factory, "ours", workers=other, **fields)
        try:
            jobs = _fill(ours)
            copy(ours, theirs)
            lines = [line.format(**jobs).split() for line in LINES]
            peer = Peer(peer_python, theirs)
            with ThreadPoolExecutor(2) as both:
                printed = (
                    both.submit(_say, [str(peer_python)], lines, theirs, peer.env),
                    both.submit(_say, [sys.executable, "-m", "jfr_mp.compat"], lines, ours, ours.env),
                )
                names = [name for name, *_ in lines]
                said = dict(zip(names, map(Said, *(each.result() for each in printed)), strict=True))
            yield Projects(theirs, ours, said)
        finally:
            factory.remove()


def _fill(project: TestProject) -> dict[str, str]:
    """Fill a database with flows in several states, and return the db_ids of jobs by the name of their flow."""
    ends: dict[str, list[str]] = {}
    for flow in (_chain("fine"), Flow([named("split", splits([1, 2]))], name="dynamic"), _chain("broken", fails())):
        submit_flow(flow, project=project.name)
    with closing(_Closing(Runner(project.name))) as opened:
        opened.runner.run_all_jobs(max_seconds=100)
    for name in ("edit", "run", "stuck"):
        ends[name] = submit_flow(_chain(name), project=project.name)
    ends["failed"] = submit_flow(_chain("failed", fails()), project=project.name)
    ends["alone"] = submit_flow(named("alone", add(1)), project=project.name)
    for db_id, fields in {
        ends["failed"][0]: {"state": "FAILED", "error": "Traceback\nno luck"},
        ends["stuck"][0]: {"state": "REMOTE_ERROR", "previous_state": "CHECKED_OUT", "remote.error": "no host"},
    }.items():
        project.db.jobs.update_one({"db_id": db_id}, {"$set": fields})
    project.db.flows.update_one({"name": "failed"}, {"$set": {"state": "FAILED"}})
    now = datetime.now(UTC)
    batch = {"batch_uid": "b", "process_id": "1", "worker": "local", "batch_state": "FINISHED", "jobs": []}
    project.db.batches.insert_one({**batch, "created_on": now, "updated_on": now})
    project.db.jf_auxiliary.update_one({"runner_pings": {"$exists": True}}, {"$set": {"runner_pings": [{"time": now}]}})
    return {name: db_ids[0] for name, db_ids in ends.items()}


class _Closing(NamedTuple):
    """A runner that is cleaned up at the end of a context."""

    runner: Runner

    def close(self) -> None:
        self.runner.cleanup()


def _chain(name: str, first: Any = None) -> Flow:
    """Return three jobs, each after the one before."""
    one = named(f"first of {name}", first or add(1, 1))
    two = named(f"second of {name}", add(one.output, 1))
    return Flow([one, two, named(f"third of {name}", add(two.output, 1))], name=name)


def _say(python: list[str], lines: list[list[str]], project: TestProject, env: Mapping[str, str]) -> list[str]:
    """Run the scripts one after the other, and return what each printed."""
    env = {**env, "JFREMOTE_PROJECT": project.name, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"}
    said = []
    for name, *arguments in lines:
        done = run([*python, str(SCRIPTS / name), *arguments], env=env, timeout=150)
        assert done.returncode == 0, f"{python} {name}:\n{done.stdout}\n{done.stderr}"
        said.append(re.sub(f"{re.escape(str(project.work_dir))}|{project.db.name}", "...", done.stdout))
    return said


@pytest.mark.parametrize("name", [line.split()[0] for line in LINES])
def test_both_print_the_same(name: str, projects: Projects) -> None:
    said = projects.said[name]
    assert len(said.theirs.splitlines()) >= 10
    assert said.ours.splitlines() == said.theirs.splitlines()


@pytest.mark.parametrize("collection", KEYS)
def test_both_leave_the_same_documents(collection: str, projects: Projects) -> None:
    ours, theirs = (_documents(project, collection) for project in (projects.ours, projects.theirs))
    assert ours.keys() == theirs.keys()
    assert sorted(differences(ours, theirs)) == sorted(BETTER.get(collection, []))


def _documents(project: TestProject, collection: str) -> dict[str, Any]:
    found = list(project.db[collection].find())
    # The order of these is that of a set.
    for document in found:
        document.update({key: sorted(document[key]) for key in ("parents",) if isinstance(document.get(key), list)})
    return {_key(collection, each): timeless(_certain(each), project) for each in found}


def _key(collection: str, document: dict[str, Any]) -> str:
    return " ".join(str(document[field]) for field in KEYS[collection])


def _certain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _certain(item) for key, item in value.items() if key not in _BY_CHANCE}
    return [_certain(item) for item in value] if isinstance(value, list) else value


def test_every_script_is_of_a_user_and_unchanged() -> None:
    for line in LINES:
        text = (SCRIPTS / line.split()[0]).read_text()
        assert len(text.splitlines()) > 30
        assert "from jobflow_remote" in text
        assert "jfr_mp" not in text
