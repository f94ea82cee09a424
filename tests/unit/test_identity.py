"""A process is told from others of the same pid, the same host name, and from jobflow-remote's locks."""

from __future__ import annotations

import os
import subprocess
import sys

import psutil
import pytest

from jfr_mp.identity import ProcessIdentity, host_name, new_lock_id, new_owner, owner_of_lock
from tests.support.waiting import wait_until

_NEW_PIDS = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")


def test_this_process_is_alive_and_local() -> None:
    identity = ProcessIdentity.of_this_process()
    assert (identity.pid, identity.alive, identity.is_local) == (os.getpid(), True, True)


def test_a_later_process_of_the_same_pid_is_not_taken_for_the_dead_one() -> None:
    now = psutil.Process().create_time()
    assert ProcessIdentity(pid=os.getpid(), create_time=now).alive
    assert not ProcessIdentity(pid=os.getpid(), create_time=now - 100).alive


def test_a_process_of_another_machine_is_not_local() -> None:
    assert not ProcessIdentity(machine="elsewhere", pid=os.getpid(), create_time=0).is_local


def test_a_clock_that_is_set_does_not_make_a_living_process_look_dead() -> None:
    # Given a process that was registered before the clock was set forward by an hour
    identity = ProcessIdentity.of_this_process()
    moved = identity.model_copy(update={"create_time": identity.create_time - 3600})
    # Then
    assert moved.alive
    assert not moved.model_copy(update={"start_ticks": (moved.start_ticks or 0) + 1}).alive


def test_a_container_with_the_same_host_name_is_another_machine() -> None:
    # Given a process in a pid namespace of its own, as in a container
    if subprocess.run([*_NEW_PIDS, "true"], check=False, capture_output=True).returncode:
        pytest.skip("pid namespaces cannot be made here: run the tests as root")
    program = "from jfr_mp.identity import *; print(ProcessIdentity.of_this_process().model_dump_json())"
    # When
    done = subprocess.run([*_NEW_PIDS, sys.executable, "-c", program], check=True, capture_output=True)
    # Then it is not looked up by its pid, which another process has here
    identity = ProcessIdentity.model_validate_json(done.stdout)
    assert (identity.host, identity.pid) == (host_name(), 1)
    assert not identity.is_local


def test_a_zombie_is_not_alive() -> None:
    # Given a process that waits to be killed
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        identity = ProcessIdentity(pid=process.pid, create_time=psutil.Process(process.pid).create_time())
        assert identity.alive
        # When it is killed and nothing reaps it
        process.kill()
        # Then
        wait_until(lambda: not identity.alive, 10, "its death")
        assert psutil.pid_exists(process.pid)


@pytest.mark.parametrize("lock_id", ["2c6b6a3e-0000-4000-8000-000000000000", "", "jfr-mpx/host:1:aa/1"])
def test_a_lock_of_jobflow_remote_has_no_owner(lock_id: str) -> None:
    assert owner_of_lock(lock_id) is None


def test_a_lock_names_its_owner() -> None:
    owner = new_owner()
    assert owner_of_lock(new_lock_id(owner)) == owner
    assert new_lock_id(owner) != new_lock_id(owner)
    assert new_owner() != owner
