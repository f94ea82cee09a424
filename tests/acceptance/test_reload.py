"""A project file that changes while jobs run: a good one is applied, a bad one is refused, and no job is dropped."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from jfr_mp.errors import ExitCode
from tests.support.jobs import ledger_lines
from tests.support.processes import JFR_MP, Processes, wait_gone
from tests.support.service_manager import NotifySocket
from tests.support.user import Doc, User, all_pids
from tests.support.waiting import wait_until

pytestmark = pytest.mark.timeout(300)

JOBS = 30


def good(user: User, level: str = "debug") -> None:
    user.project.rewrite(log_level=level)


def bad(user: User) -> None:
    user.project.project_file.write_text(user.project.project_file.read_text() + "\nno_such_field: 1\n")


def roles(user: User) -> dict[str, Doc]:
    (master,) = user.masters()
    return {role["name"]: role for role in master["roles"]}


def test_a_reload_under_load_replaces_the_processes_and_drops_no_job(user: User, tmp_path: Path) -> None:
    # Given many jobs under way
    ledger = tmp_path / "ledger"
    master = user.start("--num-transfer", "2")
    flow = user.submit(f"Flow([writes_ledger({str(ledger)!r}, str(n)) for n in range({JOBS})])")
    wait_until(ledger.exists, 60, "the first job")

    # When the file becomes bad and a reload is asked for
    bad(user)
    assert "no_such_field" in user.refused("reload", code=ExitCode.CONFIG)
    os.kill(master["pid"], signal.SIGHUP)
    wait_until(lambda: "no_such_field" in user.log("master"), 10, "a refusal in the log of the master")

    # Then the masters are still found by what needs no database, and are healthy
    done = user.types("status", "--json")
    assert (done.returncode, json.loads(done.stdout)["masters"][0]["pid"]) == (ExitCode.CONFIG, master["pid"])
    assert "no_such_field" in done.stderr
    health = user.json("health")
    assert (health["ready"], "no_such_field" in health["problems"][0]) == (True, True)

    # And the processes go on as they are
    good(user)
    assert set(all_pids([master])) == set(all_pids(user.masters()))
    wait_until(lambda: user.masters()[0]["notices"], 10, "a notice that the file has changed")
    assert "jfr-mp reload" in user.types("status").stderr

    # And when it is good again, each of them is replaced, and the master stays
    user.ok("reload")
    (after,) = user.masters()
    assert (after["pid"], after["state"], after["notices"]) == (master["pid"], "RUNNING", [])
    assert {role["state"] for role in after["roles"]} == {"RUNNING"}
    before = {role["pid"] for role in master["roles"]}
    assert before.isdisjoint(role["pid"] for role in after["roles"])
    wait_gone(before, timeout=1)
    # with the new file: its log level for one
    wait_until(lambda: "[DEBUG]" in user.log("transfer-1"), 20, "a debug line")

    # And every job has run once
    assert flow.wait_for("COMPLETED", timeout=120).outputs
    assert sorted(map(int, ledger_lines(ledger))) == list(range(JOBS))
    assert [job["state"] for job in flow.jobs] == ["COMPLETED"] * JOBS


def test_what_only_a_new_master_can_use_is_refused(user: User) -> None:
    master = user.start("--queue")
    user.project.rewrite(metadata={"jfr_mp": {"lease_ttl": 20.0}})
    said = user.refused("reload", code=ExitCode.CONFIG)
    assert "jfr_mp.lease_ttl" in said
    assert "jfr-mp restart" in said
    assert all_pids(user.masters()) == all_pids([master])


def test_a_role_process_waits_for_a_file_that_can_be_used(user: User) -> None:
    # Given a file that has become bad, and a role process that dies
    user.start("--queue", "--transfer")
    pid = roles(user)["queue-1"]["pid"]
    text = user.project.project_file.read_text()
    bad(user)
    os.kill(pid, signal.SIGKILL)

    # Then its successor waits, and says for what
    def waits() -> bool:
        return "no_such_field" in user.log("queue-1") and "waiting" in user.log("queue-1")

    wait_until(waits, 30, "a role process that waits")
    # And with a good file it is ready
    user.project.project_file.write_text(text)
    wait_until(lambda: roles(user)["queue-1"]["state"] == "RUNNING", 30, "a role process that is ready")
    master = user.masters()[0]
    assert pid not in all_pids([master])

    # And all can be stopped while the file is broken
    bad(user)
    user.ok("stop")
    wait_gone(all_pids([master]), timeout=5)


def test_sighup_reloads_a_master_in_the_foreground_without_a_terminal(user: User, tmp_path: Path) -> None:
    processes = Processes(tmp_path)
    try:
        master = processes.start([JFR_MP, "start", "--foreground", "--queue"], env=user.project.env, cwd=user.desk)
        wait_until(lambda: [role["state"] for role in _rows(user)] == ["RUNNING"], 30, "a master that is ready")
        (before,) = _rows(user)
        master.send_signal(signal.SIGHUP)
        wait_until(lambda: _rows(user) and _rows(user)[0]["pid"] not in (None, before["pid"]), 30, "a new role process")
        assert master.poll() is None
    finally:
        processes.end_all()


def _rows(user: User) -> list[Doc]:
    masters = user.masters()
    return masters[0]["roles"] if masters else []


def test_a_restart_leaves_a_master_in_its_service(user: User, tmp_path: Path) -> None:
    # Given a master that a service manager has started
    processes = Processes(tmp_path)
    with NotifySocket(str(tmp_path / "notify")) as heard:
        try:
            argv = ["env", f"NOTIFY_SOCKET={heard.address}", JFR_MP, "start", "--foreground", "--queue"]
            master = processes.start(argv, env=user.project.env, cwd=user.desk)
            heard.wait_for("READY", timeout=60)
            (before,) = _rows(user)
            # When it is restarted
            user.ok("restart", "--log-level", "debug")
            # Then it is the same process, and its manager has heard of a reload, not of a stop
            (after,) = user.masters()
            assert after["pid"] == master.pid
            assert after["roles"][0]["pid"] != before["pid"]
            heard.wait_for("READY")
            assert any("RELOADING" in message for message in heard.messages)
            assert not any("STOPPING" in message for message in heard.messages)
            # and logs from the new level on
            os.kill(after["roles"][0]["pid"], signal.SIGKILL)
            wait_until(lambda: "queue-1: RUNNING -> " in processes.output(master), 20, "a line of the level debug")
        finally:
            processes.end_all()
