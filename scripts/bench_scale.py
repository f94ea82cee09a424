"""How the cost of one operation grows with the database: rows of `scripts/bench.py` for jfr-mp alone."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
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

#: How often each operation is measured; the median counts.
TIMES = 41
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


def median(operation: Callable[[], object]) -> float:
    """Return the median of the seconds that an operation takes."""
    times = []
    for _ in range(TIMES):
        begun = time.perf_counter()
        operation()
        times.append(time.perf_counter() - begun)
    return statistics.median(times)


def _claim_time(db: QueueDatabase, step: Step, jobs: JobFilter) -> float:
    def one() -> None:
        with claim(db, step, "host:1:aaaa", jobs):
            pass

    return median(one)


def claims(stores: ManagedStores, name: str) -> float:
    """Claim among 100,000 READY jobs, against 50."""
    times = []
    for number in (50, 100_000):
        with queue(stores, name) as db:
            fill(db, "a", number, JobState.READY)
            times.append(_claim_time(db, CHECKOUT, JobFilter()))
    return times[1] / times[0]


def other_worker(stores: ManagedStores, name: str) -> float:
    """Claim for worker b beside 50,000 older jobs of worker a, against none."""
    times = []
    for number in (0, 50_000):
        with queue(stores, name) as db:
            if number:
                fill(db, "a", number, JobState.UPLOADED, "first")
            fill(db, "b", 50, JobState.UPLOADED, "second")
            times.append(_claim_time(db, SUBMIT, JobFilter(workers=("b",))))
    return times[1] / times[0]


def outputs(stores: ManagedStores, name: str) -> float:
    """Store an output among 100,000, against 100."""
    times = []
    for number in (100, 100_000):
        with queue(stores, name) as db:
            jobstores = JobStores(db.project)
            with jobstores.named() as store:
                store.docs_store.ensure_index("uuid")
                documents = [{"uuid": f"u{n}", "index": 1, "output": n} for n in range(number)]
                store.docs_store._collection.insert_many(documents)  # noqa: SLF001 - quicker than one by one
                times.append(median(lambda: _update(store)))
            jobstores.close()
    return times[1] / times[0]


def _update(store: Any) -> None:
    store.docs_store.update({"uuid": "u50", "index": 1, "output": 0}, key=["uuid", "index"])


def completions(stores: ManagedStores, name: str) -> float:
    """Complete a job in a flow of 5,000, against 50."""
    times = []
    for number in (TIMES + 9, 5_000):
        with queue(stores, name) as db:
            fill(db, "a", number, JobState.DOWNLOADED)
            times.append(median(lambda: _complete(db)))
    return times[1] / times[0]


def _complete(db: QueueDatabase) -> None:
    with claim(db, COMPLETE, "host:1:aaaa") as found:
        commit(db, found[0], COMPLETE, Completion(JobState.COMPLETED), db.project.runner)


SCALES: Mapping[str, Callable[[ManagedStores, str], float]] = {
    "claim": claims,
    "other worker": other_worker,
    "output": outputs,
    "completion": completions,
}
