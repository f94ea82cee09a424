"""Leases: one holder at a time, and another one after its death."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from jfr_mp.database import processes
from jfr_mp.database.leases import Lease
from jfr_mp.database.processes import ProcessRecord
from tests.support.waiting import wait_until

FIRST, SECOND = "host:1:aaaa", "other:2:bbbb"


@pytest.fixture
def leases(any_queue: Any) -> tuple[Lease, Lease]:
    """One lease as seen by two registered processes, which query the database with each call."""
    clock = itertools.count(0, 3600).__next__
    for owner in (FIRST, SECOND):
        record = ProcessRecord(id=owner, kind="role", host="host", pid=1, create_time=1.5, project="main")
        processes.register(any_queue.db, record)
    return Lease(any_queue.db, "queue: hpc", FIRST, clock), Lease(any_queue.db, "queue: hpc", SECOND, clock)


def test_one_holder_at_a_time(any_queue: Any, leases: tuple[Lease, Lease]) -> None:
    first, second = leases
    assert [first.held(), second.held(), first.held()] == [True, False, True]
    assert Lease(any_queue.db, "queue: laptop", SECOND).held()


def test_another_process_takes_over_when_the_holder_is_evicted(any_queue: Any, leases: tuple[Lease, Lease]) -> None:
    first, second = leases
    assert first.held()
    processes.evict(any_queue.db, FIRST, "a test")
    assert [second.held(), first.held()] == [True, False]


def test_a_holder_must_be_registered(any_queue: Any, leases: tuple[Lease, Lease]) -> None:
    first, second = leases
    assert first.held()
    processes.unregister(any_queue.db, FIRST)
    assert [second.held(), first.held()] == [True, False]


@pytest.mark.parametrize("fields", [{}, {"owner": 5}, {"owner": {"$gt": ""}}, {"owner": ["x"]}])
def test_a_damaged_lease_is_free(any_queue: Any, leases: tuple[Lease, Lease], fields: dict[str, Any]) -> None:
    any_queue.db.leases.insert_one({"_id": "queue: hpc", **fields})
    assert [lease.held() for lease in leases] == [True, False]


def test_an_answer_counts_until_the_next_probe(open_queue: Any) -> None:
    # Given a lease that is held
    queue = open_queue(metadata={"jfr_mp": {"probe_interval": 3600}})
    lease = Lease(queue.db, "queue: hpc", FIRST)
    assert lease.held()

    # When another process takes it, then this is found with the next query only
    queue.db.leases.update_one({}, {"$set": {"owner": SECOND}})
    assert lease.held()


def test_a_process_that_waits_takes_the_lease_as_soon_as_it_is_free(open_queue: Any) -> None:
    # Given a process that has found the lease taken
    queue = open_queue(metadata={"jfr_mp": {"probe_interval": 3600}})
    record = ProcessRecord(id=FIRST, kind="role", host="host", pid=1, create_time=1.5, project="main")
    processes.register(queue.db, record)
    first, second = Lease(queue.db, "queue: hpc", FIRST), Lease(queue.db, "queue: hpc", SECOND)
    assert [first.held(), second.held()] == [True, False]

    # When the holder is evicted, and a freed lock wakes up the process that waits
    processes.evict(queue.db, FIRST, "a test")

    # Then it does not wait for its next probe
    wait_until(second.held, 5, "the lease")
