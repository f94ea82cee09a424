"""A machine that has jobflow-remote and nothing of ours runs our jobs, over SSH."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from jobflow import Flow

from jfr_mp import submit_flow
from tests.interop import flows
from tests.interop.conftest import shared_project
from tests.support.jobs import ledger_lines
from tests.support.ledger_jobs import SIGNATURES, dynamic_flow
from tests.support.projects import ProjectFactory, TestProject
from tests.support.sshd import Sshd, running
from tests.support.user import summary
from tests.support.waiting import wait_until


@pytest.fixture
def machine(tmp_path: Path, peer_python: Path) -> Iterator[Sshd]:
    """A server whose login shell finds jobflow-remote and the jobs of the tests, and no jfr-mp."""
    server = Sshd(tmp_path / "machine")
    server.export(PATH=f"{peer_python.parent}:/usr/bin:/bin")
    assert shutil.which("jfr-mp", path=str(peer_python.parent)) is None
    yield from running(server)


@pytest.fixture
def project(fresh_project: ProjectFactory, machine: Sshd, tmp_path: Path) -> TestProject:
    far = machine.worker(tmp_path / "it's far", execution_cmd="jf -fe execution run {}")
    return shared_project(fresh_project, workers={"far": far})


def test_their_worker_command_runs_our_jobs_over_ssh(
    project: TestProject, started: Callable[..., None], tmp_path: Path
) -> None:
    # Given flows with all that a job can return, on a machine that does not have our command
    ledger = tmp_path / "ledger"
    submit_flow(dynamic_flow(ledger), worker="far")
    stored = flows.stores_blob(3)
    last = flows.reads_blob(stored.output)
    submit_flow(Flow([stored, last]), worker="far")
    # When our processes run them
    started()
    jobs = project.db.jobs
    ends = ["COMPLETED", "FAILED", "REMOTE_ERROR"]
    wait_until(lambda: not jobs.find_one({"state": {"$nin": ends}}), 200, "the end of all jobs")
    # Then all complete, each was run once, and their outputs are in the JobStores
    assert not summary(jobs.find({"state": {"$ne": "COMPLETED"}}))
    assert ledger_lines(ledger) == SIGNATURES
    output = project.db.outputs.find_one({"uuid": last.uuid})
    assert output is not None
    assert output["output"] == 30
    assert project.db.data.count_documents({"job_uuid": stored.uuid}) == 1
