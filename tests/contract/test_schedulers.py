"""What every scheduler has to do. A new one is one more value of the fixture."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from qtoolkit.io.shell import ShellIO

from jfr_mp.hosts.local import LocalHost
from jfr_mp.schedulers import QueueManager, forget_submission
from tests.support.waiting import wait_until

SCHEDULERS = [ShellIO]


@pytest.fixture(params=SCHEDULERS)
def manager(request: pytest.FixtureRequest) -> QueueManager:
    return QueueManager(request.param(), LocalHost(), timeout=30)


@pytest.fixture
def run_dir(manager: QueueManager, tmp_path: Path) -> Iterator[Path]:
    """A run directory whose job is ended with the test."""
    path = tmp_path / "it's a run; touch x"
    path.mkdir()
    yield path
    process_id = manager.submit("true", path).process_id
    assert process_id
    manager.cancel(process_id)


def test_a_job_from_submission_to_its_end(manager: QueueManager, run_dir: Path) -> None:
    # Given a job that waits for a file
    script = "touch started\nuntil [ -e go ]; do sleep 0.02; done\ntouch finished\n"
    # When it is submitted
    process_id = manager.submit(script, run_dir).process_id
    assert process_id
    # Then it is running
    wait_until((run_dir / "started").exists, 30, "the start of the job")
    wait_until(lambda: manager.statuses([process_id]).get(process_id), 30, "its status")
    assert manager.statuses([process_id])[process_id].running
    # And when it has ended, it is done or gone
    (run_dir / "go").touch()
    wait_until((run_dir / "finished").exists, 30, "the end of the job")
    wait_until(lambda: _is_over(manager, process_id), 30, "the scheduler to say so")


def test_submitting_again_finds_the_job(manager: QueueManager, run_dir: Path) -> None:
    script = "echo run >> ledger\nsleep 100\n"
    first = manager.submit(script, run_dir)
    assert manager.submit(script, run_dir) == first
    wait_until((run_dir / "ledger").exists, 30, "the start of the job")
    assert (run_dir / "ledger").read_text().splitlines() == ["run"]


def test_a_job_that_was_forgotten_runs_again(manager: QueueManager, run_dir: Path) -> None:
    first = manager.submit("true", run_dir)
    forget_submission(manager.host, run_dir)
    assert manager.submit("true", run_dir).process_id not in (None, first.process_id)


def test_cancelling_ends_a_job_and_may_be_repeated(manager: QueueManager, run_dir: Path) -> None:
    process_id = manager.submit("touch started; sleep 100", run_dir).process_id
    assert process_id
    wait_until((run_dir / "started").exists, 30, "the start of the job")
    manager.cancel(process_id)
    wait_until(lambda: _is_over(manager, process_id), 30, "the end of the job")
    manager.cancel(process_id)


def test_an_output_of_the_script_is_in_the_run_directory(manager: QueueManager, run_dir: Path) -> None:
    manager.submit("echo out\necho err >&2\ntouch done\n", run_dir)
    wait_until((run_dir / "done").exists, 30, "the end of the job")
    assert (run_dir / "queue.out").read_text() == "out\n"
    assert (run_dir / "queue.err").read_text() == "err\n"


def _is_over(manager: QueueManager, process_id: str) -> bool:
    status = manager.statuses([process_id]).get(process_id)
    return status is None or status.done
