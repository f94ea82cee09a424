"""A user at a terminal: types commands, reads what they print, and looks at what has become of the jobs."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

from jfr_mp.errors import ExitCode
from tests.support.processes import run_cli
from tests.support.projects import TestProject
from tests.support.waiting import wait_until

_FLOW_FILE = """\
from jobflow import Flow, JobConfig
from tests.support.jobs import *

{setup}
flow = {expression}
"""

Doc = dict[str, Any]


@dataclass
class User:
    """Somebody who works on one project.

    Parameters
    ----------
    project
        The project, which is the chosen one in the user's environment.
    desk
        The directory in which the commands are typed.
    """

    project: TestProject
    desk: Path
    _files: int = field(default=0, init=False)

    # Commands

    def types(self, *argv: str, timeout: float = 90.0) -> CompletedProcess[str]:
        """Run ``jfr-mp ARGV`` and return what it printed, whatever its exit code."""
        return run_cli(*argv, env=self.project.env, cwd=self.desk, timeout=timeout)

    def shell(self, line: str) -> CompletedProcess[str]:
        """Run a line of shell."""
        env, argv = self.project.env, ["bash", "-c", line]
        return subprocess.run(argv, env=env, cwd=self.desk, text=True, capture_output=True, timeout=90, check=False)

    def ok(self, *argv: str) -> str:
        """Run a command that has to succeed; return its standard output."""
        done = self.types(*argv)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def json(self, *argv: str, code: ExitCode = ExitCode.OK) -> Any:
        """Run a command with ``--json`` and return what it printed."""
        done = self.types(*argv, "--json")
        assert done.returncode == code, done.stdout + done.stderr
        return json.loads(done.stdout)

    def refused(self, *argv: str, code: ExitCode) -> str:
        """Run a command that has to fail with one clear error; return its standard error on one line."""
        done = self.types(*argv)
        assert done.returncode == code, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return " ".join(done.stderr.split())

    def flow_file(self, expression: str, setup: str = "") -> Path:
        """Write a file whose `flow` is a Python expression over the jobs of `tests.support.jobs`."""
        self._files += 1
        path = self.desk / f"my_flow_{self._files}.py"
        path.write_text(_FLOW_FILE.format(expression=expression, setup=setup))
        return path

    def submit(self, expression: str, *options: str, setup: str = "") -> Submitted:
        """Submit the flow that such an expression gives."""
        answer = self.json("submit", str(self.flow_file(expression, setup)), *options)
        return Submitted(self.project, tuple(answer["db_ids"]))

    # Processes

    def start(self, *options: str) -> Doc:
        """Start a master and return its row of the status."""
        before = {master["pid"] for master in self.masters()}
        self.ok("start", *options)
        return next(master for master in self.masters() if master["pid"] not in before)

    def masters(self) -> list[Doc]:
        """Return the rows of all masters, whether there is one or not."""
        masters: list[Doc] = json.loads(self.types("status", "--json").stdout)["masters"]
        return masters

    def role(self, name: str) -> Doc:
        """Return the row of a role process of the only master."""
        (master,) = self.masters()
        found: Doc = next(role for role in master["roles"] if role["name"] == name)
        return found

    def log(self, name: str) -> str:
        """Return the whole log of a process, such as ``transfer-1`` or ``master``."""
        return (self.project.base_dir / "log" / "jfr_mp" / f"{name}.log").read_text()


@dataclass(frozen=True)
class Submitted:
    """A flow in the queue.

    Parameters
    ----------
    project
        Where it was submitted.
    db_ids
        Its jobs at that time, in the order of the flow.
    """

    project: TestProject
    db_ids: tuple[str, ...]

    def job(self, number: int = 0) -> Doc:
        """Return the document of a job that was submitted."""
        return self.by_db_id(self.db_ids[number])

    def by_db_id(self, db_id: str) -> Doc:
        """Return the document of any job of the project."""
        job = self.project.db.jobs.find_one({"db_id": db_id})
        assert job is not None, f"there is no job {db_id}"
        return job

    @property
    def flow(self) -> Doc:
        """The document of the flow."""
        flow = self.project.db.flows.find_one({"uuid": self.job()["job"]["hosts"][-1]})
        assert flow is not None
        return flow

    @property
    def jobs(self) -> list[Doc]:
        """The documents of all its jobs, those that were created on the way included, in the order of their ids."""
        jobs = self.project.db.jobs.find({"job.hosts": self.flow["uuid"]})
        return sorted(jobs, key=lambda job: int(job["db_id"]))

    @property
    def states(self) -> list[str]:
        """The states of `jobs`."""
        return [job["state"] for job in self.jobs]

    def output(self, job: Doc, collection: str = "outputs") -> Any:
        """Return what a job has left in the JobStore of a collection; None where there is nothing."""
        found = self.project.db[collection].find_one({"uuid": job["uuid"], "index": job["index"]})
        return found and found["output"]

    @property
    def outputs(self) -> list[Any]:
        """The outputs of `jobs`."""
        return [self.output(job) for job in self.jobs]

    def wait_for(self, *states: str, timeout: float = 60.0) -> Submitted:
        """Wait until the flow is in one of these states."""
        self._wait(lambda: self.flow["state"] in states, timeout, f"a flow that is {' or '.join(states)}")
        return self

    def wait_for_states(self, states: Sequence[str], timeout: float = 60.0) -> Submitted:
        """Wait until its jobs, in the order of their ids, are in these states."""
        self._wait(lambda: self.states == list(states), timeout, f"jobs that are {', '.join(states)}")
        return self

    def wait_for_job(self, *states: str, number: int = 0, timeout: float = 60.0) -> Doc:
        """Wait until a job that was submitted is in one of these states, and return its document."""
        what = f"a job {self.db_ids[number]} that is {' or '.join(states)}"
        self._wait(lambda: self.job(number)["state"] in states, timeout, what)
        return self.job(number)

    def _wait(self, predicate: Callable[[], bool], timeout: float, what: str) -> None:
        try:
            wait_until(predicate, timeout, what)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{summary(self.jobs)}") from None


def summary(jobs: Iterable[Doc]) -> str:
    """Return what to look at when jobs are not what they should be."""
    return "\n".join(
        f"{job['db_id']} {job['job']['name']}: {job['state']}, lock {job['lock_id']}, retry at "
        f"{job['remote']['retry_time_limit']}; {job['error'] or job['remote']['error'] or 'no error'}"
        for job in jobs
    )


def all_pids(masters: Sequence[Doc]) -> list[int]:
    """Return the pids of masters and of their role processes."""
    return [pid for master in masters for pid in (master["pid"], *(role["pid"] for role in master["roles"])) if pid]
