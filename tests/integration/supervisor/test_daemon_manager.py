"""`DaemonManager`, as scripts for jobflow-remote use it."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import psutil
import pytest

from jfr_mp import submit_flow
from jfr_mp.errors import AlreadyRunning, JfrMpError, NotFound, RunnerLockedError
from jfr_mp.supervisor.daemon_manager import DaemonManager
from jfr_mp.supervisor.daemon_status import DaemonStatus
from tests.support.jobs import add
from tests.support.projects import ProjectFactory
from tests.support.waiting import wait_until


def test_the_life_of_a_daemon(fresh_project: ProjectFactory) -> None:
    # Given a project in which nothing is running
    fresh_project()
    manager = DaemonManager.from_project_name()
    assert manager.check_status() is DaemonStatus.SHUT_DOWN
    assert manager.get_processes_info() is None
    assert manager.get_supervisord_pid() is None
    assert not manager.stop(wait=True)
    assert manager.shut_down()
    with pytest.raises(JfrMpError, match="no master of project main is running"):
        manager.stop(raise_on_error=True)

    # When it is started with two processes for files
    assert manager.start(num_procs_transfer=2, single=False, raise_on_error=True)
    manager.wait_start(timeout=30)

    # Then all of its processes are known
    assert manager.check_status() is DaemonStatus.RUNNING
    info = manager.get_processes_info()
    assert info is not None
    names = ["checkout-1", "complete-1", "queue-1", "transfer-1", "transfer-2"]
    assert sorted(info) == [*(f"runner:{name}" for name in names), "supervisord"]
    assert all(psutil.pid_exists(each["pid"]) and each["state"] == 20 for each in info.values())
    assert manager.get_supervisord_pid() == info["supervisord"]["pid"]
    assert manager.pid_filepath.exists()
    assert manager.log_filepath.exists()
    assert manager.check_matching_runner() is None

    # And a second start is refused, and says why
    assert "already" in (manager.start_supervisord() or "")
    with pytest.raises(NotFound, match="known: supervisord, runner:checkout-1"):
        manager.foreground_process("runner:none")

    # When somebody follows the log of a process, then new lines are shown until the daemon stops
    lines: list[str] = []
    follower = threading.Thread(target=manager.foreground_processes, args=(["runner:complete-1"], lines.append))
    follower.start()
    wait_until(lambda: lines, 30, "the follower")
    submit_flow(add(1))
    wait_until(lambda: any("COMPLETED" in line for line in lines), 30, "its line in the log")

    # When a process is killed, then it is restarted; and a restart keeps the numbers
    os.kill(info["runner:queue-1"]["pid"], signal.SIGKILL)
    wait_until(
        lambda: (
            (manager.get_processes_info() or {})["runner:queue-1"]["pid"] not in (0, info["runner:queue-1"]["pid"])
            and manager.check_status() is DaemonStatus.RUNNING
        ),
        30,
        "another process",
    )
    manager.write_config(num_procs_transfer=2, single=False)
    assert manager.restart(raise_on_error=True)
    again = manager.get_processes_info()
    assert again is not None
    assert sorted(again) == sorted(info)
    assert again["supervisord"]["pid"] != info["supervisord"]["pid"]

    # When it is told to stop, then it does
    assert manager.stop()
    wait_until(lambda: manager.check_status() is DaemonStatus.SHUT_DOWN, 30, "the end")
    follower.join(timeout=30)
    assert not follower.is_alive()

    # And when it is killed, it is gone at once
    assert manager.start_processes() is None
    assert manager.kill()
    assert not manager.check_supervisord_process()
    manager.clean_files()
    manager.job_controller.close()


def test_the_record_of_a_runner_elsewhere(fresh_project: ProjectFactory, tmp_path: Path) -> None:
    # Given a runner on record that works on another machine
    project = fresh_project()
    submit_flow(add(1))
    manager = DaemonManager.from_project_name()
    assert manager.check_matching_runner() is None
    record = {"running_runner": {"$exists": True}}
    other = {"hostname": "elsewhere", "project_name": "main", "user": "somebody"}
    project.db.jf_auxiliary.update_one(record, {"$set": {"running_runner": other}})

    # Then it is named, or raised
    assert "on another machine (elsewhere), for another user (somebody)" in (manager.check_matching_runner() or "")
    with pytest.raises(AlreadyRunning):
        manager.check_matching_runner(raise_on_error=True)

    # And the record can be locked by one at a time
    with manager.lock_runner_doc() as lock:
        assert lock.locked_document["running_runner"] == other
        with pytest.raises(RunnerLockedError), manager.lock_runner_doc():
            pass
    manager.job_controller.close()
