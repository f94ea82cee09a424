"""Batch workers: each package's batch processes serve the jobs that the other put into the pool."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from jobflow import Flow

from jfr_mp import Runner, submit_flow
from tests.interop.conftest import shared_project
from tests.support import jobs
from tests.support.peer import Peer
from tests.support.processes import Processes, end, pids_with
from tests.support.projects import ProjectFactory, TestProject
from tests.support.waiting import wait_until

COUNT = 4


@pytest.fixture
def pool(tmp_path: Path) -> Path:
    return tmp_path / "pool"


@pytest.fixture
def make_project(fresh_project: ProjectFactory, tmp_path: Path, pool: Path) -> Callable[..., TestProject]:
    """Call it to get a project with a batch worker that both packages work on."""

    def make(**worker: Any) -> TestProject:
        batch = {"jobs_handle_dir": str(pool), "work_dir": str(tmp_path / "batches"), "parallel_jobs": 2, "max_wait": 3}
        return shared_project(fresh_project, worker={"max_jobs": 1, "batch": batch, **worker})

    return make


def submit(ledger: Path) -> None:
    submit_flow(Flow([jobs.writes_ledger(str(ledger), f"job-{n}") for n in range(COUNT)]))


def states(project: TestProject) -> set[str]:
    return {document["state"] for document in project.db.jobs.find()}


def test_their_batch_process_serves_our_jobs(
    make_project: Callable[..., TestProject], open_runner: Callable[[str], Runner], peer_python: Path, tmp_path: Path
) -> None:
    # Given a worker that has jobflow-remote alone
    jf = peer_python.with_name("jf")
    project = make_project(execution_cmd=f"{jf} -fe execution run {{}}")
    ledger = tmp_path / "ledger"
    submit(ledger)

    # When we run the jobs
    runner = open_runner(project.name)
    try:
        runner.run_all_jobs(max_seconds=100)
    finally:
        for pid in pids_with("JFREMOTE_PROJECTS_FOLDER", project.env["JFREMOTE_PROJECTS_FOLDER"]):
            end(pid)

    # Then its batch process has run each of them once
    assert states(project) == {"COMPLETED"}
    assert jobs.ledger_lines(ledger) == [f"job-{n}" for n in range(COUNT)]
    script = next((tmp_path / "batches").rglob("submit.sh")).read_text()
    assert f"{jf} -fe execution run-batch" in script

    # And its command line understands what we wrote about it
    (batch,) = project.db.batches.find()
    assert batch["process_id"] in Peer(peer_python, project).check("batch", "info", batch["batch_uid"])


def test_our_batch_process_serves_their_jobs(
    make_project: Callable[..., TestProject], pool: Path, peer_python: Path, processes: Processes, tmp_path: Path
) -> None:
    # Given jobs that their runner put into the pool
    project = make_project()
    ledger = tmp_path / "ledger"
    submit(ledger)
    peer = Peer(peer_python, project)
    peer.tool("upload", project.name)
    peer.tool("advance", "UPLOADED", project.name)
    assert states(project) == {"BATCH_SUBMITTED"}

    # When a batch process of ours runs
    batch_dir = tmp_path / "allocation"
    batch_dir.mkdir()
    argv = ["jfr-mp", "execution", "run-batch", str(project.work_dir), str(pool), str(uuid4())]
    process = processes.start(["env", *argv, "-pj", "2", "-mw", "1"], env=peer.env, cwd=batch_dir)
    wait_until(lambda: process.poll() is not None, 100, "the end of the batch process")
    assert process.returncode == 0, processes.output(process)

    # Then their runner finds the jobs done, each once
    peer.tool("update_batches", project.name)
    peer.tool("advance", "DOWNLOADED", project.name)
    assert states(project) == {"COMPLETED"}
    assert jobs.ledger_lines(ledger) == [f"job-{n}" for n in range(COUNT)]
