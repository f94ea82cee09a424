"""How the cost of one operation grows with the database: rows of `scripts/bench.py` for jfr-mp alone."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from jfr_mp.config import Project
from jfr_mp.database.claims import claim
from jfr_mp.database.commits import commit
from jfr_mp.database.connection import QueueDatabase
from jfr_mp.database.filters import JobFilter
from jfr_mp.database.setup import ensure_initialised
from jfr_mp.embedded import ManagedStores
from jfr_mp.jobdata.jobstores import JobStores
from jfr_mp.outcomes import Completion
from jfr_mp.states import JobState
from jfr_mp.step_table import CHECKOUT, COMPLETE, SUBMIT, Step

#: How often each operation is measured, and how often it is performed before; the median counts.
TIMES, WARM_UP = 41, 7
BEGIN = datetime(2026, 1, 1)  # noqa: DTZ001 - as documents have it


@contextmanager
def queue(stores: ManagedStores, name: str) -> Iterator[QueueDatabase]:
    """Open an empty project database."""
    worker = {"type": "local", "scheduler_type": "shell", "work_dir": "/w"}
    project = Project.model_validate(
        {
            "name": "scale",
            "queue": {"store": {**stores.queue_store, "database": name}},
            "jobstore": {"docs_store": {**stores.jobstore["docs_store"], "database": name}},
            "workers": {"a": worker, "b": worker},
        }
    )
    db = QueueDatabase.connect(project)
    try:
        ensure_initialised(db)
        yield db
    finally:
        db.client.drop_database(name)
        db.close()


def fill(db: QueueDatabase, worker: str, number: int, state: JobState, flow: str = "flow") -> None:
    """Add independent jobs in one state, in flows of at most 5,000."""
    for begin in range(0, number, 5000):
        _add_flow(db, worker, range(begin, min(begin + 5000, number)), state, f"{flow}-{begin}")


def _add_flow(db: QueueDatabase, worker: str, numbers: range, state: JobState, flow: str) -> None:
    uuids = {n: f"{flow}-{worker}-{n}" for n in numbers}
    db.flows.insert_one(
        {
            "uuid": flow,
            "name": flow,
            "state": "RUNNING",
            "lock_id": None,
            "jobs": list(uuids.values()),
            "ids": [[uuid, uuid, 1] for uuid in uuids.values()],
            "parents": {uuid: {"1": []} for uuid in uuids.values()},
        }
    )
    db.jobs.insert_many(
        {
            "uuid": uuid,
            "index": 1,
            "db_id": uuid,
            "state": state.value,
            "worker": worker,
            "priority": 0,
            "created_on": BEGIN + timedelta(seconds=n),
            "updated_on": BEGIN,
            "lock_id": None,
            "parents": [],
            "job": {"uuid": uuid, "index": 1, "name": "link", "hosts": [flow]},
            "remote": {},
        }
        for n, uuid in uuids.items()
    )


def growth(small: Callable[[], object], large: Callable[[], object], number: int = TIMES) -> float:
    """Return how many times longer an operation takes in a large database than in a small one.

    Both are measured in turns, so that the load of the machine changes for both; short operations more often.
    """
    times: tuple[list[float], list[float]] = ([], [])
    for turn in range(WARM_UP + number):
        for operation, took in zip((small, large), times, strict=True):
            begun = time.perf_counter()
            operation()
            if turn >= WARM_UP:
                took.append(time.perf_counter() - begun)
    return statistics.median(times[1]) / statistics.median(times[0])


@contextmanager
def queues(stores: ManagedStores, name: str) -> Iterator[tuple[QueueDatabase, QueueDatabase]]:
    """Open two empty project databases: one to stay small, and one to become large."""
    with queue(stores, f"{name}_small") as small, queue(stores, f"{name}_large") as large:
        yield small, large


def _claim_one(db: QueueDatabase, step: Step, jobs: JobFilter) -> None:
    with claim(db, step, "host:1:aaaa", jobs):
        pass


def claims(stores: ManagedStores, name: str) -> float:
    """Claim among 100,000 READY jobs, against 50."""
    with queues(stores, name) as dbs:
        for db, number in zip(dbs, (50, 100_000), strict=True):
            fill(db, "a", number, JobState.READY)
        return growth(*(partial(_claim_one, db, CHECKOUT, JobFilter()) for db in dbs))


def other_worker(stores: ManagedStores, name: str) -> float:
    """Claim for worker b beside 50,000 older jobs of worker a, against none."""
    with queues(stores, name) as dbs:
        fill(dbs[1], "a", 50_000, JobState.UPLOADED, "first")
        for db in dbs:
            fill(db, "b", 50, JobState.UPLOADED, "second")
        return growth(*(partial(_claim_one, db, SUBMIT, JobFilter(workers=("b",))) for db in dbs))


def outputs(stores: ManagedStores, name: str) -> float:
    """Store an output among 100,000, against 100."""
    with queues(stores, name) as dbs, ExitStack() as stack:
        stored = []
        for db, number in zip(dbs, (100, 100_000), strict=True):
            jobstores = JobStores(db.project)
            stack.callback(jobstores.close)
            store = stack.enter_context(jobstores.named())
            store.docs_store.ensure_index("uuid")
            documents = [{"uuid": f"u{n}", "index": 1, "output": n} for n in range(number)]
            store.docs_store._collection.insert_many(documents)  # noqa: SLF001 - quicker than one by one
            stored.append(partial(_update, store))
        return growth(*stored, number=10 * TIMES)


def _update(store: Any) -> None:
    store.docs_store.update({"uuid": "u50", "index": 1, "output": 0}, key=["uuid", "index"])


def completions(stores: ManagedStores, name: str) -> float:
    """Complete a job in a flow of 5,000, against 50."""
    with queues(stores, name) as dbs:
        for db, number in zip(dbs, (WARM_UP + TIMES + 2, 5_000), strict=True):
            fill(db, "a", number, JobState.DOWNLOADED)
        return growth(*(partial(_complete, db) for db in dbs))


def _complete(db: QueueDatabase) -> None:
    with claim(db, COMPLETE, "host:1:aaaa") as found:
        commit(db, found[0], COMPLETE, Completion(JobState.COMPLETED), db.project.runner)


SCALES: Mapping[str, Callable[[ManagedStores, str], float]] = {
    "claim": claims,
    "other worker": other_worker,
    "output": outputs,
    "completion": completions,
}
