"""Which locks are broken, and which are not."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Any

import pytest

from jfr_mp.database import processes
from jfr_mp.database.commits import commit
from jfr_mp.database.leases import Lease
from jfr_mp.database.processes import ProcessRecord
from jfr_mp.database.stale_locks import free_stale_locks, stale_locks
from jfr_mp.errors import LeaseLost
from jfr_mp.membership.rescuer import Rescuer
from jfr_mp.outcomes import Advance
from jfr_mp.states import JobState
from jfr_mp.step_table import CHECKOUT
from tests.support.jobs import add

DEAD, LIVING = "dead:1:aaaa", "living:2:bbbb"
LEASE_TTL = 1.0


class Clock:
    """The monotonic clock of the rescuer, set by the test."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def short_lease(open_queue: Any) -> Any:
    """A queue with a short lease."""
    return open_queue(metadata={"jfr_mp": {"lease_ttl": LEASE_TTL, "heartbeat_interval": 0.2}})


def _register(queue: Any, owner: str, seconds_ago: float = 0.0) -> None:
    processes.register(
        queue.db, ProcessRecord(id=owner, kind="role", host="host", pid=1, create_time=1.5, project="main")
    )
    beat = [{"$set": {"heartbeat": {"$subtract": ["$$NOW", int(seconds_ago * 1000)]}}}]
    queue.db.processes.update_one({"_id": owner}, beat)


def _locked_job(queue: Any, lock_id: str, seconds_ago: float = 0.0) -> Any:
    """Add a job that was locked some time ago by the server's clock."""
    job = add(1)
    queue.add(job)
    time = queue.db.server_time() - timedelta(seconds=seconds_ago)
    queue.db.jobs.update_one({"uuid": job.uuid}, {"$set": {"lock_id": lock_id, "lock_time": time}})
    return job


def test_the_dead_are_evicted_after_a_lease_of_contact(short_lease: Any) -> None:
    # Given a process that works on a job, and that has not had a heartbeat for a minute
    clock = Clock()
    _register(short_lease, LIVING)
    short_lease.add(job := add(1))
    rescuer = Rescuer(short_lease.db, clock)
    with short_lease.claimed(CHECKOUT, owner=DEAD) as claim:
        _register(short_lease, DEAD, 60)
        assert Lease(short_lease.db, "queue: hpc", DEAD).held()

        # When another process has had answers for less than a lease, then nothing happens
        for _ in range(5):
            rescuer.sweep()
            clock.now += LEASE_TTL / 5.5
        assert short_lease.job(job)["lock_id"] == claim.lock_id

        # And when it has had them for a lease, then lock, lease and record are gone
        clock.now += LEASE_TTL / 5.5
        rescuer.sweep()
        assert short_lease.job(job)["lock_id"] is None
        assert short_lease.db.leases.find_one() is None
        assert [record.id for record in processes.living(short_lease.db, 60)] == [LIVING]

        # And if the dead process is alive after all, its writes are fenced
        with pytest.raises(LeaseLost, match="nothing was written"):
            commit(short_lease.db, claim, CHECKOUT, Advance(JobState.CHECKED_OUT), short_lease.policy)
    assert short_lease.job(job)["state"] == "READY"


def test_an_interruption_restarts_the_lease_of_contact(short_lease: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a rescuer in contact, and a process without a fresh heartbeat
    rescuer = Rescuer(short_lease.db, clock := Clock())
    _register(short_lease, LIVING, 60)
    for _ in range(4):
        rescuer.sweep()
        clock.now += LEASE_TTL / 5

    # When the database does not answer once, or for a long time
    with monkeypatch.context() as down:
        down.setattr(processes, "time_left", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            rescuer.sweep()
    for silence in (LEASE_TTL / 2, 10 * LEASE_TTL, LEASE_TTL / 2):
        clock.now += silence
        rescuer.sweep()

    # Then the process is not evicted, until a lease of contact has passed
    assert processes.time_left(short_lease.db, LEASE_TTL)[LIVING] < 0
    clock.now += LEASE_TTL / 2
    rescuer.sweep()
    assert processes.time_left(short_lease.db, LEASE_TTL) == {}


@pytest.mark.parametrize(
    ("lock_id", "age", "broken"),
    [
        (f"jfr-mp/{LIVING}/1", 3600, False),
        (f"jfr-mp/{DEAD}/1", 0, False),
        (f"jfr-mp/{DEAD}/1", 10, True),
        ("of the peer", 90, False),
        ("of the peer", 110, True),
    ],
)
def test_a_lock_is_stale_by_its_owner_and_its_age(
    open_queue: Any, caplog: pytest.LogCaptureFixture, lock_id: str, age: float, broken: bool
) -> None:
    # Given a job that was locked, recently or not
    queue = open_queue(metadata={"jfr_mp": {"lease_ttl": 5, "heartbeat_interval": 0.2}}, runner={"lock_timeout": 100})
    _register(queue, LIVING)
    job = _locked_job(queue, lock_id, age)

    # When stale locks are freed
    free_stale_locks(queue.db, stale_locks(queue.db))

    # Then it depends on owner and age whether it is free, which is logged
    assert (queue.job(job)["lock_id"] is None) is broken
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert any(f"broke the lock {lock_id}" in warning for warning in warnings) is broken
    assert bool(warnings) is broken


def test_all_locks_of_jobflow_remote_are_broken_on_demand_only(short_lease: Any) -> None:
    short_lease.db.project.runner.lock_timeout = None
    job = _locked_job(short_lease, "of the peer", 1e6)
    assert stale_locks(short_lease.db) == []
    free_stale_locks(short_lease.db, stale_locks(short_lease.db, foreign_too=True))
    assert short_lease.job(job)["lock_id"] is None


def test_a_lock_that_has_another_holder_by_now_is_kept(short_lease: Any) -> None:
    job = _locked_job(short_lease, f"jfr-mp/{DEAD}/1", 60)
    found = stale_locks(short_lease.db)
    short_lease.db.jobs.update_one({"uuid": job.uuid}, {"$set": {"lock_id": "another"}})
    free_stale_locks(short_lease.db, found)
    assert short_lease.job(job)["lock_id"] == "another"


def test_the_time_of_a_lock_is_the_servers(short_lease: Any) -> None:
    short_lease.add(add(1))
    before = short_lease.db.server_time()
    with short_lease.claimed(CHECKOUT, owner=LIVING) as claim:
        assert claim.job.lock_time is not None
        assert before <= claim.job.lock_time <= short_lease.db.server_time()


def test_a_process_that_registers_again_keeps_its_sessions(short_lease: Any, run_job: Any) -> None:
    # Given a process that has completed a job in a transaction
    record = ProcessRecord(id="host:1:aaaa", kind="role", host="host", pid=1, create_time=1.5, project="main")
    processes.register(short_lease.db, record)
    short_lease.add(job := add(1))
    short_lease.complete(job)
    sessions = short_lease.db.processes.find_one()["sessions"]

    # When it was evicted and registers again, then its record has them
    processes.unregister(short_lease.db, record.id)
    processes.register(short_lease.db, record)
    assert short_lease.db.processes.find_one()["sessions"] == sessions
