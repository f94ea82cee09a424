"""Filters as MongoDB's queries."""

from __future__ import annotations

from typing import Any, cast

import pytest

from jfr_mp.database.connection import QueueDatabase
from jfr_mp.database.filters import FlowFilter, JobFilter, is_empty
from jfr_mp.states import FlowState, JobState

#: These filters ask the database nothing.
NO_DB = cast("QueueDatabase", None)


@pytest.mark.parametrize(
    ("jobs", "query"),
    [
        (JobFilter(), {}),
        (JobFilter(workers=("a",)), {"worker": "a"}),
        (JobFilter(workers=("a", "b")), {"worker": {"$in": ["a", "b"]}}),
        (JobFilter(workers=("a", "b"), other_workers=("b",)), {"worker": "a"}),
        (JobFilter(workers=("a",), other_workers=("a",)), {"worker": {"$in": []}}),
        (JobFilter(other_workers=("b", "a")), {"worker": {"$nin": ["a", "b"]}}),
        (JobFilter(states=(JobState.READY,), unlocked=True), {"state": "READY", "lock_id": None}),
        (JobFilter(job_ids=(("u", 1),)), {"uuid": "u", "index": 1}),
        (JobFilter(job_ids=(("u", 1), ("v", 2))), {"$or": [{"uuid": "u", "index": 1}, {"uuid": "v", "index": 2}]}),
        (JobFilter(job_ids=()), {"db_id": {"$in": []}}),
        (JobFilter(db_ids=("1",), further={"a": 1}), {"$and": [{"db_id": "1"}, {"a": 1}]}),
        (JobFilter(further={"a": 1}), {"a": 1}),
        (JobFilter(custom_query={"a": 1}, db_ids=("1",)), {"a": 1, "db_id": "1"}),
    ],
)
def test_a_filter_is_a_query(jobs: JobFilter, query: dict[str, Any]) -> None:
    assert jobs.query(NO_DB) == query


def test_a_custom_query_must_not_repeat_a_condition() -> None:
    with pytest.raises(ValueError, match="repeats conditions given by other parameters: state"):
        JobFilter(states=(JobState.READY,), custom_query={"state": "READY"}).query(NO_DB)


@pytest.mark.parametrize(
    ("conditions", "jobs"),
    [
        ({"db_ids": "1", "states": JobState.READY}, JobFilter(db_ids=["1"], states=[JobState.READY])),
        ({"db_ids": [], "workers": None, "states": []}, JobFilter()),
        ({"job_ids": ("u", 1)}, JobFilter(job_ids=[("u", 1)])),
        ({"job_ids": [("u", 1), ("v", 2)]}, JobFilter(job_ids=[("u", 1), ("v", 2)])),
        ({"custom_query": None}, JobFilter()),
    ],
)
def test_one_value_stands_for_a_list_of_one(conditions: dict[str, Any], jobs: JobFilter) -> None:
    assert JobFilter.of(**conditions) == jobs


def test_a_filter_of_flows() -> None:
    flows = FlowFilter.of(db_ids="7", states=FlowState.FAILED, name="a*", custom_query={"x": 1})
    assert flows.query() == {
        "ids": {"$elemMatch": {"0": "7"}},
        "state": "FAILED",
        "name": {"$regex": "^(?s:a.*)\\Z"},
        "x": 1,
    }


@pytest.mark.parametrize("jobs", [JobFilter(), JobFilter(other_workers=()), FlowFilter()])
def test_an_empty_filter_means_everything(jobs: JobFilter | FlowFilter) -> None:
    assert is_empty(jobs)


def test_a_filter_with_a_condition_is_not_empty() -> None:
    assert not is_empty(JobFilter(locked=True))
    assert not is_empty(JobFilter(job_ids=(("u", 1),)))


def test_workers_that_a_filter_lets_through() -> None:
    jobs = JobFilter(workers=("a", "b")).without_workers(["b"])
    assert [name for name in "abc" if jobs.may_be_on(name)] == ["a"]
