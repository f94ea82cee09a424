"""A real master of small role processes, driven by signals, deaths and requests as in real life."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from jfr_mp.bus.client import MasterClient
from jfr_mp.bus.messages import MasterStatus, RoleStatus
from jfr_mp.bus.paths import RunDir
from jfr_mp.errors import BusError, ExitCode
from tests.support.processes import Processes, is_alive, wait_gone
from tests.support.waiting import wait_until

pytestmark = pytest.mark.timeout(60)

HERE = Path(__file__).parent


class SmallMaster:
    """A running `small_master`, and what a test does with it."""

    def __init__(self, directory: Path, processes: Processes) -> None:
        self.directory = directory
        self._processes = processes
        self.pids: set[int] = set()

    def start(
        self,
        *,
        mode: str = "daemon",
        behaviour: dict[str, str] | None = None,
        limits: dict[str, float] | None = None,
        **roles: int,
    ) -> None:
        for name, word in (behaviour or {}).items():
            (self.directory / name).write_text(word)
        argv = [sys.executable, str(HERE / "small_master.py"), str(self.directory), json.dumps(roles), mode]
        argv.append(json.dumps(limits or {}))
        self.process: subprocess.Popen[bytes] = self._processes.start(argv)

    def status(self) -> MasterStatus | None:
        try:
            with MasterClient(RunDir(self.directory / "run"), timeout=1.0) as client:
                status = client.status()
        except BusError:
            return None
        self.pids.update(role.pid for role in status.roles if role.pid)
        return status

    def role(self, name: str) -> RoleStatus | None:
        status = self.status()
        return next((role for role in status.roles if role.name == name), None) if status else None

    def wait_for(self, name: str, state: str, condition: Callable[[RoleStatus], bool] = lambda _: True) -> RoleStatus:
        def come() -> RoleStatus | None:
            role = self.role(name)
            return role if role and role.state == state and condition(role) else None

        found = wait_until(come, 20, f"{name} {state}\n{self.output()}")
        assert found is not None
        return found

    def wait_all_running(self, *names: str) -> None:
        for name in names:
            self.wait_for(name, "RUNNING")

    def ask(self, act: Callable[[MasterClient], Any]) -> Any:
        with MasterClient(RunDir(self.directory / "run")) as client:
            return act(client)

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def wait_for_exit(self) -> int:
        return self.process.wait(20)

    def output(self) -> str:
        return self._processes.output(self.process)

    def log(self, name: str) -> str:
        return (self.directory / "logs" / f"{name}.log").read_text()

    def notes(self) -> list[list[str]]:
        path = self.directory / "registry"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def noted(self, word: str) -> Path:
        path = self.directory / word
        wait_until(path.exists, 20, word)
        return path

    def prints(self, text: str) -> None:
        wait_until(lambda: text in self.output(), 10, text)


@pytest.fixture
def master(tmp_path: Path) -> Iterator[SmallMaster]:
    processes = Processes(tmp_path)
    with tempfile.TemporaryDirectory(prefix="jfr-mp-", dir="/tmp") as directory:
        master = SmallMaster(Path(directory), processes)
        yield master
        processes.end_all()
        # What a failed test left: the processes of a master that was killed.
        for pid in filter(is_alive, master.pids):
            os.kill(pid, signal.SIGKILL)
        wait_gone(master.pids)


def test_a_master_that_cannot_be_reached_any_more_stops(master: SmallMaster) -> None:
    # Given
    master.start(queue=1)
    master.wait_all_running("queue-1")
    run_dir = master.directory / "run"
    # When its sockets are deleted and cannot be made again
    run_dir.rename(master.directory / "old")
    run_dir.touch()
    # Then it says why, and stops
    assert master.wait_for_exit() == ExitCode.OK, master.output()
    assert "was deleted, so that no command reaches this master" in master.output()
    assert "stopping because of being unreachable for 0.5 s" in master.output()


def test_each_name_has_a_process_and_a_row_of_the_status(master: SmallMaster) -> None:
    # When
    master.start(checkout=1, transfer=2)
    master.wait_all_running("checkout-1", "transfer-1", "transfer-2")
    # Then
    status = master.status()
    assert status is not None
    assert (status.pid, status.state) == (master.process.pid, "RUNNING")
    assert [role.name for role in status.roles] == ["checkout-1", "transfer-1", "transfer-2"]
    for role in status.roles:
        assert role.restarts == 0
        assert role.last_error is None
        assert role.uptime_s is not None
        assert 0 < role.uptime_s < 60
        assert role.rss_bytes is not None
        assert role.rss_bytes > 2**20
    assert len(master.pids) == 3
    assert (master.directory / "logs" / "transfer-2.log").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "stop",
    [
        lambda master: master.signal(signal.SIGTERM),
        lambda master: master.signal(signal.SIGINT),
        lambda master: master.ask(lambda client: client.command("stop")),
    ],
    ids=["SIGTERM", "SIGINT", "request"],
)
def test_a_stop_waits_for_the_step_in_hand(master: SmallMaster, stop: Callable[[SmallMaster], None]) -> None:
    # Given
    master.start(behaviour={"queue-1": "in-a-step"}, queue=1, transfer=1)
    master.wait_all_running("queue-1", "transfer-1")
    # When
    stop(master)
    # Then
    master.noted("queue-1.stopping")
    master.wait_for("transfer-1", "STOPPED")
    status = master.status()
    assert status is not None
    assert status.state == "STOPPING"
    (master.directory / "queue-1.finish").write_text("")
    assert master.wait_for_exit() == ExitCode.OK
    master.noted("queue-1.stopped")
    assert not any(is_alive(pid) for pid in master.pids)
    assert not (master.directory / "run").exists()
    assert (master.notes()[0], master.notes()[-1]) == (["entered"], ["left"])


@pytest.mark.timing
def test_a_process_that_does_not_stop_is_killed_after_its_deadlines(master: SmallMaster) -> None:
    # Given
    master.start(behaviour={"queue-1": "stuck"}, queue=1)
    master.wait_all_running("queue-1")
    begun = time.monotonic()
    # When
    master.signal(signal.SIGTERM)
    # Then it got 2 s to finish the step and 0.5 s after SIGTERM
    assert master.wait_for_exit() == ExitCode.OK
    assert time.monotonic() - begun > 2.4
    assert "killed by SIGKILL" in master.output()


@pytest.mark.parametrize(
    "hurry",
    [
        lambda master: master.signal(signal.SIGINT),
        lambda master: master.ask(lambda client: client.command("stop", drain=False)),
    ],
    ids=["second Ctrl-C", "kill"],
)
@pytest.mark.timing
def test_a_stop_can_be_hurried(master: SmallMaster, hurry: Callable[[SmallMaster], None]) -> None:
    # Given a step that may take longer than this test waits
    master.start(behaviour={"queue-1": "stuck"}, limits={"drain": 300}, queue=1)
    master.wait_all_running("queue-1")
    master.signal(signal.SIGINT)
    master.noted("queue-1.stopping")
    # When
    hurry(master)
    # Then
    assert master.wait_for_exit() == ExitCode.OK
    wait_gone(master.pids)


@pytest.mark.timing
def test_a_killed_process_is_replaced_and_evicted_at_once(master: SmallMaster) -> None:
    # Given pauses that are longer than this test waits, of which a process that has started well needs none
    master.start(limits={"startsecs": 0, "backoff": 300, "backoff_max": 300}, transfer=1, queue=1)
    master.wait_all_running("transfer-1", "queue-1")
    first = master.role("transfer-1")
    other = master.role("queue-1")
    assert first is not None
    assert first.pid is not None
    # When
    os.kill(first.pid, signal.SIGKILL)
    # Then
    second = master.wait_for("transfer-1", "RUNNING", lambda role: role.pid != first.pid)
    assert (second.restarts, second.last_error) == (1, "killed by SIGKILL")
    wait_until(lambda: ["evicted", f"here:{first.pid}:aa"] in master.notes(), 5, "its eviction")
    assert other is not None
    assert (now := master.role("queue-1")) is not None
    assert now.pid == other.pid


@pytest.mark.parametrize(
    ("mode", "last_error", "restarts"),
    [
        ("crash", "exit status 1\nno module named nothing", 1),
        ("misconfigured", "exit status 3\nthe project file is wrong", 0),
    ],
)
def test_a_process_that_cannot_start_is_given_up_and_the_others_go_on(
    master: SmallMaster, mode: str, last_error: str, restarts: int
) -> None:
    # Given
    master.start(behaviour={"queue-1": mode}, queue=1, transfer=1)
    # When
    dead = master.wait_for("queue-1", "FATAL")
    # Then
    assert (dead.last_error, dead.restarts, dead.pid, dead.uptime_s) == (last_error, restarts, None, None)
    assert "queue-1 is given up" in master.output()
    master.wait_all_running("transfer-1")
    master.signal(signal.SIGTERM)
    assert master.wait_for_exit() == ExitCode.START_FAILED


def test_a_process_that_recovers_is_not_given_up(master: SmallMaster) -> None:
    # Given
    master.start(behaviour={"queue-1": "crash"}, queue=1)
    wait_until((master.directory / "logs" / "queue-1.log").exists, 10, "the first start")
    # When
    (master.directory / "queue-1").write_text("work")
    # Then
    found = wait_until(
        lambda: (role := master.role("queue-1")) and role.state in ("RUNNING", "FATAL") and role, 20, "an end"
    )
    assert isinstance(found, RoleStatus)
    assert found.state == "RUNNING"


def test_the_error_that_a_process_reports_is_in_the_status(master: SmallMaster) -> None:
    master.start(behaviour={"queue-1": "complains"}, queue=1)
    assert master.wait_for("queue-1", "RUNNING").last_error == "a complaint"


def test_the_transfers_of_a_process_are_in_the_status_until_it_dies(master: SmallMaster) -> None:
    # Given a process that has been uploading for a while, and an idle one
    master.start(behaviour={"transfer-1": "transfers"}, transfer=1, queue=1)
    master.wait_all_running("transfer-1", "queue-1")
    # Then the status has it
    (transfer,) = master.ask(lambda client: client.status()).transfers
    assert (transfer.db_id, transfer.done_bytes, transfer.total_bytes) == ("7", 20_000_000, 50_000_000)
    # When the process dies, and its successor has nothing to report
    (master.directory / "transfer-1").write_text("work")
    role = master.role("transfer-1")
    assert role
    assert role.pid
    os.kill(role.pid, signal.SIGKILL)
    master.wait_for("transfer-1", "RUNNING", lambda role: role.restarts == 1)
    # Then neither has the status
    assert master.ask(lambda client: client.status()).transfers == []


def test_a_process_that_is_never_ready_is_replaced(master: SmallMaster) -> None:
    master.start(behaviour={"queue-1": "never-ready"}, queue=1)
    dead = master.wait_for("queue-1", "STARTING", lambda role: role.restarts == 1)
    assert dead.last_error == "was not ready within 5 s"


@pytest.mark.parametrize("mode", ["in-a-step", "stuck"])
def test_the_role_processes_of_a_killed_master_stop(master: SmallMaster, mode: str) -> None:
    # Given
    master.start(behaviour={"queue-1": mode}, queue=1, transfer=1)
    master.wait_all_running("queue-1", "transfer-1")
    # When
    master.signal(signal.SIGKILL)
    master.wait_for_exit()
    # Then
    master.noted("transfer-1.stopped")
    master.noted("queue-1.stopping")
    assert not (master.directory / "queue-1.stopped").exists()
    (master.directory / "queue-1.finish").write_text("")
    wait_gone(master.pids)
    assert (master.directory / "queue-1.stopped").exists() == (mode == "in-a-step")
    assert "the master has died" not in master.output()


def test_a_process_inherits_nothing_of_its_master_but_the_lifeline(master: SmallMaster) -> None:
    # Given
    master.start(queue=1)
    master.wait_all_running("queue-1")
    # When
    files = json.loads((master.directory / "queue-1.fds").read_text())
    # Then
    log = str(master.directory / "logs" / "queue-1.log")
    assert (files["0"], files["1"], files["2"]) == ("/dev/null", log, log)
    others = [target for number, target in files.items() if int(number) > 2 and not target.startswith("/proc/")]
    assert len(others) == 1
    assert others[0].startswith("pipe:")
    # And it is in a session of its own, which Ctrl-C on the terminal of the master does not reach
    (pid,) = master.pids
    assert os.getsid(pid) == pid != os.getsid(master.process.pid)


def test_the_log_level_changes_everywhere(master: SmallMaster) -> None:
    # Given
    master.start(queue=1, transfer=1)
    master.wait_all_running("queue-1", "transfer-1")
    # When
    master.ask(lambda client: client.command("log-level", level="debug"))
    # Then
    master.noted("queue-1.level-debug")
    master.noted("transfer-1.level-debug")


def test_in_the_foreground_the_terminal_shows_the_logs(master: SmallMaster) -> None:
    # When
    master.start(mode="foreground", queue=1, transfer=1)
    master.wait_all_running("queue-1", "transfer-1")
    # Then
    for name in ("queue-1", "transfer-1"):
        master.prints(f"{name} | {name} is here\n")
        assert f"{name} is here\n" in master.log(name)


@pytest.mark.parametrize(("mode", "stops"), [("daemon", False), ("foreground", True)])
def test_a_closed_terminal_stops_a_foreground_master_only(master: SmallMaster, mode: str, stops: bool) -> None:
    # Given
    master.start(mode=mode, queue=1)
    master.wait_all_running("queue-1")
    # When
    master.signal(signal.SIGHUP)
    # Then
    if stops:
        assert master.wait_for_exit() == ExitCode.OK
    else:
        master.ask(lambda client: client.command("log-level", level="debug"))
        status = master.status()
        assert status is not None
        assert status.state == "RUNNING"


def test_the_master_is_small(master: SmallMaster) -> None:
    # Given
    master.start(queue=1)
    master.wait_all_running("queue-1")
    # When
    master.signal(signal.SIGTERM)
    master.wait_for_exit()
    # Then
    modules = json.loads(master.output().splitlines()[-1])
    assert "zmq" in modules
    assert {"jobflow", "maggma", "paramiko", "qtoolkit", "numpy"}.isdisjoint(modules)


def test_a_role_is_paused_scaled_and_resumed_while_the_others_run(master: SmallMaster) -> None:
    # Given
    master.start(checkout=1, transfer=1)
    master.wait_all_running("checkout-1", "transfer-1")
    transfer = master.wait_for("transfer-1", "RUNNING").pid

    def command(name: str, **arguments: Any) -> tuple[bool, str]:
        reply = master.ask(lambda client: client.command(name, **arguments))
        return reply.done, reply.text

    # When it is drained, only checkout stops
    assert command("drain") == (True, "takes no new jobs; jobs that are under way go on")
    master.wait_for("checkout-1", "STOPPED")
    status = master.status()
    assert status is not None
    assert status.state == "DRAINING"

    # When the other role is scaled up, the new process starts beside the old one
    assert command("scale", role="transfer", number=2) == (True, "transfer: 1 -> 2 processes")
    master.wait_for("transfer-2", "RUNNING")
    assert master.wait_for("transfer-1", "RUNNING").pid == transfer

    # When it is paused and resumed, all stop and start again
    assert command("pause")[0]
    for name in ("transfer-1", "transfer-2"):
        master.wait_for(name, "STOPPED")
    assert command("resume")[0]
    master.wait_all_running("checkout-1", "transfer-1", "transfer-2")

    # When it is scaled down, the process that is too many stops and is forgotten
    assert command("scale", role="transfer", number=1)[0]
    wait_until(lambda: master.role("transfer-2") is None, 20, "transfer-2 to be forgotten")

    # And what cannot be is refused
    assert command("scale", role="checkout", number=2)[0] is False
    assert command("scale", role="transfer", number=-1)[1].startswith("number: ")
    assert command("fly")[1] == "this version of jfr-mp has no command 'fly'"
