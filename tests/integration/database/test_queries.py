"""Finding jobs and flows."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from jobflow import Flow

from jfr_mp.cli.options import SortField, page
from jfr_mp.database import queries
from jfr_mp.database.filters import FlowFilter, JobFilter
from jfr_mp.model import utcnow
from jfr_mp.states import FlowState, JobState
from tests.support.jobs import add, chain, total


@pytest.fixture
def stocked(queue: Any) -> Any:
    """Jobs 1 and 2 (a chain), and 3 and 4 and their child 5, of which 3 is RUNNING on another worker and locked."""
    queue.add(chain(2))
    first, second = add(1), add(2)
    first.metadata = {"kind": "a"}
    queue.add(Flow([first, second, total([first.output, second.output])], name="sum (1)"))
    queue.db.jobs.update_one({"db_id": "3"}, {"$set": {"state": "RUNNING", "worker": "far", "lock_id": "x"}})
    return queue


def _uuid(queue: Any, db_id: str) -> str:
    uuid: str = queue.db.jobs.find_one({"db_id": db_id})["uuid"]
    return uuid


@pytest.mark.parametrize(
    ("conditions", "found"),
    [
        ({}, "12345"),
        ({"db_ids": "2"}, "2"),
        ({"db_ids": ["2", "4"]}, "24"),
        ({"flow_ids": "4"}, "345"),
        ({"flow_ids": "nothing"}, ""),
        ({"states": JobState.RUNNING}, "3"),
        ({"states": [JobState.RUNNING, JobState.WAITING]}, "235"),
        ({"locked": True}, "3"),
        ({"name": "link"}, "12"),
        ({"name": "a?d"}, "34"),
        ({"name": "a"}, ""),
        ({"metadata": {"kind": "a"}}, "3"),
        ({"workers": "far"}, "3"),
        ({"workers": ["local"], "states": JobState.READY}, "14"),
        ({"start_date": utcnow() - timedelta(days=1), "end_date": utcnow() + timedelta(days=1)}, "12345"),
        ({"end_date": utcnow() - timedelta(days=1)}, ""),
        ({"custom_query": {"priority": 1}}, ""),
    ],
)
def test_conditions_on_jobs(stocked: Any, conditions: dict[str, Any], found: str) -> None:
    jobs = JobFilter.of(**conditions)
    assert "".join(job.db_id for job in queries.jobs_info(stocked.db, jobs, sort=[("db_id", 1)])) == found
    assert queries.count_jobs(stocked.db, jobs) == len(found)


def test_jobs_by_uuid_and_index(stocked: Any) -> None:
    one, two = (_uuid(stocked, "1"), 1), (_uuid(stocked, "2"), 1)
    for job_ids, number in ((one, 1), ([one, two], 2), ([(one[0], 7)], 0)):
        assert queries.count_jobs(stocked.db, JobFilter.of(job_ids=job_ids)) == number


@pytest.mark.parametrize(
    ("conditions", "number"),
    [
        ({}, 2),
        ({"db_ids": ["2", "4"]}, 2),
        ({"db_ids": "9"}, 0),
        ({"states": FlowState.READY}, 2),
        ({"states": [FlowState.FAILED]}, 0),
        ({"name": "sum (1)"}, 1),
        ({"locked": True}, 0),
        ({"metadata": {"key": 1}}, 0),
    ],
)
def test_conditions_on_flows(stocked: Any, conditions: dict[str, Any], number: int) -> None:
    flows = FlowFilter.of(**conditions)
    assert queries.count_flows(stocked.db, flows) == len(queries.flows_info(stocked.db, flows)) == number


def test_one_job(stocked: Any) -> None:
    # Given a job with two indexes
    document = stocked.db.jobs.find_one({"db_id": "4"})
    stocked.db.jobs.insert_one({**document, "_id": "new", "index": 2, "db_id": "6"})

    # Then without an index the last is meant
    info = queries.job_info(stocked.db, job_id=document["uuid"])
    assert info is not None
    assert (info.db_id, info.name, info.hosts) == ("6", "add", document["job"]["hosts"])
    first = queries.job_info(stocked.db, job_id=document["uuid"], job_index=1)
    assert first is not None
    assert first.db_id == "4"
    assert queries.job_info(stocked.db, db_id="9") is None
    with pytest.raises(ValueError, match="one of"):
        queries.job_info(stocked.db)


def test_a_whole_document(stocked: Any) -> None:
    document = queries.job_doc(stocked.db, db_id="5")
    assert document is not None
    assert (document.name, document.state, len(document.parents or [])) == ("total", JobState.WAITING, 2)


@pytest.mark.parametrize("with_jobs", [False, True])
def test_a_flow_and_its_jobs(stocked: Any, with_jobs: bool) -> None:
    [flow] = queries.flows_info(stocked.db, FlowFilter(job_ids=[_uuid(stocked, "5")]), with_jobs_info=with_jobs)
    assert (flow.name, flow.db_ids, flow.job_indexes) == ("sum (1)", ["3", "4", "5"], [1, 1, 1])
    assert flow.workers == (["far", "local", "local"] if with_jobs else [])
    assert [job.db_id for job in flow.jobs_info or []] == (["3", "4", "5"] if with_jobs else [])
    assert queries.flow_store_name(stocked.db, flow.flow_id) is None


def test_counting_by_state(stocked: Any) -> None:
    states = [JobState.READY, JobState.RUNNING, JobState.FAILED]
    assert list(queries.count_jobs_states(stocked.db, states).values()) == [2, 1, 0]
    assert list(queries.count_jobs_states(stocked.db, states, "far").values()) == [0, 1, 0]
    assert queries.count_flows_states(stocked.db)[FlowState.READY] == 2


@pytest.mark.parametrize("ids", [{}, {"db_id": "1", "flow_id": "a"}])
def test_one_flow_needs_one_id(ids: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="one of"):
        queries.flow_id_query(**ids)


def test_db_ids_are_sorted_as_numbers(queue: Any) -> None:
    # Given twelve flows of one job, the last of which begins with the first number
    for number in range(12):
        queue.add(Flow([add(number)], name=str(number + 1)))

    # Then they come in the order of their numbers, in both directions and in parts
    order = [(queries.BY_NUMBER, 1)]
    numbers = [str(number) for number in range(1, 13)]
    assert [job.db_id for job in queries.jobs_info(queue.db, JobFilter(), sort=order)] == numbers
    assert [flow.name for flow in queries.flows_info(queue.db, FlowFilter(), sort=order)] == numbers
    last = queries.jobs_info(queue.db, JobFilter(), sort=[(queries.BY_NUMBER, -1)], limit=3, skip=1)
    assert [job.db_id for job in last] == ["11", "10", "9"]

    # And `db_id` itself is text, as in jobflow-remote
    assert queries.jobs_info(queue.db, JobFilter(), sort=[("db_id", 1)])[1].db_id == "10"


def test_lists_of_the_command_line_are_sorted_by_number() -> None:
    assert page(10, SortField.DB_ID, True).sort == (queries.BY_NUMBER, 1)
    assert page(10, SortField.CREATED_ON, False).sort == ("created_on", -1)
