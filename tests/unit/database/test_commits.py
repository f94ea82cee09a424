"""What an outcome writes: the pure half of the commits."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from jfr_mp.config import RunnerOptions
from jfr_mp.database.children import satisfying_states
from jfr_mp.database.commits import update_fields
from jfr_mp.database.completion import completion_fields
from jfr_mp.model import JobDoc, RemoteInfo, utcnow
from jfr_mp.outcomes import Advance, Blame, Completion, Fail, Retry
from jfr_mp.states import JobState

NOW = utcnow()
POLICY = RunnerOptions(max_step_attempts=2, delta_retry=(10, 20))


def _job(attempts: int = 0) -> JobDoc:
    return JobDoc(
        **{"uuid": "u", "index": 1, "db_id": "1", "worker": "w", "job": {}},
        state=JobState.UPLOADED,
        remote=RemoteInfo(step_attempts=attempts),
    )


@pytest.mark.parametrize(
    ("attempts", "outcome", "state", "spent", "delay"),
    [
        (0, Retry("why"), None, 1, 10),
        (1, Retry("why"), None, 2, 20),
        (2, Retry("why"), "REMOTE_ERROR", None, None),
        (0, Retry("why", delay=3), None, 1, 3),
        (0, Retry("why", delay=0), None, 1, 0),
        (2, Retry("why", blame=Blame.CIRCUMSTANCES), None, 2, 20),
        (5, Retry("why", delay=1, blame=Blame.CIRCUMSTANCES), None, 5, 1),
        (0, Fail("why"), "REMOTE_ERROR", None, None),
    ],
)
def test_trouble(attempts: int, outcome: Any, state: str | None, spent: int | None, delay: float | None) -> None:
    fields = update_fields(_job(attempts), outcome, POLICY, NOW)
    assert (fields.get("state"), fields.get("remote.step_attempts")) == (state, spent)
    assert fields["remote.error"] == "why"
    if delay is None:
        assert fields["previous_state"] == "UPLOADED"
    else:
        assert fields["remote.retry_time_limit"] - NOW == timedelta(seconds=delay)


def test_success_clears_trouble() -> None:
    fields = update_fields(_job(2), Advance(JobState.SUBMITTED, {"remote.process_id": "1"}), POLICY, NOW)
    assert fields == {
        "remote.process_id": "1",
        "state": "SUBMITTED",
        "remote.step_attempts": 0,
        "remote.retry_time_limit": None,
        "remote.error": None,
    }


def test_a_job_that_never_ran_keeps_no_times() -> None:
    fields = completion_fields(Completion(JobState.FAILED, error="gone"))
    assert fields.keys().isdisjoint({"start_time", "end_time"})
    assert (fields["state"], fields["error"]) == ("FAILED", "gone")


@pytest.mark.parametrize(
    ("missing", "states"),
    [
        ("error", ("COMPLETED",)),
        ("none", ("COMPLETED", "FAILED", "USER_STOPPED")),
        ("pass", ("COMPLETED", "FAILED", "USER_STOPPED")),
    ],
)
def test_what_a_child_demands_of_its_parents(missing: str, states: tuple[str, ...]) -> None:
    assert satisfying_states({"job": {"config": {"on_missing_references": missing}}}) == states
