"""Processes that are killed while jobs run: they are replaced at once, and every job runs exactly once."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from jfr_mp import submit_flow
from jfr_mp.errors import ExitCode
from jfr_mp.step_table import Role, steps_of
from tests.support.history import Heartbeats, History
from tests.support.jobs import ledger_lines, writes_ledger
from tests.support.processes import is_alive, wait_gone
from tests.support.user import Submitted, User, all_pids
from tests.support.waiting import wait_until

#: Seconds between two heartbeats of the master, which come later while the machine is busy.
HEARTBEAT = 0.5
#: Heartbeats from the death of a role process, and from the start of another master, until the next one moves a job.
REPLACED_WITHIN, STARTED_WITHIN = 12, 20

pytestmark = pytest.mark.timeout(300)


def submit_load(user: User, ledger: Path, number: int) -> Submitted:
    """Submit independent jobs and a chain, each of which writes a line into a ledger."""
    one_by_one = f"Flow([writes_ledger({str(ledger)!r}, str(n)) for n in range({number})])"
    return user.submit(f"Flow([{one_by_one}, chain(3, {str(ledger)!r})], order='auto')")


def expected_lines(number: int) -> list[str]:
    """Return the lines of the ledger when all jobs of such a load have run."""
    return sorted([*map(str, range(number)), "link-0", "link-1", "link-2"])


def some_are_done(flow: Submitted) -> bool:
    """Return whether the first jobs are completed."""
    return "COMPLETED" in flow.states


@pytest.fixture
def working(user: User) -> User:
    """A user whose master is running, with two jobs at a time."""
    user.project.document["workers"]["local"]["max_jobs"] = 2
    options = {"jfr_mp": {"heartbeat_interval": HEARTBEAT}}
    user.project.rewrite(runner={"delay_check_run_status": 2}, metadata=options)
    user.start()
    return user


@pytest.mark.parametrize("role", ["checkout", "transfer", "queue", "complete"])
def test_a_role_that_is_killed_is_replaced_and_nothing_is_lost(
    working: User, tmp_path: Path, role: str, capsys: pytest.CaptureFixture[str]
) -> None:
    # Given a master that moves many jobs
    ledger, name, db = tmp_path / "ledger", f"{role}-1", working.project.db
    with History(working.project.server.uri, db.name) as history, Heartbeats(db) as heartbeats:
        flow = submit_load(working, ledger, 8)
        wait_until(lambda: some_are_done(flow), 60, "the first jobs")
        killed = working.role(name)["pid"]
        until_now = [record["_id"] for record in db.jfr_mp_processes.find()]

        # When one of its role processes is killed
        os.kill(killed, signal.SIGKILL)
        died = time.monotonic()
        # Work for the next process
        submit_flow(writes_ledger(str(ledger), "late"))

        # Then another takes its place
        row = wait_until(lambda: successor(working, name, killed), 20, f"another process for {name}") or {}
        assert row["restarts"] == 1

        # And all jobs are completed, each run once
        flow.wait_for("COMPLETED", timeout=120)
    states = {state.value for step in steps_of(Role(role)) for state in step.targets}
    moved = history.moved(died, states, ["local"], not_by=until_now)
    assert moved is not None
    beats = heartbeats.between(died, moved.time)
    with capsys.disabled():
        print(f"\n{role} was killed: the next moved a job {moved.time - died:.1f} s, {beats} heartbeats later", end=" ")
    # And it moves a job soon
    assert beats <= REPLACED_WITHIN
    assert set(flow.states) == {"COMPLETED"}
    wait_until(lambda: not db.jobs.find_one({"state": {"$ne": "COMPLETED"}}), 60, "all jobs to be COMPLETED")
    assert ledger_lines(ledger) == sorted([*expected_lines(8), "late"])
    assert working.role(name)["state"] == "RUNNING"
    assert db.jobs.count_documents({"lock_id": {"$ne": None}}) == 0


def successor(user: User, name: str, killed: int) -> dict[str, Any] | None:
    """Return the status row of the process that replaces one that was killed, or None if there is none yet."""
    row = user.role(name)
    return row if row["pid"] not in (None, killed) else None


def test_the_roles_of_a_killed_master_stop_and_a_start_works_at_once(
    working: User, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Given a master that moves many jobs
    ledger, db = tmp_path / "ledger", working.project.db
    with History(working.project.server.uri, db.name) as history, Heartbeats(db) as heartbeats:
        flow = submit_load(working, ledger, 8)
        wait_until(lambda: some_are_done(flow), 60, "the first jobs")
        (master,) = working.masters()
        roles = [pid for pid in all_pids([master]) if pid != master["pid"]]
        until_now = [record["_id"] for record in db.jfr_mp_processes.find()]

        # When it is killed, and another one is started at once
        os.kill(master["pid"], signal.SIGKILL)
        died = time.monotonic()
        # Work for the next one
        submit_flow(writes_ledger(str(ledger), "late"))
        again = working.start()
        started = time.monotonic()
        states = {state.value for role in Role for step in steps_of(role) for state in step.targets}
        moved = wait_until(lambda: history.moved(died, states, ["local"], not_by=until_now), 60, "a job that moves")
    assert moved is not None
    beats = heartbeats.between(started, moved.time)
    with capsys.disabled():
        print(f"\nthe master was killed: the next moved a job {moved.time - died:.1f} s later", end=" ")
    assert beats <= STARTED_WITHIN

    # Then its role processes finish the current steps and exit
    wait_gone(roles, timeout=30)
    assert "the master has died" in working.log("queue-1")
    assert [found["pid"] for found in working.masters()] == [again["pid"]]

    # And all jobs are completed, each run once
    flow.wait_for("COMPLETED", timeout=120)
    assert set(flow.states) == {"COMPLETED"}
    wait_until(lambda: not db.jobs.find_one({"state": {"$ne": "COMPLETED"}}), 60, "all jobs to be COMPLETED")
    assert ledger_lines(ledger) == sorted([*expected_lines(8), "late"])


def test_the_roles_of_a_killed_master_stop_without_another_master(user: User, tmp_path: Path) -> None:
    # Given a master and a job that runs
    gate, ledger = tmp_path / "gate", tmp_path / "ledger"
    master = user.start()
    flow = user.submit(f"waits_for({str(gate)!r}, 1, {str(ledger)!r})")
    job = flow.wait_for_job("RUNNING")

    # When the master is killed
    os.kill(master["pid"], signal.SIGKILL)

    # Then no process and no lock of it is left, and the job runs on
    wait_gone(all_pids([master]), timeout=30)
    assert user.json("status", code=ExitCode.NOT_RUNNING)["masters"] == []
    assert user.project.db.jobs.count_documents({"lock_id": {"$ne": None}}) == 0
    assert is_alive(int(job["remote"]["process_id"]))

    # And one process is enough to complete it
    gate.touch()
    user.ok("run", "--ticks", "8")
    assert flow.wait_for("COMPLETED").outputs == [1]
    assert ledger_lines(ledger) == ["1"]
