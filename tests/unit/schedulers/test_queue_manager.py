"""Asking, with answers good and bad from an executable of ours named ps."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from qtoolkit.io.shell import ShellIO

from jfr_mp.config.workers import LocalWorker
from jfr_mp.errors import CommandTimeout, SchedulerError
from jfr_mp.hosts.local import LocalHost
from jfr_mp.schedulers import JobStatus, QueueManager

HEADING = "    PID USER         ELAPSED S COMMAND"


@pytest.fixture
def manager() -> QueueManager:
    return QueueManager(ShellIO(), LocalHost(), timeout=5)


@pytest.fixture
def fake_ps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A ps that nobody has written yet."""
    path = tmp_path / "bin" / "ps"
    path.parent.mkdir()
    monkeypatch.setenv("PATH", str(path.parent), prepend=os.pathsep)
    return path


def answers(path: Path, *, stdout: str = "", stderr: str = "", code: int = 0) -> None:
    path.write_text(f"#!/bin/sh\ncat <<'END'\n{stdout}\nEND\nprintf '%s' '{stderr}' >&2\nexit {code}\n")
    path.chmod(0o755)


@pytest.mark.parametrize(
    ("letter", "status"),
    [
        ("R", "RUNNING"),
        ("Ss", "RUNNING"),
        ("D", "RUNNING"),
        ("T", "SUSPENDED"),
        ("Z", "DONE"),
        # An idle kernel thread; qtoolkit's parser gives up at it.
        ("I", "UNDETERMINED"),
        ("?", "UNDETERMINED"),
    ],
)
def test_one_unknown_row_does_not_hide_the_others(
    manager: QueueManager, fake_ps: Path, letter: str, status: str
) -> None:
    # Given an answer with a state, a row that makes no sense, and a job that runs
    rows = [f"11 me 00:01 {letter} bash", "garbage", "12 me 1-02:03:04 S bash", "99 me 00:01 S other"]
    answers(fake_ps, stdout="\n".join([HEADING, *rows]))
    # When four jobs are asked for, one of them gone
    statuses = manager.statuses(["11", "12", "13", "not-an-id"])
    # Then each is told, the one that is gone is not there, and nothing else is
    assert statuses == {"11": JobStatus(status), "12": JobStatus("RUNNING")}
    assert (statuses["12"].running, statuses["12"].done) == (True, False)
    assert statuses["11"].done is (letter == "Z")


def test_all_jobs_gone_is_an_answer(manager: QueueManager, fake_ps: Path) -> None:
    answers(fake_ps, stdout=HEADING, code=1)
    assert manager.statuses(["11"]) == {}


@pytest.mark.parametrize(
    ("stdout", "stderr", "code"),
    [("", "", 0), ("", "error: cannot read", 1), (f"{HEADING}\n11 me 00:01 S bash", "ps: half an answer", 1)],
)
def test_no_answer_says_nothing_about_any_job(
    manager: QueueManager, fake_ps: Path, stdout: str, stderr: str, code: int
) -> None:
    answers(fake_ps, stdout=stdout, stderr=stderr, code=code)
    with pytest.raises(SchedulerError, match=stderr or "gave no answer"):
        manager.statuses(["11"])


def test_a_missing_command_is_named(manager: QueueManager, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SchedulerError, match="ps: command not found"):
        manager.statuses(["11"])


def test_a_scheduler_that_hangs_is_given_up(fake_ps: Path) -> None:
    fake_ps.write_text("#!/bin/sh\nsleep 60\n")
    fake_ps.chmod(0o755)
    with pytest.raises(CommandTimeout):
        QueueManager(ShellIO(), LocalHost(), timeout=0.2).statuses(["11"])


def test_asking_for_a_user_asks_for_no_ids(fake_ps: Path) -> None:
    fake_ps.write_text(f"#!/bin/sh\necho '{HEADING}'\necho \"11 $4 00:01 S bash\"\n")
    fake_ps.chmod(0o755)
    assert QueueManager(ShellIO(), LocalHost(), user="me").statuses(["11"]) == {"11": JobStatus("RUNNING")}


def test_nothing_is_asked_about_no_job(manager: QueueManager, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert manager.statuses([]) == {}


@pytest.mark.parametrize("process_id", ["", "-1", "0", "1; touch x"])
def test_only_ids_are_cancelled(manager: QueueManager, process_id: str) -> None:
    with pytest.raises(SchedulerError, match="is not a valid job id"):
        manager.cancel(process_id)


def test_a_worker_says_which_scheduler_and_how_long(tmp_path: Path) -> None:
    worker = LocalWorker(scheduler_type="shell", work_dir=tmp_path, timeout_execute=7, scheduler_username="me")
    manager = QueueManager.of_worker(worker, LocalHost())
    assert (type(manager.scheduler_io), manager.timeout, manager.user) == (ShellIO, 7, "me")
