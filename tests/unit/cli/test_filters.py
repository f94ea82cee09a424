from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import typer

from jfr_mp.cli.filters import (
    FLOW_FILTERS,
    JOB_FILTERS,
    FilterRow,
    flow_filter,
    flow_state,
    job_filter,
    job_id,
    job_state,
    mapping,
)
from jfr_mp.database.filters import FlowFilter, JobFilter
from jfr_mp.states import FlowState, JobState


def given(rows: tuple[FilterRow, ...], **values: Any) -> Mapping[str, Any]:
    return {row.name: values.get(row.name, row.default) for row in rows}


@pytest.mark.parametrize(("rows", "value"), [(JOB_FILTERS, JobFilter), (FLOW_FILTERS, FlowFilter)])
def test_every_filter_sets_a_field(rows: tuple[FilterRow, ...], value: type[JobFilter | FlowFilter]) -> None:
    assert {row.target for row in rows} <= {field.name for field in fields(value)}


def test_without_options_the_filter_is_empty() -> None:
    assert job_filter(given(JOB_FILTERS)) == JobFilter()
    assert flow_filter(given(FLOW_FILTERS)) == FlowFilter()


def test_options_become_fields() -> None:
    found = job_filter(
        given(
            JOB_FILTERS,
            job_ids=["abc:2"],
            states=[JobState.FAILED],
            locked=True,
            query={"priority": 3},
            end_date=datetime(2025, 1, 1, tzinfo=UTC),
        )
    )

    assert found == JobFilter(
        job_ids=[("abc", 2)],
        states=[JobState.FAILED],
        locked=True,
        custom_query={"priority": 3},
        end_date=datetime(2025, 1, 1, tzinfo=UTC),
    )


@pytest.mark.parametrize(("option", "age"), [("hours", timedelta(hours=2)), ("days", timedelta(days=2))])
def test_the_beginning_may_be_an_age(option: str, age: timedelta) -> None:
    found = flow_filter(given(FLOW_FILTERS, **{option: 2}))

    assert found.start_date is not None
    assert abs(datetime.now(UTC) - age - found.start_date) < timedelta(minutes=1)


def test_no_age_at_all_is_an_age() -> None:
    assert job_filter(given(JOB_FILTERS, days=0)).start_date is not None


def test_a_date_without_a_zone_is_local() -> None:
    local = datetime(2025, 6, 1, 12)  # noqa: DTZ001 - as typer reads it from a command line

    assert job_filter(given(JOB_FILTERS, start_date=local)).start_date == local.astimezone()


def test_filters_of_one_field_exclude_each_other() -> None:
    with pytest.raises(typer.BadParameter, match="only one of --start-date, --days and --hours"):
        job_filter(given(JOB_FILTERS, days=1, hours=1))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("COMPLETED", JobState.COMPLETED),
        ("completed", JobState.COMPLETED),
        ("ru", JobState.RUNNING),
        ("RERR", JobState.REMOTE_ERROR),
        ("TERMINATED", JobState.RUN_FINISHED),
    ],
)
def test_a_job_state_is_read_by_name_and_abbreviation(text: str, expected: JobState) -> None:
    assert job_state(text) is expected


def test_a_flow_state_has_no_abbreviation() -> None:
    assert flow_state("running") is FlowState.RUNNING
    with pytest.raises(typer.BadParameter, match="'RU' is not one of WAITING, READY"):
        flow_state("RU")


@pytest.mark.parametrize("text", ["abc", "abc:", ":1", "abc:x", "abc:99999999999999999999"])
def test_a_job_id_needs_uuid_and_index(text: str) -> None:
    assert job_id("abc-1:2") == ("abc-1", 2)
    with pytest.raises(typer.BadParameter, match="UUID:INDEX"):
        job_id(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"a.b": 1, "c": "x"}', {"a.b": 1, "c": "x"}),
        ("a.b=1,c=x", {"a.b": 1, "c": "x"}),
        ("a = true", {"a": True}),
    ],
)
def test_data_are_json_or_pairs(text: str, expected: dict[str, Any]) -> None:
    assert mapping(text) == expected


@pytest.mark.parametrize("text", ["{a: 1}", "a", "a=1,b", "=1"])
def test_other_data_are_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="JSON"):
        mapping(text)
