"""Preparing a database, and the indexes that our queries use."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any

import pytest
from jobflow import Flow

from jfr_mp.database.claims import ORDER, claim_query
from jfr_mp.database.filters import JobFilter
from jfr_mp.database.setup import ensure_initialised, reset
from jfr_mp.states import JobState
from jfr_mp.step_table import CHECKOUT, POLL
from tests.support.jobs import add, chain


def test_preparing_twice_and_by_many_at_once_is_preparing_once(queue: Any) -> None:
    # Given an empty database
    for collection in (queue.db.jobs, queue.db.flows, queue.db.auxiliary, queue.db.batches):
        collection.drop()

    # When several processes prepare it
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: ensure_initialised(queue.db), range(8)))

    # Then there is one of each document
    keys = [set(document) - {"_id"} for document in queue.db.auxiliary.find()]
    assert sorted(sorted(key)[-1] for key in keys) == ["jobflow_version", "next_id", "runner_pings", "running_runner"]


def test_preparing_keeps_what_is_there(queue: Any) -> None:
    queue.add(chain(3))
    queue.db.auxiliary.update_one(
        {"jobflow_remote_version": {"$exists": True}}, {"$set": {"full_environment": {"a": "1"}}}
    )
    before = list(queue.db.auxiliary.find())
    ensure_initialised(queue.db)
    assert list(queue.db.auxiliary.find()) == before


def test_an_index_of_somebody_else_is_no_obstacle(queue: Any) -> None:
    queue.db.jobs.drop_indexes()
    queue.db.jobs.create_index("db_id", name="by_hand")
    queue.db.jobs.create_index("lock_id", name="jfr_mp_locks")
    ensure_initialised(queue.db)
    assert "parents_1_state_1" in queue.db.jobs.index_information()


@pytest.mark.parametrize(
    ("limit", "validation", "done"),
    [(0, None, True), (3, None, True), (2, None, False), (2, "1999-01-01", False), (2, "today", True)],
)
def test_a_reset_asks_for_care_with_many_flows(queue: Any, limit: int, validation: str | None, done: bool) -> None:
    # Given two flows
    for _ in range(2):
        queue.add(add(1))

    # When the database is reset
    today = datetime.now().astimezone().strftime("%Y-%m-%d") if validation == "today" else validation
    assert reset(queue.db, max_limit=limit, validation=today) is done

    # Then either all is gone or nothing
    assert queue.db.jobs.count_documents({}) == queue.db.flows.count_documents({}) == (0 if done else 2)
    assert queue.add(add(1)) == (["1"] if done else ["3"])


def _stages(plan: dict[str, Any]) -> Iterator[str]:
    """Yield the names of all stages of a plan."""
    yield plan["stage"]
    for child in (plan.get("inputStage"), *plan.get("inputStages", ())):
        if child:
            yield from _stages(child)


@pytest.fixture
def crowded(queue: Any) -> Any:
    """A database with jobs in all states, in several flows."""
    for _ in range(5):
        queue.add(_wide())
    for number, document in enumerate(list(queue.db.jobs.find({}, {"_id": 1}))):
        state = list(JobState)[number % len(JobState)]
        queue.db.jobs.update_one({"_id": document["_id"]}, {"$set": {"state": state.value, "priority": number % 7}})
    return queue


def _wide() -> Flow:
    first = add(0)
    children = [add(first.output, number) for number in range(40)]
    return Flow([first, *children])


def _explain(queue: Any, command: dict[str, Any]) -> set[str]:
    plan = queue.db.db.command("explain", command, verbosity="queryPlanner")["queryPlanner"]["winningPlan"]
    return set(_stages(plan))


@pytest.mark.parametrize("step", [CHECKOUT, POLL], ids=["one state", "several states"])
@pytest.mark.parametrize("jobs", [JobFilter(), JobFilter(other_workers=["other"]), JobFilter(workers=["local"])])
def test_a_claim_reads_the_next_job_from_an_index(crowded: Any, step: Any, jobs: JobFilter) -> None:
    stages = _explain(
        crowded,
        {
            "findAndModify": "jobs",
            "query": claim_query(crowded.db, step, jobs),
            "sort": dict(ORDER),
            "update": {"$set": {"lock_id": "x"}},
        },
    )
    assert "IXSCAN" in stages
    assert not stages & {"COLLSCAN", "SORT"}


@pytest.mark.parametrize(
    "query",
    [
        {"parents": "a", "state": "WAITING"},
        {"uuid": {"$in": ["a", "b"]}, "state": {"$nin": ["COMPLETED"]}},
        {"job.hosts": "a", "state": "RUNNING", "_id": {"$nin": [1]}},
        {"lock_id": {"$type": "string", "$regex": "^jfr-mp/host:1:aaaa/"}},
    ],
    ids=["children", "unfinished parents", "state of a flow", "locks of a process"],
)
def test_our_queries_use_an_index(crowded: Any, query: dict[str, Any]) -> None:
    stages = _explain(crowded, {"find": "jobs", "filter": query})
    assert "IXSCAN" in stages
    assert not stages & {"COLLSCAN", "SORT"}


def test_the_state_of_a_flow_reads_one_index_entry_a_state(crowded: Any) -> None:
    flow = crowded.db.flows.find_one()
    plan = crowded.db.db.command(
        "explain",
        {"distinct": "jobs", "key": "state", "query": {"job.hosts": flow["uuid"]}},
        verbosity="executionStats",
    )
    assert plan["executionStats"]["totalDocsExamined"] == 0
    assert plan["executionStats"]["totalKeysExamined"] <= len(JobState) + 1
