"""Each command that manages jobs and flows changes a database as the same command of jobflow-remote does a copy."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from jobflow import Flow, Job

from jfr_mp import JobController, submit_flow
from jfr_mp.cli import main
from tests.interop.conftest import shared_project
from tests.interop.copies import copy, timeless
from tests.interop.documents import OURS, differences
from tests.interop.flows import add, named
from tests.support.mongod import Mongod
from tests.support.peer import Peer
from tests.support.projects import ProjectFactory, TestProject

Doc = dict[str, Any]


class Case(NamedTuple):
    """A command, for a flow of its own: three jobs, each after the one before.

    Parameters
    ----------
    line
        The words; {0}, {1} and {2} are the db_ids, {flow} the uuid of the flow.
    states
        The states of the jobs before it.
    flow_state
        The state of the flow before it.
    ours
        Further words for our command.
    locked
        Whether the first job and the flow are locked before it.
    """

    line: str
    states: tuple[str, str, str] = ("READY", "WAITING", "WAITING")
    flow_state: str = "READY"
    ours: tuple[str, ...] = ()
    locked: bool = False


_YES = ("--yes",)
_PAUSED, _DONE = ("PAUSED", "PAUSED", "WAITING"), ("COMPLETED", "COMPLETED", "COMPLETED")

CASES = (
    Case("job set worker other -did {0} -did {1}", ours=_YES),
    Case("job set exec-config gpu -did {0}", ours=_YES),
    Case('job set resources {{"nodes":2}} -did {0}', ours=_YES),
    Case('job set resources {{"nodes":2}} --replace -did {0}', ours=_YES),
    Case('job set resources {{"processes":2}} -qr -did {0}', ours=_YES),
    Case("job set priority 5 -fid {flow}", ours=_YES),
    Case("job pause {1}"),
    Case("job pause -fid {flow}", ours=_YES),
    Case("job play {0}", _PAUSED, "PAUSED"),
    Case("job resume -s PAUSED -fid {flow}", _PAUSED, "PAUSED", ours=_YES),
    Case("job stop {0}"),
    Case("job retry {0}", ("REMOTE_ERROR", "WAITING", "WAITING"), "RUNNING"),
    Case("job rerun {0}", ("FAILED", "WAITING", "WAITING"), "FAILED"),
    Case("job rerun -f {0}", _DONE, "COMPLETED"),
    Case("job set-state PAUSED {0}"),
    Case("job delete {2}"),
    Case("job delete {1} --all", _DONE, "COMPLETED"),
    Case("job files delete {0}", _DONE, "COMPLETED"),
    Case("flow delete -fid {flow} -y", _DONE, "COMPLETED"),
    Case("flow delete -did {1} -y --all", _DONE, "COMPLETED"),
    Case("flow clean -fid {flow} -y", _DONE, "COMPLETED"),
    Case("flow resume {flow}", _PAUSED, "PAUSED"),
    Case("flow set store {flow} other"),
    Case("admin unlock -did {0} -y", locked=True),
    Case("admin unlock-flow -fid {flow} -y", locked=True),
)

#: What differs on purpose: jobflow-remote leaves the state of the flow as it was, which its jobs contradict.
BETTER = {"job set-state PAUSED {0}": ["/flow/state"]}

#: The collections that a command may change.
COLLECTIONS = ("jobs", "flows", "outputs", "data")


class Given(NamedTuple):
    """The flow of a case."""

    words: list[str]
    jobs: list[str]
    flow: str


class Managed(NamedTuple):
    """A project of theirs and one of ours after all cases."""

    theirs: TestProject
    ours: TestProject
    given: list[Given]


@pytest.fixture(scope="module")
def managed(tmp_path_factory: pytest.TempPathFactory, mongod_replica: Mongod, peer_python: Path) -> Iterator[Managed]:
    """The two projects after all cases."""
    with pytest.MonkeyPatch.context() as patch:
        factory = ProjectFactory(tmp_path_factory.mktemp("managing"), patch, mongod_replica)
        fields = {"exec_config": {"gpu": {"modules": ["cuda"]}}}
        other = {"other": {"type": "local", "scheduler_type": "shell", "work_dir": "/tmp"}}
        theirs = shared_project(factory, "theirs", workers=other, **fields)
        ours = shared_project(factory, "ours", workers=other, **fields)
        try:
            given = [_given(ours, case) for case in CASES]
            copy(ours, theirs)
            failed = Peer(peer_python, theirs).tool("commands", *(json.dumps(each.words) for each in given))
            assert failed == ""
            for case, each in zip(CASES, given, strict=True):
                patch.setattr(sys, "argv", ["jfr-mp", *each.words, *case.ours])
                assert _exit_code() == 0, each.words
            yield Managed(theirs, ours, given)
        finally:
            factory.remove()


def _exit_code() -> int:
    try:
        return main()
    except SystemExit as exit_:
        return int(exit_.code or 0)


def _given(project: TestProject, case: Case) -> Given:
    """Submit the flow of a case, and let it look as if it had come so far."""
    first = named("first", add(1, 1))
    second = named("second", add(first.output, 1))
    jobs: list[Flow | Job] = [first, second, named("third", add(second.output, 1))]
    flow = Flow(jobs, name=case.line)
    db_ids = submit_flow(flow, project=project.name, resources={"time": 60})
    project.db.flows.update_one({"uuid": flow.uuid}, {"$set": {"state": case.flow_state}})
    for db_id, state in zip(db_ids, case.states, strict=True):
        _let_be(project, db_id, state)
    if case.locked:
        lock = {"lock_id": "of a process that was killed", "lock_time": datetime(2026, 1, 1, tzinfo=UTC)}
        project.db.jobs.update_one({"db_id": db_ids[0]}, {"$set": lock})
        project.db.flows.update_one({"uuid": flow.uuid}, {"$set": lock})
    words = [word.format(*db_ids, flow=flow.uuid) for word in case.line.split()]
    return Given(words, [job.uuid for job in jobs], flow.uuid)


def _let_be(project: TestProject, db_id: str, state: str) -> None:
    fields: Doc = {"state": state}
    job = project.db.jobs.find_one({"db_id": db_id})
    if state in ("COMPLETED", "FAILED"):
        run_dir = f"{project.work_dir}/{job['uuid'][:2]}/{job['uuid']}_1"
        Path(run_dir).mkdir(parents=True)
        Path(run_dir, "jfremote_in.json").touch()
        fields["run_dir"] = run_dir
        keys = {"uuid": job["uuid"], "index": 1}
        project.db.outputs.insert_one({**keys, "output": {"value": 1}})
        project.db.data.insert_one({"job_uuid": job["uuid"], "job_index": 1, "blob_uuid": "x"})
    if state == "FAILED":
        fields["error"] = "no luck"
    if state == "REMOTE_ERROR":
        fields |= {"previous_state": "CHECKED_OUT", "remote.error": "no host", "remote.step_attempts": 3}
    project.db.jobs.update_one({"db_id": db_id}, {"$set": fields})


def state_of(project: TestProject, job_uuids: list[str], flow_uuid: str) -> Doc:
    """Return all that a project holds of a flow, times aside."""
    jobs = list(project.db.jobs.find({"uuid": {"$in": job_uuids}}))
    outputs = sorted(found["uuid"] for found in project.db.outputs.find({"uuid": {"$in": job_uuids}}))
    data = sorted(found["job_uuid"] for found in project.db.data.find({"job_uuid": {"$in": job_uuids}}))
    return {
        "flow": timeless(project.db.flows.find_one({"uuid": flow_uuid}), project),
        "jobs": {job["db_id"]: timeless(job, project) for job in jobs},
        "outputs": outputs,
        "data": data,
        "files": sorted(path.name for path in project.work_dir.glob("*/*") if path.name[:-2] in job_uuids),
    }


@pytest.mark.parametrize("number", range(len(CASES)), ids=[case.line for case in CASES])
def test_both_leave_the_same(number: int, managed: Managed) -> None:
    given = managed.given[number]
    ours, theirs = (state_of(project, given.jobs, given.flow) for project in (managed.ours, managed.theirs))
    expected = BETTER.get(CASES[number].line, ())
    found = [line for line in differences(ours, theirs) if line.partition(":")[0] not in expected]
    assert [line for line in found if line.partition(":")[0].rpartition("/")[2] not in OURS] == []


def test_both_controllers_say_the_same(managed: Managed, peer_python: Path) -> None:
    # Given one database, as both read it
    theirs = managed.theirs
    said = json.loads(Peer(peer_python, theirs).tool("infos"))
    controller = JobController.from_project_name(theirs.name)
    found: list[list[Any]] = [
        controller.get_jobs_info(sort=[("db_id", 1)]),
        controller.get_flows_info(sort=[("uuid", 1)]),
        controller.get_flows_info(sort=[("uuid", 1)], jobs_sort=[("db_id", 1)], with_jobs_info=True),
    ]
    controller.close()
    ours = [[info.model_dump(mode="json", exclude={"jobs_info"}) for info in each] for each in found]
    assert [len(each) for each in ours] == [len(each) for each in said]
    for mine, other in zip(ours, said, strict=True):
        for one, two in zip(mine, other, strict=True):
            assert differences(one, two) == []
