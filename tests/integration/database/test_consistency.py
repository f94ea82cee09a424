"""Each kind of fault in the queue is found once, with the command that repairs it; a sound queue has none."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from jobflow import Flow

from jfr_mp.config import ConfigManager
from jfr_mp.database.connection import QueueDatabase
from jfr_mp.database.consistency import ConsistencyCheck
from jfr_mp.database.invariants import Violation
from jfr_mp.database.setup import ensure_initialised, raise_counter
from jfr_mp.database.submission import add_flow
from jfr_mp.states import JobState
from tests.integration.database.conftest import Queue
from tests.support.jobs import add
from tests.support.mongod import Mongod
from tests.support.projects import ProjectFactory

S = JobState
FOREIGN = "0000"
_DAMAGED = "jfr-mp admin reconcile --delete-damaged"


def _check(queue: Any) -> list[Violation]:
    return list(ConsistencyCheck(queue.db, settle=0.0).violations())


def _pair(queue: Any) -> tuple[Any, Any]:
    """Submit a job and its child."""
    parent = add(1)
    child = add(parent.output)
    queue.add(Flow([parent, child]))
    return parent, child


def _set(queue: Any, **fields: Any) -> object:
    """Change the parent, which is READY."""
    return queue.db.jobs.update_one({"state": "READY"}, {"$set": fields})


def _flow(queue: Any, **fields: Any) -> object:
    return queue.db.flows.update_one({}, {"$set": fields})


def _hour_ago(queue: Any) -> Any:
    return queue.db.server_time() - timedelta(hours=1)


def _register(queue: Any, heartbeat: Any) -> object:
    record = {"kind": "role", "project": "main", "host": "gone", "pid": 1, "create_time": 1.0}
    return queue.db.processes.insert_one(
        {"_id": "gone:1:ab", **record, "started_on": _hour_ago(queue), "heartbeat": heartbeat}
    )


#: The rule, how it is broken, and the beginning of the repair.
FAULTS: dict[str, tuple[str, Callable[[Any], object], str]] = {
    "a field is missing": (
        "damaged-document",
        lambda queue: queue.db.jobs.update_one({"state": "READY"}, {"$unset": {"worker": 1}}),
        _DAMAGED,
    ),
    "an unknown state": ("damaged-document", lambda queue: _set(queue, state="DANCING"), _DAMAGED),
    "another job inside": (
        "job-identity",
        lambda queue: _set(queue, **{"job.uuid": str(uuid4())}),
        "jfr-mp job delete",
    ),
    "a lock without a time": ("lock-without-time", lambda queue: _set(queue, lock_id="peer"), "jfr-mp admin unlock"),
    "a worker that is not there": ("unknown-worker", lambda queue: _set(queue, worker="moon"), "add the worker"),
    "no run directory": (
        "no-run-dir",
        lambda queue: (_set(queue, state="UPLOADED"), _flow(queue, state="RUNNING")),
        "jfr-mp job rerun --db-id 1",
    ),
    "no id of the scheduler": (
        "no-process-id",
        lambda queue: (_set(queue, state="SUBMITTED", run_dir="/x"), _flow(queue, state="RUNNING")),
        "jfr-mp job rerun --db-id 1",
    ),
    "in the pool of no batch worker": (
        "not-in-pool",
        lambda queue: (_set(queue, state="BATCH_SUBMITTED", run_dir="/x"), _flow(queue, state="RUNNING")),
        "jfr-mp job rerun --db-id 1",
    ),
    "failed nowhere": (
        "no-previous-state",
        lambda queue: (_set(queue, state="REMOTE_ERROR"), _flow(queue, state="RUNNING")),
        "jfr-mp job rerun --db-id 1",
    ),
    "put off by a clock": (
        "retry-too-late",
        lambda queue: (
            _set(
                queue,
                state="CHECKED_OUT",
                **{"remote.retry_time_limit": queue.db.server_time() + timedelta(days=3)},
            ),
            _flow(queue, state="RUNNING"),
        ),
        "jfr-mp job retry --db-id 1",
    ),
    "a lock of a dead process": (
        "stale-lock",
        lambda queue: _set(queue, lock_id="jfr-mp/gone:1:ab/12", lock_time=_hour_ago(queue)),
        "jfr-mp admin reconcile",
    ),
    "a dead process": ("dead-process", lambda queue: _register(queue, _hour_ago(queue)), "jfr-mp admin reconcile"),
    "a process without a project": (
        "damaged-document",
        lambda queue: queue.db.processes.insert_one({"_id": "odd", "heartbeat": queue.db.server_time()}),
        _DAMAGED,
    ),
    "a process of the future": (
        "damaged-document",
        lambda queue: _register(queue, queue.db.server_time() + timedelta(hours=1)),
        _DAMAGED,
    ),
    "a lost master without a time": (
        "damaged-document",
        lambda queue: queue.db.lost_masters.insert_one({"_id": "h", "kind": "master", "host": "h", "project": "main"}),
        _DAMAGED,
    ),
    "an order without a master": (
        "damaged-document",
        lambda queue: queue.db.orders.insert_one({"name": "stop", "sender": "x"}),
        _DAMAGED,
    ),
    "an order of the future": (
        "damaged-document",
        lambda queue: queue.db.orders.insert_one(
            {
                **{"_id": "1", "name": "stop", "sender": "x", "master": "m"},
                "created_on": queue.db.server_time() + timedelta(days=1),
            }
        ),
        _DAMAGED,
    ),
    "a lease of nobody": (
        "damaged-document",
        lambda queue: queue.db.leases.insert_one({"_id": "notify"}),
        _DAMAGED,
    ),
    "a key of no machine": (
        "damaged-document",
        lambda queue: queue.db.bus_keys.insert_one({"_id": "k", "host": 5}),
        _DAMAGED,
    ),
    "a pause without a time": (
        "damaged-document",
        lambda queue: queue.db.paused_workers.insert_one({"_id": "local", "since": "now"}),
        _DAMAGED,
    ),
    "a notice without a rule": (
        "damaged-document",
        lambda queue: queue.db.notifications.insert_one({"kind": "notice"}),
        _DAMAGED,
    ),
    "a message without a text": (
        "damaged-document",
        lambda queue: queue.db.notifications.insert_one({"kind": "delivery", "target": "a", "state": "pending"}),
        _DAMAGED,
    ),
    "no kind of notification": (
        "damaged-document",
        lambda queue: queue.db.notifications.insert_one({"kind": ["x"]}),
        _DAMAGED,
    ),
    "a batch without an id": (
        "no-process-id",
        # The worker of the project is no batch worker, which is another rule.
        lambda queue: queue.db.batches.insert_one(
            {"batch_uid": "b", "process_id": "", "batch_state": "RUNNING", "worker": "local"}
        ),
        "jfr-mp batch delete --batch-uid b",
    ),
    "a batch without a state": (
        "damaged-document",
        lambda queue: queue.db.batches.insert_one({"batch_uid": "b"}),
        _DAMAGED,
    ),
    "a batch of no batch worker": (
        "batch-worker",
        lambda queue: queue.db.batches.insert_one(
            {"batch_uid": "b", "process_id": "7", "batch_state": "RUNNING", "worker": "local"}
        ),
        "jfr-mp batch delete --batch-uid b",
    ),
    "a flow without a name": (
        "damaged-document",
        lambda queue: queue.db.flows.update_one({}, {"$unset": {"name": 1}}),
        _DAMAGED,
    ),
    "a locked flow without a time": (
        "lock-without-time",
        lambda queue: _flow(queue, lock_id="peer"),
        "jfr-mp admin unlock-flow --flow-id ",
    ),
    "a state of the flow": ("flow-and-jobs", lambda queue: _flow(queue, state="FAILED"), "jfr-mp admin reconcile"),
    "a job that the flow does not list": (
        "flow-and-jobs",
        lambda queue: queue.db.flows.update_one({}, {"$pop": {"ids": 1}}),
        "jfr-mp admin reconcile",
    ),
    "a listed job that is gone": (
        "flow-and-jobs",
        lambda queue: queue.db.jobs.delete_one({"state": "WAITING"}),
        "jfr-mp flow delete --flow-id ",
    ),
    "a parent that is nowhere": (
        "missing-parent",
        lambda queue: queue.db.jobs.update_one({"state": "WAITING"}, {"$push": {"parents": FOREIGN}}),
        "jfr-mp job delete --db-id 2",
    ),
    "a child that did not wait": (
        "ready-too-early",
        lambda queue: queue.db.jobs.update_one({"state": "WAITING"}, {"$set": {"state": "READY"}}),
        "jfr-mp job set-state WAITING 2",
    ),
    "a job without a flow": (
        "job-without-flow",
        lambda queue: (queue.db.flows.delete_many({}), queue.db.jobs.delete_one({"state": "WAITING"})),
        "jfr-mp job delete --db-id 1",
    ),
    "no counter": (
        "missing-document",
        lambda queue: queue.db.auxiliary.delete_one({"next_id": {"$exists": True}}),
        "jfr-mp admin reconcile",
    ),
    "a counter behind": (
        "counter-behind",
        lambda queue: queue.db.auxiliary.update_one({"next_id": 3}, {"$set": {"next_id": 2}}),
        "jfr-mp admin reconcile",
    ),
    "no unique index": (
        "missing-index",
        lambda queue: queue.db.jobs.drop_index("db_id_1"),
        "jfr-mp admin reconcile",
    ),
}


@pytest.fixture(scope="module")
def one_database(tmp_path_factory: pytest.TempPathFactory, mongod_replica: Mongod) -> Iterator[Queue]:
    with pytest.MonkeyPatch.context() as monkeypatch:
        factory = ProjectFactory(tmp_path_factory.mktemp("shared"), monkeypatch, mongod_replica)
        project = factory("shared")
        db = QueueDatabase.connect(ConfigManager().get_project(project.name))
    try:
        yield Queue(db)
    finally:
        db.close()
        factory.remove()


@pytest.fixture
def shared(one_database: Queue) -> Queue:
    """An empty queue, in a database that is not made anew for each test."""
    db = one_database.db
    own = (db.processes, db.lost_masters, db.leases, db.orders, db.bus_keys, db.paused_workers, db.notifications)
    for collection in (db.jobs, db.flows, db.batches, db.auxiliary, *own):
        collection.delete_many({})
    ensure_initialised(db)
    return one_database


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_found(shared: Any, fault: str) -> None:
    # Given a sound queue
    queue = shared
    _pair(queue)
    assert _check(queue) == []
    rule, plant, repair = FAULTS[fault]

    # When a document of it is damaged
    plant(queue)

    # Then this is found, and nothing else
    [found] = _check(queue)
    assert (found.rule, found.repair[: len(repair)]) == (rule, repair)
    assert found.problem


def test_every_rule_is_planted() -> None:
    from jfr_mp.database.invariants import JOB_RULES

    planted = {rule for rule, _, _ in FAULTS.values()}
    assert {rule.name for rule in JOB_RULES} - planted == {"not-in-scheduler"}  # the project needs a batch worker


def test_a_fault_that_is_over_at_the_second_look_is_none(queue: Any) -> None:
    parent, _ = _pair(queue)
    queue.put(parent, S.UPLOADED)
    _flow(queue, state="RUNNING")
    moves_on = ConsistencyCheck(queue.db, sleep=lambda _: queue.put(parent, S.UPLOADED, run_dir="/x"))
    assert list(moves_on.violations()) == []


def test_jobs_on_their_way_to_the_end_are_sound(any_queue: Any, run_job: Any) -> None:
    parent, child = _pair(any_queue)
    any_queue.complete(parent, run_job(parent))
    assert _check(any_queue) == []
    any_queue.complete(child)
    assert _check(any_queue) == []


def test_an_unused_database_is_sound(queue: Any) -> None:
    assert _check(queue) == []
    for collection in (queue.db.jobs, queue.db.flows, queue.db.auxiliary, queue.db.batches):
        collection.drop()
    assert _check(queue) == []


def test_a_counter_that_is_behind_is_raised(queue: Any) -> None:
    # Given a database whose auxiliary collection comes from an older backup
    _pair(queue)
    queue.db.auxiliary.update_one({"next_id": 3}, {"$set": {"next_id": 1}})

    # When the counter is raised, then flows can be submitted again
    assert raise_counter(queue.db) == 3
    assert raise_counter(queue.db) is None
    assert add_flow(queue.db, add(1), worker="local") == ["3"]


def test_memory_does_not_grow_with_the_queue(queue: Any) -> None:
    # Given many flows
    _pair(queue)
    flow = queue.db.flows.find_one()
    jobs = list(queue.db.jobs.find())
    flows, many = [], []
    for number in range(300):
        uuids = {job["uuid"]: str(uuid4()) for job in jobs} | {flow["uuid"]: str(uuid4())}
        base = 10 + 10 * number
        for place, job in enumerate(jobs):
            uuid, hosts = uuids[job["uuid"]], [uuids[flow["uuid"]]]
            parents = [uuids[parent] for parent in job["parents"] or ()]
            inner = {**job["job"], "uuid": uuid, "hosts": hosts}
            many.append(
                {**job, "uuid": uuid, "db_id": str(base + place), "parents": parents or None, "job": inner, "_id": uuid}
            )
        ids = [[str(base + place), uuids[job["uuid"]], 1] for place, job in enumerate(jobs)]
        fields = {"uuid": uuids[flow["uuid"]], "jobs": [row[1] for row in ids], "ids": ids, "parents": {}}
        flows.append({**flow, **fields, "_id": fields["uuid"]})
    queue.db.flows.insert_many(flows)
    queue.db.jobs.insert_many(many)
    raise_counter(queue.db)
    del flows, many

    # When they are checked, then only some of them are in memory at a time
    checking = ConsistencyCheck(queue.db)
    tracemalloc.start()
    try:
        assert list(checking.violations()) == []
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert checking.examined == {"flows": 301, "jobs": 602}
    assert peak < 3_000_000
