"""A process of the host is started once, with real processes that are killed where it hurts."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from jfr_mp.errors import SchedulerError
from jfr_mp.hosts.local import LocalHost
from jfr_mp.jobdata.files import OOM_SCORE
from jfr_mp.schedulers.shell import cancel_on_shell, submit_to_shell
from jfr_mp.schedulers.submission import PROCESS_ID_FILENAME
from tests.support.processes import is_alive
from tests.support.submissions import forget_submission
from tests.support.waiting import wait_until

#: Signs a ledger, so that each run of it counts, and waits to be ended.
SCRIPT = "echo $$ >> ledger\nsleep 100\n"


class RunDirectory:
    """A run directory, and the job in it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir()
        self.script = SCRIPT

    def submit(self) -> str:
        return submit_to_shell(LocalHost(), self.path, self.script, timeout=30)

    def runs(self) -> list[str]:
        ledger = self.path / "ledger"
        return ledger.read_text().split() if ledger.exists() else []


@pytest.fixture
def run_directory(tmp_path: Path) -> Iterator[RunDirectory]:
    directory = RunDirectory(tmp_path / "run $(touch x) 'dir' é")
    yield directory
    for pid in directory.runs():
        cancel_on_shell(LocalHost(), pid)


def test_the_job_has_a_session_of_its_own_and_its_id_is_in_the_run_directory(run_directory: RunDirectory) -> None:
    # When a job is submitted
    process_id = run_directory.submit()
    # Then its id is there, it leads a session, and it runs the script
    assert (run_directory.path / PROCESS_ID_FILENAME).read_text().strip() == process_id
    assert os.getsid(int(process_id)) == os.getpgid(int(process_id)) == int(process_id)
    assert wait_until(run_directory.runs, 10, "the start of the script") == [process_id]
    # And the kernel kills it before any process of the runner if no memory is left
    score = Path("/proc", process_id, "oom_score_adj")
    assert int(score.read_text()) == max(OOM_SCORE, int(Path("/proc/self/oom_score_adj").read_text()))
    # And nothing is left of the shells that led to it
    assert psutil.Process(int(process_id)).cmdline() == ["bash", "submit.sh"]


def test_a_second_submission_finds_the_job_of_the_first(run_directory: RunDirectory) -> None:
    first = run_directory.submit()
    assert run_directory.submit() == first
    wait_until(run_directory.runs, 10, "the start of the script")
    # Even when it has ended
    cancel_on_shell(LocalHost(), first)
    assert run_directory.submit() == first
    assert run_directory.runs() == [first]
    # Until somebody uploads the job again
    forget_submission(LocalHost(), run_directory.path)
    forget_submission(LocalHost(), run_directory.path)
    assert run_directory.submit() != first
    wait_until(lambda: len(run_directory.runs()) == 2, 10, "the second run")


def test_many_submissions_at_once_are_one(run_directory: RunDirectory) -> None:
    # When eight processes submit at the same time
    results: list[str] = []
    threads = [threading.Thread(target=lambda: results.append(run_directory.submit())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # Then all have the id of the one job
    assert len(results) == 8
    assert len(set(results)) == 1
    assert wait_until(run_directory.runs, 10, "the start of the script") == [results[0]]


SUBMITTER = """
import sys
from jfr_mp.hosts.local import LocalHost
from jfr_mp.schedulers.shell import submit_to_shell
print("ready", flush=True)
sys.stdin.readline()
submit_to_shell(LocalHost(), sys.argv[1], sys.argv[2])
"""


@pytest.mark.parametrize("target", ["the submitting process", "all that it started"])
def test_killed_at_any_point_one_job_runs(run_directory: RunDirectory, target: str) -> None:
    random.seed(target)
    for _ in range(12):
        # Given a process that is about to submit
        submitter = subprocess.Popen(
            [sys.executable, "-c", SUBMITTER, str(run_directory.path), SCRIPT],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert submitter.stdin
        assert submitter.stdout
        submitter.stdout.readline()
        # When it is killed somewhere on its way
        victim = psutil.Process(submitter.pid)
        submitter.stdin.write(b"\n")
        submitter.stdin.flush()
        threading.Event().wait(random.uniform(0, 0.008))
        family = victim.children(recursive=True) if target != "the submitting process" else []
        for process in [victim, *family]:
            try:
                process.send_signal(signal.SIGKILL)
            except psutil.NoSuchProcess:
                continue
        submitter.communicate()
        # Then the next attempt ends with the one job that there is
        process_id = run_directory.submit()
        if not is_alive(int(process_id)):
            # It was the job itself that was killed: that must not start another one either.
            assert family
            assert run_directory.runs() in ([], [process_id])
        else:
            assert wait_until(run_directory.runs, 10, "the start of the script") == [process_id]
        cancel_on_shell(LocalHost(), process_id)
        forget_submission(LocalHost(), run_directory.path)
        (run_directory.path / "ledger").unlink(missing_ok=True)


def test_a_directory_that_cannot_be_written_is_an_error_with_its_reason(tmp_path: Path) -> None:
    # Given a place where nobody can make files, root included
    with pytest.raises(SchedulerError, match="the script in /proc/self could not be started: ") as caught:
        submit_to_shell(LocalHost(), "/proc/self", "true", timeout=30)
    assert len(str(caught.value).splitlines()) == 1


def test_cancelling_ends_the_job_and_what_it_started_even_against_its_will(run_directory: RunDirectory) -> None:
    # Given a job with a child, both deaf to SIGTERM
    run_directory.script = "trap '' TERM\nsleep 100 & echo $! > child\necho $$ >> ledger\nwait\n"
    process_id = run_directory.submit()
    wait_until(run_directory.runs, 10, "the start of the script")
    child = int((run_directory.path / "child").read_text())
    # When it is cancelled, twice
    cancel_on_shell(LocalHost(), process_id)
    cancel_on_shell(LocalHost(), process_id)
    # Then both are gone
    wait_until(lambda: not is_alive(int(process_id)) and not is_alive(child), 10, "the end of the job")


def test_what_a_killed_job_left_behind_is_ended_too(run_directory: RunDirectory) -> None:
    # Given a job that was killed and whose child lives
    run_directory.script = "sleep 100 & echo $! > child\necho $$ >> ledger\nwait\n"
    process_id = run_directory.submit()
    wait_until(run_directory.runs, 10, "the start of the script")
    child = int((run_directory.path / "child").read_text())
    os.kill(int(process_id), signal.SIGKILL)
    wait_until(lambda: not is_alive(int(process_id)), 10, "the end of the script")
    # When it is cancelled
    cancel_on_shell(LocalHost(), process_id)
    # Then the child is gone
    wait_until(lambda: not is_alive(child), 10, "the end of the child")


def test_a_process_that_leads_no_session_is_not_ours_to_end() -> None:
    # Given a process that got its pid after one of our jobs had it
    process = subprocess.Popen(["sleep", "100"])
    try:
        # When that job is cancelled
        cancel_on_shell(LocalHost(), str(process.pid))
        # Then the process lives
        assert process.poll() is None
    finally:
        process.kill()
        process.wait()
