"""Starting and stopping the real master with the real role processes, on a real database."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import psutil
import pytest

from jfr_mp import submit_flow
from jfr_mp.bus.client import MasterClient
from jfr_mp.bus.paths import RunDir, runtime_dir
from jfr_mp.config import ConfigManager, LogLevel, Project
from jfr_mp.database import orders, processes
from jfr_mp.database.connection import QueueDatabase
from jfr_mp.errors import AlreadyRunning, DatabaseUnavailable, NotRunning, StartFailed
from jfr_mp.identity import new_lock_id
from jfr_mp.model import utcnow
from jfr_mp.step_table import Role
from jfr_mp.supervisor import control, fleet
from jfr_mp.supervisor.child import ColdStart
from jfr_mp.supervisor.fork_server import role_processes
from jfr_mp.supervisor.logfile import log_files
from tests.support import jobs
from tests.support.processes import free_port, is_alive, pids_with, wait_gone
from tests.support.projects import ProjectFactory, TestProject
from tests.support.waiting import wait_until

pytestmark = pytest.mark.timeout(120)

ALL = dict.fromkeys(Role, 1)
TWO = {Role.CHECKOUT: 1, Role.COMPLETE: 1}


@pytest.fixture
def on_disk(fresh_project: ProjectFactory) -> TestProject:
    return fresh_project()


def has_master(project: Project) -> bool:
    """Whether a master of the project runs on this machine, even one that does not answer."""
    return bool(control.living_here(project))


@pytest.fixture
def project(on_disk: TestProject) -> Iterator[Project]:
    project = ConfigManager().get_project(on_disk.name)
    yield project
    if has_master(project):
        control.kill(project)
    # Below /tmp, because the temporary directories of pytest are too long for sockets.
    shutil.rmtree(runtime_dir(project))


def pids(project: Project) -> dict[str, int]:
    """Return the processes of the masters on this machine by name."""
    found = control.masters(project)
    return {"master": found[0].pid} | {role.name: role.pid for row in found for role in row.roles if role.pid}


def test_start_status_stop(project: Project, on_disk: TestProject) -> None:
    # When
    info = control.start(project, {**ALL, Role.TRANSFER: 2}, log_level="debug", timeout=60)
    # Then
    (status,) = control.masters(project)
    assert (status.pid, status.state, status.local) == (info.pid, "RUNNING", True)
    assert [(role.name, role.state) for role in status.roles] == [
        (name, "RUNNING") for name in ("checkout-1", "transfer-1", "transfer-2", "queue-1", "complete-1")
    ]
    assert os.getsid(info.pid) != os.getsid(0)
    assert [path.stem for path in log_files(project, "transfer")] == ["transfer-1", "transfer-2"]
    assert [path.stem for path in log_files(project, "master")] == ["master"]
    assert {path.stat().st_mode & 0o777 for path in log_files(project)} == {0o600}
    runner = on_disk.db.jf_auxiliary.find_one({"running_runner": {"$exists": True}})
    assert runner is not None
    assert "jfr_mp" in runner["running_runner"]
    registered = on_disk.db.jfr_mp_processes.find_one({"kind": "master"})
    assert registered is not None
    assert registered["pid"] == info.pid
    running = pids(project)
    # When
    stopped = control.stop(project)
    # Then
    assert [master.pid for master in stopped] == [info.pid]
    assert not any(is_alive(pid) for pid in running.values())
    assert control.masters(project) == []
    assert on_disk.db.jfr_mp_processes.count_documents({}) == 0
    runner = on_disk.db.jf_auxiliary.find_one({"running_runner": {"$exists": True}})
    assert runner is not None
    assert runner["running_runner"] is None


def test_one_process_reads_the_changes_for_all(on_disk: TestProject, project: Project) -> None:
    # Given role processes that look for work once in a minute
    on_disk.rewrite(metadata={"jfr_mp": {"probe_interval": 60, "idle_probe_interval": 60}})
    control.start(project, ALL, timeout=60)
    mine = {"cursor.originatingCommand.pipeline.0.$changeStream": {"$exists": True}, "ns": f"{on_disk.db.name}.jobs"}

    def streams() -> int:
        cursors = {"$currentOp": {"allUsers": True, "idleCursors": True}}
        return len(list(on_disk.db.client.admin.aggregate([cursors, {"$match": mine}])))

    wait_until(streams, 20, "a change stream")
    assert streams() == 1
    # When
    submit_flow(jobs.add(1), project=on_disk.name)
    # Then
    wait_until(lambda: on_disk.db.jobs.count_documents({"state": "COMPLETED"}), 40, "a job that every role has moved")
    assert streams() == 1


@pytest.mark.parametrize("act", [control.stop, control.kill])
def test_no_master_to_stop(project: Project, act: Callable[[Project], object]) -> None:
    with pytest.raises(NotRunning, match="no master of project main is running on this machine"):
        act(project)


def test_masters_share_the_roles_but_not_one_role(project: Project) -> None:
    # Given
    first = control.start(project, TWO)
    # When, then
    with pytest.raises(AlreadyRunning, match=rf"pid {first.pid}, .*roles complete\b"):
        control.start(project, {Role.COMPLETE: 1, Role.QUEUE: 1})
    second = control.start(project, {Role.TRANSFER: 1, Role.QUEUE: 1})
    assert {status.pid for status in control.masters(project)} == {first.pid, second.pid}
    assert {master.pid for master in control.stop(project)} == {first.pid, second.pid}


def test_two_starts_at_once_make_one_master(project: Project) -> None:
    # Given
    outcomes: list[object] = []

    def start() -> None:
        try:
            outcomes.append(control.start(project, TWO))
        except AlreadyRunning as error:
            outcomes.append(error)

    threads = [threading.Thread(target=start) for _ in range(2)]
    # When
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    # Then
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["AlreadyRunning", "MasterInfo"]
    assert len(control.masters(project)) == 1


def test_a_killed_role_process_is_replaced_and_its_locks_are_free(project: Project, on_disk: TestProject) -> None:
    # Given
    control.start(project, TWO)
    before = pids(project)
    registered = on_disk.db.jfr_mp_processes.find_one({"pid": before["complete-1"]})
    assert registered is not None
    on_disk.db.flows.insert_one({"uuid": "f", "lock_id": new_lock_id(registered["_id"]), "lock_time": utcnow()})
    wait_until(lambda: (control.masters(project)[0].roles[1].uptime_s or 0) > 3, 30, "a good run")
    # When
    os.kill(before["complete-1"], signal.SIGKILL)
    killed = time.monotonic()

    # Then
    def replaced() -> bool:
        role = control.masters(project)[0].roles[1]
        return role.state == "RUNNING" and role.pid != before["complete-1"]

    wait_until(replaced, 10, "another process")
    print(f"replaced after {time.monotonic() - killed:.2f} s")
    wait_until(lambda: on_disk.db.flows.count_documents({"lock_id": None}) == 1, 5, "its lock to be freed")
    assert on_disk.db.jfr_mp_processes.find_one({"_id": registered["_id"]}) is None


def test_after_a_killed_master_a_start_works_at_once(project: Project, on_disk: TestProject) -> None:
    # Given
    control.start(project, TWO)
    before = pids(project)
    registered = on_disk.db.jfr_mp_processes.find_one({"pid": before["master"]})
    assert registered is not None
    on_disk.db.flows.insert_one({"uuid": "f", "lock_id": new_lock_id(registered["_id"]), "lock_time": utcnow()})
    # When
    os.kill(before["master"], signal.SIGKILL)
    wait_until(lambda: not is_alive(before["master"]), 10, "the exit of the master")
    assert control.masters(project) == []
    after = control.start(project, TWO)
    # Then
    wait_gone(before.values())
    assert [path.name for path in runtime_dir(project).iterdir() if path.is_dir()] == [str(after.pid)]
    assert on_disk.db.flows.count_documents({"lock_id": None}) == 1


def test_kill_works_on_a_master_that_hangs(project: Project, on_disk: TestProject) -> None:
    # Given
    control.start(project, TWO)
    running = pids(project)
    os.kill(running["master"], signal.SIGSTOP)
    # When
    control.kill(project)
    # Then
    assert not any(is_alive(pid) for pid in running.values())
    assert list(on_disk.db.jfr_mp_processes.find()) == []
    assert control.masters(project) == []


@pytest.mark.timing
def test_kill_ends_all_processes(project: Project) -> None:
    # Given
    control.start(project, TWO)
    running = pids(project)
    # When
    control.kill(project)
    # Then
    assert not any(is_alive(pid) for pid in running.values())


def test_a_start_that_takes_too_long_leaves_nothing(project: Project) -> None:
    with pytest.raises(StartFailed):
        control.start(project, TWO, timeout=0.6)
    wait_until(lambda: not has_master(project), 20, "the exit of the master")


@pytest.mark.parametrize("moment", ["the directory of the master", "a role process"])
def test_an_interrupted_start_leaves_nothing(project: Project, on_disk: TestProject, moment: str) -> None:
    # Given
    code = (
        "import sys; from jfr_mp.config import ConfigManager; from jfr_mp.step_table import Role;"
        "from jfr_mp.supervisor import control;"
        "control.start(ConfigManager().get_project(sys.argv[1]), {Role.CHECKOUT: 1, Role.COMPLETE: 1})"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, project.name], env=dict(on_disk.env), stderr=subprocess.PIPE
    ) as starting:
        wait_until(lambda: has_master(project), 30, "the directory of the master")
        if moment == "a role process":
            # It must not see that all are ready before the interrupt.
            starting.send_signal(signal.SIGSTOP)
            wait_until(lambda: [row for row in control.masters(project) if row.roles and row.roles[0].pid], 30, moment)
        # When
        starting.send_signal(signal.SIGINT)
        starting.send_signal(signal.SIGCONT)
        starting.communicate(timeout=30)
    # Then
    wait_until(lambda: pids_with("JFREMOTE_PROJECTS_FOLDER", on_disk.env["JFREMOTE_PROJECTS_FOLDER"]) == [], 20, "end")
    assert control.masters(project) == []


@pytest.mark.timing
def test_a_start_without_a_database_names_its_address(fresh_project: ProjectFactory) -> None:
    # Given
    port = free_port()
    store = {"type": "MongoStore", "host": "127.0.0.1", "port": port, "database": "x", "collection_name": "jobs"}
    name = fresh_project(queue={"store": store}).name
    project = ConfigManager().get_project(name)
    # Then
    with pytest.raises(DatabaseUnavailable, match=f"127.0.0.1:{port}"):
        control.start(project, TWO)
    shutil.rmtree(runtime_dir(project))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_in_the_foreground(project: Project, on_disk: TestProject, number: signal.Signals) -> None:
    # Given
    argv = [sys.executable, "-m", "jfr_mp.supervisor", "--foreground", "--project", project.name]
    argv += ["--roles", "checkout=1,complete=1"]
    with subprocess.Popen(argv, env=dict(on_disk.env), stderr=subprocess.PIPE, text=True) as master:

        def ready() -> bool:
            found = control.masters(project)
            # One that does not answer yet has no roles.
            return bool(found and found[0].roles) and all(role.state == "RUNNING" for role in found[0].roles)

        wait_until(ready, 60, "its role processes")
        # When
        master.send_signal(number)
        _, output = master.communicate(timeout=30)
    # Then
    assert master.returncode == 0
    assert "stopping because of" in output
    assert output.rstrip().endswith("stopped")
    assert control.masters(project) == []


def test_the_parent_needs_no_heavy_packages() -> None:
    # Given
    code = (
        "import sys, jfr_mp.supervisor.control, jfr_mp.supervisor.__main__;"
        "heavy = {'jobflow', 'maggma', 'paramiko', 'qtoolkit', 'numpy', 'typer'} & set(sys.modules);"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    # When
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    # Then
    assert (done.returncode, done.stderr) == (0, "")


def test_the_log_level_of_running_processes_changes(project: Project) -> None:
    # Given
    control.start(project, TWO)
    # When
    fleet.command(project, "log-level", level=LogLevel.DEBUG)
    # Then the master logs changes of state, which are debug messages
    os.kill(pids(project)["complete-1"], signal.SIGKILL)
    (log,) = log_files(project, "master")
    wait_until(lambda: "complete-1: RUNNING -> " in log.read_text(), 20, "a change of state")


def _answered(order: orders.MasterOrder | None) -> orders.MasterOrder | None:
    return order if order is not None and order.done is not None else None


def test_a_master_restarts_in_place_as_it_is_when_the_database_tells_it_to(project: Project) -> None:
    # Given a master with two processes of a role that it did not start with
    master = control.start(project, TWO)
    before = pids(project)
    with closing(QueueDatabase.connect(project)) as db:
        (record,) = [each for each in processes.registered(db) if each.kind == "master"]

        def told(name: str, **arguments: Any) -> tuple[bool | None, str]:
            order = orders.MasterOrder(
                id=secrets.token_hex(12), master=record.id, name=name, arguments=arguments, sender="a test"
            )
            orders.give(db, order)
            reply = wait_until(lambda: _answered(orders.read(db, order)), 20, name)
            assert reply is not None
            return reply.done, reply.text

        assert told("scale", role="complete", number=2) == (True, "complete: 1 -> 2 processes")
        # and that takes no new jobs
        assert told("drain")[0]
        # When
        assert told("restart", level="debug") == (True, "restarts after the current steps")

    # Then the master has the same pid and state, and all its role processes are new
    def again() -> bool:
        # Between its two lives the master cannot be reached.
        roles = [role for status in control.masters(project) for role in status.roles]
        names = {role.name: role.pid for role in roles if role.state == "RUNNING"}
        return names.keys() == {"complete-1", "complete-2"} and not {*names.values()} & {*before.values()}

    wait_until(again, 30, "the new role processes")
    assert pids(project)["master"] == master.pid
    (status,) = control.masters(project)
    assert status.state == "DRAINING"
    # and it logs from the level of the command on
    (log,) = log_files(project, "master")
    wait_until(lambda: "STARTING -> RUNNING" in log.read_text(), 20, "a debug message")


def test_a_command_that_comes_by_two_ways_is_carried_out_once(project: Project) -> None:
    # Given a command that a master has carried out, and whose answer was lost
    control.start(project, {Role.CHECKOUT: 1})
    ((run_dir, master),) = control.living_here(project)
    with MasterClient(run_dir) as client:
        answer = client.command("drain", id_="this-one")
        assert client.command("resume").done
    with closing(QueueDatabase.connect(project)) as db:
        # When it comes again, through the database
        order = orders.give(db, orders.MasterOrder(id="this-one", master=master.owner, name="drain", sender="a test"))
        reply = wait_until(lambda: _answered(orders.read(db, order)), 20, "an answer")
    # Then the answer is the same, and nothing was done
    assert reply is not None
    assert (reply.done, reply.text) == (answer.done, answer.text)
    (status,) = control.masters_here(project)
    assert status.state == "RUNNING"


# The fork server


def fork_server(project: Project) -> psutil.Process:
    """Return the fork server of the only master."""
    (run_dir,) = [RunDir(path) for path in runtime_dir(project).iterdir() if path.is_dir()]
    assert run_dir.master is not None
    assert run_dir.master.fork_server is not None
    return psutil.Process(run_dir.master.fork_server)


def replaced(project: Project, name: str, before: int) -> int | None:
    """Return the pid of a role process that runs in the place of another one."""
    (role,) = [role for role in control.masters(project)[0].roles if role.name == name]
    return role.pid if role.state == "RUNNING" and role.pid != before else None


def test_role_processes_are_forked_and_told_apart(project: Project) -> None:
    # When
    control.start(project, TWO)
    # Then
    running = pids(project)
    server = fork_server(project)
    roles = {name: psutil.Process(pid) for name, pid in running.items() if name != "master"}
    assert server.ppid() == running["master"]
    assert {role.ppid() for role in roles.values()} == {server.pid}
    assert {name: role.cmdline()[0] for name, role in roles.items()} == {
        name: f"jfr-mp: {name} of project {project.name}" for name in ("checkout-1", "complete-1")
    }
    assert {os.getsid(role.pid) for role in roles.values()} == {role.pid for role in roles.values()}
    assert {role.num_fds() < 100 for role in roles.values()} == {True}
    # When
    os.kill(running["checkout-1"], signal.SIGKILL)
    wait_until(lambda: replaced(project, "checkout-1", running["checkout-1"]), 20, "another process")
    # Then
    (log,) = log_files(project, "master")
    assert f"checkout-1 (pid {running['checkout-1']}) exited: killed by SIGKILL" in log.read_text()
    # When
    running = pids(project)
    os.kill(running["master"], signal.SIGKILL)
    # Then
    wait_gone([server.pid, *running.values()])


def test_without_its_fork_server_a_master_goes_on(project: Project) -> None:
    # Given
    control.start(project, TWO)
    running = pids(project)
    wait_until(lambda: (control.masters(project)[0].roles[0].uptime_s or 0) > 3, 30, "a good run")
    # When
    server = fork_server(project).pid
    os.kill(server, signal.SIGKILL)
    wait_gone([server])
    assert pids(project) == running
    os.kill(running["complete-1"], signal.SIGKILL)
    # Then
    pid = wait_until(lambda: replaced(project, "complete-1", running["complete-1"]), 30, "another process")
    assert pid is not None
    assert psutil.Process(pid).ppid() == running["master"]
    assert pids(project)["checkout-1"] == running["checkout-1"]
    control.stop(project)
    wait_gone([*running.values(), pid])


def test_a_program_with_threads_starts_them_cold(project: Project) -> None:
    done = threading.Event()
    thread = threading.Thread(target=done.wait)
    thread.start()
    with role_processes(project.name) as processes:
        assert isinstance(processes, ColdStart)
    done.set()
    thread.join()
