"""Commands that hold and scale the processes of a master while jobs run."""

from __future__ import annotations

from pathlib import Path

import pytest

from jfr_mp.errors import ExitCode
from tests.support.jobs import ledger_lines
from tests.support.processes import JFR_MP, Processes
from tests.support.service_manager import NotifySocket
from tests.support.user import Submitted, User
from tests.support.waiting import wait_until

pytestmark = pytest.mark.timeout(300)

FIRST, JOBS = 6, 36


def test_a_paused_worker_begins_no_job_until_it_is_resumed(user: User) -> None:
    # Given a worker that was paused before the processes were started
    said = user.json("pause", "--worker", "local")
    assert said == [{"worker": "local", "paused": True, "changed": True}]
    assert "as before" in user.ok("pause", "--worker", "local")
    user.start()
    # When a job is submitted
    flow = user.submit("add(1, 2)")
    # Then it waits, and the commands say why
    reasons = user.json("job", "explain", flow.db_ids[0])
    assert "has paused worker local" in str(reasons)
    assert "jfr-mp resume --worker local" in str(reasons)
    assert "Worker local: PAUSED by" in user.ok("status")
    assert user.json("status")["paused_workers"][0]["worker"] == "local"
    # also after a restart
    user.ok("restart")
    assert flow.states == ["READY"]
    # And it runs when the worker is resumed
    assert user.json("resume", "--worker", "local") == [{"worker": "local", "paused": False, "changed": True}]
    assert flow.wait_for("COMPLETED").outputs == [3]
    assert user.json("status")["paused_workers"] == []
    # And a worker that does not exist is named
    assert "no worker cluster" in user.refused("pause", "--worker", "cluster", code=ExitCode.ERROR)
    user.refused("pause", "--worker", "local", "--all-hosts", code=ExitCode.USAGE)


def test_a_service_that_is_restarted_after_a_crash_stays_paused(user: User, tmp_path: Path) -> None:
    processes = Processes(tmp_path)
    command = [JFR_MP, "start", "--foreground", "--queue"]

    def state() -> str | None:
        masters = user.masters()
        return str(masters[0]["state"]) if masters else None

    with NotifySocket(str(tmp_path / "notify")) as heard:
        env = {**user.project.env, "NOTIFY_SOCKET": heard.address}
        try:
            # Given a master that was paused, and killed
            master = processes.start(command, env=env, cwd=user.desk)
            heard.wait_for("READY", timeout=60)
            user.ok("pause")
            wait_until(lambda: user.role("queue-1")["state"] == "STOPPED", 20, "the role process to stop")
            master.kill()
            master.wait(10)
            # When its service manager starts it again
            processes.start(command, env=env, cwd=user.desk)
            # Then it is ready, and still paused
            heard.wait_for("READY", timeout=60)
            assert state() == "PAUSED"
            # until it is resumed
            user.ok("resume")
            wait_until(lambda: user.role("queue-1")["state"] == "RUNNING", 20, "the role process")
        finally:
            processes.end_all()


def test_scaling_up_and_down_under_load_loses_and_doubles_no_job(user: User, tmp_path: Path) -> None:
    # Given many jobs under way
    ledger = tmp_path / "ledger"
    user.start()

    def submit(first: int, last: int) -> Submitted:
        return user.submit(f"Flow([writes_ledger({str(ledger)!r}, str(n)) for n in range({first}, {last})])")

    def done() -> int:
        return len(ledger_lines(ledger)) if ledger.exists() else 0

    def names() -> list[str]:
        (master,) = user.masters()
        return [role["name"] for role in master["roles"] if role["state"] == "RUNNING"]

    flow = submit(0, FIRST)
    # When the number of processes grows, and shrinks again
    user.ok("scale", "transfer=3", "complete=2")
    wait_until(lambda: {"transfer-3", "complete-2"} <= set(names()), 30, "more processes")
    second = submit(FIRST, JOBS)
    wait_until(lambda: done() > FIRST, 60, "jobs with more processes")
    user.ok("scale", "transfer=1", "complete=1")
    wait_until(lambda: len(names()) == 4, 60, "fewer processes")
    # Then every job runs once
    assert flow.wait_for("COMPLETED", timeout=120).states == ["COMPLETED"] * FIRST
    assert second.wait_for("COMPLETED", timeout=120).states == ["COMPLETED"] * (JOBS - FIRST)
    assert sorted(map(int, ledger_lines(ledger))) == list(range(JOBS))
