"""Whose locks are broken, and whose are not."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Any

import pytest

from jfr_mp.database import processes, rescue
from jfr_mp.database.commits import commit
from jfr_mp.database.leases import Lease
from jfr_mp.database.processes import ProcessRecord
from jfr_mp.database.rescue import Rescuer, free_stale_locks, stale_locks
from jfr_mp.errors import LeaseLost
from jfr_mp.outcomes import Advance
from jfr_mp.states import JobState
from jfr_mp.step_table import CHECKOUT
from tests.support.jobs import add

DEAD, LIVING = "dead:1:aaaa", "living:2:bbbb"
LEASE_TTL = 1.0


class Clock:
    """The monotonic clock of the sweeper, in the hands of the test."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def swept(open_queue: Any) -> Any:
    """A queue with a short lease."""
    return open_queue(metadata={"jfr_mp": {"lease_ttl": LEASE_TTL, "heartbeat_interval": 0.2}})


def _register(queue: Any, owner: str, seconds_ago: float = 0.0) -> None:
    processes.register(
        queue.db, ProcessRecord(id=owner, kind="role", host="host", pid=1, create_time=1.5, project="main")
    )
    beat = [{"$set": {"heartbeat": {"$subtract": ["$$NOW", int(seconds_ago * 1000)]}}}]
    queue.db.processes.update_one({"_id": owner}, beat)


def _locked_job(queue: Any, lock_id: str, seconds_ago: float = 0.0) -> Any:
    """Add a job that somebody locked some time ago by the server's clock."""
    job = add(1)
    queue.add(job)
    time = queue.db.server_time() - timedelta(seconds=seconds_ago)
    queue.db.jobs.update_one({"uuid": job.uuid}, {"$set": {"lock_id": lock_id, "lock_time": time}})
    return job


def test_the_dead_are_buried_after_a_lease_of_contact(swept: Any) -> None:
    # Given a process that works on a job, and that nobody has heard of for long
    clock = Clock()
    _register(swept, LIVING)
    swept.add(job := add(1))
    sweeper = Rescuer(swept.db, clock)
    with swept.claimed(CHECKOUT, owner=DEAD) as claim:
        _register(swept, DEAD, 60)
        assert Lease(swept.db, "queue: hpc", DEAD).held()

        # When another process has had answers for less than a lease, then nothing happens
        for _ in range(5):
            sweeper.sweep()
            clock.now += LEASE_TTL / 5.5
        assert swept.job(job)["lock_id"] == claim.lock_id

        # And when it has had them for a lease, then lock, lease and entry are gone
        clock.now += LEASE_TTL / 5.5
        sweeper.sweep()
        assert swept.job(job)["lock_id"] is None
        assert swept.db.leases.find_one() is None
        assert [record.id for record in processes.living(swept.db, 60)] == [LIVING]

        # And what the dead one writes when it lives on after all is refused
        with pytest.raises(LeaseLost, match="nothing was written"):
            commit(swept.db, claim, CHECKOUT, Advance(JobState.CHECKED_OUT), swept.policy)
    assert swept.job(job)["state"] == "READY"


def test_an_interruption_begins_the_lease_anew(swept: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a sweeper in contact, and one whose heart seems to have stopped
    sweeper = Rescuer(swept.db, clock := Clock())
    _register(swept, LIVING, 60)
    for _ in range(4):
        sweeper.sweep()
        clock.now += LEASE_TTL / 5

    # When the database does not answer once, or for long
    with monkeypatch.context() as away:
        away.setattr(rescue.processes, "expired", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            sweeper.sweep()
    for silence in (LEASE_TTL / 2, 10 * LEASE_TTL, LEASE_TTL / 2):
        clock.now += silence
        sweeper.sweep()

    # Then nobody is dead
    assert [record.id for record in processes.expired(swept.db, LEASE_TTL)] == [LIVING]
    clock.now += LEASE_TTL / 2
    sweeper.sweep()
    assert processes.expired(swept.db, LEASE_TTL) == []


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
def test_locks_that_nobody_holds(
    open_queue: Any, caplog: pytest.LogCaptureFixture, lock_id: str, age: float, broken: bool
) -> None:
    # Given a job locked by somebody, long ago or not
    queue = open_queue(metadata={"jfr_mp": {"lease_ttl": 5, "heartbeat_interval": 0.2}}, runner={"lock_timeout": 100})
    _register(queue, LIVING)
    job = _locked_job(queue, lock_id, age)

    # When stale locks are freed
    free_stale_locks(queue.db, stale_locks(queue.db))

    # Then it depends on both, and is said
    assert (queue.job(job)["lock_id"] is None) is broken
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert any(f"broke the lock {lock_id}" in warning for warning in warnings) is broken
    assert bool(warnings) is broken


def test_foreign_locks_are_broken_on_demand_only(swept: Any) -> None:
    swept.db.project.runner.lock_timeout = None
    job = _locked_job(swept, "of the peer", 1e6)
    assert stale_locks(swept.db) == []
    free_stale_locks(swept.db, stale_locks(swept.db, foreign_too=True))
    assert swept.job(job)["lock_id"] is None


def test_a_lock_that_changed_hands_is_left_alone(swept: Any) -> None:
    job = _locked_job(swept, f"jfr-mp/{DEAD}/1", 60)
    found = stale_locks(swept.db)
    swept.db.jobs.update_one({"uuid": job.uuid}, {"$set": {"lock_id": "another"}})
    free_stale_locks(swept.db, found)
    assert swept.job(job)["lock_id"] == "another"


def test_the_time_of_a_lock_is_the_servers(swept: Any) -> None:
    swept.add(add(1))
    before = swept.db.server_time()
    with swept.claimed(CHECKOUT, owner=LIVING) as claim:
        assert claim.job.lock_time is not None
        assert before <= claim.job.lock_time <= swept.db.server_time()


def test_a_process_that_enters_again_keeps_its_sessions(swept: Any, run_job: Any) -> None:
    # Given a process that has completed a job in a transaction
    record = ProcessRecord(id="host:1:aaaa", kind="role", host="host", pid=1, create_time=1.5, project="main")
    processes.register(swept.db, record)
    swept.add(job := add(1))
    swept.complete(job)
    sessions = swept.db.processes.find_one()["sessions"]

    # When it was taken for dead and enters again, then its sessions are known
    processes.unregister(swept.db, record.id)
    processes.register(swept.db, record)
    assert swept.db.processes.find_one()["sessions"] == sessions
