"""Members on a real database: what their records say, and how the living and the dead are told apart."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import psutil
import pytest

from jfr_mp.bus.messages import MasterStatus, RoleStatus
from jfr_mp.database import processes, running_runner
from jfr_mp.database.connection import QueueDatabase
from jfr_mp.database.processes import ProcessRecord
from jfr_mp.errors import AlreadyRunning
from jfr_mp.identity import host_name, new_lock_id, new_owner, this_machine
from jfr_mp.membership.member import Member
from jfr_mp.membership.records import masters_elsewhere, report_of
from jfr_mp.membership.rescuer import evict_dead_here
from jfr_mp.model import Outage, utcnow
from jfr_mp.step_table import Role
from tests.support.jobs import add
from tests.support.waiting import wait_until

OPTIONS = {"jfr_mp": {"lease_ttl": 60, "heartbeat_interval": 0.1}}


@pytest.fixture
def quick(open_queue: Any) -> Any:
    """A queue whose members renew their leases often."""
    return open_queue(metadata=OPTIONS)


def _records(queue: Any) -> list[ProcessRecord]:
    return processes.registered(queue.db)


def _lock_a_job(queue: Any, owner: str) -> Any:
    queue.add(job := add(1))
    queue.db.jobs.update_one({"uuid": job.uuid}, {"$set": {"lock_id": new_lock_id(owner), "lock_time": utcnow()}})
    return job


def test_a_role_process_is_registered_until_it_leaves_and_keeps_no_lock(quick: Any) -> None:
    # Given
    owner = new_owner()
    with Member.role_process(quick.db, owner, "transfer-1", (Role.TRANSFER,)):
        # Then its record says which process it is and what it does
        (record,) = _records(quick)
        assert (record.id, record.kind, record.name, record.roles) == (owner, "role", "transfer-1", ["transfer"])
        assert (record.host, record.pid, record.project) == (host_name(), os.getpid(), quick.db.project.name)
        assert record.alive
        assert record.is_local
        assert record.state == "RUNNING"
        # And its lease is renewed
        wait_until(lambda: _records(quick)[0].heartbeat > record.heartbeat, 10, "a heartbeat")
        job = _lock_a_job(quick, owner)
    # When it has left
    assert _records(quick) == []
    assert quick.job(job)["lock_id"] is None


def test_a_process_that_was_evicted_registers_again_without_its_locks(quick: Any) -> None:
    # Given
    owner = new_owner()
    with Member.role_process(quick.db, owner, "transfer-1", (Role.TRANSFER,)) as member:
        entered = time.monotonic()
        assert member.holds_since(entered)
        # When
        processes.evict(quick.db, owner, "a test")
        # Then
        wait_until(lambda: not member.holds_since(entered), 10, "the loss of its locks")
        assert [record.id for record in _records(quick)] == [owner]


def test_a_master_has_a_dead_role_process_evicted_at_once(open_queue: Any) -> None:
    # Given a master whose next heartbeat is far away
    queue = open_queue(metadata={"jfr_mp": {"lease_ttl": 3600, "heartbeat_interval": 1800}})
    dead = "host:1:dead"
    processes.register(queue.db, _elsewhere(dead, kind="role"))
    job = _lock_a_job(queue, dead)
    with Member.master(QueueDatabase.connect(queue.db.project), new_owner(), (Role.QUEUE,)) as member:
        # When
        member.evict(dead)
        # Then
        wait_until(lambda: queue.job(job)["lock_id"] is None, 10, "the lock to be freed")
        wait_until(lambda: [record.kind for record in _records(queue)] == ["master"], 10, "the eviction")


def test_a_master_enters_the_document_of_the_running_runner_and_pings(quick: Any) -> None:
    # Given
    owner = new_owner()
    connection_of_the_master = QueueDatabase.connect(quick.db.project)
    with Member.master(connection_of_the_master, owner, (Role.QUEUE,)):
        # Then
        runner = running_runner.read(quick.db)
        assert runner is not None
        assert runner["jfr_mp"] == {"masters": [owner]}
        pings = {"runner_pings.runner_id": owner, "runner_pings.run_options.queue": True}
        wait_until(lambda: quick.db.auxiliary.find_one(pings), 10, "a ping")
    # When it has left
    assert running_runner.read(quick.db) is None
    assert _records(quick) == []


def test_a_master_beside_a_daemon_of_jobflow_remote_is_no_member(quick: Any) -> None:
    # Given
    runner = {"hostname": "elsewhere", "user": "other", "daemon_dir": "/d", "project_name": "p", "start_time": utcnow()}
    quick.db.auxiliary.update_one({"running_runner": {"$exists": True}}, {"$set": {"running_runner": runner}})
    # When, then
    with pytest.raises(AlreadyRunning), Member.master(quick.db, new_owner(), (Role.QUEUE,)):
        pytest.fail("it entered")
    assert _records(quick) == []


@pytest.fixture
def living() -> Iterator[subprocess.Popen[bytes]]:
    """A process that lives as long as the test."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield process
        process.kill()


def _elsewhere(owner: str, **fields: Any) -> ProcessRecord:
    defaults = {
        "kind": "master",
        "host": "elsewhere",
        "machine": "elsewhere",
        "pid": 1,
        "create_time": 1.5,
        "project": "main",
    }
    return ProcessRecord.model_validate({"id": owner, **defaults, **fields})


def test_masters_on_other_machines_are_listed_as_they_last_reported(quick: Any) -> None:
    # Given masters elsewhere and here, and a role process elsewhere
    for record in (
        _elsewhere("elsewhere:1:aa"),
        _elsewhere("elsewhere:2:aa", kind="role"),
        _elsewhere("here:1:aa", machine=this_machine()),
    ):
        processes.register(quick.db, record)
    role = RoleStatus(role=Role.QUEUE, name="queue-1", state="FATAL", last_error="$x is 'bad'")
    outage = Outage(host="cluster", since=utcnow(), why="refused", next_try=utcnow())
    status = MasterStatus(host="elsewhere", pid=1, state="STOPPING", roles=[role], outages=[outage])
    # When
    processes.heartbeat(quick.db, "elsewhere:1:aa", report_of(status))
    # Then
    (found,) = masters_elsewhere(quick.db)
    assert found.row() == status.row()
    assert [(each.host, each.why) for each in found.outages] == [("cluster", "refused")]


def test_only_the_dead_of_this_machine_are_evicted_before_their_lease_runs_out(
    quick: Any, living: subprocess.Popen[bytes]
) -> None:
    # Given a living process here, one that has died, and on machines of the same name one of the same pid as the living
    # one; of the last, an earlier version wrote no machine
    create_time = psutil.Process(living.pid).create_time()
    here = {"host": host_name(), "machine": this_machine(), "kind": "role", "pid": living.pid}
    clone = {**here, "machine": "clone", "create_time": create_time - 100}
    for record in (
        _elsewhere("here:living", **here, create_time=create_time),
        _elsewhere("here:dead", **here, create_time=create_time - 100),
        _elsewhere("clone:unknown", **clone),
        _elsewhere("old:unknown", **clone),
    ):
        processes.register(quick.db, record)
    quick.db.processes.update_one({"_id": "old:unknown"}, {"$unset": {"machine": ""}})
    job = _lock_a_job(quick, "here:dead")
    # When
    evict_dead_here(quick.db)
    # Then
    assert [record.id for record in _records(quick)] == ["here:living", "clone:unknown", "old:unknown"]
    assert quick.job(job)["lock_id"] is None
