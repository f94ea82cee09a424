"""What a user orders for jobs: to try again, to begin again, to wait."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from jfr_mp.errors import ExitCode
from tests.acceptance.conftest import NewUser
from tests.support.processes import is_alive
from tests.support.user import User
from tests.support.waiting import wait_until

pytestmark = pytest.mark.timeout(300)


def test_a_job_whose_step_failed_is_retried_when_the_cause_is_gone(new_user: NewUser) -> None:
    # Given two jobs that could not be uploaded, for want of a directory
    user = new_user()
    user.start()
    work_dir = user.project.work_dir
    shutil.rmtree(work_dir)
    work_dir.write_text("no directory")
    flow = user.submit("Flow([add(1), add(2)])")
    flow.wait_for_states(["REMOTE_ERROR"] * 2)
    # When the cause is gone, and those that went wrong are retried
    work_dir.unlink()
    assert "--yes" in user.refused("job", "retry", "--state", "REMOTE_ERROR", code=ExitCode.ERROR)
    rows = user.json("job", "retry", "--state", "REMOTE_ERROR", "--yes")
    # Then all goes on
    assert [(row["db_id"], row["before"], row["error"]) for row in rows] == [
        (db_id, "REMOTE_ERROR", None) for db_id in flow.db_ids
    ]
    flow.wait_for("COMPLETED")
    # And once more is a mistake
    assert "is COMPLETED and cannot be retried" in user.refused("job", "retry", flow.db_ids[0], code=ExitCode.ERROR)


def test_a_job_that_runs_begins_again_and_its_old_process_ends(busy: User, gate: Path) -> None:
    # Given a job that runs
    flow = busy.submit(f"waits_for({str(gate)!r})")
    job = flow.wait_for_job("RUNNING")
    pid = int(job["remote"]["process_id"])
    (Path(job["run_dir"]) / "trace").touch()
    # When it is run again
    assert f"Job {flow.db_ids[0]}: RUNNING -> " in busy.ok("job", "rerun", flow.db_ids[0])
    # Then the first process ends, the second one is another, and finds a clean directory
    wait_until(lambda: not is_alive(pid), 20, "the end of the first process")
    again = flow.wait_for_job("RUNNING")
    assert int(again["remote"]["process_id"]) != pid
    assert not (Path(again["run_dir"]) / "trace").exists()
    gate.touch()
    flow.wait_for("COMPLETED")


def test_a_failed_job_begins_again_and_its_children_with_it(busy: User, tmp_path: Path) -> None:
    # Given a job that fails as long as a file is missing
    gate = tmp_path / "late"
    flow = busy.submit("Flow([a, add(a.output)])", setup=f"a = needs({str(gate)!r})").wait_for("FAILED")
    # When the file is there and the job is run again
    gate.touch()
    busy.ok("job", "rerun", flow.db_ids[0])
    # Then the flow ends well
    flow.wait_for("COMPLETED")


def test_a_paused_job_waits(busy: User, gate: Path) -> None:
    # Given a job, and one that depends on it and is paused
    flow = busy.submit("Flow([a, add(a.output)])", setup=f"a = waits_for({str(gate)!r})")
    busy.ok("job", "pause", flow.db_ids[1])
    gate.touch()
    # When the first has ended, then the second is where it was, until it is resumed
    flow.wait_for_states(["COMPLETED", "PAUSED"])
    busy.ok("job", "resume", flow.db_ids[1])
    flow.wait_for("COMPLETED")


@pytest.mark.parametrize("words", [(), ("12", "--state", "FAILED")], ids=["nothing", "both"])
def test_one_job_or_many_have_to_be_named(busy: User, words: tuple[str, ...]) -> None:
    assert "name one job, or select several" in busy.refused("job", "retry", *words, code=ExitCode.USAGE)


def test_a_job_that_is_not_there(busy: User) -> None:
    assert "has no job 4711" in busy.refused("job", "rerun", "4711", code=ExitCode.ERROR)
