from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import pytest

from jfr_mp.cli.tables import (
    JOB_COLUMNS,
    Cell,
    Sheet,
    clock,
    counts_text,
    details,
    duration,
    flow_sheet,
    job_sheet,
    megabytes,
    outage_text,
    role_sheet,
    time_zone,
    transfer_text,
)
from jfr_mp.model import FlowInfo, JobInfo, Outage, RemoteInfo, Transfer
from jfr_mp.states import FlowState, JobState

NOW = datetime(2025, 6, 1, 12, 0, tzinfo=UTC)


def job(**fields: Any) -> JobInfo:
    given = {
        "uuid": "u",
        "index": 1,
        "db_id": "7",
        "worker": "w",
        "state": JobState.READY,
        "name": "relax",
        "updated_on": NOW,
    }
    return JobInfo(**(given | fields))


def titles(sheet: Sheet) -> list[str]:
    return [column.title for column in sheet.columns]


def row_of(info: JobInfo, verbosity: int = 0) -> dict[str, Cell]:
    sheet = job_sheet([info], verbosity)
    return dict(zip(titles(sheet), sheet.rows[0], strict=True))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, ""), (0, "0:00:00"), (59.9, "0:00:59"), (3661, "1:01:01"), (90061, "1d 1:01:01"), (172800, "2d 0:00:00")],
)
def test_durations(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text


def test_sizes() -> None:
    assert (megabytes(None), megabytes(74_900_000)) == ("", "75 MB")


def test_a_job_is_one_row() -> None:
    row = row_of(job(state=JobState.COMPLETED))

    assert {title: cell.text for title, cell in row.items()} == {
        "DB id": "7",
        "Name": "relax",
        "State": "COMPLETED",
        "Job id (Index)": "u  (1)",
        "Worker": "w",
        f"Last updated [{time_zone()}]": NOW.astimezone().strftime("%Y-%m-%d %H:%M"),
    }


@pytest.mark.parametrize(
    ("state", "waits_for_retry", "style"),
    [
        (JobState.COMPLETED, False, "green"),
        (JobState.FAILED, False, "bold red"),
        (JobState.REMOTE_ERROR, True, "bold red"),
        (JobState.CHECKED_OUT, True, "yellow"),
        (JobState.CHECKED_OUT, False, ""),
    ],
)
def test_the_style_of_a_state_says_whether_it_is_well(state: JobState, waits_for_retry: bool, style: str) -> None:
    remote = RemoteInfo(retry_time_limit=NOW if waits_for_retry else None)

    assert row_of(job(state=state, remote=remote))["State"] == Cell(state.name, style)


def test_more_verbosity_shows_more() -> None:
    # Given a job that ran for 61 s and is locked
    info = job(start_time=NOW, end_time=NOW + timedelta(seconds=61), lock_id="jfr-mp/x", lock_time=NOW)

    # Then its columns grow with the verbosity
    assert len(row_of(info)) < len(row_of(info, 1)) < len(row_of(info, 2))
    row = row_of(info, 2)
    assert (row["Run time"].text, row["Locked"].text, row["Lock id"].text) == ("0:01:01", "*", "jfr-mp/x")


def test_the_columns_can_be_named() -> None:
    info = job(metadata={"project": "ä"}, state=JobState.COMPLETED)

    # The order is that of the names
    sheet = job_sheet([info], names=["state", "metadata", "db_id"])
    assert titles(sheet) == ["State", "Metadata", "DB id"]
    assert [cell.text for cell in sheet.rows[0]] == ["COMPLETED", '{"project": "ä"}', "7"]

    # Stored data adds columns
    sheet = job_sheet([info.model_copy(update={"stored_data": {"energy": -1.5}})], 0, ["state"], ["energy", "none"])
    assert titles(sheet) == ["State", "energy", "none"]
    assert [cell.text for cell in sheet.rows[0]] == ["COMPLETED", "-1.5", ""]


def test_the_names_of_columns_are_those_of_jobflow_remote() -> None:
    assert list(JOB_COLUMNS) == [
        *("db_id", "name", "state", "job_id", "worker", "last_updated", "queue_id", "run_time", "retry_time"),
        *("prev_state", "locked", "lock_id", "lock_time", "metadata"),
    ]


@pytest.mark.parametrize("zone", ["UTC", "Asia/Tokyo", "America/New_York"])
def test_times_are_in_the_zone_that_the_title_names(zone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a user somewhere, and a time in January and one in July
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        moments = [datetime(2025, month, 1, 12, tzinfo=UTC) for month in (1, 7)]
        name = time_zone()
        shown = [datetime.strptime(f"{clock(moment)} +0000", "%Y-%m-%d %H:%M %z") for moment in moments]
    finally:
        monkeypatch.undo()
        time.tzset()

    # Then both are shown in the same zone, whatever daylight saving time was then
    assert name
    assert len({moment - text for moment, text in zip(moments, shown, strict=True)}) == 1


def test_a_flow_goes_by_its_smallest_number() -> None:
    flow = FlowInfo(
        db_ids=["10", "9"],
        job_ids=["a", "b"],
        job_indexes=[1, 1],
        flow_id="f",
        state=FlowState.RUNNING,
        name="[red]",
        created_on=NOW,
        updated_on=NOW,
        workers=["w", "w"],
        job_states=[JobState.WAITING, JobState.COMPLETED],
    )

    sheet = flow_sheet([flow], 1)
    row = dict(zip(titles(sheet), (cell.text for cell in sheet.rows[0]), strict=True))

    assert (row["DB id"], row["Name"], row["Num jobs"]) == ("9", "[red]", "2")
    assert (row["Workers"], row["Job states"]) == ("w", "W-C")


def test_a_role_that_is_down_has_empty_cells() -> None:
    role = {
        "role": "queue",
        "name": "queue-1",
        "pid": None,
        "state": "FATAL",
        "uptime_s": None,
        "restarts": 5,
        "rss_bytes": None,
        "last_error": "boom",
    }

    assert role_sheet([role]).rows == (
        (Cell("queue-1"), Cell(""), Cell("FATAL", "bold red"), Cell(""), Cell("5", "yellow"), Cell(""), Cell("boom")),
    )


def test_counts_are_one_line() -> None:
    assert counts_text({"READY": 2, "COMPLETED": 1}) == "2 READY, 1 COMPLETED"
    assert counts_text({}) == "no jobs"


def test_details_are_flat_and_leave_out_what_is_not_there() -> None:
    document = {
        "state": JobState.READY,
        "error": None,
        "remote": {"process_id": "4", "error": None},
        "hosts": ["a", "b"],
    }

    assert details(document) == [("state", "READY"), ("remote.process_id", "4"), ("hosts", "a, b")]
    assert ("remote.error", "None") in details(document, show_none=True)


def test_an_outage_says_since_when_why_and_when_it_is_tried_next() -> None:
    moment = datetime(2026, 1, 2, 3, 4, 5).astimezone()
    outage = Outage(host="cluster", since=moment, why="connection refused", next_try=moment + timedelta(minutes=1))
    assert outage_text(outage) == (
        "the host of cluster has been unreachable since 03:04:05, next attempt at 03:05:05; its jobs wait: "
        "connection refused"
    )


@pytest.mark.parametrize(
    ("direction", "total", "text"),
    [
        ("upload", 50_000_000, "upload of job 7 to cluster: 20 of 50 MB (40%), since 03:04:05"),
        ("download", 0, "download of job 7 from cluster: 20 of 0 MB (100%), since 03:04:05"),
    ],
)
def test_a_transfer_says_how_far_it_is(direction: Literal["upload", "download"], total: int, text: str) -> None:
    since = datetime(2026, 1, 2, 3, 4, 5).astimezone()
    transfer = Transfer(
        db_id="7", worker="cluster", direction=direction, since=since, done_bytes=20_000_000, total_bytes=total
    )
    assert transfer_text(transfer) == text
