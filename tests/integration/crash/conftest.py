"""Deployments on two machines, in which a test can make any process die, stop or see an error at a named place."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

from jfr_mp import faultpoints, submit_flow
from tests.support.jobs import ledger_lines
from tests.support.ledger_jobs import SIGNATURES, dynamic_flow
from tests.support.mongod import Mongod
from tests.support.processes import is_alive, run, wait_gone
from tests.support.projects import ProjectFactory, TestProject
from tests.support.user import summary
from tests.support.waiting import wait_until

#: Seconds.
LEASE_TTL = 2.0

_OPTIONS = {"lease_ttl": LEASE_TTL, "heartbeat_interval": 0.4, "probe_interval": 0.2}
_RUNNER = {"delay_check_run_status": 1, "delta_retry": [0, 0, 0]}

Doc = dict[str, Any]


@dataclass
class Deployment:
    """Masters of one project on machines that differ in their host name.

    Parameters
    ----------
    project
        What they work on.
    directory
        Where faults and ledgers are.
    """

    project: TestProject
    directory: Path
    flows: int = field(default=0, init=False)

    def start(self, *hosts: str) -> None:
        """Start masters with all roles on other machines, as far as their host names go."""

        def start(host: str) -> CompletedProcess[str]:
            script = f"hostname {host} && exec jfr-mp start"
            return run(["unshare", "--uts", "sh", "-c", script], env=self.project.env, timeout=90)

        with ThreadPoolExecutor() as pool:
            for done in pool.map(start, hosts):
                assert done.returncode == 0, done.stdout + done.stderr

    def arm(self, point: str, action: str) -> None:
        """Let the next process that reaches a point do what `action` says."""
        faults = self.directory / "faults"
        for earlier in faults.glob(f"{point}.*"):
            earlier.unlink()
        # By a rename: a process could read the file before its content is there.
        ready = faults / f"new {point}"
        ready.write_text(action)
        ready.rename(faults / point)

    def wait_struck(self, point: str) -> int:
        """Wait until a process has reached a point that was armed, and return its pid."""
        faults = self.directory / "faults"
        (taken,) = wait_until(lambda: list(faults.glob(f"{point}.*")), 30, f"a process at {point}\n{self.jobs()}")
        return int(taken.suffix[1:])

    def submit(self) -> Path:
        """Submit a flow, and return its ledger."""
        self.flows += 1
        ledger = self.directory / f"ledger {self.flows}"
        submit_flow(dynamic_flow(ledger), worker="local")
        return ledger

    def registered(self) -> dict[int, Doc]:
        """Return the entries of the registry by pid."""
        return {record["pid"]: record for record in self.project.db.jfr_mp_processes.find()}

    def jobs(self) -> str:
        """Return what to look at when something never comes."""
        return summary(self.project.db.jobs.find({"state": {"$ne": "COMPLETED"}}))

    def assert_all_is_well(self, ledger: Path) -> None:
        """Wait until all flows have ended, and find each job run once and nothing left behind."""
        db = self.project.db
        open_jobs, open_flows = {"state": {"$ne": "COMPLETED"}}, {"state": {"$ne": "COMPLETED"}}
        try:
            wait_until(lambda: not db.jobs.find_one(open_jobs) and not db.flows.find_one(open_flows), 40, "the end")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.jobs()}") from None
        assert ledger_lines(ledger) == SIGNATURES
        assert db.jobs.count_documents({}) == len(SIGNATURES) * self.flows
        wait_until(lambda: not self.locked(), 2 * LEASE_TTL, "the end of all locks")
        wait_until(lambda: all(map(is_alive, self.registered())), 2 * LEASE_TTL, "a registry of living processes")

    def locked(self) -> list[Doc]:
        """Return the documents that are locked."""
        db = self.project.db
        locked = {"lock_id": {"$ne": None}}
        return [document for each in (db.jobs, db.flows, db.jf_auxiliary) for document in each.find(locked)]

    def kill(self) -> None:
        """Kill all masters and their role processes: a drain of each in its turn would take long."""
        pids = [pid for pid in self.registered() if is_alive(pid)]
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        wait_gone(pids)


def resume(pid: int) -> None:
    """Let a stopped process go on."""
    os.kill(pid, signal.SIGCONT)


Deploy = Callable[[Mongod], Deployment]


@pytest.fixture(scope="module")
def deploy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deploy]:
    """Call it with a server to get a deployment without masters; all of them end with the module."""
    with ExitStack() as stack:

        def make(server: Mongod) -> Deployment:
            directory = tmp_path_factory.mktemp("crash")
            (directory / "faults").mkdir()
            monkeypatch = stack.enter_context(pytest.MonkeyPatch.context())
            monkeypatch.setenv(faultpoints.VARIABLE, str(directory / "faults"))
            factory = ProjectFactory(directory, monkeypatch, server)
            stack.callback(factory.remove)
            project = factory("crash", metadata={"jfr_mp": _OPTIONS}, runner=_RUNNER)
            deployment = Deployment(project, directory)
            stack.callback(deployment.kill)
            return deployment

        yield make


@pytest.fixture(scope="module")
def replica(deploy: Deploy, mongod_replica: Mongod) -> Deployment:
    """Two machines with a database that has transactions."""
    return _two_machines(deploy(mongod_replica))


@pytest.fixture(scope="module")
def standalone(deploy: Deploy, mongod_standalone: Mongod) -> Deployment:
    """Two machines with a database that has none."""
    return _two_machines(deploy(mongod_standalone))


def _two_machines(deployment: Deployment) -> Deployment:
    deployment.start("login-1", "login-2")
    return deployment
