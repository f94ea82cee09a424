"""What becomes of jobs when a scheduler refuses, lies, hangs, forgets or goes away: on a real Slurm."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from jfr_mp import Runner, submit_flow
from tests.support import jobs
from tests.support.projects import TestProject
from tests.support.slurm import Slurm
from tests.support.waiting import wait_until


def document(project: TestProject, db_id: str) -> dict[str, Any]:
    found = project.db.jobs.find_one({"db_id": db_id})
    assert found is not None
    return found


def submitted(project: TestProject, runner: Runner, db_id: str) -> dict[str, Any]:
    runner.checkout()
    runner.advance_state(["CHECKED_OUT"])
    runner.advance_state(["UPLOADED"])
    return document(project, db_id)


@contextmanager
def fake(name: str, body: str, directory: Path) -> Iterator[None]:
    """Put a command on PATH, before the real one."""
    command = directory / "bin" / name
    command.parent.mkdir(exist_ok=True)
    command.write_text(f"#!/bin/sh\n{body}\n")
    command.chmod(0o755)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", str(command.parent), prepend=os.pathsep)
        yield
    command.unlink()


# Submission

REFUSED, WAITS, TRIES = ("REMOTE_ERROR", 0), ("UPLOADED", 0), ("UPLOADED", 1)
POLICY = "Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)"
#: What sbatch does, where the job then is and how many attempts it has spent, and what it says.
SUBMISSIONS = {
    "a bad partition": ('/usr/bin/sbatch --partition=nowhere "$@"', REFUSED, "invalid partition specified: nowhere"),
    "an invalid account": (
        "echo 'sbatch: error: Batch job submission failed: Invalid account or account/partition combination specified'"
        " >&2; exit 1",
        REFUSED,
        "Invalid account or account/partition combination",
    ),
    "no sbatch": ("exec /nowhere/sbatch", REFUSED, "sbatch: there is no such command.* PATH of a shell on the host"),
    "a limit of the site": (
        f"""echo 'sbatch: error: QOSMaxSubmitJobPerUserLimit' >&2
        echo "sbatch: error: Batch job submission failed: {POLICY}" >&2; exit 1""",
        WAITS,
        "QOSMaxSubmitJobPerUserLimit",
    ),
    "a controller that is away": (
        "echo 'sbatch: error: Batch job submission failed: Unable to contact slurm controller' >&2; exit 1",
        WAITS,
        "Unable to contact slurm controller",
    ),
    "an sbatch that hangs": ("sleep 100", WAITS, "sbatch: the command did not finish within 1 s"),
    "an sbatch that hangs when it is done": (
        '/usr/bin/sbatch "$@" >/dev/null; sleep 100',
        WAITS,
        "did not finish within",
    ),
    "rubbish": ("echo what?", TRIES, "the command printed no job id, but 'what[?]'"),
    "rubbish from an sbatch that did its work": ('/usr/bin/sbatch "$@" | rev', TRIES, "the command printed no job id"),
    "an error that nobody knows": ("echo 'sbatch: error: oops' >&2; exit 1", TRIES, "this machine: sbatch: oops"),
}


@pytest.mark.parametrize("name", SUBMISSIONS)
def test_a_submission_that_fails(
    project: TestProject, new_runner: Callable[[], Runner], slurm: Slurm, tmp_path: Path, name: str
) -> None:
    # Given an sbatch that does not do what it should
    body, (state, attempts), says = SUBMISSIONS[name]
    (db_id,) = submit_flow(jobs.add(1), resources={"partition": "down"})
    runner = new_runner()
    runner.get_worker("local").timeout_execute = 1 if "hangs" in name else 60
    with fake("sbatch", body, tmp_path):
        # When a job is submitted
        job = submitted(project, runner, db_id)
    # Then it waits, is retried or has failed, and says why in one line
    assert (job["state"], job["remote"]["step_attempts"], job["lock_id"]) == (state, attempts, None), job["remote"]
    assert re.search(says, job["remote"]["error"]), job["remote"]["error"]
    assert "\n" not in job["remote"]["error"]
    # When the cause is gone, and its time has come or somebody has retried it
    again = {"state": "UPLOADED", "previous_state": None, "remote.retry_time_limit": None}
    project.db.jobs.update_one({}, {"$set": again})
    job = submitted(project, new_runner(), db_id)
    # Then the scheduler has it, once
    assert job["state"] == "SUBMITTED", job["remote"]
    assert slurm.run("squeue", "-h", "-o", "%i") == job["remote"]["process_id"]


def test_what_nobody_tells_is_not_guessed(project: TestProject, runner: Runner, slurm: Slurm, tmp_path: Path) -> None:
    # Given an sbatch whose answer is lost, and an squeue that fails
    (db_id,) = submit_flow(jobs.add(1), resources={"partition": "down"})
    with fake("sbatch", SUBMISSIONS["rubbish from an sbatch that did its work"][0], tmp_path):
        submitted(project, runner, db_id)
    for _ in range(2):
        project.db.jobs.update_one({}, {"$set": {"remote.retry_time_limit": None}})
        with fake("squeue", LIES["failure"], tmp_path):
            # When the job is submitted again
            job = submitted(project, runner, db_id)
        # Then it waits, and spends no further attempt
        assert (job["state"], job["remote"]["step_attempts"]) == ("UPLOADED", 1)
        assert "left no id; the job waits until the scheduler answers" in job["remote"]["error"]
    # When squeue works again, then the job is found
    job = submitted(project, runner, db_id)
    assert job["state"] == "SUBMITTED"
    assert slurm.run("squeue", "-h", "-o", "%i") == job["remote"]["process_id"]


# Jobs that end without a word

ENDS = {
    "cancelled before it started": ("down", ["scancel"], "was cancelled before it started"),
    "cancelled": ("main", ["scancel"], "CANCELLED"),
    "killed with its script": ("main", ["scancel", "--full", "--signal=KILL"], "killed"),
    "forgotten": ("down", ["scancel"], "was cancelled before it started"),
}


@pytest.mark.parametrize("end", ENDS)
def test_a_job_that_ends_behind_our_back(
    project: TestProject, runner: Runner, slurm: Slurm, tmp_path: Path, end: str
) -> None:
    # Given a job that waits, or runs
    partition, command, says = ENDS[end]
    ledger = tmp_path / "ledger"
    (db_id,) = submit_flow(
        jobs.waits_for(str(tmp_path / "never"), ledger=str(ledger)), resources={"partition": partition}
    )
    process_id = submitted(project, runner, db_id)["remote"]["process_id"]
    if partition == "main":
        wait_until(ledger.exists, 60, "the start of the job")
    # When somebody ends it, and perhaps the scheduler remembers nothing
    slurm.run(*command, process_id)
    if end == "forgotten":
        wait_until(lambda: not slurm.run("scontrol", "show", "job", process_id), 120, "a scheduler that forgets")

    def state() -> str:
        runner.check_run_status()
        return str(document(project, db_id)["state"])

    # Then that is found out
    wait_until(lambda: state() == "DOWNLOADED", 60, "the news of its end")
    runner.advance_state(["DOWNLOADED"])
    job = document(project, db_id)
    assert job["state"] == "FAILED"
    assert says in job["error"]


# Asking

LIES = {
    "nothing": "exit 0",
    "only the heading": "/usr/bin/squeue --jobs=999999,999999 | head -n 1",
    "half": '/usr/bin/squeue "$@" | head -n 1',
    "an unknown state": "/usr/bin/squeue \"$@\" | sed 's/<><> R<><>/<><> ODD<><>/'",
    "rubbish": "echo what?",
    "no squeue": "exec /nowhere/squeue",
    "an squeue that hangs": "sleep 100",
    "failure": "echo 'slurm_load_jobs error: Unable to contact slurm controller' >&2; exit 1",
}


def test_a_squeue_that_lies_ends_no_job(project: TestProject, runner: Runner, tmp_path: Path) -> None:
    # Given a job that runs until it is told to end
    gate = tmp_path / "gate"
    (db_id,) = submit_flow(jobs.waits_for(str(gate), 60))
    submitted(project, runner, db_id)

    def state() -> str:
        runner.check_run_status()
        return str(document(project, db_id)["state"])

    wait_until(lambda: state() == "RUNNING", 60, "the start of the job")
    manager = runner.get_queue_manager("local")
    for name, lie in LIES.items():
        manager.timeout = 1 if "hangs" in name else 60
        # When squeue says something else
        with fake("squeue", lie, tmp_path):
            # Then the job runs on, and has spent no attempt
            assert [state() for _ in range(3)] == ["RUNNING"] * 3, name
            assert document(project, db_id)["remote"]["step_attempts"] == 0, name
    # And it completes when squeue is itself again
    gate.touch()
    runner.run_all_jobs(max_seconds=60)
    assert state() == "COMPLETED"
