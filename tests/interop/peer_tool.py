"""Runs in the environment of jobflow-remote: ``peer_tool.py FUNCTION [ARGUMENT...]``."""

from __future__ import annotations

import json
import sys
import time
from contextlib import ExitStack

from jobflow_remote import ConfigManager, JobController
from jobflow_remote import submit_flow as peer_submit_flow
from jobflow_remote.cli.jf import app
from jobflow_remote.config.base import LogLevel
from jobflow_remote.jobs.runner import Runner
from jobflow_remote.utils.db import MongoLock
from typer.testing import CliRunner

from tests.interop.flows import FLOWS, submit_all

#: The states that its runner takes a job out of.
MOVING = ["READY", "CHECKED_OUT", "UPLOADED", "SUBMITTED", "RUNNING", "RUN_FINISHED", "DOWNLOADED"]


def prepare() -> None:
    """Set up the database of the project, as `jf admin reset` does."""
    JobController.from_project_name().reset(max_limit=0)


def submit(*names: str) -> None:
    """Submit these flows, or all."""
    submit_all(peer_submit_flow, names or FLOWS)


def run_all() -> None:
    """Run until no job is left that could move, without the long pauses of the runner's own loop."""
    runner = Runner(log_level=LogLevel.WARN)
    deadline = time.monotonic() + 240
    while runner.job_controller.count_jobs(query={"state": {"$in": MOVING}}):
        assert time.monotonic() < deadline, "the jobs did not end in time"
        runner.checkout()
        runner.advance_state(["CHECKED_OUT", "UPLOADED", "RUN_FINISHED", "DOWNLOADED"])
        runner.check_run_status()
        time.sleep(0.2)
    runner.cleanup()


def upload(*projects: str) -> None:
    """Check out and upload the jobs of projects."""
    for project in projects:
        runner = Runner(project, log_level=LogLevel.WARN)
        runner.checkout()
        runner.advance_state(["CHECKED_OUT"])
        runner.cleanup()


def advance(state: str, *projects: str) -> None:
    """Take the jobs of projects that are in a state through their next step."""
    for project in projects:
        runner = Runner(project, log_level=LogLevel.WARN)
        runner.advance_state([state])
        runner.cleanup()


def update_batches(*projects: str) -> None:
    """Look after the jobs of batch workers, without submitting batches."""
    for project in projects:
        runner = Runner(project, log_level=LogLevel.WARN)
        runner.update_batch_jobs(submit=False)
        runner.cleanup()


def hold(collection: str, *uuids: str) -> None:
    """Lock documents, say so, and unlock them at the end of the input."""
    controller = ConfigManager().get_project().get_job_controller()
    with ExitStack() as stack:
        for uuid in uuids:
            lock = stack.enter_context(MongoLock(getattr(controller, collection), {"uuid": uuid}))
            assert lock.locked_document, f"{uuid} cannot be locked"
        print("held", flush=True)
        sys.stdin.read()


def commands(*lines: str) -> None:
    """Run command lines of `jf`, each given as a JSON list of words; print the words and the output of each failure."""
    runner = CliRunner()
    for line in lines:
        done = runner.invoke(app, json.loads(line))
        if done.exit_code != 0:
            print(line, done.output, done.exception)


def dump(path: str) -> None:
    """Back up the database of the project."""
    JobController.from_project_name().backup_dump(path, python=True, compress=True)


def restore(path: str) -> None:
    """Restore a backup into the database of the project."""
    JobController.from_project_name().backup_restore(path, python=True)


def infos() -> None:
    """Print what the controller says of all jobs and flows, as JSON."""
    controller = JobController.from_project_name()
    found = [
        controller.get_jobs_info(sort=[("db_id", 1)]),
        controller.get_flows_info(sort=[("uuid", 1)]),
        controller.get_flows_info(sort=[("uuid", 1)], jobs_sort=[("db_id", 1)], with_jobs_info=True),
    ]
    print(json.dumps([[info.model_dump(mode="json", exclude={"jobs_info"}) for info in each] for each in found]))


if __name__ == "__main__":
    name, *arguments = sys.argv[1:]
    globals()[name](*arguments)
