"""What is known of an allocation, and what becomes of a job."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from jfr_mp.batch.fate import BatchInfo, Fate, Life, RunDirState, fate_by_run_dir, fate_in_place, life_of
from jfr_mp.batch.markers import Place
from jfr_mp.schedulers import JobStatus
from jfr_mp.states import JobState

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
ALIVE = BatchInfo(NOW, NOW)
OVER = BatchInfo(NOW, NOW, NOW)
QUEUED, RUNNING, DONE, UNKNOWN = (JobStatus(name) for name in ("QUEUED", "RUNNING", "DONE", "UNDETERMINED"))

WAITS, RUNS = JobState.BATCH_SUBMITTED, JobState.BATCH_RUNNING


@pytest.mark.parametrize(
    ("status", "absences", "info", "silent", "life"),
    [
        pytest.param(QUEUED, 0, None, 0, Life.QUEUED, id="queued"),
        pytest.param(UNKNOWN, 0, None, 0, Life.QUEUED, id="a state that nobody knows"),
        pytest.param(RUNNING, 0, None, 0, Life.RUNNING, id="has not begun to speak"),
        pytest.param(RUNNING, 0, ALIVE, 0, Life.RUNNING, id="running"),
        pytest.param(RUNNING, 0, ALIVE, 9999, Life.RUNNING, id="silent, perhaps suspended"),
        pytest.param(RUNNING, 0, OVER, 0, Life.ENDED, id="its script goes on after it"),
        pytest.param(DONE, 0, OVER, 0, Life.GONE, id="ended well"),
        pytest.param(DONE, 0, None, 0, Life.GONE, id="cancelled before it began"),
        pytest.param(DONE, 0, ALIVE, 1, Life.DOUBTFUL, id="denied, but it lived a moment ago"),
        pytest.param(DONE, 0, ALIVE, 60, Life.GONE, id="killed"),
        pytest.param(None, 1, None, 60, Life.DOUBTFUL, id="missing once"),
        pytest.param(None, 1, OVER, 60, Life.ENDED, id="missing once, ended by its own word"),
        pytest.param(None, 2, None, 0, Life.GONE, id="missing twice"),
        pytest.param(None, 2, ALIVE, 1, Life.DOUBTFUL, id="missing twice, but it lived a moment ago"),
        pytest.param(None, 2, ALIVE, 60, Life.GONE, id="missing and silent"),
    ],
)
def test_life(status: JobStatus | None, absences: int, info: BatchInfo | None, silent: float, life: Life) -> None:
    assert life_of(status, absences, info, silent) is life


@pytest.mark.parametrize("life", Life)
def test_jobs_run_in_allocations_that_have_not_ended(life: Life) -> None:
    assert life.holds_jobs == (life not in (Life.ENDED, Life.GONE))


@pytest.mark.parametrize(
    ("state", "place", "held", "fate"),
    [
        (WAITS, Place.SUBMITTED, False, Fate.STAYS),
        (RUNS, Place.SUBMITTED, False, Fate.RETURNS),
        (WAITS, Place.RUNNING, True, Fate.RUNS),
        (RUNS, Place.RUNNING, True, Fate.STAYS),
        (WAITS, Place.RUNNING, False, None),
        (RUNS, Place.RUNNING, False, None),
        (WAITS, Place.FINISHED, True, Fate.ENDED),
        (RUNS, Place.FINISHED, True, Fate.ENDED),
        (RUNS, Place.FINISHED, False, Fate.ENDED),
    ],
)
def test_fate_by_the_place_of_the_marker(state: JobState, place: Place, held: bool, fate: Fate | None) -> None:
    assert fate_in_place(state, place, held) is fate


@pytest.mark.parametrize(
    ("state", "remains", "losses", "fate"),
    [
        pytest.param(RUNS, RunDirState(), 1, Fate.RETURNS, id="killed"),
        pytest.param(WAITS, RunDirState(), 1, Fate.RETURNS, id="killed before anybody saw it run"),
        pytest.param(RUNS, RunDirState(), 3, Fate.RETURNS, id="killed for the last time that it may"),
        pytest.param(RUNS, RunDirState(), 4, Fate.GIVEN_UP, id="killed too often"),
        pytest.param(RUNS, RunDirState(complete=True), 4, Fate.ENDED, id="the allocation died right after it"),
        pytest.param(RUNS, RunDirState(complete=True, alive=True), 1, Fate.ENDED, id="it has left something running"),
        pytest.param(RUNS, RunDirState(alive=True), 4, Fate.STAYS, id="it has outlived its allocation"),
        pytest.param(WAITS, RunDirState(alive=True), 1, Fate.RUNS, id="it has outlived its allocation, unseen"),
        pytest.param(RUNS, RunDirState(uploaded=False), 1, Fate.DIRECTORY_GONE, id="somebody removed its directory"),
    ],
)
def test_fate_by_what_the_job_has_left(state: JobState, remains: RunDirState, losses: int, fate: Fate) -> None:
    assert fate_by_run_dir(state, remains, losses, most_losses=3) is fate


def test_what_an_allocation_of_ours_says() -> None:
    text = (
        '{"start_time": {"@module": "datetime", "@class": "datetime", "string": "2026-01-02 03:04:05.123456+00:00"}, '
        '"last_ping_time": {"@module": "datetime", "@class": "datetime", "string": "2026-01-02 03:04:06+00:00"}, '
        '"takes_jobs": false}'
    )
    info = BatchInfo.parse(text)
    assert info == BatchInfo(NOW.replace(microsecond=123000), NOW.replace(second=6), None, takes_jobs=False)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"start_time": {"string": "yesterday"}}'])
def test_what_nobody_understands(text: str) -> None:
    assert BatchInfo.parse(text) is None
