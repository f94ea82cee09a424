"""A job directory that one package uploaded is executed by the other's command, in every format of its files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from jfr_mp import Runner, submit_flow
from tests.interop.conftest import shared_project
from tests.interop.flows import FLOWS
from tests.support.peer import Peer
from tests.support.processes import Processes
from tests.support.projects import ProjectFactory, TestProject

#: The values of `remote_jobstore`, by the names of the projects that have them.
FORMATS: Mapping[str, dict[str, Any] | None] = {
    "default": None,
    "zip": {"store": "maggma_json", "zip": True},
    "orjson": {"store": "orjson"},
    "orjson_zip": {"store": "orjson", "zip": True},
    "msgspec": {"store": "msgspec_json"},
    "msgpack": {"store": "msgpack"},
    "serialized": {
        "store": {"@module": "jobflow_remote.remote.data", "@class": "MinimalMsgpackStore"},
        "extension": "bin",
    },
}


class We:
    """Our side: its runner in this process, its command as a worker calls it."""

    command = ("jfr-mp", "-fe", "execution", "run")

    def __init__(self, open_runner: Callable[[str], Runner]) -> None:
        self._open = open_runner

    def upload(self, projects: list[str]) -> None:
        for name in projects:
            runner = self._open(name)
            runner.checkout()
            runner.advance_state(["CHECKED_OUT"])

    def complete(self, projects: list[str]) -> None:
        for name in projects:
            self._open(name).advance_state(["DOWNLOADED"])


class They:
    """The peer's side, in processes of its own."""

    command = ("jf", "-fe", "execution", "run")

    def __init__(self, peer: Peer) -> None:
        self._peer = peer

    def upload(self, projects: list[str]) -> None:
        self._peer.tool("upload", *projects)

    def complete(self, projects: list[str]) -> None:
        self._peer.tool("advance", "DOWNLOADED", *projects)


@pytest.mark.parametrize("uploader", ["we", "they"])
def test_what_one_uploads_the_other_executes(
    uploader: str,
    fresh_project: ProjectFactory,
    open_runner: Callable[[str], Runner],
    peer_python: Path,
    processes: Processes,
) -> None:
    # Given a project for each format, and in each a job that also writes to an additional store, and one that reads it
    projects = {name: shared_project(fresh_project, name, remote_jobstore=value) for name, value in FORMATS.items()}
    for name in projects:
        submit_flow(FLOWS["additional store"](), project=name)
    peer = Peer(peer_python, next(iter(projects.values())))
    we, they = We(open_runner), They(peer)
    first, second = (we, they) if uploader == "we" else (they, we)

    # When one package uploads each of the two, the other's command executes it, and either of them completes one
    for job, completer in (("writer", first), ("reader", second)):
        first.upload(list(projects))
        _execute(second.command, projects, job, peer, processes)
        completer.complete(list(projects))

    # Then both ended well in every format, and the outputs are where they belong
    ends = {
        name: {doc["job"]["name"]: _end(doc) for doc in project.db.jobs.find()} for name, project in projects.items()
    }
    assert ends == {name: {"writer": "COMPLETED", "reader": "COMPLETED"} for name in FORMATS}
    outputs = {name: project.db.outputs.find_one({"name": "reader"}) for name, project in projects.items()}
    assert {name: output and output["output"] for name, output in outputs.items()} == dict.fromkeys(FORMATS, 20)
    blobs = {name: project.db.data.count_documents({}) for name, project in projects.items()}
    assert blobs == dict.fromkeys(FORMATS, 1)


def _execute(
    command: tuple[str, ...], projects: Mapping[str, TestProject], job: str, peer: Peer, processes: Processes
) -> None:
    """Execute the job of this name in all projects at once, and say so in the database as the queue role does."""
    running = {}
    for name, project in projects.items():
        document = project.db.jobs.find_one({"job.name": job, "state": "UPLOADED"})
        assert document is not None, f"the {job} of project {name} was not uploaded: {list(project.db.jobs.find())}"
        running[name] = processes.start(["env", *command, document["run_dir"]], env=peer.env)
    for name, process in running.items():
        assert process.wait(timeout=60) == 0, f"{name}: {processes.output(process)}"
        projects[name].db.jobs.update_one({"job.name": job}, {"$set": {"state": "DOWNLOADED"}})


def _end(job: dict[str, Any]) -> str:
    """Return the state of a job, and why it is not a good one."""
    return " ".join(filter(None, (job["state"], job["error"], job["remote"]["error"])))
