"""Histories of changes as data, and the times that come out."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from jfr_mp.examples.timeline import JobTimeline, Timelines
from jfr_mp.states import JobState

START = datetime(2026, 1, 1, tzinfo=UTC)


def inserted(key: str, state: str, at: float) -> dict[str, Any]:
    return {
        "operationType": "insert",
        "documentKey": {"_id": key},
        "wallTime": START + timedelta(seconds=at),
        "fullDocument": {"db_id": key, "state": state, "job": {"name": f"job {key}"}},
    }


def updated(key: str, state: str, at: float) -> dict[str, Any]:
    return {
        "operationType": "update",
        "documentKey": {"_id": key},
        "wallTime": START + timedelta(seconds=at),
        "updateDescription": {"updatedFields": {"state": state}},
    }


def played(*changes: dict[str, Any]) -> list[JobTimeline]:
    timelines = Timelines()
    for change in changes:
        timelines.record(change)
    return timelines.jobs


def test_time_in_a_state_ends_with_the_next_state() -> None:
    # Given a job that passes three states
    (job,) = played(inserted("1", "READY", 0), updated("1", "CHECKED_OUT", 0.25), updated("1", "UPLOADED", 1))

    # Then the two that it has left have their times, and the one it is in has none yet
    assert job.seconds_in() == {JobState.READY: 0.25, JobState.CHECKED_OUT: 0.75}
    assert job.state is JobState.UPLOADED


def test_visits_of_one_state_add_up() -> None:
    (job,) = played(
        inserted("1", "READY", 0), updated("1", "PAUSED", 1), updated("1", "READY", 2), updated("1", "STOPPED", 4)
    )

    assert job.seconds_in() == {JobState.READY: 3.0, JobState.PAUSED: 1.0}


def test_a_whole_document_that_is_replaced_counts_as_an_update() -> None:
    replaced = {**inserted("1", "RUNNING", 3), "operationType": "replace"}

    (job,) = played(inserted("1", "READY", 0), replaced)

    assert job.seconds_in() == {JobState.READY: 3.0}


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(updated("1", "READY", 1), id="the state that the job has"),
        pytest.param(updated("7", "RUNNING", 1), id="a job of before"),
    ],
)
def test_an_event_that_says_nothing_new_is_none(change: dict[str, Any]) -> None:
    timelines = Timelines()
    timelines.record(inserted("1", "READY", 0))

    assert timelines.record(change) is None
    assert [job.db_id for job in timelines.jobs] == ["1"]


def test_jobs_keep_the_order_in_which_they_came() -> None:
    jobs = played(inserted("10", "READY", 0), inserted("9", "WAITING", 1), updated("10", "COMPLETED", 2))

    assert [(job.db_id, job.state) for job in jobs] == [("10", JobState.COMPLETED), ("9", JobState.WAITING)]
