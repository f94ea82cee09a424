"""A cluster that wants a one-time password: typed once on a terminal, for all processes."""

from __future__ import annotations

import os
import pty
import re
import select
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from jfr_mp.errors import ExitCode
from jfr_mp.hosts.login.broker_socket import broker_dir
from tests.acceptance.conftest import NewUser
from tests.support.jobs import ledger_lines
from tests.support.processes import JFR_MP, pids_with
from tests.support.sshd import SecretSshd, connections, running
from tests.support.user import User
from tests.support.waiting import wait_until

pytestmark = pytest.mark.timeout(240)

CODES = ("135791", "246802")


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[SecretSshd]:
    """A server with one-time passwords, whose login shell finds jfr-mp and the jobs of the tests."""
    server = SecretSshd(tmp_path / "cluster", *CODES, interactive=True, once=True)
    server.offer_jfr_mp()
    yield from running(server)


@pytest.fixture
def user(new_user: NewUser, cluster: SecretSshd, tmp_path: Path) -> Iterator[User]:
    """Somebody whose worker is that cluster."""
    far = cluster.worker(tmp_path / "far", interactive_login=True, key_filename=None)
    user = new_user(workers={"far": far})
    yield user
    user.types("connect", "--close", "far")
    shutil.rmtree(broker_dir(user.project.base_dir), ignore_errors=True)


def on_a_terminal(user: User, *argv: str, types: str) -> tuple[int, str]:
    """Run ``jfr-mp ARGV`` on a terminal, type something at the first prompt; return exit code and what was shown."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(user.desk)
        os.execve(JFR_MP, [JFR_MP, *argv], dict(user.project.env))
    shown = b""
    deadline = time.monotonic() + 60
    typed = False
    while select.select([terminal], [], [], max(0, deadline - time.monotonic()))[0]:
        try:
            block = os.read(terminal, 4096)
        except OSError:
            # Linux says so at the end of a terminal.
            break
        if not block:
            break
        shown += block
        if b"Password:" in shown and not typed:
            os.write(terminal, f"{types}\n".encode())
            typed = True
    os.close(terminal)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), shown.decode()


def brokers(user: User) -> list[int]:
    """Return the pids of the processes that keep a connection."""
    pids = pids_with("JFREMOTE_PROJECTS_FOLDER", user.project.env["JFREMOTE_PROJECTS_FOLDER"])
    return [pid for pid in pids if b"jfr_mp.hosts.login.broker" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def test_jobs_wait_for_the_login_and_then_run_over_one_connection(user: User, cluster: SecretSshd) -> None:
    # Given four role processes, and ten jobs on a host where nobody has logged in
    assert len(user.start()["roles"]) == 4
    ledger = cluster.directory / "ledger"
    flow = user.submit(f"Flow([writes_ledger({str(ledger)!r}, str(n)) for n in range(10)])", "--worker", "far")

    # Then status says what to do
    wait_until(lambda: f"a login is needed: jfr-mp connect {cluster.host}" in user.types("status").stderr, 60, "status")

    # When somebody types a wrong code
    code, shown = on_a_terminal(user, "connect", "far", types="000000")
    # Then that is an error of one line, and nothing is left of it
    assert code == ExitCode.ERROR
    assert "login refused" in shown
    assert "000000" not in shown
    assert not brokers(user)

    # When the code is right
    code, shown = on_a_terminal(user, "connect", "far", types=CODES[0])
    # Then everything runs, once, and no attempt was spent on waiting
    assert code == ExitCode.OK, shown
    assert "logged in" in shown
    assert CODES[0] not in shown
    flow.wait_for("COMPLETED", timeout=120)
    assert set(flow.states) == {"COMPLETED"}
    assert {job["remote"]["step_attempts"] for job in flow.jobs} == {0}
    assert ledger_lines(ledger) == [str(n) for n in range(10)]

    # And the command line uses the same connection, after the processes have stopped too
    user.ok("stop")
    assert len(brokers(user)) == 1
    user.ok("job", "files", "ls", flow.db_ids[0])
    assert cluster.logins == 1
    assert connections(cluster) == {brokers(user)[0]: 1}
    # One more had a wrong code
    assert len(re.findall("^Connection from ", cluster.log, re.MULTILINE)) == 2

    # And it ends when somebody wants it
    assert "closed" in user.ok("connect", "--close", "far")
    assert not brokers(user)


def test_start_on_a_terminal_logs_in(user: User, cluster: SecretSshd) -> None:
    code, shown = on_a_terminal(user, "start", types=CODES[0])
    assert code == ExitCode.OK, shown
    assert cluster.logins == 1
    user.submit("add(1)", "--worker", "far").wait_for("COMPLETED")
    assert cluster.logins == 1


def test_a_login_needs_a_terminal(user: User) -> None:
    assert "on a terminal" in user.refused("connect", code=ExitCode.ERROR)


@pytest.mark.parametrize("name", ["local", "nowhere"])
def test_a_worker_without_a_login_is_refused(user: User, name: str) -> None:
    assert "interactive_login" in user.refused("connect", name, code=ExitCode.CONFIG)
