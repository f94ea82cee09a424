"""The daemon of one package does not start beside that of the other, and says who runs."""

from __future__ import annotations

import getpass
import signal
import socket
from collections.abc import Callable, Iterator

import psutil
import pytest

from jfr_mp import submit_flow
from jfr_mp.errors import AlreadyRunning
from tests.interop.documents import is_at_rest
from tests.interop.flows import FLOWS, chain
from tests.support.peer import Peer
from tests.support.processes import end, run_cli, wait_gone
from tests.support.projects import TestProject
from tests.support.waiting import wait_until


@pytest.fixture
def daemon(project: TestProject, peer: Peer) -> Iterator[psutil.Process]:
    """The peer's daemon, in one process, on a database that we made."""
    submit_flow(chain(1))
    process = peer.start_daemon()
    yield process
    end(process.pid)


def test_its_daemon_refuses_while_ours_runs(project: TestProject, peer: Peer, started: Callable[..., None]) -> None:
    # Given our processes
    started()
    # When the peer's daemon is started
    refused = peer.jf("runner", "start", "--single")
    # Then it refuses, and says who runs
    assert refused.returncode != 0
    text = refused.stdout + refused.stderr
    assert "may be already running" in text
    assert str(project.daemon_dir / "jfr_mp") in text
    assert not (project.daemon_dir / "supervisord.pid").exists()
    info = peer.check("runner", "info")
    for known in (socket.gethostname(), getpass.getuser(), "jfr_mp"):
        assert known in info
    # And ours are as they were, until they are stopped: then it starts
    assert run_cli("status", env=project.env).returncode == 0
    assert run_cli("stop", env=project.env).returncode == 0
    peer.shut_down_daemon(peer.start_daemon())


def test_ours_refuses_while_its_daemon_runs(
    project: TestProject, peer: Peer, daemon: psutil.Process, started: Callable[..., None]
) -> None:
    # Given the peer's daemon, when our processes are started
    refused = run_cli("start", env=project.env)
    # Then they refuse, and say who runs and what to do
    assert refused.returncode == AlreadyRunning.exit_code
    for text in ("jobflow-remote", socket.gethostname(), getpass.getuser(), "jf runner stop"):
        assert text in refused.stderr
    # And the daemon completes what we submit
    submit_flow(FLOWS["replace by a job"]())
    wait_until(lambda: is_at_rest(project), 90, "the end of the flow")
    assert {flow["state"] for flow in project.db.flows.find()} == {"COMPLETED"}
    # And once it is shut down, ours start
    peer.shut_down_daemon(daemon)
    started()


def test_ours_starts_where_its_daemon_was_killed(
    project: TestProject, daemon: psutil.Process, started: Callable[..., None]
) -> None:
    # Given a daemon of the peer that could not say goodbye
    family = [daemon, *daemon.children(recursive=True)]
    for process in family:
        process.send_signal(signal.SIGKILL)
    wait_gone(process.pid for process in family)
    # When ours is started, then it sees that nobody runs, and does the work
    started()
    wait_until(lambda: is_at_rest(project), 60, "the end of the flow")
