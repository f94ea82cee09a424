"""Trends and reports of jobs and flows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest

from jfr_mp import JobController
from jfr_mp.api.report import FlowsReport, JobsReport
from jfr_mp.database.trends import trends
from jfr_mp.errors import InvalidQuery
from jfr_mp.states import FlowState, JobState
from tests.support.projects import ProjectFactory

#: A Wednesday, shortly after the clocks of Paris were set forward on Sunday the 29th, and of the new month there.
NOW = datetime(2026, 3, 31, 22, 30, tzinfo=UTC)
STATES = (JobState.COMPLETED, JobState.FAILED)


@pytest.fixture
def controller(fresh_project: ProjectFactory) -> Iterator[JobController]:
    fresh_project()
    with closing(JobController.from_project_name()) as found:
        yield found


def insert(controller: JobController, state: str, updated_on: datetime, number: int = 1) -> None:
    controller.jobs.insert_many(
        [
            {"db_id": f"{state} {updated_on} {each}", "uuid": f"{state} {updated_on} {each}", "index": 1}
            | {"state": state, "updated_on": updated_on, "worker": "local"}
            for each in range(number)
        ]
    )


@pytest.mark.parametrize(
    ("interval", "number", "zone", "expected"),
    [
        ("days", 3, "UTC", {"2026-03-29": (0, 1), "2026-03-30": (0, 0), "2026-03-31": (2, 0)}),
        # In Paris it is half past midnight already, in summer time.
        ("days", 3, "Europe/Paris", {"2026-03-30": (0, 1), "2026-03-31": (1, 0), "2026-04-01": (1, 0)}),
        ("hours", 2, "UTC", {"2026-03-31 21": (0, 0), "2026-03-31 22": (1, 0)}),
        ("weeks", 2, "UTC", {"2026-13": (0, 1), "2026-14": (2, 0)}),
        ("months", 3, "UTC", {"2026-01": (0, 0), "2026-02": (1, 0), "2026-03": (2, 1)}),
        ("years", 2, "UTC", {"2025": (3, 0), "2026": (3, 1)}),
    ],
)
def test_trends(
    interval: str, number: int, zone: str, expected: dict[str, tuple[int, int]], controller: JobController
) -> None:
    # Given jobs that ended at several times
    insert(controller, "COMPLETED", NOW - timedelta(minutes=10))
    insert(controller, "COMPLETED", NOW - timedelta(hours=14))
    insert(controller, "FAILED", datetime(2026, 3, 29, 22, 30, tzinfo=UTC))
    insert(controller, "COMPLETED", datetime(2026, 2, 1, tzinfo=UTC))
    insert(controller, "COMPLETED", datetime(2025, 12, 31, tzinfo=UTC), 3)
    insert(controller, "READY", NOW)

    # Then each interval has its jobs, and intervals without any are there, too
    found = trends(controller.db, STATES, interval, number, zone, NOW)
    assert {date: tuple(counts[state] for state in STATES) for date, counts in found.items()} == expected
    assert list(found) == sorted(found)


@pytest.mark.parametrize(
    ("states", "interval", "zone", "message"),
    [
        ([], "days", "UTC", "no states are given"),
        ([FlowState.READY], "decades", "UTC", "there is no interval 'decades'; choose one of hours, days"),
        ([FlowState.READY], "days", "Europe/Atlantis", "there is no time zone 'Europe/Atlantis'"),
    ],
)
def test_trends_of_nothing(
    states: list[FlowState], interval: str, zone: str, message: str, controller: JobController
) -> None:
    with pytest.raises(InvalidQuery, match=message):
        controller.get_trends(states, interval, interval_timezone=zone)


def test_reports(controller: JobController) -> None:
    # Given seven running jobs, others that ended, and flows
    now = datetime.now(UTC)
    for number in range(7):
        insert(controller, "RUNNING", now - timedelta(hours=number))
        controller.jobs.update_many(
            {"start_time": None, "state": "RUNNING"}, {"$set": {"start_time": now - timedelta(hours=number)}}
        )
    controller.jobs.update_many({}, {"$set": {"job": {"name": "n", "hosts": []}, "created_on": now}})
    for state, number in {"COMPLETED": 4, "FAILED": 2, "REMOTE_ERROR": 1, "DOWNLOADED": 3, "READY": 5}.items():
        insert(controller, state, now, number)
    controller.jobs.update_many({"state": "READY"}, {"$set": {"worker": "other"}})
    for number, state in enumerate(["COMPLETED", "COMPLETED", "FAILED", "RUNNING"]):
        controller.flows.insert_one({"uuid": f"f{number}", "state": state, "updated_on": now})

    # Then the report of the jobs has the figures
    report = JobsReport.generate_report(controller, "days", 2)
    assert (report.running, report.completed, report.error, report.active) == (7, 4, 3, 10)
    assert report.trends is not None
    assert (report.trends.completed, report.trends.failed, report.trends.remote_error) == ([0, 4], [0, 2], [0, 1])
    assert (report.trends.num_intervals, report.trends.timezone) == (2, "UTC")
    assert list(report.worker_utilization.items()) == [("local", 17), ("other", 5)]
    hours = [round((job.estimated_run_time or 0) / 3600) for job in report.longest_running]
    assert hours == [6, 5, 4, 3, 2]

    # And the report of the flows
    flows = FlowsReport.generate_report(controller)
    assert (flows.running, flows.completed, flows.error) == (1, 2, 1)
    assert flows.trends.completed == [0, 0, 0, 0, 0, 0, 2]
    assert flows.trends.failed[-1] == 1
