"""Several projects at once: in the background, and under one process in the foreground."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from jfr_mp.errors import ExitCode
from tests.acceptance.conftest import NewUser
from tests.support.processes import JFR_MP, Processes, is_alive, pids_with
from tests.support.service_manager import NotifySocket
from tests.support.user import User
from tests.support.waiting import wait_until

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def two(new_user: NewUser) -> tuple[User, User]:
    """One user with two projects, the second of which is the chosen one."""
    return new_user("one"), new_user("two")


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    started = Processes(tmp_path)
    yield started
    started.end_all()


def test_several_projects_start_at_once_in_the_background(two: tuple[User, User]) -> None:
    one, other = two
    # When all projects are started, and one of them is running already
    one.start("--queue")
    said = other.refused("start", "-p", "one", "-p", "two", "--queue", code=ExitCode.ALREADY_RUNNING)
    # Then the other is started all the same
    assert "project one" in said
    assert [len(user.masters()) for user in two] == [1, 1]
    # And an address for the metrics of several masters is refused
    assert "metadata.jfr_mp.metrics" in other.types("start", "--all-projects", "--metrics", "localhost:1").stderr


def test_one_process_keeps_the_masters_of_several_projects(
    two: tuple[User, User], processes: Processes, tmp_path: Path
) -> None:
    with NotifySocket(str(tmp_path / "notify")) as heard:
        # When one process is started for both projects
        argv = ["env", f"NOTIFY_SOCKET={heard.address}", "WATCHDOG_USEC=6000000"]
        argv += [JFR_MP, "start", "--all-projects", "--foreground"]
        keeper = processes.start(argv, env=two[1].project.env, cwd=two[1].desk)

        # Then it reports to its service manager when the masters of both are ready
        assert heard.wait_for("READY", timeout=90)["STATUS"] == "2 of 2 masters are running"
        heard.wait_for("WATCHDOG")
        assert [len(user.masters()) for user in two] == [1, 1]

        # And jobs of both run, and each line of the log says of which project it is
        submitted = [user.submit("add(1, 1)", "-p", user.project.name) for user in two]
        for flow in submitted:
            flow.wait_for("COMPLETED")
        labels = ("one/complete-1 | ", "two/complete-1 | ")
        wait_until(lambda: all(label in processes.output(keeper) for label in labels), 10, "lines of both projects")

        # And a master that is killed is replaced, while the other goes on
        pids = [user.masters()[0]["pid"] for user in two]
        os.kill(pids[0], signal.SIGKILL)
        wait_until(lambda: [row["pid"] for row in two[0].masters() if row["pid"] != pids[0]], 60, "a new master")
        assert two[1].masters()[0]["pid"] == pids[1]

        # And one that the user stops stays stopped
        two[1].ok("stop", "-p", "two")
        wait_until(lambda: "two STOPPED" in str(heard.received()), 20, "a report that it is stopped")

        # And SIGTERM stops all
        keeper.send_signal(signal.SIGTERM)
        assert keeper.wait(60) == 0, processes.output(keeper)
        heard.wait_for("STOPPING")
        assert not is_alive(pids[1])
        assert pids_with("JFREMOTE_PROJECT", "two") == []
