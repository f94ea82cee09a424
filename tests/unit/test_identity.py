"""A process is told from others of the same pid, the same host name, and from jobflow-remote's locks."""

from __future__ import annotations

import os
import subprocess
import sys

import psutil
import pytest

from jfr_mp.identity import ProcessIdentity, new_lock_id, new_owner, owner_of_lock
from tests.support.waiting import wait_until


def test_this_process_is_alive_and_local() -> None:
    identity = ProcessIdentity.of_this_process()
    assert (identity.pid, identity.alive, identity.is_local) == (os.getpid(), True, True)


def test_a_later_process_of_the_same_pid_is_not_taken_for_the_dead_one() -> None:
    now = psutil.Process().create_time()
    assert ProcessIdentity(pid=os.getpid(), create_time=now).alive
    assert not ProcessIdentity(pid=os.getpid(), create_time=now - 100).alive


def test_a_process_of_another_machine_is_not_local() -> None:
    assert not ProcessIdentity(host="elsewhere", pid=os.getpid(), create_time=0).is_local


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
