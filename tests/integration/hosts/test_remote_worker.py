"""Jobs of workers that are reached by SSH, from their submission to their end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jfr_mp import Runner, submit_flow
from tests.support import jobs
from tests.support.projects import ProjectFactory, TestProject
from tests.support.sshd import Sshd, running


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Sshd]:
    """A server whose login shell finds jfr-mp and the jobs of the tests."""
    server = Sshd(tmp_path / "cluster")
    server.offer_jfr_mp()
    with (server.home / ".bash_profile").open("a") as profile:
        profile.write("echo Welcome\n")
    yield from running(server)


def project_on(fresh_project: ProjectFactory, server: Sshd, work_dir: Path, kind: str) -> TestProject:
    """Make a project whose workers `far` and `too` are on a server that its user knows."""
    fields: dict[str, Any] = {"type": kind}
    if kind == "separated_transfer":
        fields["transfer"] = {"host": server.host}
    workers = {name: server.worker(work_dir / name, **fields) for name in ("far", "too")}
    project = fresh_project(workers=workers)
    ssh = Path(project.env["HOME"], ".ssh")
    ssh.mkdir()
    (ssh / "known_hosts").write_text(server.known_hosts_line())
    return project


@pytest.mark.parametrize("kind", ["remote", "separated_transfer"])
def test_a_chain_on_two_workers_of_one_host(
    fresh_project: ProjectFactory, cluster: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    # Given two workers on one host, whose work_dir needs quoting
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    project = project_on(fresh_project, cluster, tmp_path / "it's work é", kind)
    ledger = tmp_path / "ledger"
    submit_flow(jobs.chain(2, ledger), worker="far")
    submit_flow(jobs.add(1), worker="too")
    # When the runner has run all there is
    runner = Runner()
    try:
        runner.run_all_jobs(max_seconds=90)
        outputs = [document["output"] for document in project.db.outputs.find().sort("metadata.db_id")]
    finally:
        runner.cleanup()
    # Then each job ran once and its output is in the JobStore, over one connection for commands and files
    states = [(job["state"], job["remote"]["error"]) for job in project.db.jobs.find()]
    assert states == [("COMPLETED", None)] * 3
    assert ledger.read_text().split() == ["link-0", "link-1"]
    assert sorted(outputs) == [0, 1, 2]
    assert cluster.logins == 1
    # Then no half file is left anywhere
    assert not list(tmp_path.rglob(".*.part"))


def test_what_a_job_said_comes_back(
    fresh_project: ProjectFactory, cluster: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a job that is killed
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    project = project_on(fresh_project, cluster, tmp_path / "work", "remote")
    submit_flow(jobs.kills_itself(), worker="far")
    # When the runner has run it
    runner = Runner()
    try:
        runner.run_all_jobs(max_seconds=90)
    finally:
        runner.cleanup()
    # Then the job says so
    job = project.db.jobs.find_one()
    assert job is not None
    assert job["state"] == "FAILED"
    assert "killed" in job["error"].lower()
