from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
import typer

from jfr_mp.cli.options import flow_state, job_id, job_state, since, wanted_roles
from jfr_mp.states import FlowState, JobState
from jfr_mp.step_table import Role


@pytest.mark.parametrize(
    ("chosen", "num_transfer", "num_complete", "expected"),
    [
        ([], None, None, {"checkout": 1, "transfer": 1, "queue": 1, "complete": 1}),
        ([], 3, 2, {"checkout": 1, "transfer": 3, "queue": 1, "complete": 2}),
        ([Role.QUEUE, Role.TRANSFER], None, None, {"transfer": 1, "queue": 1}),
        ([Role.TRANSFER], 4, None, {"transfer": 4}),
    ],
)
def test_roles_follow_from_the_flags(
    chosen: list[Role], num_transfer: int | None, num_complete: int | None, expected: dict[str, int]
) -> None:
    roles = wanted_roles(chosen, num_transfer, num_complete)

    # Then they come in the order in which a job meets them
    assert list(roles.items()) == list(expected.items())


def test_a_number_for_a_role_that_was_not_chosen_is_refused() -> None:
    with pytest.raises(typer.BadParameter, match="--num-complete needs --complete"):
        wanted_roles([Role.QUEUE], None, 2)


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


@pytest.mark.parametrize("text", ["abc", "abc:", ":1", "abc:x"])
def test_a_job_id_needs_uuid_and_index(text: str) -> None:
    assert job_id("abc-1:2") == ("abc-1", 2)
    with pytest.raises(typer.BadParameter, match="UUID:INDEX"):
        job_id(text)


def test_the_beginning_is_a_date_or_an_age() -> None:
    assert since(None, None, None) is None
    assert since(datetime(2025, 1, 1, tzinfo=UTC), None, None) == datetime(2025, 1, 1, tzinfo=UTC)
    beginning = since(None, None, 2)
    assert beginning is not None
    assert abs(datetime.now(UTC) - timedelta(hours=2) - beginning) < timedelta(minutes=1)
    with pytest.raises(typer.BadParameter, match="only one"):
        since(None, 1, 1)
