"""Everything that a group can have, in one project: Slurm, Grid Engine behind a gateway, a host that sends its files by
way of another, and two workers on one host. One `jfr-mp start` serves all of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from jobflow import Flow

from jfr_mp import submit_flow
from tests.acceptance.conftest import NewUser
from tests.support.jobs import ledger_lines, waits_for
from tests.support.ledger_jobs import SIGNATURES, dynamic_flow, signs
from tests.support.processes import JFR_MP, ROOT
from tests.support.sge import GridEngine
from tests.support.slurm import Slurm
from tests.support.sshd import Gateway, Sshd, connections, running
from tests.support.user import summary
from tests.support.waiting import wait_until

#: How many jobs each of the plain flows has, and how many dynamic flows there are: together they execute 40 jobs.
WIDTH, DYNAMIC_FLOWS = 10, 8
#: Where a job does not move any more.
ENDS = ["COMPLETED", "FAILED", "REMOTE_ERROR"]
#: Jobs that did not complete, or not at the first attempt.
UNEXPECTED = {"$or": [{"state": {"$ne": "COMPLETED"}}, {"remote.step_attempts": {"$ne": 0}}]}

Doc = dict[str, Any]


@dataclass(frozen=True)
class Site:
    """The machines.

    Parameters
    ----------
    login
        Where Slurm is.
    files
        Takes the files of `login`, and no commands.
    gateway, inner
        The way to Grid Engine, and the host that has it.
    """

    login: Sshd
    files: Sshd
    gateway: Gateway
    inner: Sshd

    def workers(self, directory: Path) -> dict[str, Doc]:
        """Return the workers of a project."""
        work_dirs = {name: directory / "it's" / name for name in ("slurm", "shell", "separated", "sge")}
        inside = self.inner.worker(
            work_dirs["sge"],
            scheduler_type="sge",
            gateway=self.gateway.address,
            # Grid Engine gives its jobs no variable of those who submit them.
            pre_run=f"export PYTHONPATH={ROOT}",
            execution_cmd=f"{JFR_MP} execution run {{}}",
        )
        return {
            "slurm": self.login.worker(work_dirs["slurm"], scheduler_type="slurm"),
            "shell": self.login.worker(work_dirs["shell"], login_shell=True, timeout_execute=30, max_jobs=3),
            "separated": self.login.worker(
                work_dirs["separated"], type="separated_transfer", transfer=self.files.address
            ),
            "sge": inside,
        }


@pytest.fixture
def files(tmp_path: Path) -> Sshd:
    """A server for files, not started."""
    server = Sshd(tmp_path / "files")
    with (server.directory / "sshd_config").open("a") as config:
        config.write("ForceCommand internal-sftp\n")
    return server


@pytest.fixture
def site(tmp_path: Path, files: Sshd, slurm: Slurm, grid_engine: GridEngine) -> Iterator[Site]:
    namespace = grid_engine.namespace
    site = Site(
        Sshd(tmp_path / "login"),
        files,
        Gateway(tmp_path / "gateway", namespace),
        Sshd(tmp_path / "inner", prefix=namespace.enter),
    )
    site.login.offer_jfr_mp(path=None, **slurm.env)
    site.inner.offer_jfr_mp(path=grid_engine.bin)
    with ExitStack() as stack:
        for server in (site.login, site.files, site.gateway, site.inner):
            stack.callback(server.stop)
            server.start()
        yield site


@pytest.mark.timeout(400)
def test_one_start_serves_all_clusters(new_user: NewUser, site: Site, tmp_path: Path) -> None:
    # Given jobs for all workers
    user = new_user(workers=site.workers(tmp_path), runner={"delay_check_run_status": 2})
    dynamic = [tmp_path / f"ledger {number}" for number in range(DYNAMIC_FLOWS)]
    for ledger in dynamic:
        submit_flow(dynamic_flow(ledger), worker="slurm")
    plain = {worker: tmp_path / f"ledger of {worker}" for worker in ("sge", "separated", "shell")}
    names = [f"job {number}" for number in range(WIDTH)]
    for worker, ledger in plain.items():
        submit_flow(Flow([signs(str(ledger), name) for name in names]), worker=worker)

    # When one command starts everything
    master = user.start("--num-transfer", "2")

    # Then all jobs complete, at the first attempt
    jobs = user.project.db.jobs
    wait_until(lambda: not jobs.find_one({"state": {"$nin": ENDS}}), 240, "the end of all jobs")
    assert not summary(jobs.find(UNEXPECTED))

    # And each was executed once
    assert [ledger_lines(ledger) for ledger in dynamic] == [SIGNATURES] * DYNAMIC_FLOWS
    assert {worker: ledger_lines(ledger) for worker, ledger in plain.items()} == dict.fromkeys(plain, names)

    # And each process has connected once to each host, however many workers are there
    with_hosts = {role["pid"] for role in master["roles"] if role["role"] in ("transfer", "queue")}
    for server in (site.login, site.files, site.gateway):
        open_now = connections(server)
        assert set(open_now) <= with_hosts
        assert set(open_now.values()) == {1}
        assert len(open_now) == server.logins
    assert site.inner.logins <= len(with_hosts)

    # And nothing is left: no lock, no half file
    user.ok("stop")
    for collection in (jobs, user.project.db.flows, user.project.db.jf_auxiliary):
        assert not collection.find_one({"lock_id": {"$ne": None}})
    assert not list(tmp_path.rglob(".*.part"))


def test_jobs_wait_for_a_transfer_host(new_user: NewUser, files: Sshd, tmp_path: Path) -> None:
    # Given a job that runs, and one that is to be uploaded, when the host for files goes away
    login = Sshd(tmp_path / "login")
    login.offer_jfr_mp()
    with contextmanager(running)(login), contextmanager(running)(files):
        user = new_user(
            workers={"far": login.worker(tmp_path / "far", type="separated_transfer", transfer=files.address)},
            runner={"delay_check_run_status": 1, "max_step_attempts": 1},
        )
        gate, ledger = tmp_path / "gate", tmp_path / "ledger"
        jobs = user.project.db.jobs
        user.start()
        submit_flow(waits_for(str(gate), 1, str(ledger)), worker="far")
        wait_until(lambda: jobs.find_one({"state": "RUNNING"}), 60, "a job that runs")
        files.kill()
        submit_flow(signs(str(ledger), "2"), worker="far")
        gate.touch()

        # Then status says which one
        why = f"{files.host}:{files.port}: Connection refused"
        wait_until(lambda: why in user.types("status").stderr, 60, "an outage in the status")

        # And when it is back, both jobs complete at the first attempt
        files.start()
        wait_until(lambda: not jobs.find_one({"state": {"$nin": ENDS}}), 90, "the end of both jobs")
        assert not summary(jobs.find(UNEXPECTED))
        assert ledger_lines(ledger) == ["1", "2"]
