"""Processes that a job leaves behind on this machine end with it, however they hide; unless the project keeps them."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.acceptance.conftest import NewUser
from tests.support.processes import is_alive
from tests.support.waiting import wait_until

pytestmark = pytest.mark.timeout(120)

#: A child in the group of the job, one in a session of its own, and the grandchild of a process that has ended.
HIDING = ("child", "session", "orphan")


def _pids(directory: Path) -> list[int]:
    return [int((directory / name).read_text()) for name in HIDING]


def _has_started(directory: Path) -> bool:
    return all((directory / name).exists() and (directory / name).read_text().strip() for name in HIDING)


@pytest.mark.parametrize("warm", [True, False], ids=["warm", "cold"])
def test_processes_end_with_their_job(new_user: NewUser, tmp_path: Path, warm: bool) -> None:
    # Given jobs that leave processes behind, one that ends by itself and one that does not
    user = new_user(metadata={"jfr_mp": {"warm": warm}}, runner={"delay_check_run_status": 2})
    ends, stays = tmp_path / "ends", tmp_path / "stays"
    user.ok("start")
    flow = user.submit(
        f"Flow([leaves_processes({str(ends)!r}), leaves_processes({str(stays)!r}, then=1000), add(1, 1)])"
    )
    flow.wait_for_job("COMPLETED")

    # When the first has ended, then so do its processes
    wait_until(lambda: not any(map(is_alive, _pids(ends))), 30, "the end of what the job left")
    assert "processes that jobs left behind" in user.log("queue-1")

    # And when the second is stopped, then so do all of its
    wait_until(lambda: _has_started(stays), 30, "the processes of the second job")
    user.ok("job", "stop", flow.db_ids[1], "-y")
    wait_until(lambda: not any(map(is_alive, _pids(stays))), 10, "the end of what the stopped job left")

    # And the other jobs, and the next ones, are not disturbed
    flow.wait_for_job("COMPLETED", number=2)
    user.submit("add(2, 2)").wait_for("COMPLETED")
    user.ok("stop")


def test_a_project_can_keep_them(new_user: NewUser, tmp_path: Path) -> None:
    user = new_user(metadata={"jfr_mp": {"reap": False}})
    user.ok("start")
    user.submit(f"leaves_processes({str(tmp_path / 'left')!r})").wait_for("COMPLETED")
    user.ok("stop")
    pids = _pids(tmp_path / "left")
    assert all(map(is_alive, pids))
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
